//! An archive taken apart with everything the format lets a reader check.

use burst::format::archive_index::{ArchiveIndex, Opening, open, overflow_xattrs};
use burst::format::directory_reader::{DirectoryReader, DirectoryStep, PlacedEntry};
use burst::format::hard_links::HardLinks;
use burst::format::limits::GRID;
use burst::format::namespace::NamespaceChecker;
use burst::format::part_reader::PieceKind;
use burst::format::{Error, Result};

/// Entries and, if `contents`, what they hold.
pub fn read(bytes: &[u8], contents: bool) -> Result<Vec<(PlacedEntry, Vec<u8>)>> {
    let index = index(bytes)?;
    let at = |range: std::ops::Range<u64>| {
        assert!(range.start <= range.end && range.end <= bytes.len() as u64, "{range:?} of {}", bytes.len());
        &bytes[range.start as usize..range.end as usize]
    };
    let directory = at(index.directory_range());
    for (i, piece) in directory.chunks(1 << 20).enumerate() {
        index.check_directory_piece(i as u64, piece)?;
    }
    let (mut reader, mut rest) = (DirectoryReader::new(&index.trailer), directory);
    let (mut names, mut links) = (NamespaceChecker::for_archive(&index.trailer), HardLinks::new());
    let mut entries = Vec::new();
    loop {
        match reader.next(&mut rest)? {
            DirectoryStep::End => break,
            DirectoryStep::NeedMore(n) => {
                assert!(n > rest.len());
                return Err(Error::corrupt("the directory is cut short"));
            }
            DirectoryStep::Entry(placed) => {
                let entry = &placed.entry;
                names.check(&entry.path, entry.entry_type)?;
                links.check(entry)?;
                assert!(entry.header_offset < placed.end && placed.end <= index.trailer.data_end);
                assert!(!entry.path.starts_with(b"/") && !entry.path.split(|&b| b == b'/').any(|c| c == b".."));
                if let Some(range) = index.overflow_range(entry)? {
                    overflow_xattrs(entry, at(range))?;
                }
                entries.push(placed);
            }
        }
    }
    index.root_attributes(at(index.root_range()))?;
    let mut found = vec![Vec::new(); entries.len()];
    for part in 0..index.trailer.parts {
        let (start, end) = (part * GRID, (part + 1) * GRID);
        let first = entries.partition_point(|e| e.end <= start);
        let last = entries.partition_point(|e| e.entry.header_offset < end);
        let part_bytes = at(index.part_range(part));
        for piece in index.read_part(part, part_bytes, &entries[first..last])? {
            let content = &mut found[first + piece.entry];
            assert_eq!(content.len() as u64, if contents { piece.content_offset } else { 0 }, "pieces without gaps");
            if !contents {
                continue;
            }
            match piece.kind {
                PieceKind::Frame { range } => {
                    let frame = &part_bytes[range];
                    content.extend(zstd::bulk::decompress(frame, 131_072).map_err(|e| Error::corrupt(e.to_string()))?);
                }
                PieceKind::Raw { range } | PieceKind::Stored { range } => content.extend_from_slice(&part_bytes[range]),
                PieceKind::Hole => content.resize(content.len() + piece.content_len as usize, 0),
            }
            // A frame that makes less than it says: only decompression tells.
            if content.len() as u64 != piece.content_offset + piece.content_len {
                return Err(Error::corrupt("less content than its frame says"));
            }
        }
    }
    for (placed, content) in entries.iter().zip(&found).filter(|_| contents) {
        assert_eq!(content.len() as u64, placed.entry.uncompressed_size, "{:?}", placed.entry);
    }
    Ok(entries.into_iter().zip(found).collect())
}

fn index(bytes: &[u8]) -> Result<ArchiveIndex> {
    let length = bytes.len() as u64;
    let mut fetched: Vec<(u64, &[u8])> = Vec::new();
    for _ in 0..6 {
        match open(length, &fetched)? {
            Opening::Ready(index) => return Ok(index),
            Opening::Need(range) => {
                assert!(range.start <= range.end && range.end <= length, "{range:?} of {length}");
                fetched.push((range.start, &bytes[range.start as usize..range.end as usize]));
            }
        }
    }
    panic!("opening asks for ever more");
}
