//! Extents read from the devices of a mounted file system: many small ones that lie beside each other take one read,
//! where the kernel would do one for each file.
//!
//! What is read counts only if it has the checksums that the file system has for these addresses now. Whether they are
//! still those of the file is for the caller to know: a balance may move an extent between the moment its address is found
//! and the moment it is read. Layouts: kernel `include/uapi/linux/btrfs_tree.h`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Arc, Mutex, PoisonError};

use nix::libc;

use super::capability::fs_info;
use super::device_errors::device_path;
use super::tree_search::{TreeSearch, Wanted, u16_at, u32_at, u64_at};
use crate::btrfs_image::buffer::AlignedBuffer;
use crate::btrfs_image::checksum::crc32c;
use crate::btrfs_image::constants::{
    CHUNK_ITEM, CHUNK_TREE, CSUM_TREE, EXTENT_CSUM, EXTENT_CSUM_ITEM, FIRST_CHUNK_TREE, GROUP_DATA, GROUP_DUP,
    GROUP_METADATA, GROUP_RAID1, SECTOR,
};

/// `BTRFS_BLOCK_GROUP_*` of data of which each copy is in one piece; the last two are RAID1C3 and RAID1C4.
const WHOLE: u64 = GROUP_DATA | GROUP_METADATA | GROUP_RAID1 | GROUP_DUP | 1 << 9 | 1 << 10;

/// The most that one read takes.
const READ_MAX: u64 = 1 << 20;

/// Extents so near to each other are read together, with what is between them.
const GAP: u64 = 64 << 10;

/// Reads extents of one file system; one per thread, because it owns a buffer of 1 MiB.
pub struct DeviceReader {
    search: TreeSearch,
    /// Ascending.
    chunks: Vec<Chunk>,
    file_system: [u8; 16],
    devices: DeviceFiles,
    /// No checksum item begins further than this before what it is of.
    reach: u64,
    buffer: AlignedBuffer,
}

/// Open devices; None if one cannot be opened. Shared by all threads of a run.
#[derive(Debug, Clone, Default)]
pub struct DeviceFiles {
    open: Arc<Mutex<HashMap<DeviceId, Option<Arc<File>>>>>,
}

/// Identifiers of the file system, and of the device in it.
type DeviceId = ([u8; 16], u64);

impl DeviceFiles {
    fn of(&self, file_system: [u8; 16], device: u64, within: BorrowedFd<'_>) -> Option<Arc<File>> {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((file_system, device)).or_insert_with(|| open(within, device).map(Arc::new)).clone()
    }
}

/// Logical addresses that lie on a device in one piece.
struct Chunk {
    logical: Range<u64>,
    device: u64,
    physical: u64,
}

impl DeviceReader {
    /// Learns where the file system of `within`, which has this identifier, keeps its data.
    ///
    /// Errors: EPERM without CAP_SYS_ADMIN in the first user namespace, ENOTTY elsewhere than on BTRFS, Unsupported where
    /// sectors are not of 4 KiB or checksums not CRC-32C.
    pub fn new(within: BorrowedFd<'_>, file_system: [u8; 16], devices: DeviceFiles) -> io::Result<DeviceReader> {
        let info = fs_info(within)?;
        if u64::from(info.sectorsize) != SECTOR || !info.has_crc32c() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut search = TreeSearch::new();
        Ok(DeviceReader {
            chunks: chunks(&mut search, within)?,
            search,
            file_system,
            devices,
            reach: u64::from(info.nodesize) / 4 * SECTOR,
            buffer: AlignedBuffer::new(READ_MAX as usize),
        })
    }

    /// Reads extents, logical addresses in bytes, and gives each that was read and is what it should be to `put`, with
    /// its number. What is not given has to be read in another way.
    pub fn read(&mut self, within: BorrowedFd<'_>, extents: &[Range<u64>], mut put: impl FnMut(usize, &[u8])) {
        let mut order: Vec<usize> = (0..extents.len()).collect();
        order.sort_unstable_by_key(|&number| extents.get(number).map(|extent| extent.start));
        let mut rest = order.as_slice();
        while let Some(first) = rest.first().and_then(|&number| extents.get(number)) {
            let mut end = first.end;
            let most =
                self.chunk(first.start).map_or(0, |chunk| chunk.logical.end).min(first.start.saturating_add(READ_MAX));
            let together = rest.iter().take_while(|&&number| {
                let Some(extent) = extents.get(number) else { return false };
                let fits = extent.start <= end.saturating_add(GAP) && extent.end.max(end) <= most;
                end = if fits { end.max(extent.end) } else { end };
                fits
            });
            // An extent that is larger than a read goes alone, and is not read.
            let (now, later) = rest.split_at_checked(together.count().max(1)).unwrap_or((rest, &[]));
            rest = later;
            let Some(sums) = self.fill(within, first.start..end) else { continue };
            for &number in now {
                let Some(extent) = extents.get(number) else { continue };
                let place = (extent.start - first.start) as usize..(extent.end - first.start) as usize;
                let Some(bytes) = self.buffer.get(place.clone()) else { continue };
                let sums = sums.get(place.start / SECTOR as usize..place.end / SECTOR as usize);
                let sectors = bytes.chunks(SECTOR as usize).map(|sector| Some(crc32c(sector)));
                if sums.is_some_and(|sums| sectors.eq(sums.iter().copied())) {
                    put(number, bytes);
                }
            }
        }
    }

    fn chunk(&self, address: u64) -> Option<&Chunk> {
        let after = self.chunks.partition_point(|chunk| chunk.logical.start <= address);
        self.chunks.get(after.checked_sub(1)?)
    }

    /// Fills the start of the buffer. Gives the checksums of its sectors, as far as there are any.
    fn fill(&mut self, within: BorrowedFd<'_>, span: Range<u64>) -> Option<Vec<Option<u32>>> {
        if !span.start.is_multiple_of(SECTOR) || !span.end.is_multiple_of(SECTOR) {
            return None;
        }
        let chunk = self.chunk(span.start).filter(|chunk| span.end <= chunk.logical.end)?;
        let physical = chunk.physical + (span.start - chunk.logical.start);
        let device = self.devices.of(self.file_system, chunk.device, within)?;
        let buffer = self.buffer.get_mut(..(span.end - span.start) as usize)?;
        device.read_exact_at(buffer, physical).ok()?;
        self.sums(within, span)
    }

    fn sums(&mut self, within: BorrowedFd<'_>, span: Range<u64>) -> Option<Vec<Option<u32>>> {
        let mut sums = vec![None; ((span.end - span.start) / SECTOR) as usize];
        let mut from = span.start.saturating_sub(self.reach);
        while from < span.end {
            let wanted = Wanted {
                tree: CSUM_TREE,
                object: EXTENT_CSUM,
                types: EXTENT_CSUM_ITEM..=EXTENT_CSUM_ITEM,
                offsets: from..=span.end - 1,
                items: u32::MAX,
            };
            let before = from;
            for item in self.search.find(within, &wanted).ok()? {
                for (n, sum) in (0..).zip(item.bytes.chunks_exact(4)) {
                    let address = item.offset + n * SECTOR;
                    let place = address.checked_sub(span.start).map(|distance| (distance / SECTOR) as usize);
                    if let Some(place) = place.and_then(|place| sums.get_mut(place)) {
                        *place = u32_at(sum, 0);
                    }
                }
                from = item.offset + 1;
            }
            if from == before {
                break;
            }
        }
        Some(sums)
    }
}

fn open(within: BorrowedFd<'_>, device: u64) -> Option<File> {
    // Past the page cache, which does not know what the file system writes.
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(device_path(within, device)?).ok()
}

/// The chunks whose data lies in one piece. Of several copies the first.
fn chunks(search: &mut TreeSearch, within: BorrowedFd<'_>) -> io::Result<Vec<Chunk>> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let wanted = Wanted {
            tree: CHUNK_TREE,
            object: FIRST_CHUNK_TREE,
            types: CHUNK_ITEM..=CHUNK_ITEM,
            offsets: from..=u64::MAX,
            items: u32::MAX,
        };
        let before = from;
        for item in search.find(within, &wanted)? {
            found.extend(chunk(item.offset, item.bytes));
            from = item.offset + 1;
        }
        if from == before {
            return Ok(found);
        }
    }
}

/// `struct btrfs_chunk`
fn chunk(logical: u64, item: &[u8]) -> Option<Chunk> {
    let (length, kind) = (u64_at(item, 0)?, u64_at(item, 24)?);
    let is_whole = kind & GROUP_DATA != 0 && kind & !WHOLE == 0 && u16_at(item, 44)? > 0;
    let (device, physical) = (u64_at(item, 48)?, u64_at(item, 56)?);
    is_whole.then_some(Chunk { logical: logical..logical.checked_add(length)?, device, physical })
}
