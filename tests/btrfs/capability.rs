//! The probe tells apart what it is for.

use std::fs::{self, File};
use std::os::fd::AsFd;

use burst::btrfs::{EncodedSupport, probe};
use nix::libc::EROFS;

use crate::volume::{Volume, errno, run};

fn reason(dir: &File) -> String {
    match probe(dir.as_fd()).unwrap() {
        EncodedSupport::Unsupported(reason) => reason,
        supported => panic!("{supported:?}"),
    }
}

#[test]
fn probe_finds_support_and_leaves_nothing_behind() {
    let volume = Volume::new();
    let support = probe(volume.dir_fd().as_fd()).unwrap();
    assert_eq!(support, EncodedSupport::Supported { sector_size: 4096 });
    assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 0);
}

#[test]
fn probe_names_nocow() {
    let volume = Volume::new();
    let dir = volume.path().join("dir");
    fs::create_dir(&dir).unwrap();
    run("chattr", &["+C".as_ref(), &dir]);
    assert!(reason(&File::open(&dir).unwrap()).contains("NOCOW"));
    volume.remount("nodatacow");
    assert!(reason(&volume.dir_fd()).contains("NOCOW"));
}

#[test]
fn probe_names_nodatasum() {
    let volume = Volume::with(256, "nodatasum");
    assert!(reason(&volume.dir_fd()).contains("nodatasum"));
}

#[test]
fn probe_names_another_file_system() {
    let dir = File::open("/proc").unwrap();
    assert!(reason(&dir).contains("not on BTRFS"));
}

#[test]
fn probe_fails_where_nothing_can_be_written() {
    let volume = Volume::new();
    volume.remount("ro");
    assert_eq!(errno(probe(volume.dir_fd().as_fd())), EROFS);
}
