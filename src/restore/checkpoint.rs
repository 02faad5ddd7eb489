//! When the journal is written: parts are recorded as they are put in place, and now and then a thread of its own
//! makes everything durable and says so in the journal. The workers go on meanwhile.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::durable::Durable;
use super::identity::Identity;
use super::journal::{self, Contents, LinkText, PartSet, Record};
use super::state::State;
use crate::error::{Error, Kind, Result};
use crate::linux::retry_io;
use crate::observe::{Event, Events};

/// Time between two checkpoints unless the caller chooses another.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Records are written together, so many bytes at a time.
const BUFFER: usize = 1 << 16;

pub struct Journal {
    durable: Arc<Durable>,
    /// For messages.
    shown: String,
    seed: u32,
    /// What an earlier run put in place.
    before: PartSet,
    links: std::collections::HashMap<u64, u64>,
    open: Mutex<Open>,
    stopped: Condvar,
}

struct Open {
    file: File,
    /// Length of the file.
    written: u64,
    /// Records that follow it.
    buffer: Vec<u8>,
    /// Parts that no checkpoint covers yet.
    uncovered: u64,
    /// Whether any checkpoint speaks of any part.
    covers_any: bool,
    stop: bool,
    failed: Option<Error>,
    /// A checkpoint failed: none may follow that would count, because what this one could not make durable is not.
    broken: bool,
}

impl Journal {
    /// Begins a journal; it is on the disk before anything that it will speak of.
    pub fn begin(state: &State, identity: &Identity, durable: Arc<Durable>) -> Result<Journal> {
        let file = state.open_journal()?;
        let header = journal::encode_header(&identity.header());
        let write = || {
            file.set_len(0)?;
            file.write_all_at(&header, 0)
        };
        retry_io(write).map_err(|e| Error::io(format!("write {}/journal", state.path().display()), e))?;
        durable.sync()?;
        let nothing = Contents {
            header: serde_json::Value::Null,
            seed: journal::seed(&header),
            done: PartSet::default(),
            links: Default::default(),
            total: None,
            end: header.len() as u64,
        };
        Journal::new(file, state.path(), nothing, durable)
    }

    /// Goes on with a journal, behind what was readable of it.
    pub fn resume(state: &State, contents: Contents, durable: Arc<Durable>) -> Result<Journal> {
        let file = state.open_journal()?;
        retry_io(|| file.set_len(contents.end))
            .map_err(|e| Error::io(format!("shorten {}/journal", state.path().display()), e))?;
        let journal = Journal::new(file, state.path(), contents, durable)?;
        journal.append(&Record::Session)?;
        Ok(journal)
    }

    fn new(file: File, state: &Path, contents: Contents, durable: Arc<Durable>) -> Result<Journal> {
        let shown = format!("{}/journal", state.display());
        let open = Open {
            file,
            written: contents.end,
            buffer: Vec::new(),
            uncovered: 0,
            covers_any: !contents.done.is_empty(),
            stop: false,
            failed: None,
            broken: false,
        };
        Ok(Journal {
            durable,
            shown,
            seed: contents.seed,
            before: contents.done,
            links: contents.links,
            open: Mutex::new(open),
            stopped: Condvar::new(),
        })
    }

    /// The parts that an earlier run put in place.
    pub fn before(&self) -> &PartSet {
        &self.before
    }

    /// The link texts of such a part.
    pub fn links(&self, part: u64) -> Result<Vec<LinkText>> {
        let Some(&offset) = self.links.get(&part) else { return Ok(Vec::new()) };
        let file = self.open().file.try_clone().map_err(|e| self.failed("read", e))?;
        // Records are written by offset, so this position is nobody else's.
        (&file).seek(SeekFrom::Start(offset)).map_err(|e| self.failed("read", e))?;
        let mut reader = std::io::BufReader::new(&file);
        let links = journal::read_links(&mut reader, self.seed, offset).map_err(|e| self.failed("read", e))?;
        links.ok_or_else(|| {
            Error::new(
                Kind::Failure,
                format!(
                    "{} has changed while it was read: does another program write there? if not, --restart begins anew",
                    self.shown
                ),
            )
        })
    }

    /// Records a part whose content is completely written.
    pub fn part_done(&self, index: u64, links: Vec<LinkText>) -> Result<()> {
        self.check()?;
        if index < journal::PARTS_MAX {
            self.append(&Record::Part { index, links })?;
        }
        Ok(())
    }

    pub fn total(&self, parts: u64) -> Result<()> {
        self.append(&Record::Total(parts))
    }

    /// Makes checkpoints as long as `run` runs, in a thread of its own.
    pub fn kept_while<T>(&self, interval: Duration, events: &Events, run: impl FnOnce() -> Result<T>) -> Result<T> {
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("burst-checkpoint".into())
                .spawn_scoped(scope, move || self.keep(interval, events))
                .map_err(|e| Error::io("start the thread that makes checkpoints", e))?;
            let _stop = StopAtEnd(self);
            run()
        })
    }

    fn keep(&self, interval: Duration, events: &Events) {
        loop {
            let open = self.open();
            let (open, _) =
                self.stopped.wait_timeout_while(open, interval, |open| !open.stop).unwrap_or_else(|e| e.into_inner());
            if open.stop {
                return;
            }
            drop(open);
            if let Err(error) = self.checkpoint(events) {
                self.open().failed.get_or_insert(error);
                return;
            }
        }
    }

    /// Once all content is in place: the parts are all on record, or none is. Else a later run could find hard links to,
    /// and attributes of, a file that it knows only a part of.
    pub fn all_or_none(&self, events: &Events) -> Result<()> {
        self.check()?;
        if self.open().covers_any { self.checkpoint(events) } else { Ok(()) }
    }

    /// The error of the thread that makes checkpoints.
    fn check(&self) -> Result<()> {
        let failed = self.open().failed.take();
        failed.map_or(Ok(()), Err)
    }

    /// Makes durable what was put in place before this call, and says so. Nothing is done if there is nothing new. After
    /// an error every further call fails.
    pub fn checkpoint(&self, events: &Events) -> Result<()> {
        let result = self.try_checkpoint(events);
        self.open().broken |= result.is_err();
        result
    }

    fn try_checkpoint(&self, events: &Events) -> Result<()> {
        let begun = Instant::now();
        let (covered, parts) = {
            let mut open = self.open();
            if open.broken {
                let message = format!(
                    "{}: a checkpoint failed before (see the first error), and none counts any more",
                    self.shown
                );
                return Err(Error::new(Kind::Failure, message));
            }
            if open.uncovered == 0 {
                return Ok(());
            }
            self.flush(&mut open)?;
            (open.written, open.uncovered)
        };
        self.durable.sync()?;
        self.append(&Record::Checkpoint { covered })?;
        {
            let mut open = self.open();
            self.flush(&mut open)?;
            open.uncovered -= parts;
            open.covers_any = true;
        }
        self.durable.sync()?;
        events.emit(Event::Checkpoint { parts, took: begun.elapsed() });
        Ok(())
    }

    fn append(&self, record: &Record) -> Result<()> {
        let mut open = self.open();
        let offset = open.written + open.buffer.len() as u64;
        journal::encode(record, self.seed, offset, &mut open.buffer);
        open.uncovered += u64::from(matches!(record, Record::Part { .. }));
        if open.buffer.len() >= BUFFER { self.flush(&mut open) } else { Ok(()) }
    }

    fn flush(&self, open: &mut Open) -> Result<()> {
        open.file.write_all_at(&open.buffer, open.written).map_err(|e| self.failed("write", e))?;
        open.written += open.buffer.len() as u64;
        open.buffer.clear();
        Ok(())
    }

    fn failed(&self, what: &str, error: std::io::Error) -> Error {
        Error::io(format!("{what} {}", self.shown), error)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Ends the thread that makes checkpoints, also if what it was for panics.
struct StopAtEnd<'a>(&'a Journal);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.open().stop = true;
        self.0.stopped.notify_all();
    }
}
