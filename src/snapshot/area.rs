//! Where the subvolume snapshots of one run are: `.burst-snapshots/RUN/` in the top level of their file system, seen
//! through a mount that nobody else has.
//!
//! A run keeps its directory locked (flock). So the next one knows what a killed run left, and removes it. Nothing
//! else in the file system changes; where the top level is a live tree itself, it has that one name more meanwhile,
//! and its time is put back.

use std::ffi::{CStr, CString};
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::btrfs::subvolume::{ROOT_INODE, TOP_LEVEL, destroy, devices, snapshot};
use crate::linux::attributes::set_times;
use crate::linux::mounts::mount_detached;
use crate::linux::retry;

/// In the root of the top level.
pub const AREA: &str = ".burst-snapshots";

/// Runs may remove the directory while another wants to use it; nobody loses that race this often.
const ATTEMPTS: usize = 100;

/// The snapshots of one run on one file system.
pub struct Area {
    /// The device it can be mounted from.
    device: PathBuf,
    /// Keeps the mount.
    _mount: OwnedFd,
    top: File,
    /// `.burst-snapshots/RUN`, locked; and its name.
    run: File,
    run_name: CString,
    taken: u64,
    is_released: bool,
}

impl Area {
    /// A place for snapshots on the file system of `file`. Removes what killed runs left there.
    pub fn new(file: BorrowedFd<'_>) -> io::Result<Area> {
        let (device, mount) = mount_any(&devices(file)?)?;
        let top = open_directory(mount.as_fd(), c".")?;
        for _ in 0..ATTEMPTS {
            if let Some((run, run_name)) = begin(&top)? {
                return Ok(Area { device, _mount: mount, top, run, run_name, taken: 0, is_released: false });
            }
        }
        Err(io::Error::other("other runs keep removing the directory for snapshots"))
    }

    /// Makes a snapshot of subvolume number `tree`. Gives a path that leads to it in this process.
    pub fn take(&mut self, tree: u64) -> io::Result<PathBuf> {
        let name = self.taken.to_string();
        // The root of the subvolume is what must be open, wherever that is, and whatever is mounted over it.
        let mount = mount_subvolume(&self.device, tree)?;
        let root = open_directory(mount.as_fd(), c".")?;
        snapshot(root.as_fd(), self.run.as_fd(), &CString::new(name.as_str())?)?;
        self.taken += 1;
        Ok(PathBuf::from(format!("/proc/self/fd/{}/{name}", self.run.as_raw_fd())))
    }

    /// Deletes the snapshots.
    pub fn release(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_released, true) {
            return Ok(());
        }
        let area = open_directory(self.top.as_fd(), &area_name()?)?;
        area.lock()?;
        remove_run(area.as_fd(), &self.run_name)?;
        let before = time_of(&self.top)?;
        match unlinkat(&self.top, area_name()?.as_c_str(), UnlinkatFlags::RemoveDir) {
            // Other runs.
            Err(Errno::ENOTEMPTY) => Ok(()),
            Err(errno) => Err(errno.into()),
            Ok(()) => put_back(&self.top, before),
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // Whoever wants to know about an error has called it.
        let _ = self.release();
    }
}

fn area_name() -> io::Result<CString> {
    Ok(CString::new(AREA)?)
}

/// The top level; any device of the file system will do, but not each has a name that exists here.
fn mount_any(devices: &[PathBuf]) -> io::Result<(PathBuf, OwnedFd)> {
    let mut failure = io::Error::from(Errno::ENODEV);
    for device in devices {
        match mount_subvolume(device, TOP_LEVEL) {
            Ok(mount) => return Ok((device.clone(), mount)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn mount_subvolume(device: &Path, tree: u64) -> io::Result<OwnedFd> {
    mount_detached(c"btrfs", device, &[(c"subvolid", &tree.to_string())])
}

/// A locked directory of our own; None if another run has just removed the one that holds it.
fn begin(top: &File) -> io::Result<Option<(File, CString)>> {
    let before = time_of(top)?;
    let is_new = match mkdirat(top, area_name()?.as_c_str(), Mode::S_IRWXU) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(errno.into()),
    };
    if is_new {
        put_back(top, before)?;
    }
    let area = match open_directory(top.as_fd(), &area_name()?) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        area => area?,
    };
    let metadata = area.metadata()?;
    if metadata.uid() != 0 || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{AREA} in the top level of the file system is not root's own"),
        ));
    }
    // Held while a directory appears and is locked, so that nobody takes it for a dead one.
    area.lock()?;
    for name in names(&area)? {
        // Best effort: they only take room.
        let _ = remove_dead(&area, &name);
    }
    let name = CString::new(format!("{:016x}", u64::from_le_bytes(random()?)))?;
    match mkdirat(&area, name.as_c_str(), Mode::S_IRWXU) {
        Err(Errno::ENOENT) => return Ok(None),
        result => result?,
    }
    let run = open_directory(area.as_fd(), &name)?;
    run.try_lock().map_err(io::Error::from)?;
    Ok(Some((run, name)))
}

fn random() -> io::Result<[u8; 8]> {
    let id = super::random_id().map_err(io::Error::other)?;
    id.first_chunk().copied().ok_or_else(|| io::ErrorKind::Other.into())
}

/// Removes the directory of a run that is no more.
fn remove_dead(area: &File, name: &CString) -> io::Result<()> {
    let is_run = name.as_bytes().len() == 16 && name.as_bytes().iter().all(u8::is_ascii_hexdigit);
    if !is_run {
        return Ok(());
    }
    let run = open_directory(area.as_fd(), name)?;
    match run.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => remove_run(area.as_fd(), name),
    }
}

fn remove_run(area: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    let run = open_directory(area, name)?;
    for each in names(&run)? {
        destroy(run.as_fd(), &each)?;
    }
    Ok(unlinkat(area, name.as_c_str(), UnlinkatFlags::RemoveDir)?)
}

fn names(directory: &File) -> io::Result<Vec<CString>> {
    let mut found = Vec::new();
    // A descriptor of its own: reading moves its position.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    for entry in Dir::openat(directory, ".", flags, Mode::empty())?.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            found.push(name);
        }
    }
    Ok(found)
}

fn open_directory(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(retry(|| openat(directory, name, flags, Mode::empty()))?))
}

fn time_of(directory: &File) -> io::Result<(i64, u32)> {
    let metadata = directory.metadata()?;
    Ok((metadata.mtime(), metadata.mtime_nsec() as u32))
}

fn put_back(directory: &File, (seconds, nanos): (i64, u32)) -> io::Result<()> {
    set_times(directory.as_fd(), seconds, nanos)
}

/// Whether `path`, named [`AREA`], is the directory of this module and no part of a tree.
pub fn is_area(path: &Path) -> bool {
    let parent = path.parent().and_then(|parent| std::fs::symlink_metadata(parent.join(".")).ok());
    let own = std::fs::symlink_metadata(path).ok();
    parent.is_some_and(|parent| parent.ino() == ROOT_INODE)
        && own.is_some_and(|own| own.is_dir() && own.uid() == 0 && own.mode() & 0o077 == 0)
}
