//! Restore from a stream, which has no ranges and tells the directory last.
//!
//! Content is put in place as it comes, into files of mode 0600; what the local headers do not say (type, owner,
//! mode, times, attributes) follows from the directory, in a second pass over names. What the stream showed is kept
//! meanwhile, so that in the end headers, directory and part map are compared just as when reading by range.

use std::io::Read;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::completion::Root;
use super::fetch_directory::Archive;
use super::identity::Identity;
use super::mounted::{MountedSink, Parents, Worker};
use super::report::Fetched;
use super::selection::Selection;
use super::target::{Target, Wanted};
use super::{Report, RestoreOptions, StopFlag, check_stop};
use crate::error::{Error, Kind, Result};
use crate::format::checksum::Crc32c;
use crate::format::directory_reader::PlacedEntry;
use crate::format::entry::{EMPTY_TREE, EntryType, check_restorable};
use crate::format::hard_links::HardLinks;
use crate::format::limits::{EXTENT_ALIGNMENT, GRID};
use crate::format::namespace::NamespaceChecker;
use crate::format::part_map::{CleanPoint, PartRecord, shown};
use crate::format::part_reader::{Piece, PieceKind, compare_header};
use crate::format::stream_reader::{Advance, Event, StreamReader};
use crate::format::zip::data_descriptor::DataDescriptor;
use crate::format::zip::local_file_header;
use crate::format::{Step, zstd_frame};
use crate::linux::spool::Spool;
use crate::observe::{self, Events};
use crate::store::{ArchiveSource, Bytes, Deliver};

/// How messages call the archive.
const NAME: &str = "standard input";

/// Bytes asked of the stream at once.
const READ: usize = 1 << 20;

/// What follows the data, and what the headers said, stays in memory up to this many bytes each.
const SPOOL_MEMORY: usize = 64 << 20;

/// A size that no file has, for one that is not known yet: then no extent is taken for the last one.
const UNKNOWN_SIZE: u64 = u64::MAX;

pub fn restore(
    input: &mut dyn Read,
    target: &Path,
    options: &RestoreOptions,
    events: &Events,
    stop: &StopFlag,
) -> Result<Report> {
    let selection = Selection::by_name(&options.paths)?;
    let wanted = Wanted {
        identity: None,
        root: None,
        clears_acl: false,
        into_existing: options.into_existing,
        restart: options.restart,
        room: &|| Ok(()),
    };
    // A stream is not known to be what is there already.
    let Some(target) = Target::prepare(target, &wanted)? else { return Ok(Report::default()) };
    let sink = MountedSink::for_stream(&target, options)?;
    let seen = Stream::new(input, &sink, &target, &selection)?.run(events, stop)?;
    let data_end = seen.rest.data_end;
    let archive = Archive::open(Box::new(seen.rest))?;
    compare_parts(&archive, data_end, &seen.parts, seen.archive_id)?;
    let root = archive.root_attributes()?;

    let mut headers = std::io::BufReader::with_capacity(1 << 16, seen.headers.reader());
    let mut parents = Parents::default();
    let mut hard_links = HardLinks::new();
    archive.for_each_entry(|placed| {
        check_stop(stop)?;
        compare_entry(&archive, &mut headers, &placed)?;
        finish_entry(&archive, &sink, &selection, &mut parents, &mut hard_links, placed)
    })?;
    if archive.index.trailer.entries != seen.entries {
        let message = format!(
            "{NAME}: {} local file headers in the data, {} entries in the directory",
            seen.entries, archive.index.trailer.entries
        );
        return Err(Error::new(Kind::Corrupt, message));
    }
    events.emit(observe::Event::Finishing);
    let mut report = sink.finish(stop)?;
    let bytes = archive.source.len();
    report.fetched = Fetched { parts: archive.index.trailer.parts, bytes, ..Fetched::default() };
    let root = root.as_ref().filter(|_| selection.is_everything());
    let root = root.map(|attributes| Root { attributes, warn_of_acls: options.warn_of_acls });
    let marker = Identity::new(&archive, options)?.marker(&report, &archive, target.held_others());
    events.emit(observe::Event::Syncing);
    report.notices.extend(target.complete(root.as_ref(), &marker)?);
    Ok(report)
}

/// What is left of the stream when its data is in place.
struct Seen {
    parts: Vec<PartRecord>,
    archive_id: Option<[u8; 16]>,
    entries: u64,
    /// Per entry: length, local file header, data descriptor (24 zeros if there is none).
    headers: Spool,
    rest: Rest,
}

/// The first pass: data from the stream into files.
struct Stream<'a> {
    input: &'a mut dyn Read,
    sink: &'a MountedSink<'a>,
    selection: &'a Selection,
    worker: Worker<'a>,
    reader: StreamReader,
    names: NamespaceChecker,
    parts: Vec<PartRecord>,
    part_sum: Crc32c,
    headers: Spool,
    rest: Spool,
    /// The file being filled, if it is wanted.
    file: Option<Filling>,
}

struct Filling {
    path: Vec<u8>,
    fd: OwnedFd,
    size: u64,
    ends_in_hole: bool,
}

impl<'a> Stream<'a> {
    fn new(
        input: &'a mut dyn Read,
        sink: &'a MountedSink<'a>,
        target: &Target,
        selection: &'a Selection,
    ) -> Result<Self> {
        let spool = || Spool::new(target.state_directory(), SPOOL_MEMORY);
        Ok(Stream {
            input,
            sink,
            selection,
            worker: super::pipeline::Sink::worker(sink)?,
            reader: StreamReader::at_start(),
            names: NamespaceChecker::new(),
            parts: Vec::new(),
            part_sum: Crc32c::new(),
            headers: spool(),
            rest: spool(),
            file: None,
        })
    }

    fn run(mut self, events: &Events, stop: &StopFlag) -> Result<Seen> {
        let mut buffer = Vec::with_capacity(4 * READ);
        let mut used = 0;
        loop {
            let step = self.reader.next(&buffer[used..]).map_err(|e| refused(Error::from(e).context(NAME)))?;
            match step {
                Step::NeedMore(_) => {
                    check_stop(stop)?;
                    events.emit(observe::Event::Streamed { bytes: used as u64 });
                    buffer.drain(..used);
                    used = 0;
                    if self.read(&mut buffer, stop)? == 0 {
                        let message = format!(
                            "{NAME}: not a BURST archive, or cut short: it ends within the data, at byte {}",
                            self.reader.offset()
                        );
                        return Err(refused(Error::new(Kind::Corrupt, message)));
                    }
                }
                Step::Ready(Advance { event: Event::EndOfData, .. }) => break,
                Step::Ready(Advance { consumed, event }) => {
                    let bytes = &buffer[used..used + consumed];
                    self.sum(bytes, &event);
                    self.handle(bytes, event)?;
                    used += consumed;
                }
            }
        }
        let data_end = self.reader.offset();
        self.close_part();
        self.spool_rest(&buffer[used..], stop)?;
        Ok(Seen {
            parts: self.parts,
            archive_id: self.reader.archive_id(),
            entries: self.reader.entries(),
            headers: self.headers,
            rest: Rest { data_end, bytes: self.rest },
        })
    }

    fn read(&mut self, buffer: &mut Vec<u8>, stop: &StopFlag) -> Result<usize> {
        let start = buffer.len();
        buffer.resize(start + READ, 0);
        let result = loop {
            match self.input.read(&mut buffer[start..]) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => check_stop(stop)?,
                result => break result,
            }
        };
        buffer.truncate(start + *result.as_ref().unwrap_or(&0));
        result.map_err(|e| Error::io(format!("read {NAME}"), e))
    }

    /// Keeps the checksum of each part and what stands at its start, to be compared with the part map.
    fn sum(&mut self, mut bytes: &[u8], event: &Event<'_>) {
        let end = self.reader.offset();
        let mut offset = end - bytes.len() as u64;
        while !bytes.is_empty() {
            if offset.is_multiple_of(GRID) {
                self.close_part();
                let current = self.reader.entries().saturating_sub(1);
                let (kind, ordinal, content_offset) = match event {
                    Event::LocalHeader { ordinal, .. } => (CleanPoint::LocalHeader, *ordinal, 0),
                    Event::StartOfPart(start) => (CleanPoint::StartOfPart, start.ordinal, start.content_offset),
                    Event::Stored { content_offset, range } => {
                        let done = range.len() as u64 - (end - offset);
                        (CleanPoint::StoredData, current, content_offset + done)
                    }
                    // The reader allows nothing else on a grid point.
                    _ => (CleanPoint::LocalHeader, u64::MAX, 0),
                };
                self.parts.push(PartRecord { crc32c: 0, kind, ordinal, content_offset, directory_offset: 0 });
            }
            let room = (GRID - offset % GRID) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.part_sum.update(now);
            offset += now.len() as u64;
            bytes = later;
        }
    }

    fn close_part(&mut self) {
        let crc32c = std::mem::take(&mut self.part_sum).finish();
        if let Some(part) = self.parts.last_mut() {
            part.crc32c = crc32c;
        }
    }

    fn handle(&mut self, bytes: &[u8], event: Event<'_>) -> Result<()> {
        match event {
            Event::LocalHeader { header, .. } => {
                self.keep(&(bytes.len() as u32).to_le_bytes())?;
                self.keep(bytes)?;
                self.begin(header.name)
            }
            Event::Frame { content_offset, content_size, range, is_hole } => {
                let kind = match zstd_frame::raw_content(&bytes[range.clone()]) {
                    _ if is_hole => PieceKind::Hole,
                    Some(raw) => PieceKind::Raw { range: range.start + raw.start..range.start + raw.end },
                    None => PieceKind::Frame { range },
                };
                self.write(bytes, Piece { entry: 0, content_offset, content_len: content_size.into(), kind })
            }
            Event::Stored { content_offset, range } => {
                let content_len = range.len() as u64;
                self.write(bytes, Piece { entry: 0, content_offset, content_len, kind: PieceKind::Stored { range } })
            }
            Event::EntryEnd { descriptor, .. } => {
                let mut encoded = Vec::new();
                if let Some(descriptor) = descriptor {
                    descriptor.encode(&mut encoded);
                }
                encoded.resize(DESCRIPTOR, 0);
                self.keep(&encoded)?;
                self.end()
            }
            Event::StartOfPart(_) | Event::Padding | Event::EndOfData => Ok(()),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        self.headers
            .append(bytes)
            .map_err(|e| Error::io("keep the headers of the stream in a temporary file in the target", e))
    }

    fn begin(&mut self, name: &[u8]) -> Result<()> {
        let (path, entry_type) = match name.strip_suffix(b"/") {
            Some(path) => (path, EntryType::Directory),
            None => (name, EntryType::Regular),
        };
        self.names.check(path, entry_type).map_err(|e| Error::from(e).context(NAME))?;
        if !self.selection.wants(path, entry_type) {
            return Ok(());
        }
        if path == EMPTY_TREE {
            return Ok(());
        }
        check_restorable(path)?;
        if entry_type == EntryType::Directory {
            return self.sink.create_directory(path);
        }
        let fd = self.sink.create_file(&mut self.worker.parents, path, 0o600)?;
        self.file = Some(Filling { path: path.to_vec(), fd, size: 0, ends_in_hole: false });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], piece: Piece) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.size = piece.content_offset + piece.content_len;
        file.ends_in_hole = piece.kind == PieceKind::Hole;
        let size = if file.size.is_multiple_of(EXTENT_ALIGNMENT) { UNKNOWN_SIZE } else { file.size };
        let written = self.worker.extents.write(file.fd.as_fd(), &piece, bytes, size);
        written.map_err(|e| self.sink.failed(&file.path, "write", e))
    }

    fn end(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        if file.ends_in_hole {
            let size = i64::try_from(file.size).unwrap_or(i64::MAX);
            crate::linux::retry(|| nix::unistd::ftruncate(&file.fd, size))
                .map_err(|e| self.sink.failed(&file.path, "extend", e.into()))?;
        }
        Ok(())
    }

    fn spool_rest(&mut self, begun: &[u8], stop: &StopFlag) -> Result<()> {
        let keep = |rest: &mut Spool, bytes: &[u8]| {
            rest.append(bytes)
                .map_err(|e| Error::io("keep the directory of the stream in a temporary file in the target", e))
        };
        keep(&mut self.rest, begun)?;
        let mut buffer = Vec::with_capacity(READ);
        while self.read(&mut buffer, stop)? > 0 {
            check_stop(stop)?;
            keep(&mut self.rest, &buffer)?;
            buffer.clear();
        }
        Ok(())
    }
}

/// What followed the data, as the source of everything but data.
struct Rest {
    data_end: u64,
    bytes: Spool,
}

impl ArchiveSource for Rest {
    fn name(&self) -> &str {
        NAME
    }

    fn len(&self) -> u64 {
        self.data_end + self.bytes.len()
    }

    fn version(&self) -> &str {
        ""
    }

    fn tail(&self) -> &[u8] {
        &[]
    }

    fn start(&self, range: Range<u64>, deliver: Deliver) {
        deliver(self.read(range));
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let outside =
            || Error::new(Kind::Corrupt, format!("{NAME}: bytes {}-{} are within the data", range.start, range.end));
        let start = range.start.checked_sub(self.data_end).ok_or_else(outside)?;
        let length = range.end.checked_sub(range.start).filter(|_| range.end <= self.len()).ok_or_else(outside)?;
        let mut bytes = vec![0; length as usize];
        let read = self.bytes.reader_at(start).read_exact(&mut bytes);
        read.map_err(|e| Error::io("read back the directory of the stream from a temporary file in the target", e))?;
        Ok(Box::new(bytes))
    }
}

fn compare_parts(archive: &Archive, data_end: u64, seen: &[PartRecord], archive_id: Option<[u8; 16]>) -> Result<()> {
    let t = &archive.index.trailer;
    let refuse = |message: String| Err(Error::new(Kind::Corrupt, format!("{NAME}: {message}")));
    if t.data_end != data_end {
        return refuse(format!("the data ends at byte {data_end}, the trailer says {}", t.data_end));
    }
    if archive_id.is_some_and(|id| id != t.archive_id) {
        return refuse("start-of-part frames and trailer have different archive identifiers".into());
    }
    for (part, (found, stated)) in seen.iter().zip(&archive.index.map).enumerate() {
        if found.crc32c != stated.crc32c {
            return refuse(format!(
                "part {part} (from byte {}): CRC-32C is {:#010x}, the part map says {:#010x}; what was written is damaged",
                part as u64 * GRID,
                found.crc32c,
                stated.crc32c
            ));
        }
        let start = |r: &PartRecord| (r.kind, r.ordinal, r.content_offset);
        if start(found) != start(stated) {
            return refuse(format!(
                "part {part} begins with {}, the part map says {}",
                shown(start(found)),
                shown(start(stated))
            ));
        }
    }
    if seen.len() != archive.index.map.len() {
        return refuse(format!("{} parts, the part map has {}", seen.len(), archive.index.map.len()));
    }
    Ok(())
}

/// What came cannot be read, and cannot be had again here.
fn refused(error: Error) -> Error {
    match error.kind() {
        Kind::Corrupt => error.with_hint(
            "see whether what writes into the pipe failed; only what `burst snapshot` makes can be restored",
        ),
        _ => error,
    }
}

/// Length of a data descriptor in the headers that are kept.
const DESCRIPTOR: usize = crate::format::zip::data_descriptor::LENGTH;

/// Compares the next local file header and descriptor that were kept with the directory.
fn compare_entry(archive: &Archive, headers: &mut impl Read, placed: &PlacedEntry) -> Result<()> {
    let lost = |e| Error::io("read back the headers of the stream from a temporary file in the target", e);
    let entry = &placed.entry;
    let mut length = [0; 4];
    headers.read_exact(&mut length).map_err(|_| {
        let message = format!("{NAME}: the directory has more entries than the data");
        Error::new(Kind::Corrupt, message)
    })?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize + DESCRIPTOR];
    headers.read_exact(&mut bytes).map_err(lost)?;
    let descriptor = bytes.split_off(bytes.len() - DESCRIPTOR);
    let compare = || {
        let header = local_file_header::parse(&bytes)?;
        compare_header(entry.ordinal, entry.header_offset, &header, placed)?;
        if entry.has_descriptor {
            let found = DataDescriptor::parse(&descriptor)?;
            let (crc32, compressed_size, uncompressed_size) =
                (entry.crc32, entry.compressed_size, entry.uncompressed_size);
            let stated = DataDescriptor { crc32, compressed_size, uncompressed_size };
            if found != stated {
                let shown = |d: &DataDescriptor| {
                    let (packed, content) = (d.compressed_size, d.uncompressed_size);
                    format!("CRC-32 {:#010x}, {packed} bytes of data and {content} of content", d.crc32)
                };
                let message = format!("the data descriptor says {}, the directory {}", shown(&found), shown(&stated));
                return Err(crate::format::Error::corrupt(message).at(placed.data_end));
            }
        }
        Ok(())
    };
    compare().map_err(|e: crate::format::Error| archive.named(e.in_entry(&entry.path)))
}

/// Gives a path its type and attributes.
fn finish_entry(
    archive: &Archive,
    sink: &MountedSink<'_>,
    selection: &Selection,
    parents: &mut Parents,
    hard_links: &mut HardLinks,
    placed: PlacedEntry,
) -> Result<()> {
    let mut entry = placed.entry;
    let link_target = hard_links.check(&entry).map_err(|e| archive.named(e))?;
    if entry.path == EMPTY_TREE || !selection.wants(&entry.path, entry.entry_type) {
        return Ok(());
    }
    if entry.overflow.is_some() {
        entry.attributes.xattrs = archive.xattrs(&entry)?;
    }
    let path = &entry.path;
    match (entry.entry_type, link_target) {
        (EntryType::Directory, _) => sink.defer_directory(&entry, path),
        (EntryType::Regular, _) => {
            let file = sink.open_file(parents, path)?;
            sink.finish_file(file.as_fd(), &entry, path, Some(0o600), false)
        }
        (EntryType::Symlink, _) => {
            let text = sink.take_content(parents, path)?;
            if text.contains(&0) {
                let e = crate::format::Error::corrupt("a symbolic link with NUL in its target").in_entry(path);
                return Err(archive.named(e));
            }
            sink.defer_symlink(&entry, path, &text)
        }
        (EntryType::HardLink { .. }, Some(target)) => {
            if !selection.wants(target, EntryType::Regular) {
                let message = format!(
                    "{NAME}: \"{}\" is a hard link to \"{}\", which is not selected and has passed by: select it too, or restore from a file or S3",
                    path.escape_ascii(),
                    target.escape_ascii()
                );
                return Err(Error::new(Kind::Usage, message));
            }
            sink.take_content(parents, path)?;
            sink.defer_hard_link(path, target)
        }
        _ => {
            sink.take_content(parents, path)?;
            sink.make_node(parents, &entry, path)
        }
    }
}
