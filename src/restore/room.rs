//! Whether an archive can fit at all, asked before anything is written.
//!
//! An archive that does not fit should fail at once, not after an hour; and one that claims to hold less than it does
//! must not fill the disk unnoticed. What is refused here cannot fit: the directory does not tell holes from data, so
//! that only the bytes the archive itself has are counted, never the content they stand for.

use std::path::Path;

use nix::sys::statvfs::{Statvfs, statvfs};

use crate::error::{Error, Kind, Result};
use crate::format::limits::FRAME_CONTENT_MAX;
use crate::format::trailer::Trailer;
use crate::linux::retry;

/// A hole of 128 KiB takes so much of an archive and nothing of a disk.
const HOLE_FRAME: u64 = 13;

/// Fails with [`Kind::NoSpace`] if the file system of `target` (which may be absent) has less room than the archive is
/// sure to need, or too few inodes.
pub fn check(target: &Path, trailer: &Trailer) -> Result<()> {
    let Some(found) = ask(target) else { return Ok(()) };
    // On BTRFS the first is what all devices have, the second an estimate of what files may use.
    let free = found.blocks_free().max(found.blocks_available()).saturating_mul(found.fragment_size());
    let needed = at_least(trailer);
    if needed > free {
        let message = format!(
            "the target {} has {} MB free, and the archive needs at least {} MB there",
            target.display(),
            free / 1_000_000,
            needed.div_ceil(1_000_000),
        );
        return Err(Error::new(Kind::NoSpace, message));
    }
    // A file system that makes inodes as it goes says that it has none at all.
    if found.files() > 0 && trailer.entries > found.files_free() {
        let message = format!(
            "the target {} has room for {} more files and directories, and the archive has {} entries",
            target.display(),
            found.files_free(),
            trailer.entries,
        );
        return Err(Error::new(Kind::NoSpace, message));
    }
    Ok(())
}

/// None if it cannot be told: then the restore will find out.
fn ask(target: &Path) -> Option<Statvfs> {
    let parent = target.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    [Some(target), parent].into_iter().flatten().find_map(|path| retry(|| statvfs(path)).ok())
}

/// Bytes that no file system can do without: the data, less what only describes it. An eighth is left out for padding
/// and for a file system that compresses better.
fn at_least(trailer: &Trailer) -> u64 {
    let holes = trailer.content_bytes.div_ceil(FRAME_CONTENT_MAX.into()).saturating_mul(HOLE_FRAME);
    // A local header is shorter than the directory's header of the same entry, but for its padding.
    let data = trailer.data_end.saturating_sub(trailer.directory_length).saturating_sub(holes);
    data - data / 8
}
