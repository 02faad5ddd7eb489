//! The mounted sink on what an earlier run of the same restore has left: directories that may be closed or finished
//! already, files of which some parts are in place, and parts that need not be fetched.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use super::mounted::{MountedSink, Parents, locked, parts_of};
use super::pipeline::VerifiedPart;
use super::report::add;
use super::target::{DEFAULT_ACL, anew};
use crate::error::{Error, Kind, Result};
use crate::format::entry::{Entry, EntryType, split_parent};
use crate::linux::{attributes, beneath, is_errno, retry};

impl MountedSink<'_> {
    /// Creates a directory, or opens the one that is there again: what is created in it must get neither group nor ACL
    /// from it, and it may have been closed to this user.
    pub(super) fn resume_directory(&self, entry: &Entry, path: &[u8]) -> Result<()> {
        let (parent, name) = split_parent(path);
        let make = || {
            let dir = self.target.open_dir(parent)?;
            match beneath::make_dir(dir.as_fd(), name, 0o700) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                result => return result,
            }
            let mode = beneath::stat(dir.as_fd(), name)?.st_mode;
            if mode & libc::S_IFMT != libc::S_IFDIR {
                return Err(Errno::ENOTDIR.into());
            }
            let mut open_mode = 0o700;
            let mut has_acl = true;
            if self.target.merges() {
                // It may be the user's own: nothing of it changes but what the archive changes in the end anyway.
                open_mode |= mode & 0o7777 & !(entry.attributes.permissions & 0o2000);
                has_acl = self.xattrs(entry).is_ok_and(|x| x.iter().any(|(name, _)| name == DEFAULT_ACL.as_bytes()));
            }
            if mode & 0o7777 != open_mode {
                attributes::set_mode_at(dir.as_fd(), name, open_mode)?;
            }
            let fd = self.target.open_dir(path)?;
            if has_acl
                && let Err(e) = attributes::remove_xattr(fd.as_fd(), DEFAULT_ACL.as_bytes())
                && !is_errno(&e, &[Errno::ENODATA, Errno::EOPNOTSUPP])
            {
                return Err(e);
            }
            Ok(())
        };
        make().map_err(|e| self.failed(path, "create the directory", e))
    }

    /// Opens a file of which an earlier run has put some parts in place. It must be that file: whoever may write in the
    /// target may have put another one there since.
    pub(super) fn resume_file(&self, parents: &mut Parents, entry: &Entry, path: &[u8]) -> Result<OwnedFd> {
        let (parent, name) = split_parent(path);
        let mut open = || {
            let dir = parents.open(self.target, parent)?;
            match beneath::open_file(dir, name) {
                // It may have its final mode already.
                Err(e) if e.kind() == ErrorKind::PermissionDenied && !self.privileges.is_root() => {
                    attributes::set_mode_at(dir, name, 0o600)?;
                    beneath::open_file(dir, name)
                }
                result => result,
            }
        };
        let changed = |why: &str| {
            let shown = format!("{}/{}", self.target.path().display(), path.escape_ascii());
            let message = format!("{shown} was begun by an earlier run and {why}: {}", anew(self.target.held_others()));
            Err(Error::new(Kind::TargetInUse, message))
        };
        let file = match open() {
            Err(e) if is_errno(&e, &[Errno::ENOENT, Errno::ELOOP, Errno::EISDIR, Errno::ENXIO]) => {
                return changed("is not there any more");
            }
            file => file.map_err(|e| self.failed(path, "open", e))?,
        };
        let stat =
            retry(|| nix::sys::stat::fstat(&file)).map_err(|e| self.failed(path, "look at", io::Error::from(e)))?;
        let owners = [nix::unistd::geteuid().as_raw(), entry.attributes.uid];
        // Hard links are made when all parts are on record.
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_nlink != 1 || !owners.contains(&stat.st_uid) {
            return changed("is another file now");
        }
        Ok(file)
    }

    /// Everything of a part that is in place already but for what waits for the end.
    pub(super) fn skip_part(&self, part: &VerifiedPart<'_>) -> Result<()> {
        let Some(journal) = self.target.journal() else { return Ok(()) };
        let mut texts = journal.links(part.index)?.into_iter();
        for placed in part.entries {
            let entry = &placed.entry;
            let Some(path) = part.destination(entry) else { continue };
            let parts = parts_of(placed);
            let begins_here = *parts.start() == part.index;
            match entry.entry_type {
                EntryType::Symlink => {
                    // Both are in the order of the directory.
                    let first = texts.as_slice().first();
                    if first.is_some_and(|(ordinal, _)| *ordinal == entry.ordinal)
                        && let Some((_, text)) = texts.next()
                    {
                        self.defer_symlink(entry, path, &text)?;
                    } else if part.holds_all_of(placed) {
                        let shown = path.escape_ascii();
                        let message = format!(
                            "the journal of {} has no text for the link {shown}: {}",
                            self.target.path().display(),
                            anew(self.target.held_others())
                        );
                        return Err(Error::new(Kind::TargetInUse, message));
                    }
                }
                EntryType::Regular
                    if begins_here && journal.before().count_in(parts.clone()) == parts.count() as u64 =>
                {
                    add(&self.counters.files, 1);
                    add(&self.counters.content_bytes, entry.uncompressed_size);
                }
                EntryType::CharDevice { .. } | EntryType::BlockDevice { .. } | EntryType::Fifo if begins_here => {
                    self.skip_node(path)?
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn skip_node(&self, path: &[u8]) -> Result<()> {
        let (parent, name) = split_parent(path);
        let there = || beneath::stat(self.target.open_dir(parent)?.as_fd(), name);
        match there() {
            Ok(_) => add(&self.counters.nodes, 1),
            Err(e) if e.kind() == ErrorKind::NotFound && !self.privileges.is_root() => {
                self.counters.notice("device not created: only root can");
                locked(&self.devices_left_out).insert(path.to_vec());
            }
            Err(e) => return Err(self.failed(path, "look at", e)),
        }
        Ok(())
    }
}
