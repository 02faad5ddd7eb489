//! A writer that remembers what it was given.

use burst::format::archive_writer::{ArchiveWriter, NewEntry, Piece, WriterOptions};
use burst::format::checksum::crc32;
use burst::format::entry::{EMPTY_TREE, hard_link_text};
use burst::format::zstd_frame::hole_frame;
use burst::format::{Attributes, EntryType, Timestamp, Xattr};

use super::{Expected, Vector};

pub const ARCHIVE_ID: [u8; 16] = *b"golden vector id";
pub const EXTENT: usize = 131_072;

/// A frame that libzstd 1.5 made of [`LIBRARY_TEXT`] 211 times, cut at 8,192 bytes.
pub const LIBRARY_FRAME: &[u8] =
    b"(\xb5/\xfd`\x00\x1f\x85\x01\x00t\x02A frame that libzstd made, not a hand. \x01\x00\xb7~\xd5\xab'";
pub const LIBRARY_TEXT: &[u8] = b"A frame that libzstd made, not a hand. ";

pub struct Maker {
    writer: ArchiveWriter,
    directory: Vec<u8>,
    vector: Vector,
}

pub fn attributes() -> Attributes {
    Attributes {
        permissions: 0o644,
        uid: 1000,
        gid: 100,
        mtime: Timestamp { seconds: 1_700_000_001, nanos: 5 },
        xattrs: Vec::new(),
    }
}

pub fn entry(path: impl AsRef<[u8]>, entry_type: EntryType) -> NewEntry {
    let permissions = match entry_type {
        EntryType::Directory => 0o755,
        EntryType::Symlink | EntryType::HardLink { .. } => 0o777,
        _ => 0o644,
    };
    NewEntry {
        path: path.as_ref().to_vec(),
        entry_type,
        attributes: Attributes { permissions, ..attributes() },
        link_count: None,
    }
}

pub fn file(path: impl AsRef<[u8]>) -> NewEntry {
    entry(path, EntryType::Regular)
}

pub fn xattr(name: &str, value: &[u8]) -> Xattr {
    (name.into(), value.to_vec())
}

/// A frame of one RLE block.
pub fn rle(byte: u8, length: usize) -> Piece {
    let mut bytes = hole_frame(length as u32).to_vec();
    bytes[12] = byte;
    Piece::Frame { bytes, content_length: length as u32 }
}

/// A frame of raw blocks that the writer does not know to be such, and so does not cut.
pub fn uncut(byte: u8, length: usize) -> Piece {
    let mut bytes = hole_frame(length as u32)[..9].to_vec();
    bytes.extend_from_slice(&((length as u32) << 3 | 1).to_le_bytes()[..3]);
    bytes.resize(bytes.len() + length, byte);
    Piece::Frame { bytes, content_length: length as u32 }
}

fn content(piece: &Piece) -> Vec<u8> {
    match piece {
        Piece::Raw(content) => content.clone(),
        Piece::Hole(n) => vec![0; *n as usize],
        Piece::Frame { bytes, content_length } => {
            let content = zstd::bulk::decompress(bytes, EXTENT).expect("a good frame");
            assert_eq!(content.len(), *content_length as usize);
            content
        }
    }
}

impl Maker {
    pub fn new(name: &'static str, shows: &'static str, anchors: &'static [&'static str]) -> Self {
        Maker::with_root(name, shows, anchors, None)
    }

    pub fn with_root(
        name: &'static str,
        shows: &'static str,
        anchors: &'static [&'static str],
        root: Option<Attributes>,
    ) -> Self {
        let options = WriterOptions { archive_id: ARCHIVE_ID, root: root.clone(), upload_part_size: 8 << 20 };
        let writer = ArchiveWriter::new(options).expect("options");
        let vector =
            Vector { name, shows, anchors, deviations: &[], parts: &[], root, entries: Vec::new(), bytes: Vec::new() };
        Maker { writer, directory: Vec::new(), vector }
    }

    /// This tool does not get it right, and why.
    pub fn deviations(mut self, list: &'static [(&'static str, &'static str)]) -> Self {
        self.vector.deviations = list;
        self
    }

    /// What the parts begin with.
    pub fn parts(&mut self, parts: &'static [(u8, u64, u64)]) {
        self.vector.parts = parts;
    }

    fn drain(&mut self) {
        self.vector.bytes.extend_from_slice(self.writer.output());
        self.writer.clear_output();
        self.directory.extend_from_slice(self.writer.directory());
        self.writer.clear_directory();
    }

    fn given(&mut self, entry: NewEntry, data: Vec<u8>, holes: Vec<(u64, u64)>) {
        self.vector.entries.push(Expected { entry, data, holes });
        self.drain();
    }

    pub fn stored(&mut self, entry: NewEntry, data: impl AsRef<[u8]>) -> u64 {
        let data = data.as_ref().to_vec();
        let ordinal = self.writer.add_stored(entry.clone(), data.clone(), crc32(&data)).expect("stored");
        self.given(entry, data, Vec::new());
        ordinal
    }

    pub fn directory(&mut self, path: impl AsRef<[u8]>) {
        self.stored(entry(path, EntryType::Directory), b"");
    }

    /// Another name of entry `target`.
    pub fn hard_link(&mut self, path: &str, target: u64) {
        let to = &self.vector.entries[target as usize].entry;
        let text = hard_link_text(path.as_bytes(), &to.path);
        let attributes = Attributes { permissions: 0o777, xattrs: Vec::new(), ..to.attributes.clone() };
        let link = NewEntry { attributes, ..entry(path, EntryType::HardLink { target }) };
        self.stored(link, text);
    }

    pub fn framed(&mut self, entry: NewEntry, pieces: Vec<Piece>) {
        let (data, holes) = whole(&pieces);
        self.writer.add_framed(entry.clone(), pieces, crc32(&data)).expect("framed");
        self.given(entry, data, holes);
    }

    /// With a data descriptor.
    pub fn large(&mut self, entry: NewEntry, pieces: Vec<Piece>) {
        let (data, holes) = whole(&pieces);
        self.writer.begin_large(entry.clone()).expect("large");
        for piece in pieces {
            self.writer.piece(piece).expect("piece");
        }
        self.writer.end_large(crc32(&data)).expect("end");
        self.given(entry, data, holes);
    }

    pub fn finish(mut self) -> Vector {
        let finished = self.writer.finish().expect("finish");
        if self.vector.entries.is_empty() {
            // The writer adds the directory itself, with what is known of it.
            let known = self.vector.root.clone().unwrap_or(Attributes { permissions: 0o755, ..Default::default() });
            let attributes = Attributes { xattrs: Vec::new(), ..known };
            let root = NewEntry { attributes, ..entry(EMPTY_TREE, EntryType::Directory) };
            self.given(root, Vec::new(), Vec::new());
        }
        self.drain();
        self.vector.bytes.extend_from_slice(&self.directory);
        self.vector.bytes.extend_from_slice(&finished.end_records);
        assert_eq!(self.vector.bytes.len() as u64, finished.archive_length);
        self.vector
    }
}

fn whole(pieces: &[Piece]) -> (Vec<u8>, Vec<(u64, u64)>) {
    let (mut data, mut holes) = (Vec::new(), Vec::<(u64, u64)>::new());
    for piece in pieces {
        let start = data.len() as u64;
        data.extend(content(piece));
        match (piece, holes.last_mut()) {
            (Piece::Hole(_), Some(last)) if last.1 == start => last.1 = data.len() as u64,
            (Piece::Hole(_), _) => holes.push((start, data.len() as u64)),
            _ => {}
        }
    }
    (data, holes)
}
