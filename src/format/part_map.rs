//! Part map: one record per part (spec `#part-map`).

use std::fmt;

use super::bytes::Fields;
use super::error::{Error, Result};

/// Length of a record this version writes.
pub const RECORD_LENGTH: usize = 32;

/// What stands at the first byte of a part (spec `#grid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanPoint {
    /// A local file header.
    LocalHeader = 1,
    /// A start-of-part frame, within the data of a method-93 entry.
    StartOfPart = 2,
    /// Content of a STORE entry, at a multiple of 4,096.
    StoredData = 3,
}

impl fmt::Display for CleanPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CleanPoint::LocalHeader => "the local file header",
            CleanPoint::StartOfPart => "a start-of-part frame in the data",
            CleanPoint::StoredData => "stored data",
        })
    }
}

/// In words, what begins at a clean point: its kind, the entry, and the offset in that entry's content.
pub(crate) fn shown((kind, ordinal, content_offset): (CleanPoint, u64, u64)) -> String {
    match kind {
        CleanPoint::LocalHeader => format!("{kind} of entry {ordinal}"),
        _ => format!("{kind} of entry {ordinal}, at content offset {content_offset}"),
    }
}

/// What the map says of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRecord {
    /// CRC-32C of the bytes of the part.
    pub crc32c: u32,
    /// What to parse there.
    pub kind: CleanPoint,
    /// Entry the first byte belongs to.
    pub ordinal: u64,
    /// Offset in that entry's content at which the part begins; 0 at a local header.
    pub content_offset: u64,
    /// Offset in the directory of that entry's header.
    pub directory_offset: u64,
}

impl PartRecord {
    /// Appends [`RECORD_LENGTH`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.crc32c.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        for field in [self.ordinal, self.content_offset, self.directory_offset] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }

    /// Parses a record; bytes after the known ones (of a later minor version) are ignored.
    pub fn parse(bytes: &[u8]) -> Result<PartRecord> {
        let mut f = Fields::new(bytes, "part map record");
        let crc32c = f.u32()?;
        let kind = match f.u8()? {
            1 => CleanPoint::LocalHeader,
            2 => CleanPoint::StartOfPart,
            3 => CleanPoint::StoredData,
            other => {
                return Err(Error::corrupt(format!("part map record: kind {other} is unknown")));
            }
        };
        let reserved = f.bytes(3)?;
        if reserved != [0; 3] {
            return Err(Error::corrupt("part map record: reserved bytes are not 0"));
        }
        let record =
            PartRecord { crc32c, kind, ordinal: f.u64()?, content_offset: f.u64()?, directory_offset: f.u64()? };
        if record.kind == CleanPoint::LocalHeader && record.content_offset != 0 {
            return Err(Error::corrupt(format!(
                "part map record: content offset {} at a local header",
                record.content_offset
            )));
        }
        Ok(record)
    }
}

/// Parses a whole map of records of `record_length` bytes each.
pub fn parse_map(bytes: &[u8], record_length: usize) -> Result<Vec<PartRecord>> {
    bytes
        .chunks_exact(record_length.max(RECORD_LENGTH))
        .enumerate()
        .map(|(part, record)| {
            PartRecord::parse(record).map_err(|e| Error::corrupt(format!("part {part}: {}", e.message)))
        })
        .collect()
}
