//! Local file header (APPNOTE 4.3.7; spec `#local-file-header`).

use super::extra_field::{self, PAD, ZIP64};
use super::{FLAG_DATA_DESCRIPTOR, SEE_ZIP64, dos_time, flags, needs_zip64, short, version_needed};
use crate::format::bytes::Fields;
use crate::format::entry::{Method, Timestamp};
use crate::format::error::{Error, Result};

/// `PK\3\4`
pub const SIGNATURE: u32 = 0x0403_4B50;
/// Length of the fields before the name.
pub const FIXED_LENGTH: usize = 30;
/// Length of the ZIP64 field with its identifier and length.
const ZIP64_LENGTH: usize = 20;
/// Length of a pad field without payload.
const PAD_LENGTH: usize = 4;

/// What a writer states in a local file header.
#[derive(Debug, Clone)]
pub struct NewHeader<'a> {
    /// As it stands in the archive: with a final `/` for a directory.
    pub name: &'a [u8],
    /// Decides which version is needed to extract.
    pub method: Method,
    /// Written as DOS time, UTC; the directory has it exactly.
    pub mtime: Timestamp,
    /// CRC-32, compressed and uncompressed size; None = bit 3, they follow in a data descriptor.
    pub sizes: Option<(u32, u64, u64)>,
    /// Payload of the pad field; None = no pad field.
    pub pad: Option<u16>,
}

impl NewHeader<'_> {
    fn has_zip64(&self) -> bool {
        self.sizes.is_none_or(|(_, c, u)| needs_zip64(c) || needs_zip64(u))
    }

    /// Length in bytes of the whole header.
    pub fn length(&self) -> u64 {
        let zip64 = if self.has_zip64() { ZIP64_LENGTH } else { 0 };
        let pad = self.pad.map_or(0, |payload| PAD_LENGTH + usize::from(payload));
        (FIXED_LENGTH + self.name.len() + zip64 + pad) as u64
    }

    /// Appends [`length`](Self::length) bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (crc32, compressed, uncompressed) = self.sizes.unwrap_or((0, 0, 0));
        let mut extra = Vec::new();
        if self.has_zip64() {
            let mut payload = [0; 16];
            payload[..8].copy_from_slice(&uncompressed.to_le_bytes());
            payload[8..].copy_from_slice(&compressed.to_le_bytes());
            extra_field::encode(&mut extra, ZIP64, &payload);
        }
        if let Some(payload) = self.pad {
            extra_field::encode(&mut extra, PAD, &vec![0; payload.into()]);
        }
        let (time, date) = dos_time::from_timestamp(self.mtime);
        let (short_compressed, short_uncompressed) = match self.has_zip64() {
            true => (SEE_ZIP64, SEE_ZIP64),
            false => (short(compressed), short(uncompressed)),
        };
        out.extend_from_slice(&SIGNATURE.to_le_bytes());
        for field in [
            version_needed(self.method, compressed, uncompressed),
            flags(self.name, self.sizes.is_none()),
            self.method.number(),
            time,
            date,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for field in [crc32, short_compressed, short_uncompressed] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        out.extend_from_slice(&(extra.len() as u16).to_le_bytes());
        out.extend_from_slice(self.name);
        out.extend_from_slice(&extra);
    }
}

/// A local file header as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFileHeader<'a> {
    /// APPNOTE 4.4.3.2.
    pub version_needed: u16,
    /// General purpose bits (APPNOTE 4.4.4).
    pub flags: u16,
    /// APPNOTE 4.4.5.
    pub method: u16,
    /// DOS time (APPNOTE 4.4.6).
    pub time: u16,
    /// DOS date.
    pub date: u16,
    /// 0 if a descriptor follows.
    pub crc32: u32,
    /// True sizes (from the ZIP64 field where there is one); 0 with bit 3.
    pub compressed_size: u64,
    /// From the ZIP64 field where there is one.
    pub uncompressed_size: u64,
    /// With the final `/` of a directory.
    pub name: &'a [u8],
    /// Whether sizes are in a ZIP64 field.
    pub has_zip64: bool,
    /// Whether there is a pad field.
    pub has_pad: bool,
    /// Whole header, in bytes.
    pub length: usize,
}

impl LocalFileHeader<'_> {
    /// General purpose bit 3.
    pub fn has_descriptor(&self) -> bool {
        self.flags & FLAG_DATA_DESCRIPTOR != 0
    }
}

/// Total length of the header that begins with these bytes, or None if fewer than [`FIXED_LENGTH`] are there.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let lengths = bytes.get(26..FIXED_LENGTH)?;
    let name = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
    let extra = usize::from(u16::from_le_bytes([lengths[2], lengths[3]]));
    Some(FIXED_LENGTH + name + extra)
}

/// Parses a header that is completely in `bytes` (see [`length`]).
pub fn parse(bytes: &[u8]) -> Result<LocalFileHeader<'_>> {
    let mut f = Fields::new(bytes, "local file header");
    let signature = f.u32()?;
    f.expect("signature", signature, SIGNATURE)?;
    let mut header = LocalFileHeader {
        version_needed: f.u16()?,
        flags: f.u16()?,
        method: f.u16()?,
        time: f.u16()?,
        date: f.u16()?,
        crc32: f.u32()?,
        compressed_size: f.u32()?.into(),
        uncompressed_size: f.u32()?.into(),
        name: &[],
        has_zip64: false,
        has_pad: false,
        length: 0,
    };
    let (name_length, extra_length) = (f.u16()?, f.u16()?);
    header.name = f.bytes(name_length.into())?;
    let mut extra = Fields::new(f.bytes(extra_length.into())?, "extra field of a local file header");
    header.length = FIXED_LENGTH + usize::from(name_length) + usize::from(extra_length);
    while let Some((identifier, payload)) = extra_field::next(&mut extra)? {
        match identifier {
            ZIP64 if !header.has_zip64 && !header.has_pad => {
                let mut z = Fields::new(payload, "ZIP64 field of a local file header");
                (header.uncompressed_size, header.compressed_size) = (z.u64()?, z.u64()?);
                header.has_zip64 = true;
                z.expect("surplus bytes", z.rest().len(), 0)?;
            }
            PAD if !header.has_pad => header.has_pad = true,
            _ => {
                return Err(Error::corrupt(format!(
                    "local file header: extra field {identifier:#06x} is not allowed here, comes twice or out of order"
                )));
            }
        }
    }
    let short_sizes = u64::from(SEE_ZIP64);
    if !header.has_zip64 && (header.compressed_size == short_sizes || header.uncompressed_size == short_sizes) {
        return Err(Error::corrupt("local file header: the sizes point to a ZIP64 field, which is missing"));
    }
    Ok(header)
}
