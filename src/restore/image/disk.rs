//! The devices or image files that are being filled: they are opened only if nothing is lost, and become a file system
//! with the last write.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::btrfs_image::buffer::AlignedBuffer;
use crate::btrfs_image::constants::{MIB, SECTOR, SUPERBLOCK_LENGTH, SUPERBLOCKS};
use crate::btrfs_image::layout::Write;
use crate::btrfs_image::space_trees::PlaceWriter;
use crate::btrfs_image::structures::{SuperBlock, Uuid};
use crate::btrfs_image::superblock::{almost_finished, copy_at};
use crate::error::{Error, Kind, Result};
use crate::linux::{loops, pwrite_all, pwritev_all};
use crate::volume::content::{BtrfsVolume, is_unfinished_image};
use crate::volume::{Content, content, twice};

/// What becomes one file system.
pub struct Disks {
    disks: Vec<Disk>,
}

impl Disks {
    /// Opens block devices that nobody uses. Unless `force`, they must be blank.
    pub fn open_devices(paths: &[PathBuf], force: bool) -> Result<Disks> {
        let mut numbers = Vec::new();
        for path in paths {
            let number = std::fs::metadata(path).map_err(|e| Error::io(format!("open {}", path.display()), e))?.rdev();
            if number != 0 && numbers.contains(&number) {
                return Err(Error::new(Kind::Usage, format!("{} is a device that was named before", path.display())));
            }
            numbers.push(number);
        }
        let names: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        twice::check_known(&names, Path::new("/sys"))?;
        let disks: Vec<Disk> = paths.iter().map(|path| Disk::open_device(path)).collect::<Result<_>>()?;
        if !force {
            check_blank(&disks)?;
        }
        Ok(Disks { disks })
    }

    /// Makes an image file of each size, all of it a hole. Unless `force`, nothing may be there but what a run that was
    /// killed left. If one cannot be made, none is left.
    pub fn create_files(files: &[(PathBuf, u64)], force: bool) -> Result<Disks> {
        let mut disks = Vec::new();
        for (path, size) in files {
            match Disk::create_file(path, *size, force) {
                Ok(disk) => disks.push(disk),
                Err(e) => {
                    Disks { disks }.remove();
                    return Err(e);
                }
            }
        }
        Ok(Disks { disks })
    }

    /// Removes image files.
    pub fn remove(&self) {
        for disk in &self.disks {
            // Why there is no file system is what matters, whether or not the rest of it can be removed.
            let _ = std::fs::remove_file(&disk.path);
        }
    }

    pub fn sizes(&self) -> Vec<u64> {
        self.disks.iter().map(|disk| disk.size).collect()
    }

    /// For messages.
    pub fn names(&self) -> String {
        self.disks.iter().map(|disk| disk.path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Removes every trace of older file systems, and waits until it is gone: from here to the last write there is none,
    /// and a mark by which another run knows that, and this one whether each disk is one of its own. `all` also clears
    /// what other kinds of file systems and partition tables leave at both ends.
    pub fn wipe(&self, all: bool, fsid: Uuid) -> Result<()> {
        self.disks.iter().try_for_each(|disk| disk.clear(all))?;
        self.flush()?;
        let disks: Vec<(&Path, &File)> = self.disks.iter().map(|disk| (disk.path.as_path(), &disk.file)).collect();
        twice::mark(&disks, fsid)?;
        if disks.len() > 1 { twice::check_marks(&disks, fsid) } else { Ok(()) }
    }

    /// Waits until everything written is on the media.
    fn flush(&self) -> Result<()> {
        self.disks.iter().try_for_each(Disk::flush)
    }

    /// Makes the devices a file system; each has its own superblock. Everything else is on the media before the first
    /// copy is written, and the copies before the superblocks themselves, of which the last write changes one sector.
    /// The first device comes last: without it no kernel mounts the others.
    pub fn write_superblocks(&self, superblocks: &[SuperBlock]) -> Result<()> {
        self.flush()?;
        let [first, copies @ ..] = SUPERBLOCKS;
        let mut all = self.disks.iter().zip(superblocks);
        for (disk, superblock) in all.clone() {
            for place in copies.into_iter().filter(|place| place + SUPERBLOCK_LENGTH <= disk.size) {
                disk.write_superblock(place, &copy_at(superblock.clone(), place))?;
            }
            disk.write_superblock(first, &almost_finished(superblock.clone(), first))?;
        }
        self.flush()?;
        let of_first = all.next();
        for (disk, superblock) in all {
            disk.write_superblock(first, &copy_at(superblock.clone(), first))?;
            disk.flush()?;
        }
        if let Some((disk, superblock)) = of_first {
            disk.write_superblock(first, &copy_at(superblock.clone(), first))?;
            disk.flush()?;
        }
        Ok(())
    }

    pub fn write(&self, writes: &[Write], bytes: &[u8]) -> Result<()> {
        for write in writes {
            let Some(disk) = self.disks.get(write.device) else { continue };
            let pieces: Vec<&[u8]> = write.pieces.iter().filter_map(|piece| bytes.get(piece.clone())).collect();
            disk.write_at(write.offset, &pieces)?;
        }
        Ok(())
    }
}

/// What was left of a file system of ours that was never finished is no loss: on one device the mark of it, on others
/// perhaps the superblock already.
fn check_blank(disks: &[Disk]) -> Result<()> {
    let found: Vec<Content> =
        disks.iter().map(|disk| content(&disk.file, &disk.path, disk.size)).collect::<Result<_>>()?;
    let unfinished = |of: &BtrfsVolume| {
        of.disks == disks.len() as u64 && disks.len() > 1 && found.contains(&Content::Unfinished(of.uuid))
    };
    for (disk, content) in disks.iter().zip(&found) {
        match content {
            Content::Blank | Content::Unfinished(_) => {}
            Content::Own(other) | Content::Btrfs(other) if unfinished(other) => {}
            content => {
                let path = disk.path.display();
                let message = format!("{path} is not blank: it holds {content}; use --force to lose everything on it");
                return Err(Error::new(Kind::TargetInUse, message));
            }
        }
    }
    Ok(())
}

struct Disk {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Disk {
    fn open_device(path: &Path) -> Result<Disk> {
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
                let message = format!("{} {}", path.display(), crate::volume::mount::is_busy(path));
                Error::new(Kind::TargetInUse, message)
            }
            _ => Error::io(what(), e),
        })?;
        let size = file.seek(SeekFrom::End(0)).map_err(|e| Error::io(what(), e))?;
        Ok(Disk { file, path: path.to_owned(), size })
    }

    fn create_file(path: &Path, size: u64, force: bool) -> Result<Disk> {
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
        if let Some(device) = loops::attached(&file).map_err(|e| Error::io(what(), e))? {
            let device = device.display();
            return Err(in_use(&format!(
                "is the loop device {device}: unmount it, and detach it (losetup -d {device})"
            )));
        }
        if !new && !force && !is_unfinished_image(&file).map_err(|e| Error::io(what(), e))? {
            return Err(in_use("exists already: use --force to replace it"));
        }
        // First as large as it will be: where the file system does not take that, nothing of an older file is lost.
        let sized = file.set_len(size).and_then(|()| file.set_len(0)).and_then(|()| file.set_len(size));
        if let Err(e) = sized {
            if new {
                let _ = std::fs::remove_file(path);
            }
            return Err(Error::io(format!("{} with {size} bytes", what()), e));
        }
        Ok(Disk { file, path: path.to_owned(), size })
    }

    fn clear(&self, all: bool) -> Result<()> {
        let zeros = AlignedBuffer::new(MIB as usize);
        let clear = |start: u64, length: u64| {
            let end = self.size.min(start + length) / SECTOR * SECTOR;
            if start >= end { Ok(()) } else { self.write_at(start, &[&zeros[..(end - start) as usize]]) }
        };
        for place in SUPERBLOCKS {
            clear(place, SUPERBLOCK_LENGTH)?;
        }
        if all {
            clear(0, MIB)?;
            clear(self.size.saturating_sub(MIB) / SECTOR * SECTOR, MIB)?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(format!("write to {}", self.path.display()), e))
    }

    fn write_superblock(&self, place: u64, bytes: &[u8]) -> Result<()> {
        let mut buffer = AlignedBuffer::new(SUPERBLOCK_LENGTH as usize);
        buffer.copy_from_slice(bytes);
        self.write_at(place, &[&buffer])
    }

    fn write_at(&self, place: u64, pieces: &[&[u8]]) -> Result<()> {
        let done = match pieces {
            [bytes] => pwrite_all(self.file.as_fd(), place, bytes),
            pieces => {
                let mut pieces: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                pwritev_all(self.file.as_fd(), place, &mut pieces)
            }
        };
        done.map_err(|e| Error::io(format!("write to {} at byte {place}", self.path.display()), e))
    }
}

impl PlaceWriter for &Disks {
    fn write(&mut self, writes: &[Write], bytes: &[u8]) -> Result<()> {
        Disks::write(self, writes, bytes)
    }
}
