//! Creating things beneath one directory, so that no name in an archive can reach anything else.
//!
//! Paths are opened with openat2, where the kernel itself refuses to leave the directory or to follow a
//! symbolic link; everything else is done with a directory and one name. Needs Linux 5.6, there is no fallback.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::UnlinkatFlags;

use super::{permissions, retry};

/// The directory everything is created beneath.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

impl Beneath {
    /// Opens the target itself. Here symbolic links are followed: the path comes from the user, not an archive.
    pub fn open(path: &Path) -> io::Result<Beneath> {
        let dir = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Beneath { root: dir.into() })
    }

    /// Opens a directory by its path relative to the target (bytes, at most 4095; empty = the target itself).
    /// The result serves as `dir` for everything in this module and as `fd` in [`super::attributes`].
    ///
    /// Errors: ELOOP for a symbolic link on the way, ENOTDIR (also if the last name is
    /// a link), EXDEV for an absolute path, EINVAL for `..` or NUL.
    pub fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_with(path, ResolveFlag::empty())
    }

    /// [`open_dir`](Self::open_dir) that stays on the mount the target is on: EXDEV for a mount point.
    pub fn open_dir_here(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_with(path, ResolveFlag::RESOLVE_NO_XDEV)
    }

    fn open_with(&self, path: &[u8], resolve: ResolveFlag) -> io::Result<OwnedFd> {
        if path.split(|&byte| byte == b'/').any(|name| name == b"..") {
            return Err(Errno::EINVAL.into());
        }
        let path = if path.is_empty() { b"." } else { path };
        let beneath =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(beneath | resolve);
        loop {
            match openat2(&self.root, path, how) {
                // EAGAIN: something was renamed meanwhile and the kernel could not be sure (openat2(2)).
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(Errno::ENOSYS) => {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "the kernel has no openat2 (Linux 5.6 or later is needed), or a sandbox forbids it",
                    ));
                }
                result => return Ok(result?),
            }
        }
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Creates a new file for writing. EEXIST for anything that has the name already, also a dangling symbolic link.
/// `mode` is narrowed by the umask; [`super::attributes::set_mode`] sets the final one.
pub fn create_file(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<OwnedFd> {
    create(dir, name, OFlag::O_WRONLY, mode)
}

/// [`create_file`], for reading as well.
pub fn create_file_read_write(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<OwnedFd> {
    create(dir, name, OFlag::O_RDWR, mode)
}

fn create(dir: BorrowedFd<'_>, name: &[u8], access: OFlag, mode: u32) -> io::Result<OwnedFd> {
    let flags = access | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(retry(|| openat(dir, one_name(name)?, flags, permissions(mode)))?)
}

/// Opens an existing file for reading and writing. ELOOP for a symbolic link; a FIFO or device is opened as such,
/// without waiting, so look at its type.
pub fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(retry(|| openat(dir, one_name(name)?, flags, Mode::empty()))?)
}

/// Opens a file of this process' own keeping, making it if it is absent. Whoever may write in `dir` may have put something
/// else there: ELOOP for a symbolic link, EINVAL for what is not a regular file or has a second name elsewhere.
pub fn open_own_file(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<OwnedFd> {
    open_own(dir, name, OFlag::O_RDWR | OFlag::O_CREAT, mode)
}

/// [`open_own_file`] of one that is there, for reading only.
pub fn read_own_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    open_own(dir, name, OFlag::O_RDONLY, 0)
}

fn open_own(dir: BorrowedFd<'_>, name: &[u8], access: OFlag, mode: u32) -> io::Result<OwnedFd> {
    let flags = access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = retry(|| openat(dir, one_name(name)?, flags, permissions(mode)))?;
    let stat = retry(|| nix::sys::stat::fstat(&file))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_nlink != 1 {
        return Err(Errno::EINVAL.into());
    }
    Ok(file)
}

/// Creates a directory. EEXIST if the name is taken.
pub fn make_dir(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    Ok(retry(|| nix::sys::stat::mkdirat(dir, one_name(name)?, permissions(mode)))?)
}

/// Creates a symbolic link with `text` (any bytes but NUL, 1 to 4095 of them) as its target.
pub fn make_symlink(text: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(retry(|| nix::unistd::symlinkat(text, dir, one_name(name)?))?)
}

/// Creates a FIFO, socket or device. `mode` is st_mode with the type; `rdev` is st_rdev (0 for FIFO and socket).
pub fn make_node(dir: BorrowedFd<'_>, name: &[u8], mode: u32, rdev: u64) -> io::Result<()> {
    let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
    // mknod would make a regular file of 0, and a regular file or directory is not what is asked for here.
    if ![SFlag::S_IFIFO, SFlag::S_IFSOCK, SFlag::S_IFCHR, SFlag::S_IFBLK].contains(&kind) {
        return Err(Errno::EINVAL.into());
    }
    Ok(retry(|| nix::sys::stat::mknodat(dir, one_name(name)?, kind, permissions(mode), rdev))?)
}

/// Gives an existing thing a second name. A symbolic link is linked itself, never what it points to.
pub fn hard_link(old_dir: BorrowedFd<'_>, old_name: &[u8], new_dir: BorrowedFd<'_>, new_name: &[u8]) -> io::Result<()> {
    let (old_name, new_name) = (one_name(old_name)?, one_name(new_name)?);
    Ok(retry(|| nix::unistd::linkat(old_dir, old_name, new_dir, new_name, AtFlags::empty()))?)
}

/// Removes a name that is not a directory (EISDIR).
pub fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(retry(|| nix::unistd::unlinkat(dir, one_name(name)?, UnlinkatFlags::NoRemoveDir))?)
}

/// Removes an empty directory.
pub fn remove_dir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(retry(|| nix::unistd::unlinkat(dir, one_name(name)?, UnlinkatFlags::RemoveDir))?)
}

/// What the name is (lstat).
pub fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<FileStat> {
    Ok(retry(|| nix::sys::stat::fstatat(dir, one_name(name)?, AtFlags::AT_SYMLINK_NOFOLLOW))?)
}

/// Opens whatever has the name, itself and not what it points to, only as a handle (O_PATH).
pub(super) fn open_handle(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(retry(|| openat(dir, one_name(name)?, flags, Mode::empty()))?)
}

/// `name` if it names an entry of a directory and nothing else, or EINVAL.
pub(super) fn one_name(name: &[u8]) -> nix::Result<&[u8]> {
    if matches!(name, b"" | b"." | b"..") || name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(Errno::EINVAL);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

    fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
        result.unwrap_err().raw_os_error().unwrap()
    }

    /// A target directory with a file beside it that must never be reached.
    fn target() -> (tempfile::TempDir, Beneath) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("target/a/b")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let beneath = Beneath::open(&dir.path().join("target")).unwrap();
        (dir, beneath)
    }

    #[test]
    fn open_dir_finds_directories_beneath() {
        let (dir, beneath) = target();
        for (path, real) in [("", "target"), ("a", "target/a"), ("a/b", "target/a/b"), ("a//b/", "target/a/b")] {
            let opened = beneath.open_dir(path.as_bytes()).unwrap();
            let stat = nix::sys::stat::fstat(&opened).unwrap();
            assert_eq!(stat.st_ino, fs::metadata(dir.path().join(real)).unwrap().ino(), "{path:?}");
        }
        assert_eq!(errno(beneath.open_dir(b"missing")), libc::ENOENT);
    }

    #[test]
    fn open_dir_never_leaves_the_target() {
        let (dir, beneath) = target();
        let outside = dir.path().join("outside");
        symlink(&outside, dir.path().join("target/absolute")).unwrap();
        symlink("../outside", dir.path().join("target/relative")).unwrap();
        symlink("a", dir.path().join("target/inside")).unwrap();
        fs::write(dir.path().join("target/file"), "").unwrap();
        for (path, expected) in [
            (&b"absolute"[..], libc::ENOTDIR),
            (b"relative", libc::ENOTDIR),
            (b"inside", libc::ENOTDIR),
            (b"inside/b", libc::ELOOP),
            (b"..", libc::EINVAL),
            (b"../outside", libc::EINVAL),
            (b"a/../../outside", libc::EINVAL),
            (b"a/..", libc::EINVAL),
            (b"a\0b", libc::EINVAL),
            (b"file", libc::ENOTDIR),
            (b"/proc", libc::EXDEV),
            (outside.as_os_str().as_bytes(), libc::EXDEV),
            (&[b'n'; 256], libc::ENAMETOOLONG),
            (&[b'/'; 4096], libc::ENAMETOOLONG),
        ] {
            assert_eq!(errno(beneath.open_dir(path)), expected, "{:?}", path.escape_ascii().to_string());
        }
    }

    #[test]
    fn open_dir_takes_4095_bytes_that_are_no_utf8() {
        let (_dir, beneath) = target();
        // 255 + 15 * 256 = 4095.
        let path = vec![vec![0xFF; 255]; 16].join(&b'/');
        assert_eq!(path.len(), 4095);
        let mut parent = beneath.open_dir(b"").unwrap();
        for _ in 0..16 {
            make_dir(parent.as_fd(), &[0xFF; 255], 0o700).unwrap();
            parent = openat(&parent, &[0xFF; 255][..], OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        create_file(beneath.open_dir(&path).unwrap().as_fd(), b"deep", 0o600).unwrap();
    }

    #[test]
    fn names_are_one_component() {
        let (dir, beneath) = target();
        let fd = beneath.as_fd();
        fs::write(dir.path().join("target/old"), "").unwrap();
        for name in [&b""[..], b".", b"..", b"a/new", b"/new", b"new/", b"n\0w"] {
            assert_eq!(errno(create_file(fd, name, 0o600)), libc::EINVAL);
            assert_eq!(errno(create_file_read_write(fd, name, 0o600)), libc::EINVAL);
            assert_eq!(errno(open_file(fd, name)), libc::EINVAL);
            assert_eq!(errno(make_dir(fd, name, 0o700)), libc::EINVAL);
            assert_eq!(errno(make_symlink(b"text", fd, name)), libc::EINVAL);
            assert_eq!(errno(make_node(fd, name, libc::S_IFIFO | 0o600, 0)), libc::EINVAL);
            assert_eq!(errno(hard_link(fd, b"old", fd, name)), libc::EINVAL);
            assert_eq!(errno(hard_link(fd, name, fd, b"new")), libc::EINVAL);
            assert_eq!(errno(unlink(fd, name)), libc::EINVAL);
            assert_eq!(errno(remove_dir(fd, name)), libc::EINVAL);
            assert_eq!(errno(stat(fd, name)), libc::EINVAL);
        }
        assert_eq!(fs::read_dir(dir.path().join("target")).unwrap().count(), 2);
    }

    #[test]
    fn an_existing_name_is_never_followed_or_replaced() {
        let (dir, beneath) = target();
        let fd = beneath.as_fd();
        let outside = dir.path().join("outside/file");
        make_symlink(outside.as_os_str().as_bytes(), fd, b"link").unwrap();
        assert_eq!(errno(create_file(fd, b"link", 0o600)), libc::EEXIST);
        assert_eq!(errno(make_dir(fd, b"link", 0o700)), libc::EEXIST);
        assert_eq!(errno(open_file(fd, b"link")), libc::ELOOP);
        assert!(!outside.exists());
        hard_link(fd, b"link", fd, b"second").unwrap();
        assert_eq!(stat(fd, b"second").unwrap().st_mode & libc::S_IFMT, libc::S_IFLNK);
    }

    #[test]
    fn creates_and_removes() {
        let (dir, beneath) = target();
        let fd = beneath.open_dir(b"a").unwrap();
        let fd = fd.as_fd();
        let path = dir.path().join("target/a");
        crate::linux::pwrite_all(create_file(fd, b"file", 0o600).unwrap().as_fd(), 0, b"data").unwrap();
        assert_eq!(fs::read(path.join("file")).unwrap(), b"data");
        crate::linux::pwrite_all(open_file(fd, b"file").unwrap().as_fd(), 0, b"D").unwrap();
        hard_link(fd, b"file", beneath.as_fd(), b"second").unwrap();
        assert_eq!(fs::read(dir.path().join("target/second")).unwrap(), b"Data");
        make_node(fd, b"fifo", libc::S_IFIFO | 0o600, 0).unwrap();
        assert!(fs::symlink_metadata(path.join("fifo")).unwrap().file_type().is_fifo());
        make_node(fd, b"socket", libc::S_IFSOCK | 0o600, 0).unwrap();
        assert_eq!(errno(make_node(fd, b"other", libc::S_IFREG | 0o600, 0)), libc::EINVAL);
        assert_eq!(errno(make_node(fd, b"other", 0o600, 0)), libc::EINVAL);
        make_symlink(b"\xFF/../text", fd, b"link").unwrap();
        assert_eq!(fs::read_link(path.join("link")).unwrap().as_os_str().as_bytes(), b"\xFF/../text");
        assert_eq!(errno(unlink(fd, b"b")), libc::EISDIR);
        remove_dir(fd, b"b").unwrap();
        for name in [&b"file"[..], b"fifo", b"socket", b"link"] {
            unlink(fd, name).unwrap();
        }
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    }
}
