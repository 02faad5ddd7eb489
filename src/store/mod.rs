//! Where archives live: `s3://bucket/key`, a file, or standard input and output.
//!
//! This is the seam that restore and snapshot stand on. Reading is by byte range and out of order
//! ([`ArchiveSource`]), or strictly sequential for a pipe ([`std::io::Read`] on standard input);
//! writing is one stream of bytes that becomes visible only when it is complete ([`ArchiveSink`]).

use std::ops::Range;

use crate::error::Result;

/// The bytes of one requested range, owned by whoever holds it. Dropping it gives the memory back
/// (to the S3 client's buffer pool, or to the allocator).
pub trait RangeBuffer: AsRef<[u8]> + Send + Sync {}
impl<T: AsRef<[u8]> + Send + Sync> RangeBuffer for T {}

/// A buffer of any origin.
pub type Bytes = Box<dyn RangeBuffer>;

/// Called once, on any thread, when a range has arrived or failed. Must not block for long.
pub type Deliver = Box<dyn FnOnce(Result<Bytes>) + Send>;

/// An archive that can be read by byte range. All reads see the one version that `open` found.
pub trait ArchiveSource: Send + Sync {
    /// How messages name it, for example `s3://bucket/key`.
    fn name(&self) -> &str;

    /// Length of the whole archive in bytes.
    fn length(&self) -> u64;

    /// Identity of the version being read (ETag; size and mtime for a file), for messages and journals.
    fn version(&self) -> &str;

    /// Bytes from the end of the archive that were fetched when it was opened; possibly the whole archive.
    fn tail(&self) -> &[u8];

    /// Starts reading `range` and returns at once; `deliver` gets exactly `range.len()` bytes or an error.
    fn start(&self, range: Range<u64>, deliver: Deliver);

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
