//! Content of a part to its final place on the device: extents packed one after the other, each padded to sectors,
//! and written in large pieces.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use zstd::bulk::Decompressor;

use super::disk::Disks;
use crate::btrfs_image::buffer::AlignedBuffer;
use crate::btrfs_image::checksum;
use crate::btrfs_image::constants::{INLINE_MAX, NODE, ROOT_DIRECTORY, SECTOR};
use crate::btrfs_image::inode::{Extent, Inline};
use crate::btrfs_image::layout::Layout;
use crate::btrfs_image::small_trees::Sums;
use crate::btrfs_image::space_trees::{DataExtent, Run};
use crate::btrfs_image::tree::{NodeStore, seal};
use crate::error::{Error, Kind, Result};
use crate::format::limits::{FRAME_CONTENT_MAX, FRAME_LENGTH_MAX};
use crate::format::part_reader::{Piece, PieceKind};
use crate::restore::report::{Counters, add};

/// Bytes that are written at once: they stay in a core's own cache from the part until the write.
const BUFFER: usize = 1 << 20;

/// What all threads add to: the space, and what was put where.
pub struct Placed {
    pub layout: Layout,
    pub runs: Vec<Run>,
    pub data: Vec<DataExtent>,
    pub sums: Vec<Sums>,
}

/// The devices and their space.
pub struct Volume {
    pub disks: Disks,
    pub placed: Mutex<Placed>,
}

impl Volume {
    pub fn placed(&self) -> MutexGuard<'_, Placed> {
        self.placed.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Tree blocks go wherever there is space for metadata next.
impl NodeStore for &Volume {
    fn store(&mut self, owner: u64, level: u8, nodes: &mut [u8]) -> Result<Vec<u64>> {
        let mut addresses = Vec::with_capacity(nodes.len() / NODE);
        let mut rest = nodes;
        while !rest.is_empty() {
            let count = (rest.len() / NODE) as u64;
            let space = {
                let mut placed = self.placed();
                let space = placed.layout.take_nodes(count)?;
                let count = space.length / NODE as u64;
                placed.runs.push(Run { address: space.logical, count, owner, level });
                space
            };
            let (now, later) = rest.split_at_mut(space.length as usize);
            for (node, n) in now.chunks_exact_mut(NODE).zip(0u64..) {
                let address = space.logical + n * NODE as u64;
                seal(node, address);
                addresses.push(address);
            }
            self.disks.write(&space.writes(0, space.length), now)?;
            rest = later;
        }
        Ok(addresses)
    }
}

/// Content that waits in the buffer.
struct Pending {
    /// Index of its entry in the part.
    entry: usize,
    inode: u32,
    file_offset: u64,
    /// Bytes of content, rounded up to sectors.
    length: u64,
    /// Bytes in the buffer.
    stored: u64,
    compressed: bool,
}

/// Places the content of one part at a time.
pub struct Placer<'a> {
    volume: &'a Volume,
    counters: &'a Counters,
    decompressor: Decompressor<'static>,
    content: Vec<u8>,
    buffer: AlignedBuffer,
    used: usize,
    /// Checksums of the sectors in the buffer that are not written yet.
    sums: Vec<u32>,
    pending: Vec<Pending>,
    /// What was placed of this part: index of the entry, extent; in order.
    pub extents: Vec<(usize, Extent)>,
}

impl<'a> Placer<'a> {
    pub fn new(volume: &'a Volume, counters: &'a Counters) -> Result<Placer<'a>> {
        Ok(Placer {
            volume,
            counters,
            decompressor: Decompressor::new().map_err(|e| Error::io("start a zstd decompressor", e))?,
            content: Vec::with_capacity(FRAME_CONTENT_MAX as usize),
            buffer: AlignedBuffer::new(BUFFER),
            used: 0,
            sums: Vec::new(),
            pending: Vec::new(),
            extents: Vec::new(),
        })
    }

    /// Content that goes into the tree, if the kernel would put it there (fs/btrfs/inode.c, can_cow_file_range_inline):
    /// all of a file of at most a sector, at most 2,048 bytes as they are stored.
    pub fn inline(&mut self, pieces: &[Piece], bytes: &[u8], size: u64) -> Result<Option<Inline>> {
        let [piece] = pieces else { return Ok(None) };
        if size > SECTOR || piece.content_offset != 0 || piece.content_len != size {
            return Ok(None);
        }
        let plain = |bytes: &[u8]| Inline { bytes: bytes.to_vec(), length: size, compressed: false };
        let small = size <= INLINE_MAX as u64;
        Ok(match &piece.kind {
            PieceKind::Hole => None,
            PieceKind::Raw { range } | PieceKind::Stored { range } => small.then(|| plain(slice(bytes, range))),
            PieceKind::Frame { range } => {
                let frame = slice(bytes, range);
                if frame.len() <= INLINE_MAX && (frame.len() as u64) < size {
                    add(&self.counters.encoded_frames, 1);
                    add(&self.counters.encoded_bytes, frame.len() as u64);
                    return Ok(Some(Inline { bytes: frame.to_vec(), length: size, compressed: true }));
                }
                if !small {
                    return Ok(None);
                }
                self.decompress(frame, size)?;
                Some(plain(&self.content))
            }
        })
    }

    /// Puts content that begins at a multiple of the sector size into extents.
    pub fn add(&mut self, entry: usize, inode: u64, piece: &Piece, bytes: &[u8]) -> Result<()> {
        let inode = (inode - ROOT_DIRECTORY) as u32;
        let at = piece.content_offset;
        match &piece.kind {
            PieceKind::Hole => Ok(()),
            PieceKind::Raw { range } | PieceKind::Stored { range } => self.plain(entry, inode, at, slice(bytes, range)),
            PieceKind::Frame { range } => {
                let frame = slice(bytes, range);
                // The kernel keeps what it compresses only if that saves a sector (fs/btrfs/inode.c, compress_file_range).
                // Here it is compressed already; what would take more sectors than its content is not worth that.
                if round_up(frame.len() as u64) <= round_up(piece.content_len) {
                    return self.compressed(entry, inode, at, piece.content_len, frame);
                }
                self.decompress(frame, piece.content_len)?;
                let content = std::mem::take(&mut self.content);
                let done = self.plain(entry, inode, at, &content);
                self.content = content;
                done
            }
        }
    }

    fn decompress(&mut self, frame: &[u8], length: u64) -> Result<()> {
        add(&self.counters.decoded_frames, 1);
        self.content.clear();
        let wrong = |what: String| Error::new(Kind::Corrupt, what);
        self.decompressor
            .decompress_to_buffer(frame, &mut self.content)
            .map_err(|e| wrong(format!("a frame cannot be decompressed: {e}")))?;
        match self.content.len() as u64 == length {
            true => Ok(()),
            false => Err(wrong(format!("a frame has {} bytes of content, not {length}", self.content.len()))),
        }
    }

    fn compressed(&mut self, entry: usize, inode: u32, file_offset: u64, length: u64, frame: &[u8]) -> Result<()> {
        if self.used + FRAME_LENGTH_MAX + SECTOR as usize > BUFFER {
            self.flush()?;
        }
        let stored = self.append(frame);
        let length = round_up(length);
        self.pending.push(Pending { entry, inode, file_offset, length, stored, compressed: true });
        add(&self.counters.encoded_frames, 1);
        add(&self.counters.encoded_bytes, frame.len() as u64);
        Ok(())
    }

    fn plain(&mut self, entry: usize, inode: u32, mut file_offset: u64, mut content: &[u8]) -> Result<()> {
        while !content.is_empty() {
            if self.used == BUFFER {
                self.flush()?;
            }
            let (now, later) = content.split_at(content.len().min(BUFFER - self.used));
            let stored = self.append(now);
            match self.pending.last_mut() {
                // What follows in the file follows on the device: one extent.
                Some(last)
                    if (last.entry, last.compressed) == (entry, false)
                        && last.file_offset + last.stored == file_offset =>
                {
                    last.stored += stored;
                    last.length += stored;
                }
                _ => {
                    let length = stored;
                    self.pending.push(Pending { entry, inode, file_offset, length, stored, compressed: false });
                }
            }
            file_offset += stored;
            content = later;
        }
        Ok(())
    }

    /// Appends bytes and zeros up to the next sector, and sums them up while they are in the cache; gives the length of
    /// both.
    fn append(&mut self, bytes: &[u8]) -> u64 {
        let length = round_up(bytes.len() as u64) as usize;
        let (content, pad) = self.buffer[self.used..self.used + length].split_at_mut(bytes.len());
        content.copy_from_slice(bytes);
        pad.fill(0);
        checksum::sectors(&self.buffer[self.used..self.used + length], &mut self.sums);
        self.used += length;
        length as u64
    }

    /// Writes what is in the buffer.
    pub fn flush(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let mut waiting = pending.iter().peekable();
        // Bytes of the first that were written already.
        let (mut begun, mut from) = (0, 0);
        let mut here = Vec::new();
        while let Some(first) = waiting.peek() {
            let least = if first.compressed { first.stored } else { SECTOR };
            here.clear();
            let mut length = 0;
            let space = self.volume.placed().layout.take_data(least, |room| {
                while let Some(next) = waiting.peek() {
                    let left = next.stored - begun;
                    let take = if left <= room - length {
                        left
                    } else if next.compressed {
                        break;
                    } else {
                        room - length
                    };
                    if take == 0 {
                        break;
                    }
                    let extent = Extent {
                        file_offset: next.file_offset + begun,
                        length: if next.compressed { next.length } else { take },
                        address: length,
                        stored: take,
                        compressed: next.compressed,
                    };
                    here.push((next.entry, next.inode, extent));
                    length += take;
                    begun += take;
                    if begun == next.stored {
                        begun = 0;
                        waiting.next();
                    }
                }
                length
            })?;
            let to = from + length as usize;
            let bytes = &self.buffer[from..to];
            let sums = self.sums.drain(..bytes.len() / SECTOR as usize).collect();
            self.volume.disks.write(&space.writes(0, length), bytes)?;
            from = to;
            let mut placed = self.volume.placed();
            placed.sums.push(Sums { address: space.logical, sums });
            for (entry, inode, extent) in here.drain(..) {
                let address = space.logical + extent.address;
                let (file_offset, stored) = (extent.file_offset, extent.stored as u32);
                placed.data.push(DataExtent { address, file_offset, stored, inode });
                self.extents.push((entry, Extent { address, ..extent }));
            }
        }
        self.used = 0;
        Ok(())
    }
}

fn slice<'b>(bytes: &'b [u8], range: &Range<usize>) -> &'b [u8] {
    bytes.get(range.clone()).unwrap_or_default()
}

/// To whole sectors.
pub fn round_up(length: u64) -> u64 {
    length.next_multiple_of(SECTOR)
}
