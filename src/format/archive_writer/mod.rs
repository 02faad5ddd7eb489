//! Archive writer: entries in, the bytes of the archive out, in order, to a sink that cannot seek.
//!
//! The caller adds entries and drains [`ArchiveWriter::output`] and [`ArchiveWriter::directory`] after each call;
//! at the end it appends the spooled directory and the end records. Entries finished in memory are held back until
//! the next one is known, because the length of its header decides how they are padded (spec `#grid`).

mod frame_layout;
mod input;
mod part_sums;

use std::collections::VecDeque;

use super::attributes;
use super::checksum::crc32c;
use super::entry::{Attributes, EMPTY_TREE, Entry, EntryType, Method, Overflow, check_path};
use super::error::Result;
use super::limits::{BURST_FIELD_MAX, ENTRIES_MAX, EXTENT_ALIGNMENT, FRAME_CONTENT_MAX, GRID, PAD_PAYLOAD_MAX};
use super::part_map::{CleanPoint, PartRecord, RECORD_LENGTH};
use super::skippable_frame::{StartOfPart, padding_header};
use super::trailer::{self, Trailer};
use super::zip::central_directory;
use super::zip::data_descriptor::DataDescriptor;
use super::zip::end_of_central_directory::EndRecords;
use super::zip::local_file_header::NewHeader;
use super::zstd_frame::{hole_frame, raw_frame_header};
use frame_layout::{FrameLayout, Need, Operation, room};
pub use input::{NewEntry, Piece, WriterOptions};
use input::{check_piece, check_xattrs, misuse};
use part_sums::{DirectorySums, PartSums};

/// Most content [`ArchiveWriter::add_framed`] takes; larger files go through [`ArchiveWriter::begin_large`].
const FRAMED_MAX: u64 = 1 << 30;

/// Data of an entry that is complete before its header is written.
enum Whole {
    Stored(Vec<u8>),
    Framed(Vec<Piece>),
}

/// The entry whose end is not written yet.
enum Pending {
    Nothing,
    Whole {
        entry: Entry,
        data: Whole,
    },
    /// Header is out, sizes follow in a descriptor.
    Large {
        entry: Entry,
        layout: FrameLayout,
        queue: VecDeque<Piece>,
        data_start: u64,
        ended: bool,
    },
}

/// The bytes that follow the directory, and the length of it all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What follows the directory (APPNOTE 4.3.14 to 4.3.16).
    pub end_records: Vec<u8>,
    /// In bytes, with everything.
    pub archive_length: u64,
    /// It is in the output already, before the directory.
    pub trailer: Trailer,
}

/// See the module's text.
pub struct ArchiveWriter {
    options: WriterOptions,
    output: Vec<u8>,
    /// Archive offset of the end of `output`.
    position: u64,
    parts: PartSums,
    directory: Vec<u8>,
    directory_sums: DirectorySums,
    overflow: Vec<u8>,
    root: Vec<u8>,
    pending: Pending,
    entries: u64,
    directories: u64,
    content_bytes: u64,
}

impl ArchiveWriter {
    /// Fails if the root's extended attributes exceed the limits of [`super::limits`].
    pub fn new(options: WriterOptions) -> Result<Self> {
        let mut root = Vec::new();
        if let Some(attributes) = &options.root {
            check_xattrs(attributes)?;
            attributes::encode_root(attributes, &mut root);
        }
        Ok(ArchiveWriter {
            options,
            output: Vec::new(),
            position: 0,
            parts: PartSums::default(),
            directory: Vec::new(),
            directory_sums: DirectorySums::default(),
            overflow: Vec::new(),
            root,
            pending: Pending::Nothing,
            entries: 0,
            directories: 0,
            content_bytes: 0,
        })
    }

    /// Bytes of the archive since the last [`clear_output`](Self::clear_output).
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Forgets [`output`](Self::output), after it was taken. Every part is summed up here, so nothing may be left out.
    pub fn clear_output(&mut self) {
        self.parts.update(&self.output);
        self.output.clear();
    }

    /// Bytes of the central directory since the last [`clear_directory`](Self::clear_directory), to be spooled.
    pub fn directory(&self) -> &[u8] {
        &self.directory
    }

    /// Forgets [`directory`](Self::directory), once it is spooled.
    pub fn clear_directory(&mut self) {
        self.directory.clear();
    }

    /// Adds an entry without data (directory, device, FIFO, empty file) or with all of its data stored as it is
    /// (symbolic link, hard link, incompressible file). Returns its ordinal.
    pub fn add_stored(&mut self, entry: NewEntry, data: Vec<u8>, crc32: u32) -> Result<u64> {
        let length = data.len() as u64;
        let entry = self.begin(entry, Method::Stored, false)?;
        let entry = Entry { crc32, compressed_size: length, uncompressed_size: length, ..entry };
        self.add_whole(entry, Whole::Stored(data))
    }

    /// Adds a regular file whose pieces are all there; `crc32` is that of the whole content.
    pub fn add_framed(&mut self, entry: NewEntry, mut pieces: Vec<Piece>, crc32: u32) -> Result<u64> {
        let entry = self.begin(entry, Method::Zstd, false)?;
        let mut uncompressed_size = 0;
        for piece in &mut pieces {
            check_piece(piece, &mut uncompressed_size).map_err(|e| e.in_entry(&entry.path))?;
        }
        // The header's length must not depend on the compressed size, which is known only after the layout.
        if uncompressed_size == 0 || uncompressed_size > FRAMED_MAX {
            return Err(misuse(format!("{uncompressed_size} bytes in memory")).in_entry(&entry.path));
        }
        self.add_whole(Entry { crc32, uncompressed_size, ..entry }, Whole::Framed(pieces))
    }

    fn add_whole(&mut self, entry: Entry, data: Whole) -> Result<u64> {
        let name = central_directory::archive_name(&entry);
        let pad = matches!(data, Whole::Stored(_)).then_some(0);
        self.settle(Some(Need { header_length: new_header(&entry, &name, pad).length() }))?;
        let ordinal = self.number(&entry);
        self.pending = Pending::Whole { entry: Entry { ordinal, ..entry }, data };
        Ok(ordinal)
    }

    /// Begins a regular file of unknown size; [`piece`](Self::piece) and [`end_large`](Self::end_large) follow.
    pub fn begin_large(&mut self, entry: NewEntry) -> Result<u64> {
        let entry = self.begin(entry, Method::Zstd, true)?;
        let name = central_directory::archive_name(&entry);
        let header =
            NewHeader { name: &name, method: Method::Zstd, mtime: entry.attributes.mtime, sizes: None, pad: None };
        self.settle(Some(Need { header_length: header.length() }))?;
        let ordinal = self.number(&entry);
        let entry = Entry { ordinal, header_offset: self.position, ..entry };
        self.put_header(ordinal, &header);
        self.pending = Pending::Large {
            entry,
            layout: FrameLayout::new(self.position),
            queue: VecDeque::new(),
            data_start: self.position,
            ended: false,
        };
        Ok(ordinal)
    }

    /// Appends the next piece of the file begun with [`begin_large`](Self::begin_large).
    pub fn piece(&mut self, mut piece: Piece) -> Result<()> {
        let mut pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        let Pending::Large { entry, layout, queue, ended: false, .. } = &mut pending else {
            return Err(misuse("a piece without an open large file"));
        };
        check_piece(&mut piece, &mut entry.uncompressed_size).map_err(|e| e.in_entry(&entry.path))?;
        layout.push(piece.unit());
        queue.push_back(piece);
        self.run(entry.ordinal, std::mem::take(&mut layout.operations), queue);
        self.pending = pending;
        Ok(())
    }

    /// Ends the large file; it must not be empty.
    pub fn end_large(&mut self, crc32: u32) -> Result<()> {
        match &mut self.pending {
            Pending::Large { entry, ended, .. } if !*ended && entry.uncompressed_size > 0 => {
                entry.crc32 = crc32;
                *ended = true;
                Ok(())
            }
            _ => Err(misuse("the end of a large file that is not open or is empty")),
        }
    }

    /// Ends the data region and writes everything up to the directory. Append the spooled directory, then the end records.
    pub fn finish(&mut self) -> Result<Finished> {
        if self.entries == 0 {
            self.add_empty_tree()?;
        }
        self.settle(None)?;
        let data_end = self.position;
        let records = self.parts.finish(&self.output);
        self.append(trailer::ATTRIBUTE_REGION_SIGNATURE);
        let root = std::mem::take(&mut self.root);
        self.append(&root);
        let overflow = std::mem::take(&mut self.overflow);
        self.append(&overflow);

        let map_offset = self.position;
        let mut index = Vec::new();
        records.iter().for_each(|record| record.encode(&mut index));
        let table_offset = map_offset + index.len() as u64;
        let (table, directory_length) = self.directory_sums.finish();
        table.iter().for_each(|crc| index.extend_from_slice(&crc.to_le_bytes()));
        self.append(&index);

        let directory_offset = self.position + trailer::LENGTH as u64;
        let end = EndRecords { entries: self.entries, directory_offset, directory_length };
        let archive_length = directory_offset + directory_length + end.length();
        let trailer = Trailer {
            minor: trailer::MINOR,
            length: trailer::LENGTH as u32,
            optional_features: 0,
            archive_id: self.options.archive_id,
            archive_length,
            data_end,
            root_length: root.len() as u64,
            root_crc32c: crc32c(&root),
            part_record_length: RECORD_LENGTH as u32,
            map_offset,
            parts: records.len() as u64,
            index_crc32c: crc32c(&index),
            table_offset,
            directory_offset,
            directory_length,
            entries: self.entries,
            directories: self.directories,
            content_bytes: self.content_bytes,
            upload_part_size: self.options.upload_part_size,
        };
        let mut bytes = Vec::new();
        trailer.encode(&mut bytes);
        self.append(&bytes);
        let mut end_records = Vec::new();
        end.encode(&mut end_records);
        Ok(Finished { end_records, archive_length, trailer })
    }

    /// The entry of an archive of an empty directory (spec `#entry-order`).
    fn add_empty_tree(&mut self) -> Result<u64> {
        let mut attributes =
            self.options.root.clone().unwrap_or(Attributes { permissions: 0o755, ..Default::default() });
        attributes.xattrs.clear();
        let path = EMPTY_TREE.to_vec();
        let entry = NewEntry { path, entry_type: EntryType::Directory, attributes, link_count: None };
        let entry = self.accept(entry, Method::Stored, false)?;
        self.add_whole(entry, Whole::Stored(Vec::new()))
    }

    /// Checks what can be checked of a new entry before the pending one is settled.
    fn begin(&self, new: NewEntry, method: Method, has_descriptor: bool) -> Result<Entry> {
        check_path(&new.path)?;
        self.accept(new, method, has_descriptor)
    }

    fn accept(&self, new: NewEntry, method: Method, has_descriptor: bool) -> Result<Entry> {
        let refuse = |message: &str| Err(misuse(message).in_entry(&new.path));
        if new.entry_type == EntryType::Directory && self.directories < self.entries {
            return refuse("a directory after an entry that is none");
        }
        if matches!(self.pending, Pending::Large { ended: false, .. }) {
            return refuse("the large file before it is still open");
        }
        if method == Method::Zstd && new.entry_type != EntryType::Regular {
            return refuse("only regular files have compressed data");
        }
        if self.entries >= ENTRIES_MAX {
            return refuse("the archive has too many entries");
        }
        check_xattrs(&new.attributes).map_err(|e| e.in_entry(&new.path))?;
        Ok(Entry {
            ordinal: 0,
            path: new.path,
            entry_type: new.entry_type,
            attributes: new.attributes,
            link_count: new.link_count,
            overflow: None,
            method,
            has_descriptor,
            crc32: 0,
            compressed_size: 0,
            uncompressed_size: 0,
            header_offset: 0,
            directory_offset: 0,
        })
    }

    /// Gives the entry its number.
    fn number(&mut self, entry: &Entry) -> u64 {
        self.entries += 1;
        if entry.entry_type == EntryType::Directory {
            self.directories += 1;
        }
        self.entries - 1
    }

    /// Writes what is left of the pending entry, knowing the header that follows.
    fn settle(&mut self, next: Option<Need>) -> Result<()> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => Ok(()),
            Pending::Whole { entry, data: Whole::Stored(data) } => self.settle_stored(entry, data, next),
            Pending::Whole { entry, data: Whole::Framed(pieces) } => self.settle_framed(entry, pieces, next, None),
            Pending::Large { mut entry, mut layout, mut queue, data_start, .. } => {
                layout.close(entry.descriptor_length(), next);
                self.run(entry.ordinal, std::mem::take(&mut layout.operations), &mut queue);
                entry.compressed_size = self.position - data_start;
                let mut descriptor = Vec::new();
                DataDescriptor {
                    crc32: entry.crc32,
                    compressed_size: entry.compressed_size,
                    uncompressed_size: entry.uncompressed_size,
                }
                .encode(&mut descriptor);
                self.put(&descriptor);
                self.put_directory_header(entry)
            }
        }
    }

    fn settle_stored(&mut self, mut entry: Entry, data: Vec<u8>, next: Option<Need>) -> Result<()> {
        let name = central_directory::archive_name(&entry);
        let start = self.position + new_header(&entry, &name, Some(0)).length();
        let Some(pad) = stored_pad(self.position, start, entry.uncompressed_size, next) else {
            // No place for the data keeps both ends clean: frames of raw blocks can be cut anywhere.
            entry.method = Method::Zstd;
            let pieces = data.chunks(FRAME_CONTENT_MAX as usize).map(|content| Piece::Raw(content.to_vec())).collect();
            return self.settle_framed(entry, pieces, next, Some(0));
        };
        entry.header_offset = self.position;
        self.put_header(entry.ordinal, &new_header(&entry, &name, Some(pad as u16)));
        let mut offset = 0;
        while offset < data.len() {
            if self.position.is_multiple_of(GRID) {
                self.begin_part(CleanPoint::StoredData, entry.ordinal, offset as u64);
            }
            let length = (data.len() - offset).min(room(self.position) as usize);
            self.put(&data[offset..offset + length]);
            offset += length;
        }
        self.put_directory_header(entry)
    }

    fn settle_framed(
        &mut self,
        mut entry: Entry,
        pieces: Vec<Piece>,
        next: Option<Need>,
        pad: Option<u16>,
    ) -> Result<()> {
        let name = central_directory::archive_name(&entry);
        let data_start = self.position + new_header(&entry, &name, pad).length();
        let mut layout = FrameLayout::new(data_start);
        pieces.iter().for_each(|piece| layout.push(piece.unit()));
        layout.close(0, next);
        entry.compressed_size = layout.position() - data_start;
        entry.header_offset = self.position;
        self.put_header(entry.ordinal, &new_header(&entry, &name, pad));
        self.run(entry.ordinal, layout.operations, &mut pieces.into());
        self.put_directory_header(entry)
    }

    /// Appends what the layout decided, taking frames from the front of `queue`.
    fn run(&mut self, ordinal: u64, operations: Vec<Operation>, queue: &mut VecDeque<Piece>) {
        for operation in operations {
            match operation {
                Operation::Pad(length) => {
                    let header = padding_header(length).unwrap_or_default();
                    self.put(&header);
                    self.put_zeros(length - header.len() as u64);
                }
                Operation::StartOfPart(content_offset) => {
                    self.begin_part(CleanPoint::StartOfPart, ordinal, content_offset);
                    let frame = StartOfPart {
                        archive_id: self.options.archive_id,
                        archive_offset: self.position,
                        ordinal,
                        content_offset,
                    };
                    self.put(&frame.encode());
                }
                Operation::Frame => match queue.pop_front() {
                    Some(Piece::Frame { bytes, .. }) => self.put(&bytes),
                    Some(Piece::Hole(n)) => self.put(&hole_frame(n)),
                    other => unreachable!("the layout places frames in the order they came: {other:?}"),
                },
                Operation::RawPiece(length) => {
                    let Some(Piece::Raw(content)) = queue.front_mut() else {
                        unreachable!("the layout places frames in the order they came")
                    };
                    let rest = content.split_off(length as usize);
                    let piece = std::mem::replace(content, rest);
                    if content.is_empty() {
                        queue.pop_front();
                    }
                    self.put(&raw_frame_header(length as u32));
                    self.put(&piece);
                }
            }
        }
    }

    fn put_header(&mut self, ordinal: u64, header: &NewHeader<'_>) {
        if self.position.is_multiple_of(GRID) {
            self.begin_part(CleanPoint::LocalHeader, ordinal, 0);
        }
        let mut bytes = Vec::with_capacity(header.length() as usize);
        header.encode(&mut bytes);
        self.put(&bytes);
    }

    fn begin_part(&mut self, kind: CleanPoint, ordinal: u64, content_offset: u64) {
        let directory_offset = self.directory_sums.length();
        self.parts.begin(&self.output, PartRecord { crc32c: 0, kind, ordinal, content_offset, directory_offset });
    }

    /// Appends bytes that must lie within one part.
    fn put(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() as u64 <= room(self.position), "{} bytes at {}", bytes.len(), self.position);
        self.append(bytes);
    }

    fn put_zeros(&mut self, length: u64) {
        debug_assert!(length <= room(self.position));
        self.output.resize(self.output.len() + length as usize, 0);
        self.position += length;
    }

    fn append(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        self.position += bytes.len() as u64;
    }

    fn put_directory_header(&mut self, mut entry: Entry) -> Result<()> {
        self.content_bytes += entry.uncompressed_size;
        if central_directory::encode_burst_field(&entry).len() > BURST_FIELD_MAX {
            let mut list = Vec::new();
            attributes::AttributeList { xattrs: entry.attributes.xattrs.clone(), ..Default::default() }
                .encode(&mut list);
            let offset = (trailer::ATTRIBUTE_REGION_SIGNATURE.len() + self.root.len() + self.overflow.len()) as u64;
            entry.overflow = Some(Overflow { offset, length: list.len() as u32, crc32c: crc32c(&list) });
            self.overflow.extend_from_slice(&list);
        }
        let start = self.directory.len();
        central_directory::encode(&entry, &mut self.directory);
        self.directory_sums.update(&self.directory[start..]);
        Ok(())
    }
}

/// The local file header of an entry that is complete; `name` is its name in the archive.
fn new_header<'a>(entry: &Entry, name: &'a [u8], pad: Option<u16>) -> NewHeader<'a> {
    NewHeader {
        name,
        method: entry.method,
        mtime: entry.attributes.mtime,
        sizes: Some((entry.crc32, entry.compressed_size, entry.uncompressed_size)),
        pad,
    }
}

/// Payload of the pad field that puts stored data of `length` bytes in a clean place; `start` is where it would begin
/// without. None if there is none before the next grid point.
fn stored_pad(position: u64, start: u64, length: u64, next: Option<Need>) -> Option<u64> {
    let boundary = position + room(position);
    let clean_end = |end: u64| next.is_none_or(|need| need.fits(if end.is_multiple_of(GRID) { 0 } else { room(end) }));
    if start + length <= boundary {
        let left = boundary - start - length;
        return Some(if left == 0 || clean_end(start + length) { 0 } else { left });
    }
    (start.next_multiple_of(EXTENT_ALIGNMENT)..=boundary)
        .step_by(EXTENT_ALIGNMENT as usize)
        .take_while(|data_start| data_start - start <= PAD_PAYLOAD_MAX)
        .find(|data_start| clean_end(data_start + length))
        .map(|data_start| data_start - start)
}
