//! Damage: every single bit, and every length.

use crate::build::{self, Builder, Random};
use crate::consume::{index, read, reseal};
use burst::format::Step;
use burst::format::stream_reader::{Event, StreamReader};

#[test]
fn every_flipped_bit_is_noticed() {
    let mut bytes = build::small(4).bytes;
    assert!(read(&bytes).is_ok());
    for i in 0..bytes.len() {
        for bit in 0..8 {
            bytes[i] ^= 1 << bit;
            assert!(read(&bytes).is_err(), "bit {bit} of byte {i}");
            bytes[i] ^= 1 << bit;
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    let bytes = build::small(5).bytes;
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
    assert!(read(&[&bytes[..], b"\0"].concat()).is_err());
}

/// With all checksums made right again, what is stated twice must still agree.
#[test]
fn every_flipped_bit_of_a_structure_is_noticed_behind_right_checksums() {
    let mut b = Builder::new(6);
    b.directory("d");
    b.noise("d/stored", 60);
    b.framed("d/framed", 1, false);
    b.framed("d/large", 1, true);
    b.linked("d/linked", &["x"]);
    let bytes = b.finish().bytes;
    let original = index(&bytes, 4096).unwrap();
    let mut reader = StreamReader::at_start();
    let (mut from, mut structures) = (0, Vec::new());
    while let Step::Ready(advance) = reader.next(&bytes[from..]).unwrap() {
        match advance.event {
            // The payload of a pad field is to be ignored.
            Event::LocalHeader { header, .. } => {
                let fields = 30 + header.name.len() + if header.has_zip64 { 20 } else { 0 };
                structures.push(from..from + fields + if header.has_pad { 4 } else { 0 });
            }
            Event::EntryEnd { descriptor: Some(_), .. } => structures.push(from..from + advance.consumed),
            // The magic; other bits make a frame that holds something else, which the part's CRC-32C tells.
            Event::Frame { .. } => structures.push(from..from + 4),
            Event::EndOfData => break,
            _ => {}
        }
        from += advance.consumed;
    }
    assert!(structures.len() >= 9);
    for i in structures.into_iter().flatten() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << bit;
            reseal(&mut flipped, &original);
            assert!(read(&flipped).is_err(), "bit {bit} of byte {i}");
        }
    }
}

/// Everything the directory, the map and the trailer state is either refused or seen.
#[test]
fn no_flipped_bit_of_the_index_goes_unseen_behind_right_checksums() {
    let bytes = build::small(7).bytes;
    let original = index(&bytes, 4096).unwrap();
    let whole = read(&bytes).unwrap();
    let t = &original.trailer;
    let end = (t.directory_offset + t.directory_length) as usize;
    for i in t.map_offset as usize..end {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << bit;
            reseal(&mut flipped, &original);
            if flipped == bytes {
                continue; // it was a checksum
            }
            if let Ok(found) = read(&flipped) {
                let same_index = index(&flipped, 4096).is_ok_and(|found| found == original);
                assert!(found != whole || !same_index || in_reserved_bytes(i as u64, t), "bit {bit} of byte {i}");
            }
        }
    }
}

/// Bytes of the trailer without meaning in version 1.0.
fn in_reserved_bytes(i: u64, t: &burst::format::trailer::Trailer) -> bool {
    let trailer = t.directory_offset - u64::from(t.length);
    i >= trailer && matches!(i - trailer, 100..104 | 160..176)
}

/// Extreme numbers in every aligned place behind right checksums: refused or harmless, never a panic.
#[test]
fn extreme_numbers() {
    let bytes = build::small(8).bytes;
    let original = index(&bytes, 4096).unwrap();
    for i in (0..bytes.len() - 8).step_by(2) {
        for value in [0, 1, 0x7FFF_FFFF_FFFF_FFFF, u64::MAX, u64::MAX - 7, 1 << 63, 0xFFFF_FFFF] {
            for width in [2, 4, 8] {
                let mut changed = bytes.clone();
                changed[i..i + width].copy_from_slice(&value.to_le_bytes()[..width]);
                reseal(&mut changed, &original);
                let _ = read(&changed);
                let _ = stream(&changed);
            }
        }
    }
}

/// Random damage behind right checksums, with frames and descriptors in the archive.
#[test]
fn random_damage() {
    let mut b = Builder::new(11);
    b.framed("framed", 2, false);
    b.framed("large", 2, true);
    let bytes = b.finish().bytes;
    let original = index(&bytes, 4096).unwrap();
    let mut random = Random::new(12);
    // Half of the damage near the start of something, where it hurts.
    let end = bytes.len() as u64;
    for i in 0..3000 {
        let mut changed = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let at = if i % 2 == 0 { random.below(end) } else { end - 1 - random.below(1500) };
            changed[at as usize] = random.next() as u8;
        }
        reseal(&mut changed, &original);
        let _ = read(&changed);
        let _ = stream(&changed);
    }
}

fn stream(bytes: &[u8]) -> burst::format::Result<usize> {
    let (mut reader, mut from) = (StreamReader::at_start(), 0);
    while let Step::Ready(advance) = reader.next(&bytes[from..])? {
        if advance.event == Event::EndOfData {
            break;
        }
        from += advance.consumed;
    }
    Ok(from)
}
