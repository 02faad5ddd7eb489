//! What the kernel has in memory of a file, and having it read more (preadv2(2), posix_fadvise(2)).

#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;

/// Whether the byte at `offset` can be read without waiting for a disk; no where the file system cannot tell.
pub fn is_cached(file: &File, offset: u64) -> bool {
    let mut byte = 0u8;
    let buffer = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let Ok(offset) = libc::off_t::try_from(offset) else { return false };
    // SAFETY: preadv2 writes at most iov_len bytes to each of the one buffer it is given, and `byte` outlives the call.
    unsafe { libc::preadv2(file.as_raw_fd(), &raw const buffer, 1, offset, libc::RWF_NOWAIT) >= 0 }
}

/// Has the kernel begin to read, and does not wait for what it reads.
pub fn read_ahead(file: &File, range: &Range<u64>) {
    let number = |n| libc::off_t::try_from(n).unwrap_or(libc::off_t::MAX);
    // Only a hint: what fails here fails again where it is read.
    let _ = posix_fadvise(
        file,
        number(range.start),
        number(range.end - range.start),
        PosixFadviseAdvice::POSIX_FADV_WILLNEED,
    );
}
