//! Owner, mode, extended attributes and time of what was created, in the order that keeps them: writing and
//! changing the owner remove capabilities and set-user-ID, and any change sets the time (spec/btrfs-encoded-io.md).

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::report::Counters;
use crate::format::{Attributes, Xattr};
use crate::linux::{attributes, is_errno, umask};

const CAPABILITY: &[u8] = b"security.capability";
const ACL: &[u8] = b"system.posix_acl_";

/// What this process may do, and what new files get without being told.
#[derive(Debug, Clone, Copy)]
pub struct Privileges {
    is_root: bool,
    uid: u32,
    gid: u32,
    /// Permissions that a new file does not get.
    umask: u32,
    /// New files may get another group than `gid`, or an ACL.
    inherits: bool,
    /// ACLs that the file system refuses are a notice, no error.
    warn_of_acls: bool,
}

impl Privileges {
    pub fn of_this_process(inherits: bool, warn_of_acls: bool) -> Self {
        let uid = nix::unistd::geteuid();
        let gid = nix::unistd::getegid().as_raw();
        Privileges { is_root: uid.is_root(), uid: uid.as_raw(), gid, umask: umask(), inherits, warn_of_acls }
    }

    pub fn is_root(&self) -> bool {
        self.is_root
    }

    pub fn inherits(&self) -> bool {
        self.inherits
    }

    fn owner_is_right(&self, a: &Attributes) -> bool {
        !self.inherits && (a.uid, a.gid) == (self.uid, self.gid)
    }

    /// The mode to create a file with, so that in most cases nothing is left to set. Set-ID bits wait for the owner.
    pub fn creation_mode(&self, a: &Attributes) -> u32 {
        a.permissions & 0o777
    }
}

/// Gives an open regular file or directory its attributes. `created_with` is the mode it was created with, None if
/// that is not known (an existing directory).
pub fn by_descriptor(
    fd: BorrowedFd<'_>,
    a: &Attributes,
    xattrs: &[Xattr],
    created_with: Option<u32>,
    privileges: &Privileges,
    counters: &Counters,
) -> io::Result<()> {
    let chown = !privileges.owner_is_right(a);
    let owned = !chown || owner(attributes::set_owner(fd, a.uid, a.gid), privileges, counters)?;
    let mode = mode_to_set(a, owned, counters);
    if created_with.map(|mode| mode & !privileges.umask) != Some(mode) || privileges.inherits {
        attributes::set_mode(fd, mode)?;
    }
    for (name, value) in capabilities_last(xattrs) {
        let set = || attributes::set_xattr(fd, name, value);
        // These need the permission to write.
        let result = match !privileges.is_root && name.starts_with(b"user.") {
            true => attributes::with_write_permission(fd, set),
            false => set(),
        };
        xattr(result, name, privileges, counters)?;
    }
    attributes::set_times(fd, a.mtime.seconds, a.mtime.nanos)
}

/// Gives a symbolic link, FIFO or device its attributes.
pub fn by_name(
    dir: BorrowedFd<'_>,
    name: &[u8],
    a: &Attributes,
    xattrs: &[Xattr],
    is_symlink: bool,
    privileges: &Privileges,
    counters: &Counters,
) -> io::Result<()> {
    let chown = !privileges.owner_is_right(a);
    let owned = !chown || owner(attributes::set_owner_at(dir, name, a.uid, a.gid), privileges, counters)?;
    if !is_symlink {
        attributes::set_mode_at(dir, name, mode_to_set(a, owned, counters))?;
    }
    for (attribute, value) in capabilities_last(xattrs) {
        xattr(attributes::set_xattr_at(dir, name, attribute, value), attribute, privileges, counters)?;
    }
    attributes::set_times_at(dir, name, a.mtime.seconds, a.mtime.nanos)
}

/// A file that could not be given to its owner must not run with the rights of someone else.
fn mode_to_set(a: &Attributes, owned: bool, counters: &Counters) -> u32 {
    if owned || a.permissions & 0o6000 == 0 {
        return a.permissions;
    }
    counters.notice("set-user-ID or set-group-ID dropped because the owner could not be set");
    a.permissions & !0o6000
}

fn owner(result: io::Result<()>, privileges: &Privileges, counters: &Counters) -> io::Result<bool> {
    match result {
        Err(e) if !privileges.is_root && is_errno(&e, &[Errno::EPERM, Errno::EINVAL]) => {
            counters.notice("owner not restored: only root can");
            Ok(false)
        }
        result => result.map(|()| true),
    }
}

fn xattr(result: io::Result<()>, name: &[u8], privileges: &Privileges, counters: &Counters) -> io::Result<()> {
    match result {
        Err(e) if !privileges.is_root && is_errno(&e, &[Errno::EPERM, Errno::EACCES, Errno::EOPNOTSUPP]) => {
            let class = name.split(|&b| b == b'.').next().unwrap_or_default();
            counters.notice(&format!("extended attribute {}.* not restored: {e}", class.escape_ascii()));
            Ok(())
        }
        Err(e) if name.starts_with(ACL) && is_errno(&e, &[Errno::EOPNOTSUPP]) => {
            if privileges.warn_of_acls {
                counters.notice("ACL not restored: the file system takes none");
                return Ok(());
            }
            let message = "the file system takes no ACLs (mounted with noacl?); --acl warn restores without them";
            Err(io::Error::new(io::ErrorKind::Unsupported, message))
        }
        Err(e) => {
            let message = format!("set the extended attribute {}: {e}", name.escape_ascii());
            Err(io::Error::new(e.kind(), message))
        }
        Ok(()) => Ok(()),
    }
}

fn capabilities_last(xattrs: &[Xattr]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let of = |last: bool| {
        xattrs.iter().filter(move |(name, _)| (name == CAPABILITY) == last).map(|(n, v)| (n.as_slice(), v.as_slice()))
    };
    of(false).chain(of(true))
}
