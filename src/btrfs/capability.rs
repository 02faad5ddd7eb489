//! Can this process make encoded writes in this directory? Answered by making one.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sys::stat::Mode;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};

use crate::linux::retry;

use super::encoded_io::encoded_write;

/// The only sector size encoded frames are made for: their lengths are multiples of it.
pub const SECTOR_SIZE: u32 = 4096;

/// 4096 times 0xB7 as one zstd frame: single segment, 2-byte content size, one run-length block (RFC 8878).
const PROBE_FRAME: [u8; 11] = [0x28, 0xB5, 0x2F, 0xFD, 0x60, 0x00, 0x0F, 0x03, 0x80, 0x00, PROBE_BYTE];
const PROBE_BYTE: u8 = 0xB7;
const PROBE_LEN: u32 = 4096;

/// `FS_NOCOW_FL` of `include/uapi/linux/fs.h`, what `chattr +C` sets.
const FS_NOCOW_FL: libc::c_long = 0x0080_0000;

/// What [`probe`] found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodedSupport {
    /// Encoded writes work.
    Supported {
        /// Bytes per sector of the file system (`btrfs_ioctl_fs_info_args`).
        sector_size: u32,
    },
    /// They do not; the reason, as a sentence part for a person.
    Unsupported(String),
}

/// `struct btrfs_ioctl_fs_info_args` of `include/uapi/linux/btrfs.h`.
#[repr(C)]
pub(super) struct FsInfo {
    pub max_id: u64,
    num_devices: u64,
    pub fsid: [u8; 16],
    pub nodesize: u32,
    pub sectorsize: u32,
    clone_alignment: u32,
    csum_type: u16,
    csum_size: u16,
    /// In: what is asked for beyond the basics; out: what of it there is.
    flags: u64,
    generation: u64,
    metadata_uuid: [u8; 16],
    reserved: [u8; 944],
}
const _: () = assert!(size_of::<FsInfo>() == 1024);

/// `BTRFS_FS_INFO_FLAG_CSUM_INFO`: `csum_type` and `csum_size`.
const FLAG_CSUM: u64 = 1;

/// `BTRFS_CSUM_TYPE_CRC32`
const CRC32C: u16 = 0;

impl FsInfo {
    /// Whether the checksum of a sector is its CRC-32C.
    pub fn has_crc32c(&self) -> bool {
        self.flags & FLAG_CSUM != 0 && self.csum_type == CRC32C
    }
}

nix::ioctl_read!(ioctl_fs_info, 0x94, 31, FsInfo);
nix::ioctl_read!(ioctl_get_flags, b'f', 1, libc::c_long);

/// Finds out by writing one encoded extent into an unnamed file in `dir`, which then is gone again.
///
/// Errors are those of a directory one cannot write to at all (EROFS, EACCES, ENOSPC, EIO).
pub fn probe(dir: BorrowedFd<'_>) -> io::Result<EncodedSupport> {
    let unsupported = |reason: &str| Ok(EncodedSupport::Unsupported(reason.to_owned()));
    if retry(|| fstatfs(dir))?.filesystem_type() != BTRFS_SUPER_MAGIC {
        return unsupported("the directory is not on BTRFS");
    }
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let file = File::from(retry(|| openat(dir, c".", flags, Mode::S_IRUSR | Mode::S_IWUSR))?);
    let sector_size = sector_size(file.as_fd())?;
    if sector_size != SECTOR_SIZE {
        return Ok(EncodedSupport::Unsupported(format!(
            "the file system has sectors of {sector_size} bytes, encoded writes need {SECTOR_SIZE}"
        )));
    }
    if let Err(error) = encoded_write(file.as_fd(), 0, PROBE_LEN, &PROBE_FRAME) {
        return match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM) => unsupported("CAP_SYS_ADMIN is missing (run as root, outside a user namespace)"),
            Some(Errno::ENOTTY) => unsupported("the kernel has no encoded writes (Linux 5.18 or later is needed)"),
            Some(Errno::EINVAL) if is_nocow(file.as_fd()) => {
                unsupported("new files in this directory are NOCOW (chattr +C or mount option nodatacow)")
            }
            Some(Errno::EINVAL) => unsupported("the kernel refuses encoded writes here (mount option nodatasum?)"),
            _ => Err(error),
        };
    }
    // A kernel that takes the frame but cannot decompress it would be worse than none.
    let mut content = [0; PROBE_LEN as usize];
    if file.read_exact_at(&mut content, 0).is_err() || content.iter().any(|&byte| byte != PROBE_BYTE) {
        return unsupported("an encoded extent does not read back as it was written");
    }
    Ok(EncodedSupport::Supported { sector_size })
}

fn sector_size(file: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(fs_info(file)?.sectorsize)
}

pub(super) fn fs_info(file: BorrowedFd<'_>) -> io::Result<FsInfo> {
    let mut info = FsInfo {
        max_id: 0,
        num_devices: 0,
        fsid: [0; 16],
        nodesize: 0,
        sectorsize: 0,
        clone_alignment: 0,
        csum_type: 0,
        csum_size: 0,
        flags: FLAG_CSUM,
        generation: 0,
        metadata_uuid: [0; 16],
        reserved: [0; 944],
    };
    // SAFETY: the argument must be a writable struct of the size in the ioctl number (asserted above); the
    // kernel fills it and keeps no reference.
    retry(|| unsafe { ioctl_fs_info(file.as_raw_fd(), &mut info) })?;
    Ok(info)
}

fn is_nocow(file: BorrowedFd<'_>) -> bool {
    // FS_IOC_GETFLAGS is numbered as if it moved a long, but the kernel writes an int: the rest stays 0.
    let mut flags: libc::c_long = 0;
    // SAFETY: the argument must be writable for at least an int; it is a whole long.
    unsafe { ioctl_get_flags(file.as_raw_fd(), &mut flags) }.is_ok() && flags & FS_NOCOW_FL != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_frame_is_what_its_comment_says() {
        let content = zstd::bulk::decompress(&PROBE_FRAME, PROBE_LEN as usize).unwrap();
        assert_eq!(content, vec![PROBE_BYTE; PROBE_LEN as usize]);
    }

    #[test]
    fn another_file_system_is_named_as_the_reason() {
        let proc = File::open("/proc").unwrap();
        assert_eq!(
            probe(proc.as_fd()).unwrap(),
            EncodedSupport::Unsupported("the directory is not on BTRFS".to_owned())
        );
    }
}
