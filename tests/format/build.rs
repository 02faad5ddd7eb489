//! Random archives through the real writer, with what their entries hold.

use burst::format::archive_writer::{ArchiveWriter, NewEntry, Piece, WriterOptions};
use burst::format::checksum::crc32;
use burst::format::entry::hard_link_text;
use burst::format::{Attributes, EntryType, Timestamp};

/// xorshift64*: the same tree for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below n.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Incompressible within a frame; repeats after 256 KiB, because making it byte by byte takes long.
    fn noise(&mut self, length: usize) -> Vec<u8> {
        let some = length.min(256 << 10);
        let unit: Vec<u8> = (0..some.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        let mut bytes = unit.repeat(length.div_ceil(some.max(1)));
        bytes.truncate(length);
        bytes
    }
}

/// An entry as it was given to the writer.
pub struct Given {
    pub entry: NewEntry,
    /// Content, or the text of a link.
    pub data: Vec<u8>,
}

pub struct Built {
    pub bytes: Vec<u8>,
    pub given: Vec<Given>,
    pub root: Option<Attributes>,
}

/// The paths and sizes; the bytes would fill the screen.
impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.given.iter().map(|g| (g.entry.path.escape_ascii(), g.entry.entry_type, g.data.len())))
            .finish()
    }
}

pub struct Builder {
    writer: ArchiveWriter,
    random: Random,
    bytes: Vec<u8>,
    directory: Vec<u8>,
    given: Vec<Given>,
    root: Option<Attributes>,
}

impl Builder {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let root = (random.below(4) > 0).then(|| attributes(&mut random, 100));
        let options = WriterOptions { archive_id: *b"format-test-id-0", root: root.clone(), upload_part_size: 8 << 20 };
        let writer = ArchiveWriter::new(options).unwrap();
        Builder { writer, random, bytes: Vec::new(), directory: Vec::new(), given: Vec::new(), root }
    }

    pub fn finish(mut self) -> Built {
        let finished = self.writer.finish().unwrap();
        self.drain();
        self.bytes.extend_from_slice(&self.directory);
        self.bytes.extend_from_slice(&finished.end_records);
        assert_eq!(self.bytes.len() as u64, finished.archive_length);
        Built { bytes: self.bytes, given: self.given, root: self.root }
    }

    fn drain(&mut self) {
        self.bytes.extend_from_slice(self.writer.output());
        self.writer.clear_output();
        self.directory.extend_from_slice(self.writer.directory());
        self.writer.clear_directory();
    }

    fn entry(&mut self, path: &str, entry_type: EntryType, xattr_bytes: u64) -> NewEntry {
        let attributes = attributes(&mut self.random, xattr_bytes);
        NewEntry { path: path.into(), entry_type, attributes, link_count: None }
    }

    fn given(&mut self, entry: NewEntry, data: Vec<u8>) {
        self.given.push(Given { entry, data });
        self.drain();
    }

    /// An entry whose data is stored as it is.
    pub fn stored(&mut self, path: &str, entry_type: EntryType, data: Vec<u8>) {
        let entry = self.entry(path, entry_type, 50);
        self.writer.add_stored(entry.clone(), data.clone(), crc32(&data)).unwrap();
        self.given(entry, data);
    }

    pub fn directory(&mut self, path: &str) {
        self.stored(path, EntryType::Directory, Vec::new());
    }

    /// A file of this many random bytes, stored.
    pub fn noise(&mut self, path: &str, length: usize) {
        let data = self.random.noise(length);
        self.stored(path, EntryType::Regular, data);
    }

    /// A file and two more names of it.
    pub fn linked(&mut self, path: &str, names: &[&str]) {
        let mut entry = self.entry(path, EntryType::Regular, 0);
        entry.link_count = Some(names.len() as u32 + 1);
        let target = self.writer.add_stored(entry.clone(), b"linked".to_vec(), crc32(b"linked")).unwrap();
        self.given(entry.clone(), b"linked".to_vec());
        for name in names {
            let text = hard_link_text(name.as_bytes(), path.as_bytes());
            let attributes = Attributes { permissions: 0o777, xattrs: Vec::new(), ..entry.attributes.clone() };
            let entry_type = EntryType::HardLink { target };
            let link = NewEntry { path: (*name).into(), entry_type, attributes, link_count: None };
            self.writer.add_stored(link.clone(), text.clone(), crc32(&text)).unwrap();
            self.given(link, text);
        }
    }

    /// A file with attributes that do not fit its directory header.
    pub fn overflowing(&mut self, path: &str) {
        let mut entry = self.entry(path, EntryType::Regular, 0);
        entry.attributes.xattrs =
            (0..3).map(|i| (format!("user.big{i}").into_bytes(), self.random.noise(20_000))).collect();
        self.writer.add_stored(entry.clone(), Vec::new(), 0).unwrap();
        self.given(entry, Vec::new());
    }

    /// A method-93 file of `pieces` random pieces; `large` = with a data descriptor.
    pub fn framed(&mut self, path: &str, pieces: usize, large: bool) {
        let entry = self.entry(path, EntryType::Regular, 300);
        let (mut content, mut list) = (Vec::new(), Vec::new());
        for i in 0..pieces {
            let (piece, bytes) = self.piece(i + 1 == pieces);
            content.extend_from_slice(&bytes);
            list.push(piece);
        }
        let crc = crc32(&content);
        if large {
            self.writer.begin_large(entry.clone()).unwrap();
            for piece in list {
                self.writer.piece(piece).unwrap();
                self.drain();
            }
            self.writer.end_large(crc).unwrap();
        } else {
            self.writer.add_framed(entry.clone(), list, crc).unwrap();
        }
        self.given(entry, content);
    }

    fn piece(&mut self, last: bool) -> (Piece, Vec<u8>) {
        let r = &mut self.random;
        let length = match r.below(4) {
            0 => 4096 * (1 + r.below(32)),
            1 if last => 1 + r.below(131_072),
            _ => 131_072,
        } as usize;
        match r.below(8) {
            0 => (Piece::Hole(length as u32), vec![0; length]),
            1..4 => {
                let seed = r.next();
                let content: Vec<u8> = (0..length as u64).map(|i| ((i * i / 977) ^ seed) as u8 & 0x3F).collect();
                let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
                compressor.set_parameter(zstd::stream::raw::CParameter::WindowLog(17)).unwrap();
                let bytes = compressor.compress(&content).unwrap();
                (Piece::Frame { bytes, content_length: length as u32 }, content)
            }
            4 => {
                let bytes = burst::format::zstd_frame::hole_frame(length as u32).to_vec();
                (Piece::Frame { bytes, content_length: length as u32 }, vec![0; length])
            }
            _ => {
                let content = r.noise(length);
                (Piece::Raw(content.clone()), content)
            }
        }
    }
}

fn attributes(random: &mut Random, xattr_bytes: u64) -> Attributes {
    let xattrs = (0..random.below(3))
        .map(|i| {
            let length = random.below(xattr_bytes + 1) as usize;
            (format!("user.x{i}").into_bytes(), random.noise(length))
        })
        .collect();
    Attributes {
        permissions: random.below(0o10000) as u32,
        uid: random.below(70_000) as u32,
        gid: random.next() as u32,
        mtime: Timestamp {
            seconds: random.below(5_000_000_000) as i64 - 500_000_000,
            nanos: random.below(1_000_000_000) as u32,
        },
        xattrs,
    }
}

/// Every kind of entry, a few KiB in all.
pub fn small(seed: u64) -> Built {
    let mut b = Builder::new(seed);
    b.directory("d");
    b.directory("d/e");
    b.noise("d/file", 100);
    b.stored("d/empty", EntryType::Regular, Vec::new());
    b.stored("link", EntryType::Symlink, b"d/file".to_vec());
    b.linked("d/linked", &["a", "d/e/b"]);
    b.stored("null", EntryType::CharDevice { major: 1, minor: 3 }, Vec::new());
    b.stored("loop", EntryType::BlockDevice { major: 7, minor: 0 }, Vec::new());
    b.stored("pipe", EntryType::Fifo, Vec::new());
    b.stored("\u{e4}", EntryType::Regular, b"utf-8".to_vec());
    b.finish()
}

/// Several parts with random entries, so that clean points of all kinds come up.
pub fn parts(seed: u64, entries: u64) -> Built {
    let mut b = Builder::new(seed);
    b.directory("d");
    for i in 0..entries {
        let path = format!("d/{i}");
        match b.random.below(8) {
            0 => b.stored(&path, EntryType::Regular, Vec::new()),
            1 => b.stored(&path, EntryType::Symlink, vec![b'x'; 1 + i as usize % 4095]),
            2 | 3 => {
                let length = b.random.below(300_000) as usize;
                b.noise(&path, length + 1);
            }
            4 => {
                let length = b.random.below(12 << 20) as usize;
                b.noise(&path, length);
            }
            kind => {
                let pieces = 1 + b.random.below(if kind == 5 { 4 } else { 90 }) as usize;
                b.framed(&path, pieces, kind == 7);
            }
        }
    }
    b.overflowing("d/overflowing");
    b.finish()
}
