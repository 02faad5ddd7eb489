//! Data descriptor, always with signature and 8-byte sizes (APPNOTE 4.3.9; spec `#data-descriptor`).

use crate::format::bytes::Fields;
use crate::format::error::Result;

/// `PK\7\8`
pub const SIGNATURE: u32 = 0x0807_4B50;
/// Bytes: signature, CRC-32, two sizes.
pub const LENGTH: usize = 24;

/// What is known of an entry's data only after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataDescriptor {
    /// Of the content.
    pub crc32: u32,
    /// Bytes of data in the archive.
    pub compressed_size: u64,
    /// Bytes of content.
    pub uncompressed_size: u64,
}

impl DataDescriptor {
    /// Appends [`LENGTH`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&SIGNATURE.to_le_bytes());
        out.extend_from_slice(&self.crc32.to_le_bytes());
        out.extend_from_slice(&self.compressed_size.to_le_bytes());
        out.extend_from_slice(&self.uncompressed_size.to_le_bytes());
    }

    /// `bytes` begin with the signature.
    pub fn parse(bytes: &[u8]) -> Result<DataDescriptor> {
        let mut f = Fields::new(bytes, "data descriptor");
        let signature = f.u32()?;
        f.expect("signature", signature, SIGNATURE)?;
        Ok(DataDescriptor { crc32: f.u32()?, compressed_size: f.u64()?, uncompressed_size: f.u64()? })
    }
}
