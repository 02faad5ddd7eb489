//! Holes, order of extents, several writers.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use burst::linux::holes::data_extents;

use crate::frames::{compress, exact, text};
use crate::volume::{Volume, assert_content, read, write};

const MAX: usize = 131_072;

#[test]
fn holes_stay_holes() {
    const FAR: u64 = 1 << 40;
    let volume = Volume::new();
    let content = text(MAX);
    let frame = compress(&content, 3);
    for size_first in [true, false] {
        let file = volume.create(&size_first.to_string());
        let size = FAR + (2 << 20);
        if size_first {
            file.set_len(size).unwrap();
        }
        write(&file, 1 << 20, MAX, &frame).unwrap();
        write(&file, FAR, MAX, &frame).unwrap();
        if !size_first {
            file.set_len(size).unwrap();
        }
        let len = MAX as u64;
        let extents = data_extents(file.as_fd(), size).unwrap();
        assert_eq!(extents, [1 << 20..(1 << 20) + len, FAR..FAR + len]);
        assert!(read(&file, FAR, MAX).unwrap() == content);
        assert!(read(&file, 0, 1 << 20).unwrap() == vec![0; 1 << 20]);
        assert_eq!(file.metadata().unwrap().blocks(), 2 * len / 512);
    }
}

#[test]
fn extents_in_any_order_from_several_threads() {
    let volume = Volume::new();
    let content = text(40 * MAX);
    let file = volume.create("file");
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (file, content) = (&file, &content);
            scope.spawn(move || {
                for n in (0..40).rev().filter(|n| n % 4 == worker) {
                    let piece = &content[n * MAX..][..MAX];
                    write(file, (n * MAX) as u64, MAX, &compress(piece, 1)).unwrap();
                }
            });
        }
    });
    assert_content(&file, &content);
}

#[test]
fn plain_write_inside_an_encoded_sector_is_right() {
    let volume = Volume::new();
    let (content, frame) = exact(6000, 100);
    let file = volume.create("file");
    write(&file, 0, 6000, &frame).unwrap();
    file.write_all_at(&[b'p'; 5000], 6000).unwrap();
    let expected = [content, vec![b'p'; 5000]].concat();
    assert_content(&file, &expected);
    drop(file);
    volume.remount("");
    assert_content(&volume.open("file"), &expected);
}
