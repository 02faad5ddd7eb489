//! The data region of an archive as a list of what stands in it.

use std::ops::Range;
use std::path::Path;

use burst::format::directory_reader::PlacedEntry;
use burst::format::step::Step;
use burst::format::stream_reader::{Event, StreamReader};
use burst::format::zstd_frame::raw_content;
use burst::restore::Archive;
use burst::store::{Location, S3Options, open_source};

use crate::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A local file header; bytes of the pad field: 0 without one, else 4 and its payload.
    Header {
        pad: u64,
    },
    Frame {
        content: u64,
        raw: bool,
    },
    Stored,
    Padding,
    StartOfPart,
    /// End of an entry, with its data descriptor if it has one.
    End,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub kind: Kind,
    pub range: Range<usize>,
}

impl Item {
    pub fn len(&self) -> u64 {
        self.range.len() as u64
    }
}

pub struct Sequence {
    pub archive: Archive,
    pub bytes: Vec<u8>,
    pub items: Vec<Item>,
    pub entries: Vec<PlacedEntry>,
}

impl Sequence {
    pub fn read(path: &str) -> Result<Sequence> {
        let archive = Archive::open(open_source(&Location::File(path.into()), &S3Options::default())?)?;
        let mut entries = Vec::new();
        archive.for_each_entry(|entry| {
            entries.push(entry);
            Ok(())
        })?;
        let bytes = std::fs::read(path)?;
        let items = items(&bytes)?;
        Ok(Sequence { archive, bytes, items, entries })
    }
}

fn items(bytes: &[u8]) -> Result<Vec<Item>> {
    let mut reader = StreamReader::at_start();
    let mut items: Vec<Item> = Vec::new();
    let mut at = 0;
    loop {
        let Step::Ready(advance) = reader.next(&bytes[at..])? else { return Err("cut archive".into()) };
        let range = at..at + advance.consumed;
        at = range.end;
        let kind = match advance.event {
            Event::LocalHeader { header, .. } => {
                let zip64 = if header.has_zip64 { 20 } else { 0 };
                Kind::Header { pad: (header.length - 30 - header.name.len() - zip64) as u64 }
            }
            Event::Frame { content_size, .. } => {
                let content = u64::from(content_size);
                let raw = range.len() as u64 > content && raw_content(&bytes[range.clone()]).is_some();
                Kind::Frame { content, raw }
            }
            Event::Stored { .. } => Kind::Stored,
            Event::StartOfPart(_) => Kind::StartOfPart,
            Event::Padding => Kind::Padding,
            Event::EntryEnd { .. } => Kind::End,
            Event::EndOfData => return Ok(items),
        };
        match items.last_mut() {
            // One padding frame or stored file may come as several events.
            Some(last) if last.kind == kind && matches!(kind, Kind::Padding | Kind::Stored) => {
                last.range.end = range.end;
            }
            _ => items.push(Item { kind, range }),
        }
    }
}

pub fn name(path: &str) -> String {
    Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
