//! Opening an archive from its end: end records, trailer, part map and directory checksum table
//! (spec `#part-map` to `#end-records`).

use std::ops::Range;

use super::attributes::{AttributeList, parse_root};
use super::checksum::crc32c;
use super::directory_reader::PlacedEntry;
use super::entry::{Attributes, Entry, Xattr};
use super::error::{Error, Result};
use super::limits::{ATTRIBUTE_LIST_MAX, DIRECTORY_CHECKSUM_STEP, EXTENT_ALIGNMENT, GRID};
use super::part_map::{CleanPoint, PartRecord, parse_map};
use super::part_reader::{Piece, read_part};
use super::trailer::{ATTRIBUTE_REGION_SIGNATURE, END_LENGTH, LENGTH, Trailer};
use super::zip::end_of_central_directory::{self as end_records, EndRecords, LENGTH_WITH_ZIP64, LOCATOR_SIGNATURE};

/// What must be known before anything else of an archive is read; everything in it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveIndex {
    /// What the last record before the end records says.
    pub trailer: Trailer,
    /// One record per part.
    pub map: Vec<PartRecord>,
    /// CRC-32C of each MiB of the directory.
    pub table: Vec<u32>,
    /// What other ZIP tools read first.
    pub end: EndRecords,
}

/// How far opening has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// These bytes of the archive are needed as one piece (absolute offsets).
    Need(Range<u64>),
    /// Nothing more is needed.
    Ready(ArchiveIndex),
}

/// Bytes of the archive: the offset of the first, and the bytes.
pub type Fetched<'a> = (u64, &'a [u8]);

/// Opens an archive of this length out of what was fetched of it. To be called again with one piece more for
/// every [`Opening::Need`], at most four times. A good first piece is the last 64 KiB; without any, the end records are asked for.
pub fn open(archive_length: u64, fetched: &[Fetched<'_>]) -> Result<Opening> {
    if archive_length < end_records::LENGTH as u64 {
        return Err(Error::corrupt(format!(
            "not a BURST archive: {archive_length} bytes are too few, the end record alone has {}",
            end_records::LENGTH
        )));
    }
    let tail = archive_length.saturating_sub(LENGTH_WITH_ZIP64 as u64)..archive_length;
    let Some(tail_bytes) = get(fetched, &tail) else {
        return Ok(Opening::Need(tail));
    };
    let end = parse_end(tail_bytes, archive_length, fetched)?;
    let directory = end.directory_offset;
    // Most trailers have the length this version writes, so that asking for it gets all at once.
    let last = directory.saturating_sub(LENGTH as u64)..directory;
    let Some(last_bytes) = get(fetched, &last) else {
        return Ok(Opening::Need(last));
    };
    let trailer_end = last_bytes
        .len()
        .checked_sub(END_LENGTH)
        .and_then(|start| last_bytes.get(start..))
        .ok_or_else(|| no_trailer(directory))?;
    let length = Trailer::length_from_end(trailer_end).map_err(|e| e.at(directory))?;
    let Some(start) = directory.checked_sub(length as u64) else {
        return Err(no_trailer(directory));
    };
    let Some(bytes) = get(fetched, &(start..directory)) else {
        return Ok(Opening::Need(start..directory));
    };
    let trailer = Trailer::parse(bytes).map_err(|e| e.at(start))?;
    check_against_end(&trailer, &end, archive_length).map_err(|e| e.at(start))?;
    let index = trailer.map_offset..start;
    let Some(bytes) = get(fetched, &index) else {
        return Ok(Opening::Need(index));
    };
    ArchiveIndex::new(trailer, end, bytes).map(Opening::Ready)
}

fn get<'a>(fetched: &[Fetched<'a>], range: &Range<u64>) -> Option<&'a [u8]> {
    fetched.iter().find_map(|&(start, bytes)| {
        let from = usize::try_from(range.start.checked_sub(start)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(start)?).ok()?;
        bytes.get(from..to)
    })
}

fn no_trailer(directory_offset: u64) -> Error {
    Error::corrupt(
        "there is no BURST trailer before the central directory: not a BURST archive, or rewritten by another tool",
    )
    .at(directory_offset)
}

/// The end records, byte for byte as the format wants them.
fn parse_end(tail: &[u8], archive_length: u64, fetched: &[Fetched<'_>]) -> Result<EndRecords> {
    let Ok(end) = EndRecords::parse(tail) else {
        return Err(foreign(tail, archive_length, fetched));
    };
    let expected = end.directory_offset.checked_add(end.directory_length).and_then(|n| n.checked_add(end.length()));
    if expected != Some(archive_length) {
        return Err(Error::corrupt(format!(
            "the archive has {archive_length} bytes; its end records place a directory of {} bytes at {} and end at {}: it was cut or extended, or is not a BURST archive",
            end.directory_length,
            end.directory_offset,
            expected.map_or("an impossible offset".into(), |n| n.to_string()),
        )));
    }
    let mut canonical = Vec::with_capacity(LENGTH_WITH_ZIP64);
    end.encode(&mut canonical);
    if !tail.ends_with(&canonical) {
        return Err(Error::corrupt(format!(
            "end records are \"{}\", expected \"{}\": not a BURST archive, or rewritten by another tool",
            tail.get(tail.len().saturating_sub(canonical.len())..).unwrap_or_default().escape_ascii(),
            canonical.escape_ascii()
        ))
        .at(archive_length - canonical.len() as u64));
    }
    Ok(end)
}

/// Says as well as possible what this is instead.
#[cold]
fn foreign(tail: &[u8], archive_length: u64, fetched: &[Fetched<'_>]) -> Error {
    let holds = |bytes: &[u8], signature: u32| {
        let signature = signature.to_le_bytes();
        bytes.windows(4).any(|w| w == signature)
    };
    let near_end = || {
        fetched
            .iter()
            .filter(|(start, bytes)| start + bytes.len() as u64 == archive_length)
            .map(|&(_, bytes)| bytes)
            .chain([tail])
    };
    let first = fetched.iter().find(|(start, _)| *start == 0).map(|(_, bytes)| bytes.trim_ascii_start());
    let what = if first.is_some_and(|b| b.starts_with(b"<")) {
        "it looks like an HTML or XML page, perhaps an error page: check the location"
    } else if near_end().any(|b| holds(b, end_records::SIGNATURE)) {
        "something follows its end record (a comment or appended bytes), as no BURST archive has it"
    } else if near_end().any(|b| holds(b, LOCATOR_SIGNATURE)) {
        "its end record is damaged or was cut off"
    } else if first.is_some_and(|b| b.starts_with(b"PK\x03\x04")) {
        "it begins as a ZIP file, but has no end record: it was cut short"
    } else {
        "it has no ZIP end record: cut short, or something else"
    };
    let found = tail.get(tail.len().saturating_sub(end_records::LENGTH)..).unwrap_or_default();
    Error::corrupt(format!(
        "not a BURST archive: {what}. Expected \"PK\\x05\\x06\" {} bytes before the end, found \"{}\"",
        end_records::LENGTH,
        found.get(..4).unwrap_or(found).escape_ascii()
    ))
    .at(archive_length - found.len() as u64)
}

fn check_against_end(trailer: &Trailer, end: &EndRecords, archive_length: u64) -> Result<()> {
    for (what, found, expected) in [
        ("archive length", trailer.archive_length, archive_length),
        ("entries", trailer.entries, end.entries),
        ("directory offset", trailer.directory_offset, end.directory_offset),
        ("directory length", trailer.directory_length, end.directory_length),
    ] {
        if found != expected {
            return Err(Error::corrupt(format!(
                "{what} is {expected}, the trailer says {found}: the archive was cut, extended or rewritten by another tool"
            )));
        }
    }
    if (trailer.entries == 0) != (trailer.data_end == 0) || (trailer.entries == 0) != (trailer.directory_length == 0) {
        return Err(Error::corrupt(format!(
            "{} entries, {} bytes of data and a directory of {} bytes do not go together",
            trailer.entries, trailer.data_end, trailer.directory_length
        )));
    }
    Ok(())
}

impl ArchiveIndex {
    /// Puts the index together; `bytes` are part map and directory checksum table.
    pub fn new(trailer: Trailer, end: EndRecords, bytes: &[u8]) -> Result<ArchiveIndex> {
        let at = trailer.map_offset;
        if bytes.len() as u64 != trailer.index_length() {
            return Err(Error::corrupt(format!(
                "part map and directory checksum table have {} bytes, expected {}",
                bytes.len(),
                trailer.index_length()
            ))
            .at(at));
        }
        let crc = crc32c(bytes);
        if crc != trailer.index_crc32c {
            return Err(Error::corrupt(format!(
                "part map and directory checksum table: CRC-32C is {crc:#010x}, the trailer says {:#010x}",
                trailer.index_crc32c
            ))
            .at(at));
        }
        let map_length = (trailer.table_offset - trailer.map_offset) as usize;
        let (map, table) = bytes.split_at(map_length);
        let map = parse_map(map, trailer.part_record_length as usize).map_err(|e| e.at(at))?;
        check_map(&map, &trailer).map_err(|e| e.at(at))?;
        let table = table.chunks_exact(4).map(|c| c.first_chunk().map_or(0, |c| u32::from_le_bytes(*c))).collect();
        Ok(ArchiveIndex { trailer, map, table, end })
    }

    /// Where a part lies in the archive.
    pub fn part_range(&self, part_index: u64) -> Range<u64> {
        let data_end = self.trailer.data_end;
        let start = part_index.saturating_mul(GRID).min(data_end);
        start..start.saturating_add(GRID).min(data_end)
    }

    /// Where the directory lies in the archive.
    pub fn directory_range(&self) -> Range<u64> {
        let start = self.trailer.directory_offset;
        start..start + self.trailer.directory_length
    }

    /// Checks one MiB of the directory (the last piece may be shorter) against the table.
    pub fn check_directory_piece(&self, mib: u64, bytes: &[u8]) -> Result<()> {
        let start = mib.saturating_mul(DIRECTORY_CHECKSUM_STEP);
        let at = self.trailer.directory_offset.saturating_add(start);
        let length = self.trailer.directory_length.saturating_sub(start);
        let length = length.min(DIRECTORY_CHECKSUM_STEP);
        let stored = usize::try_from(mib).ok().and_then(|i| self.table.get(i));
        let Some(&stored) = stored.filter(|_| bytes.len() as u64 == length) else {
            return Err(
                Error::corrupt(format!("directory MiB {mib} has {} bytes, expected {length}", bytes.len())).at(at)
            );
        };
        let crc = crc32c(bytes);
        if crc != stored {
            return Err(Error::corrupt(format!(
                "directory MiB {mib}: CRC-32C is {crc:#010x}, the checksum table says {stored:#010x}"
            ))
            .at(at));
        }
        Ok(())
    }

    /// Where the attribute region's signature and the root attributes lie.
    pub fn root_range(&self) -> Range<u64> {
        let start = self.trailer.data_end;
        start..start + ATTRIBUTE_REGION_SIGNATURE.len() as u64 + self.trailer.root_length
    }

    /// The root attributes out of the bytes of [`Self::root_range`]; None if the archive says nothing about its root.
    pub fn root_attributes(&self, bytes: &[u8]) -> Result<Option<Attributes>> {
        let start = self.trailer.data_end;
        let refuse = |message: String| Err(Error::corrupt(message).at(start));
        let Some((signature, root)) = bytes.split_first_chunk::<8>() else {
            return refuse(format!("attribute region of {} bytes, expected 8", bytes.len()));
        };
        if signature != ATTRIBUTE_REGION_SIGNATURE {
            return refuse(format!(
                "attribute region begins with \"{}\", expected \"BURSTATR\"",
                signature.escape_ascii()
            ));
        }
        if root.len() as u64 != self.trailer.root_length {
            return refuse(format!(
                "root attributes have {} bytes, the trailer says {}",
                root.len(),
                self.trailer.root_length
            ));
        }
        let crc = crc32c(root);
        if crc != self.trailer.root_crc32c {
            return refuse(format!(
                "root attributes: CRC-32C is {crc:#010x}, the trailer says {:#010x}",
                self.trailer.root_crc32c
            ));
        }
        match root {
            [] => Ok(None),
            root => parse_root(root).map(Some).map_err(|e| e.at(start)),
        }
    }

    /// Where an entry's overflow list lies in the archive, after the limits were checked; None if it has none.
    pub fn overflow_range(&self, entry: &Entry) -> Result<Option<Range<u64>>> {
        let Some(list) = entry.overflow else {
            return Ok(None);
        };
        let t = &self.trailer;
        let (first, last) = (self.root_range().end - t.data_end, t.map_offset - t.data_end);
        let end = list.offset.saturating_add(list.length.into());
        if list.length > ATTRIBUTE_LIST_MAX || list.offset < first || end > last {
            return Err(Error::corrupt(format!(
                "overflow list of {} bytes at {} from the data's end, allowed are {ATTRIBUTE_LIST_MAX} bytes between {first} and {last}",
                list.length, list.offset
            ))
            .in_entry(&entry.path));
        }
        Ok(Some(t.data_end + list.offset..t.data_end + end))
    }

    /// Checks and lists a part: see [`read_part`].
    pub fn read_part(&self, part_index: u64, bytes: &[u8], entries: &[PlacedEntry]) -> Result<Vec<Piece>> {
        let record = |i: u64| usize::try_from(i).ok().and_then(|i| self.map.get(i));
        let Some(this) = record(part_index) else {
            return Err(Error::corrupt(format!("part {part_index} of {}", self.trailer.parts)));
        };
        let t = &self.trailer;
        read_part(bytes, part_index, this, record(part_index + 1), &t.archive_id, t.data_end, entries)
    }
}

/// The extended attributes out of an entry's overflow list.
pub fn overflow_xattrs(entry: &Entry, bytes: &[u8]) -> Result<Vec<Xattr>> {
    let parse = || {
        let Some(list) = entry.overflow else {
            return Ok(Vec::new());
        };
        let crc = crc32c(bytes);
        if bytes.len() as u64 != u64::from(list.length) || crc != list.crc32c {
            return Err(Error::corrupt(format!(
                "overflow list has {} bytes and CRC-32C {crc:#010x}, the directory says {} and {:#010x}",
                bytes.len(),
                list.length,
                list.crc32c
            )));
        }
        let AttributeList { xattrs, link_count: None, device: None, hard_link: None, overflow: None } =
            AttributeList::parse(bytes)?
        else {
            return Err(Error::corrupt("overflow list with attributes other than 0x81, the only one expected"));
        };
        Ok(xattrs)
    };
    parse().map_err(|e| e.in_entry(&entry.path))
}

/// The records against each other and the trailer (spec `#part-map`).
fn check_map(map: &[PartRecord], trailer: &Trailer) -> Result<()> {
    let refuse = |part: usize, message: String| Err(Error::corrupt(format!("part map record {part}: {message}")));
    if map.len() as u64 != trailer.parts {
        return Err(Error::corrupt(format!("part map has {} records, the trailer says {}", map.len(), trailer.parts)));
    }
    let mut previous: Option<&PartRecord> = None;
    for (i, record) in map.iter().enumerate() {
        if record.ordinal >= trailer.entries || record.directory_offset >= trailer.directory_length {
            return refuse(
                i,
                format!(
                    "entry {} at directory offset {}, but there are {} entries in {} bytes",
                    record.ordinal, record.directory_offset, trailer.entries, trailer.directory_length
                ),
            );
        }
        if record.kind == CleanPoint::StoredData && !record.content_offset.is_multiple_of(EXTENT_ALIGNMENT) {
            return refuse(
                i,
                format!("data offset {}, expected a multiple of {EXTENT_ALIGNMENT}", record.content_offset),
            );
        }
        let now = (record.ordinal, record.directory_offset);
        let fits = match previous {
            None => record.kind == CleanPoint::LocalHeader && now == (0, 0),
            Some(p) if p.ordinal == record.ordinal => {
                p.directory_offset == record.directory_offset
                    && record.kind != CleanPoint::LocalHeader
                    && p.content_offset <= record.content_offset
                    && (p.kind == record.kind || p.kind == CleanPoint::LocalHeader)
            }
            Some(p) => p.ordinal < record.ordinal && p.directory_offset < record.directory_offset,
        };
        if !fits {
            return refuse(
                i,
                format!(
                    "{} of entry {} at directory offset {}, content offset {}, does not follow {}",
                    record.kind,
                    record.ordinal,
                    record.directory_offset,
                    record.content_offset,
                    previous.map_or("the start of the archive".to_owned(), |p| format!(
                        "{} of entry {} at directory offset {}, content offset {}",
                        p.kind, p.ordinal, p.directory_offset, p.content_offset
                    ))
                ),
            );
        }
        previous = Some(record);
    }
    Ok(())
}
