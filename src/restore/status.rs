//! What is known of a target without touching it.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::state::{Found, JournalFound, State};
use crate::error::{Error, Kind, Result};
use crate::linux::beneath::Beneath;

/// The state of a target.
#[derive(Debug, Clone)]
pub enum Status {
    /// Nothing was restored here.
    Nothing,
    /// A restore was begun.
    Unfinished(Unfinished),
    /// Complete; what the completion marker says.
    Complete(Value),
}

/// How far a restore came that is not complete. [`Default`]: nothing is known but that.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Unfinished {
    /// What the restore was begun with; Null if that is not known.
    pub begun: Value,
    /// Parts that need not be fetched again.
    pub done: u64,
    /// Parts that are needed; None if that is not known yet.
    pub parts: Option<u64>,
    /// Whether a run is alive; None if this user cannot tell.
    pub running: Option<bool>,
    /// Everything is in place and only tidying up is left.
    pub finishing: bool,
    /// Whether the same command can continue.
    pub can_continue: bool,
}

/// Looks at a target. Nothing is changed, and no run is disturbed.
pub fn status(target: &Path) -> Result<Status> {
    let root = match Beneath::open(target) {
        Ok(root) => root,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Status::Nothing),
        Err(e) => return Err(Error::io(format!("open the target {}", target.display()), e)),
    };
    let found = Found::look(&root, target)?;
    let state = match State::open(&root, target) {
        // Of another user.
        Err(e) if e.kind() == Kind::Denied => return Ok(Status::Unfinished(Unfinished::default())),
        state => state?,
    };
    let running = state.as_ref().and_then(State::is_locked);
    if let Some(begun) = found.finishing {
        let parts = begun["parts"].as_u64();
        let done = parts.unwrap_or_default();
        let finishing = Unfinished { begun, done, parts, running, finishing: true, can_continue: true };
        return Ok(Status::Unfinished(finishing));
    }
    let Some(state) = state else {
        return Ok(match found.marker {
            // Who emptied it wants it filled again.
            Some(marker) if found.other.is_some() || marker["entries"] == 0 => Status::Complete(marker),
            _ => Status::Nothing,
        });
    };
    let unfinished = match state.read_journal() {
        Ok(JournalFound::Readable(journal)) => {
            let everything = journal.header["selection"] == "";
            let whole = journal.header["parts"].as_u64().filter(|_| everything);
            Unfinished {
                done: journal.done.len(),
                parts: journal.total.or(whole),
                running,
                begun: journal.header,
                finishing: false,
                can_continue: true,
            }
        }
        Ok(_) => Unfinished { running, ..Unfinished::default() },
        Err(e) if e.kind() == Kind::Denied => Unfinished { running, ..Unfinished::default() },
        Err(e) => return Err(e),
    };
    Ok(Status::Unfinished(unfinished))
}
