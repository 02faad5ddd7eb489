//! `--timeline`: a picture of a run, made of its events.

mod draw;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::cli::output::public_file;
use crate::error::{Error, Kind, Result};
use crate::observe::Event;

/// Writes down when what happened.
#[derive(Debug)]
pub struct Recorder {
    begun: Instant,
    record: Mutex<Record>,
}

/// What happened; times since the beginning.
#[derive(Debug, Default, Clone)]
struct Record {
    requests: Vec<Request>,
    /// Where in `requests` the one with this first part is, while it is not done.
    open: HashMap<u64, usize>,
    failed_attempts: Vec<Duration>,
    checkpoints: Vec<Checkpoint>,
    skipped: u64,
    directory_read: Option<Duration>,
    all_requested: Option<Duration>,
    first_part: Option<Duration>,
    finishing: Option<Duration>,
    syncing: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    first: u64,
    parts: u64,
    bytes: u64,
    requested: Duration,
    arrived: Option<Duration>,
    taken: Option<Duration>,
    done: Option<Duration>,
    good: bool,
}

#[derive(Debug, Clone, Copy)]
struct Checkpoint {
    ended: Duration,
    took: Duration,
    parts: u64,
}

/// What the picture says in words.
pub struct Caption<'a> {
    /// The first line.
    pub title: String,
    /// Names and values of figures.
    pub figures: Vec<(&'a str, String)>,
    /// How it failed, if so.
    pub failure: Option<String>,
}

impl Recorder {
    pub fn new(begun: Instant) -> Recorder {
        Recorder { begun, record: Mutex::default() }
    }

    pub fn note(&self, event: Event) {
        let now = self.begun.elapsed();
        self.record().note(now, event);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Draws what was recorded until now into a file.
    pub fn write(&self, picture: &Picture, caption: &Caption<'_>) -> Result<()> {
        let end = self.begun.elapsed();
        let svg = draw::svg(&self.record(), end, caption);
        let text = if picture.is_html { draw::html(&svg, caption) } else { svg };
        let path = &picture.path;
        let write = || public_file(OpenOptions::new().write(true).truncate(true), path)?.write_all(text.as_bytes());
        write().map_err(|e| Error::io(format!("write the timeline {}", path.display()), e))
    }
}

impl Record {
    fn note(&mut self, now: Duration, event: Event) {
        match event {
            Event::Requested { first, parts, bytes } => {
                self.open.insert(first, self.requests.len());
                let (arrived, taken, done) = (None, None, None);
                self.requests.push(Request { first, parts, bytes, requested: now, arrived, taken, done, good: true });
            }
            Event::Arrived { first, good, .. } => {
                if let Some(request) = self.open(first) {
                    (request.arrived, request.good) = (Some(now), good);
                }
            }
            Event::Taken { first } => {
                if let Some(request) = self.open(first) {
                    request.taken = Some(now);
                }
            }
            Event::PartDone { .. } => {
                self.first_part.get_or_insert(now);
            }
            Event::RequestDone { first } => {
                if let Some(request) = self.open(first) {
                    request.done = Some(now);
                }
                self.open.remove(&first);
            }
            Event::AttemptFailed => self.failed_attempts.push(now),
            Event::Checkpoint { parts, took } => self.checkpoints.push(Checkpoint { ended: now, took, parts }),
            Event::Skipped { .. } => self.skipped += 1,
            Event::DirectoryRead => self.directory_read = Some(now),
            Event::AllRequested { .. } => self.all_requested = Some(now),
            Event::Finishing => self.finishing = Some(now),
            Event::Syncing => self.syncing = Some(now),
            _ => {}
        }
    }

    fn open(&mut self, first: u64) -> Option<&mut Request> {
        self.requests.get_mut(*self.open.get(&first)?)
    }
}

/// The file to draw into.
#[derive(Debug, Clone)]
pub struct Picture {
    path: PathBuf,
    is_html: bool,
}

impl Picture {
    /// By the file's ending.
    pub fn parse(text: &str) -> std::result::Result<Picture, String> {
        let path = PathBuf::from(text);
        let is_html = match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => false,
            Some("html") => true,
            _ => return Err("the name must end with .svg or .html, which says what it becomes".to_owned()),
        };
        Ok(Picture { path, is_html })
    }

    /// An error now is better than one after the work.
    pub fn check(&self) -> Result<()> {
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if parent.is_dir() {
            return Ok(());
        }
        let message = format!("--timeline {}: there is no directory {}", self.path.display(), parent.display());
        Err(Error::new(Kind::NotFound, message).with_hint("make the directory, or name another one"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_that_can_be_drawn() {
        assert!(Picture::parse("a.html").is_ok_and(|p| p.is_html));
        assert!(Picture::parse("/x/a.svg").is_ok_and(|p| !p.is_html));
        for bad in ["", "a", "a.png", ".svg", "svg", "a.SVG"] {
            assert!(Picture::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_is_followed_to_its_end() {
        let mut record = Record::default();
        let at = Duration::from_millis;
        record.note(at(1), Event::Requested { first: 4, parts: 2, bytes: 9 });
        record.note(at(2), Event::Arrived { first: 4, bytes: 9, good: true });
        record.note(at(3), Event::Taken { first: 4 });
        record.note(at(4), Event::PartDone { part: 4, bytes: 5 });
        record.note(at(5), Event::PartDone { part: 5, bytes: 4 });
        record.note(at(6), Event::RequestDone { first: 4 });
        let r = record.requests[0];
        assert_eq!((r.requested, r.arrived, r.taken, r.done), (at(1), Some(at(2)), Some(at(3)), Some(at(6))));
        assert_eq!(record.first_part, Some(at(4)));
        assert!(record.open.is_empty());
    }
}
