//! A whole part in memory to pieces that can be put in place (spec `#grid`, `#refuse`).
//!
//! Nothing is given out before everything was checked: the CRC-32C of the part, its structure, and every header,
//! descriptor and start-of-part frame against the directory and the part map.

use std::ops::Range;

use super::checksum::{crc32, crc32c};
use super::directory_reader::PlacedEntry;
use super::entry::{Entry, EntryType};
use super::error::{Error, Result};
use super::limits::GRID;
use super::part_map::{CleanPoint, PartRecord, shown};
use super::step::Step;
use super::stream_reader::{Event, StreamReader};
use super::zip::data_descriptor::DataDescriptor;
use super::zip::dos_time;
use super::zip::local_file_header::LocalFileHeader;
use super::zip::{flags, version_needed};
use super::zstd_frame;

/// Content of one entry that this part holds. Pieces of an entry come in order and without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Index into the entries given to [`read_part`].
    pub entry: usize,
    /// Offset in the entry's content.
    pub content_offset: u64,
    /// Bytes of content; above 131,072 only for [`PieceKind::Stored`] and [`PieceKind::Hole`].
    pub content_len: u64,
    /// Where it is in the part, and what must be done to it.
    pub kind: PieceKind,
}

/// How the content is there; ranges are of the part's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceKind {
    /// A whole frame, fit for an encoded write.
    Frame {
        /// From magic number to the last byte of the last block.
        range: Range<usize>,
    },
    /// The content itself, out of a frame of one raw block.
    Raw {
        /// Without header and block header.
        range: Range<usize>,
    },
    /// The content itself, of a STORE entry.
    Stored {
        /// Of this part; an entry may have more in others.
        range: Range<usize>,
    },
    /// Zeros that occupy no space; neighbouring hole frames are one piece.
    Hole,
}

/// Checks the part and lists its content. `entries` are exactly those with a byte in the part, in order.
pub fn read_part(
    bytes: &[u8],
    part_index: u64,
    record: &PartRecord,
    next_record: Option<&PartRecord>,
    archive_id: &[u8; 16],
    data_end: u64,
    entries: &[PlacedEntry],
) -> Result<Vec<Piece>> {
    let start = part_index.saturating_mul(GRID);
    let here = |message: String| Error::corrupt(format!("part {part_index}: {message}")).at(start);
    let expected = data_end.saturating_sub(start).min(GRID);
    if bytes.len() as u64 != expected || expected == 0 {
        return Err(here(format!("{} bytes, expected {expected}", bytes.len())));
    }
    let crc = crc32c(bytes);
    if crc != record.crc32c {
        return Err(here(format!("CRC-32C is {crc:#010x}, the part map says {:#010x}", record.crc32c)));
    }
    let Some(first) = entries.first() else {
        return Err(here("the directory has no entry in it".into()));
    };
    let stream = StreamReader::at_part(part_index, record, first, archive_id)?;
    let mut part = PartReader {
        stream,
        entries,
        current: 0,
        at_first: record.kind == CleanPoint::LocalHeader,
        pieces: Vec::with_capacity(bytes.len() / (64 << 10) + entries.len()),
    };
    let mut position = 0;
    while let Some(rest) = bytes.get(position..) {
        match part.stream.next(rest)? {
            Step::NeedMore(_) if rest.is_empty() => break,
            Step::NeedMore(n) => {
                return Err(here(format!(
                    "{} bytes are left at its end, what begins there has at least {n}",
                    rest.len()
                )));
            }
            Step::Ready(advance) => {
                part.take(advance.event, bytes, position)?;
                position += advance.consumed;
            }
        }
    }
    part.finish(next_record, start + bytes.len() as u64 == data_end).map_err(|e| e.at(start + bytes.len() as u64))?;
    Ok(part.pieces)
}

struct PartReader<'a> {
    stream: StreamReader,
    entries: &'a [PlacedEntry],
    /// Index of the entry being read.
    current: usize,
    /// No local file header was seen yet and the first entry's must be the first.
    at_first: bool,
    pieces: Vec<Piece>,
}

impl PartReader<'_> {
    #[inline]
    fn take(&mut self, event: Event<'_>, bytes: &[u8], position: usize) -> Result<()> {
        let (content_offset, content_len, kind) = match event {
            Event::Frame { content_offset, content_size, range, is_hole } => {
                let len = u64::from(content_size);
                let range = position + range.start..position + range.end;
                if is_hole {
                    if let Some(last) = self.pieces.last_mut()
                        && last.entry == self.current
                        && last.kind == PieceKind::Hole
                    {
                        last.content_len += len;
                        return Ok(());
                    }
                    (content_offset, len, PieceKind::Hole)
                } else {
                    let frame = bytes.get(range.clone()).unwrap_or_default();
                    // Only a frame longer than its content can be one of raw blocks.
                    let raw = if frame.len() as u64 > len { zstd_frame::raw_content(frame) } else { None };
                    let kind = match raw {
                        Some(raw) => PieceKind::Raw { range: range.start + raw.start..range.start + raw.end },
                        None => PieceKind::Frame { range },
                    };
                    (content_offset, len, kind)
                }
            }
            Event::Stored { content_offset, range } => {
                let range = position + range.start..position + range.end;
                self.check_link_text(bytes.get(range.clone()).unwrap_or_default())?;
                let len = range.len() as u64;
                (content_offset, len, PieceKind::Stored { range })
            }
            Event::LocalHeader { ordinal, offset, header } => return self.local_header(ordinal, offset, &header),
            Event::EntryEnd { descriptor, content_size } => return self.entry_end(descriptor, content_size),
            Event::StartOfPart(_) | Event::Padding => return Ok(()),
            Event::EndOfData => {
                return Err(Error::corrupt("the attribute region begins before the end of the data region")
                    .at(self.stream.offset()));
            }
        };
        self.pieces.push(Piece { entry: self.current, content_offset, content_len, kind });
        Ok(())
    }

    fn local_header(&mut self, ordinal: u64, offset: u64, header: &LocalFileHeader<'_>) -> Result<()> {
        if !std::mem::take(&mut self.at_first) {
            self.current += 1;
        }
        let Some(placed) = self.entries.get(self.current) else {
            return Err(Error::corrupt("a local file header where the directory has no entry")
                .at(offset)
                .in_entry(header.name));
        };
        compare_header(ordinal, offset, header, placed).map_err(|e| e.at(offset).in_entry(&placed.entry.path))
    }

    fn entry_end(&self, descriptor: Option<DataDescriptor>, content_size: u64) -> Result<()> {
        let Some(placed) = self.entries.get(self.current) else {
            return Ok(());
        };
        let e = &placed.entry;
        let end = self.stream.offset();
        let compare = || {
            if let Some(d) = descriptor {
                let sizes = (d.compressed_size, d.uncompressed_size);
                check("data descriptor: CRC-32", d.crc32.into(), e.crc32.into())?;
                check("data descriptor: compressed size", sizes.0, e.compressed_size)?;
                check("data descriptor: uncompressed size", sizes.1, e.uncompressed_size)?;
            }
            check("size of the content", content_size, e.uncompressed_size)?;
            check("end of the entry", end, placed.end)
        };
        compare().map_err(|err| err.at(end).in_entry(&e.path))
    }

    /// The text of a link: a symbolic link's never crosses a grid point, so that it comes at once.
    fn check_link_text(&self, text: &[u8]) -> Result<()> {
        let Some(PlacedEntry { entry: e, .. }) = self.entries.get(self.current) else {
            return Ok(());
        };
        let is_symlink = e.entry_type == EntryType::Symlink;
        if !is_symlink && !matches!(e.entry_type, EntryType::HardLink { .. }) {
            return Ok(());
        }
        let compare = || {
            if is_symlink && text.contains(&0) {
                return Err(Error::corrupt("the link target contains a NUL byte, expected none"));
            }
            match text.len() as u64 == e.uncompressed_size {
                true => check("CRC-32 of the link's text", crc32(text).into(), e.crc32.into()),
                false => Ok(()),
            }
        };
        compare().map_err(|err| err.at(self.stream.offset()).in_entry(&e.path))
    }

    /// What the part ends with against what the next record says begins there.
    fn finish(&self, next_record: Option<&PartRecord>, is_last: bool) -> Result<()> {
        let seen = self.current + usize::from(!self.at_first);
        if seen != self.entries.len() {
            return Err(Error::corrupt(format!(
                "the part has bytes of {seen} entries, the directory says {}",
                self.entries.len()
            )));
        }
        let ends_at = self.stream.clean_point();
        match (ends_at, next_record) {
            (Some((CleanPoint::LocalHeader, ..)), None) if is_last => Ok(()),
            (Some(found), Some(next)) if !is_last => {
                let expected = (next.kind, next.ordinal, next.content_offset);
                if found == expected {
                    return Ok(());
                }
                Err(Error::corrupt(format!(
                    "the part ends before {}, the part map says before {}",
                    shown(found),
                    shown(expected)
                ))
                .in_entry(self.entries.last().map_or(&[], |e| &e.entry.path)))
            }
            (found, next) => Err(Error::corrupt(format!(
                "the part ends {}, and is {}; the part map has {} after it",
                found.map_or("in the middle of something".to_owned(), |found| format!("before {}", shown(found))),
                if is_last { "the last" } else { "not the last" },
                if next.is_some() { "another" } else { "none" },
            ))
            .in_entry(self.entries.last().map_or(&[], |e| &e.entry.path))),
        }
    }
}

fn check(what: &str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::corrupt(format!("{what} is {found}, the directory says {expected}")))
    }
}

/// A local file header against the directory (spec `#local-file-header`).
pub fn compare_header(ordinal: u64, offset: u64, header: &LocalFileHeader<'_>, placed: &PlacedEntry) -> Result<()> {
    let e: &Entry = &placed.entry;
    let name = match (e.entry_type, header.name.split_last()) {
        (EntryType::Directory, Some((b'/', path))) => path,
        _ => header.name,
    };
    let name_is_directory = name.len() != header.name.len();
    if name != e.path || name_is_directory != (e.entry_type == EntryType::Directory) {
        return Err(Error::corrupt(format!("the local file header names \"{}\"", header.name.escape_ascii())));
    }
    let (time, date) = dos_time::from_timestamp(e.attributes.mtime);
    let (crc32, compressed, uncompressed) = match e.has_descriptor {
        true => (0, 0, 0),
        false => (e.crc32, e.compressed_size, e.uncompressed_size),
    };
    let found = [
        ordinal,
        offset,
        offset + header.length as u64,
        header.flags.into(),
        header.method.into(),
        header.version_needed.into(),
        header.time.into(),
        header.date.into(),
        header.crc32.into(),
        header.compressed_size,
        header.uncompressed_size,
    ];
    let expected = [
        e.ordinal,
        e.header_offset,
        placed.data_start,
        flags(header.name, e.has_descriptor).into(),
        e.method.number().into(),
        version_needed(e.method, e.compressed_size, e.uncompressed_size).into(),
        time.into(),
        date.into(),
        crc32.into(),
        compressed,
        uncompressed,
    ];
    if found == expected {
        return Ok(());
    }
    const FIELDS: [&str; 11] = [
        "ordinal",
        "offset",
        "end",
        "flags",
        "method",
        "version needed",
        "time",
        "date",
        "CRC-32",
        "compressed size",
        "uncompressed size",
    ];
    for ((what, found), expected) in FIELDS.iter().zip(found).zip(expected) {
        check(&format!("local file header: {what}"), found, expected)?;
    }
    Ok(())
}
