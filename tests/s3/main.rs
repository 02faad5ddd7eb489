//! The S3 store against real servers.
#![cfg(feature = "s3")]

mod environment;
mod failures;
mod requests;
mod round_trip;
mod tls;

#[path = "../support/s3_server.rs"]
mod s3_server;

use std::sync::mpsc::channel;
use std::time::Duration;

use burst::error::Result;
use burst::store::s3::{S3Sink, S3Source};
use burst::store::{ArchiveSink, ArchiveSource, Credentials, S3Options};

use s3_server::{ACCESS_KEY, SECRET_KEY};

const MIB: usize = 1 << 20;

/// Options with the test servers' credentials.
fn options(url: &str) -> S3Options {
    S3Options {
        endpoint_url: Some(url.to_owned()),
        credentials: credentials(SECRET_KEY, None),
        max_in_flight: 4,
        stall_timeout: Duration::from_secs(30),
        ..S3Options::default()
    }
}

fn credentials(secret: &str, token: Option<&str>) -> Credentials {
    Credentials::Static {
        access_key_id: ACCESS_KEY.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: token.map(str::to_owned),
    }
}

/// Bytes that differ everywhere, so that a part in the wrong place shows.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn put(key: &str, bytes: &[u8], options: &S3Options) -> Result<()> {
    let mut sink: Box<dyn ArchiveSink> = Box::new(S3Sink::create("bucket", key, false, options)?);
    // Writes that do not align with parts.
    for piece in bytes.chunks(1_000_003) {
        sink.write(piece)?;
    }
    sink.finish()
}

fn open(key: &str, options: &S3Options) -> Result<S3Source> {
    S3Source::open("bucket", key, None, options)
}

fn read(source: &S3Source, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
    let bytes = source.read(range)?;
    Ok((*bytes).as_ref().to_vec())
}

/// The whole object by 8 MiB parts, all started at once, as a restore does.
fn read_all(source: &S3Source) -> Vec<u8> {
    let (send, receive) = channel();
    let mut parts = 0;
    let mut at = 0;
    while at < source.len() {
        let end = source.len().min(at + (8 * MIB) as u64);
        let send = send.clone();
        source.start(at..end, Box::new(move |result| send.send((at, result)).unwrap()));
        parts += 1;
        at = end;
    }
    let mut all = vec![0; source.len() as usize];
    for _ in 0..parts {
        let (at, bytes) = receive.recv_timeout(Duration::from_secs(60)).unwrap();
        let bytes = bytes.unwrap();
        let bytes = (*bytes).as_ref();
        all[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    all
}

fn kind<T>(result: Result<T>) -> burst::error::Kind {
    match result {
        Ok(_) => panic!("this must fail"),
        Err(error) => {
            println!("{error}");
            error.kind()
        }
    }
}
