//! An archive in a file or on a block device.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use tempfile::NamedTempFile;

use super::{ArchiveSink, ArchiveSource, Bytes, Deliver, TAIL_BYTES, check_range};
use crate::error::{Error, Kind, Result};
use crate::linux::retry_io;

/// Threads that read for [`ArchiveSource::start`]: enough to keep a disk's queue busy, few enough that
/// the data they read does not push each other out of the processor's cache.
const READERS: usize = 3;

/// Free buffers kept for reuse; fresh memory costs page faults and zeroing for every part.
const KEPT_BUFFERS: usize = 2 * READERS;

/// Reads an archive from a regular file or a block device.
pub struct FileSource {
    name: String,
    version: String,
    owner: u32,
    tail: Vec<u8>,
    shared: Arc<Shared>,
    jobs: Option<Sender<(Range<u64>, Deliver)>>,
    readers: Vec<JoinHandle<()>>,
}

struct Shared {
    file: File,
    path: PathBuf,
    len: u64,
    /// Identity at `open`; None for a block device, which has no meaningful times.
    stamp: Option<(u64, i64, i64)>,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl FileSource {
    /// Reads the tail at once, and fails if `path` is neither a regular file nor a block device.
    pub fn open(path: &Path) -> Result<FileSource> {
        let what = || format!("open {}", path.display());
        // O_NONBLOCK: opening a FIFO by mistake must not wait for a writer.
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| Error::io(what(), e))?;
        let metadata = retry_io(|| file.metadata()).map_err(|e| Error::io(what(), e))?;
        let kind = metadata.file_type();
        let (len, stamp) = if kind.is_file() {
            (metadata.len(), Some(stamp_of(&metadata)))
        } else if kind.is_block_device() {
            let len = file.seek(SeekFrom::End(0)).map_err(|e| Error::io(what(), e))?;
            (len, None)
        } else {
            let message = format!(
                "{}: an archive must be a regular file or a block device (use - to read from a pipe)",
                path.display()
            );
            return Err(Error::new(Kind::Usage, message));
        };
        let version = match stamp {
            Some((len, s, ns)) => format!("{len}-{s}.{ns:09}"),
            None => len.to_string(),
        };
        let shared = Arc::new(Shared { file, path: path.to_owned(), len, stamp, free: Arc::default() });
        let tail = shared.read(len.saturating_sub(TAIL_BYTES)..len)?;
        let tail = (*tail).as_ref().to_vec();

        let (jobs, queue) = crossbeam_channel::unbounded::<(Range<u64>, Deliver)>();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let (queue, shared) = (queue.clone(), shared.clone());
            let work = move || {
                for (range, deliver) in queue {
                    deliver(shared.read(range));
                }
            };
            let reader = std::thread::Builder::new().name("file-reader".into()).spawn(work);
            readers.push(reader.map_err(|e| Error::io("start a reader thread", e))?);
        }
        let (name, owner) = (path.display().to_string(), metadata.uid());
        Ok(FileSource { name, version, owner, tail, shared, jobs: Some(jobs), readers })
    }

    /// Copies a stream, which has no ranges, to an unnamed file in $TMPDIR, and reads that.
    pub fn spool(input: &mut dyn Read, name: &str) -> Result<FileSource> {
        let what = || format!("copy {name} to {}", std::env::temp_dir().display());
        let mut file = tempfile::tempfile().map_err(|e| Error::io(what(), e))?;
        std::io::copy(input, &mut file).map_err(|e| Error::io(what(), e))?;
        let mut source = FileSource::open(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
        source.name = name.to_owned();
        source.version.clear();
        Ok(source)
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let this = std::thread::current().id();
        for reader in self.readers.drain(..) {
            // The last owner may be a delivery, running on a reader: a thread cannot wait for itself.
            if reader.thread().id() != this {
                let _ = reader.join();
            }
        }
    }
}

impl ArchiveSource for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.shared.len
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn tail(&self) -> &[u8] {
        &self.tail
    }

    fn owner(&self) -> Option<u32> {
        Some(self.owner)
    }

    fn start(&self, range: Range<u64>, deliver: Deliver) {
        // The queue is closed only by drop, and the readers outlive it.
        if let Some(jobs) = &self.jobs
            && let Err(unsent) = jobs.send((range, deliver))
        {
            (unsent.0.1)(Err(Error::new(Kind::Failure, "the threads that read the archive ended (a fault of burst)")));
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.shared.read(range)
    }
}

impl Shared {
    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let len = check_range(self.path.display(), &range, self.len)?;
        let what = || format!("read {} at {}", self.path.display(), range.start);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = free.unwrap_or_default();
        // Only growth is zeroed: what was used before is overwritten by the read.
        buffer.resize(len, 0);
        let read = self.file.read_exact_at(&mut buffer, range.start);
        // Looked at after the read, so that bytes of another version are never delivered as this one's.
        if let Some(stamp) = self.stamp {
            let now = retry_io(|| self.file.metadata()).map_err(|e| Error::io(what(), e))?;
            if stamp_of(&now) != stamp {
                let message = format!("{}: the file changed while it was read", self.path.display());
                return Err(Error::new(Kind::ObjectChanged, message).with_hint(
                    "when nobody writes to it any more, run it again, a restore into a directory with --restart",
                ));
            }
        }
        read.map_err(|e| Error::io(what(), e))?;
        Ok(Box::new(Recycled { buffer, free: self.free.clone() }))
    }
}

/// Size and modification time (seconds, nanoseconds).
fn stamp_of(metadata: &fs::Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// A buffer that goes back to the free list when it is dropped.
struct Recycled {
    buffer: Vec<u8>,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Recycled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT_BUFFERS {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Writes an archive beside its final place and renames it there when it is complete and on disk.
pub struct FileSink {
    name: String,
    path: PathBuf,
    overwrite: bool,
    temporary: NamedTempFile,
}

impl FileSink {
    /// Fails with [`Kind::TargetInUse`] if there is something at `path`, unless `overwrite`. `path` must be writable now.
    pub fn create(path: &Path, overwrite: bool) -> Result<FileSink> {
        let path = final_path(path, overwrite)?;
        let directory = parent_of(&path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The name is shortened so that prefix and suffix never exceed the file system's limit.
        let prefix: String = name.chars().take(40).collect();
        let temporary = tempfile::Builder::new()
            .prefix(&format!(".{prefix}."))
            .suffix(".partial")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(directory)
            .map_err(|e| Error::io(format!("create a temporary file in {}", directory.display()), e))?;
        Ok(FileSink { name: path.display().to_string(), path, overwrite, temporary })
    }
}

impl ArchiveSink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.temporary.as_file_mut().write_all(bytes).map_err(|e| Error::io(format!("write {}", self.name), e))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let FileSink { name, path, overwrite, temporary } = *self;
        temporary.as_file().sync_all().map_err(|e| Error::io(format!("write {name}"), e))?;
        let renamed = if overwrite { temporary.persist(&path) } else { temporary.persist_noclobber(&path) };
        renamed.map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&path),
            _ => Error::io(format!("rename the finished archive to {name}"), e.error),
        })?;
        // Without this the new name may be lost in a crash though the data is not.
        let directory = parent_of(&path);
        File::open(directory)
            .and_then(|d| d.sync_all())
            .map_err(|e| Error::io(format!("sync {}", directory.display()), e))
    }
}

/// Follows a symlink that is to be overwritten, and refuses what a rename must not replace.
fn final_path(path: &Path, overwrite: bool) -> Result<PathBuf> {
    let what = |e| Error::io(format!("look at {}", path.display()), e);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if path.file_name().is_none() {
                return Err(not_a_file(path));
            }
            return Ok(path.to_owned());
        }
        Err(e) => return Err(what(e)),
    };
    if found.is_dir() {
        return Err(not_a_file(path));
    }
    if !overwrite {
        return Err(exists(path));
    }
    let path = fs::canonicalize(path).map_err(what)?;
    if fs::metadata(&path).map_err(what)?.is_file() { Ok(path) } else { Err(not_a_file(&path)) }
}

fn not_a_file(path: &Path) -> Error {
    let message = format!("{}: not a regular file: give a file name (or - for a pipe)", path.display());
    Error::new(Kind::Usage, message)
}

fn exists(path: &Path) -> Error {
    let message = format!("{} exists already: use --overwrite to replace it", path.display());
    Error::new(Kind::TargetInUse, message)
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
