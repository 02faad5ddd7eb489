//! An archive taken apart with everything the format lets a reader check.

use burst::format::archive_index::{ArchiveIndex, Opening, open, overflow_xattrs};
use burst::format::checksum::{crc32, crc32c};
use burst::format::directory_reader::{DirectoryReader, DirectoryStep, PlacedEntry};
use burst::format::hard_links::HardLinks;
use burst::format::limits::GRID;
use burst::format::namespace::NamespaceChecker;
use burst::format::part_reader::PieceKind;
use burst::format::{Attributes, Error, Result};

/// An archive as read: root, entries with complete attributes, contents.
#[derive(Debug, PartialEq)]
pub struct Read {
    pub root: Option<Attributes>,
    pub entries: Vec<PlacedEntry>,
    pub contents: Vec<Vec<u8>>,
}

fn slice(bytes: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    &bytes[range.start as usize..range.end as usize]
}

/// Opens with one fetch per need; `tail` bytes at the end are there from the beginning.
pub fn index(bytes: &[u8], tail: usize) -> Result<ArchiveIndex> {
    let length = bytes.len() as u64;
    let start = bytes.len().saturating_sub(tail);
    let mut fetched = vec![(start as u64, &bytes[start..])];
    for _ in 0..5 {
        match open(length, &fetched)? {
            Opening::Ready(index) => return Ok(index),
            Opening::Need(range) => {
                assert!(range.start <= range.end && range.end <= length, "{range:?}");
                fetched.push((range.start, slice(bytes, range)));
            }
        }
    }
    panic!("opening asks for ever more");
}

/// The directory in pieces of `step` bytes.
pub fn directory(index: &ArchiveIndex, bytes: &[u8], step: usize) -> Result<Vec<PlacedEntry>> {
    let directory = slice(bytes, index.directory_range());
    for (i, piece) in directory.chunks(1 << 20).enumerate() {
        index.check_directory_piece(i as u64, piece)?;
    }
    let mut reader = DirectoryReader::new(&index.trailer);
    let (mut entries, mut from, mut to) = (Vec::new(), 0, step.min(directory.len()));
    loop {
        let mut rest = &directory[from..to];
        let found = reader.next(&mut rest)?;
        from = to - rest.len();
        match found {
            DirectoryStep::Entry(entry) => entries.push(entry),
            DirectoryStep::End => return Ok(entries),
            DirectoryStep::NeedMore(n) => {
                assert!(n > rest.len() && from + n <= directory.len(), "{n} after {from}");
                to = (to + step).min(directory.len());
            }
        }
    }
}

/// The entries that have a byte in this part.
pub fn entries_of(entries: &[PlacedEntry], part: u64) -> std::ops::Range<usize> {
    let (start, end) = (part * GRID, (part + 1) * GRID);
    let first = entries.partition_point(|e| e.end <= start);
    let last = entries.partition_point(|e| e.entry.header_offset < end);
    first..last
}

/// Everything, or the first error.
pub fn read(bytes: &[u8]) -> Result<Read> {
    let index = index(bytes, 200)?;
    let mut entries = directory(&index, bytes, 1 << 20)?;
    let mut names = NamespaceChecker::for_archive(&index.trailer);
    let mut links = HardLinks::new();
    for placed in &entries {
        names.check(&placed.entry.path, placed.entry.entry_type)?;
        links.check(&placed.entry)?;
    }
    let mut contents: Vec<Vec<u8>> = vec![Vec::new(); entries.len()];
    for part in 0..index.trailer.parts {
        let part_bytes = slice(bytes, index.part_range(part));
        let range = entries_of(&entries, part);
        for piece in index.read_part(part, part_bytes, &entries[range.clone()])? {
            let content = &mut contents[range.start + piece.entry];
            assert_eq!(content.len() as u64, piece.content_offset, "pieces without gaps");
            match piece.kind {
                PieceKind::Frame { range } => content.extend_from_slice(
                    &zstd::bulk::decompress(&part_bytes[range], 131_072)
                        .map_err(|e| Error::corrupt(format!("decompression: {e}")))?,
                ),
                PieceKind::Raw { range } | PieceKind::Stored { range } => content.extend_from_slice(&part_bytes[range]),
                PieceKind::Hole => content.resize(content.len() + piece.content_len as usize, 0),
            }
            let length = content.len() as u64;
            if length != piece.content_offset + piece.content_len {
                return Err(Error::corrupt(format!("{length} bytes decompressed, {} expected", piece.content_len)));
            }
        }
    }
    for (placed, content) in entries.iter_mut().zip(&contents) {
        let entry = &mut placed.entry;
        if crc32(content) != entry.crc32 || content.len() as u64 != entry.uncompressed_size {
            return Err(Error::corrupt("CRC-32 of the content").in_entry(&entry.path));
        }
        if let Some(range) = index.overflow_range(entry)? {
            entry.attributes.xattrs = overflow_xattrs(entry, slice(bytes, range))?;
        }
    }
    let root = index.root_attributes(slice(bytes, index.root_range()))?;
    Ok(Read { root, entries, contents })
}

/// Makes every CRC-32C right again after a change, so that only the structure can tell.
pub fn reseal(bytes: &mut [u8], original: &ArchiveIndex) {
    let t = &original.trailer;
    let put = |bytes: &mut [u8], at: u64, crc: u32| {
        bytes[at as usize..at as usize + 4].copy_from_slice(&crc.to_le_bytes());
    };
    for part in 0..t.parts {
        let crc = crc32c(slice(bytes, original.part_range(part)));
        put(bytes, t.map_offset + part * u64::from(t.part_record_length), crc);
    }
    for mib in 0..t.directory_length.div_ceil(1 << 20) {
        let start = t.directory_offset + (mib << 20);
        let end = (start + (1 << 20)).min(t.directory_offset + t.directory_length);
        let crc = crc32c(slice(bytes, start..end));
        put(bytes, t.table_offset + mib * 4, crc);
    }
    let trailer = t.directory_offset - u64::from(t.length);
    let index_crc = crc32c(slice(bytes, t.map_offset..trailer));
    put(bytes, trailer + 96, index_crc);
    let trailer_crc = crc32c(slice(bytes, trailer..t.directory_offset - 12));
    put(bytes, t.directory_offset - 12, trailer_crc);
}
