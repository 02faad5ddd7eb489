//! Which encoded writes end up in the metadata (`can_cow_file_range_inline`, `__cow_file_range_inline`).

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use burst::btrfs::encoded_read;
use nix::libc::EIO;

use crate::frames::{compress, exact, text};
use crate::volume::{Volume, assert_content, errno, read, run, write};

/// Stored bytes of the extent at 0. Inline is stored as given; on disk it is padded to the sector.
fn stored_bytes(file: &File) -> usize {
    encoded_read(file.as_fd(), 0, &mut vec![0; 131_072]).unwrap().bytes
}

#[test]
fn inline_up_to_one_sector_of_content() {
    let volume = Volume::new();
    for (len, inline) in [(2047, true), (2048, true), (2049, true), (4095, true), (4096, true), (4097, false)] {
        let (content, frame) = exact(len, 500);
        let file = volume.create(&len.to_string());
        write(&file, 0, len, &frame).unwrap();
        assert_eq!(stored_bytes(&file), if inline { 500 } else { 4096 }, "{len}");
        assert_content(&file, &content);
    }
}

#[test]
fn inline_up_to_2048_bytes_of_frame() {
    let volume = Volume::new();
    for (len, inline) in [(2047, true), (2048, true), (2049, false), (3000, false)] {
        let (content, frame) = exact(4096, len);
        let file = volume.create(&len.to_string());
        write(&file, 0, 4096, &frame).unwrap();
        assert_eq!(stored_bytes(&file), if inline { len } else { 4096 }, "{len}");
        assert_content(&file, &content);
    }
}

#[test]
fn inline_only_for_the_whole_file() {
    let volume = Volume::new();
    let (content, frame) = exact(3000, 500);
    // A size set before does no harm, a larger one does.
    let same = volume.create("same");
    same.set_len(3000).unwrap();
    write(&same, 0, 3000, &frame).unwrap();
    assert_eq!(stored_bytes(&same), 500);
    assert_content(&same, &content);

    let larger = volume.create("larger");
    larger.set_len(10_000).unwrap();
    let (_, sector) = exact(4096, 500);
    write(&larger, 0, 4096, &sector).unwrap();
    assert_eq!(stored_bytes(&larger), 4096);

    let later = volume.create("later");
    write(&later, 4096, 3000, &frame).unwrap();
    assert_content(&later, &[vec![0; 4096], content].concat());
}

#[test]
fn plain_write_is_inline_up_to_2048_bytes() {
    let volume = Volume::new();
    for (len, inline) in [(2047, true), (2048, true), (2049, false), (4095, false), (4096, false)] {
        let (content, _) = exact(len, 500);
        let file = volume.create(&len.to_string());
        file.write_all_at(&content, 0).unwrap();
        file.sync_all().unwrap();
        let map = run("filefrag", &["-v".as_ref(), &volume.path().join(len.to_string())]);
        assert_eq!(map.contains("inline"), inline, "{map}");
    }
}

#[test]
fn one_byte_over_the_sector_can_save_one() {
    let volume = Volume::new();
    let content = text(4097);
    let file = volume.create("file");
    write(&file, 0, 4097, &compress(&content, 3)).unwrap();
    assert_eq!(stored_bytes(&file), 4096, "plain would be 8192");
    assert_content(&file, &content);
}

#[test]
fn inline_short_frame_is_an_io_error() {
    // A regular extent would be extended with zeros instead.
    let volume = Volume::new();
    let (_, frame) = exact(2000, 500);
    write(&volume.create("file"), 0, 3000, &frame).unwrap();
    volume.remount("");
    assert_eq!(errno(read(&volume.open("file"), 0, 3000)), EIO);
}
