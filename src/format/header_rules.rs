//! What a local file header must be (spec `#local-file-header`, `#method`).

use super::entry::{Method, check_entry_path};
use super::error::{Error, Result};
use super::limits::PAD_PAYLOAD_MAX;
use super::zip::local_file_header::{self, LocalFileHeader};
use super::zip::{flags, needs_zip64, version_needed};

/// What a header can be refused for on its own; `bytes` are those of the header.
pub(super) fn check_header(
    bytes: &[u8],
    header: &LocalFileHeader<'_>,
    ordinal: u64,
    directories_done: bool,
) -> Result<Method> {
    let refuse = |message: String| Err(Error::corrupt(format!("local file header: {message}")));
    let (path, is_directory) = match header.name.split_last() {
        Some((b'/', path)) => (path, true),
        _ => (header.name, false),
    };
    check_entry_path(path, is_directory, ordinal)?;
    if is_directory && directories_done {
        return refuse("a directory after an entry that is none; directories come first".into());
    }
    let method = match header.method {
        0 => Method::Stored,
        93 => Method::Zstd,
        other => return refuse(format!("method is {other}, expected 0 or 93")),
    };
    let (compressed, uncompressed) = (header.compressed_size, header.uncompressed_size);
    let has_descriptor = header.has_descriptor();
    let expected = flags(header.name, has_descriptor);
    if header.flags != expected {
        return refuse(format!("flags are {:#06x}, expected {expected:#06x}", header.flags));
    }
    let expected = version_needed(method, compressed, uncompressed);
    if header.version_needed != expected {
        return refuse(format!("version needed is {}, expected {expected}", header.version_needed));
    }
    let zip64_needed = has_descriptor || needs_zip64(compressed) || needs_zip64(uncompressed);
    if header.has_zip64 != zip64_needed {
        return refuse(format!("ZIP64 field present: {}, expected {zip64_needed}", header.has_zip64));
    }
    if header.has_zip64 && bytes.get(18..26) != Some(&[0xFF; 8]) {
        return refuse("the 32-bit sizes are not 0xffffffff beside a ZIP64 field".into());
    }
    if has_descriptor && (header.crc32, compressed, uncompressed) != (0, 0, 0) {
        return refuse(format!(
            "CRC-32 {:#010x} and sizes {compressed} and {uncompressed} with bit 3, expected 0",
            header.crc32
        ));
    }
    let without_payload = local_file_header::FIXED_LENGTH
        + header.name.len()
        + if header.has_zip64 { 20 } else { 0 }
        + if header.has_pad { 4 } else { 0 };
    let payload = header.length.saturating_sub(without_payload) as u64;
    if payload > PAD_PAYLOAD_MAX {
        return refuse(format!("pad field of {payload} bytes, allowed are {PAD_PAYLOAD_MAX}"));
    }
    match method {
        Method::Stored if has_descriptor => refuse("method 0 with bit 3".into()),
        Method::Stored if !header.has_pad => refuse("method 0 without pad field".into()),
        Method::Stored if compressed != uncompressed => {
            refuse(format!("method 0 with compressed size {compressed} and uncompressed size {uncompressed}"))
        }
        Method::Stored if is_directory && compressed != 0 => {
            refuse(format!("a directory with {compressed} bytes of data, expected 0"))
        }
        Method::Zstd if is_directory => refuse("a directory with method 93, expected 0".into()),
        Method::Zstd if !has_descriptor && uncompressed == 0 => refuse("method 93 with uncompressed size 0".into()),
        method => Ok(method),
    }
}
