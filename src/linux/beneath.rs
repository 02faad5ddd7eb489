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
    /// Errors: ELOOP for a symbolic link on the way, ENOTDIR, EXDEV for an absolute path, EINVAL for `..` or NUL.
    pub fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        if path.split(|&byte| byte == b'/').any(|name| name == b"..") {
            return Err(Errno::EINVAL.into());
        }
        let path = if path.is_empty() { b"." } else { path };
        let how =
            OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(
                ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
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
    Ok(openat(dir, one_name(name)?, flags, permissions(mode))?)
}

/// Opens an existing file for reading and writing. ELOOP for a symbolic link; a FIFO or device is opened as such,
/// without waiting, so look at its type.
pub fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(openat(dir, one_name(name)?, flags, Mode::empty())?)
}

/// Creates a directory. EEXIST if the name is taken.
pub fn make_dir(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    Ok(nix::sys::stat::mkdirat(dir, one_name(name)?, permissions(mode))?)
}

/// Creates a symbolic link with `text` (any bytes but NUL, 1 to 4095 of them) as its target.
pub fn make_symlink(text: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(nix::unistd::symlinkat(text, dir, one_name(name)?)?)
}

/// Creates a FIFO, socket or device. `mode` is st_mode with the type; `rdev` is st_rdev (0 for FIFO and socket).
pub fn make_node(dir: BorrowedFd<'_>, name: &[u8], mode: u32, rdev: u64) -> io::Result<()> {
    let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
    // mknod would make a regular file of 0, and a regular file or directory is not what is asked for here.
    if ![SFlag::S_IFIFO, SFlag::S_IFSOCK, SFlag::S_IFCHR, SFlag::S_IFBLK].contains(&kind) {
        return Err(Errno::EINVAL.into());
    }
    Ok(nix::sys::stat::mknodat(dir, one_name(name)?, kind, permissions(mode), rdev)?)
}

/// Gives an existing thing a second name. A symbolic link is linked itself, never what it points to.
pub fn hard_link(old_dir: BorrowedFd<'_>, old_name: &[u8], new_dir: BorrowedFd<'_>, new_name: &[u8]) -> io::Result<()> {
    Ok(nix::unistd::linkat(old_dir, one_name(old_name)?, new_dir, one_name(new_name)?, AtFlags::empty())?)
}

/// Removes a name that is not a directory (EISDIR).
pub fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(nix::unistd::unlinkat(dir, one_name(name)?, UnlinkatFlags::NoRemoveDir)?)
}

/// Removes an empty directory.
pub fn remove_dir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(nix::unistd::unlinkat(dir, one_name(name)?, UnlinkatFlags::RemoveDir)?)
}

/// What the name is (lstat).
pub fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<FileStat> {
    Ok(nix::sys::stat::fstatat(dir, one_name(name)?, AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

/// Opens whatever has the name, itself and not what it points to, only as a handle (O_PATH).
pub(super) fn open_handle(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(dir, one_name(name)?, flags, Mode::empty())?)
}

/// `name` if it names an entry of a directory and nothing else, or EINVAL.
pub(super) fn one_name(name: &[u8]) -> io::Result<&[u8]> {
    if matches!(name, b"" | b"." | b"..") || name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(Errno::EINVAL.into());
    }
    Ok(name)
}

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o7777)
}
