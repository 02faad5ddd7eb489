//! The directory that is restored into: what state it must be in to begin or to continue, and what it looks like
//! meanwhile. Its end is in [`super::completion`].

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::{S_IFBLK, S_IFCHR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG};
use nix::sys::stat::FileStat;
use serde_json::Value;
use tracing::{info, warn};

use super::checkpoint::Journal;
use super::completion::{self, Root};
use super::durable::Durable;
use super::identity::Identity;
use super::journal::Contents;
use super::state::{Found, JournalFound, NOT_CONTENT, State};
use crate::error::{Error, Kind, Result};
use crate::format::limits::{COMPLETION_MARKER, FINISHING_MARKER};
use crate::linux::beneath::{self, Beneath};
use crate::linux::lock::Lock;
use crate::linux::{attributes, is_errno, remove, retry, retry_io, syncfs};

/// Default ACL of a directory: what is created in it gets it as its own, and must not here.
pub const DEFAULT_ACL: &str = "system.posix_acl_default";
pub const ACCESS_ACL: &str = "system.posix_acl_access";

/// What is asked of a target.
pub struct Wanted<'a> {
    /// None for a stream, which cannot be continued and is not known before its end.
    pub identity: Option<&'a Identity>,
    pub root: Option<&'a Root<'a>>,
    /// Removes what the target would hand down to what is created in it.
    pub clears_acl: bool,
    pub into_existing: bool,
    pub restart: bool,
    /// Fails if there is not room enough; asked before anything new is begun.
    pub room: &'a dyn Fn() -> Result<()>,
}

pub struct Target {
    pub(super) path: PathBuf,
    pub(super) root: Beneath,
    state: State,
    /// Held as long as the restore runs.
    _lock: Lock,
    journal: Option<Journal>,
    pub(super) durable: Arc<Durable>,
    /// New files may not simply belong to this process: the target hands its group or ACL down.
    inherits: bool,
    into_existing: bool,
    resumes: bool,
    /// The target held other things before.
    pub(super) held_others: bool,
}

impl Target {
    /// Makes the target if it is absent, checks that it is empty (or may be merged into, or is an unfinished restore of
    /// the same), and marks it as begun. None if it holds all of that already.
    pub fn prepare(path: &Path, wanted: &Wanted<'_>) -> Result<Option<Target>> {
        let shown = path.display();
        let failed = |e| Error::io(format!("open the target {shown}"), e);
        let root = match Beneath::open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                (wanted.room)()?;
                match retry_io(|| fs::DirBuilder::new().mode(0o700).create(path)) {
                    Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                        return Err(Error::io(format!("create the target {shown}"), e));
                    }
                    _ => Beneath::open(path).map_err(failed)?,
                }
            }
            opened => opened.map_err(failed)?,
        };
        let found = Found::look(&root, path)?;
        if let Some(finishing) = &found.finishing {
            let same = Identity::parse(finishing).filter(|found| wanted.identity.is_some_and(|w| w.is_done_by(found)));
            if same.is_some() {
                info!(target_directory = %shown, "all of it is there but for tidying up");
                return finish_off(path, root, wanted, finishing);
            }
            if !wanted.restart || finishing["held_others"] != false {
                let what = finishing["archive"].as_str().unwrap_or("an archive");
                let message = format!(
                    "the target {shown} holds all of {what} but for tidying up: restore that again to end it{}",
                    if finishing["held_others"] == false { ", or empty the target with --restart" } else { "" }
                );
                return Err(Error::new(Kind::TargetInUse, message));
            }
            let state = State::make(&root, path)?;
            state.check_owner()?;
            state.say_that_it_was_empty()?;
        }
        match State::open(&root, path)? {
            Some(state) => unfinished(path, root, wanted, found, state),
            None => untouched(path, root, wanted, found),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where temporary files may be made: on the disk that is being filled.
    pub fn state_directory(&self) -> &Path {
        self.state.path()
    }

    pub fn open_dir(&self, path: &[u8]) -> std::io::Result<OwnedFd> {
        self.root.open_dir(path)
    }

    /// Whether what is created may get another group than this process has, or an ACL: from the target itself, or from
    /// directories that were in it.
    pub fn inherits(&self) -> bool {
        self.inherits || self.into_existing
    }

    pub fn merges(&self) -> bool {
        self.into_existing
    }

    /// Whether an earlier run of the same restore may have left something at any name.
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// Whether it was not empty when it was begun.
    pub fn held_others(&self) -> bool {
        self.held_others
    }

    /// Whether a device that fails will be noticed.
    pub fn sees_device_errors(&self) -> bool {
        self.durable.sees_device_errors()
    }

    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Removes what stands at a name so that something new can be put there: a file or a link, never a directory. Of
    /// an earlier run of the same restore also a FIFO or device like `new`, whose type and device number these are.
    pub fn make_way(&self, dir: BorrowedFd<'_>, name: &[u8], new: (u32, u64)) -> std::io::Result<()> {
        let FileStat { st_mode, st_rdev, .. } = beneath::stat(dir, name)?;
        let mode = st_mode & S_IFMT;
        let is_ours = self.resumes && matches!(mode, S_IFIFO | S_IFCHR | S_IFBLK) && new == (mode, st_rdev);
        if mode == S_IFREG || mode == S_IFLNK || is_ours {
            return beneath::unlink(dir, name);
        }
        let what = "there is something that is neither a regular file nor a link";
        Err(std::io::Error::new(ErrorKind::AlreadyExists, what))
    }
}

/// A target without state directory.
fn untouched(path: &Path, root: Beneath, wanted: &Wanted<'_>, found: Found) -> Result<Option<Target>> {
    let shown = path.display();
    if let Some(marker) = &found.marker {
        let complete = Identity::parse(marker);
        let same = complete.as_ref().is_some_and(|c| wanted.identity.is_some_and(|w| w.is_done_by(c)));
        // Who emptied it wants it filled again.
        let is_there = found.other.is_some() || marker["entries"] == 0;
        if same && is_there {
            info!(target_directory = %shown, "all of it is there");
            return Ok(None);
        }
        if is_there && !wanted.into_existing {
            let what = complete.map_or_else(|| "another archive".to_owned(), |c| c.shown());
            let message = format!(
                "the target {shown} is complete, and holds {what}: choose another, or --into-existing to merge"
            );
            return Err(Error::new(Kind::TargetInUse, message));
        }
    }
    if let Some(name) = &found.other
        && !wanted.into_existing
    {
        let message =
            format!("the target {shown} is not empty (it has {name:?}): choose another, or --into-existing to merge");
        return Err(Error::new(Kind::TargetInUse, message));
    }
    if !wanted.into_existing {
        (wanted.room)()?;
    }
    // Never both at once: what is marked as complete and changed.
    unmark(&root, path, &found)?;
    let state = State::make(&root, path)?;
    let lock = state.lock(path)?;
    Opened { path, root, wanted, state, lock, held_others: found.other.is_some() }.begin()
}

/// How messages say to begin anew, and what becomes of what is there.
pub(super) fn anew(held_others: bool) -> &'static str {
    match held_others {
        true => "--restart --into-existing begins anew, and keeps what else is there",
        false => "--restart empties the target and begins anew",
    }
}

/// A target with a state directory: a restore runs there, or was broken off.
fn unfinished(path: &Path, root: Beneath, wanted: &Wanted<'_>, found: Found, state: State) -> Result<Option<Target>> {
    let shown = path.display();
    state.check_owner()?;
    // A lock that is held says that a run is alive.
    let lock = state.lock(path)?;
    let was_empty = state.was_empty()?;
    let held_others = !was_empty && found.other.is_some();
    if wanted.restart {
        if held_others && !wanted.into_existing {
            let message = format!(
                "the target {shown} held other things before the restore that is unfinished there, and --restart would \
                 remove them: --restart --into-existing keeps them and begins anew"
            );
            return Err(Error::new(Kind::TargetInUse, message));
        }
        unmark(&root, path, &found)?;
        // From here on nothing can be continued.
        state.remove_journal()?;
        if was_empty {
            remove::remove_all_but(&root, &NOT_CONTENT)
                .map_err(|e| Error::io(format!("empty the target {shown}"), e))?;
        }
        if !held_others {
            (wanted.room)()?;
        }
        return Opened { path, root, wanted, state, lock, held_others }.begin();
    }
    let why = match (state.read_journal()?, wanted.identity) {
        (JournalFound::Readable(contents), Some(identity)) => match Identity::parse(&contents.header) {
            Some(begun) => match identity.difference(&begun) {
                Some(difference) => format!(" that cannot be continued: {difference}"),
                None => {
                    unmark(&root, path, &found)?;
                    return Opened { path, root, wanted, state, lock, held_others }.resume(contents);
                }
            },
            None => " of another version of burst".into(),
        },
        (JournalFound::Damaged, _) => ", and its journal is damaged".into(),
        (_, None) => ", which a stream cannot continue".into(),
        (JournalFound::Absent, _) => " that has no journal (from standard input?)".into(),
    };
    if found.other.is_some() {
        let message = format!("the target {shown} holds an unfinished restore{why}: {}", anew(held_others));
        return Err(Error::new(Kind::TargetInUse, message));
    }
    // Broken off before anything was created.
    (wanted.room)()?;
    unmark(&root, path, &found)?;
    Opened { path, root, wanted, state, lock, held_others: false }.begin()
}

/// A target that may be begun or continued.
struct Opened<'a> {
    path: &'a Path,
    root: Beneath,
    wanted: &'a Wanted<'a>,
    state: State,
    lock: Lock,
    held_others: bool,
}

impl Opened<'_> {
    fn begin(self) -> Result<Option<Target>> {
        info!(target_directory = %self.path.display(), "a fresh restore: nothing of it is there");
        if !self.held_others {
            let shown = self.path.display();
            let other = remove::first_but(&self.root, &NOT_CONTENT);
            if let Some(name) = other.map_err(|e| Error::io(format!("list the target {shown}"), e))? {
                let message =
                    format!("somebody else has just put {name:?} into the target {shown}: run the same command again");
                return Err(Error::new(Kind::TargetInUse, message));
            }
            self.state.say_that_it_was_empty()?;
        }
        let durable = Arc::new(Durable::new(self.root.as_fd(), self.path)?);
        let journal = match self.wanted.identity {
            Some(identity) => Some(Journal::begin(&self.state, identity, durable.clone())?),
            None => {
                self.state.remove_journal()?;
                None
            }
        };
        self.target(journal, durable, false)
    }

    fn resume(self, contents: Contents) -> Result<Option<Target>> {
        let durable = Arc::new(Durable::new(self.root.as_fd(), self.path)?);
        let journal = Journal::resume(&self.state, contents, durable.clone())?;
        info!(
            target_directory = %self.path.display(),
            parts_there = journal.before().len(),
            "an unfinished restore is continued"
        );
        self.target(Some(journal), durable, true)
    }

    fn target(self, journal: Option<Journal>, durable: Arc<Durable>, resumes: bool) -> Result<Option<Target>> {
        let Opened { path, root, wanted, state, lock, held_others } = self;
        if wanted.clears_acl {
            let _ = attributes::remove_xattr(root.as_fd(), DEFAULT_ACL.as_bytes());
        }
        let failed = |what: &str, e| Error::io(format!("{what} {}", path.display()), e);
        let mode = retry(|| nix::sys::stat::fstat(&root)).map_err(|e| failed("look at", e.into()))?.st_mode;
        let default_acls = attributes::list_xattrs(root.as_fd(), |name| name == DEFAULT_ACL.as_bytes())
            .map_err(|e| failed("read the extended attributes of", e))?;
        Ok(Some(Target {
            path: path.to_owned(),
            root,
            state,
            _lock: lock,
            journal,
            durable,
            inherits: mode & 0o2000 != 0 || !default_acls.is_empty(),
            into_existing: wanted.into_existing,
            resumes,
            held_others,
        }))
    }
}

/// Everything is in place already, and only the end of the end is missing.
fn finish_off(path: &Path, root: Beneath, wanted: &Wanted<'_>, finishing: &Value) -> Result<Option<Target>> {
    let _lock = match State::open(&root, path)? {
        Some(state) => {
            state.check_owner()?;
            Some(state.lock(path)?)
        }
        None => None,
    };
    let durable = Durable::new(root.as_fd(), path)?;
    for notice in completion::tidy_up(path, &root, &durable, wanted.root, finishing)? {
        warn!(target_directory = %path.display(), notice, "not restored");
    }
    Ok(None)
}

/// Takes the marks away from a target that is about to change, for good.
fn unmark(root: &Beneath, path: &Path, found: &Found) -> Result<()> {
    if found.marker.is_none() && found.finishing.is_none() {
        return Ok(());
    }
    let remove = || {
        for name in [COMPLETION_MARKER, FINISHING_MARKER] {
            match attributes::with_write_permission(root.as_fd(), || {
                attributes::remove_xattr(root.as_fd(), name.as_bytes())
            }) {
                Err(e) if !is_errno(&e, &[Errno::ENODATA, Errno::EOPNOTSUPP]) => return Err(e),
                _ => {}
            }
        }
        syncfs(root.as_fd())
    };
    remove().map_err(|e| Error::io(format!("remove the mark of {}", path.display()), e))
}
