//! A lock that is held as long as its file is open, and that others can ask about without taking it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::retry;

/// An open file description lock (fcntl(2)) on a whole file; it ends with this process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// None if another holds it. `file` must be open for writing.
    pub fn take(file: File) -> io::Result<Option<Lock>> {
        let whole = whole_file();
        match retry(|| fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole))) {
            Ok(_) => Ok(Some(Lock { _file: file })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether somebody holds it.
    pub fn is_held(file: &File) -> io::Result<bool> {
        let mut found = whole_file();
        retry(|| fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut found)))?;
        Ok(found.l_type != libc::F_UNLCK as libc::c_short)
    }
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            File::options().read(true).write(true).create(true).truncate(false).open(dir.path().join("lock")).unwrap()
        };
        assert!(!Lock::is_held(&open()).unwrap());
        let lock = Lock::take(open()).unwrap().unwrap();
        assert!(Lock::is_held(&File::open(dir.path().join("lock")).unwrap()).unwrap());
        assert!(Lock::take(open()).unwrap().is_none());
        drop(lock);
        assert!(!Lock::is_held(&open()).unwrap());
        assert!(Lock::take(open()).unwrap().is_some());
    }
}
