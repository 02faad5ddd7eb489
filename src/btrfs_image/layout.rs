//! Which bytes of the devices hold what: chunks by the kernel's size rule, filled from their start.
//!
//! Logical addresses are given out in the order of the chunks, so that addresses ascend as chunks are made. No chunk
//! covers a superblock or its copies, so nothing in a chunk is reserved.

use std::ops::Range;

use super::constants::{
    GROUP_DATA, GROUP_DUP, GROUP_METADATA, GROUP_RAID0, GROUP_RAID1, GROUP_SYSTEM, MIB, NODE, RESERVED, SECTOR,
    STRIPE_LEN, SUPERBLOCKS,
};
use crate::error::{Error, Kind, Result};

const GIB: u64 = 1 << 30;

/// Where logical addresses begin; any place will do that is not 0, at a multiple of [`STRIPE_LEN`].
const FIRST_LOGICAL: u64 = 16 * MIB;

/// The smallest device that is accepted: below, a kernel has no room to make another chunk of each kind.
pub const DEVICE_MIN: u64 = 64 * MIB;

/// How many devices a file system is made of at most. A kernel takes more.
pub const DEVICES_MAX: usize = 32;

/// Stripes of a system chunk: the superblock has room for two such chunks, which a kernel needs to replace one.
const SYSTEM_STRIPES_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkKind {
    Data,
    Metadata,
    System,
}

/// How the bytes of a chunk lie on devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Once.
    Single,
    /// Twice on one device: a bad block costs nothing.
    Dup,
    /// Once, 64 KiB on each device in turn: as fast as all of them.
    Raid0,
    /// On two devices: one may be lost.
    Raid1,
}

impl Profile {
    /// As `btrfs filesystem df` and mkfs.btrfs call it, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Single => "single",
            Profile::Dup => "dup",
            Profile::Raid0 => "raid0",
            Profile::Raid1 => "raid1",
        }
    }
}

/// The profiles of a file system. The system chunk has that of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profiles {
    pub data: Profile,
    pub metadata: Profile,
}

impl Profiles {
    /// For so many devices, unless something else is asked for: one is filled as mkfs.btrfs would; on several, data is
    /// striped and metadata kept twice.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what cannot be on so many devices, and for data twice.
    pub fn choose(devices: usize, data: Option<Profile>, metadata: Option<Profile>) -> Result<Profiles> {
        let several = devices > 1;
        let wrong = |message: String| Err(Error::new(Kind::Usage, message));
        if !(1..=DEVICES_MAX).contains(&devices) {
            return wrong(format!("{devices} devices: from 1 to {DEVICES_MAX} can be filled together"));
        }
        let profiles = Profiles {
            data: data.unwrap_or(if several { Profile::Raid0 } else { Profile::Single }),
            metadata: metadata.unwrap_or(if several { Profile::Raid1 } else { Profile::Dup }),
        };
        for (what, profile) in [("data", profiles.data), ("metadata", profiles.metadata)] {
            if !several && matches!(profile, Profile::Raid0 | Profile::Raid1) {
                return wrong(format!("{what} {} needs two devices or more", profile.name()));
            }
        }
        match profiles.data {
            Profile::Single | Profile::Raid0 => Ok(profiles),
            other => wrong(format!("data is written once: single or raid0, not {}", other.name())),
        }
    }
}

/// A piece of a device, as long as the others of its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    /// Number of the device, from 0.
    pub device: usize,
    /// Its first byte.
    pub offset: u64,
}

/// One chunk, which is one block group.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub kind: ChunkKind,
    pub profile: Profile,
    pub logical: u64,
    pub length: u64,
    pub stripes: Vec<Stripe>,
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
        kind | match self.profile {
            Profile::Single => 0,
            Profile::Dup => GROUP_DUP,
            Profile::Raid0 => GROUP_RAID0,
            Profile::Raid1 => GROUP_RAID1,
        }
    }

    pub fn end(&self) -> u64 {
        self.logical + self.length
    }

    /// Bytes that each of its stripes takes of a device.
    pub fn stripe_length(&self) -> u64 {
        match self.profile {
            Profile::Raid0 => self.length / self.stripes.len().max(1) as u64,
            _ => self.length,
        }
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
    /// Where it begins in its chunk.
    within: u64,
    profile: Profile,
    stripes: Vec<Stripe>,
}

/// Bytes that go to one place of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub device: usize,
    pub offset: u64,
    /// Which bytes of the source, one range after the other.
    pub pieces: Vec<Range<usize>>,
}

impl Space {
    /// What to write where so that `length` bytes are in this space, from its byte `from` on: one write for each copy,
    /// or each device that data is striped over.
    pub fn writes(&self, from: u64, length: u64) -> Vec<Write> {
        let start = self.within + from;
        let whole = 0..length as usize;
        if self.profile != Profile::Raid0 {
            let copy = |s: &Stripe| Write { device: s.device, offset: s.offset + start, pieces: vec![whole.clone()] };
            return self.stripes.iter().map(copy).collect();
        }
        let devices = self.stripes.len().max(1) as u64;
        let mut writes: Vec<Option<Write>> = vec![None; self.stripes.len()];
        let mut done = 0;
        while done < length {
            let (row, inside) = ((start + done) / STRIPE_LEN, (start + done) % STRIPE_LEN);
            let take = (STRIPE_LEN - inside).min(length - done);
            let column = (row % devices) as usize;
            if let (Some(stripe), Some(write)) = (self.stripes.get(column), writes.get_mut(column)) {
                let offset = stripe.offset + row / devices * STRIPE_LEN + inside;
                let write = write.get_or_insert(Write { device: stripe.device, offset, pieces: Vec::new() });
                write.pieces.push(done as usize..(done + take) as usize);
            }
            done += take;
        }
        writes.into_iter().flatten().collect()
    }
}

/// A device from the view of the layout.
#[derive(Debug, Clone)]
struct Device {
    /// Bytes that the file system uses.
    size: u64,
    /// Free space, in order.
    unused: Vec<Range<u64>>,
}

/// Gives out space of devices.
#[derive(Debug, Clone)]
pub struct Layout {
    devices: Vec<Device>,
    profiles: Profiles,
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
    /// A layout on devices of these sizes, with its system chunk, the first. `chunk_max` bounds chunks further than the
    /// kernel would (for tests).
    pub fn new(sizes: &[u64], profiles: Profiles, chunk_max: u64) -> Result<Layout> {
        if let Some(size) = sizes.iter().find(|&&size| size < DEVICE_MIN) {
            let message =
                format!("{size} bytes are too few: BTRFS needs at least {} MiB on each device", DEVICE_MIN / MIB);
            return Err(Error::new(Kind::NoSpace, message).with_hint("choose a larger device (or --size)"));
        }
        let devices: Vec<Device> =
            sizes.iter().map(|size| size / SECTOR * SECTOR).map(|size| Device { size, unused: unused(size) }).collect();
        let size = total(&devices)?;
        // The kernel's rule (fs/btrfs/volumes.c, init_alloc_chunk_ctl_policy_regular): at most a tenth of the devices,
        // so that on small ones there is always room for balance to move a chunk to. Larger metadata chunks than
        // 256 MiB, which the kernel makes over 50 GiB, bring nothing here.
        let tenth = (size / 10).min(chunk_max.max(MIB)) / STRIPE_LEN * STRIPE_LEN;
        let stripes = |profile| if profile == Profile::Raid0 { devices.len() as u64 } else { 1 };
        let mut layout = Layout {
            data_chunk: tenth.min(GIB * stripes(profiles.data).min(10)),
            metadata_chunk: tenth.min(256 * MIB),
            devices,
            profiles,
            chunks: Vec::new(),
            data: None,
            metadata: None,
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
        self.take(index, want)
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
        self.take(index, count * NODE as u64)
    }

    /// What is free in the chunk that tree blocks went to stays free.
    pub fn new_metadata_chunk(&mut self) -> Result<()> {
        self.metadata = Some(self.new_chunk(ChunkKind::Metadata, self.metadata_chunk)?);
        Ok(())
    }

    /// Takes blocks for the chunk tree, all from the one system chunk.
    pub fn take_system_nodes(&mut self, count: u64) -> Result<Space> {
        let want = count * NODE as u64;
        if room(&self.chunks, 0) < want {
            return Err(Error::new(Kind::NoSpace, format!("its system chunk has no room for {count} more blocks")));
        }
        self.take(0, want)
    }

    /// A file system always has a chunk of each kind, as mkfs.btrfs makes it: a new one takes its profile from those.
    pub fn complete(&mut self) -> Result<()> {
        if self.data.is_none() {
            self.data = Some(self.new_chunk(ChunkKind::Data, self.data_chunk.min(8 * MIB))?);
        }
        Ok(())
    }

    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// Bytes of a device that the file system uses.
    pub fn device_size(&self, device: usize) -> u64 {
        self.devices.get(device).map_or(0, |device| device.size)
    }

    /// Bytes of all devices.
    pub fn size(&self) -> u64 {
        self.devices.iter().map(|device| device.size).sum()
    }

    /// Bytes of a device in chunks.
    pub fn allocated(&self, device: usize) -> u64 {
        let of =
            |chunk: &Chunk| chunk.stripes.iter().filter(|s| s.device == device).count() as u64 * chunk.stripe_length();
        self.chunks.iter().map(of).sum()
    }

    /// Bytes given out, each copy of a tree block counted once.
    pub fn used(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.filled).sum()
    }

    fn take(&mut self, index: usize, want: u64) -> Result<Space> {
        let Some(chunk) = self.chunks.get_mut(index) else {
            return Err(Error::new(Kind::Failure, format!("there is no chunk {index} (a fault of burst)")));
        };
        let within = chunk.filled;
        let length = want.min(chunk.length - within);
        chunk.filled += length;
        let (logical, profile, stripes) = (chunk.logical + within, chunk.profile, chunk.stripes.clone());
        Ok(Space { logical, length, within, profile, stripes })
    }

    /// Makes a chunk of at most `want` bytes (less only where no such piece of the devices is left).
    fn new_chunk(&mut self, kind: ChunkKind, want: u64) -> Result<usize> {
        let profile = match kind {
            ChunkKind::Data => self.profiles.data,
            ChunkKind::Metadata | ChunkKind::System => self.profiles.metadata,
        };
        let (devices, length) = self.choose_devices(kind, profile, want);
        if devices.is_empty() {
            let allocated: u64 = (0..self.devices.len()).map(|device| self.allocated(device)).sum();
            let message = format!(
                "its {} MiB are full: {} MiB are in use, and more is needed",
                self.size() / MIB,
                allocated / MIB
            );
            return Err(Error::new(Kind::NoSpace, message));
        }
        let stripes: Vec<Stripe> = devices
            .iter()
            .filter_map(|&device| Some(Stripe { device, offset: self.devices.get_mut(device)?.take(length)? }))
            .collect();
        let length = if profile == Profile::Raid0 { length * stripes.len() as u64 } else { length };
        let logical = self.chunks.last().map_or(FIRST_LOGICAL, Chunk::end);
        self.chunks.push(Chunk { kind, profile, logical, length, stripes, filled: 0 });
        Ok(self.chunks.len() - 1)
    }

    /// Which devices the stripes of a new chunk lie on, those with the most room first (as the kernel does), and how
    /// long each stripe is. No devices if there is no room.
    fn choose_devices(&self, kind: ChunkKind, profile: Profile, want: u64) -> (Vec<usize>, u64) {
        let copies = if profile == Profile::Dup { 2 } else { 1 };
        let mut rooms: Vec<(u64, usize)> = self.devices.iter().map(|device| device.largest(copies)).zip(0..).collect();
        rooms.sort_by_key(|&(room, device)| (std::cmp::Reverse(room), device));
        let chosen = match profile {
            Profile::Single | Profile::Dup => rooms.get(..1),
            Profile::Raid1 => rooms.get(..2),
            Profile::Raid0 => {
                let most = if kind == ChunkKind::System { SYSTEM_STRIPES_MAX } else { DEVICES_MAX };
                let with_room = rooms.iter().take_while(|(room, _)| *room >= MIB).count();
                rooms.get(..with_room.min(most))
            }
        };
        let Some(chosen @ [.., (least, _)]) = chosen else { return (Vec::new(), 0) };
        let stripes = if profile == Profile::Raid0 { chosen.len() as u64 } else { 1 };
        let each = want.div_ceil(stripes).next_multiple_of(STRIPE_LEN);
        // Too small a piece is no use: what is asked for may not fit, and every chunk costs items.
        if *least < each.min(MIB) {
            return (Vec::new(), 0);
        }
        let length = each.min(*least).min(GIB);
        let devices = chosen.iter().flat_map(|&(_, device)| std::iter::repeat_n(device, copies as usize)).collect();
        (devices, length)
    }
}

impl Device {
    /// The longest piece of which so many still fit.
    fn largest(&self, copies: u64) -> u64 {
        let fits = |length: u64| self.unused.iter().map(|r| (r.end - r.start) / length).sum::<u64>() >= copies;
        // The best length is a part of one of the pieces.
        let candidates = self.unused.iter().flat_map(|r| (1..=copies).map(move |n| (r.end - r.start) / n));
        candidates.map(|n| n / STRIPE_LEN * STRIPE_LEN).filter(|&n| n > 0 && fits(n)).max().unwrap_or(0)
    }

    fn take(&mut self, length: u64) -> Option<u64> {
        let piece = self.unused.iter_mut().find(|r| r.end - r.start >= length)?;
        let start = piece.start;
        piece.start += length;
        Some(start)
    }
}

fn total(devices: &[Device]) -> Result<u64> {
    let total = devices.iter().try_fold(0u64, |sum, device| sum.checked_add(device.size));
    total.ok_or_else(|| Error::new(Kind::Usage, "the devices have more than 2^64 bytes together"))
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
    use super::Profile::{Dup, Raid0, Raid1, Single};
    use super::*;

    const ONE: Profiles = Profiles { data: Single, metadata: Dup };

    fn check(layout: &Layout) {
        let mut stripes: Vec<(usize, u64, u64)> = Vec::new();
        let mut logical = 0;
        for chunk in &layout.chunks {
            assert!(chunk.logical >= logical && chunk.filled <= chunk.length);
            assert!(
                chunk.length > 0 && chunk.length.is_multiple_of(STRIPE_LEN) && chunk.logical.is_multiple_of(SECTOR)
            );
            logical = chunk.end();
            let length = chunk.stripe_length();
            assert!(length > 0 && length.is_multiple_of(STRIPE_LEN));
            stripes.extend(chunk.stripes.iter().map(|s| (s.device, s.offset, s.offset + length)));
        }
        stripes.sort_unstable();
        assert!(stripes.windows(2).all(|w| w[0].0 < w[1].0 || w[0].2 <= w[1].1), "{stripes:?}");
        for (device, start, end) in stripes {
            assert!(start >= MIB && end <= layout.device_size(device), "{start} {end}");
            assert!(SUPERBLOCKS.iter().all(|&s| end <= s || start >= s + STRIPE_LEN), "{start} {end}");
        }
    }

    #[test]
    fn fills_devices_of_every_size() {
        const SEVERAL: [&[u64]; 3] = [&[64 * MIB, 100 * MIB], &[GIB, 333 * MIB + 777, 70 * MIB], &[200 * GIB; 5]];
        let one =
            [64 * MIB, 65 * MIB + 12_345, 100 * MIB, 1000 * MIB + 4096, 3 * GIB, 300 * GIB].map(|size| vec![size]);
        let mut cases = Vec::new();
        for metadata in [Dup, Single] {
            cases.extend(one.iter().map(|sizes| (sizes.clone(), Profiles { data: Single, metadata })));
        }
        for (data, metadata) in [(Raid0, Raid1), (Single, Raid1), (Raid0, Raid0), (Single, Dup), (Raid0, Single)] {
            cases.extend(SEVERAL.iter().map(|sizes| (sizes.to_vec(), Profiles { data, metadata })));
        }
        for (sizes, profiles) in cases {
            let size: u64 = sizes.iter().sum();
            let mut layout = Layout::new(&sizes, profiles, u64::MAX).unwrap();
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
                    Ok(space) => {
                        assert!(space.length > 0 && n % 7 == 6 || space.length >= least);
                        if n < 100 || n % 16 == 0 {
                            assert_in_place(&layout, &space);
                        }
                    }
                    Err(e) => {
                        assert_eq!(e.kind(), Kind::NoSpace);
                        break;
                    }
                }
            }
            check(&layout);
            assert!(data > size / 20, "{data} of {size}, {profiles:?}");
        }
        assert_eq!(Layout::new(&[DEVICE_MIN - 1], ONE, u64::MAX).unwrap_err().kind(), Kind::NoSpace);
        assert_eq!(Layout::new(&[u64::MAX, u64::MAX], ONE, u64::MAX).unwrap_err().kind(), Kind::Usage);
    }

    /// Each sector of a space is written where the kernel looks for it (fs/btrfs/volumes.c, btrfs_map_block).
    fn assert_in_place(layout: &Layout, space: &Space) {
        let chunk = layout.chunks.iter().find(|c| c.logical <= space.logical && space.logical < c.end()).unwrap();
        let (from, length) =
            if space.length > 8 * SECTOR { (3 * SECTOR, space.length - 4 * SECTOR) } else { (0, space.length) };
        let length = length.min(MIB);
        let writes = space.writes(from, length);
        let devices = writes.iter().map(|w| w.device).collect::<std::collections::BTreeSet<_>>();
        assert!(devices.len() == writes.len() || chunk.profile == Dup);
        let mut written = std::collections::BTreeSet::new();
        for write in &writes {
            let mut at = write.offset;
            for piece in &write.pieces {
                for n in (piece.start as u64..piece.end as u64).step_by(SECTOR as usize) {
                    assert!(written.insert((n, write.device, at + n - piece.start as u64)));
                }
                at += (piece.end - piece.start) as u64;
            }
        }
        let mut expected = std::collections::BTreeSet::new();
        for n in (0..length).step_by(SECTOR as usize) {
            let in_chunk = space.logical + from + n - chunk.logical;
            let count = chunk.stripes.len() as u64;
            for (stripe, column) in chunk.stripes.iter().zip(0..) {
                let row = in_chunk / STRIPE_LEN;
                match chunk.profile {
                    Raid0 if row % count != column => {}
                    Raid0 => {
                        let place = stripe.offset + row / count * STRIPE_LEN + in_chunk % STRIPE_LEN;
                        expected.insert((n, stripe.device, place));
                    }
                    _ => {
                        expected.insert((n, stripe.device, stripe.offset + in_chunk));
                    }
                }
            }
        }
        assert!(written == expected, "{:?} {space:?}", chunk.profile);
    }

    #[test]
    fn profiles() {
        let of = |devices, data, metadata| Profiles::choose(devices, data, metadata);
        assert_eq!(of(1, None, None).unwrap(), ONE);
        assert_eq!(of(3, None, None).unwrap(), Profiles { data: Raid0, metadata: Raid1 });
        assert_eq!(of(2, Some(Single), Some(Dup)).unwrap(), Profiles { data: Single, metadata: Dup });
        for (devices, data, metadata) in [
            (1, Some(Raid0), None),
            (1, None, Some(Raid1)),
            (1, None, Some(Raid0)),
            (2, Some(Raid1), None),
            (1, Some(Dup), None),
            (0, None, None),
            (33, None, None),
        ] {
            assert_eq!(of(devices, data, metadata).unwrap_err().kind(), Kind::Usage);
        }
    }

    #[test]
    fn uneven_devices_are_used_up() {
        // What is left when the small one is full goes to the large one alone.
        let profiles = Profiles { data: Raid0, metadata: Raid1 };
        let mut layout = Layout::new(&[4 * GIB, 512 * MIB], profiles, u64::MAX).unwrap();
        while layout.take_data(SECTOR, |room| room).is_ok() {}
        check(&layout);
        for device in 0..2 {
            assert!(layout.device_size(device) - layout.allocated(device) < 4 * MIB);
        }
    }

    #[test]
    fn sizes_of_the_kernel() {
        let sizes = |size: u64| {
            let mut layout = Layout::new(&[size], ONE, u64::MAX).unwrap();
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
