//! System calls that std does not have: creating beneath a directory, attributes, holes.

pub mod attributes;
pub mod beneath;
pub mod holes;
pub mod spool;

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

/// Writes all of `bytes` at `offset`, over short writes and EINTR. The file position does not move.
pub fn pwrite_all(file: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut offset = i64::try_from(offset).map_err(|_| io::Error::from(Errno::EFBIG))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = match nix::sys::uio::pwrite(file, rest, offset) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => count,
        };
        rest = rest.get(count..).unwrap_or_default();
        offset = offset.checked_add(count as i64).ok_or(Errno::EFBIG)?;
    }
    Ok(())
}

/// Calls again what a signal interrupted: some file systems (FUSE, network) end any call with EINTR then.
pub fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// [`retry`] for calls of the standard library, which repeats only reads, writes and opens itself.
pub fn retry_io<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Makes everything written so far to the file system that `file` is on durable, and reports late write errors.
pub fn syncfs(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(retry(|| nix::unistd::syncfs(file))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn pwrite_all_writes_at_the_offset() {
        let file = tempfile::NamedTempFile::new().unwrap();
        pwrite_all(file.as_file().as_fd(), 3, b"abc").unwrap();
        pwrite_all(file.as_file().as_fd(), 0, b"").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"\0\0\0abc");
    }

    #[test]
    fn pwrite_all_says_when_the_device_is_full() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let error = pwrite_all(full.as_fd(), 0, b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn syncfs_takes_any_open_file() {
        let file = tempfile::tempfile().unwrap();
        syncfs(file.as_fd()).unwrap();
    }
}
