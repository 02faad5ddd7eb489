//! Where archives live: `s3://bucket/key`, a file, or standard input and output.
//!
//! This is the seam that restore and snapshot stand on. Reading is by byte range and out of order
//! ([`ArchiveSource`]), or strictly sequential for a pipe ([`std::io::Read`] on standard input);
//! writing is one stream of bytes that becomes visible only when it is complete ([`ArchiveSink`]).

#[cfg(feature = "s3")]
mod environment;
pub mod file;
mod location;
mod options;
#[cfg(feature = "s3")]
pub mod s3;
mod stdio;

use std::ops::Range;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
pub use location::Location;
pub(crate) use location::without_secrets;
pub use options::{Addressing, Credentials, Encryption, S3Options};
pub use stdio::StdinSource;

/// How much of the end of an archive is fetched when it is opened.
pub const TAIL_BYTES: u64 = 1 << 20;

/// The bytes of one requested range, owned by whoever holds it. Dropping it gives the memory back
/// (to the S3 client's buffer pool, or to the allocator).
pub trait RangeBuffer: AsRef<[u8]> + Send + Sync {}
impl<T: AsRef<[u8]> + Send + Sync> RangeBuffer for T {}

/// A buffer of any origin.
pub type Bytes = Box<dyn RangeBuffer>;

/// Called once, on any thread, when a range has arrived or failed. Must not block for long.
pub type Deliver = Box<dyn FnOnce(Result<Bytes>) + Send>;

/// An archive that can be read by byte range. All reads see the one version that `open` found.
#[allow(clippy::len_without_is_empty)]
pub trait ArchiveSource: Send + Sync {
    /// How messages name it, for example `s3://bucket/key`.
    fn name(&self) -> &str;

    /// Length of the whole archive in bytes.
    fn len(&self) -> u64;

    /// Identity of the version being read (ETag; size and mtime for a file), for messages and journals.
    fn version(&self) -> &str;

    /// Bytes from the end of the archive that were fetched when it was opened; possibly the whole archive.
    fn tail(&self) -> &[u8];

    /// Starts reading `range` and returns at once; `deliver` gets exactly `range.len()` bytes or an error.
    fn start(&self, range: Range<u64>, deliver: Deliver);

    /// The user whom the file belongs to, who may have written anything into it. None: no file, and who said to read it
    /// vouches for it.
    fn owner(&self) -> Option<u32> {
        None
    }

    /// How long to wait for what [`start`](Self::start) has begun before giving up; None = it always comes.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Reads `range` and waits for it.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;
}

/// Where a new archive goes. Nothing is visible under the final name before `finish`.
/// Dropping it without `finish` removes everything (aborts the multipart upload, deletes the temporary file).
pub trait ArchiveSink {
    /// How messages name it.
    fn name(&self) -> &str;

    /// Appends bytes. May block until there is room.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes the archive durable and visible.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Opens an archive for reading by range. Standard input has no ranges: read it with [`StdinSource`].
pub fn open_source(location: &Location, options: &S3Options) -> Result<Box<dyn ArchiveSource>> {
    match location {
        Location::File(path) => Ok(Box::new(file::FileSource::open(path)?)),
        Location::Stdio => {
            let message = "standard input can be read from start to end only: copy the archive to a file first";
            Err(Error::new(Kind::Usage, message))
        }
        #[cfg(feature = "s3")]
        Location::S3 { bucket, key, version } => {
            let source = s3::S3Source::open(bucket, key, version.as_deref(), options)?;
            Ok(Box::new(source))
        }
        #[cfg(not(feature = "s3"))]
        Location::S3 { .. } => Err(built_without_s3(options)),
    }
}

/// [`open_source`]; standard input is copied to a temporary file first.
pub fn open_source_or_spool(location: &Location, options: &S3Options) -> Result<Box<dyn ArchiveSource>> {
    match location {
        Location::Stdio => Ok(Box::new(file::FileSource::spool(&mut std::io::stdin().lock(), "standard input")?)),
        _ => open_source(location, options),
    }
}

/// Begins a new archive. Unless `overwrite`, an archive that exists there is left alone
/// and [`Kind::TargetInUse`] is returned, before anything is written.
pub fn create_sink(location: &Location, options: &S3Options, overwrite: bool) -> Result<Box<dyn ArchiveSink>> {
    match location {
        Location::File(path) => Ok(Box::new(file::FileSink::create(path, overwrite)?)),
        Location::Stdio => Ok(Box::new(stdio::StdoutSink::create()?)),
        Location::S3 { version: Some(_), .. } => {
            let message = format!("{location}: a new object cannot be given a versionId");
            Err(Error::new(Kind::Usage, message))
        }
        #[cfg(feature = "s3")]
        Location::S3 { bucket, key, .. } => Ok(Box::new(s3::S3Sink::create(bucket, key, overwrite, options)?)),
        #[cfg(not(feature = "s3"))]
        Location::S3 { .. } => Err(built_without_s3(options)),
    }
}

#[cfg(not(feature = "s3"))]
fn built_without_s3(_: &S3Options) -> Error {
    let message = "this burst was built without S3 (cargo feature \"s3\"): use a file or -";
    Error::new(Kind::Unsupported, message)
}

/// S3 accepts at most this many parts in one upload.
pub const MAX_UPLOAD_PARTS: u64 = 10_000;

/// The part size (8 MiB times a power of two, in bytes) with which an archive of at most `upper_bound` bytes
/// fits into 10,000 parts.
pub fn upload_part_size(upper_bound: u64) -> Result<u64> {
    // A part may have 5 GiB; 4 GiB is the largest of our sizes below that.
    (0..10).map(|k| (8u64 << 20) << k).find(|part| part * MAX_UPLOAD_PARTS >= upper_bound).ok_or_else(|| {
        let message = format!(
            "an archive of up to {upper_bound} bytes does not fit into {MAX_UPLOAD_PARTS} upload parts of 4 GiB: make several"
        );
        Error::new(Kind::Usage, message)
    })
}

/// The length of `range`, if it lies inside an archive of `len` bytes.
fn check_range(name: impl std::fmt::Display, range: &Range<u64>, len: u64) -> Result<usize> {
    let inside = range.start <= range.end && range.end <= len;
    let size = range.end.checked_sub(range.start).map(usize::try_from);
    match size {
        Some(Ok(size)) if inside => Ok(size),
        _ => {
            let message =
                format!("{name}: bytes {}..{} are outside the archive of {len} bytes", range.start, range.end);
            Err(Error::new(Kind::Corrupt, message))
        }
    }
}
