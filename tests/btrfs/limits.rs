//! What the kernel refuses to take (`btrfs_ioctl_encoded_write`, `btrfs_do_encoded_write`).

use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use burst::btrfs::{Compression, WriteRequest, encoded_read, encoded_write_pieces};
use nix::libc::{EBADF, EINVAL, ENOTTY};

use crate::frames::{compress, exact, noise, text};
use crate::volume::{Volume, assert_content, errno, read, run, write};

const MAX: usize = 131_072;

#[test]
fn content_may_be_131072_bytes() {
    let volume = Volume::new();
    let (content, frame) = exact(MAX, 5000);
    let file = volume.create("max");
    write(&file, 0, MAX, &frame).unwrap();
    assert_content(&file, &content);
}

#[test]
fn content_over_131072_bytes_is_refused() {
    let volume = Volume::new();
    for len in [MAX + 1, MAX + 4096, 2 * MAX] {
        let (_, frame) = exact(len.min(MAX), 5000);
        assert_eq!(errno(write(&volume.create(&len.to_string()), 0, len, &frame)), EINVAL);
    }
}

#[test]
fn frame_must_be_smaller_than_content() {
    let volume = Volume::new();
    for len in [4096, 8192, MAX] {
        let file = volume.create(&len.to_string());
        let (_, same) = exact(len, len);
        assert_eq!(errno(write(&file, 0, len, &same)), EINVAL, "{len}");
        assert_eq!(errno(write(&file, 0, len, &noise(len + 1))), EINVAL, "{len}");
        // One byte is enough, although it saves no sector.
        let (content, smaller) = exact(len, len - 1);
        write(&file, 0, len, &smaller).unwrap();
        assert_content(&file, &content);
    }
}

#[test]
fn offset_must_be_a_multiple_of_the_sector() {
    let volume = Volume::new();
    let (content, frame) = exact(8192, 100);
    let file = volume.create("file");
    for offset in [1, 100, 512, 2048, 4095, 4097] {
        assert_eq!(errno(write(&file, offset, 8192, &frame)), EINVAL, "{offset}");
    }
    write(&file, 4096, 8192, &frame).unwrap();
    assert_content(&file, &[vec![0; 4096], content].concat());
}

#[test]
fn end_inside_a_sector_needs_the_end_of_the_file() {
    let volume = Volume::new();
    let file = volume.create("file");
    file.write_all_at(&[b'o'; 65_536], 0).unwrap();
    let (content, frame) = exact(6000, 100);
    assert_eq!(errno(write(&file, 0, 6000, &frame)), EINVAL);
    // Beyond the end: the file grows to exactly there. At the end: it stays.
    for _ in 0..2 {
        write(&file, 61_440, 6000, &frame).unwrap();
        assert_content(&file, &[vec![b'o'; 61_440], content.clone()].concat());
    }
}

#[test]
fn append_at_an_unaligned_end_is_refused() {
    let volume = Volume::new();
    let file = volume.create("file");
    file.write_all_at(&[b'o'; 5000], 0).unwrap();
    let (content, frame) = exact(8192, 100);
    assert_eq!(errno(write(&file, 5000, 8192, &frame)), EINVAL);
    write(&file, 8192, 8192, &frame).unwrap();
    assert_content(&file, &[vec![b'o'; 5000], vec![0; 3192], content].concat());
}

#[test]
fn frame_may_come_in_several_pieces() {
    let volume = Volume::new();
    let content = text(MAX);
    let frame = compress(&content, 3);
    let (first, rest) = frame.split_at(1001);
    let (second, third) = rest.split_at(7);
    let pieces = [first, second, third].map(IoSlice::new);
    let file = volume.create("file");
    let taken = encoded_write_pieces(file.as_fd(), &pieces, &WriteRequest::zstd(0, MAX as u32)).unwrap();
    assert_eq!(taken, frame.len());
    assert_content(&file, &content);
}

#[test]
fn part_of_a_frame_must_be_aligned_and_inside() {
    let volume = Volume::new();
    let content = text(MAX);
    let frame = compress(&content, 3);
    let file = volume.create("file");
    let part = |len, unencoded_offset| {
        let request = WriteRequest { len, unencoded_offset, ..WriteRequest::zstd(0, MAX as u32) };
        encoded_write_pieces(file.as_fd(), &[IoSlice::new(&frame)], &request)
    };
    assert_eq!(errno(part(4096, 100)), EINVAL);
    assert_eq!(errno(part(MAX as u64, 4096)), EINVAL);
    part(MAX as u64 - 4096, 4096).unwrap();
    assert_content(&file, &content[4096..]);
}

#[test]
fn unknown_flags_and_encodings_are_refused() {
    let volume = Volume::new();
    let (_, frame) = exact(8192, 100);
    let file = volume.create("file");
    let zstd = WriteRequest::zstd(0, 8192);
    for request in [
        WriteRequest { flags: 1, ..zstd },
        WriteRequest { compression: 0, ..zstd },
        WriteRequest { compression: 8, ..zstd },
        WriteRequest { encryption: 1, ..zstd },
    ] {
        assert_eq!(errno(encoded_write_pieces(file.as_fd(), &[IoSlice::new(&frame)], &request)), EINVAL);
    }
}

#[test]
fn nothing_to_write_is_no_error() {
    // Why our own function refuses both: the kernel would not say that nothing happened.
    let volume = Volume::new();
    let (_, frame) = exact(8192, 100);
    let file = volume.create("file");
    let zstd = WriteRequest::zstd(0, 8192);
    assert_eq!(encoded_write_pieces(file.as_fd(), &[IoSlice::new(b"")], &zstd).unwrap(), 0);
    let empty = WriteRequest { len: 0, ..zstd };
    assert_eq!(encoded_write_pieces(file.as_fd(), &[IoSlice::new(&frame)], &empty).unwrap(), 0);
    assert_content(&file, &[]);
}

#[test]
fn nocow_file_is_refused() {
    let volume = Volume::new();
    let (_, frame) = exact(8192, 100);
    let file = volume.create("file");
    run("chattr", &["+C".as_ref(), &volume.path().join("file")]);
    assert_eq!(errno(write(&file, 0, 8192, &frame)), EINVAL);
}

#[test]
fn file_made_without_checksums_is_refused() {
    let (_, frame) = exact(8192, 100);
    for option in ["nodatasum", "nodatacow"] {
        let volume = Volume::with(256, option);
        assert_eq!(errno(write(&volume.create("file"), 0, 8192, &frame)), EINVAL, "{option}");
        // It is the file that matters, not the mount.
        volume.remount("");
        assert_eq!(errno(write(&volume.open("file"), 0, 8192, &frame)), EINVAL, "{option}");
        write(&volume.create("new"), 0, 8192, &frame).unwrap();
    }
}

#[test]
fn read_only_descriptor_is_refused() {
    let volume = Volume::new();
    let (_, frame) = exact(8192, 100);
    drop(volume.create("file"));
    let file = File::open(volume.path().join("file")).unwrap();
    assert_eq!(errno(write(&file, 0, 8192, &frame)), EBADF);
}

#[test]
fn append_descriptor_ignores_the_offset() {
    let volume = Volume::new();
    let (content, frame) = exact(8192, 100);
    volume.create("file").write_all(&[b'o'; 8192]).unwrap();
    let append = File::options().append(true).open(volume.path().join("file")).unwrap();
    write(&append, 0, 8192, &frame).unwrap();
    drop(append);
    assert_content(&volume.open("file"), &[vec![b'o'; 8192], content].concat());
}

#[test]
fn other_file_system_has_no_such_call() {
    let (_, frame) = exact(8192, 100);
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    let file = File::from(nix::sys::memfd::memfd_create(c"tmpfs", flags).unwrap());
    assert_eq!(errno(write(&file, 0, 8192, &frame)), ENOTTY);
    assert_eq!(errno(encoded_read(file.as_fd(), 0, &mut [0; 4096])), ENOTTY);
}

#[test]
fn mount_compression_has_no_influence() {
    for option in ["compress=no", "compress-force=lzo", "compress-force=zlib"] {
        let volume = Volume::with(256, option);
        let content = text(MAX);
        let frame = compress(&content, 3);
        let file = volume.create("file");
        write(&file, 0, MAX, &frame).unwrap();
        let mut stored = vec![0; MAX];
        let extent = encoded_read(file.as_fd(), 0, &mut stored).unwrap();
        assert_eq!(extent.compression, Compression::Zstd, "{option}");
        assert!(stored.starts_with(&frame), "{option}");
    }
}

#[test]
fn quota_is_charged_for_the_content() {
    let volume = Volume::new();
    let path = volume.path();
    run("btrfs", &["subvolume".as_ref(), "create".as_ref(), &path.join("sub")]);
    run("btrfs", &["quota".as_ref(), "enable".as_ref(), &path]);
    run("btrfs", &["qgroup".as_ref(), "limit".as_ref(), "100K".as_ref(), &path.join("sub")]);
    let (_, frame) = exact(MAX, 5000);
    assert_eq!(errno(write(&volume.create("sub/file"), 0, MAX, &frame)), nix::libc::EDQUOT);
}

#[test]
fn dirty_pages_are_replaced_not_mixed() {
    let volume = Volume::new();
    let content = text(MAX);
    let file = volume.create("file");
    file.write_all_at(&vec![b'o'; 2 * MAX], 0).unwrap();
    write(&file, 0, MAX, &compress(&content, 3)).unwrap();
    let expected = [content, vec![b'o'; MAX]].concat();
    assert_content(&file, &expected);
    drop(file);
    volume.remount("");
    let file = volume.open("file");
    assert_content(&file, &expected);
    assert!(read(&file, 2 * MAX as u64, 1).is_err());
}
