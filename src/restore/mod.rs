//! From an archive to what it describes: a file tree, a list, a verdict.
//!
//! ```text
//! fetch_directory -> pipeline (plan parts, fetch, verify) -> Sink
//!                                                             |- mounted: a tree on a mounted file system
//!                                                             |- image: a file system on a blank device
//!                                                             `- verify: nothing but checks
//! pipe: the same for standard input, which has no ranges
//!
//! target -> completion: the target before and after; state, journal, checkpoint, identity: what makes it one to continue
//! durable: whether what was written is on the disk
//! ```
//!
//! A part is handed to the sink only after its checksum and its whole structure were found right. The sink gets
//! parts in any order and from several threads; it never sees the network, and the pipeline never sees a file.

mod checkpoint;
mod completion;
mod deferred;
mod durable;
mod fetch_directory;
mod file_table;
mod finish;
mod identity;
mod image;
#[doc(hidden)]
pub mod journal;
mod mounted;
mod pipe;
mod pipeline;
mod report;
mod resume;
mod room;
mod selection;
mod state;
mod status;
mod target;
mod verify;
mod write_extent;

use std::path::Path;
use std::time::{Duration, Instant};

pub use fetch_directory::Archive;
pub(crate) use fetch_directory::hex;
pub use image::{Destination, ImageOptions, ImageReport, Profile, Sizes, image};
pub use pipeline::PipelineOptions;
pub use report::{Fetched, Report, Spent};
pub use selection::Selection;
pub use status::{Status, Unfinished, status};
pub use verify::{VerifyReport, verify};

pub use crate::stop::{StopFlag, TIME_IS_OVER, check_stop};

use self::completion::Root;
use self::identity::Identity;
use self::target::{Target, Wanted};
use crate::error::Result;
use crate::observe::{Event, Events};

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// How parts are fetched and checked.
    pub pipeline: PipelineOptions,
    /// Merge into a target that is not empty: never deletes, replaces only regular files and links.
    pub into_existing: bool,
    /// Restore only these paths and what is below them; empty = everything.
    pub paths: Vec<Vec<u8>>,
    /// Never use encoded writes: decompress everything.
    pub no_encoded_writes: bool,
    /// Empty a target that holds an unfinished restore, and begin anew.
    pub restart: bool,
    /// Time between two checkpoints; None = 10 s.
    pub checkpoint: Option<Duration>,
    /// ACLs that the file system refuses are a notice, no error.
    pub warn_of_acls: bool,
}

/// Restores an archive into `target`, reading its parts by range. Continues an unfinished restore of the same archive
/// with the same options, and leaves alone what is complete.
pub fn restore(
    archive: &Archive,
    target: &Path,
    options: &RestoreOptions,
    events: &Events,
    stop: &StopFlag,
) -> Result<Report> {
    let selection = Selection::new(&options.paths, archive, stop)?;
    let identity = Identity::new(archive, options)?;
    let root = archive.root_attributes()?;
    let clears_acl = root.is_some();
    let root = root.as_ref().filter(|_| selection.is_everything());
    let root = root.map(|attributes| Root { attributes, warn_of_acls: options.warn_of_acls });
    let wanted = Wanted {
        identity: Some(&identity),
        root: root.as_ref(),
        clears_acl,
        into_existing: options.into_existing,
        restart: options.restart,
        // What is there already may be replaced, which makes room; of a part of the archive nothing is known yet.
        room: &|| match selection.is_everything() && !options.into_existing {
            true => room::check(target, &archive.index.trailer),
            false => Ok(()),
        },
    };
    let Some(target) = Target::prepare(target, &wanted)? else {
        return Ok(Report { was_complete: true, ..Report::default() });
    };
    let mut report = fill(archive, &target, &selection, options, events, stop).inspect_err(|_| {
        // What is in place need not be fetched again. If that fails too, the first error is what matters.
        let _ = target.journal().map_or(Ok(()), |journal| journal.checkpoint(events));
    })?;
    let marker = identity.marker(&report, archive, target.held_others());
    events.emit(Event::Syncing);
    report.notices.extend(target.complete(root.as_ref(), &marker)?);
    Ok(report)
}

/// Everything but the end.
fn fill(
    archive: &Archive,
    target: &Target,
    selection: &Selection,
    options: &RestoreOptions,
    events: &Events,
    stop: &StopFlag,
) -> Result<Report> {
    let sink = mounted::MountedSink::new(target, archive, options)?;
    let run = || pipeline::run(archive, selection, &sink, &options.pipeline, events, stop);
    let fetched = match target.journal() {
        Some(journal) => {
            let fetched = journal.kept_while(options.checkpoint.unwrap_or(checkpoint::INTERVAL), events, run)?;
            journal.all_or_none(events)?;
            fetched
        }
        None => run()?,
    };
    events.emit(Event::Finishing);
    let finishing = Instant::now();
    let report = sink.finish(stop)?;
    Ok(Report { fetched, finishing: finishing.elapsed(), continued: target.resumes(), ..report })
}

/// Restores an archive that comes as a stream of bytes. Structure is checked as it comes, checksums at the end,
/// so that a damaged archive is found out only after most of it was written; the target then stays incomplete.
/// Of a silent stream `stop` is looked at when a read ends with [`std::io::ErrorKind::Interrupted`]; see
/// [`StdinSource`](crate::store::StdinSource).
pub fn restore_stream(
    input: &mut dyn std::io::Read,
    target: &Path,
    options: &RestoreOptions,
    events: &Events,
    stop: &StopFlag,
) -> Result<Report> {
    pipe::restore(input, target, options, events, stop)
}
