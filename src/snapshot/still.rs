//! Reads a tree as it was at one moment: from read-only snapshots of the BTRFS subvolumes that it is in, or
//! from a frozen file system.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};

use super::area::Area;
use super::freeze::{Freeze, Freezer, FrozenPlace};
use super::record::{Source, StillTree};
use crate::btrfs::subvolume::{Subvolume, SubvolumeId, path_in_subvolume, subvolume_of};
use crate::error::{Error, Kind, Result};
use crate::linux::mounts::{Mount, mount_of, mounts};
use crate::linux::{is_errno, retry};

/// Whether subvolume snapshots are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistent {
    /// Where it is possible.
    #[default]
    Auto,
    /// It is an error where it is not possible.
    Require,
    /// Never.
    Off,
}

/// Where a source is read.
enum Place {
    /// Where it is: nothing can change there.
    ReadOnly,
    /// Where it is: nothing can be written there for a while.
    Frozen,
    Snapshot(PathBuf, StillTree),
}

/// What was used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stillness {
    /// Subvolumes of which a snapshot was made.
    pub snapshots: u64,
    /// Places that are read-only anyway.
    pub read_only: u64,
    /// File systems that nobody could write to meanwhile.
    pub frozen: Vec<FrozenPlace>,
    /// Places that were read as they were, and why.
    pub live: Vec<(PathBuf, String)>,
}

impl Stillness {
    /// Whether something that was frozen was thawed before all was read.
    pub fn thawed_early(&self) -> bool {
        self.frozen.iter().any(|place| place.thawed_early.is_some())
    }
}

/// The subvolume snapshots of a run. They are deleted when it is dropped, or by the next run after a SIGKILL. What is
/// frozen is thawed in both cases.
pub struct Still {
    mode: Consistent,
    freezer: Option<Freezer>,
    areas: HashMap<[u8; 16], Area>,
    /// Where the snapshot of a subvolume is, or why there is none.
    taken: HashMap<SubvolumeId, std::result::Result<PathBuf, (Kind, String)>>,
    mounts: Vec<Mount>,
    stillness: Stillness,
}

impl Still {
    pub fn new(mode: Consistent, freeze: Option<Freeze>) -> Still {
        Still {
            mode,
            freezer: freeze.map(Freezer::new),
            areas: HashMap::new(),
            taken: HashMap::new(),
            mounts: Vec::new(),
            stillness: Stillness::default(),
        }
    }

    /// Decides where `source` is read: from `source.shown` or a snapshot. `follow`: a link stands for what it names.
    pub fn place(&mut self, source: &mut Source, follow: bool) -> Result<()> {
        if self.mode == Consistent::Off {
            return Ok(());
        }
        match self.find(&source.shown, follow) {
            Ok(Place::Frozen) => {}
            Ok(Place::ReadOnly) => self.stillness.read_only += 1,
            Ok(Place::Snapshot(base, tree)) => {
                source.base = base;
                source.still = Some(tree);
            }
            // Gone: whoever looks next says so.
            Err(error) if error.kind() == Kind::NotFound && fs::symlink_metadata(&source.shown).is_err() => {}
            // To freeze was asked for; what is met on the way need not be of a kind that can be frozen.
            Err(error) if self.freezer.is_some() && source.is_given => {
                return Err(error
                    .context(source.shown.display())
                    .with_hint("without --freeze it is archived while it is in use"));
            }
            Err(error) if self.mode == Consistent::Require => {
                let error = error.context(format!("{}: no subvolume snapshot", source.shown.display()));
                return Err(error.with_hint("with --consistent auto it is archived while it is in use"));
            }
            Err(error) => self.stillness.live.push((source.shown.clone(), error.to_string())),
        }
        Ok(())
    }

    fn find(&mut self, live: &Path, follow: bool) -> Result<Place> {
        let failed = |e| Error::io("look at it", e);
        let metadata = if follow { fs::metadata(live) } else { fs::symlink_metadata(live) }.map_err(failed)?;
        let (directory, name) = match live.file_name() {
            Some(name) if !metadata.is_dir() => (live.parent().unwrap_or(Path::new("")).join("."), name.as_ref()),
            _ => (live.join("."), Path::new(".")),
        };
        let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(directory);
        let directory = directory.map_err(failed)?;
        let type_of = retry(|| fstatfs(&directory)).map_err(|e| failed(e.into()))?.filesystem_type();
        if type_of != BTRFS_SUPER_MAGIC {
            if self.freezer.is_some() && self.is_read_only_file_system(&directory).map_err(failed)? {
                return Ok(Place::ReadOnly);
            }
            return match &mut self.freezer {
                None => Err(Error::new(Kind::Unsupported, "not on BTRFS")),
                Some(freezer) => freezer.freeze(&directory, live).map(|()| Place::Frozen),
            };
        }
        let of_directory = directory.metadata().map_err(failed)?;
        if of_directory.dev() != metadata.dev() {
            return Err(Error::new(Kind::Unsupported, "a file that is mounted by itself"));
        }
        let Subvolume { id, is_read_only, .. } = subvolume_of(directory.as_fd()).map_err(failed)?;
        if is_read_only || self.is_read_only_file_system(&directory).map_err(failed)? {
            return Ok(Place::ReadOnly);
        }
        let root = self.snapshot_of(id, &directory)?;
        let inner = path_in_subvolume(directory.as_fd(), of_directory.ino()).map_err(failed)?;
        let base = root.join(inner).join(name);
        if fs::symlink_metadata(&base).map(|found| found.ino()).ok() != Some(metadata.ino()) {
            return Err(Error::new(Kind::SourceChanged, "moved while the snapshot was made"));
        }
        let mounts = if metadata.is_dir() { self.mounts_below(&directory).map_err(failed)? } else { HashSet::new() };
        Ok(Place::Snapshot(base, StillTree { device: of_directory.dev(), mounts: Arc::new(mounts) }))
    }

    fn snapshot_of(&mut self, id: SubvolumeId, directory: &File) -> Result<PathBuf> {
        if let Some(known) = self.taken.get(&id) {
            return known.clone().map_err(|(kind, message)| Error::new(kind, message));
        }
        let taken = self.take(id, directory).map_err(explained);
        if taken.is_ok() {
            self.stillness.snapshots += 1;
        }
        let known = taken.as_ref().map(PathBuf::clone).map_err(|error| (error.kind(), error.to_string()));
        self.taken.insert(id, known);
        taken
    }

    fn take(&mut self, id: SubvolumeId, directory: &File) -> io::Result<PathBuf> {
        use std::collections::hash_map::Entry;
        let area = match self.areas.entry(id.file_system) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Area::new(directory.as_fd())?),
        };
        area.take(id.tree)
    }

    /// To mount it as a whole would make it writable for everybody.
    fn is_read_only_file_system(&mut self, directory: &File) -> io::Result<bool> {
        let id = mount_of(directory.as_raw_fd())?;
        Ok(self.mounts()?.iter().any(|mount| mount.id == id && mount.is_read_only))
    }

    /// Relative to the directory: what of it another file system hides, and a snapshot does not.
    fn mounts_below(&mut self, directory: &File) -> io::Result<HashSet<PathBuf>> {
        let full = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
        let below = |mount: &Mount| mount.point.strip_prefix(&full).ok().map(Path::to_owned);
        Ok(self.mounts()?.iter().filter_map(below).filter(|path| !path.as_os_str().is_empty()).collect())
    }

    fn mounts(&mut self) -> io::Result<&[Mount]> {
        if self.mounts.is_empty() {
            self.mounts = mounts()?;
        }
        Ok(&self.mounts)
    }

    /// Ends what is frozen, once everything was read.
    pub fn thaw(&mut self) -> Result<()> {
        if let Some(freezer) = &mut self.freezer {
            self.stillness.frozen.extend(freezer.thaw()?);
        }
        Ok(())
    }

    /// Thaws, deletes the snapshots and says what was used; the error is one of the two.
    pub fn release(mut self) -> (Stillness, Result<()>) {
        let mut result = self.thaw();
        for area in self.areas.values_mut() {
            if let Err(error) = area.release() {
                let what = "delete the subvolume snapshots of this run (the next run will try again)";
                result = Err(Error::io(what, error));
            }
        }
        (std::mem::take(&mut self.stillness), result)
    }
}

fn explained(error: io::Error) -> Error {
    if is_errno(&error, &[Errno::EPERM]) {
        let message = "root is needed to make a subvolume snapshot (CAP_SYS_ADMIN outside a user namespace)";
        return Error::new(Kind::Denied, message).with_source(error);
    }
    if is_errno(&error, &[Errno::ETXTBSY]) {
        let message =
            "a swap file in the subvolume is in use: BTRFS makes no snapshot then (give it a subvolume of its own)";
        return Error::new(Kind::Unsupported, message).with_source(error);
    }
    Error::io("make a subvolume snapshot", error)
}
