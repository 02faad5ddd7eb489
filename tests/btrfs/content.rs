//! What the kernel can read back. It looks at a frame only then, so everything here is taken without complaint
//! (`fs/btrfs/zstd.c`, `lib/zstd`).

use std::io;

use nix::libc::EIO;

use crate::frames::{compress, noise, skippable, text, with_checksum, with_dictionary_id, with_window};
use crate::volume::{Volume, errno, read, run, write};

const MAX: usize = 131_072;

/// Writes the bytes as an extent of `len` bytes and reads the file from the device.
fn stored(volume: &Volume, name: &str, len: usize, frame: &[u8]) -> io::Result<Vec<u8>> {
    write(&volume.create(name), 0, len, frame).unwrap();
    volume.remount("");
    read(&volume.open(name), 0, len)
}

#[test]
fn every_level_is_readable() {
    let volume = Volume::new();
    let content = text(MAX);
    let levels: Vec<i32> = (-15..=22).chain([-100]).collect();
    for level in &levels {
        write(&volume.create(&level.to_string()), 0, MAX, &compress(&content, *level)).unwrap();
    }
    volume.remount("");
    for level in &levels {
        let file = volume.open(&level.to_string());
        assert!(read(&file, 0, MAX).unwrap() == content, "level {level}");
    }
}

#[test]
fn window_up_to_128_kib_is_readable() {
    let volume = Volume::new();
    let content = text(MAX);
    for log in 10..=17 {
        for size in [true, false] {
            let name = format!("window 2^{log}, content size {size}");
            assert!(stored(&volume, &name, MAX, &with_window(&content, log, size)).unwrap() == content, "{name}");
        }
    }
}

#[test]
fn large_window_with_content_size_is_readable_up_to_128_mib() {
    // The decoder then needs no more memory than the content.
    let volume = Volume::new();
    let content = text(MAX);
    for log in 18..=27 {
        let found = stored(&volume, &log.to_string(), MAX, &with_window(&content, log, true)).unwrap();
        assert!(found == content, "window 2^{log}");
    }
    for log in [28, 31] {
        let found = stored(&volume, &log.to_string(), MAX, &with_window(&content, log, true));
        assert_eq!(errno(found), EIO, "window 2^{log}");
    }
}

#[test]
fn large_window_without_content_size_is_an_io_error() {
    // From 256 KiB to 2 MiB it depends on which work area this kernel has at hand, so that nothing can be said.
    let volume = Volume::new();
    for log in 22..=27 {
        let found = stored(&volume, &log.to_string(), MAX, &with_window(&text(MAX), log, false));
        assert_eq!(errno(found), EIO, "window 2^{log}");
    }
}

#[test]
fn content_size_is_not_needed_for_a_small_window() {
    let volume = Volume::new();
    let content = text(MAX);
    assert!(stored(&volume, "file", MAX, &with_window(&content, 17, false)).unwrap() == content);
}

#[test]
fn dictionary_id_is_an_io_error() {
    let volume = Volume::new();
    assert_eq!(errno(stored(&volume, "file", MAX, &with_dictionary_id(MAX))), EIO);
}

#[test]
fn checksum_is_checked_on_read() {
    let volume = Volume::new();
    let content = text(MAX);
    let mut frame = with_checksum(&content);
    assert!(stored(&volume, "right", MAX, &frame).unwrap() == content);
    *frame.last_mut().unwrap() ^= 1;
    assert_eq!(errno(stored(&volume, "wrong", MAX, &frame)), EIO);
}

#[test]
fn second_frame_reads_as_zeros() {
    let volume = Volume::new();
    let content = text(MAX);
    let (first, second) = content.split_at(MAX / 2);
    let frames = [compress(first, 3), compress(second, 3)].concat();
    assert!(stored(&volume, "file", MAX, &frames).unwrap() == [first, &vec![0; MAX / 2]].concat());
}

#[test]
fn leading_skippable_frame_reads_as_zeros() {
    let volume = Volume::new();
    let frames = [skippable(100), compress(&text(MAX), 3)].concat();
    assert!(stored(&volume, "file", MAX, &frames).unwrap() == vec![0; MAX]);
}

#[test]
fn bytes_after_the_frame_are_ignored() {
    let volume = Volume::new();
    let content = text(MAX);
    for (name, after) in [("zeros", vec![0; 100]), ("skippable", skippable(100)), ("garbage", noise(100))] {
        let found = stored(&volume, name, MAX, &[compress(&content, 3), after].concat()).unwrap();
        assert!(found == content, "{name}");
    }
}

#[test]
fn cut_frame_reads_as_zeros() {
    let volume = Volume::new();
    let frame = compress(&text(MAX), 3);
    let half = &frame[..frame.len() / 2];
    assert!(stored(&volume, "file", MAX, half).unwrap() == vec![0; MAX]);
}

#[test]
fn short_frame_is_extended_with_zeros() {
    let volume = Volume::new();
    let content = text(MAX / 2);
    let found = stored(&volume, "file", MAX, &compress(&content, 3)).unwrap();
    assert!(found == [content, vec![0; MAX / 2]].concat());
}

#[test]
fn long_frame_is_truncated() {
    let volume = Volume::new();
    let content = text(MAX);
    let found = stored(&volume, "file", MAX / 2, &compress(&content, 3)).unwrap();
    assert!(found == content[..MAX / 2]);
}

#[test]
fn garbage_is_an_io_error() {
    let volume = Volume::new();
    assert_eq!(errno(stored(&volume, "noise", MAX, &noise(5000))), EIO);
    assert_eq!(errno(stored(&volume, "zeros", MAX, &[0; 5000])), EIO);
}

#[test]
fn scrub_finds_nothing_wrong_with_any_of_it() {
    let volume = Volume::new();
    let frame = compress(&text(MAX), 3);
    let wrong: [(&str, Vec<u8>); 4] = [
        ("garbage", noise(5000)),
        ("cut", frame[..frame.len() / 2].to_vec()),
        ("skippable", [skippable(100), frame].concat()),
        ("window", with_window(&text(MAX), 27, false)),
    ];
    for (name, bytes) in &wrong {
        write(&volume.create(name), 0, MAX, bytes).unwrap();
    }
    volume.remount("");
    let printed = run("btrfs", &["scrub".as_ref(), "start".as_ref(), "-B".as_ref(), &volume.path()]);
    assert!(printed.contains("no errors found"), "{printed}");
    // All the same, not one of them reads as what was compressed.
    for (name, _) in &wrong {
        let found = read(&volume.open(name), 0, MAX);
        assert!(found.is_err() || found.unwrap() == vec![0; MAX], "{name}");
    }
}
