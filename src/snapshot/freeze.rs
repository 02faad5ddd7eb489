//! File systems that hold still because nobody can write to them: for sources that no subvolume snapshot can be made of.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::{major, minor};

use crate::error::{Error, Kind, Result};
use crate::linux::freeze::{Ended, Frozen};
use crate::linux::is_errno;

/// How file systems may be frozen. A process is forked that thaws them, whatever becomes of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// After this they are thawed, whatever is read then.
    pub limit: Duration,
    /// What this process writes to meanwhile, and its name: to freeze that would stop the snapshot itself.
    pub written: Vec<(PathBuf, &'static str)>,
}

/// A file system that was frozen for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrozenPlace {
    /// The source that was read from it.
    pub path: PathBuf,
    /// For which everybody else who wrote to it had to wait.
    pub time: Duration,
    /// Set if it was thawed before all of it was read: why.
    pub thawed_early: Option<&'static str>,
}

/// The file systems that are frozen now, by device number.
pub struct Freezer {
    freeze: Freeze,
    frozen: Vec<(u64, PathBuf, Frozen)>,
}

impl Freezer {
    pub fn new(freeze: Freeze) -> Freezer {
        Freezer { freeze, frozen: Vec::new() }
    }

    /// Freezes what `directory` is on, once; `shown` is the source for which.
    pub fn freeze(&mut self, directory: &File, shown: &Path) -> Result<()> {
        let device = directory.metadata().map_err(|e| Error::io("look at it", e))?.dev();
        if self.frozen.iter().any(|(known, ..)| *known == device) {
            return Ok(());
        }
        self.refuse_what_is_written(device)?;
        let frozen = Frozen::new(directory, self.freeze.limit).map_err(explained)?;
        self.frozen.push((device, shown.to_owned(), frozen));
        Ok(())
    }

    fn refuse_what_is_written(&self, device: u64) -> Result<()> {
        let always = [(PathBuf::from("/"), "the root of this system"), (std::env::temp_dir(), "temporary files")];
        for (path, what) in always.iter().chain(&self.freeze.written) {
            let found = fs::metadata(path).map(|metadata| metadata.dev());
            if found.is_ok_and(|found| lies_on(found, device)) {
                let message = format!(
                    "its file system cannot be frozen: it also holds {what} ({}), and the snapshot would wait for itself",
                    path.display()
                );
                return Err(Error::new(Kind::Usage, message));
            }
        }
        Ok(())
    }

    /// Thaws everything. Errors are of the kind that leaves a file system frozen.
    pub fn thaw(&mut self) -> Result<Vec<FrozenPlace>> {
        let mut result = Ok(());
        let mut places = Vec::new();
        for (_, path, frozen) in self.frozen.drain(..) {
            let time = frozen.since().elapsed();
            let ended = frozen.thaw().unwrap_or_else(|error| {
                let what = format!("thaw the file system of {} (try fsfreeze --unfreeze)", path.display());
                result = Err(Error::io(what, error));
                Ended::Now
            });
            let (time, thawed_early) = match ended {
                Ended::Now => (time, None),
                Ended::AtLimit => (self.freeze.limit, Some("the time allowed was over")),
                Ended::ByOthers => (time, Some("somebody else thawed it")),
            };
            places.push(FrozenPlace { path, time, thawed_early });
        }
        result.map(|()| places)
    }
}

/// Whether what is on device `upper` ends on file system `lower`: also through loop devices.
fn lies_on(upper: u64, lower: u64) -> bool {
    let mut device = upper;
    // Loop devices upon loop devices end somewhere.
    for _ in 0..16 {
        if device == lower {
            return true;
        }
        let sys = format!("/sys/dev/block/{}:{}/loop/backing_file", major(device), minor(device));
        let Ok(file) = fs::read_to_string(sys) else { return false };
        let Ok(metadata) = fs::metadata(file.trim_end_matches('\n')) else { return false };
        device = metadata.dev();
    }
    false
}

fn explained(error: io::Error) -> Error {
    let (kind, message) = match () {
        () if is_errno(&error, &[Errno::EPERM]) => (Kind::Denied, "root is needed to freeze a file system"),
        () if is_errno(&error, &[Errno::EOPNOTSUPP, Errno::ENOTTY]) => {
            (Kind::Unsupported, "its file system cannot be frozen")
        }
        () if is_errno(&error, &[Errno::EBUSY]) => (
            Kind::Failure,
            "its file system is frozen already (fsfreeze --unfreeze thaws it, if nobody needs that any more)",
        ),
        () => return Error::io("freeze its file system", error),
    };
    Error::new(kind, message).with_source(error)
}
