//! Makes the checksums right again, as far as they can be found, so that what lies behind them is reached.

use std::ops::Range;

use burst::format::checksum::crc32c;
use burst::restore::journal::{encode_header, record_sum, seed};

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let mut le = [0; 8];
    le.get_mut(..N)?.copy_from_slice(bytes.get(at..at.checked_add(N)?)?);
    usize::try_from(u64::from_le_bytes(le)).ok()
}

fn put(bytes: &mut [u8], at: Option<usize>, crc: u32) -> Option<()> {
    let at = at?;
    bytes.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&crc.to_le_bytes());
    Some(())
}

/// Where a header of the directory is, and what lies in it.
pub struct Header {
    pub at: usize,
    pub name: Range<usize>,
    /// Only a fuzzer changes it.
    #[allow(dead_code)]
    pub extra: Range<usize>,
}

/// As many as can be found.
pub fn headers(bytes: &[u8]) -> Vec<Header> {
    let mut all = Vec::new();
    let mut at = bytes.len().checked_sub(6).and_then(|end| number::<4>(bytes, end)).unwrap_or(bytes.len());
    while bytes.get(at..).is_some_and(|rest| rest.starts_with(b"PK\x01\x02") && rest.len() > 46) {
        let [name, extra, comment] = [28, 30, 32].map(|field| number::<2>(bytes, at + field).unwrap_or(0));
        let (name, extra) = (at + 46..at + 46 + name, at + 46 + name..at + 46 + name + extra);
        if extra.end > bytes.len() {
            break;
        }
        let next = extra.end + comment;
        all.push(Header { at, name, extra });
        at = next;
    }
    all
}

/// Makes local file headers say what the directory says, so that names and sizes can change in one place.
pub fn agree(bytes: &mut [u8]) {
    for Header { at, name, .. } in headers(bytes) {
        let Some(local) = number::<4>(bytes, at + 42) else { continue };
        let is_header = bytes.get(local..).is_some_and(|rest| rest.starts_with(b"PK\x03\x04"));
        if !is_header || number::<2>(bytes, local + 26) != Some(name.len()) {
            continue;
        }
        // Version, flags, method and time; then CRC-32 and sizes, unless a descriptor has them; then the name.
        let described = bytes[at + 8] & 8 != 0;
        let fields = at + 6..at + if described { 16 } else { 28 };
        for (from, to) in [(fields, local + 4), (name, local + 30)] {
            if to + from.len() <= bytes.len() {
                bytes.copy_within(from, to);
            }
        }
    }
}

/// False if the bytes do not look like an archive.
pub fn reseal(bytes: &mut [u8]) -> bool {
    seal(bytes).is_some()
}

fn seal(bytes: &mut [u8]) -> Option<()> {
    let end = bytes.len().checked_sub(22)?;
    let (directory, directory_length) = (number::<4>(bytes, end + 16)?, number::<4>(bytes, end + 12)?);
    let length = number::<4>(bytes, directory.checked_sub(16)?)?.clamp(192, 4096);
    let trailer = directory.checked_sub(length)?;
    let field = |bytes: &[u8], at: usize| number::<8>(bytes, trailer + at);
    let (data_end, root, map, table) = (field(bytes, 56)?, field(bytes, 64)?, field(bytes, 80)?, field(bytes, 104)?);
    let record = number::<4>(bytes, trailer + 76)?;
    for mib in 0..directory_length.div_ceil(1 << 20).min(64) {
        let start = directory.checked_add(mib << 20)?;
        let crc = crc32c(bytes.get(start..(start + (1 << 20)).min(directory.checked_add(directory_length)?))?);
        put(bytes, table.checked_add(4 * mib), crc)?;
    }
    for part in 0..data_end.div_ceil(8 << 20).min(64) {
        let start = part << 23;
        let crc = crc32c(bytes.get(start..(start + (8 << 20)).min(data_end))?);
        put(bytes, map.checked_add(part.checked_mul(record)?), crc)?;
    }
    if let Some(root) = bytes.get(data_end.checked_add(8)?..data_end.checked_add(8)?.checked_add(root)?) {
        let crc = crc32c(root);
        put(bytes, Some(trailer + 72), crc)?;
    }
    if let Some(index) = bytes.get(map..trailer) {
        let crc = crc32c(index);
        put(bytes, Some(trailer + 96), crc)?;
    }
    let crc = crc32c(bytes.get(trailer..directory - 12)?);
    put(bytes, Some(directory - 12), crc)
}

/// A journal whose records are these bytes, with lengths and checksums that are right.
pub fn journal(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = encode_header("{}");
    let seed = seed(&out);
    while let Some((&[kind, length], rest)) = bytes.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min(length.into()));
        bytes = rest;
        let mut record = (body.len() as u32).to_le_bytes().to_vec();
        record.push(kind % 6);
        record.extend_from_slice(body);
        // A number with high bytes is rarely of use: of most only the first two stay.
        if length % 4 != 0 {
            record.iter_mut().skip(7).take(6).for_each(|byte| *byte = 0);
        }
        let sum = record_sum(seed, out.len() as u64, &record);
        out.extend_from_slice(&record);
        out.extend_from_slice(&sum.to_le_bytes());
    }
    out
}
