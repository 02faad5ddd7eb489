//! What is written comes back, and is stored as asked.

use burst::store::{Encryption, S3Options};

use crate::s3_server::S3Server;
use crate::*;

const SIZES: [usize; 5] = [0, 1, 3 * MIB, 8 * MIB, 70 * MIB + 3];

fn every_size(server: &S3Server, options: &S3Options) {
    for size in SIZES {
        let key = format!("size-{size}");
        let bytes = content(size);
        put(&key, &bytes, options).unwrap();
        let source = open(&key, options).unwrap();
        assert_eq!(source.len(), size as u64);
        assert_eq!(source.name(), format!("s3://bucket/{key}"));
        assert_eq!(source.tail(), &bytes[size.saturating_sub(MIB)..]);
        assert!(read_all(&source) == bytes, "{key} at {}", server.address);
        if size > MIB {
            let middle = read(&source, 1_000_001..1_000_010).unwrap();
            assert_eq!(middle, bytes[1_000_001..1_000_010]);
            let end = size as u64;
            assert_eq!(read(&source, end - 1..end).unwrap(), bytes[size - 1..]);
            assert!(read(&source, end - 1..end + 1).is_err());
        }
    }
}

#[test]
fn every_size_at_s3s() {
    let server = S3Server::s3s(&["bucket"]);
    every_size(&server, &options(&server.url()));
    let mut unsummed = options(&server.url());
    unsummed.upload_checksums = false;
    put("unsummed", &content(9 * MIB), &unsummed).unwrap();
}

#[test]
fn every_size_at_moto() {
    let server = S3Server::moto(&["bucket"]);
    every_size(&server, &options(&server.url()));
}

#[test]
fn keys_of_all_characters() {
    for server in [S3Server::s3s(&["bucket"]), S3Server::moto(&["bucket"])] {
        let options = options(&server.url());
        for key in ["a b+c=d&e", "dir/ü/日本", "100%/%20", "a~b(c)'d!*;:@,$"] {
            put(key, key.as_bytes(), &options).unwrap();
            let source = open(key, &options).unwrap();
            assert_eq!(source.tail(), key.as_bytes());
            assert_eq!(read(&source, 0..1).unwrap(), &key.as_bytes()[..1]);
        }
    }
}

#[test]
fn storage_class_tags_and_encryption_arrive() {
    let server = S3Server::moto(&["bucket"]);
    let mut options = options(&server.url());
    options.storage_class = Some("STANDARD_IA".into());
    options.tags = vec![("team".into(), "a b+c=d".into()), ("x".into(), "1".into())];
    options.encryption = Encryption::Kms { key_id: Some("alias/mine".into()) };
    put("kms", &content(9 * MIB), &options).unwrap();
    let (_, head, _) = server.http("HEAD", "/bucket/kms", "");
    for line in [
        "x-amz-storage-class: standard_ia",
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id: alias/mine",
        "content-type: application/zip",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    let (_, _, tags) = server.http("GET", "/bucket/kms?tagging", "");
    for text in ["<Key>team</Key>", "<Value>a b+c=d</Value>", "<Key>x</Key>"] {
        assert!(tags.contains(text), "{text} in {tags}");
    }
    options.encryption = Encryption::Aes256;
    put("aes", b"x", &options).unwrap();
    let (_, head, _) = server.http("HEAD", "/bucket/aes", "");
    assert!(head.contains("x-amz-server-side-encryption: aes256"), "{head}");
}

#[test]
fn an_old_version_can_be_read() {
    let server = S3Server::moto(&["bucket"]);
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(server.http("PUT", "/bucket?versioning", on).0, 200);
    let options = options(&server.url());
    put("k", b"old content", &options).unwrap();
    let (_, head, _) = server.http("HEAD", "/bucket/k", "");
    let version = head.lines().find_map(|l| l.strip_prefix("x-amz-version-id: ")).unwrap().trim().to_owned();
    let mut sink: Box<dyn ArchiveSink> = Box::new(S3Sink::create("bucket", "k", true, &options).unwrap());
    sink.write(b"new").unwrap();
    sink.finish().unwrap();
    assert_eq!(open("k", &options).unwrap().tail(), b"new");
    let old = S3Source::open("bucket", "k", Some(&version), &options).unwrap();
    assert_eq!(old.tail(), b"old content");
    assert_eq!(read(&old, 4..11).unwrap(), b"content");
}

/// Set in the process that uploads; its memory is looked at.
const CHILD: &str = "BURST_TEST_UPLOAD_TO";

#[test]
fn memory_of_a_transfer_does_not_grow_with_its_size() {
    if let Ok(url) = std::env::var(CHILD) {
        let mut options = options(&url);
        options.max_in_flight = S3Options::default().max_in_flight;
        let bytes = content(8 * MIB);
        let mut sink: Box<dyn ArchiveSink> = Box::new(S3Sink::create("bucket", "k", false, &options).unwrap());
        for _ in 0..75 {
            sink.write(&bytes).unwrap();
        }
        sink.finish().unwrap();
        println!("after 600 MiB up: {} MiB", peak_mib());
        let source = open("k", &options).unwrap();
        let (send, receive) = channel();
        for part in 0..75 {
            let send = send.clone();
            let range = part * 8 * MIB as u64..(part + 1) * 8 * MIB as u64;
            source.start(range, Box::new(move |result| send.send(result.unwrap()).unwrap()));
        }
        for _ in 0..75 {
            let part = receive.recv().unwrap();
            assert!((*part).as_ref() == bytes);
        }
        println!("after 600 MiB down: {} MiB", peak_mib());
        // 16 in flight, two parts each, and what the client needs besides.
        assert!(peak_mib() < 400);
        return;
    }
    let server = S3Server::s3s(&["bucket"]);
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "round_trip::memory_of_a_transfer_does_not_grow_with_its_size", "--nocapture"])
        .env(CHILD, server.url())
        .status()
        .unwrap();
    assert!(status.success());
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
