//! In which order data and attributes of a file must be set.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use burst::linux::attributes::{Xattrs, list_xattrs, set_mode, set_owner, set_times, set_xattr};

use crate::frames::{compress, exact, text};
use crate::volume::{Volume, write};

const CAPABILITY: &[u8] = b"security.capability";
/// `cap_net_raw=ep` as `setcap` stores it: struct vfs_cap_data, version 2.
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const THEN: i64 = 1_000_000_000;

fn capabilities(file: &File) -> Xattrs {
    list_xattrs(file.as_fd(), |_| true).unwrap().into_iter().filter(|(name, _)| name == CAPABILITY).collect()
}

fn mtime(file: &File) -> (i64, i64) {
    let metadata = file.metadata().unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}

#[test]
fn encoded_write_sets_the_modification_time() {
    let volume = Volume::new();
    let (_, frame) = exact(8192, 100);
    let file = volume.create("file");
    set_times(file.as_fd(), THEN, 5).unwrap();
    write(&file, 0, 8192, &frame).unwrap();
    assert_ne!(mtime(&file).0, THEN);
}

#[test]
fn modification_time_after_the_last_write_stays() {
    let volume = Volume::new();
    for len in [3000, 8192] {
        let file = volume.create(&len.to_string());
        let (_, frame) = exact(len, 100);
        write(&file, 0, len, &frame).unwrap();
        set_times(file.as_fd(), -THEN, 123_456_789).unwrap();
    }
    let plain = volume.create("plain");
    plain.write_all_at(&text(100_000), 0).unwrap();
    set_times(plain.as_fd(), -THEN, 123_456_789).unwrap();
    drop(plain);
    volume.remount("");
    for name in ["3000", "8192", "plain"] {
        assert_eq!(mtime(&volume.open(name)), (-THEN, 123_456_789), "{name}");
    }
}

#[test]
fn capability_is_removed_by_data_owner_and_size() {
    let volume = Volume::new();
    let (_, frame) = exact(8192, 100);
    type Change<'a> = (&'a str, &'a dyn Fn(&File));
    let changes: [Change; 4] = [
        ("encoded", &|file| write(file, 0, 8192, &frame).unwrap()),
        ("plain", &|file| file.write_all_at(b"x", 0).unwrap()),
        ("owner", &|file| set_owner(file.as_fd(), 1, 1).unwrap()),
        ("size", &|file| file.set_len(100).unwrap()),
    ];
    for (name, change) in changes {
        let file = volume.create(name);
        set_xattr(file.as_fd(), CAPABILITY, &NET_RAW).unwrap();
        assert_eq!(capabilities(&file).len(), 1, "{name}");
        change(&file);
        assert_eq!(capabilities(&file), [], "{name}");
    }
}

#[test]
fn capability_survives_mode_attributes_and_times() {
    let volume = Volume::new();
    let file = volume.create("file");
    set_xattr(file.as_fd(), CAPABILITY, &NET_RAW).unwrap();
    set_mode(file.as_fd(), 0o755).unwrap();
    set_xattr(file.as_fd(), b"user.a", b"1").unwrap();
    set_times(file.as_fd(), THEN, 0).unwrap();
    assert_eq!(capabilities(&file), [(CAPABILITY.to_vec(), NET_RAW.to_vec())]);
}

#[test]
fn set_user_id_is_cleared_by_owner_not_by_encoded_write() {
    let volume = Volume::new();
    let (_, frame) = exact(8192, 100);
    let file = volume.create("file");
    set_mode(file.as_fd(), 0o6755).unwrap();
    write(&file, 0, 8192, &frame).unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o6755);
    set_owner(file.as_fd(), 1, 1).unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn data_owner_mode_attributes_times_keeps_everything() {
    let volume = Volume::new();
    let content = text(131_072);
    let file = volume.create("file");
    write(&file, 0, content.len(), &compress(&content, 3)).unwrap();
    set_owner(file.as_fd(), 1001, 1002).unwrap();
    set_mode(file.as_fd(), 0o6711).unwrap();
    set_xattr(file.as_fd(), b"user.a", b"1").unwrap();
    set_xattr(file.as_fd(), CAPABILITY, &NET_RAW).unwrap();
    set_times(file.as_fd(), THEN, 999_999_999).unwrap();
    drop(file);
    volume.remount("");
    let file = volume.open("file");
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1001, 1002));
    assert_eq!(metadata.mode() & 0o7777, 0o6711);
    assert_eq!(mtime(&file), (THEN, 999_999_999));
    let expected = [(CAPABILITY.to_vec(), NET_RAW.to_vec()), (b"user.a".to_vec(), b"1".to_vec())];
    assert_eq!(list_xattrs(file.as_fd(), |_| true).unwrap(), expected);
}
