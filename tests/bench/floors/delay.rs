//! A proxy that lets each request wait: delay TARGET_PORT MILLISECONDS ADDRESS
//!
//! The server is at that address, and there it listens too: it prints its port. What a client sends is passed on after
//! the wait, what the server sends at once. For clients that send a request only after the answer to the last one on that connection.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port, milliseconds, address] = arguments.as_slice() else {
        return Err("delay TARGET_PORT MILLISECONDS ADDRESS".into());
    };
    let address: IpAddr = address.parse()?;
    let (port, wait): (u16, _) = (port.parse()?, Duration::from_millis(milliseconds.parse()?));
    let listener = TcpListener::bind((address, 0))?;
    println!("{}", listener.local_addr()?.port());
    for client in listener.incoming() {
        let client = client?;
        let server = TcpStream::connect((address, port))?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || pass(from, to, wait, 16 << 10));
        thread::spawn(move || pass(server, client, Duration::ZERO, 1 << 20));
    }
    Ok(())
}

/// Until one side ends; then the other is told.
fn pass(mut from: TcpStream, mut to: TcpStream, wait: Duration, buffer: usize) {
    let mut buffer = vec![0; buffer];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        thread::sleep(wait);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
