//! What searches of a tree give (`btrfs_ioctl_tree_search_v2`), and that extents can be read from the device.

use std::fs;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use burst::btrfs::{Compression, DeviceFiles, DeviceReader, InodeItems, Place, SmallFile};
use burst::linux::attributes::set_xattr;
use nix::sys::stat::utimes;
use nix::sys::time::TimeVal;

use crate::frames::{noise, text};
use crate::volume::{Volume, run};

/// What the tree says of a file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    compression: Compression,
    inline: Option<Vec<u8>>,
    address: Option<Range<u64>>,
    has_xattrs: bool,
}

fn small_file(volume: &Volume, name: &str) -> Option<Found> {
    run("sync", &["-f".as_ref(), volume.path().as_ref()]);
    let stat = fs::symlink_metadata(volume.path().join(name)).unwrap();
    let mut items = InodeItems::new();
    let SmallFile { compression, place, has_xattrs } =
        items.small_file(volume.dir_fd().as_fd(), stat.ino(), stat.size()).unwrap()?;
    let (inline, address) = match place {
        Place::Inline(bytes) => (Some(bytes.to_vec()), None),
        Place::Regular(address) => (None, Some(address)),
    };
    Some(Found { compression, inline, address, has_xattrs })
}

fn device_bytes(volume: &Volume, name: &str) -> Option<Vec<u8>> {
    let address = small_file(volume, name)?.address?;
    let mut found = None;
    let within = volume.dir_fd();
    DeviceReader::new(within.as_fd(), [0; 16], DeviceFiles::default()).unwrap().read(
        within.as_fd(),
        &[address],
        |number, bytes| {
            assert_eq!(number, 0);
            found = Some(bytes.to_vec());
        },
    );
    found
}

fn write(volume: &Volume, name: &str, content: &[u8]) {
    volume.create(name).write_all_at(content, 0).unwrap();
}

#[test]
fn inode_item_says_what_stat_says() {
    let volume = Volume::new();
    let path = volume.path().join("file");
    fs::write(&path, noise(70_000)).unwrap();
    fs::hard_link(&path, volume.path().join("other")).unwrap();
    std::os::unix::fs::chown(&path, Some(123), Some(456)).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o6751)).unwrap();
    utimes(&path, &TimeVal::new(-7, 0), &TimeVal::new(-7, 250_000)).unwrap();
    symlink("target", volume.path().join("link")).unwrap();
    run("sync", &["-f".as_ref(), path.as_ref()]);
    for name in ["file", "link", "other", "."] {
        let stat = fs::symlink_metadata(volume.path().join(name)).unwrap();
        let item = InodeItems::new().inode(volume.dir_fd().as_fd(), stat.ino()).unwrap().unwrap();
        assert_eq!(
            (item.mode, item.uid, item.gid, u64::from(item.nlink), item.size),
            (stat.mode(), stat.uid(), stat.gid(), stat.nlink(), stat.size())
        );
        assert_eq!((item.mtime.0, i64::from(item.mtime.1)), (stat.mtime(), stat.mtime_nsec()));
        assert_eq!((item.ctime.0, i64::from(item.ctime.1)), (stat.ctime(), stat.ctime_nsec()));
        assert_eq!(item.data_bytes.next_multiple_of(4096), (stat.blocks() * 512).next_multiple_of(4096), "{name}");
    }
    assert_eq!(InodeItems::new().inode(volume.dir_fd().as_fd(), 99_999).unwrap(), None);
}

#[test]
fn small_content_is_in_the_tree() {
    let volume = Volume::with(256, "compress-force=zstd");
    let (plain, content) = (noise(2000), text(4000));
    write(&volume, "plain", &plain);
    write(&volume, "frame", &content);
    symlink("target", volume.path().join("link")).unwrap();
    let inline = |name| {
        let found = small_file(&volume, name).unwrap();
        (found.compression, found.inline.unwrap())
    };
    assert_eq!(inline("plain"), (Compression::None, plain));
    assert_eq!(inline("link"), (Compression::None, b"target".to_vec()));
    let (compression, frame) = inline("frame");
    assert_eq!(compression, Compression::Zstd);
    assert_eq!(zstd::bulk::decompress(&frame, 4000).unwrap(), content);
}

#[test]
fn one_extent_is_on_the_device() {
    let volume = Volume::with(256, "compress-force=zstd");
    let (plain, content) = (noise(5000), text(100_000));
    write(&volume, "plain", &plain);
    write(&volume, "frame", &content);
    assert_eq!(small_file(&volume, "plain").unwrap().compression, Compression::None);
    assert_eq!(device_bytes(&volume, "plain").unwrap()[..5000], plain);
    let stored = device_bytes(&volume, "frame").unwrap();
    let frame = &stored[..zstd::zstd_safe::find_frame_compressed_size(&stored).unwrap()];
    assert_eq!(zstd::bulk::decompress(frame, 100_000).unwrap(), content);
}

#[test]
fn anything_else_is_not_simple() {
    let volume = Volume::new();
    write(&volume, "large", &noise(300_000));
    let holes = volume.create("holes");
    holes.set_len(20_000).unwrap();
    holes.write_all_at(b"x", 16_384).unwrap();
    volume.create("empty");
    volume.create("only-hole").set_len(5000).unwrap();
    let grown = volume.create("grown");
    grown.write_all_at(&noise(5000), 0).unwrap();
    grown.sync_all().unwrap();
    grown.set_len(20_000).unwrap();
    nix::fcntl::fallocate(volume.create("allocated"), nix::fcntl::FallocateFlags::empty(), 0, 5000).unwrap();
    // One extent, though many frames would be needed: the caller's limit.
    assert!(small_file(&volume, "large").unwrap().address.is_some());
    for name in ["holes", "empty", "only-hole", "grown", "allocated"] {
        assert_eq!(small_file(&volume, name), None, "{name}");
    }
}

#[test]
fn a_piece_of_a_frame_is_not_simple() {
    let volume = Volume::with(256, "compress-force=zstd");
    write(&volume, "cut", &text(100_000));
    assert!(small_file(&volume, "cut").is_some());
    volume.open("cut").set_len(8192).unwrap();
    assert_eq!(small_file(&volume, "cut"), None);
}

#[test]
fn attributes_are_noticed() {
    let volume = Volume::new();
    write(&volume, "file", &noise(5000));
    set_xattr(volume.open("file").as_fd(), b"user.a", b"1").unwrap();
    assert!(small_file(&volume, "file").unwrap().has_xattrs);
}

#[test]
fn what_lacks_its_checksum_is_not_given() {
    let volume = Volume::with(256, "nodatasum");
    write(&volume, "file", &noise(5000));
    assert!(small_file(&volume, "file").unwrap().address.is_some());
    assert_eq!(device_bytes(&volume, "file"), None);
}

#[test]
fn extents_in_any_order_and_some_that_do_not_exist() {
    let volume = Volume::new();
    let mut extents = Vec::new();
    for n in 0..50 {
        let (name, content) = (format!("f{n}"), noise(4096 * (n + 1)));
        write(&volume, &name, &content);
        extents.push((small_file(&volume, &name).unwrap().address.unwrap(), Some(content)));
    }
    for nowhere in [0..4096, 1 << 40..(1 << 40) + 4096, u64::MAX - 4095..u64::MAX, 13_631_488 + 1..13_631_488 + 4097] {
        extents.push((nowhere, None));
    }
    let largest = extents[49].0.clone();
    extents.push((largest.start..largest.start + (2 << 20), None));
    extents.sort_by_key(|(address, _)| address.start.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let addresses: Vec<_> = extents.iter().map(|(address, _)| address.clone()).collect();
    let mut given = vec![None; extents.len()];
    let within = volume.dir_fd();
    DeviceReader::new(within.as_fd(), [0; 16], DeviceFiles::default()).unwrap().read(
        within.as_fd(),
        &addresses,
        |number, bytes| {
            given[number] = Some(bytes.to_vec());
        },
    );
    for (n, (address, content)) in extents.iter().enumerate() {
        assert!(given[n] == *content, "{address:?}");
    }
}
