//! Owner, mode, times and extended attributes: by descriptor for files and directories, and by directory and
//! name for what must not be opened for I/O (symbolic links, FIFOs, devices). Nothing here follows a link.
//!
//! Order matters. Writing, changing the size or the owner removes `security.capability`, changing the owner
//! clears set-user-ID, and writing changes the times. So: data, owner, mode, attributes, times.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc;
use nix::sys::stat::{FchmodatFlags, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};

use super::beneath::{one_name, open_handle};
use super::{permissions, retry};

/// Name and value of extended attributes, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

pub fn set_owner(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = owner(uid, gid)?;
    Ok(retry(|| nix::unistd::fchown(fd, uid, gid))?)
}

/// Sets the permission bits, with set-user-ID, set-group-ID and sticky (`mode & 0o7777`).
pub fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    Ok(retry(|| nix::sys::stat::fchmod(fd, permissions(mode)))?)
}

/// Sets the modification time (seconds since 1970, may be negative); the access time stays as it is.
pub fn set_times(fd: BorrowedFd<'_>, seconds: i64, nanos: u32) -> io::Result<()> {
    let mtime = time(seconds, nanos)?;
    Ok(retry(|| nix::sys::stat::futimens(fd, &TimeSpec::UTIME_OMIT, &mtime))?)
}

/// Sets one extended attribute, creating or replacing it. `fd` must not be an O_PATH descriptor.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> io::Result<()> {
    let name = CString::new(name)?;
    let set = || {
        // SAFETY: fsetxattr reads a NUL-terminated name and `value.len()` bytes of value; both are alive here.
        Errno::result(unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
    };
    Ok(retry(set).map(drop)?)
}

/// Removes one extended attribute. ENODATA if there is none of that name.
pub fn remove_xattr(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let name = CString::new(name)?;
    let remove = || {
        // SAFETY: fremovexattr reads a NUL-terminated name, which is alive here.
        Errno::result(unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) })
    };
    Ok(retry(remove).map(drop)?)
}

/// [`set_owner`] for anything that has the name in `dir`.
pub fn set_owner_at(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = owner(uid, gid)?;
    Ok(retry(|| nix::unistd::fchownat(dir, one_name(name)?, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW))?)
}

/// [`set_mode`] for a FIFO, socket or device. Symbolic links have no mode of their own (EOPNOTSUPP).
pub fn set_mode_at(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    let handle = open_handle(dir, name)?;
    // fchmod refuses an O_PATH descriptor; by its name in /proc it is allowed and still cannot be swapped.
    let path = proc_path(&handle)?;
    retry(|| nix::sys::stat::fchmodat(dir, path.as_c_str(), permissions(mode), FchmodatFlags::FollowSymlink))
        .map_err(explain_proc)
}

/// [`set_times`] for anything that has the name in `dir`.
pub fn set_times_at(dir: BorrowedFd<'_>, name: &[u8], seconds: i64, nanos: u32) -> io::Result<()> {
    let (name, mtime) = (one_name(name)?, time(seconds, nanos)?);
    let omit = TimeSpec::UTIME_OMIT;
    Ok(retry(|| nix::sys::stat::utimensat(dir, name, &omit, &mtime, UtimensatFlags::NoFollowSymlink))?)
}

/// [`set_xattr`] for anything that has the name in `dir`. Linux allows `user.` names only on files and
/// directories (EPERM otherwise).
pub fn set_xattr_at(dir: BorrowedFd<'_>, name: &[u8], xattr: &[u8], value: &[u8]) -> io::Result<()> {
    let handle = open_handle(dir, name)?;
    let path = proc_path(&handle)?;
    let xattr = CString::new(xattr)?;
    let set = || {
        // SAFETY: setxattr reads two NUL-terminated strings and `value.len()` bytes of value; all are alive here.
        Errno::result(unsafe { libc::setxattr(path.as_ptr(), xattr.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
    };
    retry(set).map(drop).map_err(explain_proc)
}

/// [`remove_xattr`] for anything that has the name in `dir`.
pub fn remove_xattr_at(dir: BorrowedFd<'_>, name: &[u8], xattr: &[u8]) -> io::Result<()> {
    let handle = open_handle(dir, name)?;
    let path = proc_path(&handle)?;
    let xattr = CString::new(xattr)?;
    let remove = || {
        // SAFETY: removexattr reads two NUL-terminated strings; both are alive here.
        Errno::result(unsafe { libc::removexattr(path.as_ptr(), xattr.as_ptr()) })
    };
    retry(remove).map(drop).map_err(explain_proc)
}

/// Does what needs the permission to write, which an owner may give himself; it changes no time.
pub fn with_write_permission(fd: BorrowedFd<'_>, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match act() {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            let mode = retry(|| nix::sys::stat::fstat(fd))?.st_mode;
            set_mode(fd, mode | 0o200)?;
            let result = act();
            set_mode(fd, mode)?;
            result
        }
        result => result,
    }
}

/// The extended attributes with a name that is wanted, as far as this process may see them, of an open file or
/// directory. None where the file system has none.
pub fn list_xattrs(fd: BorrowedFd<'_>, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Xattrs> {
    let fd = fd.as_raw_fd();
    collect(
        wanted,
        // SAFETY: flistxattr writes at most the given length into the buffer, which the slice owns.
        |buf| unsafe { libc::flistxattr(fd, buf.as_mut_ptr().cast(), buf.len()) },
        |name, buf| {
            // SAFETY: fgetxattr reads a NUL-terminated name and writes at most the given length into the buffer.
            unsafe { libc::fgetxattr(fd, name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) }
        },
    )
}

/// [`list_xattrs`] of the thing at `path` itself, also if it is a symbolic link.
pub fn list_xattrs_no_follow(path: &Path, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Xattrs> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    collect(
        wanted,
        // SAFETY: llistxattr reads a NUL-terminated path and writes at most the given length into the buffer.
        |buf| unsafe { libc::llistxattr(path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) },
        |name, buf| {
            // SAFETY: lgetxattr reads two NUL-terminated strings and writes at most the given length.
            unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) }
        },
    )
}

/// [`list_xattrs`] of anything that has the name in `dir`.
pub fn list_xattrs_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Xattrs> {
    let handle = open_handle(dir, name)?;
    let path = proc_path(&handle)?;
    collect(
        |_| true,
        // SAFETY: listxattr reads a NUL-terminated path and writes at most the given length into the buffer.
        |buf| unsafe { libc::listxattr(path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) },
        |name, buf| {
            // SAFETY: getxattr reads two NUL-terminated strings and writes at most the given length.
            unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) }
        },
    )
}

fn collect(
    wanted: impl Fn(&[u8]) -> bool,
    list: impl Fn(&mut [u8]) -> libc::ssize_t,
    get: impl Fn(&CStr, &mut [u8]) -> libc::ssize_t,
) -> io::Result<Xattrs> {
    let names = match fill(&list) {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    let mut found = Xattrs::new();
    for name in names.split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if !wanted(name.to_bytes()) {
            continue;
        }
        match fill(|buf| get(name, buf)) {
            // Removed since it was listed; or an ACL on a file system that is mounted to know none, on Linux to 6.1.
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => {}
            value => found.push((name.to_bytes().to_vec(), value?)),
        }
    }
    found.sort();
    Ok(found)
}

/// Calls with a buffer that is large enough, also if the answer grows between asking for its size and reading it.
fn fill(call: impl Fn(&mut [u8]) -> libc::ssize_t) -> nix::Result<Vec<u8>> {
    // Nearly every answer fits, so that asking for the size first would only double the calls.
    let mut buf = vec![0; 256];
    loop {
        match retry(|| Errno::result(call(&mut buf))) {
            Ok(len) => {
                buf.truncate(len as usize);
                return Ok(buf);
            }
            // 64 KiB is the kernel's limit for both (XATTR_SIZE_MAX, XATTR_LIST_MAX).
            Err(Errno::ERANGE) if buf.len() < 1 << 16 => buf = vec![0; 1 << 16],
            Err(errno) => return Err(errno),
        }
    }
}

fn proc_path(handle: &OwnedFd) -> io::Result<CString> {
    Ok(CString::new(format!("/proc/self/fd/{}", handle.as_raw_fd()))?)
}

/// The handle exists, so only /proc itself can be what is missing.
fn explain_proc(errno: Errno) -> io::Error {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => io::Error::new(io::ErrorKind::Unsupported, "/proc is not mounted"),
        errno => errno.into(),
    }
}

/// The kernel takes the highest number as "leave it as it is", which no archive may mean.
fn owner(uid: u32, gid: u32) -> io::Result<(Option<Uid>, Option<Gid>)> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::EINVAL.into());
    }
    Ok((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
}

/// UTIME_NOW and UTIME_OMIT are nanosecond values above a second, so those must not get through.
fn time(seconds: i64, nanos: u32) -> io::Result<TimeSpec> {
    if nanos > 999_999_999 {
        return Err(Errno::EINVAL.into());
    }
    Ok(TimeSpec::new(seconds, nanos.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::beneath::{make_node, make_symlink};
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
        result.unwrap_err().raw_os_error().unwrap()
    }

    /// A directory with a file, a FIFO, and a symbolic link to the file; its descriptor.
    fn tree() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        fs::write(dir.path().join("file"), "data").unwrap();
        make_symlink(b"file", fd.as_fd(), b"link").unwrap();
        make_node(fd.as_fd(), b"fifo", libc::S_IFIFO | 0o600, 0).unwrap();
        (dir, fd)
    }

    #[test]
    fn by_descriptor() {
        let (dir, _) = tree();
        let path = dir.path().join("file");
        let file = File::options().write(true).open(&path).unwrap();
        let before = fs::metadata(&path).unwrap();
        set_owner(file.as_fd(), before.uid(), before.gid()).unwrap();
        set_mode(file.as_fd(), 0o4751).unwrap();
        set_times(file.as_fd(), -5, 999_999_999).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(after.mode() & 0o7777, 0o4751);
        assert_eq!((after.mtime(), after.mtime_nsec()), (-5, 999_999_999));
        assert_eq!((after.atime(), after.atime_nsec()), (before.atime(), before.atime_nsec()));
    }

    #[test]
    fn numbers_that_mean_something_else_are_refused() {
        let (_dir, fd) = tree();
        let file = fd.as_fd();
        for nanos in [1_000_000_000, libc::UTIME_NOW as u32, libc::UTIME_OMIT as u32] {
            assert_eq!(errno(set_times(file, 0, nanos)), libc::EINVAL);
            assert_eq!(errno(set_times_at(file, b"file", 0, nanos)), libc::EINVAL);
        }
        assert_eq!(errno(set_owner(file, u32::MAX, 0)), libc::EINVAL);
        assert_eq!(errno(set_owner_at(file, b"file", 0, u32::MAX)), libc::EINVAL);
        for name in [&b".."[..], b"", b"../file"] {
            assert_eq!(errno(set_owner_at(file, name, 0, 0)), libc::EINVAL);
            assert_eq!(errno(set_mode_at(file, name, 0o600)), libc::EINVAL);
            assert_eq!(errno(set_times_at(file, name, 0, 0)), libc::EINVAL);
            assert_eq!(errno(set_xattr_at(file, name, b"user.a", b"")), libc::EINVAL);
        }
    }

    #[test]
    fn by_name_without_following() {
        let (dir, fd) = tree();
        let before = fs::metadata(dir.path().join("file")).unwrap();
        for name in ["link", "fifo"] {
            set_owner_at(fd.as_fd(), name.as_bytes(), before.uid(), before.gid()).unwrap();
            set_times_at(fd.as_fd(), name.as_bytes(), 7, 8).unwrap();
            let after = fs::symlink_metadata(dir.path().join(name)).unwrap();
            assert_eq!((after.mtime(), after.mtime_nsec()), (7, 8), "{name}");
        }
        // Would wait for a writer if it were opened.
        set_mode_at(fd.as_fd(), b"fifo", 0o642).unwrap();
        assert_eq!(fs::metadata(dir.path().join("fifo")).unwrap().mode() & 0o7777, 0o642);
        assert_eq!(errno(set_mode_at(fd.as_fd(), b"link", 0o600)), libc::EOPNOTSUPP);
        assert_eq!(errno(set_xattr_at(fd.as_fd(), b"link", b"user.a", b"1")), libc::EPERM);
        let after = fs::metadata(dir.path().join("file")).unwrap();
        assert_eq!((after.mtime(), after.mode()), (before.mtime(), before.mode()), "the file is as it was");
    }

    #[test]
    fn xattrs_are_listed_sorted_with_any_value() {
        let (dir, fd) = tree();
        let file = File::open(dir.path().join("file")).unwrap();
        assert_eq!(list_xattrs(file.as_fd(), |_| true).unwrap(), []);
        let large = vec![0xFF; 2000];
        set_xattr(file.as_fd(), b"user.z", &large).unwrap();
        set_xattr(file.as_fd(), b"user.\xFFname", b"").unwrap();
        set_xattr_at(fd.as_fd(), b"file", b"user.a", b"replaced").unwrap();
        set_xattr_at(fd.as_fd(), b"file", b"user.a", b"\0").unwrap();
        let expected = [
            (b"user.a".to_vec(), b"\0".to_vec()),
            (b"user.z".to_vec(), large),
            (b"user.\xFFname".to_vec(), Vec::new()),
        ];
        assert_eq!(list_xattrs(file.as_fd(), |_| true).unwrap(), expected);
        assert_eq!(list_xattrs_at(fd.as_fd(), b"file").unwrap(), expected);
        assert_eq!(list_xattrs_no_follow(&dir.path().join("file"), |_| true).unwrap(), expected);
        assert_eq!(list_xattrs_no_follow(&dir.path().join("link"), |_| true).unwrap(), []);
        assert_eq!(list_xattrs_at(fd.as_fd(), b"link").unwrap(), []);
        assert_eq!(errno(set_xattr(file.as_fd(), b"nonsense", b"")), libc::EOPNOTSUPP);
    }

    #[test]
    fn many_xattr_names_are_listed() {
        let (dir, _) = tree();
        let file = File::open(dir.path().join("file")).unwrap();
        for n in 0..30 {
            set_xattr(file.as_fd(), format!("user.a rather long name number {n:02}").as_bytes(), b"1").unwrap();
        }
        assert_eq!(list_xattrs(file.as_fd(), |_| true).unwrap().len(), 30);
    }
}
