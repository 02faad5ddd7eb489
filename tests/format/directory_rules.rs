//! Directories that break one rule each, and the words of the refusal.

use crate::build;
use crate::consume::{directory, index};
use burst::format::directory_reader::DirectoryReader;
use burst::format::hard_links::HardLinks;
use burst::format::namespace::NamespaceChecker;
use burst::format::trailer::Trailer;
use burst::format::zip::central_directory;
use burst::format::{Entry, EntryType, Result};

/// Reads the directory of a small archive after a change to its entries or the trailer.
fn after(change: impl Fn(&mut Vec<Entry>, &mut Trailer)) -> Result<()> {
    let bytes = build::small(2).bytes;
    let index = index(&bytes, 4096)?;
    let mut entries: Vec<Entry> = directory(&index, &bytes, 4096)?.into_iter().map(|placed| placed.entry).collect();
    let mut trailer = index.trailer;
    change(&mut entries, &mut trailer);
    let mut encoded = Vec::new();
    entries.iter().for_each(|e| central_directory::encode(e, &mut encoded));
    trailer.directory_length = encoded.len() as u64;
    let mut names = NamespaceChecker::new();
    let mut links = HardLinks::new();
    for placed in DirectoryReader::read_all(&trailer, &encoded)? {
        names.check(&placed.entry.path, placed.entry.entry_type)?;
        links.check(&placed.entry)?;
    }
    Ok(())
}

fn refused(change: impl Fn(&mut Vec<Entry>), words: &str) {
    let text = after(|entries, _| change(entries)).unwrap_err().to_string();
    assert!(text.contains(words), "\"{text}\" without \"{words}\"");
}

fn named<'a>(entries: &'a mut [Entry], path: &str) -> &'a mut Entry {
    entries.iter_mut().find(|e| e.path == path.as_bytes()).unwrap()
}

#[test]
fn order_and_counts() {
    assert_eq!(after(|_, _| {}), Ok(()));
    refused(|e| e.swap(3, 4), "expected one behind the previous");
    refused(|e| e[1].header_offset = 0, "expected one behind the previous");
    refused(|e| e[0].header_offset = 1, "expected 0");
    refused(|e| e.push(e[0].clone()), "more entries than the trailer says");
    refused(|e| e.truncate(5), "entries: 5, the trailer says");
    refused(|e| e[0].entry_type = EntryType::Fifo, "is no directory; the first 2");
    refused(|e| named(e, "pipe").entry_type = EntryType::Directory, "is a directory; the first 2");
    refused(|e| e.last_mut().unwrap().header_offset = 1 << 40, "the data region ends at");
    let text = after(|_, trailer| trailer.content_bytes += 1).unwrap_err().to_string();
    assert!(text.contains("content bytes"), "{text}");
    assert!(after(|_, trailer| trailer.map_offset += 1).is_err());
}

#[test]
fn places() {
    let resize = |by: i64| {
        move |e: &mut Vec<Entry>| {
            let file = named(e, "d/file");
            file.compressed_size = file.compressed_size.saturating_add_signed(by);
            file.uncompressed_size = file.compressed_size;
        }
    };
    refused(resize(1), "bytes for the local file header");
    refused(resize(1 << 50), "its data alone");
    refused(|e| named(e, "d/file").header_offset -= 1, "bytes for the local file header");
}

#[test]
fn names() {
    refused(|e| named(e, "d/file").path = b"x/file".to_vec(), "no earlier directory");
    refused(|e| named(e, "pipe").path = b"null".to_vec(), "twice");
    refused(|e| named(e, "null").path = b"/nul".to_vec(), "absolute");
    refused(|e| named(e, "null").path = b"d/..".to_vec(), "component");
}

#[test]
fn hard_links() {
    let retarget = |target: u64| move |e: &mut Vec<Entry>| named(e, "a").entry_type = EntryType::HardLink { target };
    refused(retarget(0), "hard link to entry 0, expected one from 2");
    refused(retarget(1 << 40), "hard link to entry 1099511627776");
    refused(retarget(2), "not an earlier entry with a link count");
    refused(|e| named(e, "d/linked").link_count = None, "not an earlier entry with a link count");
    refused(|e| named(e, "a").attributes.uid += 1, "hard link with owner");
    refused(|e| named(e, "a").attributes.mtime.nanos ^= 1, "hard link with owner");
    refused(|e| named(e, "a").crc32 ^= 1, "hard link text has");
}
