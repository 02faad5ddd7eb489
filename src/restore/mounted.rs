//! The sink for a mounted file system: creates every entry beneath the target.
//!
//! Directories are made as the directory of the archive is read, 0700, and files on their first byte; symbolic
//! links, hard links and the attributes of directories wait until all content is in place, so that nothing written
//! can be led astray by a link and no directory's time changes again.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use nix::errno::Errno;
use tracing::info;

use super::deferred::{Deferred, Record};
use super::fetch_directory::Archive;
use super::file_table::FileTable;
use super::finish::{Privileges, by_descriptor, by_name};
use super::pipeline::{Sink, VerifiedPart};
use super::report::{Counters, Report, add};
use super::target::{ACCESS_ACL, DEFAULT_ACL, Target};
use super::write_extent::ExtentWriter;
use super::{RestoreOptions, StopFlag, check_stop};
use crate::btrfs::{EncodedSupport, probe};
use crate::error::{Error, Kind, Result};
use crate::format::directory_reader::PlacedEntry;
use crate::format::entry::{Entry, EntryType, check_restorable, split_parent};
use crate::format::limits::{GRID, NAME_MAX, STATE_DIRECTORY};
use crate::format::part_reader::{Piece, PieceKind};
use crate::format::{Attributes, Xattr};
use crate::linux::{attributes, beneath, is_errno, retry};

pub struct MountedSink<'a> {
    pub(super) target: &'a Target,
    /// For attributes that overflowed; None when reading a stream, where the caller has them.
    archive: Option<&'a Archive>,
    pub(super) privileges: Privileges,
    /// Sector size if encoded writes work here.
    sector: Option<u32>,
    not_encoded: Option<String>,
    files: FileTable,
    pub(super) counters: Counters,
    directories: Mutex<Directories>,
    symlinks: Mutex<Deferred>,
    hard_links: Mutex<Deferred>,
    /// Devices that this user may not create: their hard links are left out too.
    pub(super) devices_left_out: Mutex<HashSet<Vec<u8>>>,
}

/// Directories whose attributes are still to be set, in reverse order.
struct Directories {
    records: Deferred,
    offsets: Vec<u64>,
    /// Where the last one was made.
    parents: Parents,
}

/// State of one thread.
pub struct Worker<'a> {
    pub extents: ExtentWriter<'a>,
    pub parents: Parents,
}

/// The directory used last: entries come grouped by directory.
#[derive(Default)]
pub struct Parents {
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Parents {
    pub(super) fn open(&mut self, target: &Target, path: &[u8]) -> std::io::Result<BorrowedFd<'_>> {
        let last = match self.last.take() {
            Some(last) if last.0 == path => last,
            _ => (path.to_vec(), target.open_dir(path)?),
        };
        Ok(self.last.insert(last).1.as_fd())
    }
}

impl<'a> MountedSink<'a> {
    pub fn new(target: &'a Target, archive: &'a Archive, options: &RestoreOptions) -> Result<Self> {
        Self::create(target, Some(archive), options)
    }

    /// For an archive that has no ranges: entries with overflowed attributes are finished by the caller.
    pub fn for_stream(target: &'a Target, options: &RestoreOptions) -> Result<Self> {
        Self::create(target, None, options)
    }

    fn create(target: &'a Target, archive: Option<&'a Archive>, options: &RestoreOptions) -> Result<Self> {
        let (sector, not_encoded) = if options.no_encoded_writes {
            (None, Some("switched off".to_owned()))
        } else {
            let state = target.open_dir(STATE_DIRECTORY.as_bytes());
            match state.and_then(|dir| probe(dir.as_fd())) {
                // Their errors show nowhere else.
                Ok(EncodedSupport::Supported { .. }) if !target.sees_device_errors() => {
                    (None, Some("the errors of the file system's devices cannot be asked for".to_owned()))
                }
                Ok(EncodedSupport::Supported { sector_size }) => (Some(sector_size), None),
                Ok(EncodedSupport::Unsupported(reason)) => (None, Some(reason)),
                // No unnamed files here (some network file systems): no BTRFS either.
                Err(e) if e.kind() == ErrorKind::Unsupported => (None, Some(e.to_string())),
                Err(e) => return Err(Error::io(format!("write to the target {}", target.path().display()), e)),
            }
        };
        match &not_encoded {
            None => info!(sector, "encoded writes work: compressed data goes to the disk as it is"),
            Some(reason) => info!(reason, "no encoded writes: everything is decompressed"),
        }
        let deferred = || Deferred::new(target.state_directory());
        Ok(MountedSink {
            target,
            archive,
            privileges: Privileges::of_this_process(target.inherits(), options.warn_of_acls),
            sector,
            not_encoded,
            files: FileTable::default(),
            counters: Counters::default(),
            directories: Mutex::new(Directories {
                records: deferred(),
                offsets: Vec::new(),
                parents: Parents::default(),
            }),
            symlinks: Mutex::new(deferred()),
            hard_links: Mutex::new(deferred()),
            devices_left_out: Mutex::default(),
        })
    }

    pub(super) fn xattrs(&self, entry: &Entry) -> Result<Vec<Xattr>> {
        match self.archive {
            Some(archive) if entry.overflow.is_some() => archive.xattrs(entry),
            _ => Ok(entry.attributes.xattrs.clone()),
        }
    }

    /// An I/O error of one entry, with the kind that helps most.
    pub fn failed(&self, path: &[u8], what: &str, error: std::io::Error) -> Error {
        let shown = format!("{}/{}", self.target.path().display(), path.escape_ascii());
        use nix::libc::{EEXIST, ELOOP, ENAMETOOLONG, ENOTDIR};
        let kind = match error.raw_os_error() {
            Some(EEXIST | ELOOP | ENOTDIR | ENAMETOOLONG) => Some(Kind::UnsafeEntry),
            _ if error.kind() == ErrorKind::AlreadyExists => Some(Kind::UnsafeEntry),
            _ if error.kind() == ErrorKind::InvalidData => Some(Kind::Corrupt),
            // The archive has no directory for it, or has it after what is in it.
            _ if error.kind() == ErrorKind::NotFound => Some(Kind::Corrupt),
            _ => None,
        };
        match kind {
            Some(kind) => {
                let hint = match error.kind() {
                    ErrorKind::InvalidFilename => Some("this file system takes no such name: choose another target"),
                    ErrorKind::NotFound => Some(
                        "see whether somebody removes files in the target; if not, `burst verify` checks the archive",
                    ),
                    _ if kind == Kind::UnsafeEntry && self.target.merges() => {
                        Some("move away what is there, or choose another target")
                    }
                    _ if kind == Kind::UnsafeEntry => Some(
                        "see whether somebody else writes there, and whether this file system tells upper from lower case",
                    ),
                    _ => None,
                };
                let failed = Error::new(kind, format!("{what} {shown}: {error}")).with_source(error);
                match hint {
                    Some(hint) => failed.with_hint(hint),
                    None => failed,
                }
            }
            None => Error::io(format!("{what} {shown}"), error),
        }
    }

    /// Runs `create` for a name, making way first if the target may have something there. `new`: type and device number
    /// of a FIFO or device.
    fn create_with<T>(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        new: impl FnOnce() -> std::io::Result<(u32, u64)>,
        create: impl Fn() -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        match create() {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && (self.target.merges() || self.target.resumes()) => {
                self.target.make_way(dir, name, new()?)?;
                create()
            }
            result => result,
        }
    }

    /// Creates an empty regular file.
    pub fn create_file(&self, parents: &mut Parents, path: &[u8], mode: u32) -> Result<OwnedFd> {
        let (parent, name) = split_parent(path);
        let mut create = || {
            let dir = parents.open(self.target, parent)?;
            let file = self.create_with(dir, name, no_node, || beneath::create_file(dir, name, mode))?;
            self.disinherit(dir, name, &[ACCESS_ACL]).map(|()| file)
        };
        create().map_err(|e| self.failed(path, "create", e))
    }

    /// Gives a regular file its size, if its end is a hole, and its attributes.
    pub fn finish_file(
        &self,
        fd: BorrowedFd<'_>,
        entry: &Entry,
        path: &[u8],
        mode: Option<u32>,
        extend: bool,
    ) -> Result<()> {
        let xattrs = self.xattrs(entry)?;
        let finish = || {
            if extend {
                let size = i64::try_from(entry.uncompressed_size).unwrap_or(i64::MAX);
                retry(|| nix::unistd::ftruncate(fd, size))?;
            }
            by_descriptor(fd, &entry.attributes, &xattrs, mode, &self.privileges, &self.counters)
        };
        finish().map_err(|e| self.failed(path, "set the attributes of", e))?;
        add(&self.counters.files, 1);
        add(&self.counters.content_bytes, entry.uncompressed_size);
        Ok(())
    }

    /// Creates a FIFO or device.
    pub fn make_node(&self, parents: &mut Parents, entry: &Entry, path: &[u8]) -> Result<()> {
        let (parent, name) = split_parent(path);
        let device = match entry.entry_type {
            EntryType::CharDevice { major, minor } | EntryType::BlockDevice { major, minor } => {
                self.archive.map_or(Ok(()), |archive| archive.check_device(path))?;
                nix::sys::stat::makedev(major.into(), minor.into())
            }
            _ => 0,
        };
        let mode = entry.entry_type.mode_bits() | 0o600;
        let xattrs = self.xattrs(entry)?;
        let mut make = || {
            let dir = parents.open(self.target, parent)?;
            let new = || Ok((entry.entry_type.mode_bits(), device));
            match self.create_with(dir, name, new, || beneath::make_node(dir, name, mode, device)) {
                Err(e) if !self.privileges.is_root() && e.kind() == ErrorKind::PermissionDenied && device != 0 => {
                    return Ok(false);
                }
                result => result?,
            }
            self.disinherit(dir, name, &[ACCESS_ACL])?;
            by_name(dir, name, &entry.attributes, &xattrs, false, &self.privileges, &self.counters)?;
            Ok(true)
        };
        if make().map_err(|e| self.failed(path, "create", e))? {
            add(&self.counters.nodes, 1);
        } else {
            self.counters.notice("device not created: only root can");
            locked(&self.devices_left_out).insert(path.to_vec());
        }
        Ok(())
    }

    /// Keeps a record for the end; gives its place.
    fn note(&self, deferred: &mut Deferred, record: &Record) -> Result<u64> {
        deferred.push(record).map_err(|e| {
            self.failed(&record.path, "keep, in a temporary file in the target, what is left to do for", e)
        })
    }

    /// Remembers a symbolic link for the end.
    pub fn defer_symlink(&self, entry: &Entry, path: &[u8], text: &[u8]) -> Result<()> {
        let attributes = Attributes { xattrs: self.xattrs(entry)?, ..entry.attributes.clone() };
        let record = Record { path: path.to_vec(), text: text.to_vec(), attributes };
        self.note(&mut locked(&self.symlinks), &record).map(drop)
    }

    /// Remembers a hard link for the end.
    pub fn defer_hard_link(&self, path: &[u8], target: &[u8]) -> Result<()> {
        let record = Record { path: path.to_vec(), text: target.to_vec(), ..Record::default() };
        self.note(&mut locked(&self.hard_links), &record).map(drop)
    }

    fn regular_file(
        &self,
        worker: &mut Worker<'_>,
        part: &VerifiedPart<'_>,
        placed: &PlacedEntry,
        path: &[u8],
        pieces: &[Piece],
    ) -> Result<()> {
        let entry = &placed.entry;
        let mode = self.privileges.creation_mode(&entry.attributes);
        let size = entry.uncompressed_size;
        if part.holds_all_of(placed) {
            let file = self.create_file(&mut worker.parents, path, mode)?;
            for piece in pieces {
                worker
                    .extents
                    .write(file.as_fd(), piece, part.bytes, size)
                    .map_err(|e| self.failed(path, "write", e))?;
            }
            let extend = matches!(pieces.last(), Some(Piece { kind: PieceKind::Hole, .. }));
            return self.finish_file(file.as_fd(), entry, path, Some(mode), extend);
        }
        let parts = parts_of(placed);
        let file = self.files.get(entry.ordinal, || {
            let before = self.target.journal().map_or(0, |journal| journal.before().count_in(parts.clone()));
            let file = match before {
                0 => self.create_file(&mut worker.parents, path, mode),
                _ => self.resume_file(&mut worker.parents, entry, path),
            };
            file.map(|file| (file, before))
        })?;
        {
            let begun = Instant::now();
            let _writing = file.writing.lock().unwrap_or_else(|e| e.into_inner());
            add(&self.counters.waited_for_files, begun.elapsed().as_nanos() as u64);
            for piece in pieces {
                worker
                    .extents
                    .write(file.fd.as_fd(), piece, part.bytes, size)
                    .map_err(|e| self.failed(path, "write", e))?;
            }
        }
        if self.files.part_done(entry.ordinal, parts.count() as u64) {
            let length = nix::sys::stat::fstat(&file.fd).map_err(|e| self.failed(path, "stat", e.into()))?.st_size;
            // Of a file of an earlier run the mode is not known.
            self.finish_file(file.fd.as_fd(), entry, path, None, length as u64 != size)?;
        }
        Ok(())
    }

    /// Everything that had to wait. Reports what was done.
    pub fn finish(&self, stop: &StopFlag) -> Result<Report> {
        let mut parents = Parents::default();
        locked(&self.symlinks).for_each(|Record { path, text, attributes }| {
            check_stop(stop)?;
            let (parent, name) = split_parent(&path);
            let mut make = || {
                let dir = parents.open(self.target, parent)?;
                self.create_with(dir, name, no_node, || beneath::make_symlink(&text, dir, name))?;
                let xattrs = &attributes.xattrs;
                by_name(dir, name, &attributes, xattrs, true, &self.privileges, &self.counters)
            };
            make().map_err(|e| self.failed(&path, "create the symbolic link", e))?;
            add(&self.counters.symlinks, 1);
            Ok(())
        })?;
        locked(&self.hard_links).for_each(|Record { path, text: target, .. }| {
            check_stop(stop)?;
            if locked(&self.devices_left_out).contains(&target) {
                self.counters.notice("hard link not created: its device was not");
                return Ok(());
            }
            let ((parent, name), (old_parent, old_name)) = (split_parent(&path), split_parent(&target));
            let mut link = || {
                let old = self.target.open_dir(old_parent)?;
                let dir = parents.open(self.target, parent)?;
                let new = || {
                    let stat = beneath::stat(old.as_fd(), old_name)?;
                    Ok((stat.st_mode & nix::libc::S_IFMT, stat.st_rdev))
                };
                self.create_with(dir, name, new, || beneath::hard_link(old.as_fd(), old_name, dir, name))
            };
            link().map_err(|e| self.failed(&path, "create the hard link", e))?;
            add(&self.counters.hard_links, 1);
            Ok(())
        })?;
        let directories = locked(&self.directories);
        for &offset in directories.offsets.iter().rev() {
            check_stop(stop)?;
            let Record { path, attributes, .. } = directories.records.at(offset)?;
            let finish = || {
                let dir = self.target.open_dir(&path)?;
                let xattrs = &attributes.xattrs;
                by_descriptor(dir.as_fd(), &attributes, xattrs, None, &self.privileges, &self.counters)
            };
            finish().map_err(|e| self.failed(&path, "set the attributes of the directory", e))?;
        }
        Ok(Report { not_encoded: self.not_encoded.clone(), ..self.counters.report() })
    }
}

impl Sink for MountedSink<'_> {
    type Worker<'w>
        = Worker<'w>
    where
        Self: 'w;

    fn worker(&self) -> Result<Worker<'_>> {
        let extents =
            ExtentWriter::new(self.sector, &self.counters).map_err(|e| Error::io("start a zstd decompressor", e))?;
        Ok(Worker { extents, parents: Parents::default() })
    }

    fn entry(&self, entry: &Entry, destination: &[u8], link_target: Option<&[u8]>) -> Result<()> {
        check_restorable(destination)?;
        match (entry.entry_type, link_target) {
            (EntryType::Directory, _) => {
                match self.target.resumes() {
                    true => self.resume_directory(entry, destination)?,
                    false => self.create_directory(destination)?,
                }
                self.defer_directory(entry, destination)
            }
            // The file itself may have been moved to the place of its first selected link.
            (EntryType::HardLink { .. }, Some(target)) if target != destination => {
                self.defer_hard_link(destination, target)
            }
            _ => Ok(()),
        }
    }

    fn announced(&self, parts: u64) -> Result<()> {
        self.target.journal().map_or(Ok(()), |journal| journal.total(parts))
    }

    fn has(&self, part: u64) -> bool {
        self.target.journal().is_some_and(|journal| journal.before().contains(part))
    }

    fn skip(&self, part: &VerifiedPart<'_>) -> Result<()> {
        self.skip_part(part)
    }

    fn part(&self, worker: &mut Worker<'_>, part: &VerifiedPart<'_>) -> Result<()> {
        let mut links = Vec::new();
        for (placed, mine) in part.contents() {
            let entry = &placed.entry;
            let Some(path) = part.destination(entry) else { continue };
            let begins_here = entry.header_offset >= part.index * GRID;
            match entry.entry_type {
                EntryType::Regular => self.regular_file(worker, part, placed, path, mine)?,
                EntryType::Symlink => {
                    for piece in mine {
                        if let PieceKind::Stored { range } = &piece.kind {
                            let text = part.bytes.get(range.clone()).unwrap_or_default();
                            self.defer_symlink(entry, path, text)?;
                            if self.target.journal().is_some() {
                                links.push((entry.ordinal, text.to_vec()));
                            }
                        }
                    }
                }
                EntryType::CharDevice { .. } | EntryType::BlockDevice { .. } | EntryType::Fifo if begins_here => {
                    self.make_node(&mut worker.parents, entry, path)?
                }
                _ => {}
            }
        }
        self.target.journal().map_or(Ok(()), |journal| journal.part_done(part.index, links))
    }
}

impl MountedSink<'_> {
    /// Creates a directory, closed to others until it is finished.
    pub fn create_directory(&self, path: &[u8]) -> Result<()> {
        let (parent, name) = split_parent(path);
        let mut directories = locked(&self.directories);
        let mut make = || {
            let dir = directories.parents.open(self.target, parent)?;
            match beneath::make_dir(dir, name, 0o700) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists && self.target.merges() => {
                    self.target.open_dir(path).map(drop)
                }
                Ok(()) => self.disinherit(dir, name, &[ACCESS_ACL, DEFAULT_ACL]),
                result => result,
            }
        };
        make().map_err(|e| self.failed(path, "create the directory", e))
    }

    /// Takes from what was just created the ACL that its directory has handed down: the archive says who may do what.
    fn disinherit(&self, dir: BorrowedFd<'_>, name: &[u8], acls: &[&str]) -> std::io::Result<()> {
        for acl in acls.iter().filter(|_| self.privileges.inherits()) {
            match attributes::remove_xattr_at(dir, name, acl.as_bytes()) {
                Err(e) if !is_errno(&e, &[Errno::ENODATA, Errno::EOPNOTSUPP, Errno::EACCES]) => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Remembers the attributes of a directory for the end.
    pub fn defer_directory(&self, entry: &Entry, path: &[u8]) -> Result<()> {
        let attributes = Attributes { xattrs: self.xattrs(entry)?, ..entry.attributes.clone() };
        let record = Record { path: path.to_vec(), attributes, ..Record::default() };
        let mut directories = locked(&self.directories);
        let offset = self.note(&mut directories.records, &record)?;
        directories.offsets.push(offset);
        add(&self.counters.directories, 1);
        Ok(())
    }

    /// Opens a file that was created before.
    pub fn open_file(&self, parents: &mut Parents, path: &[u8]) -> Result<OwnedFd> {
        let (parent, name) = split_parent(path);
        let mut open = || beneath::open_file(parents.open(self.target, parent)?, name);
        open().map_err(|e| self.failed(path, "open", e))
    }

    /// Removes a file that was created before, and gives its content, a link's text at most.
    pub fn take_content(&self, parents: &mut Parents, path: &[u8]) -> Result<Vec<u8>> {
        let file = std::fs::File::from(self.open_file(parents, path)?);
        let mut content = Vec::new();
        let take = || {
            std::io::Read::read_to_end(&mut std::io::Read::take(file, 4 * NAME_MAX as u64), &mut content)?;
            let (parent, name) = split_parent(path);
            beneath::unlink(parents.open(self.target, parent)?, name)
        };
        take().map_err(|e| self.failed(path, "replace", e))?;
        Ok(content)
    }
}

/// What is created is neither FIFO nor device.
fn no_node() -> std::io::Result<(u32, u64)> {
    Ok((0, 0))
}

/// The parts that an entry lies in.
pub(super) fn parts_of(placed: &PlacedEntry) -> RangeInclusive<u64> {
    placed.entry.header_offset / GRID..=(placed.end - 1) / GRID
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
