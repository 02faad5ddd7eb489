//! How often the devices of a file system have failed, as the kernel counts it.
//!
//! It tells nobody else: an encoded write that fails on its device is not an error of syncfs or fsync, and reads as
//! zeros later (spec/btrfs-encoded-io.md). Any user may ask.

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::capability::fs_info;
use crate::linux::retry;

/// What is counted, in the order of `enum btrfs_dev_stat_values`.
const KINDS: [&str; 5] =
    ["failed writes", "failed reads", "failed flushes", "blocks with wrong checksums", "blocks of a wrong generation"];

/// `struct btrfs_ioctl_get_dev_stats` of `include/uapi/linux/btrfs.h`.
#[repr(C)]
struct DeviceStats {
    devid: u64,
    nr_items: u64,
    flags: u64,
    values: [u64; KINDS.len()],
    unused: [u64; 121],
}
const _: () = assert!(size_of::<DeviceStats>() == 1032);

/// `struct btrfs_ioctl_dev_info_args`.
#[repr(C)]
struct DeviceInfo {
    devid: u64,
    uuid: [u8; 16],
    bytes_used: u64,
    total_bytes: u64,
    fsid: [u8; 16],
    unused: [u64; 377],
    path: [u8; 1024],
}
const _: () = assert!(size_of::<DeviceInfo>() == 4096);

nix::ioctl_readwrite!(ioctl_device_stats, 0x94, 52, DeviceStats);
nix::ioctl_readwrite!(ioctl_device_info, 0x94, 30, DeviceInfo);

/// The counts of all devices of one file system at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceErrors(Vec<(u64, [u64; KINDS.len()])>);

/// Counts of one device that have risen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risen {
    /// Its name, if the kernel tells.
    pub device: Option<PathBuf>,
    devid: u64,
    before: [u64; KINDS.len()],
    now: [u64; KINDS.len()],
}

impl DeviceErrors {
    /// Asks for the counts. `file` is any file or directory of the file system.
    pub fn read(file: BorrowedFd<'_>) -> io::Result<DeviceErrors> {
        let info = fs_info(file)?;
        let mut devices = Vec::new();
        // Numbers of devices that were removed are not used again. A device that is being replaced has the number 0.
        for devid in 0..=info.max_id {
            match counts(file, devid) {
                Ok(counts) => devices.push((devid, counts)),
                Err(Errno::ENODEV) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(DeviceErrors(devices))
    }

    /// The first device with more errors than `before`. A device that has come since then counts from 0.
    pub fn risen_since(&self, before: &DeviceErrors, file: BorrowedFd<'_>) -> Option<Risen> {
        self.0.iter().find_map(|&(devid, now)| {
            let known = before.0.iter().find(|(known, _)| *known == devid);
            let before = known.map_or([0; KINDS.len()], |(_, counts)| *counts);
            let risen = now.iter().zip(before).any(|(now, before)| *now > before);
            risen.then(|| Risen { device: device_path(file, devid), devid, before, now })
        })
    }
}

impl fmt::Display for Risen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            Some(path) => write!(f, "{}: ", path.display())?,
            None => write!(f, "device {}: ", self.devid)?,
        }
        let counts = KINDS.iter().zip(self.before).zip(self.now).filter(|((_, before), now)| now > before);
        for (n, ((kind, before), now)) in counts.enumerate() {
            write!(f, "{}{} {kind}", if n > 0 { ", " } else { "" }, now - before)?;
        }
        Ok(())
    }
}

fn counts(file: BorrowedFd<'_>, devid: u64) -> nix::Result<[u64; KINDS.len()]> {
    let mut stats =
        DeviceStats { devid, nr_items: KINDS.len() as u64, flags: 0, values: [0; KINDS.len()], unused: [0; 121] };
    // SAFETY: the argument must be a readable and writable struct of the size in the ioctl number (asserted above); the
    // kernel keeps no reference. Without flags nothing is reset.
    retry(|| unsafe { ioctl_device_stats(file.as_raw_fd(), &mut stats) })?;
    Ok(stats.values)
}

/// Where the device is; None if it is missing.
pub(super) fn device_path(file: BorrowedFd<'_>, devid: u64) -> Option<PathBuf> {
    let mut info = DeviceInfo {
        devid,
        uuid: [0; 16],
        bytes_used: 0,
        total_bytes: 0,
        fsid: [0; 16],
        unused: [0; 377],
        path: [0; 1024],
    };
    // SAFETY: as above.
    retry(|| unsafe { ioctl_device_info(file.as_raw_fd(), &mut info) }).ok()?;
    let name: Vec<u8> = info.path.iter().copied().take_while(|&byte| byte != 0).collect();
    (!name.is_empty()).then(|| OsString::from_vec(name).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_before_counts() {
        let dev = std::fs::File::open("/dev/null").unwrap();
        let file = std::os::fd::AsFd::as_fd(&dev);
        let at = |counts: &[(u64, [u64; 5])]| DeviceErrors(counts.to_vec());
        let before = at(&[(1, [3, 0, 0, 7, 0]), (2, [0; 5])]);
        assert_eq!(before.risen_since(&before, file), None);
        // Somebody has set them back.
        assert_eq!(at(&[(1, [0; 5])]).risen_since(&before, file), None);
        let risen = at(&[(1, [3, 0, 0, 7, 0]), (2, [5, 0, 1, 0, 0])]).risen_since(&before, file).unwrap();
        assert_eq!(risen.to_string(), "device 2: 5 failed writes, 1 failed flushes");
        assert!(at(&[(3, [1, 0, 0, 0, 0])]).risen_since(&before, file).is_some());
    }
}
