//! What a target says about itself: its state directory with lock and journal, and the marks on the target itself.
//!
//! ```text
//! .burst/lock      held by a run that is alive
//! .burst/journal   what is done; none when restoring from a pipe
//! .burst/fresh     the target was empty when it was begun: all that is in it came from the restore
//! user.burst.finishing   all is in place, only tidying up is left; then there may be no .burst any more
//! user.burst.restored    complete
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc;
use serde_json::Value;

use super::journal::{self, Contents};
use crate::error::{Error, Kind, Result};
use crate::format::limits::{COMPLETION_MARKER, FINISHING_MARKER, STATE_DIRECTORY, is_marker};
use crate::linux::beneath::{self, Beneath};
use crate::linux::lock::Lock;
use crate::linux::{attributes, remove, syncfs};

const LOCK: &[u8] = b"lock";
const JOURNAL: &[u8] = b"journal";
const FRESH: &[u8] = b"fresh";

/// What mkfs.ext4 leaves in an empty file system.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Names in a target that are not content.
pub const NOT_CONTENT: [&[u8]; 2] = [STATE_DIRECTORY.as_bytes(), LOST_AND_FOUND];

/// A target as it is found.
pub struct Found {
    pub marker: Option<Value>,
    pub finishing: Option<Value>,
    /// The first name that is not ours.
    pub other: Option<OsString>,
}

impl Found {
    pub fn look(root: &Beneath, shown: &Path) -> Result<Found> {
        let io = |what: &str, e| Error::io(format!("{what} {}", shown.display()), e);
        let xattrs = attributes::list_xattrs(root.as_fd(), is_marker)
            .map_err(|e| io("read the extended attributes of the target", e))?;
        let mark = |wanted: &str| {
            let (_, value) = xattrs.iter().find(|(name, _)| name == wanted.as_bytes())?;
            Some(serde_json::from_slice(value).unwrap_or_default())
        };
        let other = remove::first_but(root, &NOT_CONTENT).map_err(|e| io("list the target", e))?;
        Ok(Found { marker: mark(COMPLETION_MARKER), finishing: mark(FINISHING_MARKER), other })
    }
}

/// The journal of a target.
pub enum JournalFound {
    Absent,
    Damaged,
    Readable(Contents),
}

/// The state directory of a target.
pub struct State {
    fd: OwnedFd,
    /// For messages, and for temporary files.
    path: PathBuf,
    owner: u32,
}

impl State {
    /// None if there is none. [`Kind::TargetInUse`] for something else of its name.
    pub fn open(root: &Beneath, target: &Path) -> Result<Option<State>> {
        let path = target.join(STATE_DIRECTORY);
        let failed = |what: &str, e| Error::io(format!("{what} {}", path.display()), e);
        let stat = match beneath::stat(root.as_fd(), STATE_DIRECTORY.as_bytes()) {
            Ok(stat) => stat,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("look at", e)),
        };
        if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
            let shown = target.display();
            let message = format!(
                "the target {shown} has a {STATE_DIRECTORY} that is not a directory, and burst needs that name: move it away"
            );
            return Err(Error::new(Kind::TargetInUse, message));
        }
        let fd = root.open_dir(STATE_DIRECTORY.as_bytes()).map_err(|e| failed("open", e))?;
        Ok(Some(State { fd, path, owner: stat.st_uid }))
    }

    /// Opens the one that is there, or makes one.
    pub fn make(root: &Beneath, target: &Path) -> Result<State> {
        let path = target.join(STATE_DIRECTORY);
        match beneath::make_dir(root.as_fd(), STATE_DIRECTORY.as_bytes(), 0o700) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("create {}", path.display()), e));
            }
            _ => {}
        }
        State::open(root, target)?.ok_or_else(|| {
            Error::new(
                Kind::TargetInUse,
                format!("{} has just been removed by somebody else: run the same command again", path.display()),
            )
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses the state of another user: what it says may be meant to harm.
    pub fn check_owner(&self) -> Result<()> {
        if self.owner == nix::unistd::geteuid().as_raw() {
            return Ok(());
        }
        let message = format!(
            "{} belongs to user {}: only that user can continue the restore there; or choose another target",
            self.path.display(),
            self.owner
        );
        Err(Error::new(Kind::TargetInUse, message))
    }

    /// Held as long as the restore runs.
    pub fn lock(&self, target: &Path) -> Result<Lock> {
        // Only its owner may hold it, or anyone could block restores.
        let file = self.own_file(LOCK)?;
        let taken = Lock::take(file).map_err(|e| Error::io(format!("lock {}/lock", self.path.display()), e))?;
        taken.ok_or_else(|| {
            Error::new(Kind::TargetInUse, format!("another restore into {} is running", target.display()))
        })
    }

    /// Whether a run is alive; None if this user cannot tell.
    pub fn is_locked(&self) -> Option<bool> {
        let file = beneath::read_own_file(self.fd.as_fd(), LOCK).ok()?;
        Lock::is_held(&File::from(file)).ok()
    }

    /// Whether the target was empty when its restore began. Without that on record nothing in it may be removed.
    pub fn was_empty(&self) -> Result<bool> {
        match beneath::stat(self.fd.as_fd(), FRESH) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(format!("look at {}/fresh", self.path.display()), e)),
        }
    }

    pub fn say_that_it_was_empty(&self) -> Result<()> {
        self.own_file(FRESH).map(drop)
    }

    pub fn read_journal(&self) -> Result<JournalFound> {
        let failed = |e| Error::io(format!("read {}/journal", self.path.display()), e);
        let file = match beneath::read_own_file(self.fd.as_fd(), JOURNAL) {
            Ok(file) => File::from(file),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(JournalFound::Absent),
            Err(e) => return Err(self.not_ours(JOURNAL, e)),
        };
        let contents = journal::read(&mut BufReader::with_capacity(1 << 16, &file)).map_err(failed)?;
        Ok(match contents {
            Some(contents) => JournalFound::Readable(contents),
            None => JournalFound::Damaged,
        })
    }

    /// For writing; made if it is absent.
    pub fn open_journal(&self) -> Result<File> {
        self.own_file(JOURNAL)
    }

    pub fn remove_journal(&self) -> Result<()> {
        let removed = match beneath::unlink(self.fd.as_fd(), JOURNAL) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        let synced = removed.and_then(|()| syncfs(self.fd.as_fd()));
        synced.map_err(|e| Error::io(format!("remove {}/journal", self.path.display()), e))
    }

    fn own_file(&self, name: &[u8]) -> Result<File> {
        match beneath::open_own_file(self.fd.as_fd(), name, 0o600) {
            Ok(file) => Ok(file.into()),
            Err(e) => Err(self.not_ours(name, e)),
        }
    }

    fn not_ours(&self, name: &[u8], e: std::io::Error) -> Error {
        let shown = format!("{}/{}", self.path.display(), name.escape_ascii());
        match e.raw_os_error() {
            Some(libc::ELOOP | libc::EINVAL | libc::ENXIO) => Error::new(
                Kind::TargetInUse,
                format!("{shown} is not the file that a restore makes there: see whose it is, and move it away"),
            ),
            _ => Error::io(format!("open {shown}"), e),
        }
    }
}
