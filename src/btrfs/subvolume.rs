//! Subvolumes: which one a file is in, where in it, and read-only snapshots of them.
//!
//! Layouts and numbers: kernel `include/uapi/linux/btrfs.h`.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::capability::fs_info;
use crate::linux::retry;

/// The subvolume that holds all others (`BTRFS_FS_TREE_OBJECTID`).
pub const TOP_LEVEL: u64 = 5;

/// Inode number of the root of every subvolume (`BTRFS_FIRST_FREE_OBJECTID`).
pub const ROOT_INODE: u64 = 256;

/// Inode number of the empty directory that a snapshot has where another subvolume is
/// (`BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`).
pub const PLACEHOLDER_INODE: u64 = 2;

/// `BTRFS_SUBVOL_RDONLY` of a snapshot that is asked for, `BTRFS_ROOT_SUBVOL_RDONLY` of one that is.
const CREATE_READ_ONLY: u64 = 1 << 1;
const IS_READ_ONLY: u64 = 1 << 0;

const DEVICE_PATH_MAX: usize = 1024;
const LOOKUP_PATH_MAX: usize = 4080;
const NAME_ROOM: usize = 4040;
const OLD_NAME_ROOM: usize = 4088;

#[repr(C)]
struct SubvolumeInfo {
    id: u64,
    name: [u8; 256],
    parent_id: u64,
    directory_id: u64,
    generation: u64,
    flags: u64,
    uuids: [[u8; 16]; 3],
    transactions: [u64; 4],
    times: [[u64; 2]; 4],
    reserved: [u64; 8],
}

#[repr(C)]
struct Lookup {
    tree: u64,
    inode: u64,
    path: [u8; LOOKUP_PATH_MAX],
}

#[repr(C)]
struct DeviceInfo {
    id: u64,
    uuid: [u8; 16],
    bytes: [u64; 2],
    fsid: [u8; 16],
    unused: [u64; 377],
    path: [u8; DEVICE_PATH_MAX],
}

#[repr(C)]
struct SnapshotArgs {
    source: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; NAME_ROOM],
}

#[repr(C)]
struct NameArgs {
    unused: i64,
    name: [u8; OLD_NAME_ROOM],
}

// The ioctl numbers contain these sizes: with another layout every call would end in ENOTTY.
const _: () = assert!(size_of::<SubvolumeInfo>() == 504);
const _: () = assert!(size_of::<Lookup>() == 4096);
const _: () = assert!(size_of::<DeviceInfo>() == 4096);
const _: () = assert!(size_of::<SnapshotArgs>() == 4096);
const _: () = assert!(size_of::<NameArgs>() == 4096);

nix::ioctl_read!(ioctl_subvolume_info, 0x94, 60, SubvolumeInfo);
nix::ioctl_readwrite!(ioctl_lookup, 0x94, 18, Lookup);
nix::ioctl_readwrite!(ioctl_device_info, 0x94, 30, DeviceInfo);
nix::ioctl_write_ptr!(ioctl_snapshot, 0x94, 23, SnapshotArgs);
nix::ioctl_write_ptr!(ioctl_destroy, 0x94, 15, NameArgs);

/// Which subvolume, of which file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubvolumeId {
    /// `fsid` of the superblock.
    pub file_system: [u8; 16],
    /// Identifier of its tree; 5 is the top level.
    pub tree: u64,
}

/// What the kernel says of a subvolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subvolume {
    /// Which it is.
    pub id: SubvolumeId,
    /// Whether nobody may change it.
    pub is_read_only: bool,
    /// Transaction that last changed its tree: also a balance does, of a read-only one.
    pub generation: u64,
}

/// The subvolume that an open file or directory is in.
///
/// Errors: ENOTTY where there is no such call (not BTRFS, or before Linux 4.18).
pub fn subvolume_of(file: BorrowedFd<'_>) -> io::Result<Subvolume> {
    let mut info = SubvolumeInfo {
        id: 0,
        name: [0; 256],
        parent_id: 0,
        directory_id: 0,
        generation: 0,
        flags: 0,
        uuids: [[0; 16]; 3],
        transactions: [0; 4],
        times: [[0; 2]; 4],
        reserved: [0; 8],
    };
    // SAFETY: the argument must be a writable struct of the size in the ioctl number (asserted above); the kernel
    // fills it and keeps no reference.
    retry(|| unsafe { ioctl_subvolume_info(file.as_raw_fd(), &mut info) })?;
    let id = SubvolumeId { file_system: fs_info(file)?.fsid, tree: info.id };
    Ok(Subvolume { id, is_read_only: info.flags & IS_READ_ONLY != 0, generation: info.generation })
}

/// The path of directory number `inode` within the subvolume of `file`; empty for its root.
///
/// Errors: EPERM without CAP_SYS_ADMIN, ENOENT if it is not there, ENAMETOOLONG over 4,079 bytes.
pub fn path_in_subvolume(file: BorrowedFd<'_>, inode: u64) -> io::Result<PathBuf> {
    let mut lookup = Lookup { tree: 0, inode, path: [0; LOOKUP_PATH_MAX] };
    // SAFETY: the argument must be a writable struct of the size in the ioctl number (asserted above); the kernel
    // fills it and keeps no reference.
    retry(|| unsafe { ioctl_lookup(file.as_raw_fd(), &mut lookup) })?;
    let mut path = text(&lookup.path);
    if path.last() == Some(&b'/') {
        path.pop();
    }
    Ok(PathBuf::from(OsString::from_vec(path)))
}

/// The devices of the file system that `file` is on, under the names they have in /dev.
pub fn devices(file: BorrowedFd<'_>) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for id in 0..=fs_info(file)?.max_id {
        let mut info = DeviceInfo {
            id,
            uuid: [0; 16],
            bytes: [0; 2],
            fsid: [0; 16],
            unused: [0; 377],
            path: [0; DEVICE_PATH_MAX],
        };
        // SAFETY: the argument must be a writable struct of the size in the ioctl number (asserted above); the kernel
        // fills it and keeps no reference.
        match retry(|| unsafe { ioctl_device_info(file.as_raw_fd(), &mut info) }) {
            // Numbers of devices that were removed stay unused.
            Err(Errno::ENODEV) => continue,
            result => result?,
        };
        let path = text(&info.path);
        // A missing device has no name.
        if !path.is_empty() {
            found.push(PathBuf::from(OsString::from_vec(path)));
        }
    }
    Ok(found)
}

/// Makes a read-only snapshot of the subvolume whose root is open as `source`, at `directory/name`.
/// What was written before the call is in it.
///
/// Errors: EPERM, ENOSPC, ETXTBSY while a swap file in it is in use, EINVAL if `source` is no root of a subvolume.
pub fn snapshot(source: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let mut args = SnapshotArgs {
        source: source.as_raw_fd().into(),
        transaction: 0,
        flags: CREATE_READ_ONLY,
        unused: [0; 4],
        name: [0; NAME_ROOM],
    };
    put(name, &mut args.name)?;
    // SAFETY: the argument must be a readable struct of the size in the ioctl number (asserted above), with a
    // NUL-terminated name, which `put` takes care of; the kernel only reads.
    retry(|| unsafe { ioctl_snapshot(directory.as_raw_fd(), &args) })?;
    Ok(())
}

/// Deletes the subvolume `directory/name`. Its room becomes free a little later.
pub fn destroy(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let mut args = NameArgs { unused: 0, name: [0; OLD_NAME_ROOM] };
    put(name, &mut args.name)?;
    // SAFETY: as for `snapshot`.
    retry(|| unsafe { ioctl_destroy(directory.as_raw_fd(), &args) })?;
    Ok(())
}

fn put(name: &CStr, room: &mut [u8]) -> io::Result<()> {
    let bytes = name.to_bytes_with_nul();
    let too_long = || io::Error::from(Errno::ENAMETOOLONG);
    room.get_mut(..bytes.len()).ok_or_else(too_long)?.copy_from_slice(bytes);
    Ok(())
}

/// The bytes before the first NUL.
fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}
