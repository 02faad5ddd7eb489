//! Loop devices: which bytes of which file one stands for (`LOOP_GET_STATUS64` of `include/uapi/linux/loop.h`).

#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::is_errno;

/// `struct loop_info64`
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}
const _: () = assert!(size_of::<LoopInfo>() == 232);

nix::ioctl_read_bad!(ioctl_get_status, 0x4C05, LoopInfo);

/// What is behind a loop device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// As stat(2) says of the file.
    pub device: u64,
    pub inode: u64,
    pub bytes: Range<u64>,
}

/// What an open loop device stands for. ENXIO: nothing; ENOTTY: it is no loop device.
pub fn backing(device: &File) -> io::Result<Backing> {
    let mut info = LoopInfo {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    // SAFETY: the kernel writes at most one structure of its own layout, which `info` is, before the call returns; the
    // descriptor is open.
    unsafe { ioctl_get_status(device.as_raw_fd(), &mut info) }?;
    // No limit: to the end of the file, wherever it is.
    let end = if info.size_limit == 0 { u64::MAX } else { info.offset.saturating_add(info.size_limit) };
    Ok(Backing { device: info.device, inode: info.inode, bytes: info.offset..end })
}

/// A loop device that stands for this file, if there is one.
pub fn attached(file: &File) -> io::Result<Option<PathBuf>> {
    let wanted = file.metadata()?;
    let is_wanted = |device: u64, inode: u64| (device, inode) == (wanted.dev(), wanted.ino());
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        // Without a file the device has no such attribute; few have one.
        let Ok(shown) = fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        let device = Path::new("/dev").join(entry.file_name());
        let asked = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&device);
        let found = match asked.and_then(|device| backing(&device)) {
            Ok(found) => is_wanted(found.device, found.inode),
            // Detached just now.
            Err(e) if is_errno(&e, &[Errno::ENXIO]) => false,
            // Without the right to ask: the path of the file, as it was when it was attached.
            Err(_) => fs::metadata(shown.trim_end_matches('\n')).is_ok_and(|m| is_wanted(m.dev(), m.ino())),
        };
        if found {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_no_loop_devices() {
        let error = backing(&tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENOTTY));
        assert_eq!(attached(&tempfile::tempfile().unwrap()).unwrap(), None);
    }
}
