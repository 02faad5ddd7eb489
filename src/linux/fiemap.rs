//! Where a file is stored in another form than its content (`FS_IOC_FIEMAP`, Linux include/uapi/linux/fiemap.h).

#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::retry;

/// Extents asked for at once.
const BATCH: usize = 64;

/// The data of this extent is stored encoded: compressed or encrypted.
const EXTENT_ENCODED: u32 = 0x8;
const EXTENT_LAST: u32 = 0x1;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [Extent; BATCH],
}

/// The ioctl's number speaks of the struct without its extents.
const HEADER_LENGTH: usize = 32;
const _: () = assert!(size_of::<Extent>() == 56);
const _: () = assert!(size_of::<Fiemap>() == HEADER_LENGTH + BATCH * size_of::<Extent>());

nix::ioctl_readwrite_bad!(ioctl_fiemap, nix::request_code_readwrite!(b'f', 11, HEADER_LENGTH), Fiemap);

/// The ranges within `range` that are stored encoded, in order. What was written and is not on the disk yet is not
/// among them.
///
/// Errors: EOPNOTSUPP where the file system has no such call.
pub fn encoded_extents(file: BorrowedFd<'_>, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let mut map = Fiemap {
            start,
            length: range.end - start,
            flags: 0,
            mapped_extents: 0,
            extent_count: BATCH as u32,
            reserved: 0,
            extents: [Extent::default(); BATCH],
        };
        // SAFETY: the argument must be a writable struct fiemap followed by room for `extent_count` extents. `map` is
        // that: both are declared as in the kernel's header, with their sizes asserted above, and BATCH is the count.
        retry(|| unsafe { ioctl_fiemap(file.as_raw_fd(), &raw mut map) })?;
        let extents = map.extents.get(..map.mapped_extents as usize).unwrap_or_default();
        let Some(last) = extents.last() else { break };
        for extent in extents.iter().filter(|extent| extent.flags & EXTENT_ENCODED != 0) {
            let end = extent.logical.saturating_add(extent.length).min(range.end);
            match found.last_mut() {
                Some(before) if before.end == extent.logical => before.end = end,
                _ => found.push(extent.logical.max(range.start)..end),
            }
        }
        let next = last.logical.saturating_add(last.length);
        if last.flags & EXTENT_LAST != 0 || next <= start {
            break;
        }
        start = next;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::encoded_extents;

    #[test]
    fn plain_data_is_not_encoded() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        // Some file systems cannot tell.
        if let Ok(found) = encoded_extents(file.as_fd(), 0..10_000) {
            assert_eq!(found, []);
        }
    }
}
