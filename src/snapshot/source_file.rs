//! Reads one path of the source: its attributes, where its data is, and its content.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use super::record::Stat;
use crate::error::{Error, Kind, Result};
use crate::format::limits::is_marker;
use crate::format::{Attributes, Xattr};
use crate::linux::attributes::{list_xattrs, list_xattrs_no_follow};
use crate::linux::holes::data_extents_in;
use crate::observe::Change;

/// An open regular file and what it was when it was opened.
#[derive(Debug)]
pub struct SourceFile {
    pub file: File,
    /// As the user knows it.
    pub path: PathBuf,
    pub stat: Stat,
}

impl SourceFile {
    /// Opens `path`; messages name it as `shown`. What happened to it if it is no regular file now; every other trouble
    /// is an error.
    pub fn open(path: &Path, shown: PathBuf) -> Result<Result<SourceFile, Change>> {
        let what = |e| Error::io(format!("open {}", shown.display()), e);
        let file = match open(path) {
            Ok(file) => file,
            Err(e) => {
                return match e.raw_os_error() {
                    Some(libc::ENOENT) => Ok(Err(Change::Vanished)),
                    Some(libc::ELOOP | libc::ENXIO | libc::ENOTDIR) => Ok(Err(Change::OtherType)),
                    _ => Err(what(e)),
                };
            }
        };
        let stat = Stat::of(&file.metadata().map_err(what)?);
        if !stat.is_regular() {
            return Ok(Err(Change::OtherType));
        }
        Ok(Ok(SourceFile { file, path: shown, stat }))
    }

    pub fn attributes(&self) -> Result<Attributes> {
        let xattrs = list_xattrs(self.file.as_fd(), is_portable).map_err(|e| no_xattrs(&self.path, e))?;
        Ok(attributes(&self.stat, xattrs))
    }

    /// Whether the file is still what it was when it was opened.
    pub fn is_unchanged(&self) -> Result<bool> {
        let now = self.file.metadata().map_err(|e| Error::io(format!("look at {}", self.path.display()), e))?;
        Ok(self.stat.unchanged(&Stat::of(&now)))
    }

    /// The data in `range`, as in [`data_extents_in`].
    pub fn extents(&self, range: Range<u64>) -> Result<Vec<Range<u64>>> {
        data_extents_in(self.file.as_fd(), range)
            .map_err(|e| Error::io(format!("find the holes of {}", self.path.display()), e))
    }

    /// Fills `buffer` from `offset`; fewer bytes only where the file ends.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(format!("read {} at {offset}", self.path.display()), e)),
            }
        }
        Ok(filled)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let open = |flags| OpenOptions::new().read(true).custom_flags(flags).open(path);
    // O_NONBLOCK: what was a file at the walk may be a FIFO now.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    match open(flags | libc::O_NOATIME) {
        // Only the owner may leave the access time alone.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => open(flags),
        result => result,
    }
}

/// Attributes of what must not be opened, or need not be: directories, links, devices, FIFOs.
pub fn attributes_of_path(path: &Path, shown: &Path, stat: &Stat) -> Result<Attributes> {
    let xattrs = list_xattrs_no_follow(path, is_portable).map_err(|e| no_xattrs(shown, e))?;
    Ok(attributes(stat, xattrs))
}

fn no_xattrs(path: &Path, error: io::Error) -> Error {
    Error::io(format!("read the extended attributes of {}", path.display()), error)
}

pub fn attributes(stat: &Stat, xattrs: Vec<Xattr>) -> Attributes {
    Attributes {
        permissions: stat.mode & 0o7777,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        xattrs: xattrs.into_iter().filter(|(name, _)| is_portable(name)).collect(),
    }
}

/// What another file system can take back. Others are views of the source's own file system: `btrfs.compression`,
/// `system.nfs4_acl`, `system.cifs_acl`.
fn is_portable(name: &[u8]) -> bool {
    !is_marker(name)
        && [&b"user."[..], b"trusted.", b"security.", b"system.posix_acl_"].iter().any(|space| name.starts_with(space))
}

/// The text of a symbolic link; None if it is none any more.
pub fn read_link(path: &Path, shown: &Path) -> Result<Result<Vec<u8>, Change>> {
    use std::os::unix::ffi::OsStringExt;
    match std::fs::read_link(path) {
        Ok(text) => Ok(Ok(text.into_os_string().into_vec())),
        Err(e) => match e.raw_os_error() {
            Some(libc::ENOENT) => Ok(Err(Change::Vanished)),
            Some(libc::EINVAL | libc::ENOTDIR) => Ok(Err(Change::OtherType)),
            _ => Err(Error::io(format!("read the link {}", shown.display()), e)),
        },
    }
}

/// Whether an error only says that the path is gone.
pub fn is_gone(error: &Error) -> bool {
    error.kind() == Kind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::{COMPLETION_MARKER, FINISHING_MARKER};
    use std::fs;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let open = |path: &Path| SourceFile::open(path, PathBuf::new()).unwrap();
        let read_link = |path: &Path| read_link(path, path).unwrap();
        fs::write(path("f"), b"abc").unwrap();
        std::os::unix::fs::symlink("f", path("l")).unwrap();
        nix::unistd::mkfifo(&path("p"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let file = open(&path("f")).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 2);
        assert!(file.is_unchanged().unwrap());
        fs::write(path("f"), b"abcd").unwrap();
        assert!(!file.is_unchanged().unwrap());
        for (name, why) in [("l", Change::OtherType), ("p", Change::OtherType), ("x", Change::Vanished)] {
            assert_eq!(open(&path(name)).unwrap_err(), why, "{name}");
        }
        assert_eq!(open(dir.path()).unwrap_err(), Change::OtherType);
        assert_eq!(read_link(&path("l")).unwrap(), b"f");
        assert_eq!(read_link(&path("f")).unwrap_err(), Change::OtherType);
    }

    #[test]
    fn attributes_of_other_file_systems_are_left_out() {
        for (name, kept) in [
            ("user.x", true),
            ("security.capability", true),
            ("trusted.y", true),
            ("system.posix_acl_access", true),
            ("btrfs.compression", false),
            (COMPLETION_MARKER, false),
            (FINISHING_MARKER, false),
            ("system.nfs4_acl", false),
        ] {
            assert_eq!(is_portable(name.as_bytes()), kept, "{name}");
        }
    }
}
