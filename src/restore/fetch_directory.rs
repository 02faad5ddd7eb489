//! Opening an archive and reading its directory in checked pieces, so that a directory of any size takes a bounded
//! amount of memory and the first parts can be fetched before it is completely here.

use std::ops::Range;
use std::sync::mpsc;
use std::time::Instant;

use super::pipeline::TICK;
use crate::error::{Error, Kind, Result};
use crate::format::archive_index::{self, ArchiveIndex, Opening, overflow_xattrs};
use crate::format::directory_reader::{DirectoryReader, DirectoryStep, PlacedEntry};
use crate::format::limits::DIRECTORY_CHECKSUM_STEP;
use crate::format::{Attributes, Entry, Xattr};
use crate::store::{ArchiveSource, Bytes};

/// Bytes of the directory asked for at once; a multiple of what one checksum covers.
const PIECE: u64 = 4 * DIRECTORY_CHECKSUM_STEP;

/// An archive whose index was read and found consistent.
pub struct Archive {
    /// Where further bytes come from.
    pub source: Box<dyn ArchiveSource>,
    /// Of the pinned version of the archive.
    pub index: ArchiveIndex,
    /// Root makes device nodes also if the archive is a file of another user, who may not make them.
    pub allows_devices: bool,
}

impl Archive {
    /// Reads and checks end records, trailer and part map; usually all of them are in the source's tail already.
    pub fn open(source: Box<dyn ArchiveSource>) -> Result<Archive> {
        let length = source.len();
        let tail_start = length - source.tail().len() as u64;
        let mut fetched: Vec<(u64, Bytes)> = Vec::new();
        let index = loop {
            let mut pieces = vec![(tail_start, source.tail())];
            pieces.extend(fetched.iter().map(|(offset, bytes)| (*offset, (**bytes).as_ref())));
            match archive_index::open(length, &pieces).map_err(|e| unopened(source.name(), e))? {
                Opening::Ready(index) => break index,
                Opening::Need(range) => fetched.push((range.start, source.read(range)?)),
            }
        };
        Ok(Archive { source, index, allows_devices: false })
    }

    /// Refuses a device node that another user wants root to make.
    pub(super) fn check_device(&self, path: &[u8]) -> Result<()> {
        match self.source.owner() {
            Some(owner) if owner != 0 && !self.allows_devices && nix::unistd::geteuid().is_root() => {
                let (archive, name) = (self.source.name(), path.escape_ascii());
                let message = format!(
                    "{archive}: \"{name}\" is a device, and the archive a file of user {owner}, who may not make devices: \
                     --allow-devices makes them all the same"
                );
                Err(Error::new(Kind::UnsafeEntry, message))
            }
            _ => Ok(()),
        }
    }

    /// An error of the format layer, with the archive's name in front.
    pub fn named(&self, error: crate::format::Error) -> Error {
        named(self.source.name(), error)
    }

    /// What the archive says about the directory it was made of.
    pub fn root_attributes(&self) -> Result<Option<Attributes>> {
        let bytes = self.read(self.index.root_range())?;
        self.index.root_attributes(&bytes).map_err(|e| self.named(e))
    }

    /// All extended attributes of an entry, also those that overflowed.
    pub fn xattrs(&self, entry: &Entry) -> Result<Vec<Xattr>> {
        match self.index.overflow_range(entry).map_err(|e| self.named(e))? {
            None => Ok(entry.attributes.xattrs.clone()),
            Some(range) => overflow_xattrs(entry, &self.read(range)?).map_err(|e| self.named(e)),
        }
    }

    /// Reads the directory from its start and hands over every entry, in order. `visit` may stop it by an error.
    pub fn for_each_entry(&self, visit: impl FnMut(PlacedEntry) -> Result<()>) -> Result<()> {
        self.for_each_entry_while(|| Ok(()), visit)
    }

    /// [`for_each_entry`](Self::for_each_entry); an error of `go_on` ends the waiting for a piece.
    pub(super) fn for_each_entry_while(
        &self,
        go_on: impl Fn() -> Result<()>,
        mut visit: impl FnMut(PlacedEntry) -> Result<()>,
    ) -> Result<()> {
        let mut reader = DirectoryReader::new(&self.index.trailer);
        let mut pieces = Pieces::new(self);
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let mut rest = bytes.as_slice();
            let more = loop {
                match reader.next(&mut rest).map_err(|e| self.named(e))? {
                    DirectoryStep::Entry(entry) => visit(entry)?,
                    DirectoryStep::NeedMore(_) => break true,
                    DirectoryStep::End => break false,
                }
            };
            if !more {
                return Ok(());
            }
            let used = bytes.len() - rest.len();
            bytes.drain(..used);
            if !pieces.next_into(&mut bytes, &go_on)? {
                let message = format!("{}: the directory is cut short", self.source.name());
                return Err(Error::new(Kind::Corrupt, message));
            }
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        match self.in_tail(&range) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Ok((*self.source.read(range)?).as_ref().to_vec()),
        }
    }

    fn in_tail(&self, range: &Range<u64>) -> Option<&[u8]> {
        let tail = self.source.tail();
        let tail_start = self.source.len() - tail.len() as u64;
        let from = range.start.checked_sub(tail_start)? as usize;
        tail.get(from..from + (range.end - range.start) as usize)
    }
}

/// The directory in pieces; the next one is always on its way.
struct Pieces<'a> {
    archive: &'a Archive,
    next: u64,
    coming: Option<(Range<u64>, mpsc::Receiver<Result<Bytes>>)>,
}

impl<'a> Pieces<'a> {
    fn new(archive: &'a Archive) -> Self {
        let mut pieces = Pieces { archive, next: archive.index.directory_range().start, coming: None };
        pieces.request();
        pieces
    }

    fn request(&mut self) {
        let end = self.archive.index.directory_range().end;
        let range = self.next..end.min(self.next + PIECE);
        if range.is_empty() {
            return;
        }
        self.next = range.end;
        let (sender, receiver) = mpsc::sync_channel(1);
        if self.archive.in_tail(&range).is_none() {
            // The receiver may be gone when the run stopped early; nothing is lost then.
            self.archive.source.start(range.clone(), Box::new(move |result| drop(sender.send(result))));
        }
        self.coming = Some((range, receiver));
    }

    fn wait<T>(&self, receiver: &mpsc::Receiver<T>, go_on: &impl Fn() -> Result<()>) -> Result<T> {
        let source = &self.archive.source;
        let begun = Instant::now();
        loop {
            go_on()?;
            let left = source.patience().map(|patience| patience.saturating_sub(begun.elapsed()));
            match receiver.recv_timeout(left.map_or(TICK, |left| left.min(TICK))) {
                Ok(received) => return Ok(received),
                Err(mpsc::RecvTimeoutError::Timeout) if left.is_some_and(|left| left.is_zero()) => {
                    let seconds = begun.elapsed().as_secs_f32();
                    let message =
                        format!("{}: a piece of the directory did not come within {seconds:.0} s", source.name());
                    return Err(Error::new(Kind::Deadline, message));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let message = format!("{}: a read ended without a result (a fault of burst)", source.name());
                    return Err(Error::new(Kind::Failure, message));
                }
            }
        }
    }

    /// Appends the next piece after checking it; false at the end.
    fn next_into(&mut self, out: &mut Vec<u8>, go_on: &impl Fn() -> Result<()>) -> Result<bool> {
        let Some((range, receiver)) = self.coming.take() else { return Ok(false) };
        let start = out.len();
        if let Some(bytes) = self.archive.in_tail(&range) {
            out.extend_from_slice(bytes);
        } else {
            let bytes = self.wait(&receiver, go_on)??;
            out.extend_from_slice((*bytes).as_ref());
        }
        self.request();
        let first = (range.start - self.archive.index.directory_range().start) / DIRECTORY_CHECKSUM_STEP;
        for (i, mib) in out[start..].chunks(DIRECTORY_CHECKSUM_STEP as usize).enumerate() {
            self.archive.index.check_directory_piece(first + i as u64, mib).map_err(|e| self.archive.named(e))?;
        }
        Ok(true)
    }
}

fn named(archive: &str, error: crate::format::Error) -> Error {
    Error::from(error).context(archive)
}

/// An error of what shows whether it is an archive at all.
fn unopened(name: &str, error: crate::format::Error) -> Error {
    let error = named(name, error);
    match error.kind() {
        Kind::Corrupt => error.with_hint(
            "check the name: only `burst snapshot` makes archives; one that was cut or rewritten on its way must be copied anew",
        ),
        _ => error,
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
