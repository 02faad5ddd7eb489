//! The device or image file that is being filled: it is opened only if nothing is lost, and becomes a file system
//! with the last write.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::btrfs_image::buffer::AlignedBuffer;
use crate::btrfs_image::constants::{MIB, SECTOR, SUPERBLOCK_LENGTH, SUPERBLOCKS};
use crate::btrfs_image::space_trees::PlaceWriter;
use crate::btrfs_image::structures::{SuperBlock, Uuid};
use crate::btrfs_image::superblock::{almost_finished, copy_at, unfinished};
use crate::error::{Error, Kind, Result};
use crate::linux::pwrite_all;
use crate::volume::content::is_unfinished_image;
use crate::volume::{Content, content};

pub struct Disk {
    file: File,
    path: PathBuf,
    pub size: u64,
}

impl Disk {
    /// Opens a block device that nobody uses. Unless `force`, it must be blank.
    pub fn open_device(path: &Path, force: bool) -> Result<Disk> {
        let what = || format!("open the device {}", path.display());
        let metadata = std::fs::metadata(path).map_err(|e| Error::io(what(), e))?;
        if !metadata.file_type().is_block_device() {
            let message = format!("{} is no block device (`burst image` makes image files)", path.display());
            return Err(Error::new(Kind::Usage, message));
        }
        // O_EXCL: nothing mounted, no swap, no partition in use, no other run. O_DIRECT: a copy in the page cache
        // would only take memory and time.
        let open = |flags: i32| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let (exclusive, direct) = (nix::libc::O_EXCL, nix::libc::O_DIRECT);
        let opened = match open(exclusive | direct) {
            Err(e) if e.raw_os_error() == Some(nix::libc::EINVAL) => open(exclusive),
            opened => opened,
        };
        let mut file = opened.map_err(|e| match e.raw_os_error() {
            Some(nix::libc::EBUSY) => {
                let message = format!("{} is mounted or used by something else", path.display());
                Error::new(Kind::TargetInUse, message)
            }
            _ => Error::io(what(), e),
        })?;
        let size = file.seek(SeekFrom::End(0)).map_err(|e| Error::io(what(), e))?;
        let disk = Disk { file, path: path.to_owned(), size };
        if !force {
            disk.check_blank()?;
        }
        Ok(disk)
    }

    /// Makes an image file of this size, all of it a hole. Unless `force`, nothing may be there but what a run that was
    /// killed left.
    pub fn create_file(path: &Path, size: u64, force: bool) -> Result<Disk> {
        let what = || format!("create the image {}", path.display());
        if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            let message = format!("{} is no regular file (`burst restore --device` fills devices)", path.display());
            return Err(Error::new(Kind::Usage, message));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let (file, new) = match options.clone().create_new(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (options.open(path), false),
            opened => (opened, true),
        };
        let file = file.map_err(|e| Error::io(what(), e))?;
        let in_use = |why: &str| Error::new(Kind::TargetInUse, format!("{} {why}", path.display()));
        file.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => in_use("is being made by another run"),
            TryLockError::Error(e) => Error::io(what(), e),
        })?;
        if !new && !force && !is_unfinished_image(&file).map_err(|e| Error::io(what(), e))? {
            return Err(in_use("exists already: use --force to replace it"));
        }
        file.set_len(0).and_then(|()| file.set_len(size)).map_err(|e| Error::io(what(), e))?;
        Ok(Disk { file, path: path.to_owned(), size })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes every trace of an older file system, and waits until it is gone: from here to the last write there is
    /// none, and a mark by which another run knows that. `all` also clears what other kinds of file systems and
    /// partition tables leave at both ends.
    pub fn wipe(&self, all: bool, fsid: Uuid) -> Result<()> {
        let zeros = AlignedBuffer::new(MIB as usize);
        let clear = |start: u64, length: u64| {
            let end = self.size.min(start + length) / SECTOR * SECTOR;
            if start >= end { Ok(()) } else { self.write_at(start, &zeros[..(end - start) as usize]) }
        };
        for place in SUPERBLOCKS {
            clear(place, SUPERBLOCK_LENGTH)?;
        }
        if all {
            clear(0, MIB)?;
            clear(self.size.saturating_sub(MIB) / SECTOR * SECTOR, MIB)?;
        }
        self.flush()?;
        self.write_superblock(SUPERBLOCKS[0], &unfinished(fsid))?;
        self.flush()
    }

    /// Waits until everything written is on the medium.
    pub fn flush(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(format!("write to {}", self.path.display()), e))
    }

    /// Makes the device a file system. Everything else is on the medium before the first copy is written, and the
    /// copies before the superblock itself, of which the last write changes one sector.
    pub fn write_superblocks(&self, superblock: &SuperBlock) -> Result<()> {
        self.flush()?;
        let [first, copies @ ..] = SUPERBLOCKS;
        for place in copies.into_iter().filter(|place| place + SUPERBLOCK_LENGTH <= self.size) {
            self.write_superblock(place, &copy_at(superblock.clone(), place))?;
        }
        self.write_superblock(first, &almost_finished(superblock.clone(), first))?;
        self.flush()?;
        self.write_superblock(first, &copy_at(superblock.clone(), first))?;
        self.flush()
    }

    fn write_superblock(&self, place: u64, bytes: &[u8]) -> Result<()> {
        let mut buffer = AlignedBuffer::new(SUPERBLOCK_LENGTH as usize);
        buffer.copy_from_slice(bytes);
        self.write_at(place, &buffer)
    }

    pub fn write_at(&self, place: u64, bytes: &[u8]) -> Result<()> {
        pwrite_all(self.file.as_fd(), place, bytes)
            .map_err(|e| Error::io(format!("write to {} at {place}", self.path.display()), e))
    }

    /// What was left of a file system of ours that was never finished is no loss.
    fn check_blank(&self) -> Result<()> {
        match content(&self.file, &self.path, self.size)? {
            Content::Blank | Content::Unfinished(_) => Ok(()),
            found => Err(not_blank(&self.path, &found)),
        }
    }
}

fn not_blank(path: &Path, found: &Content) -> Error {
    let message = format!("{} is not blank: it holds {found}; use --force to lose everything on it", path.display());
    Error::new(Kind::TargetInUse, message)
}

impl PlaceWriter for &Disk {
    fn write(&mut self, places: &[u64], bytes: &[u8]) -> Result<()> {
        places.iter().try_for_each(|&place| self.write_at(place, bytes))
    }
}
