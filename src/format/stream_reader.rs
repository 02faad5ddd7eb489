//! The data region as a sequence of events (spec `#entries`, `#method-93-data`, `#grid`), from the start of the archive
//! or of any part, fed in pieces of any size. Every rule that the bytes themselves can show is enforced.

use std::ops::Range;

use super::directory_reader::PlacedEntry;
use super::entry::{EMPTY_TREE, Method};
use super::error::{Error, Result};
use super::header_rules::check_header;
use super::limits::{EXTENT_ALIGNMENT, FRAME_CONTENT_MAX, GRID};
use super::part_map::{CleanPoint, PartRecord};
use super::skippable_frame::{self, SkippableFrame, StartOfPart};
use super::step::Step;
use super::trailer::ATTRIBUTE_REGION_SIGNATURE;
use super::zip::data_descriptor::{self, DataDescriptor};
use super::zip::local_file_header::{self, LocalFileHeader};
use super::zstd_frame;

/// What was found; ranges count from the start of the slice that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// An entry begins.
    LocalHeader {
        /// Counted from the beginning of the archive.
        ordinal: u64,
        /// Offset in the archive.
        offset: u64,
        /// Name and sizes as the header has them; the CRC-32 and sizes are 0 if a descriptor follows.
        header: LocalFileHeader<'a>,
    },
    /// A zstd frame with content.
    Frame {
        /// Offset in the entry's content, in bytes.
        content_offset: u64,
        /// Bytes: at most 131,072.
        content_size: u32,
        /// The whole frame.
        range: Range<usize>,
        /// It is one of the canonical hole frames (spec `#holes`).
        is_hole: bool,
    },
    /// Some data of a STORE entry: as much as the slice had of it.
    Stored {
        /// Offset in the entry's content, in bytes.
        content_offset: u64,
        /// The content itself.
        range: Range<usize>,
    },
    /// The first frame of a part in which an entry goes on.
    StartOfPart(StartOfPart),
    /// Bytes that mean nothing; one skippable frame may come as several of these.
    Padding,
    /// The entry is complete; its sizes add up.
    EntryEnd {
        /// There is one if bit 3 of the header is set.
        descriptor: Option<DataDescriptor>,
        /// Bytes of the whole entry.
        content_size: u64,
    },
    /// The attribute region begins here.
    EndOfData,
}

/// An event and the bytes at the start of the slice it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance<'a> {
    /// The next call goes on behind them.
    pub consumed: usize,
    /// Borrows from the slice that was given.
    pub event: Event<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a local file header or the end of the data region.
    Header,
    /// At a frame boundary in method-93 data.
    Frames,
    /// Within the payload of a skippable frame.
    Skipping(u64),
    /// In or at the end of STORE data.
    Stored,
    Ended,
}

/// Whether padding must still follow the last frame (spec `#padding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Enough,
    NeedsPadding,
}

/// The state machine. After an error it must not be used again.
#[derive(Debug, Clone)]
pub struct StreamReader {
    state: State,
    /// Offset in the archive of the next byte.
    offset: u64,
    /// Ordinal of the next local file header.
    next_ordinal: u64,
    archive_id: Option<[u8; 16]>,
    /// A later entry must not be a directory.
    directories_done: bool,
    // The entry being read:
    name: Vec<u8>,
    has_descriptor: bool,
    data_start: u64,
    /// Unknown with a data descriptor until it comes.
    data_end: Option<u64>,
    uncompressed_size: Option<u64>,
    content_offset: u64,
    tail: Tail,
}

impl StreamReader {
    /// Reads from the first byte of the archive.
    pub fn at_start() -> Self {
        StreamReader {
            state: State::Header,
            offset: 0,
            next_ordinal: 0,
            archive_id: None,
            directories_done: false,
            name: Vec::new(),
            has_descriptor: false,
            data_start: 0,
            data_end: None,
            uncompressed_size: None,
            content_offset: 0,
            tail: Tail::Enough,
        }
    }

    /// Reads from the first byte of a part. `entry` is the one the record names; both must agree on what begins there.
    pub fn at_part(part_index: u64, record: &PartRecord, entry: &PlacedEntry, archive_id: &[u8; 16]) -> Result<Self> {
        let e = &entry.entry;
        let offset = part_index.saturating_mul(GRID);
        let refuse = |what: &str, found: u64, expected: u64| {
            Err(Error::corrupt(format!(
                "part {part_index}: the part map says {what} {found}, the directory {expected}"
            ))
            .at(offset)
            .in_entry(&e.path))
        };
        if record.ordinal != e.ordinal {
            return refuse("entry", record.ordinal, e.ordinal);
        }
        if record.directory_offset != e.directory_offset {
            return refuse("directory offset", record.directory_offset, e.directory_offset);
        }
        let mut reader =
            StreamReader { offset, archive_id: Some(*archive_id), next_ordinal: e.ordinal, ..StreamReader::at_start() };
        if record.kind == CleanPoint::LocalHeader {
            return match e.header_offset == offset {
                true => Ok(reader),
                false => refuse("a local file header at", offset, e.header_offset),
            };
        }
        let (method, last) = match record.kind {
            CleanPoint::StartOfPart => (Method::Zstd, entry.data_end + u64::from(e.has_descriptor)),
            _ => (Method::Stored, entry.data_end),
        };
        if e.method != method {
            return refuse("method", method.number().into(), e.method.number().into());
        }
        if !(entry.data_start..last).contains(&offset) {
            return Err(Error::corrupt(format!(
                "part {part_index}: the part map puts its start at {offset} inside data that lies in {} to {}",
                entry.data_start, entry.data_end
            ))
            .in_entry(&e.path));
        }
        let content = record.content_offset;
        if method == Method::Stored && content != offset - entry.data_start {
            return refuse("offset in the data", content, offset - entry.data_start);
        }
        if content > e.uncompressed_size || (offset == entry.data_start && content != 0) {
            return Err(Error::corrupt(format!(
                "part {part_index}: the part map says content offset {content}, the entry's data begins at {} and has {} bytes of content",
                entry.data_start, e.uncompressed_size
            ))
            .at(offset)
            .in_entry(&e.path));
        }
        reader.state = match method {
            Method::Zstd => State::Frames,
            Method::Stored => State::Stored,
        };
        reader.next_ordinal = e.ordinal + 1;
        reader.name.extend_from_slice(&e.path);
        reader.has_descriptor = e.has_descriptor;
        reader.data_start = entry.data_start;
        if !e.has_descriptor {
            reader.data_end = Some(entry.data_end);
            reader.uncompressed_size = Some(e.uncompressed_size);
        }
        reader.content_offset = content;
        Ok(reader)
    }

    /// Offset in the archive of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The identifier that start-of-part frames gave, or the one this reader was told.
    pub fn archive_id(&self) -> Option<[u8; 16]> {
        self.archive_id
    }

    /// Number of local file headers before this place, counted from the start of the archive.
    pub fn entries(&self) -> u64 {
        self.next_ordinal
    }

    /// What a part that began at this place would have in its record: kind, ordinal, content offset. None after the end.
    pub fn clean_point(&self) -> Option<(CleanPoint, u64, u64)> {
        let current = self.next_ordinal.saturating_sub(1);
        match self.state {
            State::Header => Some((CleanPoint::LocalHeader, self.next_ordinal, 0)),
            State::Frames => Some((CleanPoint::StartOfPart, current, self.content_offset)),
            State::Stored => Some((CleanPoint::StoredData, current, self.offset - self.data_start)),
            State::Skipping(_) | State::Ended => None,
        }
    }

    /// The next event. `buf` begins with the first byte not consumed yet; it may be empty, and after the last byte
    /// that an entry has, its end is told without more bytes.
    #[inline]
    pub fn next<'a>(&mut self, buf: &'a [u8]) -> Result<Step<Advance<'a>>> {
        let step = match self.state {
            State::Header => self.header(buf),
            State::Frames => self.frames(buf),
            State::Skipping(left) => Ok(self.skip(buf, left)),
            State::Stored => Ok(self.stored(buf)),
            State::Ended => Ok(ready(0, Event::EndOfData)),
        };
        match step {
            Ok(Step::Ready(advance)) => {
                self.offset += advance.consumed as u64;
                Ok(Step::Ready(advance))
            }
            Ok(more) => Ok(more),
            Err(e) => Err(self.place(e)),
        }
    }

    #[cold]
    fn place(&self, e: Error) -> Error {
        let e = e.at(self.offset);
        match self.state {
            State::Header => e,
            _ => e.in_entry(&self.name),
        }
    }

    /// Bytes up to the next grid point.
    fn room(&self) -> u64 {
        GRID - self.offset % GRID
    }

    fn header<'a>(&mut self, buf: &'a [u8]) -> Result<Step<Advance<'a>>> {
        let Some(signature) = buf.first_chunk::<4>() else {
            return Ok(Step::NeedMore(4));
        };
        if *signature == ATTRIBUTE_REGION_SIGNATURE[..4] {
            let Some(signature) = buf.first_chunk::<8>() else {
                return Ok(Step::NeedMore(8));
            };
            if signature != ATTRIBUTE_REGION_SIGNATURE {
                return Err(Error::corrupt(format!(
                    "attribute region begins with \"{}\", expected \"BURSTATR\"",
                    signature.escape_ascii()
                )));
            }
            self.state = State::Ended;
            return Ok(ready(0, Event::EndOfData));
        }
        let signature = u32::from_le_bytes(*signature);
        if signature != local_file_header::SIGNATURE {
            return Err(Error::corrupt(format!(
                "local file header signature is {signature:#010x}, expected {:#010x}",
                local_file_header::SIGNATURE
            )));
        }
        let Some(length) = local_file_header::length(buf) else {
            return Ok(Step::NeedMore(local_file_header::FIXED_LENGTH));
        };
        if length as u64 > self.room() {
            return Err(crosses("local file header", length as u64, self.room()));
        }
        let Some(bytes) = buf.get(..length) else {
            return Ok(Step::NeedMore(length));
        };
        let header = local_file_header::parse(bytes)?;
        let method = check_header(bytes, &header, self.next_ordinal, self.directories_done)
            .map_err(|e| e.in_entry(header.name))?;
        if self.name.strip_suffix(b"/") == Some(EMPTY_TREE) {
            return Err(Error::corrupt("an entry after \"./\", which stands alone").in_entry(header.name));
        }
        self.directories_done = header.name.last() != Some(&b'/');
        self.name.clear();
        self.name.extend_from_slice(header.name);
        self.has_descriptor = header.has_descriptor();
        self.data_start = self.offset + length as u64;
        self.content_offset = 0;
        self.tail = Tail::Enough;
        if self.has_descriptor {
            (self.data_end, self.uncompressed_size) = (None, None);
        } else {
            self.data_end = Some(self.check_extent(header.compressed_size)?);
            self.uncompressed_size = Some(header.uncompressed_size);
        }
        self.state = match method {
            Method::Zstd => State::Frames,
            Method::Stored => {
                self.check_stored_alignment(header.compressed_size)?;
                State::Stored
            }
        };
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let offset = self.offset;
        Ok(ready(length, Event::LocalHeader { ordinal, offset, header }))
    }

    fn check_extent(&self, compressed_size: u64) -> Result<u64> {
        self.data_start.checked_add(compressed_size).filter(|&end| end <= i64::MAX as u64).ok_or_else(|| {
            Error::corrupt(format!(
                "compressed size {compressed_size} at data offset {} is past the largest archive, {} bytes",
                self.data_start,
                i64::MAX
            ))
            .in_entry(&self.name)
        })
    }

    /// STORE data with a grid point in it starts at a multiple of 4,096, so that parts meet at page boundaries.
    fn check_stored_alignment(&self, size: u64) -> Result<()> {
        let first_grid_point = self.data_start.next_multiple_of(GRID);
        if first_grid_point < self.data_start + size && !self.data_start.is_multiple_of(EXTENT_ALIGNMENT) {
            return Err(Error::corrupt(format!(
                "STORE data begins at {} and has the grid point {first_grid_point} in it; it must begin at a multiple of {EXTENT_ALIGNMENT}",
                self.data_start
            ))
            .in_entry(&self.name));
        }
        Ok(())
    }

    fn stored<'a>(&mut self, buf: &'a [u8]) -> Step<Advance<'a>> {
        let left = self.data_end.map_or(0, |end| end - self.offset);
        if left == 0 {
            self.state = State::Header;
            return ready(0, Event::EntryEnd { descriptor: None, content_size: self.offset - self.data_start });
        }
        let n = (buf.len() as u64).min(left) as usize;
        if n == 0 {
            return Step::NeedMore(1);
        }
        let content_offset = self.offset - self.data_start;
        ready(n, Event::Stored { content_offset, range: 0..n })
    }

    fn skip<'a>(&mut self, buf: &'a [u8], left: u64) -> Step<Advance<'a>> {
        let n = (buf.len() as u64).min(left);
        if n == 0 {
            return Step::NeedMore(1);
        }
        self.state = after_skip(left - n);
        ready(n as usize, Event::Padding)
    }

    fn frames<'a>(&mut self, buf: &'a [u8]) -> Result<Step<Advance<'a>>> {
        let mut room = self.room();
        if let Some(end) = self.data_end {
            if self.offset == end {
                return self.end_of_frames().map(Step::Ready);
            }
            room = room.min(end - self.offset);
        }
        // What lies behind is not this entry's, and may not have come yet: it decides nothing.
        let buf = buf.get(..room as usize).unwrap_or(buf);
        let Some(magic) = buf.first_chunk::<4>() else {
            return need(4, buf, room);
        };
        let magic = u32::from_le_bytes(*magic);
        if self.offset.is_multiple_of(GRID) && magic != skippable_frame::START_OF_PART_MAGIC {
            return Err(Error::corrupt(format!(
                "a part begins inside method-93 data with {magic:#010x}, expected a start-of-part frame ({:#010x})",
                skippable_frame::START_OF_PART_MAGIC
            )));
        }
        if magic == zstd_frame::MAGIC {
            return self.frame(buf, room);
        }
        if skippable_frame::is_skippable(magic) {
            return self.skippable(buf, room);
        }
        if magic == data_descriptor::SIGNATURE && self.has_descriptor {
            return self.descriptor(buf, room);
        }
        Err(Error::corrupt(format!(
            "method-93 data goes on with {magic:#010x}, expected a frame ({:#010x}), a skippable frame{}",
            zstd_frame::MAGIC,
            if self.has_descriptor { " or the data descriptor (0x08074b50)" } else { "" }
        )))
    }

    #[inline]
    fn frame<'a>(&mut self, buf: &'a [u8], room: u64) -> Result<Step<Advance<'a>>> {
        let info = match zstd_frame::parse(buf)? {
            Step::Ready(info) => info,
            Step::NeedMore(n) => return need(n, buf, room),
        };
        let content_offset = self.content_offset;
        if !content_offset.is_multiple_of(EXTENT_ALIGNMENT) {
            return Err(Error::corrupt(format!(
                "frame begins at content offset {content_offset}, expected a multiple of {EXTENT_ALIGNMENT}"
            )));
        }
        self.content_offset = content_offset + u64::from(info.content_size);
        let most = self.uncompressed_size.unwrap_or(i64::MAX as u64);
        if self.content_offset > most {
            return Err(Error::corrupt(format!(
                "frames hold at least {} bytes of content, the uncompressed size is {most}",
                self.content_offset
            )));
        }
        self.tail = match info.content_size {
            FRAME_CONTENT_MAX => Tail::NeedsPadding,
            _ => Tail::Enough,
        };
        Ok(ready(
            info.length,
            Event::Frame {
                content_offset,
                content_size: info.content_size,
                range: 0..info.length,
                is_hole: info.is_hole,
            },
        ))
    }

    fn skippable<'a>(&mut self, buf: &'a [u8], room: u64) -> Result<Step<Advance<'a>>> {
        match skippable_frame::parse(buf)? {
            Step::NeedMore(n) => need(n, buf, room),
            Step::Ready(SkippableFrame::Skip { length, is_padding }) => {
                if length > room {
                    return Err(crosses("skippable frame", length, room));
                }
                if is_padding {
                    self.tail = Tail::Enough;
                }
                let n = (buf.len() as u64).min(length);
                self.state = after_skip(length - n);
                Ok(ready(n as usize, Event::Padding))
            }
            Step::Ready(SkippableFrame::StartOfPart(start)) => {
                self.check_start_of_part(&start)?;
                Ok(ready(skippable_frame::START_OF_PART_LENGTH, Event::StartOfPart(start)))
            }
        }
    }

    fn check_start_of_part(&mut self, start: &StartOfPart) -> Result<()> {
        let current = self.next_ordinal - 1;
        for (what, found, expected) in [
            ("archive offset", start.archive_offset, self.offset),
            ("ordinal", start.ordinal, current),
            ("content offset", start.content_offset, self.content_offset),
        ] {
            if found != expected {
                return Err(Error::corrupt(format!("start-of-part frame: {what} is {found}, expected {expected}")));
            }
        }
        if !self.offset.is_multiple_of(GRID) {
            return Err(Error::corrupt(format!(
                "start-of-part frame at {}, which is not a multiple of {GRID}",
                self.offset
            )));
        }
        let expected = *self.archive_id.get_or_insert(start.archive_id);
        if start.archive_id != expected {
            return Err(Error::corrupt(format!(
                "start-of-part frame: archive identifier is {:032x}, expected {:032x}",
                u128::from_be_bytes(start.archive_id),
                u128::from_be_bytes(expected)
            )));
        }
        Ok(())
    }

    fn descriptor<'a>(&mut self, buf: &'a [u8], room: u64) -> Result<Step<Advance<'a>>> {
        let length = data_descriptor::LENGTH;
        if length as u64 > room {
            return Err(crosses("data descriptor", length as u64, room));
        }
        let Some(bytes) = buf.get(..length) else {
            return Ok(Step::NeedMore(length));
        };
        let descriptor = DataDescriptor::parse(bytes)?;
        let data = self.offset - self.data_start;
        if descriptor.compressed_size != data {
            return Err(Error::corrupt(format!(
                "data descriptor: compressed size is {}, the data has {data} bytes",
                descriptor.compressed_size
            )));
        }
        self.uncompressed_size = Some(descriptor.uncompressed_size);
        let mut end = self.end_of_frames()?;
        end.consumed = length;
        if let Event::EntryEnd { descriptor: d, .. } = &mut end.event {
            *d = Some(descriptor);
        }
        Ok(Step::Ready(end))
    }

    fn end_of_frames<'a>(&mut self) -> Result<Advance<'a>> {
        let content_size = self.content_offset;
        if let Some(expected) = self.uncompressed_size
            && expected != content_size
        {
            return Err(Error::corrupt(format!(
                "frames hold {content_size} bytes of content, the uncompressed size is {expected}"
            )));
        }
        if content_size == 0 {
            return Err(Error::corrupt("method-93 data without content: expected at least 1 byte, found 0"));
        }
        if self.tail == Tail::NeedsPadding {
            return Err(Error::corrupt(format!(
                "the last frame holds {FRAME_CONTENT_MAX} bytes and no padding frame follows it"
            )));
        }
        self.state = State::Header;
        Ok(Advance { consumed: 0, event: Event::EntryEnd { descriptor: None, content_size } })
    }
}

fn ready(consumed: usize, event: Event<'_>) -> Step<Advance<'_>> {
    Step::Ready(Advance { consumed, event })
}

fn after_skip(left: u64) -> State {
    match left {
        0 => State::Frames,
        left => State::Skipping(left),
    }
}

/// Asks for `n` bytes of a frame for which there is `room`. That they do not fit is said when all of the room has been
/// seen, for then it is the same whatever pieces the input came in.
fn need<'a>(n: usize, buf: &[u8], room: u64) -> Result<Step<Advance<'a>>> {
    if buf.len() as u64 == room {
        return Err(crosses("frame", n as u64, room));
    }
    Ok(Step::NeedMore(n.min(room as usize)))
}

#[cold]
fn crosses(what: &str, length: u64, room: u64) -> Error {
    Error::corrupt(format!(
        "{what} of at least {length} bytes, but only {room} are left before the next multiple of {GRID} or the end of the entry's data"
    ))
}
