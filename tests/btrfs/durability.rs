//! What survives a crash, and when a full device is noticed.

use std::os::fd::AsFd;

use burst::linux::syncfs;
use nix::libc::ENOSPC;

use crate::frames::{compress, exact, text};
use crate::volume::{Volume, assert_content, read, write};

const MAX: usize = 131_072;

#[test]
fn without_sync_nothing_is_durable() {
    let volume = Volume::new();
    let content = text(MAX);
    write(&volume.create("file"), 0, MAX, &compress(&content, 3)).unwrap();
    let volume = volume.crash();
    assert!(!volume.path().join("file").exists());
}

#[test]
fn one_syncfs_makes_all_files_durable() {
    let volume = Volume::new();
    let content = text(MAX);
    let frame = compress(&content, 3);
    let (small, inline) = exact(3000, 100);
    for n in 0..50 {
        write(&volume.create(&format!("large {n}")), 0, MAX, &frame).unwrap();
        write(&volume.create(&format!("small {n}")), 0, 3000, &inline).unwrap();
    }
    let dir = volume.dir_fd();
    syncfs(dir.as_fd()).unwrap();
    drop(dir);
    let volume = volume.crash();
    for n in 0..50 {
        assert_content(&volume.open(&format!("large {n}")), &content);
        assert_content(&volume.open(&format!("small {n}")), &small);
    }
}

#[test]
fn full_device_is_noticed_by_the_call() {
    let volume = Volume::with(128, "");
    let (content, frame) = exact(MAX, MAX - 1);
    let file = volume.create("file");
    let mut written = 0;
    let error = loop {
        match write(&file, written, MAX, &frame) {
            Ok(()) => written += MAX as u64,
            Err(error) => break error,
        }
        assert!(written < 128 << 20, "more than the device has");
    };
    assert_eq!(error.raw_os_error(), Some(ENOSPC));
    // What was taken before is safe.
    syncfs(file.as_fd()).unwrap();
    drop(file);
    volume.remount("");
    let file = volume.open("file");
    assert_eq!(file.metadata().unwrap().len(), written);
    assert!(written > 16 << 20);
    for offset in (0..written).step_by(MAX) {
        assert!(read(&file, offset, MAX).unwrap() == content, "offset {offset}");
    }
}
