//! Extra fields (APPNOTE 4.5): a sequence of identifier, length, payload.

use crate::format::bytes::Fields;
use crate::format::error::Result;

/// 8-byte sizes and offset (APPNOTE 4.5.3).
pub const ZIP64: u16 = 0x0001;
/// Extended timestamp (APPNOTE 4.6.1).
pub const UNIX_TIME: u16 = 0x5455;
/// Info-ZIP new Unix: user and group ids.
pub const UNIX_OWNER: u16 = 0x7875;
/// Attributes of the BURST format ("Bu"; spec `#burst-field`).
pub const BURST: u16 = 0x7542;
/// Padding in local file headers ("bu"; spec `#local-file-header`).
pub const PAD: u16 = 0x7562;

/// Appends one field; `payload` must be shorter than 64 KiB.
pub fn encode(out: &mut Vec<u8>, identifier: u16, payload: &[u8]) {
    debug_assert!(payload.len() <= usize::from(u16::MAX));
    out.extend_from_slice(&identifier.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    out.extend_from_slice(payload);
}

/// The next field as (identifier, payload), or None at the end.
pub fn next<'a>(fields: &mut Fields<'a>) -> Result<Option<(u16, &'a [u8])>> {
    if fields.is_empty() {
        return Ok(None);
    }
    let identifier = fields.u16()?;
    let length = fields.u16()?;
    Ok(Some((identifier, fields.bytes(length.into())?)))
}
