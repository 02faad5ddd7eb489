//! The ZIP structures the format uses (APPNOTE 4.3), each encoded and parsed in one place.

pub mod central_directory;
pub mod data_descriptor;
pub mod dos_time;
pub mod end_of_central_directory;
pub mod extra_field;
pub mod local_file_header;

/// "Version made by": Unix (3), ZIP specification 6.3 (APPNOTE 4.4.2).
pub const VERSION_MADE_BY: u16 = 3 << 8 | 63;

/// A 32-bit field with this value has its true value in the ZIP64 extra field (APPNOTE 4.4.8).
pub const SEE_ZIP64: u32 = u32::MAX;

/// General purpose bit 3: CRC-32 and sizes stand in a data descriptor after the data (APPNOTE 4.4.4).
pub const FLAG_DATA_DESCRIPTOR: u16 = 1 << 3;

/// General purpose bit 11: the name is UTF-8.
pub const FLAG_UTF8: u16 = 1 << 11;

use super::entry::Method;

/// The flags the format prescribes for a name (spec `#names`) and method.
pub fn flags(name: &[u8], has_descriptor: bool) -> u16 {
    let utf8 = !name.is_ascii() && std::str::from_utf8(name).is_ok();
    (if has_descriptor { FLAG_DATA_DESCRIPTOR } else { 0 }) | (if utf8 { FLAG_UTF8 } else { 0 })
}

/// "Version needed to extract" (spec `#local-file-header`).
pub fn version_needed(method: Method, compressed_size: u64, uncompressed_size: u64) -> u16 {
    match method {
        Method::Zstd => 63,
        Method::Stored if needs_zip64(compressed_size) || needs_zip64(uncompressed_size) => 45,
        Method::Stored => 20,
    }
}

/// Whether a 32-bit field cannot hold it: 0xFFFFFFFF itself refers to ZIP64.
pub fn needs_zip64(value: u64) -> bool {
    value >= u64::from(SEE_ZIP64)
}

/// The 32-bit field for a value that may have to move to ZIP64.
pub fn short(value: u64) -> u32 {
    if needs_zip64(value) { SEE_ZIP64 } else { value as u32 }
}
