//! The end of a restore, in an order that leaves after any crash either a target that is exactly as it should be and
//! marked as complete, or one that says that it is not and that the same command finishes:
//!
//! 1. all content, links and attributes of directories; one checked syncfs;
//! 2. `user.burst.finishing`, made durable: from here on nothing is fetched or written any more;
//! 3. the state directory is removed, and the target itself gets its attributes; another checked syncfs;
//! 4. `user.burst.restored` is set and `user.burst.finishing` removed; a last checked syncfs.
//!
//! A target is complete if it has the first mark and not the second.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use serde_json::Value;

use super::durable::Durable;
use super::finish::{Privileges, by_descriptor};
use super::report::Counters;
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::limits::{COMPLETION_MARKER, FINISHING_MARKER, STATE_DIRECTORY, is_marker};
use crate::format::{Attributes, Xattr};
use crate::linux::attributes::{self, with_write_permission};
use crate::linux::beneath::Beneath;
use crate::linux::{is_errno, remove};

/// What the target itself gets in the end.
pub struct Root<'a> {
    pub attributes: &'a Attributes,
    pub warn_of_acls: bool,
}

impl Target {
    /// Waits until everything is on the disk, ends the state of being restored, and marks the target as complete.
    /// What the target itself could not be given is in the list.
    pub fn complete(self, root: Option<&Root<'_>>, marker: &Value) -> Result<Vec<String>> {
        let failed = |what: &str, e| Error::io(format!("{what} {}", self.path.display()), e);
        // Here is told what went wrong while the kernel wrote in the background.
        self.durable.sync()?;
        set_mark(&self.root, FINISHING_MARKER, marker).map_err(|e| failed("mark as nearly complete", e))?;
        self.durable.sync()?;
        tidy_up(&self.path, &self.root, &self.durable, root, marker)
    }
}

/// Steps 3 and 4; may be repeated.
pub fn tidy_up(
    path: &Path,
    target: &Beneath,
    durable: &Durable,
    root: Option<&Root<'_>>,
    marker: &Value,
) -> Result<Vec<String>> {
    let shown = path.display();
    let step = |what: &str, result: io::Result<()>| result.map_err(|e| Error::io(format!("{what} {shown}"), e));
    let removed = match remove::remove_tree(target, STATE_DIRECTORY.as_bytes()) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    removed.map_err(|e| Error::io(format!("remove {shown}/{STATE_DIRECTORY}"), e))?;
    let notices = Counters::default();
    if let Some(root) = root {
        let xattrs: Vec<Xattr> = root.attributes.xattrs.iter().filter(|(name, _)| !is_marker(name)).cloned().collect();
        // It was there before: whose it is, is not known.
        let privileges = Privileges::of_this_process(true, root.warn_of_acls);
        let given = by_descriptor(target.as_fd(), root.attributes, &xattrs, None, &privileges, &notices);
        given.map_err(|e| Error::io(format!("set the attributes of the target {shown}"), e))?;
    }
    durable.sync()?;
    // Last, when everything it speaks of is on the disk.
    let marked = set_mark(target, COMPLETION_MARKER, marker)
        .and_then(|()| with_write_permission(target.as_fd(), || remove_mark(target, FINISHING_MARKER)));
    step("mark as complete", marked)?;
    durable.sync().inspect_err(|_| {
        let _ = set_mark(target, FINISHING_MARKER, marker);
        let _ = remove_mark(target, COMPLETION_MARKER);
    })?;
    Ok(notices.report().notices.iter().map(|notice| format!("the target itself: {notice}")).collect())
}

fn set_mark(target: &Beneath, name: &str, value: &Value) -> io::Result<()> {
    let fd = target.as_fd();
    let value = value.to_string();
    match with_write_permission(fd, || attributes::set_xattr(fd, name.as_bytes(), value.as_bytes())) {
        // A file system without extended attributes has no marks.
        Err(e) if e.kind() == ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}

fn remove_mark(target: &Beneath, name: &str) -> io::Result<()> {
    match attributes::remove_xattr(target.as_fd(), name.as_bytes()) {
        Err(e) if is_errno(&e, &[Errno::ENODATA, Errno::EOPNOTSUPP]) => Ok(()),
        result => result,
    }
}
