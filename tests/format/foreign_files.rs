//! What is no BURST archive is called what it is.

use crate::build;
use burst::format::archive_index::open;

fn refusal(bytes: &[u8]) -> String {
    open(bytes.len() as u64, &[(0, bytes)]).unwrap_err().to_string()
}

#[test]
fn texts() {
    for (bytes, words) in [
        (&b""[..], "0 bytes are too few"),
        (b"PK\x05\x06", "4 bytes are too few"),
        (b"<!DOCTYPE html><html><body>Access denied</body></html>", "HTML"),
        (b"\n<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>", "HTML or XML"),
        (b"PK\x03\x04 and then the transfer broke off", "cut short"),
        (b"something else that is long enough", "no ZIP end record"),
    ] {
        let text = refusal(bytes);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn foreign_zip_files() {
    let empty = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    assert!(refusal(&empty).contains("no BURST trailer"), "{}", refusal(&empty));
    let commented = [&b"PK\x05\x06"[..], &[0; 16], &[7, 0], b"comment"].concat();
    assert!(refusal(&commented).contains("follows its end record"), "{}", refusal(&commented));
    let with_entry = [&[0; 200][..], b"PK\x05\x06", &[0; 4], &[1, 0, 1, 0, 50, 0, 0, 0, 150, 0, 0, 0, 0, 0]].concat();
    assert!(refusal(&with_entry).contains("no BURST trailer"), "{}", refusal(&with_entry));
}

#[test]
fn archives_that_were_changed() {
    let bytes = build::small(1).bytes;
    assert!(refusal(&[b"prefix", &bytes[..]].concat()).contains("cut or extended"));
    assert!(refusal(&[&bytes[..], b"\0\0\0"].concat()).contains("follows its end record"));
    assert!(refusal(&bytes[..bytes.len() - 100]).contains("cut short"));
}
