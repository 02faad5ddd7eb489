//! One path of the source, read and compressed: everything the archive writer needs of an entry that fits in memory.

use std::ops;
use std::path::PathBuf;

use nix::sys::stat::{major, minor};

use super::compress::Compressor;
use super::large::{Run, cut_runs};
use super::record::{Record, Source, Stat};
use super::source_file::{SourceFile, attributes, attributes_of_path, is_gone, read_link};
use super::still_tree::{Small, StillTrees};
use super::stored::{Stored, StoredFrames};
use super::{HardLinks, SnapshotOptions};
use crate::btrfs::DeviceFiles;
use crate::error::Result;
use crate::format::archive_writer::{NewEntry, Piece};
use crate::format::checksum::{crc32, crc32_combine, crc32_of_zeros};
use crate::format::entry::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT};
use crate::format::limits::FINISHED_IN_MEMORY_MAX;
use crate::format::{Attributes, EntryType};
use crate::observe::Change;

/// A file that will not hold still is read this often before what was read last is taken.
const ATTEMPTS: usize = 4;

/// Data of an entry.
#[derive(Debug)]
pub enum Data {
    Stored(Vec<u8>),
    Framed(Vec<Piece>),
}

impl Data {
    /// Of a file without holes: the pieces, unless they save next to nothing.
    fn of(pieces: Vec<Piece>, content: &[u8]) -> Data {
        let compressed: u64 = pieces.iter().map(Piece::length).sum();
        let is_stored = compressed + compressed / 64 >= content.len() as u64;
        if is_stored { Data::Stored(content.to_vec()) } else { Data::Framed(pieces) }
    }
}

/// An entry that can be added to the archive.
#[derive(Debug)]
pub struct Ready {
    pub entry: NewEntry,
    pub data: Data,
    pub crc32: u32,
    pub content_length: u64,
    /// Bytes of content in frames taken as they are stored.
    pub verbatim: u64,
    /// The inode, if other names may follow.
    pub inode: Option<(u64, u64)>,
    /// Set if the file did not hold still.
    pub changed: Option<PathBuf>,
}

impl Ready {
    /// `stat`: of the inode that was read.
    fn new(entry: NewEntry, data: Data, content: Part, stat: &Stat) -> Box<Ready> {
        Box::new(Ready {
            inode: entry.link_count.map(|_| stat.inode()),
            entry,
            data,
            crc32: content.crc32,
            content_length: content.length,
            verbatim: content.verbatim,
            changed: None,
        })
    }
}

/// What came of a record.
#[derive(Debug)]
pub enum Read {
    Ready(Box<Ready>),
    /// The file is too large to be finished in memory.
    Large(SourceFile),
    Missing(PathBuf, Change),
}

/// What a thread that reads and compresses has of its own, and what all share.
pub struct Worker<'a> {
    pub sources: &'a [Source],
    pub hard_links: HardLinks,
    pub compressor: Compressor,
    pub stored: StoredFrames,
    trees: StillTrees,
    /// Content of the file or range at hand.
    pub buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    /// `devices`: what all workers share.
    pub fn new(sources: &'a [Source], options: &SnapshotOptions, devices: &DeviceFiles) -> Result<Worker<'a>> {
        Ok(Worker {
            sources,
            hard_links: options.hard_links,
            compressor: Compressor::new(options.level)?,
            stored: StoredFrames::new(options.recompress),
            trees: StillTrees::new(devices.clone()),
            buffer: Vec::new(),
        })
    }

    pub fn read(&mut self, record: &Record) -> Result<Read> {
        if record.stat.is_regular() {
            return self.read_file(record);
        }
        let (place, path) = (record.location(self.sources), record.shown(self.sources));
        let attributes = match attributes_of_path(&place, &path, &record.stat) {
            Err(error) if is_gone(&error) => return Ok(Read::Missing(path, Change::Vanished)),
            attributes => attributes?,
        };
        let device = (major(record.stat.rdev) as u32, minor(record.stat.rdev) as u32);
        let mut data = Vec::new();
        let entry_type = match record.stat.mode & S_IFMT {
            S_IFDIR => EntryType::Directory,
            S_IFIFO => EntryType::Fifo,
            S_IFCHR => EntryType::CharDevice { major: device.0, minor: device.1 },
            S_IFBLK => EntryType::BlockDevice { major: device.0, minor: device.1 },
            S_IFLNK => {
                data = match read_link(&place, &path)? {
                    Ok(text) => text,
                    Err(missing) => return Ok(Read::Missing(path, missing)),
                };
                EntryType::Symlink
            }
            _ => return Ok(Read::Missing(path, Change::OtherType)),
        };
        let entry = self.entry(record, entry_type, attributes, &record.stat);
        let content = Part { crc32: crc32(&data), length: data.len() as u64, verbatim: 0 };
        Ok(Read::Ready(Ready::new(entry, Data::Stored(data), content, &record.stat)))
    }

    /// Reads the first part of what follows: small files of snapshots.
    pub fn read_batch(&mut self, records: &[Option<&Record>]) -> Vec<Option<Small>> {
        self.trees.read(records.iter().copied(), self.sources)
    }

    /// A small file or a link of a snapshot of which all is known. None: it has to be read in the ordinary way.
    pub fn read_small(&mut self, record: &Record, small: &Small) -> Result<Option<Box<Ready>>> {
        let stat = &record.stat;
        let is_file = stat.is_regular();
        let length = stat.size as usize;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let content = self.buffer.get_mut(..length).unwrap_or_default();
        let Some(frame) = self.stored.decode(small.compression, self.trees.bytes(small), content) else {
            return Ok(None);
        };
        let attributes = if small.has_xattrs {
            attributes_of_path(&record.location(self.sources), &record.shown(self.sources), stat)?
        } else {
            attributes(stat, Vec::new())
        };
        let mut part = Part { crc32: crc32(content), length: stat.size, verbatim: 0 };
        let (entry_type, data) = if is_file {
            let piece = match frame {
                Some(bytes) => {
                    part.verbatim = stat.size;
                    Piece::Frame { bytes, content_length: stat.size as u32 }
                }
                None => self.compressor.piece(content)?,
            };
            (EntryType::Regular, Data::of(vec![piece], content))
        } else {
            (EntryType::Symlink, Data::Stored(content.to_vec()))
        };
        Ok(Some(Ready::new(self.entry(record, entry_type, attributes, stat), data, part, stat)))
    }

    fn read_file(&mut self, record: &Record) -> Result<Read> {
        let (place, path) = (record.location(self.sources), record.shown(self.sources));
        for attempt in 1.. {
            let file = match SourceFile::open(&place, path.clone())? {
                Ok(file) => file,
                Err(missing) => return Ok(Read::Missing(path, missing)),
            };
            if file.stat.size > FINISHED_IN_MEMORY_MAX {
                return Ok(Read::Large(file));
            }
            let attributes = file.attributes()?;
            let (data, content) = self.content(&file)?;
            let unchanged = content.complete && file.is_unchanged()?;
            if unchanged || attempt == ATTEMPTS {
                let entry = self.entry(record, EntryType::Regular, attributes, &file.stat);
                let part = Part { crc32: content.crc32, length: content.length, verbatim: content.verbatim };
                let mut ready = Ready::new(entry, data, part, &file.stat);
                ready.changed = (!unchanged).then_some(path);
                return Ok(Read::Ready(ready));
            }
        }
        unreachable!("the last attempt returns")
    }

    pub fn entry(&self, record: &Record, entry_type: EntryType, attributes: Attributes, stat: &Stat) -> NewEntry {
        let may_be_linked = self.hard_links == HardLinks::Keep && !stat.is_directory() && stat.nlink > 1;
        let link_count = may_be_linked.then(|| u32::try_from(stat.nlink).unwrap_or(u32::MAX));
        NewEntry { path: record.name(self.sources), entry_type, attributes, link_count }
    }

    /// Reads the whole file, as long as it is when it was opened or shorter. The pieces are in the data.
    fn content(&mut self, file: &SourceFile) -> Result<(Data, Range)> {
        let size = file.stat.size;
        let runs = cut_runs(&file.extents(0..size)?, 0..size);
        let mut content = self.range(file, &runs)?;
        let pieces = std::mem::take(&mut content.pieces);
        let has_holes = runs.iter().any(|run| run.is_hole);
        if has_holes && !pieces.is_empty() {
            return Ok((Data::Framed(pieces), content));
        }
        // All of it was read by one run, and is still in the buffer.
        Ok((Data::of(pieces, self.buffer.get(..content.length as usize).unwrap_or_default()), content))
    }

    /// Reads and compresses runs that follow each other, as far as the file goes.
    pub fn range(&mut self, file: &SourceFile, runs: &[Run]) -> Result<Range> {
        let mut range = Range { pieces: Vec::new(), crc32: 0, length: 0, verbatim: 0, complete: true };
        for run in runs {
            let part = self.run(file, run.range.clone(), run.is_hole, &mut range.pieces)?;
            range.crc32 = crc32_combine(range.crc32, part.crc32, part.length);
            range.length += part.length;
            range.verbatim += part.verbatim;
            if part.length < run.range.end - run.range.start {
                range.complete = false;
                break;
            }
        }
        Ok(range)
    }

    /// Takes, or reads and compresses, one run of data, or cuts one hole. Fewer bytes only where the file ends.
    pub fn run(
        &mut self,
        file: &SourceFile,
        range: ops::Range<u64>,
        is_hole: bool,
        pieces: &mut Vec<Piece>,
    ) -> Result<Part> {
        const STEP: u64 = crate::format::limits::FRAME_CONTENT_MAX as u64;
        let length = range.end - range.start;
        if is_hole {
            pieces.extend((0..length).step_by(STEP as usize).map(|at| Piece::Hole((length - at).min(STEP) as u32)));
            return Ok(Part { crc32: crc32_of_zeros(length), length, verbatim: 0 });
        }
        if self.buffer.len() < length as usize {
            self.buffer.resize(length as usize, 0);
        }
        let (mut done, mut verbatim) = (0, 0);
        for stored in self.stored.ranges(file, range.clone()) {
            // What stands before a frame is compressed when the frame is found, in pieces as large as can be.
            let mut position = stored.start;
            while position < stored.end {
                let content = self.buffer.get_mut((position - range.start) as usize..).unwrap_or_default();
                match self.stored.take(file, position..stored.end, content) {
                    Stored::Other(length) => position += length,
                    Stored::Frame { bytes, content_length } => {
                        let before = position - range.start;
                        let read = self.compress(file, range.start, done..before, pieces)?;
                        if read < before {
                            return Ok(self.part(read, verbatim));
                        }
                        pieces.push(Piece::Frame { bytes, content_length });
                        position += u64::from(content_length);
                        verbatim += u64::from(content_length);
                        done = position - range.start;
                    }
                }
            }
        }
        let read = self.compress(file, range.start, done..length, pieces)?;
        Ok(self.part(read, verbatim))
    }

    /// The first `length` bytes of the run, which are in the buffer.
    fn part(&self, length: u64, verbatim: u64) -> Part {
        let content = self.buffer.get(..length as usize).unwrap_or_default();
        Part { crc32: crc32(content), length, verbatim }
    }

    /// Reads and compresses `part` of what begins at `start` in the file. Gives the end of what there was.
    fn compress(
        &mut self,
        file: &SourceFile,
        start: u64,
        part: ops::Range<u64>,
        pieces: &mut Vec<Piece>,
    ) -> Result<u64> {
        const STEP: usize = crate::format::limits::FRAME_CONTENT_MAX as usize;
        let buffer = self.buffer.get_mut(part.start as usize..part.end as usize).unwrap_or_default();
        let read = file.read_at(buffer, start + part.start)?;
        for piece in buffer.get(..read).unwrap_or_default().chunks(STEP) {
            pieces.push(self.compressor.piece(piece)?);
        }
        Ok(part.start + read as u64)
    }
}

/// What was read of one run.
pub struct Part {
    pub crc32: u32,
    pub length: u64,
    pub verbatim: u64,
}

/// What was read of some runs.
#[derive(Debug)]
pub struct Range {
    pub pieces: Vec<Piece>,
    pub crc32: u32,
    pub length: u64,
    /// Bytes of them in frames taken as they are stored.
    pub verbatim: u64,
    /// False: the file ended early, nothing of it follows.
    pub complete: bool,
}
