//! Attributes of things that cannot be opened for I/O, which only root may make or give all of them.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use burst::linux::attributes::{list_xattrs_at, set_mode_at, set_owner_at, set_times_at, set_xattr_at};
use burst::linux::beneath::{make_node, make_symlink};
use nix::libc::{S_IFBLK, S_IFCHR, S_IFIFO};

use crate::volume::Volume;

#[test]
fn links_and_devices_keep_their_attributes() {
    let volume = Volume::new();
    let dir = volume.dir_fd();
    let fd = dir.as_fd();
    // A device that does not exist: opening it would fail.
    let rdev = nix::sys::stat::makedev(0xABC, 0x12345);
    make_node(fd, b"char", S_IFCHR | 0o600, rdev).unwrap();
    make_node(fd, b"block", S_IFBLK | 0o600, rdev).unwrap();
    make_node(fd, b"fifo", S_IFIFO | 0o600, 0).unwrap();
    make_symlink(b"missing", fd, b"link").unwrap();
    for name in ["char", "block", "fifo", "link"] {
        set_owner_at(fd, name.as_bytes(), 1001, 1002).unwrap();
        if name != "link" {
            set_mode_at(fd, name.as_bytes(), 0o640).unwrap();
        }
        set_xattr_at(fd, name.as_bytes(), b"trusted.a", name.as_bytes()).unwrap();
        set_times_at(fd, name.as_bytes(), 7, 8).unwrap();
    }
    drop(dir);
    volume.remount("");
    let dir = volume.dir_fd();
    for name in ["char", "block", "fifo", "link"] {
        let found = fs::symlink_metadata(volume.path().join(name)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mtime(), found.mtime_nsec()), (1001, 1002, 7, 8), "{name}");
        assert_eq!(found.mode() & 0o7777, if name == "link" { 0o777 } else { 0o640 }, "{name}");
        assert_eq!(found.rdev(), if ["char", "block"].contains(&name) { rdev } else { 0 }, "{name}");
        let xattrs = list_xattrs_at(dir.as_fd(), name.as_bytes()).unwrap();
        assert_eq!(xattrs, [(b"trusted.a".to_vec(), name.as_bytes().to_vec())], "{name}");
    }
}
