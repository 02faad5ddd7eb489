//! One walk over the sources: what is there, in the order of the archive, and how much it is.
//!
//! The records are spooled, so that memory does not grow with the number of entries; in memory are the names of the
//! directories it is in, which is what sorting them takes.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType, Metadata};
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntryExt, WalkDir};

use super::area::{self, AREA};
use super::record::{Record, Source, Stat};
use super::selection::{Selection, Verdict};
use super::still::Still;
use super::still_tree::StillTrees;
use super::{HardLinks, Report, Tally};
use crate::btrfs::DeviceFiles;
use crate::btrfs::subvolume::PLACEHOLDER_INODE;
use crate::error::{Error, Result};
use crate::format::entry::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, check_path};
use crate::format::limits::{FRAME_CONTENT_MAX, STATE_DIRECTORY};
use crate::linux::spool::Spool;
use crate::observe::{Change, Event, Skip};

/// Records stay in memory up to this many bytes per spool.
const SPOOL_MEMORY: usize = 64 << 20;

/// Sums over what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Paths, the sources themselves included.
    pub entries: u64,
    /// Apparent size of the regular files.
    pub bytes: u64,
    /// What of it can be data: not more than the file system has allocated.
    pub data_bytes: u64,
    /// Sum of the lengths of their names in the archive.
    pub name_bytes: u64,
}

impl Totals {
    /// More bytes than the archive will have, with a factor of two for what grows meanwhile and for extended
    /// attributes, which are not looked at in the walk.
    pub fn archive_bound(&self) -> u64 {
        // Headers and the directory take less than 300 bytes and two names per entry; a frame takes its header or 13
        // bytes as a hole, and start-of-part frames and padding a small part of that.
        let frames = (self.bytes / u64::from(FRAME_CONTENT_MAX) + self.entries).saturating_mul(24);
        let names = self.entries.saturating_mul(300).saturating_add(self.name_bytes.saturating_mul(2));
        self.data_bytes.saturating_add(frames).saturating_add(names).saturating_add(1 << 20).saturating_mul(2)
    }

    fn add(&mut self, name: &[u8], stat: &Stat, allocated: u64) {
        self.entries += 1;
        self.name_bytes += name.len() as u64;
        if stat.is_regular() {
            self.bytes = self.bytes.saturating_add(stat.size);
            self.data_bytes = self.data_bytes.saturating_add(stat.size.min(allocated));
        }
    }
}

/// What the walk found, as encoded [`Record`]s, and the sources that they name.
pub struct Walked {
    pub sources: Vec<Source>,
    pub directories: Spool,
    pub others: Spool,
    pub totals: Totals,
}

impl Walked {
    /// What it is, without looking at it again.
    pub fn count(&self, hard_links: HardLinks) -> Result<Report> {
        let mut report = Report::default();
        let mut seen = HashSet::new();
        for spool in [&self.directories, &self.others] {
            let mut reader = BufReader::with_capacity(1 << 16, spool.reader());
            let failed = |e| Error::io(format!("read {}", list_of_files(spool)), e);
            while let Some(Record { stat, .. }) = Record::read(&mut reader).map_err(failed)? {
                let is_link = hard_links == HardLinks::Keep && stat.nlink > 1 && !stat.is_directory();
                *match () {
                    () if stat.is_directory() => &mut report.directories,
                    () if is_link && !seen.insert(stat.inode()) => &mut report.hard_links,
                    () if stat.is_regular() => {
                        report.content_bytes = report.content_bytes.saturating_add(stat.size);
                        &mut report.files
                    }
                    () => &mut report.others,
                } += 1;
            }
        }
        Ok(report)
    }
}

/// What a message says of it.
pub fn list_of_files(spool: &Spool) -> String {
    format!("the list of files ({}; see TMPDIR)", spool.place())
}

/// Walks all sources, in the order given. Takes snapshots of what else is found on the way.
pub fn walk(sources: Vec<Source>, selection: &Selection, still: &mut Still, tally: &mut Tally<'_>) -> Result<Walked> {
    let temporary = std::env::temp_dir();
    let spool = || Spool::new(&temporary, SPOOL_MEMORY);
    let given = sources.len();
    let walked = Walked { sources, directories: spool(), others: spool(), totals: Totals::default() };
    let trees = StillTrees::new(DeviceFiles::default());
    let mut walker = Walker { walked, selection, still, tally, trees, seen: HashSet::new(), bytes: Vec::new() };
    for index in 0..given {
        walker.source(index)?;
    }
    let Walker { walked, seen, tally, .. } = walker;
    for path in selection.not_seen(&seen) {
        let path = walked.sources.first().map_or(path.to_owned(), |source| source.shown.join(path));
        tally.send(Event::Changed { path: &path, how: Change::NotThere });
    }
    Ok(walked)
}

struct Walker<'a, 'e> {
    walked: Walked,
    selection: &'a Selection,
    still: &'a mut Still,
    tally: &'a mut Tally<'e>,
    trees: StillTrees,
    /// Which of the paths that were named one by one were found.
    seen: HashSet<PathBuf>,
    /// The record at hand.
    bytes: Vec<u8>,
}

/// The names in a directory that were not looked at yet.
struct Level {
    /// Relative to the source.
    path: PathBuf,
    names: std::vec::IntoIter<Name>,
}

/// What a directory says of a name in it.
struct Name {
    name: OsString,
    file_type: FileType,
    inode: u64,
}

/// What lstat says, and the bytes that are allocated.
type Looked = (Stat, u64);

impl Walker<'_, '_> {
    /// A source and everything below it, directory by directory: what is mounted must not even be opened, and a walk of
    /// the whole would open a directory before it asks whether to go down into it.
    fn source(&mut self, index: usize) -> Result<()> {
        let Some(source) = self.walked.sources.get(index).cloned() else { return Ok(()) };
        let place = (index, &source);
        let is_root = source.name.is_empty();
        // The one directory that stands for its contents may be named by a link.
        let look = if is_root { fs::metadata } else { fs::symlink_metadata };
        let Some(looked) = self.look(&source, Path::new(""), look)? else { return Ok(()) };
        let device = looked.0.dev;
        let mut levels = Vec::new();
        let goes_down = is_root || self.found(place, Path::new(""), looked)?;
        if goes_down && !source.only_itself {
            levels.extend(self.list(&source, PathBuf::new())?);
        }
        while let Some(level) = levels.last_mut() {
            let Some(Name { name, file_type, inode }) = level.names.next() else {
                levels.pop();
                continue;
            };
            let path = level.path.join(name);
            self.tally.check_interrupt()?;
            if self.is_left_out(&source, &path, file_type.is_dir()) {
                continue;
            }
            if source.still.as_ref().is_some_and(|still| still.mounts.contains(&path)) {
                self.hidden(&source, &path)?;
                continue;
            }
            let Some(looked) = self.look_in(place, &path, file_type, inode)? else { continue };
            let stat = looked.0;
            if source.still.is_some() && stat.is_directory() && stat.ino == PLACEHOLDER_INODE {
                self.hidden(&source, &path)?;
                continue;
            }
            let is_other = stat.is_directory() && stat.dev != device;
            if is_other && !self.selection.one_file_system {
                self.hidden(&source, &path)?;
                continue;
            }
            if !self.found(place, &path, looked)? {
                continue;
            }
            if is_other {
                let path = source.shown.join(path);
                self.tally.send(Event::LeftOut { path: &path, why: Skip::OtherFileSystem });
                continue;
            }
            levels.extend(self.list(&source, path)?);
        }
        Ok(())
    }

    /// What has to be looked for where it is: another file system or subvolume, which a snapshot does not show either.
    fn hidden(&mut self, source: &Source, path: &Path) -> Result<()> {
        let mut below = source.below(path);
        let Some(looked) = self.look(&below, Path::new(""), fs::symlink_metadata)? else { return Ok(()) };
        let stat = looked.0;
        let is_other = source.still.as_ref().is_none_or(|still| still.device != stat.dev);
        let stays_empty = stat.is_directory() && self.selection.one_file_system && is_other;
        // Of a snapshot that somebody made, and that is a live tree now.
        let is_placeholder = stat.is_directory() && !is_other && stat.ino == PLACEHOLDER_INODE;
        if !stays_empty && !is_placeholder {
            self.still.place(&mut below, false)?;
        }
        let index = self.walked.sources.len();
        self.walked.sources.push(below.clone());
        if stays_empty || is_placeholder {
            self.found((index, &below), Path::new(""), looked)?;
            if stays_empty {
                self.tally.send(Event::LeftOut { path: &below.shown, why: Skip::OtherFileSystem });
            }
            return Ok(());
        }
        self.source(index)
    }

    fn is_left_out(&mut self, source: &Source, path: &Path, is_directory: bool) -> bool {
        let relative = source.prefix.join(path);
        // State of a restore into this directory is no part of it.
        let is_state = source.name.is_empty() && path.as_os_str() == STATE_DIRECTORY;
        let is_area = is_directory && path.file_name() == Some(OsStr::new(AREA));
        if is_state || (is_area && area::is_area(&source.base.join(path))) {
            return true;
        }
        let verdict = self.selection.verdict(&relative, is_directory);
        if verdict == Verdict::Excluded {
            let path = source.shown.join(path);
            self.tally.send(Event::LeftOut { path: &path, why: Skip::Excluded });
        }
        if verdict != Verdict::NotListed && self.selection.is_listed(&relative) {
            self.seen.insert(relative);
        }
        verdict != Verdict::Take
    }

    /// [`look`](Self::look) at a name in a directory.
    fn look_in(
        &mut self,
        (index, source): (usize, &Source),
        path: &Path,
        file_type: FileType,
        inode: u64,
    ) -> Result<Option<Looked>> {
        let known_type = if file_type.is_file() { S_IFREG } else { S_IFLNK };
        let is_simple = source.still.is_some() && (file_type.is_file() || file_type.is_symlink());
        if is_simple && let Some(looked) = self.trees.stat(index as u32, source, inode, known_type) {
            return Ok(Some(looked));
        }
        self.look(source, path, fs::symlink_metadata)
    }

    /// None if it has vanished.
    fn look(
        &mut self,
        source: &Source,
        path: &Path,
        look: impl FnOnce(PathBuf) -> io::Result<Metadata>,
    ) -> Result<Option<Looked>> {
        match look(beneath(&source.base, path)) {
            Ok(metadata) => Ok(Some((Stat::of(&metadata), metadata.blocks().saturating_mul(512)))),
            Err(error) => self.vanished_or(&beneath(&source.shown, path), error).map(|()| None),
        }
    }

    /// Notes a path. True for a directory.
    fn found(&mut self, (index, source): (usize, &Source), path: &Path, (stat, allocated): Looked) -> Result<bool> {
        let device = source.still.as_ref().map_or(stat.dev, |still| still.device);
        let refused = self.selection.refused((device, stat.ino)).map(Skip::Refused);
        let is_known = [S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR, S_IFBLK].contains(&(stat.mode & S_IFMT));
        if let Some(why) = refused.or((!is_known).then_some(Skip::Socket)) {
            self.tally.send(Event::LeftOut { path: &beneath(&source.shown, path), why });
            return Ok(false);
        }
        let record = Record { source: index as u32, path: path.as_os_str().as_bytes().to_vec(), stat };
        let name = record.name(&self.walked.sources);
        // Refused now rather than after hours of work.
        check_path(&name).map_err(|e| Error::from(e).with_hint("leave it out with --exclude, or name it otherwise"))?;
        let totals = &mut self.walked.totals;
        totals.add(&name, &stat, allocated);
        if totals.entries.is_multiple_of(1024) {
            self.tally.send(Event::Walking { entries: totals.entries, bytes: totals.bytes });
        }
        self.bytes.clear();
        record.encode(&mut self.bytes);
        let spool = if stat.is_directory() { &mut self.walked.directories } else { &mut self.walked.others };
        let appended = spool.append(&self.bytes);
        appended.map_err(|e| Error::io(format!("write {}", list_of_files(spool)), e))?;
        Ok(stat.is_directory())
    }

    /// The names in a directory, in order; None if it has vanished.
    fn list(&mut self, source: &Source, path: PathBuf) -> Result<Option<Level>> {
        let directory = WalkDir::new(beneath(&source.base, &path)).min_depth(1).max_depth(1).sort_by_file_name();
        let names = directory.into_iter().map(|entry| {
            let entry = entry?;
            Ok(Name { name: entry.file_name().to_owned(), file_type: entry.file_type(), inode: entry.ino() })
        });
        match names.collect::<walkdir::Result<Vec<_>>>() {
            Ok(mut names) => {
                // readdir(3) may tell a name twice that was replaced meanwhile; an archive may not.
                names.dedup_by(|a, b| a.name == b.name);
                Ok(Some(Level { path, names: names.into_iter() }))
            }
            Err(error) => self.vanished_or(&beneath(&source.shown, &path), error.into()).map(|()| None),
        }
    }

    /// What is gone since its directory was read is reported; anything else ends the snapshot.
    fn vanished_or(&mut self, path: &Path, error: io::Error) -> Result<()> {
        if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            self.tally.send(Event::Changed { path, how: Change::Vanished });
            return Ok(());
        }
        Err(Error::io(format!("read {}", path.display()), error))
    }
}

fn beneath(base: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { base.to_owned() } else { base.join(path) }
}
