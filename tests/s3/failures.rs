//! What goes wrong is told apart, and leaves nothing behind.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use burst::error::Kind;
use burst::store::{Credentials, Location, create_sink, open_source};

use crate::s3_server::{Proxy, S3Server, free_address};
use crate::*;

#[test]
fn wrong_credentials_are_denied() {
    let server = S3Server::s3s(&["bucket"]);
    let mut options = options(&server.url());
    put("k", b"content", &options).unwrap();
    options.credentials = credentials("wrong", None);
    assert_eq!(kind(open("k", &options)), Kind::Denied);
    assert_eq!(kind(put("new", b"x", &options)), Kind::Denied);
    options.credentials = Credentials::Anonymous;
    assert_eq!(kind(open("k", &options)), Kind::Denied);
    assert_eq!(kind(put("new", b"x", &options)), Kind::Denied);
    assert!(!server.directory.path().join("bucket/new").exists());
}

#[test]
fn what_is_missing_is_not_found() {
    for server in [S3Server::s3s(&["bucket"]), S3Server::moto(&["bucket"])] {
        let options = options(&server.url());
        assert_eq!(kind(open("missing", &options)), Kind::NotFound);
        let other = S3Source::open("nobucket", "k", None, &options);
        assert_eq!(kind(other), Kind::NotFound);
        if server.accepts_any_bucket {
            continue;
        }
        let mut sink: Box<dyn ArchiveSink> = Box::new(S3Sink::create("nobucket", "k", false, &options).unwrap());
        let written = sink.write(b"x").and_then(|()| sink.finish());
        assert_eq!(kind(written), Kind::NotFound);
    }
}

#[test]
fn a_replaced_object_is_noticed() {
    // moto checks If-Match; s3s-fs does not, so there the ETag of the answer tells.
    for server in [S3Server::s3s(&["bucket"]), S3Server::moto(&["bucket"])] {
        let options = options(&server.url());
        let replace = |bytes: &[u8]| {
            let sink = S3Sink::create("bucket", "k", true, &options).unwrap();
            let mut sink: Box<dyn ArchiveSink> = Box::new(sink);
            sink.write(bytes).unwrap();
            sink.finish().unwrap();
        };
        replace(&content(3 * MIB));
        let source = open("k", &options).unwrap();
        assert!(read(&source, 0..100).is_ok());
        replace(&vec![7; 3 * MIB]);
        assert_eq!(kind(read(&source, 0..100)), Kind::ObjectChanged);
        replace(b"short");
        assert_eq!(kind(read(&source, 2 * MIB as u64..3 * MIB as u64)), Kind::ObjectChanged);
        replace(&vec![7; 5 * MIB]);
        assert_eq!(kind(read(&source, 0..3 * MIB as u64)), Kind::ObjectChanged);
    }
}

#[test]
fn an_existing_object_is_kept() {
    for server in [S3Server::s3s(&["bucket"]), S3Server::moto(&["bucket"])] {
        let options = options(&server.url());
        put("k", b"first", &options).unwrap();
        assert_eq!(kind(put("k", b"second", &options)), Kind::TargetInUse);
        assert_eq!(open("k", &options).unwrap().tail(), b"first");
    }
}

#[test]
fn an_object_that_appears_during_the_upload_is_kept() {
    let server = S3Server::moto(&["bucket"]);
    let options = options(&server.url());
    let mut late: Box<dyn ArchiveSink> = Box::new(S3Sink::create("bucket", "k", false, &options).unwrap());
    late.write(b"late").unwrap();
    put("k", b"first", &options).unwrap();
    assert_eq!(kind(late.finish()), Kind::TargetInUse);
    assert_eq!(open("k", &options).unwrap().tail(), b"first");
}

#[test]
fn an_abandoned_upload_leaves_nothing() {
    let server = S3Server::moto(&["bucket"]);
    let options = options(&server.url());
    let uploads = || server.http("GET", "/bucket?uploads", "").2;
    let mut sink = S3Sink::create("bucket", "k", false, &options).unwrap();
    sink.write(&content(20 * MIB)).unwrap();
    let begun = Instant::now();
    while !uploads().contains("<UploadId>") {
        assert!(begun.elapsed() < Duration::from_secs(20), "no upload began");
    }
    drop(sink);
    let left = uploads();
    assert!(!left.contains("<UploadId>"), "{left}");
    assert_eq!(kind(open("k", &options)), Kind::NotFound);
}

#[test]
fn an_abandoned_upload_leaves_no_files() {
    let server = S3Server::s3s(&["bucket"]);
    let mut sink = S3Sink::create("bucket", "k", false, &options(&server.url())).unwrap();
    sink.write(&content(20 * MIB)).unwrap();
    drop(sink);
    let left: Vec<_> =
        fs::read_dir(server.directory.path().join("bucket")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_busy_server_is_retried() {
    let server = S3Server::s3s(&["bucket"]);
    let bytes = content(20 * MIB);
    put("k", &bytes, &options(&server.url())).unwrap();
    let proxy = Proxy::before(server.address);
    let options = options(&proxy.url());
    proxy.failures.store(3, Ordering::SeqCst);
    let source = open("k", &options).unwrap();
    proxy.failures.store(3, Ordering::SeqCst);
    assert!(read_all(&source) == bytes);

    let mut hasty = options.clone();
    hasty.max_retries = 1;
    proxy.failures.store(1000, Ordering::SeqCst);
    assert_eq!(kind(open("k", &hasty)), Kind::Unavailable);
}

#[test]
fn an_unreachable_server_is_unavailable_in_bounded_time() {
    let begun = Instant::now();
    let options = options(&format!("http://{}", free_address()));
    assert_eq!(kind(open("k", &options)), Kind::Unavailable);
    println!("refused connection: {:?}", begun.elapsed());
    let mut unknown = options.clone();
    unknown.endpoint_url = Some("http://no-such-host.invalid".into());
    unknown.max_retries = 2;
    assert_eq!(kind(open("k", &unknown)), Kind::Unavailable);
    println!("with an unknown host: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_silent_server_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = options(&format!("http://{}", silent.local_addr().unwrap()));
    options.stall_timeout = Duration::from_secs(1);
    let begun = Instant::now();
    assert_eq!(kind(open("k", &options)), Kind::Deadline);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn bad_settings_are_usage_errors() {
    let mut bad = options("http://127.0.0.1:1");
    bad.part_size = 4 << 20;
    bad.credentials = Credentials::Anonymous;
    bad.max_retries = 1;
    // The existence check comes first and needs a server; an upload that may overwrite needs none.
    let sink = S3Sink::create("bucket", "k", true, &bad);
    assert_eq!(kind(sink), Kind::Usage);
    let location = Location::parse("s3://bucket/k?versionId=1".as_ref()).unwrap();
    assert_eq!(kind(create_sink(&location, &bad, true)), Kind::Usage);
    bad.expected_bucket_owner = Some("1\r\nX: y".into());
    let location = Location::parse("s3://bucket/k".as_ref()).unwrap();
    assert_eq!(kind(open_source(&location, &bad)), Kind::Usage);
}

#[test]
fn a_read_that_stalls_is_given_up() {
    let server = S3Server::s3s(&["bucket"]);
    put("k", &content(20 * MIB), &options(&server.url())).unwrap();
    let proxy = Proxy::before(server.address);
    let mut options = options(&proxy.url());
    options.stall_timeout = Duration::from_secs(1);
    let source = open("k", &options).unwrap();
    proxy.stalled.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(kind(read(&source, 0..9)), Kind::Deadline);
    assert!(begun.elapsed() < Duration::from_secs(3));

    // A source that is dropped gives up what is under way, and every delivery still comes.
    let (send, receive) = channel();
    for part in 0..8 {
        let send = send.clone();
        let deliver = Box::new(move |result: Result<_>| send.send(result.is_err()).unwrap());
        source.start(part * MIB as u64..(part + 1) * MIB as u64, deliver);
    }
    drop(source);
    for _ in 0..8 {
        assert!(receive.recv_timeout(Duration::from_secs(3)).unwrap());
    }
}
