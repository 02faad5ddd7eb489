//! The directory that is restored into: what state it must be in, what it looks like meanwhile and afterwards.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Kind, Result};
use crate::format::Attributes;
use crate::format::limits::COMPLETION_MARKER;
use crate::linux::beneath::{self, Beneath};
use crate::linux::{attributes, retry, retry_io, syncfs};

/// Directory in the target that exists while a restore runs, and stays when it fails.
pub const STATE_DIRECTORY: &str = ".burst";

/// Default ACL of a directory: what is created in it gets it, and must not here.
const DEFAULT_ACL: &str = "system.posix_acl_default";

pub struct Target {
    path: PathBuf,
    root: Beneath,
    /// Held as long as the restore runs.
    _lock: Flock<fs::File>,
    /// New files may not simply belong to this process: the target hands its group or ACL down.
    inherits: bool,
    into_existing: bool,
}

impl Target {
    /// Makes the target if it is absent, checks that it is empty (or may be merged into), and marks it as begun.
    pub fn prepare(path: &Path, into_existing: bool, replaces_root: bool) -> Result<Target> {
        let shown = path.display();
        match retry_io(|| fs::DirBuilder::new().mode(0o700).create(path)) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(format!("create the target {shown}"), e)),
        }
        let root = Beneath::open(path).map_err(|e| Error::io(format!("open the target {shown}"), e))?;
        let state = path.join(STATE_DIRECTORY);
        let first = || {
            for entry in fs::read_dir(path)? {
                let name = entry?.file_name();
                // What mkfs.ext4 leaves in an empty file system.
                if name != "lost+found" {
                    return Ok(Some(name));
                }
            }
            Ok(None)
        };
        let occupied = retry_io(first).map_err(|e| Error::io(format!("list the target {shown}"), e))?;
        let found = match retry_io(|| state.symlink_metadata()) {
            Ok(found) => Some(found),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io(format!("look at {}", state.display()), e)),
        };
        if let Some(found) = found {
            if !found.is_dir() {
                let message = format!("the target {shown} has a {STATE_DIRECTORY} that is not a directory: remove it");
                return Err(Error::new(Kind::TargetInUse, message));
            }
            // A lock that is held says that a run is alive; otherwise one has failed or was killed.
            drop(open_lock(&root, path)?);
            if !into_existing {
                let message = format!(
                    "the target {shown} holds an unfinished restore: empty it and try again (or use --into-existing to merge)"
                );
                return Err(Error::new(Kind::TargetInUse, message));
            }
        } else if let Some(name) = occupied
            && !into_existing
        {
            let message = format!(
                "the target {shown} is not empty (it has {name:?}): choose another, or --into-existing to merge"
            );
            return Err(Error::new(Kind::TargetInUse, message));
        }
        match retry_io(|| fs::DirBuilder::new().mode(0o700).create(&state)) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("create {}", state.display()), e));
            }
            _ => {}
        }
        let lock = open_lock(&root, path)?;
        let _ = xattr_remove(&root, COMPLETION_MARKER);
        if replaces_root {
            let _ = xattr_remove(&root, DEFAULT_ACL);
        }
        let metadata = retry_io(|| fs::metadata(path)).map_err(|e| Error::io(format!("stat {shown}"), e))?;
        let has_default_acl = attributes::list_xattrs(root.as_fd())
            .map_err(|e| Error::io(format!("read the extended attributes of {shown}"), e))?
            .iter()
            .any(|(name, _)| name == DEFAULT_ACL.as_bytes());
        let inherits = metadata.mode() & 0o2000 != 0 || has_default_acl;
        Ok(Target { path: path.to_owned(), root, _lock: lock, inherits, into_existing })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where temporary files may be made: on the disk that is being filled.
    pub fn state_directory(&self) -> PathBuf {
        self.path.join(STATE_DIRECTORY)
    }

    pub fn open_dir(&self, path: &[u8]) -> std::io::Result<OwnedFd> {
        self.root.open_dir(path)
    }

    pub fn inherits(&self) -> bool {
        self.inherits
    }

    pub fn merges(&self) -> bool {
        self.into_existing
    }

    /// Waits until everything is on the disk, ends the state of being restored, and marks the target as complete.
    pub fn complete(self, root: Option<&Attributes>, marker: &serde_json::Value) -> Result<()> {
        let shown = self.path.display().to_string();
        let step =
            |what: &str, result: std::io::Result<()>| result.map_err(|e| Error::io(format!("{what} {shown}"), e));
        // The kernel reports here what went wrong while it wrote in the background.
        step("write to disk", syncfs(self.root.as_fd()))?;
        let state = self.state_directory();
        retry_io(|| fs::remove_dir_all(&state)).map_err(|e| Error::io(format!("remove {}", state.display()), e))?;
        if let Some(root) = root {
            apply_root(&self.root, root).map_err(|e| Error::io(format!("set the attributes of {shown}"), e))?;
        }
        step("write to disk", syncfs(self.root.as_fd()))?;
        // Last, when everything it speaks of is on the disk.
        step("mark as complete", self.mark(&marker.to_string()))
    }

    fn mark(&self, marker: &str) -> std::io::Result<()> {
        let fd = self.root.as_fd();
        let set = || attributes::set_xattr(fd, COMPLETION_MARKER.as_bytes(), marker.as_bytes());
        let marked = match set() {
            // A user marks only what he may write; neither call changes the time of the directory.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                let mode = nix::sys::stat::fstat(fd)?.st_mode;
                attributes::set_mode(fd, mode | 0o200)?;
                let marked = set();
                attributes::set_mode(fd, mode)?;
                marked
            }
            marked => marked,
        };
        match marked {
            // A file system without extended attributes has no marker.
            Err(e) if e.kind() == ErrorKind::Unsupported => Ok(()),
            Err(e) => Err(e),
            Ok(()) => retry(|| nix::unistd::fsync(fd)).map_err(|errno| {
                let _ = xattr_remove(&self.root, COMPLETION_MARKER);
                errno.into()
            }),
        }
    }
}

fn apply_root(target: &Beneath, root: &Attributes) -> std::io::Result<()> {
    let fd = target.as_fd();
    if nix::unistd::geteuid().is_root() {
        attributes::set_owner(fd, root.uid, root.gid)?;
    }
    attributes::set_mode(fd, root.permissions)?;
    for (name, value) in root.xattrs.iter().filter(|(name, _)| name != COMPLETION_MARKER.as_bytes()) {
        if let Err(error) = attributes::set_xattr(fd, name, value)
            && nix::unistd::geteuid().is_root()
        {
            return Err(error);
        }
    }
    attributes::set_times(fd, root.mtime.seconds, root.mtime.nanos)
}

fn open_lock(root: &Beneath, target: &Path) -> Result<Flock<fs::File>> {
    let open = || {
        let state = root.open_dir(STATE_DIRECTORY.as_bytes())?;
        // Only its owner may hold it, or anyone could block restores.
        beneath::open_own_file(state.as_fd(), b"lock", 0o600)
    };
    let shown = target.join(STATE_DIRECTORY).join("lock");
    let file = match open() {
        Ok(file) => fs::File::from(file),
        Err(e) if matches!(e.raw_os_error(), Some(nix::libc::ELOOP | nix::libc::EINVAL | nix::libc::ENXIO)) => {
            let message = format!("{} is not a file of a restore: remove it", shown.display());
            return Err(Error::new(Kind::TargetInUse, message));
        }
        Err(e) => return Err(Error::io(format!("open {}", shown.display()), e)),
    };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| in_use(target))
}

fn in_use(target: &Path) -> Error {
    Error::new(Kind::TargetInUse, format!("another restore into {} is running", target.display()))
}

fn xattr_remove(target: &Beneath, name: &str) -> std::io::Result<()> {
    attributes::remove_xattr(target.as_fd(), name.as_bytes())
}

/// Removes what stands at a name so that something new can be put there: a file or a link, never a directory.
pub fn make_way(dir: std::os::fd::BorrowedFd<'_>, name: &[u8]) -> std::io::Result<()> {
    use nix::libc::{S_IFLNK, S_IFMT, S_IFREG};
    let mode = beneath::stat(dir, name)?.st_mode & S_IFMT;
    if mode == S_IFREG || mode == S_IFLNK {
        return beneath::unlink(dir, name);
    }
    Err(std::io::Error::new(ErrorKind::AlreadyExists, "there is something that is neither a regular file nor a link"))
}
