//! The directory (spec `#directory`), fed in pieces of any size, and where each entry's data lies (spec `#placing`).

use super::entry::{EMPTY_TREE, Entry, EntryType, Method};
use super::error::{Error, Result};
use super::limits::PAD_PAYLOAD_MAX;
use super::step::Step;
use super::trailer::{ATTRIBUTE_REGION_SIGNATURE, Trailer};
use super::zip::{central_directory, local_file_header, needs_zip64};

/// An entry and where it lies in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedEntry {
    /// As the directory states it.
    pub entry: Entry,
    /// First byte of the data, where the local file header ends.
    pub data_start: u64,
    /// End of the data, where the data descriptor begins if there is one.
    pub data_end: u64,
    /// The next entry's local file header, or the end of the data region.
    pub end: u64,
}

impl PlacedEntry {
    /// Places an entry that ends at `end` (spec `#placing`) and checks that its header has a possible length.
    pub fn new(entry: Entry, end: u64) -> Result<PlacedEntry> {
        let needed = entry.descriptor_length().checked_add(entry.compressed_size);
        let data_start = needed.and_then(|n| end.checked_sub(n));
        let data_start = data_start.filter(|&start| start >= entry.header_offset);
        let Some(data_start) = data_start else {
            return Err(Error::corrupt(format!(
                "the entry has {} bytes from its local file header to the next, its data alone {}",
                end.saturating_sub(entry.header_offset),
                entry.compressed_size
            ))
            .at(entry.header_offset)
            .in_entry(&entry.path));
        };
        let length = data_start - entry.header_offset;
        let zip64 = entry.has_descriptor || needs_zip64(entry.compressed_size) || needs_zip64(entry.uncompressed_size);
        let least = local_file_header::FIXED_LENGTH as u64
            + entry.path.len() as u64
            + u64::from(entry.entry_type == EntryType::Directory)
            + if zip64 { 20 } else { 0 };
        let fits = match (entry.method, length.checked_sub(least)) {
            (_, None) => false,
            (Method::Zstd, Some(pad)) => pad == 0 || (4..=4 + PAD_PAYLOAD_MAX).contains(&pad),
            (Method::Stored, Some(pad)) => (4..=4 + PAD_PAYLOAD_MAX).contains(&pad),
        };
        if !fits {
            return Err(Error::corrupt(format!(
                "sizes and offsets leave {length} bytes for the local file header, expected {least} and a pad field of 4 to {}",
                4 + PAD_PAYLOAD_MAX
            ))
            .at(entry.header_offset)
            .in_entry(&entry.path));
        }
        Ok(PlacedEntry { data_start, data_end: data_start + entry.compressed_size, end, entry })
    }
}

/// What [`DirectoryReader::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryStep {
    /// What is left of the slice is too short: go on with at least this many bytes from where it stands now.
    NeedMore(usize),
    /// The next one, in the order of the archive.
    Entry(PlacedEntry),
    /// The directory is complete and its counts are those of the trailer.
    End,
}

/// Parses the directory. Names against each other are for [`super::namespace::NamespaceChecker`], hard links for
/// [`super::hard_links::HardLinks`]. After an error it must not be used again.
#[derive(Debug, Clone)]
pub struct DirectoryReader {
    length: u64,
    data_end: u64,
    entries: u64,
    directories: u64,
    content_bytes: u64,
    /// Where the next overflow list must begin, and where they must end, counted from the data's end. None when begun
    /// in the middle.
    overflow: Option<(u64, u64)>,
    /// Offset in the directory of the next header.
    offset: u64,
    next_ordinal: u64,
    seen_directories: u64,
    seen_content: u64,
    /// Parsed, but the next header offset must tell where it ends.
    pending: Option<Entry>,
}

impl DirectoryReader {
    /// Reads the whole directory.
    pub fn new(trailer: &Trailer) -> Self {
        let lists = ATTRIBUTE_REGION_SIGNATURE.len() as u64 + trailer.root_length;
        DirectoryReader {
            length: trailer.directory_length,
            data_end: trailer.data_end,
            entries: trailer.entries,
            directories: trailer.directories,
            content_bytes: trailer.content_bytes,
            overflow: Some((lists, trailer.map_offset - trailer.data_end)),
            offset: 0,
            next_ordinal: 0,
            seen_directories: 0,
            seen_content: 0,
            pending: None,
        }
    }

    /// Reads from a header in the middle, as a part map record gives it. Sums over the whole directory are not checked.
    pub fn starting_at(trailer: &Trailer, ordinal: u64, directory_offset: u64) -> Self {
        DirectoryReader {
            overflow: None,
            offset: directory_offset,
            next_ordinal: ordinal,
            ..DirectoryReader::new(trailer)
        }
    }

    /// Offset in the directory of the first byte not consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Parses the next entry and moves `bytes` on past what was used. Bytes once passed must not be given again.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<DirectoryStep> {
        loop {
            if self.offset == self.length {
                let Some(last) = self.pending.take() else {
                    return self.finish().map(|()| DirectoryStep::End);
                };
                return PlacedEntry::new(last, self.data_end).map(DirectoryStep::Entry);
            }
            let entry = match self.parse(bytes)? {
                Step::Ready(entry) => entry,
                Step::NeedMore(n) => return Ok(DirectoryStep::NeedMore(n)),
            };
            if entry.path == EMPTY_TREE && self.entries != 1 {
                let message = format!("\"./\" in a directory of {} entries; it stands alone", self.entries);
                return Err(Error::corrupt(message));
            }
            let end = entry.header_offset;
            if let Some(previous) = self.pending.replace(entry) {
                return PlacedEntry::new(previous, end).map(DirectoryStep::Entry);
            }
        }
    }

    /// Parses a directory that is completely in memory.
    pub fn read_all(trailer: &Trailer, mut bytes: &[u8]) -> Result<Vec<PlacedEntry>> {
        let mut reader = DirectoryReader::new(trailer);
        let mut all = Vec::new();
        loop {
            match reader.next(&mut bytes)? {
                DirectoryStep::Entry(entry) => all.push(entry),
                DirectoryStep::End => return Ok(all),
                DirectoryStep::NeedMore(n) => {
                    return Err(Error::corrupt(format!(
                        "directory is cut short: {} bytes left, at least {n} expected",
                        bytes.len()
                    )));
                }
            }
        }
    }

    fn parse(&mut self, bytes: &mut &[u8]) -> Result<Step<Entry>> {
        let left = self.length.saturating_sub(self.offset);
        let here = |e: Error| match e.offset {
            None => Error { message: format!("{} (directory offset {})", e.message, self.offset), ..e },
            Some(_) => e,
        };
        let short = |n: usize| {
            if n as u64 > left {
                return Err(here(Error::corrupt(format!(
                    "central directory header of at least {n} bytes, but only {left} are left"
                ))));
            }
            Ok(Step::NeedMore(n))
        };
        let Some(length) = central_directory::length(bytes) else {
            return short(central_directory::FIXED_LENGTH);
        };
        if length as u64 > left || bytes.len() < length {
            return short(length);
        }
        let (header, rest) = bytes.split_at(length);
        let entry = central_directory::parse(header, self.next_ordinal, self.offset).map_err(here)?;
        self.check(&entry).map_err(|e| e.in_entry(&entry.path))?;
        self.offset += length as u64;
        self.next_ordinal += 1;
        *bytes = rest;
        Ok(Step::Ready(entry))
    }

    /// The entry against those before it and against the trailer.
    fn check(&mut self, entry: &Entry) -> Result<()> {
        if entry.ordinal >= self.entries {
            return Err(Error::corrupt(format!(
                "directory holds more entries than the trailer says: {}",
                self.entries
            )));
        }
        let expected_directory = entry.ordinal < self.directories;
        if (entry.entry_type == EntryType::Directory) != expected_directory {
            return Err(Error::corrupt(format!(
                "entry {} is {}; the first {} entries must be directories and no other",
                entry.ordinal,
                if expected_directory { "no directory" } else { "a directory" },
                self.directories
            )));
        }
        match &self.pending {
            None if entry.ordinal == 0 && entry.header_offset != 0 => {
                return Err(Error::corrupt(format!(
                    "the first local file header is at {}, expected 0",
                    entry.header_offset
                )));
            }
            Some(previous) if entry.header_offset <= previous.header_offset => {
                return Err(Error::corrupt(format!(
                    "local file header at {}, expected one behind the previous at {}",
                    entry.header_offset, previous.header_offset
                )));
            }
            _ => {}
        }
        if entry.header_offset >= self.data_end {
            return Err(Error::corrupt(format!(
                "local file header at {}, but the data region ends at {}",
                entry.header_offset, self.data_end
            )));
        }
        self.check_references(entry)?;
        self.seen_directories += u64::from(entry.entry_type == EntryType::Directory);
        self.seen_content = self.seen_content.checked_add(entry.uncompressed_size).ok_or_else(|| {
            Error::corrupt(format!(
                "uncompressed sizes {} and {} add up to more than 2^64 bytes",
                self.seen_content, entry.uncompressed_size
            ))
        })?;
        Ok(())
    }

    fn check_references(&mut self, entry: &Entry) -> Result<()> {
        if let EntryType::HardLink { target } = entry.entry_type
            && !(self.directories..entry.ordinal).contains(&target)
        {
            return Err(Error::corrupt(format!(
                "hard link to entry {target}, expected one from {} to before {}",
                self.directories, entry.ordinal
            )));
        }
        if let (Some(list), Some((next, end))) = (entry.overflow, &mut self.overflow) {
            if list.offset != *next || u64::from(list.length) > *end - *next {
                return Err(Error::corrupt(format!(
                    "overflow list of {} bytes at {} from the data's end, expected at {next} and to end by {end}",
                    list.length, list.offset
                )));
            }
            *next += u64::from(list.length);
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let mut counts = vec![("entries", self.next_ordinal, self.entries)];
        if let Some((next, end)) = self.overflow {
            counts.push(("directories", self.seen_directories, self.directories));
            counts.push(("content bytes", self.seen_content, self.content_bytes));
            counts.push(("end of the overflow lists", next, end));
        }
        for (what, found, expected) in counts {
            if found != expected {
                return Err(Error::corrupt(format!("directory: {what}: {found}, the trailer says {expected}")));
            }
        }
        Ok(())
    }
}
