//! Real S3 servers for tests, started on a free port of this machine and ended with the test.
//!
//! `s3s-fs` checks signatures and keeps objects as files; it is found through BURST_S3S_FS or PATH.
//! `moto_server` knows versions, storage classes and conditions but accepts any signature; it is found
//! through BURST_MOTO or PATH. A server that is missing fails the test.
#![allow(dead_code)] // every test program uses its own selection

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub const ACCESS_KEY: &str = "AKIDEXAMPLE";
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A server process, killed when this is dropped.
pub struct S3Server {
    child: Child,
    pub address: SocketAddr,
    /// Where s3s-fs keeps `bucket/key`.
    pub directory: tempfile::TempDir,
    /// s3s-fs makes a bucket for a multipart upload to none.
    pub accepts_any_bucket: bool,
}

impl S3Server {
    /// s3s-fs with these buckets.
    pub fn s3s(buckets: &[&str]) -> S3Server {
        let directory = tempfile::tempdir().unwrap();
        for bucket in buckets {
            fs::create_dir(directory.path().join(bucket)).unwrap();
        }
        let mut command = Command::new(program("BURST_S3S_FS", "s3s-fs"));
        command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]);
        S3Server::start(command, "--host", "--port", directory, true)
    }

    /// moto with these buckets.
    pub fn moto(buckets: &[&str]) -> S3Server {
        let directory = tempfile::tempdir().unwrap();
        let command = Command::new(program("BURST_MOTO", "moto_server"));
        let server = S3Server::start(command, "-H", "-p", directory, false);
        for bucket in buckets {
            let (status, _, body) = server.http("PUT", &format!("/{bucket}"), "");
            assert_eq!(status, 200, "{body}");
        }
        server
    }

    fn start(mut command: Command, host: &str, port: &str, directory: tempfile::TempDir, positional: bool) -> S3Server {
        let address = free_address();
        command
            .args([host, "127.0.0.1", port, &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if positional {
            command.arg(directory.path());
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{:?} cannot be started: {e}", command.get_program()));
        let mut server = S3Server { child, address, directory, accepts_any_bucket: positional };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("{:?} ended at once: {status}", command.get_program());
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "server not up");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An unsigned request, for asking moto what it holds: status, header lines in lower case, body.
    pub fn http(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let mut socket = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.address
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        (status.unwrap_or(0), head.to_ascii_lowercase(), body.to_owned())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that `variable` names, else `name` from PATH.
fn program(variable: &str, name: &str) -> OsString {
    let found = std::env::var_os(variable).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|file| file.is_file())
            .map(PathBuf::into_os_string)
    });
    found.unwrap_or_else(|| panic!("{name} is needed by this test: put it in PATH or set {variable}"))
}

pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A proxy that notes every request, can answer some with 503 itself, and can hold back all answers.
pub struct Proxy {
    pub address: SocketAddr,
    pub stalled: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    pub failures: Arc<AtomicUsize>,
}

impl Proxy {
    pub fn before(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            address: listener.local_addr().unwrap(),
            stalled: Arc::default(),
            seen: Arc::default(),
            failures: Arc::default(),
        };
        let (seen, failures) = (proxy.seen.clone(), proxy.failures.clone());
        let stalled = proxy.stalled.clone();
        // The thread ends with the test process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let fail = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
                let (seen, stalled) = (seen.clone(), stalled.clone());
                thread::spawn(move || match fail {
                    true => refuse(client),
                    false => pass(client, server, &seen, stalled),
                });
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of all requests so far, in lower case.
    pub fn requests(&self) -> Vec<String> {
        let mut heads = Vec::new();
        for connection in self.seen.lock().unwrap().iter() {
            let text = String::from_utf8_lossy(connection).to_ascii_lowercase();
            for part in text.split("\r\n\r\n") {
                // What follows a body begins in the middle of a text without line break.
                let start = ["get /", "put /", "post /", "head /", "delete /"]
                    .iter()
                    .filter_map(|method| part.rfind(method))
                    .max();
                if let Some(head) = start.and_then(|at| part.get(at..))
                    && head.contains(" http/1.1\r\n")
                {
                    heads.push(head.to_owned());
                }
            }
        }
        heads
    }
}

fn refuse(mut client: TcpStream) {
    let mut head = [0; 65536];
    let _ = client.read(&mut head);
    let answer = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let _ = client.write_all(answer.as_bytes());
}

fn pass(mut client: TcpStream, server: SocketAddr, seen: &Mutex<Vec<Vec<u8>>>, stalled: Arc<AtomicBool>) {
    let mut server = TcpStream::connect(server).unwrap();
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(Vec::new());
        seen.len() - 1
    };
    let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok(n @ 1..) = back_from.read(&mut buffer) {
            while stalled.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(20));
            }
            if back_to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = back_to.shutdown(std::net::Shutdown::Both);
    });
    let mut buffer = vec![0; 65536];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        seen.lock().unwrap()[number].extend_from_slice(&buffer[..n]);
        if server.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}
