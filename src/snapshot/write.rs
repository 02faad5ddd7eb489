//! The end of the pipeline: entries in order, into the archive writer, out to the sink.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::item::{Data, Range, Read, Ready, Worker};
use super::pipeline::{Outcome, large_begin};
use super::record::{Record, Source};
use super::source_file::SourceFile;
use super::{Report, SnapshotOptions, Tally, large};
use crate::btrfs::DeviceFiles;
use crate::error::{Error, Result};
use crate::format::archive_writer::{ArchiveWriter, NewEntry, WriterOptions};
use crate::format::checksum::{crc32, crc32_combine};
use crate::format::entry::{hard_link_text, split_parent};
use crate::format::{Attributes, EntryType};
use crate::linux::spool::Spool;
use crate::observe::{Change, Event};
use crate::store::ArchiveSink;

/// The directory stays in memory up to this many bytes.
const DIRECTORY_MEMORY: usize = 64 << 20;

/// Output is collected up to this many bytes before it goes to the sink.
const OUTPUT_STEP: usize = 256 << 10;

pub struct Writer<'a> {
    archive: ArchiveWriter,
    sink: Box<dyn ArchiveSink>,
    directory: Spool,
    /// First names of inodes that have several.
    linkable: HashMap<(u64, u64), Target>,
    /// For what only becomes known here; see [`Writer::read_now`].
    worker: Worker<'a>,
    large: Option<Large>,
    /// Directories that had vanished when it was their turn; what is below them can have no entry, also if they are back.
    missing: HashSet<Vec<u8>>,
    report: Report,
    archive_bytes: u64,
    content_bytes: u64,
}

/// The entry that hard links name.
struct Target {
    ordinal: u64,
    path: Vec<u8>,
    attributes: Attributes,
}

/// The large file that is being written.
struct Large {
    /// None once its header is written.
    entry: Option<NewEntry>,
    file: Arc<SourceFile>,
    crc32: u32,
    length: u64,
    ended_early: bool,
}

impl<'a> Writer<'a> {
    pub fn new(
        archive: WriterOptions,
        sink: Box<dyn ArchiveSink>,
        sources: &'a [Source],
        options: &SnapshotOptions,
    ) -> Result<Writer<'a>> {
        Ok(Writer {
            archive: ArchiveWriter::new(archive)?,
            sink,
            directory: Spool::new(&std::env::temp_dir(), DIRECTORY_MEMORY),
            linkable: HashMap::new(),
            worker: Worker::new(sources, options, &DeviceFiles::default())?,
            large: None,
            missing: HashSet::new(),
            report: Report::default(),
            archive_bytes: 0,
            content_bytes: 0,
        })
    }

    /// Appends what comes next.
    pub fn put(&mut self, outcome: Outcome, tally: &mut Tally<'_>) -> Result<()> {
        tally.check_interrupt()?;
        if let Some(path) = self.below_missing(&outcome) {
            tally.send(Event::Changed { path: Path::new(OsStr::from_bytes(&path)), how: Change::Vanished });
            return Ok(());
        }
        match outcome {
            Outcome::Entry(ready) => self.entry(*ready, tally)?,
            Outcome::Link(record) => match self.linkable.get(&record.stat.inode()) {
                Some(target) => {
                    let entry = target.link(record.name(self.worker.sources));
                    self.hard_link(entry)?;
                }
                // The first name was gone, or another file, when it was opened.
                None => self.read_now(&record, tally)?,
            },
            Outcome::Grown(record) => self.read_now(&record, tally)?,
            Outcome::Missing(path, missing, directory) => {
                self.missing.extend(directory);
                tally.send(Event::Changed { path: &path, how: missing });
            }
            Outcome::LargeBegin { entry, file } => {
                self.large = Some(Large { entry: Some(entry), file, crc32: 0, length: 0, ended_early: false });
            }
            Outcome::LargeRange(range) => self.range(range, tally)?,
            Outcome::LargeEnd => self.end_large(tally)?,
        }
        if self.archive.output().len() >= OUTPUT_STEP { self.drain() } else { Ok(()) }
    }

    /// The name of what comes next, if it is below a directory that is not in the archive.
    fn below_missing(&self, outcome: &Outcome) -> Option<Vec<u8>> {
        if self.missing.is_empty() {
            return None;
        }
        let path = match outcome {
            Outcome::Entry(ready) => ready.entry.path.clone(),
            Outcome::LargeBegin { entry, .. } => entry.path.clone(),
            Outcome::Link(record) | Outcome::Grown(record) => record.name(self.worker.sources),
            // Where nothing was begun these change nothing.
            Outcome::Missing(..) | Outcome::LargeRange(_) | Outcome::LargeEnd => return None,
        };
        let above = std::iter::successors(Some(split_parent(&path).0), |&path| Some(split_parent(path).0));
        let is_missing = above.take_while(|path| !path.is_empty()).any(|path| self.missing.contains(path));
        is_missing.then_some(path)
    }

    fn entry(&mut self, ready: Ready, tally: &mut Tally<'_>) -> Result<()> {
        let Ready { entry, data, crc32, content_length, verbatim, inode, changed } = ready;
        self.report.verbatim_bytes += verbatim;
        if let Some(path) = changed {
            tally.send(Event::Changed { path: &path, how: Change::WhileRead });
        }
        match entry.entry_type {
            EntryType::Directory => self.report.directories += 1,
            EntryType::Regular => self.count_file(content_length, tally),
            _ => self.report.others += 1,
        }
        let target = inode.map(|inode| (inode, entry.path.clone(), entry.attributes.clone()));
        let ordinal = match data {
            Data::Stored(data) => self.archive.add_stored(entry, data, crc32)?,
            Data::Framed(pieces) => self.archive.add_framed(entry, pieces, crc32)?,
        };
        if let Some((inode, path, attributes)) = target {
            self.linkable.insert(inode, Target::new(ordinal, path, attributes));
        }
        Ok(())
    }

    fn hard_link(&mut self, (entry, text): (NewEntry, Vec<u8>)) -> Result<()> {
        self.report.hard_links += 1;
        let crc32 = crc32(&text);
        self.archive.add_stored(entry, text, crc32).map(drop)?;
        Ok(())
    }

    /// Reads a path out of turn, on this thread. Only after something changed, so speed does not matter.
    fn read_now(&mut self, record: &Record, tally: &mut Tally<'_>) -> Result<()> {
        match self.worker.read(record)? {
            Read::Ready(ready) => self.entry(*ready, tally),
            Read::Missing(path, missing) => {
                tally.send(Event::Changed { path: &path, how: missing });
                Ok(())
            }
            Read::Large(file) => {
                let begin = large_begin(&self.worker, record, file)?;
                let Outcome::LargeBegin { file, .. } = &begin else { return Ok(()) };
                let file = file.clone();
                self.put(begin, tally)?;
                large::jobs(&file, |runs| {
                    let range = self.worker.range(&file, &runs)?;
                    self.put(Outcome::LargeRange(range), tally)
                })?;
                self.put(Outcome::LargeEnd, tally)
            }
        }
    }

    fn range(&mut self, range: Range, tally: &mut Tally<'_>) -> Result<()> {
        let Some(large) = self.large.as_mut().filter(|large| !large.ended_early) else { return Ok(()) };
        large.ended_early = !range.complete;
        large.crc32 = crc32_combine(large.crc32, range.crc32, range.length);
        large.length += range.length;
        self.report.verbatim_bytes += range.verbatim;
        for piece in range.pieces {
            // A file that turns out to be empty is another kind of entry, so the header waits for the first piece.
            if let Some(entry) = large.entry.take() {
                let target = entry.link_count.map(|_| (entry.path.clone(), entry.attributes.clone()));
                let ordinal = self.archive.begin_large(entry)?;
                if let Some((path, attributes)) = target {
                    self.linkable.insert(large.file.stat.inode(), Target::new(ordinal, path, attributes));
                }
            }
            self.archive.piece(piece)?;
        }
        self.content_bytes += range.length;
        tally.send(Event::Archived { bytes: self.content_bytes });
        Ok(())
    }

    fn end_large(&mut self, tally: &mut Tally<'_>) -> Result<()> {
        let Some(large) = self.large.take() else { return Ok(()) };
        self.report.files += 1;
        match large.entry {
            None => self.archive.end_large(large.crc32)?,
            Some(entry) => {
                let target = entry.link_count.map(|_| (entry.path.clone(), entry.attributes.clone()));
                let ordinal = self.archive.add_stored(entry, Vec::new(), 0)?;
                if let Some((path, attributes)) = target {
                    self.linkable.insert(large.file.stat.inode(), Target::new(ordinal, path, attributes));
                }
            }
        }
        if large.ended_early || !large.file.is_unchanged()? {
            tally.send(Event::Changed { path: &large.file.path, how: Change::WhileRead });
        }
        Ok(())
    }

    fn count_file(&mut self, length: u64, tally: &mut Tally<'_>) {
        self.report.files += 1;
        self.content_bytes += length;
        tally.send(Event::Archived { bytes: self.content_bytes });
    }

    fn drain(&mut self) -> Result<()> {
        self.sink.write(self.archive.output())?;
        self.archive_bytes += self.archive.output().len() as u64;
        self.archive.clear_output();
        let appended = self.directory.append(self.archive.directory());
        appended.map_err(|e| Error::io(format!("write {}", directory_of_archive(&self.directory)), e))?;
        self.archive.clear_directory();
        Ok(())
    }

    /// Ends the archive and makes it visible.
    pub fn finish(mut self, tally: &mut Tally<'_>) -> Result<Report> {
        let finished = self.archive.finish()?;
        self.drain()?;
        let mut reader = self.directory.reader();
        let mut buffer = vec![0; OUTPUT_STEP];
        loop {
            tally.check_interrupt()?;
            let read = |e| Error::io(format!("read {}", directory_of_archive(&self.directory)), e);
            let count = reader.read(&mut buffer).map_err(read)?;
            if count == 0 {
                break;
            }
            self.sink.write(buffer.get(..count).unwrap_or_default())?;
        }
        self.sink.write(&finished.end_records)?;
        self.sink.finish()?;
        Ok(Report { content_bytes: self.content_bytes, archive_bytes: finished.archive_length, ..self.report })
    }
}

fn directory_of_archive(spool: &Spool) -> String {
    format!("the directory of the archive ({}; see TMPDIR)", spool.place())
}

impl Target {
    /// Links repeat owner and time only (spec `#hard-links`).
    fn new(ordinal: u64, path: Vec<u8>, attributes: Attributes) -> Target {
        Target { ordinal, path, attributes: Attributes { xattrs: Vec::new(), ..attributes } }
    }

    fn link(&self, path: Vec<u8>) -> (NewEntry, Vec<u8>) {
        let text = hard_link_text(&path, &self.path);
        let entry_type = EntryType::HardLink { target: self.ordinal };
        (NewEntry { path, entry_type, attributes: self.attributes.clone(), link_count: None }, text)
    }
}
