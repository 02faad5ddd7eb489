//! Data descriptor, always with signature and 8-byte sizes (APPNOTE 4.3.9; spec `#data-descriptor`).

use crate::format::bytes::Fields;
use crate::format::error::Result;

pub const SIGNATURE: u32 = 0x0807_4B50;
pub const LENGTH: usize = 24;

/// What is known of an entry's data only after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataDescriptor {
    pub crc32: u32,
    pub compressed_size: u64,
    pub uncompressed_size: u64,
}

impl DataDescriptor {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&SIGNATURE.to_le_bytes());
        out.extend_from_slice(&self.crc32.to_le_bytes());
        out.extend_from_slice(&self.compressed_size.to_le_bytes());
        out.extend_from_slice(&self.uncompressed_size.to_le_bytes());
    }

    pub fn parse(bytes: &[u8]) -> Result<DataDescriptor> {
        let mut f = Fields::new(bytes, "data descriptor");
        let signature = f.u32()?;
        f.expect("signature", signature, SIGNATURE)?;
        Ok(DataDescriptor { crc32: f.u32()?, compressed_size: f.u64()?, uncompressed_size: f.u64()? })
    }
}
