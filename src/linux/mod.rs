//! System calls that std does not have: creating and removing beneath a directory, attributes, holes, locks, mounts,
//! freezing.

pub mod attributes;
pub mod beneath;
pub mod fiemap;
pub mod freeze;
pub mod holes;
pub mod lock;
pub mod loops;
pub mod mounts;
pub mod nvme;
pub mod page_cache;
pub mod remove;
pub mod spool;

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

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

/// [`pwrite_all`] of pieces one after the other, at most `IOV_MAX` (1,024) of them.
pub fn pwritev_all(file: BorrowedFd<'_>, offset: u64, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut offset = i64::try_from(offset).map_err(|_| io::Error::from(Errno::EFBIG))?;
    while pieces.iter().any(|piece| !piece.is_empty()) {
        let count = match nix::sys::uio::pwritev(file, pieces, offset) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => count,
        };
        IoSlice::advance_slices(&mut pieces, count);
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

/// Whether an error is one of these.
pub fn is_errno(error: &io::Error, errnos: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|errno| errnos.contains(&Errno::from_raw(errno)))
}

/// Permission bits, set-user-ID, set-group-ID and sticky; nothing else of a mode.
fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o7777)
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

/// The umask of this process; all of it if that cannot be known (before Linux 4.7, or without /proc). To ask with
/// umask(2) would set it, for all threads.
pub fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    field.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o777)
}

/// How long the calling thread had a CPU, and how long it waited for one although it could have run (0 if the kernel does
/// not count that, CONFIG_SCHED_INFO).
pub fn thread_times() -> (Duration, Duration) {
    // proc_pid_schedstat(5): nanoseconds on a CPU, nanoseconds in the queue, time slices.
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut numbers = text.split_whitespace().map_while(|n| n.parse().ok()).map(Duration::from_nanos);
    match (numbers.next(), numbers.next()) {
        (Some(cpu), Some(queued)) => (cpu, queued),
        _ => {
            let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
            (clock.map(Duration::from).unwrap_or_default(), Duration::ZERO)
        }
    }
}

/// Mount options as mount(8) takes them ("noatime,subvol=x") to flags of mount(2) and what the file system is told.
pub fn mount_options(options: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for option in options.split(',').filter(|option| !matches!(*option, "" | "defaults" | "rw")) {
        match option {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
            "dirsync" => flags |= MsFlags::MS_DIRSYNC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
            "relatime" => flags |= MsFlags::MS_RELATIME,
            "strictatime" => flags |= MsFlags::MS_STRICTATIME,
            "lazytime" => flags |= MsFlags::MS_LAZYTIME,
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn options_of_mount() {
        let (flags, data) = mount_options("defaults,noatime,compress=zstd:3,ro,subvol=a");
        assert_eq!(flags, MsFlags::MS_NOATIME | MsFlags::MS_RDONLY);
        assert_eq!(data, "compress=zstd:3,subvol=a");
        assert_eq!(mount_options(""), (MsFlags::empty(), String::new()));
    }

    #[test]
    fn pwrite_all_writes_at_the_offset() {
        let file = tempfile::NamedTempFile::new().unwrap();
        pwrite_all(file.as_file().as_fd(), 3, b"abc").unwrap();
        pwrite_all(file.as_file().as_fd(), 0, b"").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"\0\0\0abc");
    }

    #[test]
    fn pwritev_all_joins_pieces() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut pieces = [&b"abc"[..], b"", b"de"].map(IoSlice::new);
        pwritev_all(file.as_file().as_fd(), 2, &mut pieces).unwrap();
        pwritev_all(file.as_file().as_fd(), 0, &mut []).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"\0\0abcde");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let error = pwritev_all(full.as_fd(), 0, &mut [IoSlice::new(b"x")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
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
