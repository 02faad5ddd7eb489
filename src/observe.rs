//! What happens during a run, told as it happens: library code emits events, and whoever runs it may listen.
//!
//! Events come from the thread on which they happen, several at once; what they cost is one call per event. A restore
//! has some per request and one per part, and none per entry; a snapshot has one per file, all on the thread that
//! called it.
//!
//! ```
//! use burst::observe::{Event, Events};
//!
//! let events = Events::to(|event| match event {
//!     Event::PartDone { part, bytes } => println!("part {part}: {bytes} bytes are in place"),
//!     Event::Changed { path, .. } => println!("{} changed while it was read", path.display()),
//!     // There will be more.
//!     _ => {}
//! });
//! events.emit(Event::Finishing);
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Something that happened while an archive was read or made. Events carry no time: a listener that wants it looks at a
/// clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A part was found in place, left there by an earlier run; it will not be requested.
    Skipped {
        /// Number of the part: its offset in the archive / 8 MiB.
        part: u64,
        /// Its length.
        bytes: u64,
    },
    /// Parts that follow each other were asked for with one request.
    Requested {
        /// Number of the first part.
        first: u64,
        /// How many parts.
        parts: u64,
        /// Length of the request.
        bytes: u64,
    },
    /// The answer to a request is here.
    Arrived {
        /// Number of the first part of the request.
        first: u64,
        /// Length of the request.
        bytes: u64,
        /// False if it failed for good.
        good: bool,
    },
    /// A worker has begun with the answer to a request.
    Taken {
        /// Number of the first part of the request.
        first: u64,
    },
    /// A part was checked and put in place.
    PartDone {
        /// Number of the part.
        part: u64,
        /// Its length.
        bytes: u64,
    },
    /// The worker is done with all parts of a request, and its memory is free.
    RequestDone {
        /// Number of the first part of the request.
        first: u64,
    },
    /// So much more of an archive that comes as a stream was put in place.
    Streamed {
        /// Length in the archive.
        bytes: u64,
    },
    /// The whole directory has been read: it is known which parts are needed.
    DirectoryRead,
    /// All parts that are needed have been asked for.
    AllRequested {
        /// Parts asked for.
        parts: u64,
        /// Their length.
        bytes: u64,
        /// Parts that were in place.
        skipped: u64,
    },
    /// An attempt to send a request failed; another follows unless it was the last.
    AttemptFailed,
    /// What is in place is on the disk and on record: a crash costs only what comes after.
    Checkpoint {
        /// Parts that no earlier checkpoint covered.
        parts: u64,
        /// How long it took.
        took: Duration,
    },
    /// All content is in place. Links and attributes of directories follow, or the trees of a new file system; of an
    /// archive that is made, the directory.
    Finishing,
    /// Nothing is missing but that all is on the disk, and the mark that it is complete.
    Syncing,
    /// The walk over the sources of a snapshot goes on.
    Walking {
        /// Paths found so far.
        entries: u64,
        /// Sum of the sizes of the regular files among them.
        bytes: u64,
    },
    /// The walk is over, and nothing was read yet.
    Walked {
        /// Paths found.
        entries: u64,
        /// Sum of the sizes of the regular files among them.
        bytes: u64,
    },
    /// So much content is in the archive.
    Archived {
        /// Since the beginning: sizes of files, holes included.
        bytes: u64,
    },
    /// Left out of the archive on purpose, with all below it.
    LeftOut {
        /// As the source was named, and what is below it.
        path: &'a Path,
        /// The reason.
        why: Skip,
    },
    /// Was not still while it was read.
    Changed {
        /// As the source was named, and what is below it.
        path: &'a Path,
        /// What was seen of it.
        how: Change,
    },
    /// What was made to read one moment (a subvolume snapshot, a freeze) could not be taken back. The archive is good.
    NotReleased {
        /// For a person.
        why: &'a str,
    },
}

/// Why something is left out of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skip {
    /// It matches a pattern.
    Excluded,
    /// The directory is in the archive; what is below it is on another file system.
    OtherFileSystem,
    /// A socket means nothing without the process that made it.
    Socket,
    /// One certain file, and what it is: the archive, a swap file.
    Refused(&'static str),
}

/// What was seen of a path that was not still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It was asked for by name and does not exist.
    NotThere,
    /// It was found and is gone: not archived.
    Vanished,
    /// Something of another type has its name now: not archived.
    OtherType,
    /// It is in the archive, perhaps with some bytes of before and some of after.
    WhileRead,
}

type Listener = dyn Fn(Event<'_>) + Send + Sync;

/// Where events go: to one listener, or nowhere. Clones go to the same place.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Listener>>);

impl Events {
    /// Events that nobody hears.
    pub fn unheard() -> Events {
        Events(None)
    }

    /// Has `listener` called with every event, on the thread where it happens. It must not block for long.
    pub fn to(listener: impl Fn(Event<'_>) + Send + Sync + 'static) -> Events {
        Events(Some(Arc::new(listener)))
    }

    /// Tells the listener, if there is one.
    pub fn emit(&self, event: Event<'_>) {
        if let Some(listener) = &self.0 {
            listener(event);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Events(heard)" } else { "Events(unheard)" })
    }
}
