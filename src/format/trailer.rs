//! Trailer: what a reader needs to know first (spec `#trailer`).

use super::bytes::Fields;
use super::checksum::crc32c;
use super::error::{Error, Reason, Result};
use super::limits::{ATTRIBUTE_LIST_MAX, DIRECTORY_CHECKSUM_STEP, ENTRIES_MAX, GRID};
use super::part_map;

/// Length this version writes.
pub const LENGTH: usize = 192;
/// Longest trailer a reader accepts from a later minor version.
pub const LENGTH_MAX: usize = 4096;
/// The last bytes, which tell the trailer's length: length, CRC-32C, signature.
pub const END_LENGTH: usize = 16;
/// The first 8 bytes.
pub const SIGNATURE: &[u8; 8] = b"BURSTTRL";
/// The last 8 bytes.
pub const END_SIGNATURE: &[u8; 8] = b"BURSTEND";
/// Another number is another format, which is refused.
pub const MAJOR: u16 = 1;
/// What this version writes; a reader takes later ones too.
pub const MINOR: u16 = 0;

/// First bytes of the attribute region (spec `#attribute-region`).
pub const ATTRIBUTE_REGION_SIGNATURE: &[u8; 8] = b"BURSTATR";

/// Offsets and lengths in bytes; offsets are those of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// Minor version of the writer.
    pub minor: u16,
    /// Length of the trailer itself.
    pub length: u32,
    /// A reader may ignore bits it does not know.
    pub optional_features: u64,
    /// Random, or what the maker chose.
    pub archive_id: [u8; 16],
    /// Of the whole object.
    pub archive_length: u64,
    /// Where the data region ends and the attribute region begins.
    pub data_end: u64,
    /// Of the root attributes; 0 if there are none.
    pub root_length: u64,
    /// CRC-32C of the root attributes.
    pub root_crc32c: u32,
    /// At least [`part_map::RECORD_LENGTH`]; a later version may append fields.
    pub part_record_length: u32,
    /// Of the part map.
    pub map_offset: u64,
    /// Records in the map: the data region in steps of 8 MiB, rounded up.
    pub parts: u64,
    /// CRC-32C of part map and directory checksum table.
    pub index_crc32c: u32,
    /// Of the directory checksum table.
    pub table_offset: u64,
    /// Of the central directory.
    pub directory_offset: u64,
    /// Without the end records.
    pub directory_length: u64,
    /// In the directory.
    pub entries: u64,
    /// Of the entries, those that are directories: they come first.
    pub directories: u64,
    /// Sum of the uncompressed sizes of regular files.
    pub content_bytes: u64,
    /// A hint: how the object was cut when it was uploaded.
    pub upload_part_size: u64,
}

impl Trailer {
    /// Appends the trailer in the form of this version (192 bytes).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(&MAJOR.to_le_bytes());
        out.extend_from_slice(&MINOR.to_le_bytes());
        out.extend_from_slice(&(LENGTH as u32).to_le_bytes());
        out.extend_from_slice(&0u64.to_le_bytes());
        out.extend_from_slice(&self.optional_features.to_le_bytes());
        out.extend_from_slice(&self.archive_id);
        for field in [self.archive_length, self.data_end, self.root_length] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.root_crc32c.to_le_bytes());
        out.extend_from_slice(&self.part_record_length.to_le_bytes());
        out.extend_from_slice(&self.map_offset.to_le_bytes());
        out.extend_from_slice(&self.parts.to_le_bytes());
        out.extend_from_slice(&self.index_crc32c.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        for field in [
            self.table_offset,
            self.directory_offset,
            self.directory_length,
            self.entries,
            self.directories,
            self.content_bytes,
            self.upload_part_size,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&(LENGTH as u32).to_le_bytes());
        let crc = crc32c(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(END_SIGNATURE);
    }

    /// The trailer's length, from its last 16 bytes.
    pub fn length_from_end(end: &[u8]) -> Result<usize> {
        let mut f = Fields::new(end, "trailer");
        let length = f.u32()? as usize;
        f.u32()?;
        if f.bytes(8)? != END_SIGNATURE {
            return Err(Error::corrupt(
                "there is no BURST trailer before the central directory: not a BURST archive, or rewritten by another tool",
            ));
        }
        if !(LENGTH..=LENGTH_MAX).contains(&length) {
            return Err(Error::corrupt(format!("trailer: length {length} is not within {LENGTH} to {LENGTH_MAX}")));
        }
        Ok(length)
    }

    /// Parses a complete trailer and checks that its numbers fit each other (spec `#layout`).
    pub fn parse(bytes: &[u8]) -> Result<Trailer> {
        let refuse = |message: String| Err(Error::corrupt(format!("trailer: {message}")));
        let covered = bytes.len().saturating_sub(END_LENGTH - 4);
        let (body, end) = bytes.split_at(covered);
        let stored = Fields::new(end, "trailer").u32()?;
        let computed = crc32c(body);
        if stored != computed {
            return refuse(format!("CRC-32C is {computed:#010x}, expected {stored:#010x}"));
        }
        let mut f = Fields::new(bytes, "trailer");
        let signature = f.bytes(8)?;
        if signature != SIGNATURE {
            let (found, expected) = (signature.escape_ascii(), SIGNATURE.escape_ascii());
            return refuse(format!("signature is \"{found}\", expected \"{expected}\""));
        }
        let (major, minor, length) = (f.u16()?, f.u16()?, f.u32()?);
        if major != MAJOR {
            return Err(Error::new(
                Reason::Unsupported,
                format!("format version {major}.{minor} is not supported; this burst reads {MAJOR}.x"),
            ));
        }
        if length as usize != bytes.len() {
            return refuse(format!("length {length} at its start, {} at its end", bytes.len()));
        }
        let (required, optional_features) = (f.u64()?, f.u64()?);
        if required != 0 {
            return Err(Error::new(
                Reason::Unsupported,
                format!("required feature bits {required:#x} are unknown: the archive needs a newer burst"),
            ));
        }
        let mut archive_id = [0; 16];
        archive_id.copy_from_slice(f.bytes(16)?);
        let (archive_length, data_end, root_length) = (f.u64()?, f.u64()?, f.u64()?);
        let (root_crc32c, part_record_length) = (f.u32()?, f.u32()?);
        let (map_offset, parts) = (f.u64()?, f.u64()?);
        let index_crc32c = f.u32()?;
        f.u32()?;
        let t = Trailer {
            minor,
            length,
            optional_features,
            archive_id,
            archive_length,
            data_end,
            root_length,
            root_crc32c,
            part_record_length,
            map_offset,
            parts,
            index_crc32c,
            table_offset: f.u64()?,
            directory_offset: f.u64()?,
            directory_length: f.u64()?,
            entries: f.u64()?,
            directories: f.u64()?,
            content_bytes: f.u64()?,
            upload_part_size: f.u64()?,
        };
        t.check_layout()?;
        Ok(t)
    }

    fn check_layout(&self) -> Result<()> {
        let check = |what: &str, found: u64, expected: Option<u64>| {
            if Some(found) == expected {
                return Ok(());
            }
            let expected = expected.map_or("a number that fits".to_owned(), |v| v.to_string());
            Err(Error::corrupt(format!("trailer: {what} is {found}, expected {expected}")))
        };
        let at_most = |what: &str, found: u64, limit: u64| {
            if found <= limit {
                return Ok(());
            }
            Err(Error::corrupt(format!("trailer: {what} is {found}, more than {limit}")))
        };
        at_most("archive length", self.archive_length, i64::MAX as u64)?;
        at_most("data end", self.data_end, self.archive_length)?;
        at_most("map offset", self.map_offset, self.archive_length)?;
        at_most("directory offset", self.directory_offset, self.archive_length)?;
        at_most("directory length", self.directory_length, self.archive_length)?;
        at_most("root length", self.root_length, ATTRIBUTE_LIST_MAX.into())?;
        at_most("part record length", self.part_record_length.into(), 4096)?;
        at_most("entries", self.entries, ENTRIES_MAX)?;
        at_most("directories", self.directories, self.entries)?;
        if self.entries == 0 {
            return check("entries", 0, None);
        }
        if (self.part_record_length as usize) < part_map::RECORD_LENGTH {
            return check("part record length", self.part_record_length.into(), Some(part_map::RECORD_LENGTH as u64));
        }
        // Every header is at least 46 + 1 bytes, so this also bounds what a list of entries may take.
        at_most("entries", self.entries, self.directory_length / 47)?;
        let attributes_end = self.data_end + ATTRIBUTE_REGION_SIGNATURE.len() as u64 + self.root_length;
        at_most("end of the root attributes", attributes_end, self.map_offset)?;
        check("number of parts", self.parts, Some(self.data_end.div_ceil(GRID)))?;
        let map_length = self.parts.checked_mul(self.part_record_length.into());
        check("table offset", self.table_offset, map_length.and_then(|l| l.checked_add(self.map_offset)))?;
        let table_length = self.directory_length.div_ceil(DIRECTORY_CHECKSUM_STEP) * 4;
        let directory_offset =
            self.table_offset.checked_add(table_length).and_then(|o| o.checked_add(self.length.into()));
        check("directory offset", self.directory_offset, directory_offset)?;
        Ok(())
    }

    /// Length of part map and directory checksum table together.
    pub fn index_length(&self) -> u64 {
        self.directory_offset - u64::from(self.length) - self.map_offset
    }
}
