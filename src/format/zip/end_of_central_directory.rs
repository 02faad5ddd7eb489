//! End records: ZIP64 end of central directory, its locator, end of central directory (APPNOTE 4.3.14-4.3.16; spec `#end-records`).

use super::{SEE_ZIP64, VERSION_MADE_BY, needs_zip64, short};
use crate::format::bytes::Fields;
use crate::format::error::Result;

/// `PK\5\6` (APPNOTE 4.3.16).
pub const SIGNATURE: u32 = 0x0605_4B50;
/// Without a comment: BURST writes none.
pub const LENGTH: usize = 22;
/// `PK\6\6` (APPNOTE 4.3.14).
pub const ZIP64_SIGNATURE: u32 = 0x0606_4B50;
/// Without an extensible data sector.
pub const ZIP64_LENGTH: usize = 56;
/// `PK\6\7` (APPNOTE 4.3.15).
pub const LOCATOR_SIGNATURE: u32 = 0x0706_4B50;
/// Fixed (APPNOTE 4.3.15).
pub const LOCATOR_LENGTH: usize = 20;
/// All three records together.
pub const LENGTH_WITH_ZIP64: usize = ZIP64_LENGTH + LOCATOR_LENGTH + LENGTH;

/// What the end records say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRecords {
    /// Headers in the directory.
    pub entries: u64,
    /// From the start of the archive.
    pub directory_offset: u64,
    /// Bytes.
    pub directory_length: u64,
}

impl EndRecords {
    /// Whether a value does not fit the record of plain ZIP, so that the ZIP64 records come before it.
    pub fn has_zip64(&self) -> bool {
        self.entries >= 0xFFFF || needs_zip64(self.directory_length) || needs_zip64(self.directory_offset)
    }

    /// Length in bytes of the records these values need.
    pub fn length(&self) -> u64 {
        (if self.has_zip64() { LENGTH_WITH_ZIP64 } else { LENGTH }) as u64
    }

    /// Appends all records these values need.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.has_zip64() {
            let zip64_offset = self.directory_offset + self.directory_length;
            out.extend_from_slice(&ZIP64_SIGNATURE.to_le_bytes());
            out.extend_from_slice(&(ZIP64_LENGTH as u64 - 12).to_le_bytes());
            out.extend_from_slice(&VERSION_MADE_BY.to_le_bytes());
            out.extend_from_slice(&45u16.to_le_bytes());
            out.extend_from_slice(&[0; 8]); // this disk, disk of the directory
            for field in [self.entries, self.entries, self.directory_length, self.directory_offset] {
                out.extend_from_slice(&field.to_le_bytes());
            }
            out.extend_from_slice(&LOCATOR_SIGNATURE.to_le_bytes());
            out.extend_from_slice(&0u32.to_le_bytes());
            out.extend_from_slice(&zip64_offset.to_le_bytes());
            out.extend_from_slice(&1u32.to_le_bytes());
        }
        let entries = self.entries.min(0xFFFF) as u16;
        out.extend_from_slice(&SIGNATURE.to_le_bytes());
        out.extend_from_slice(&[0; 4]); // this disk, disk of the directory
        out.extend_from_slice(&entries.to_le_bytes());
        out.extend_from_slice(&entries.to_le_bytes());
        out.extend_from_slice(&short(self.directory_length).to_le_bytes());
        out.extend_from_slice(&short(self.directory_offset).to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
    }

    /// Parses the records at the end of `tail`, the last bytes of the archive; whether they are the canonical
    /// ones (right place, ZIP64 only where needed) is for the caller to check by encoding them again.
    pub fn parse(tail: &[u8]) -> Result<EndRecords> {
        let mut f = Fields::new(&tail[tail.len().saturating_sub(LENGTH)..], "end of central directory record");
        let signature = f.u32()?;
        f.expect("signature", signature, SIGNATURE)?;
        f.bytes(4)?;
        let entries = f.u16()?;
        f.bytes(2)?;
        let (length, offset) = (f.u32()?, f.u32()?);
        if entries < 0xFFFF && length < SEE_ZIP64 && offset < SEE_ZIP64 {
            return Ok(EndRecords {
                entries: entries.into(),
                directory_offset: offset.into(),
                directory_length: length.into(),
            });
        }
        let mut f =
            Fields::new(&tail[tail.len().saturating_sub(LENGTH_WITH_ZIP64)..], "ZIP64 end of central directory record");
        let signature = f.u32()?;
        f.expect("signature", signature, ZIP64_SIGNATURE)?;
        f.bytes(20)?;
        let entries = f.u64()?;
        f.bytes(8)?;
        let (directory_length, directory_offset) = (f.u64()?, f.u64()?);
        Ok(EndRecords { entries, directory_offset, directory_length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_round_trip() {
        for (entries, directory_offset, directory_length) in
            [(0, 0, 0), (65_534, 7, 9), (65_535, 7, 9), (1, 0xFFFF_FFFF, 5), (1, 1 << 40, 0xFFFF_FFFF)]
        {
            let end = EndRecords { entries, directory_offset, directory_length };
            let mut bytes = Vec::new();
            end.encode(&mut bytes);
            assert_eq!(bytes.len() as u64, end.length());
            assert_eq!(EndRecords::parse(&bytes), Ok(end));
        }
        assert!(EndRecords::parse(b"<html>").is_err());
    }
}
