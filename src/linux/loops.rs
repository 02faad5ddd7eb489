//! Loop devices: which bytes of which file one stands for (`LOOP_GET_STATUS64` of `include/uapi/linux/loop.h`).

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

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
    // SAFETY: the kernel writes one structure of its own layout, which `info` is, before the call returns; the
    // descriptor is open.
    unsafe { ioctl_get_status(device.as_raw_fd(), &mut info) }?;
    // No limit: to the end of the file, wherever it is.
    let end = if info.size_limit == 0 { u64::MAX } else { info.offset.saturating_add(info.size_limit) };
    Ok(Backing { device: info.device, inode: info.inode, bytes: info.offset..end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_no_loop_devices() {
        let error = backing(&tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENOTTY));
    }
}
