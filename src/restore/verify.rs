//! `burst verify`: everything a restore checks, and if asked the content as well, without writing anything.

use std::collections::HashMap;
use std::sync::Mutex;

use zstd::bulk::Decompressor;

use super::StopFlag;
use super::fetch_directory::Archive;
use super::pipeline::{self, PipelineOptions, Sink, VerifiedPart};
use super::report::Fetched;
use super::selection::Selection;
use crate::error::{Error, Kind, Result};
use crate::format::checksum::{crc32, crc32_combine, crc32_of_zeros};
use crate::format::entry::Entry;
use crate::format::limits::FRAME_CONTENT_MAX;
use crate::format::part_reader::{Piece, PieceKind};
use crate::observe::Events;

/// What was verified.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What came over the network, or from the file.
    pub fetched: Fetched,
    /// In the directory.
    pub entries: u64,
    /// Sum of the uncompressed sizes of regular files.
    pub content_bytes: u64,
    /// Whether the content was decompressed and compared with its CRC-32.
    pub content: bool,
}

/// Reads the whole archive and checks all of it; `content` also decompresses everything and checks every CRC-32.
pub fn verify(
    archive: &Archive,
    content: bool,
    options: &PipelineOptions,
    events: &Events,
    stop: &StopFlag,
) -> Result<VerifyReport> {
    archive.root_attributes()?;
    let sink = VerifySink { archive, content, spanning: Mutex::default() };
    let fetched = pipeline::run(archive, &Selection::default(), &sink, options, events, stop)?;
    let t = &archive.index.trailer;
    Ok(VerifyReport { fetched, entries: t.entries, content_bytes: t.content_bytes, content })
}

struct VerifySink<'a> {
    archive: &'a Archive,
    content: bool,
    /// Entries that lie in several parts: what is known of their content.
    spanning: Mutex<HashMap<u64, Vec<Run>>>,
}

/// CRC-32 of a range of content.
#[derive(Debug, Clone, Copy)]
struct Run {
    offset: u64,
    length: u64,
    crc32: u32,
}

/// Decompressor and its output.
struct Worker {
    decompressor: Decompressor<'static>,
    content: Vec<u8>,
}

impl Sink for VerifySink<'_> {
    type Worker<'w>
        = Worker
    where
        Self: 'w;

    fn worker(&self) -> Result<Worker> {
        let decompressor = Decompressor::new().map_err(|e| Error::io("start a zstd decompressor", e))?;
        Ok(Worker { decompressor, content: Vec::with_capacity(FRAME_CONTENT_MAX as usize) })
    }

    fn entry(&self, entry: &Entry, _: &[u8], _: Option<&[u8]>) -> Result<()> {
        self.archive.xattrs(entry).map(drop)
    }

    fn part(&self, worker: &mut Worker, part: &VerifiedPart<'_>) -> Result<()> {
        if !self.content {
            return Ok(());
        }
        for (placed, mine) in part.contents() {
            if let Some(run) = worker.run(mine, part.bytes).map_err(|e| self.broken(&placed.entry, e))? {
                self.add(&placed.entry, run)?;
            }
        }
        Ok(())
    }
}

impl VerifySink<'_> {
    fn broken(&self, entry: &Entry, what: String) -> Error {
        let name = self.archive.source.name();
        Error::new(Kind::Corrupt, format!("{name}: entry \"{}\": {what}", entry.path.escape_ascii()))
    }

    /// Adds a run of an entry's content and compares the CRC-32 when all of it is known.
    fn add(&self, entry: &Entry, run: Run) -> Result<()> {
        let crc = if run.length == entry.uncompressed_size {
            run.crc32
        } else {
            let mut spanning = self.spanning.lock().unwrap_or_else(|e| e.into_inner());
            let runs = spanning.entry(entry.ordinal).or_default();
            runs.push(run);
            if runs.iter().map(|run| run.length).sum::<u64>() < entry.uncompressed_size {
                return Ok(());
            }
            let mut runs = spanning.remove(&entry.ordinal).unwrap_or_default();
            runs.sort_by_key(|run| run.offset);
            runs.iter().fold(0, |crc, run| crc32_combine(crc, run.crc32, run.length))
        };
        if crc == entry.crc32 {
            return Ok(());
        }
        Err(self.broken(entry, format!("CRC-32 of the content is {crc:#010x}, expected {:#010x}", entry.crc32)))
    }
}

impl Worker {
    /// CRC-32 of the content that some neighbouring pieces hold; None if there are none.
    fn run(&mut self, pieces: &[Piece], bytes: &[u8]) -> Result<Option<Run>, String> {
        let Some(first) = pieces.first() else { return Ok(None) };
        let mut run = Run { offset: first.content_offset, length: 0, crc32: 0 };
        for piece in pieces {
            let crc = match &piece.kind {
                PieceKind::Hole => crc32_of_zeros(piece.content_len),
                PieceKind::Raw { range } | PieceKind::Stored { range } => {
                    crc32(bytes.get(range.clone()).unwrap_or_default())
                }
                PieceKind::Frame { range } => {
                    let at = |what: String| format!("frame at content offset {}: {what}", piece.content_offset);
                    let frame = bytes.get(range.clone()).unwrap_or_default();
                    self.content.clear();
                    self.decompressor
                        .decompress_to_buffer(frame, &mut self.content)
                        .map_err(|e| at(format!("cannot be decompressed: {e}")))?;
                    if self.content.len() as u64 != piece.content_len {
                        return Err(at(format!("{} bytes, expected {}", self.content.len(), piece.content_len)));
                    }
                    crc32(&self.content)
                }
            };
            run.crc32 = crc32_combine(run.crc32, crc, piece.content_len);
            run.length += piece.content_len;
        }
        Ok(Some(run))
    }
}
