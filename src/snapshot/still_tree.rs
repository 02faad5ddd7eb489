//! Paths of subvolume snapshots, read out of their trees and from the devices: what a new snapshot shows is in no cache, and
//! the kernel would make an inode of every file, and one read for its content.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use nix::libc;

use super::record::{Record, Source, Stat};
use crate::btrfs::subvolume::subvolume_of;
use crate::btrfs::{Compression, DeviceFiles, DeviceReader, InodeItems, Place, SmallFile};
use crate::format::Timestamp;
use crate::format::entry::{S_IFLNK, S_IFMT};
use crate::format::limits::FRAME_CONTENT_MAX;

/// Bytes of the buffer of a batch that are kept: as much as one usually needs.
const BYTES_KEPT: usize = 2 << 20;

/// Asks the trees of all sources; one per thread.
pub struct StillTrees {
    items: InodeItems,
    /// The source that was asked for last; None where it is no directory in a snapshot, or cannot be opened.
    base: Option<(u32, Option<Base>)>,
    /// By file system; None where the kernel does not tell.
    readers: HashMap<[u8; 16], Option<DeviceReader>>,
    devices: DeviceFiles,
    /// Of the tree at hand, before it was asked where extents are.
    generation: Option<u64>,
    /// What is stored of the files of a batch.
    bytes: Vec<u8>,
}

/// The directory of a source in its snapshot.
struct Base {
    directory: File,
    device: u64,
    file_system: [u8; 16],
}

/// A small file or a link, as it is stored.
pub struct Small {
    pub compression: Compression,
    pub has_xattrs: bool,
    /// In the bytes of the batch.
    place: Range<usize>,
}

impl StillTrees {
    /// `devices`: what all threads share.
    pub fn new(devices: DeviceFiles) -> StillTrees {
        StillTrees {
            items: InodeItems::new(),
            base: None,
            readers: HashMap::new(),
            devices,
            generation: None,
            bytes: Vec::new(),
        }
    }

    /// What lstat would say of `inode`, which the directory that names it says is of this type (`S_IFREG`, `S_IFLNK`),
    /// and the bytes it has allocated. None: ask lstat.
    pub fn stat(&mut self, index: u32, source: &Source, inode: u64, file_type: u32) -> Option<(Stat, u64)> {
        let base = base(&mut self.base, index, source)?;
        let item = self.items.inode(base.directory.as_fd(), inode).ok()??;
        let time = |(seconds, nanos)| Timestamp { seconds, nanos };
        let stat = Stat {
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            nlink: item.nlink.into(),
            size: item.size,
            dev: base.device,
            ino: inode,
            rdev: 0,
            mtime: time(item.mtime),
            ctime: time(item.ctime),
        };
        (item.mode & S_IFMT == file_type).then_some((stat, item.data_bytes))
    }

    /// Reads a batch. For each record what is stored, if the tree says all of it; where it does not, the record has to be
    /// read in the ordinary way. Lasts until the next batch.
    pub fn read<'r>(
        &mut self,
        records: impl Iterator<Item = Option<&'r Record>>,
        sources: &[Source],
    ) -> Vec<Option<Small>> {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        let mut found = Vec::new();
        let mut wanted = Vec::new();
        for record in records {
            let small = record.filter(|record| can_read(record, sources)).and_then(|record| {
                let source = sources.get(record.source as usize)?;
                if self.base.as_ref().is_some_and(|(index, _)| *index != record.source) {
                    self.read_devices(&mut wanted, &mut found);
                }
                self.look(record, source, found.len(), &mut wanted)
            });
            found.push(small);
        }
        self.read_devices(&mut wanted, &mut found);
        found
    }

    /// As it is stored.
    pub fn bytes(&self, small: &Small) -> &[u8] {
        self.bytes.get(small.place.clone()).unwrap_or_default()
    }

    /// Notes in `wanted` what has to be read from a device.
    fn look(
        &mut self,
        record: &Record,
        source: &Source,
        number: usize,
        wanted: &mut Vec<(usize, Range<u64>)>,
    ) -> Option<Small> {
        let base = base(&mut self.base, record.source, source)?;
        if self.generation.is_none() {
            self.generation = Some(base.generation().ok()?);
        }
        let found = self.items.small_file(base.directory.as_fd(), record.stat.ino, record.stat.size).ok()??;
        let SmallFile { compression, place, has_xattrs } = found;
        if !matches!(compression, Compression::None | Compression::Zstd) {
            return None;
        }
        let start = self.bytes.len();
        match place {
            Place::Inline(bytes) => self.bytes.extend_from_slice(bytes),
            Place::Regular(address) => wanted.push((number, address)),
        }
        Some(Small { compression, has_xattrs, place: start..self.bytes.len() })
    }

    /// Reads what is wanted of the source at hand. Of what could not be read nothing is found.
    fn read_devices(&mut self, wanted: &mut Vec<(usize, Range<u64>)>, found: &mut [Option<Small>]) {
        let wanted = std::mem::take(wanted);
        let generation = self.generation.take();
        let Some((_, Some(base))) = self.base.as_ref().filter(|_| !wanted.is_empty()) else { return };
        let within = base.directory.as_fd();
        let open = || DeviceReader::new(within, base.file_system, self.devices.clone()).ok();
        let reader = self.readers.entry(base.file_system).or_insert_with(open);
        let (numbers, extents): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        if let Some(reader) = reader {
            reader.read(within, &extents, |n, bytes| {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(bytes);
                let number = numbers.get(n).copied().unwrap_or(usize::MAX);
                if let Some(Some(small)) = found.get_mut(number) {
                    small.place = start..self.bytes.len();
                }
            });
        }
        // Where the tree has changed, an address may be that of another file by now, with checksums of its own: a balance
        // moves an extent by changing the tree, and nothing else gets its place before that is committed.
        let is_same = generation.is_some() && generation == base.generation().ok();
        for number in numbers {
            if let Some(small) = found.get_mut(number) {
                small.take_if(|small| small.place.is_empty() || !is_same);
            }
        }
    }
}

/// Whether it is a small file or a link, and in a snapshot.
pub fn can_read(record: &Record, sources: &[Source]) -> bool {
    let stat = &record.stat;
    let has_content = stat.is_regular() || stat.mode & S_IFMT == S_IFLNK;
    let is_small = (1..=u64::from(FRAME_CONTENT_MAX)).contains(&stat.size);
    has_content && is_small && sources.get(record.source as usize).is_some_and(|source| source.still.is_some())
}

fn base<'b>(last: &'b mut Option<(u32, Option<Base>)>, index: u32, source: &Source) -> Option<&'b Base> {
    source.still.as_ref()?;
    last.take_if(|last| last.0 != index);
    last.get_or_insert_with(|| (index, Base::open(source).ok())).1.as_ref()
}

impl Base {
    fn generation(&self) -> io::Result<u64> {
        Ok(subvolume_of(self.directory.as_fd())?.generation)
    }

    fn open(source: &Source) -> io::Result<Base> {
        // A source may be a link: what it leads to is not what is archived.
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = OpenOptions::new().read(true).custom_flags(flags).open(&source.base)?;
        let device = directory.metadata()?.dev();
        let file_system = subvolume_of(directory.as_fd())?.id.file_system;
        Ok(Base { directory, device, file_system })
    }
}
