//! Which bytes of the device hold what: chunks by the kernel's size rule, filled from their start.
//!
//! Logical addresses are given out in the order of the chunks, so that addresses ascend as chunks are made. No chunk
//! covers a superblock or its copies, so nothing in a chunk is reserved.

use std::ops::Range;

use super::constants::{
    GROUP_DATA, GROUP_DUP, GROUP_METADATA, GROUP_SYSTEM, MIB, NODE, RESERVED, SECTOR, STRIPE_LEN, SUPERBLOCKS,
};
use crate::error::{Error, Kind, Result};

const GIB: u64 = 1 << 30;

/// Where logical addresses begin; any place will do that is not 0.
const FIRST_LOGICAL: u64 = 16 * MIB;

/// The smallest device that is accepted: below, a kernel has no room to make another chunk of each kind.
pub const DEVICE_MIN: u64 = 64 * MIB;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkKind {
    Data,
    Metadata,
    System,
}

/// How often tree blocks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetadataProfile {
    /// Twice, what mkfs.btrfs takes on one device: a bad block costs nothing.
    #[default]
    Dup,
    Single,
}

/// One chunk, which is one block group.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub kind: ChunkKind,
    pub logical: u64,
    pub length: u64,
    /// Where its copies begin on the device.
    pub stripes: Vec<u64>,
    /// Bytes given out, from its start; the rest is free.
    pub filled: u64,
}

impl Chunk {
    /// `BTRFS_BLOCK_GROUP_*`
    pub fn flags(&self) -> u64 {
        let kind = match self.kind {
            ChunkKind::Data => GROUP_DATA,
            ChunkKind::Metadata => GROUP_METADATA,
            ChunkKind::System => GROUP_SYSTEM,
        };
        if self.stripes.len() > 1 { kind | GROUP_DUP } else { kind }
    }

    pub fn end(&self) -> u64 {
        self.logical + self.length
    }

    /// What is free, if anything: start and length.
    pub fn free(&self) -> Option<(u64, u64)> {
        (self.filled < self.length).then(|| (self.logical + self.filled, self.length - self.filled))
    }
}

/// Space that was given out, in one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub logical: u64,
    pub length: u64,
    /// Where its copies are on the device.
    pub places: Vec<u64>,
}

/// Gives out space of a device.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Bytes of the device that the file system uses.
    pub device_size: u64,
    profile: MetadataProfile,
    /// Free space of the device, in order.
    unused: Vec<Range<u64>>,
    /// In the order of their logical addresses.
    pub chunks: Vec<Chunk>,
    /// Index of the chunk that is being filled.
    data: Option<usize>,
    metadata: Option<usize>,
    /// Largest sizes of new chunks.
    data_chunk: u64,
    metadata_chunk: u64,
}

impl Layout {
    /// A layout with its system chunk, the first. `chunk_max` bounds chunks further than the kernel would (for tests).
    pub fn new(device_size: u64, profile: MetadataProfile, chunk_max: u64) -> Result<Layout> {
        let size = device_size / SECTOR * SECTOR;
        if size < DEVICE_MIN {
            let message = format!("{device_size} bytes are too few: BTRFS needs at least {} MiB", DEVICE_MIN / MIB);
            return Err(Error::new(Kind::NoSpace, message));
        }
        // The kernel's rule (fs/btrfs/volumes.c, init_alloc_chunk_ctl_policy_regular): at most a tenth of the device,
        // so that on a small one there is always room for balance to move a chunk to. Larger metadata chunks than
        // 256 MiB, which the kernel makes on devices over 50 GiB, bring nothing here.
        let tenth = (size / 10).min(chunk_max.max(MIB)) / STRIPE_LEN * STRIPE_LEN;
        let mut layout = Layout {
            device_size: size,
            profile,
            unused: unused(size),
            chunks: Vec::new(),
            data: None,
            metadata: None,
            data_chunk: tenth.min(GIB),
            metadata_chunk: tenth.min(256 * MIB),
        };
        layout.new_chunk(ChunkKind::System, (8 * MIB).min(size / 10 / STRIPE_LEN * STRIPE_LEN))?;
        Ok(layout)
    }

    /// Takes space for data. `cut` is told how much there is in one piece, at least `least` (at most 1 MiB), and says
    /// how much of it to take; all in bytes, multiples of the sector size.
    pub fn take_data(&mut self, least: u64, cut: impl FnOnce(u64) -> u64) -> Result<Space> {
        let index = match self.data {
            Some(index) if room(&self.chunks, index) >= least => index,
            _ => {
                let new = self.new_chunk(ChunkKind::Data, self.data_chunk)?;
                *self.data.insert(new)
            }
        };
        let want = cut(room(&self.chunks, index));
        Ok(self.take(index, want))
    }

    /// Takes up to `count` tree blocks that follow each other, at least one.
    pub fn take_nodes(&mut self, count: u64) -> Result<Space> {
        let index = match self.metadata {
            Some(index) if room(&self.chunks, index) > 0 => index,
            _ => {
                let new = self.new_chunk(ChunkKind::Metadata, self.metadata_chunk)?;
                *self.metadata.insert(new)
            }
        };
        Ok(self.take(index, count * NODE as u64))
    }

    /// Takes blocks for the chunk tree, all from the one system chunk.
    pub fn take_system_nodes(&mut self, count: u64) -> Result<Space> {
        let want = count * NODE as u64;
        if room(&self.chunks, 0) < want {
            return Err(Error::new(Kind::NoSpace, format!("{count} blocks do not fit the system chunk")));
        }
        Ok(self.take(0, want))
    }

    /// A file system always has a chunk of each kind, as mkfs.btrfs makes it: a new one takes its profile from those.
    pub fn complete(&mut self) -> Result<()> {
        if self.data.is_none() {
            self.data = Some(self.new_chunk(ChunkKind::Data, self.data_chunk.min(8 * MIB))?);
        }
        Ok(())
    }

    /// Bytes of the device in chunks.
    pub fn allocated(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.length * chunk.stripes.len() as u64).sum()
    }

    /// Bytes given out, each copy of a tree block counted once.
    pub fn used(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.filled).sum()
    }

    fn take(&mut self, index: usize, want: u64) -> Space {
        let Some(chunk) = self.chunks.get_mut(index) else {
            return Space { logical: 0, length: 0, places: Vec::new() };
        };
        let at = chunk.filled;
        let length = want.min(chunk.length - at);
        chunk.filled += length;
        Space { logical: chunk.logical + at, length, places: chunk.stripes.iter().map(|stripe| stripe + at).collect() }
    }

    /// Makes a chunk of at most `want` bytes (less only where no such piece of the device is left).
    fn new_chunk(&mut self, kind: ChunkKind, want: u64) -> Result<usize> {
        let copies = match (kind, self.profile) {
            (ChunkKind::Data, _) | (_, MetadataProfile::Single) => 1,
            (_, MetadataProfile::Dup) => 2,
        };
        let length = want.min(self.largest(copies));
        // Too small a piece is no use: what is asked for may not fit, and every chunk costs items.
        if length < want.min(MIB) {
            let message = format!(
                "the device of {} MiB is full: {} MiB are in use",
                self.device_size / MIB,
                self.allocated() / MIB
            );
            return Err(Error::new(Kind::NoSpace, message));
        }
        let stripes = (0..copies).filter_map(|_| self.take_device(length)).collect();
        let logical = self.chunks.last().map_or(FIRST_LOGICAL, Chunk::end);
        self.chunks.push(Chunk { kind, logical, length, stripes, filled: 0 });
        Ok(self.chunks.len() - 1)
    }

    /// The largest chunk with so many copies that still fits.
    fn largest(&self, copies: u64) -> u64 {
        let fits = |length: u64| self.unused.iter().map(|r| (r.end - r.start) / length).sum::<u64>() >= copies;
        // The best length is a part of one of the pieces.
        let candidates = self.unused.iter().flat_map(|r| (1..=copies).map(move |n| (r.end - r.start) / n));
        candidates.map(|n| n / STRIPE_LEN * STRIPE_LEN).filter(|&n| n > 0 && fits(n)).max().unwrap_or(0)
    }

    fn take_device(&mut self, length: u64) -> Option<u64> {
        let piece = self.unused.iter_mut().find(|r| r.end - r.start >= length)?;
        let start = piece.start;
        piece.start += length;
        Some(start)
    }
}

fn room(chunks: &[Chunk], index: usize) -> u64 {
    chunks.get(index).map_or(0, |chunk| chunk.length - chunk.filled)
}

/// The device without what is reserved, in multiples of the stripe length.
fn unused(size: u64) -> Vec<Range<u64>> {
    let mut pieces = Vec::new();
    let mut start = RESERVED.end;
    for copy in &SUPERBLOCKS[1..] {
        pieces.push(start..size.min(*copy));
        // The kernel keeps a whole stripe free there (fs/btrfs/block-group.c, exclude_super_stripes).
        start = copy + STRIPE_LEN;
    }
    pieces.push(start..size);
    pieces
        .into_iter()
        .filter_map(|r| {
            let end = r.end / STRIPE_LEN * STRIPE_LEN;
            (r.start < end).then_some(r.start..end)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(layout: &Layout) {
        let mut stripes: Vec<(u64, u64)> = Vec::new();
        let mut logical = 0;
        for chunk in &layout.chunks {
            assert!(chunk.logical >= logical && chunk.filled <= chunk.length);
            assert!(
                chunk.length > 0 && chunk.length.is_multiple_of(STRIPE_LEN) && chunk.logical.is_multiple_of(SECTOR)
            );
            logical = chunk.end();
            stripes.extend(chunk.stripes.iter().map(|&stripe| (stripe, stripe + chunk.length)));
        }
        stripes.sort_unstable();
        assert!(stripes.windows(2).all(|w| w[0].1 <= w[1].0), "{stripes:?}");
        for (start, end) in stripes {
            assert!(start >= MIB && end <= layout.device_size, "{start} {end}");
            assert!(SUPERBLOCKS.iter().all(|&s| end <= s || start >= s + STRIPE_LEN), "{start} {end}");
        }
    }

    #[test]
    fn fills_devices_of_every_size() {
        for profile in [MetadataProfile::Dup, MetadataProfile::Single] {
            for size in [64 * MIB, 65 * MIB + 12_345, 100 * MIB, 1000 * MIB + 4096, 3 * GIB, 300 * GIB] {
                let mut layout = Layout::new(size, profile, u64::MAX).unwrap();
                layout.complete().unwrap();
                let mut data = 0;
                for n in 0u64.. {
                    let want = (1 + n % 2000) * SECTOR * if size > GIB { 64 } else { 1 };
                    let least = want.min(128 << 10);
                    let taken = match n % 7 {
                        6 => layout.take_nodes(1 + n % 64),
                        _ => layout.take_data(least, |room| room.min(want)).inspect(|space| data += space.length),
                    };
                    match taken {
                        Ok(space) => assert!(space.length > 0 && n % 7 == 6 || space.length >= least),
                        Err(e) => {
                            assert_eq!(e.kind(), Kind::NoSpace);
                            break;
                        }
                    }
                }
                check(&layout);
                assert!(data > size / 20, "{data} of {size}");
            }
        }
        assert_eq!(Layout::new(DEVICE_MIN - 1, MetadataProfile::Dup, u64::MAX).unwrap_err().kind(), Kind::NoSpace);
    }

    #[test]
    fn sizes_of_the_kernel() {
        let sizes = |size: u64| {
            let mut layout = Layout::new(size, MetadataProfile::Dup, u64::MAX).unwrap();
            layout.take_data(SECTOR, |_| SECTOR).unwrap();
            layout.take_nodes(1).unwrap();
            check(&layout);
            layout.chunks.iter().map(|chunk| (chunk.kind, chunk.length)).collect::<Vec<_>>()
        };
        use ChunkKind::{Data, Metadata, System};
        assert_eq!(sizes(640 * MIB), [(System, 8 * MIB), (Data, 64 * MIB), (Metadata, 64 * MIB)]);
        assert_eq!(sizes(100 * GIB), [(System, 8 * MIB), (Data, GIB), (Metadata, 256 * MIB)]);
        assert_eq!(sizes(64 << 40), [(System, 8 * MIB), (Data, GIB), (Metadata, 256 * MIB)]);
    }
}
