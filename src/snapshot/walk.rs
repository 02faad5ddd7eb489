//! One walk over the sources: what is there, in the order of the archive, and how much it is.
//!
//! The records are spooled, so that memory does not grow with the number of entries. (walkdir holds the names of the
//! directories it is in, which is what sorting them takes.)

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use walkdir::{DirEntry, WalkDir};

use super::record::{Record, Source, Stat};
use super::{Event, Events};
use crate::error::{Error, Kind, Result};
use crate::format::entry::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, check_path};
use crate::format::limits::{FRAME_CONTENT_MAX, STATE_DIRECTORY};
use crate::linux::spool::Spool;

/// Records stay in memory up to this many bytes per spool.
const SPOOL_MEMORY: usize = 64 << 20;

/// What to leave out.
pub struct Selection {
    exclude: Gitignore,
    one_file_system: bool,
    /// Identity (device, inode) of the archive that is being written, if it is a file.
    archive: Option<(u64, u64)>,
}

impl Selection {
    /// `exclude`: patterns as in a .gitignore file, on the path relative to the source.
    pub fn new(exclude: &[String], one_file_system: bool, archive: Option<(u64, u64)>) -> Result<Selection> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in exclude {
            builder
                .add_line(None, pattern)
                .map_err(|e| Error::new(Kind::Usage, format!("--exclude {pattern}: {e}")))?;
        }
        let exclude = builder.build().map_err(|e| Error::new(Kind::Usage, format!("--exclude: {e}")))?;
        Ok(Selection { exclude, one_file_system, archive })
    }
}

/// Sums over what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub entries: u64,
    /// Apparent size of the regular files.
    pub bytes: u64,
    /// What of it can be data: not more than the file system has allocated.
    pub data_bytes: u64,
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

/// What the walk found, as encoded [`Record`]s.
pub struct Walked {
    pub directories: Spool,
    pub others: Spool,
    pub totals: Totals,
}

/// Walks all sources, in the order given.
pub fn walk(sources: &[Source], selection: &Selection, events: &mut Events<'_>) -> Result<Walked> {
    let temporary = std::env::temp_dir();
    let spool = || Spool::new(&temporary, SPOOL_MEMORY);
    let mut walked = Walked { directories: spool(), others: spool(), totals: Totals::default() };
    for (index, source) in sources.iter().enumerate() {
        walk_source((index as u32, source), sources, selection, &mut walked, events)?;
    }
    Ok(walked)
}

fn walk_source(
    (index, source): (u32, &Source),
    sources: &[Source],
    selection: &Selection,
    walked: &mut Walked,
    events: &mut Events<'_>,
) -> Result<()> {
    let is_root = source.name.is_empty();
    let mut bytes = Vec::new();
    let keep = |entry: &DirEntry| {
        let relative = relative(entry.path(), &source.base);
        let is_state = is_root && entry.depth() == 1 && entry.file_name() == OsStr::from_bytes(STATE_DIRECTORY);
        let is_directory = entry.file_type().is_dir();
        !is_state && (entry.depth() == 0 || !selection.exclude.matched(relative, is_directory).is_ignore())
    };
    let found = WalkDir::new(&source.base)
        .follow_root_links(is_root)
        .same_file_system(selection.one_file_system)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(keep);
    for entry in found {
        events.check_interrupt()?;
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(&source.base).to_owned();
                let io = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
                vanished_or(&path, io, events)?;
                continue;
            }
        };
        if is_root && entry.depth() == 0 {
            continue;
        }
        let path = entry.path();
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                vanished_or(path, error, events)?;
                continue;
            }
        };
        let stat = Stat::of(&metadata);
        if selection.archive == Some(stat.inode()) {
            events.send(Event::Skipped { path, what: "is the archive that is being written" });
            continue;
        }
        if ![S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR, S_IFBLK].contains(&(stat.mode & S_IFMT)) {
            events.send(Event::Skipped { path, what: "is a socket" });
            continue;
        }
        let record = Record { source: index, path: relative(path, &source.base).as_os_str().as_bytes().to_vec(), stat };
        let name = record.name(sources);
        // Refused now rather than after hours of work.
        check_path(&name)?;
        walked.totals.add(&name, &stat, metadata.blocks().saturating_mul(512));
        bytes.clear();
        record.encode(&mut bytes);
        let spool = if stat.is_directory() { &mut walked.directories } else { &mut walked.others };
        spool.append(&bytes).map_err(|e| Error::io("write the list of files to a temporary file", e))?;
        if walked.totals.entries.is_multiple_of(1024) {
            events.send(Event::Walking { entries: walked.totals.entries, bytes: walked.totals.bytes });
        }
    }
    Ok(())
}

fn relative<'a>(path: &'a Path, base: &Path) -> &'a Path {
    path.strip_prefix(base).unwrap_or(path)
}

/// What is gone since its directory was read is reported; anything else ends the snapshot.
fn vanished_or(path: &Path, error: std::io::Error, events: &mut Events<'_>) -> Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound {
        events.send(Event::Changed { path, what: "vanished: not archived" });
        return Ok(());
    }
    Err(Error::io(format!("read {}", path.display()), error))
}
