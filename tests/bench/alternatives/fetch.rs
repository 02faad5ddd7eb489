//! Ranges of one size through the product's own S3 source: CPU time, memory, and what comes before the first of them.

use std::sync::mpsc::channel;
use std::time::Instant;

use burst::format::checksum::crc32c;
use burst::store::{Addressing, Credentials, Location, S3Options, open_source};

use crate::Result;
use crate::measure::{GIB, cpu, peak_rss};

/// `rx`: a file with the number of bytes that the network interface has received.
pub fn run(url: &str, endpoint: &str, mib: u64, in_flight: u64, rx: Option<&str>) -> Result<()> {
    let received = || rx.map_or(0, read_number);
    let options = S3Options {
        endpoint_url: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        addressing: Addressing::Path,
        credentials: Credentials::Anonymous,
        max_in_flight: in_flight as u16,
        ..S3Options::default()
    };
    let source = open_source(&Location::parse(url.as_ref())?, &options)?;
    let (length, step) = (source.len(), mib << 20);
    let (sender, receiver) = channel();
    let begun = (cpu()?, Instant::now(), received());
    let (mut next, mut flying, mut requests, mut first) = (0, 0, 0u64, None);
    while next < length || flying > 0 {
        while next < length && flying < in_flight {
            let (range, sender) = (next..length.min(next + step), sender.clone());
            next = range.end;
            source.start(range, Box::new(move |result| drop(sender.send(result))));
            (flying, requests) = (flying + 1, requests + 1);
        }
        let bytes = receiver.recv()??;
        let when = (begun.1.elapsed(), received() - begun.2);
        first.get_or_insert(when);
        flying -= 1;
        std::hint::black_box(crc32c((*bytes).as_ref()));
    }
    let (first, first_bytes) = first.ok_or("nothing was fetched")?;
    println!(
        "| {mib} MiB x {in_flight} | {requests} | {:.2} | {} | {:.1} | {:.3} | {:.1} |",
        (cpu()? - begun.0).as_secs_f64() / (length as f64 / GIB),
        peak_rss()?,
        first_bytes as f64 / 1048576.0,
        first.as_secs_f64(),
        begun.1.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn read_number(path: &str) -> u64 {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
