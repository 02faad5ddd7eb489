//! What encoded reads give (`btrfs_ioctl_encoded_read`), and when a stored frame can be used as it is.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use burst::btrfs::{self, Compression, EncodedExtent};
use nix::libc::ENOBUFS;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use crate::frames::{noise, text};
use crate::volume::{Volume, assert_content, errno, read, write};

const MAX: usize = 131_072;

fn extent_at(file: &File, offset: u64) -> (EncodedExtent, Vec<u8>) {
    let mut stored = vec![0xEE; MAX];
    let extent = btrfs::encoded_read(file.as_fd(), offset, &mut stored).unwrap();
    stored.truncate(extent.bytes);
    (extent, stored)
}

/// The frame in front of the padding, which must be zeros.
fn frame(stored: &[u8]) -> &[u8] {
    let (frame, padding) = stored.split_at(find_frame_compressed_size(stored).unwrap());
    assert!(padding.iter().all(|&byte| byte == 0));
    frame
}

fn written_by_kernel(volume: &Volume, name: &str, content: &[u8]) -> File {
    let file = volume.create(name);
    file.write_all_at(content, 0).unwrap();
    file.sync_all().unwrap();
    file
}

#[test]
fn kernel_frame_is_one_frame_padded_with_zeros() {
    let volume = Volume::with(256, "compress-force=zstd");
    let content = text(4 * MAX);
    let file = written_by_kernel(&volume, "file", &content);
    for offset in (0..content.len()).step_by(MAX) {
        let (extent, stored) = extent_at(&file, offset as u64);
        assert_eq!(extent.compression, Compression::Zstd);
        assert_eq!((extent.len, extent.unencoded_len, extent.unencoded_offset), (MAX as u64, MAX as u64, 0));
        assert_eq!(stored.len() % 4096, 0);
        let frame = frame(&stored);
        assert_eq!(get_frame_content_size(frame).unwrap(), Some(MAX as u64));
        assert!(zstd::bulk::decompress(frame, MAX).unwrap() == content[offset..][..MAX]);
    }
}

#[test]
fn kernel_frame_can_be_written_back() {
    let volume = Volume::with(256, "compress-force=zstd");
    let content = text(4 * MAX + 70_001);
    let source = written_by_kernel(&volume, "source", &content);
    let copy = volume.create("copy");
    let mut offset = 0;
    while offset < content.len() {
        let (extent, stored) = extent_at(&source, offset as u64);
        write(&copy, offset as u64, extent.len as usize, frame(&stored)).unwrap();
        offset += extent.len as usize;
    }
    assert_content(&copy, &content);
}

#[test]
fn last_extent_declares_the_real_length() {
    let volume = Volume::with(256, "compress-force=zstd");
    let file = written_by_kernel(&volume, "file", &text(70_001));
    let (extent, stored) = extent_at(&file, 0);
    assert_eq!((extent.len, extent.unencoded_len), (70_001, 73_728));
    assert_eq!(get_frame_content_size(&stored).unwrap(), Some(70_001));
}

#[test]
fn inline_extent_has_no_padding() {
    let volume = Volume::with(256, "compress-force=zstd");
    let content = text(2040);
    let file = written_by_kernel(&volume, "file", &content);
    let (extent, stored) = extent_at(&file, 0);
    assert_eq!((extent.compression, extent.len), (Compression::Zstd, 2040));
    assert_eq!(frame(&stored).len(), stored.len());
    assert!(zstd::bulk::decompress(&stored, 2040).unwrap() == content);
}

#[test]
fn partly_overwritten_extent_has_an_offset() {
    let volume = Volume::with(256, "compress-force=zstd");
    let mut content = text(MAX);
    let file = written_by_kernel(&volume, "file", &content);
    file.write_all_at(&[b'p'; 4096], 40_960).unwrap();
    file.sync_all().unwrap();
    content[40_960..45_056].fill(b'p');
    let (before, _) = extent_at(&file, 0);
    assert_eq!((before.len, before.unencoded_len, before.unencoded_offset), (40_960, MAX as u64, 0));
    let (after, stored) = extent_at(&file, 45_056);
    assert_eq!((after.len, after.unencoded_len, after.unencoded_offset), (86_016, MAX as u64, 45_056));
    // The frame is the whole old one: for neither of the two is its content size the length in the file.
    let old = zstd::bulk::decompress(frame(&stored), MAX).unwrap();
    assert!(old[45_056..] == content[45_056..]);
}

#[test]
fn other_compressions_are_named() {
    for (option, compression) in [
        ("compress-force=zlib", Compression::Zlib),
        ("compress-force=lzo", Compression::Lzo { sector_size: 4096 }),
        ("compress=no", Compression::None),
    ] {
        let volume = Volume::with(256, option);
        let file = written_by_kernel(&volume, "file", &text(MAX));
        assert_eq!(extent_at(&file, 0).0.compression, compression, "{option}");
    }
}

#[test]
fn hole_looks_like_uncompressed_zeros() {
    let volume = Volume::with(256, "compress-force=zstd");
    let file = volume.create("file");
    file.set_len(MAX as u64).unwrap();
    let (extent, stored) = extent_at(&file, 0);
    assert_eq!((extent.compression, extent.len), (Compression::None, MAX as u64));
    assert!(stored == vec![0; MAX]);
}

#[test]
fn end_of_file_is_length_zero() {
    let volume = Volume::new();
    let file = written_by_kernel(&volume, "file", &text(5000));
    let (extent, stored) = extent_at(&file, 8192);
    assert_eq!((extent.len, stored.len()), (0, 0));
}

#[test]
fn small_buffer_is_refused() {
    let volume = Volume::with(256, "compress-force=zstd");
    let file = written_by_kernel(&volume, "file", &text(MAX));
    assert_eq!(errno(btrfs::encoded_read(file.as_fd(), 0, &mut [0; 4096])), ENOBUFS);
}

#[test]
fn written_frame_is_read_back_unchanged() {
    let volume = Volume::new();
    let content = [text(MAX - 5000), noise(5000)].concat();
    let written = crate::frames::compress(&content, 15);
    let file = volume.create("file");
    write(&file, 0, MAX, &written).unwrap();
    let (extent, stored) = extent_at(&file, 0);
    assert_eq!(extent.compression, Compression::Zstd);
    assert_eq!(frame(&stored), written);
    assert!(read(&file, 0, MAX).unwrap() == content);
}
