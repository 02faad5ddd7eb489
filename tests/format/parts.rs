//! Random trees through the writer and, part by part, through the readers.

use crate::build::{self, Builder, Built};
use crate::consume::{self, directory, index, read};
use burst::format::EntryType;
use burst::format::limits::GRID;
use burst::format::part_map::{CleanPoint, PartRecord};

pub fn assert_round_trip(built: &Built) {
    let found = read(&built.bytes).unwrap();
    assert_eq!(found.root, built.root);
    assert_eq!(found.entries.len(), built.given.len());
    for ((placed, content), given) in found.entries.iter().zip(&found.contents).zip(&built.given) {
        let e = &placed.entry;
        let name = e.path.escape_ascii().to_string();
        assert_eq!(e.path, given.entry.path);
        assert_eq!(e.entry_type, given.entry.entry_type, "{name}");
        assert_eq!(e.attributes, given.entry.attributes, "{name}");
        assert_eq!(e.link_count, given.entry.link_count, "{name}");
        assert!(*content == given.data, "{name}: {} bytes, {} given", content.len(), given.data.len());
    }
}

#[test]
fn empty_archive() {
    let found = read(&Builder::new(1).finish().bytes).unwrap();
    let [only] = found.entries.as_slice() else { panic!("{} entries", found.entries.len()) };
    assert_eq!((only.entry.path.as_slice(), only.entry.entry_type), (&b"."[..], EntryType::Directory));
}

#[test]
fn small_archives() {
    for seed in 0..20 {
        assert_round_trip(&build::small(seed));
    }
}

#[test]
fn archives_of_many_parts() {
    let mut kinds = [0; 4];
    for seed in 0..8 {
        let built = build::parts(seed, 30);
        assert_round_trip(&built);
        let index = index(&built.bytes, 1 << 16).unwrap();
        index.map.iter().for_each(|r| kinds[r.kind as usize] += 1);
    }
    assert!(kinds[CleanPoint::StartOfPart as usize] > 3 && kinds[CleanPoint::StoredData as usize] > 3, "{kinds:?}");
}

/// Entries of every size near the grid point: headers, tails and descriptors find their clean places.
#[test]
fn around_the_grid_point() {
    for shift in (0..128).step_by(2) {
        let mut b = Builder::new(shift);
        b.noise("first", GRID as usize - 128 + shift as usize);
        b.framed("framed", 1, shift % 4 == 0);
        b.noise("last", 5);
        assert_round_trip(&b.finish());
    }
}

#[test]
fn directory_and_tail_in_any_pieces() {
    let built = build::small(3);
    let whole = directory(&index(&built.bytes, built.bytes.len()).unwrap(), &built.bytes, 1 << 20).unwrap();
    for step in [1, 2, 7, 45, 46, 47, 100, 999] {
        let index = index(&built.bytes, step).unwrap();
        assert_eq!(consume::directory(&index, &built.bytes, step), Ok(whole.clone()), "{step}");
    }
}

/// Errors of a part name the entry and the place.
#[test]
fn entries_that_do_not_belong_to_the_part() {
    let built = build::parts(1, 30);
    let index = index(&built.bytes, 1 << 16).unwrap();
    let entries = directory(&index, &built.bytes, 1 << 16).unwrap();
    let range = consume::entries_of(&entries, 1);
    let bytes = &built.bytes[GRID as usize..2 * GRID as usize];
    assert!(index.read_part(1, bytes, &entries[range.clone()]).is_ok());
    for wrong in [range.start..range.end - 1, range.start + 1..range.end, range.start..range.end + 1, 0..0] {
        assert!(index.read_part(1, bytes, &entries[wrong.clone()]).is_err(), "{wrong:?}");
    }
    assert!(index.read_part(2, bytes, &entries[range.clone()]).unwrap_err().message.contains("CRC-32C"));
    assert!(index.read_part(1, &bytes[1..], &entries[range]).unwrap_err().message.contains("expected 8388608"));
}

/// A part map that says something else than the directory and the part.
#[test]
fn records_that_do_not_fit() {
    let built = build::parts(1, 30);
    let good = index(&built.bytes, 1 << 16).unwrap();
    let entries = directory(&good, &built.bytes, 1 << 16).unwrap();
    for part in 0..good.trailer.parts {
        let range = good.part_range(part);
        let bytes = &built.bytes[range.start as usize..range.end as usize];
        let entries = &entries[consume::entries_of(&entries, part)];
        let changes: [fn(&mut PartRecord); 6] = [
            |r| r.crc32c ^= 1,
            |r| r.ordinal += 1,
            |r| r.content_offset += 4096,
            |r| r.directory_offset += 1,
            |r| {
                r.kind =
                    if r.kind == CleanPoint::StartOfPart { CleanPoint::StoredData } else { CleanPoint::StartOfPart }
            },
            |r| {
                r.kind =
                    if r.kind == CleanPoint::LocalHeader { CleanPoint::StoredData } else { CleanPoint::LocalHeader }
            },
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut index = good.clone();
            change(&mut index.map[part as usize]);
            // At a local header the content offset means nothing and is refused with the map.
            if !(i == 2 && good.map[part as usize].kind == CleanPoint::LocalHeader) {
                assert!(index.read_part(part, bytes, entries).is_err(), "part {part}, change {i}");
            }
            let mut index = good.clone();
            // Checksum and directory offset of the next part are that part's business.
            if let (Some(next), 1 | 2 | 4 | 5) = (index.map.get_mut(part as usize + 1), i) {
                change(next);
                assert!(index.read_part(part, bytes, entries).is_err(), "after part {part}, change {i}");
            }
        }
    }
}
