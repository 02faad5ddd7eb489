//! What goes over the wire.

use std::process::Command;
use std::time::{Duration, Instant};

use burst::store::Credentials;

use crate::s3_server::{Proxy, S3Server};
use crate::*;

#[test]
fn every_request_carries_payer_owner_and_token() {
    let server = S3Server::moto(&["bucket"]);
    let proxy = Proxy::before(server.address);
    let mut options = options(&proxy.url());
    options.request_payer = true;
    options.expected_bucket_owner = Some("123456789012".into());
    options.credentials = credentials("secret", Some("the-session-token"));
    put("k", &content(20 * MIB), &options).unwrap();
    let source = open("k", &options).unwrap();
    assert!(read_all(&source) == content(20 * MIB));
    // An upload that is given up sends them with the abort, too.
    let mut sink = S3Sink::create("bucket", "other", false, &options).unwrap();
    sink.write(&content(20 * MIB)).unwrap();
    drop(sink);

    let requests = proxy.requests();
    let of = |start: &str| requests.iter().filter(|r| r.starts_with(start)).count();
    println!("{} requests", requests.len());
    assert_eq!(of("get /bucket/k"), 4, "one to open, one per 8 MiB part");
    assert!(of("put /bucket/k?partnumber=") >= 3 && of("delete /bucket/other?uploadid=") == 1);
    for request in &requests {
        for header in [
            "\r\nx-amz-request-payer: requester",
            "\r\nx-amz-expected-bucket-owner: 123456789012",
            "\r\nx-amz-security-token: the-session-token",
            "\r\nauthorization: aws4-hmac-sha256 ",
        ] {
            assert!(request.contains(header), "{header:?} in {request}");
        }
    }
    let ranged = requests.iter().filter(|r| r.contains("\r\nrange: bytes="));
    let pinned = requests.iter().filter(|r| r.contains("\r\nif-match: \""));
    assert_eq!((ranged.count(), pinned.count()), (4, 3));
}

#[test]
fn anonymous_requests_are_not_signed() {
    let server = S3Server::moto(&["bucket"]);
    let proxy = Proxy::before(server.address);
    put("k", &content(2 * MIB), &options(&server.url())).unwrap();
    let mut options = options(&proxy.url());
    options.credentials = Credentials::Anonymous;
    let source = open("k", &options).unwrap();
    assert!(read_all(&source) == content(2 * MIB));
    put("new", b"x", &options).unwrap();
    for request in proxy.requests() {
        assert!(!request.contains("authorization:"), "{request}");
    }
}

#[test]
fn a_server_that_fails_on_a_long_suffix_range_is_asked_once_more() {
    let server = S3Server::s3s(&["bucket"]);
    put("k", b"shorter than the tail", &options(&server.url())).unwrap();
    let proxy = Proxy::before(server.address);
    let source = open("k", &options(&proxy.url())).unwrap();
    assert_eq!(source.tail(), b"shorter than the tail");
    let requests = proxy.requests();
    let mut methods: Vec<_> = requests.iter().filter_map(|r| r.split(' ').next()).collect();
    // The client may have begun its first retry before it is stopped.
    methods.dedup();
    assert_eq!(methods, ["get", "head", "get"]);
}

/// Where the child below finds its object.
const CHILD: &str = "BURST_TEST_DOWNLOAD_FROM";

#[test]
fn a_process_that_downloads_a_part_exits_at_once() {
    if let Ok(url) = std::env::var(CHILD) {
        let source = open("k", &options(&url)).unwrap();
        assert_eq!(read(&source, 0..MIB as u64).unwrap().len(), MIB);
        return;
    }
    let server = S3Server::s3s(&["bucket"]);
    put("k", &content(2 * MIB), &options(&server.url())).unwrap();
    let begun = Instant::now();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "requests::a_process_that_downloads_a_part_exits_at_once"])
        .env(CHILD, server.url())
        .status()
        .unwrap();
    println!("whole process: {:?}", begun.elapsed());
    assert!(status.success());
    // Threads of the S3 client that are left alive cost a full second.
    assert!(begun.elapsed() < Duration::from_millis(900));
}
