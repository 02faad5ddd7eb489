//! One disk under two names: two loop devices of a file, two paths through a SAN. A file system over both would be
//! written over itself, and nobody would know before it is mounted. What the kernel knows is asked first, as that costs
//! nothing; then each disk gets a mark of its own, and what is read from it must be that.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::find::open_device;
use crate::btrfs_image::buffer::AlignedBuffer;
use crate::btrfs_image::constants::{SUPERBLOCK_LENGTH, SUPERBLOCKS};
use crate::btrfs_image::structures::Uuid;
use crate::btrfs_image::superblock::unfinished;
use crate::error::{Error, Kind, Result};
use crate::linux::loops::{Backing, backing};
use crate::linux::pwrite_all;

/// Numbers of loop devices (Documentation/admin-guide/devices.txt).
const LOOP_MAJOR: u32 = 7;

/// Refuses names of one disk, as far as the kernel knows.
pub fn check_known(paths: &[&Path], sys: &Path) -> Result<()> {
    let known: Vec<Known> = paths.iter().map(|path| Known::of(path, sys)).collect();
    for (n, (path, this)) in paths.iter().zip(&known).enumerate() {
        for (other, that) in paths.iter().zip(&known).take(n) {
            if let Some(why) = this.same_as(that) {
                return Err(one_disk(other, path, &why));
            }
        }
    }
    Ok(())
}

fn one_disk(one: &Path, other: &Path, why: &str) -> Error {
    let message =
        format!("{} and {} are two names of one disk: {why}; use one of them", one.display(), other.display());
    Error::new(Kind::TargetInUse, message)
}

/// What is known of a device; nothing where it cannot be asked.
struct Known {
    backing: Option<Backing>,
    /// World wide identifier, and the size, as they stand in sysfs.
    wwid: Option<(String, String)>,
}

impl Known {
    fn of(path: &Path, sys: &Path) -> Known {
        let number = fs::metadata(path).map_or(0, |m| m.rdev());
        let (major, minor) = (nix::libc::major(number), nix::libc::minor(number));
        let is_loop = major == LOOP_MAJOR;
        let backing = is_loop.then(|| open_device(path).ok().and_then(|device| backing(&device).ok())).flatten();
        let directory = sys.join(format!("dev/block/{major}:{minor}"));
        let attribute = |name: &str| {
            let text = fs::read_to_string(directory.join(name)).ok()?.trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        // "t10." is what a vendor makes of names and numbers, which some give to every disk.
        let wwid = attribute("wwid").or_else(|| attribute("device/wwid")).filter(|wwid| !wwid.starts_with("t10."));
        Known { backing, wwid: wwid.zip(attribute("size")) }
    }

    /// Why both are one disk.
    fn same_as(&self, other: &Known) -> Option<String> {
        if let (Some(a), Some(b)) = (&self.backing, &other.backing)
            && (a.device, a.inode) == (b.device, b.inode)
            && a.bytes.start < b.bytes.end
            && b.bytes.start < a.bytes.end
        {
            return Some("loop devices of the same file".into());
        }
        let (wwid, _) = self.wwid.as_ref().filter(|_| self.wwid == other.wwid)?;
        Some(format!("both have the identifier {wwid}"))
    }
}

/// Writes to each disk the mark of an unfinished file system, and that it is this disk of it; and waits until it is there.
pub fn mark(disks: &[(&Path, &File)], fsid: Uuid) -> Result<()> {
    write(disks, |devid| unfinished(fsid, devid))
}

/// Refuses blank disks that have the mark of another one of them; they are blank again afterwards.
pub fn try_marks(paths: &[&Path], fsid: Uuid) -> Result<()> {
    let open = |path: &&Path| {
        let opened = OpenOptions::new().write(true).custom_flags(nix::libc::O_EXCL).open(path);
        opened.map_err(|e| Error::io(format!("open the device {}", path.display()), e))
    };
    let files: Vec<File> = paths.iter().map(open).collect::<Result<_>>()?;
    let disks: Vec<(&Path, &File)> = paths.iter().copied().zip(&files).collect();
    mark(&disks, fsid)?;
    let checked = check_marks(&disks, fsid);
    write(&disks, |_| vec![0; SUPERBLOCK_LENGTH as usize])?;
    checked
}

fn write(disks: &[(&Path, &File)], bytes: impl Fn(u64) -> Vec<u8>) -> Result<()> {
    let mut buffer = AlignedBuffer::new(SUPERBLOCK_LENGTH as usize);
    for (&(path, file), devid) in disks.iter().zip(1..) {
        buffer.copy_from_slice(&bytes(devid));
        let written = pwrite_all(file.as_fd(), SUPERBLOCKS[0], &buffer);
        written.map_err(|e| Error::io(format!("write to {} at byte {}", path.display(), SUPERBLOCKS[0]), e))?;
    }
    for (path, file) in disks {
        file.sync_all().map_err(|e| Error::io(format!("write to {}", path.display()), e))?;
    }
    Ok(())
}

/// Refuses disks that have the mark of another one of them.
pub fn check_marks(disks: &[(&Path, &File)], fsid: Uuid) -> Result<()> {
    let marks = disks.iter().zip(1..).map(|((path, _), devid)| (*path, unfinished(fsid, devid)));
    for (path, mark) in marks.clone() {
        let found = read_past_cache(path)?;
        if *found == *mark {
            continue;
        }
        return Err(match marks.clone().find(|(_, other)| *found == **other) {
            Some((other, _)) => one_disk(path, other, "what is written to one of them is on the other"),
            None => {
                let message = format!("{} does not hold what was just written to it: replace it", path.display());
                Error::new(Kind::Failure, message)
            }
        });
    }
    Ok(())
}

/// The place of the mark, as the disk has it: each device has a cache of its own, also two of one disk. An image file has
/// one under all its names.
fn read_past_cache(path: &Path) -> Result<AlignedBuffer> {
    let open = |flags: i32| OpenOptions::new().read(true).custom_flags(flags).open(path);
    let read = || {
        let is_device = fs::metadata(path)?.file_type().is_block_device();
        let file = open(if is_device { nix::libc::O_DIRECT } else { 0 })?;
        let mut buffer = AlignedBuffer::new(SUPERBLOCK_LENGTH as usize);
        file.read_exact_at(&mut buffer, SUPERBLOCKS[0])?;
        Ok(buffer)
    };
    read().map_err(|e| Error::io(format!("read {}", path.display()), e))
}
