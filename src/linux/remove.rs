//! Removing trees beneath a directory: no link is followed, and no mount point is entered.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::dir::{Dir, Type};
use nix::errno::Errno;

use super::attributes::set_mode_at;
use super::beneath::{self, Beneath};
use super::{is_errno, retry_io};

/// Removes everything in the directory `root` but the entries named in `keep`. Only one directory is open at a time,
/// however deep the tree is. EXDEV where something is mounted, EBUSY for a file that something is mounted on.
pub fn remove_all_but(root: &Beneath, keep: &[&[u8]]) -> io::Result<()> {
    for (name, is_directory) in list(root, b"")? {
        if keep.contains(&name.as_slice()) {
            continue;
        }
        if is_directory {
            remove_tree(root, &name)?;
        } else {
            beneath::unlink(root.as_fd(), &name)?;
        }
    }
    Ok(())
}

/// Removes the directory `path` beneath `root` with all that is in it.
pub fn remove_tree(root: &Beneath, path: &[u8]) -> io::Result<()> {
    // What is still to be visited; a directory stands here a second time below what is in it.
    let mut left: Vec<(Vec<u8>, bool)> = vec![(path.to_vec(), false)];
    while let Some((path, is_empty)) = left.pop() {
        if is_empty {
            let (parent, name) = split(&path);
            beneath::remove_dir(root.open_dir_here(parent)?.as_fd(), name)?;
            continue;
        }
        let dir = open(root, &path)?;
        left.push((path.clone(), true));
        for (name, is_directory) in list(root, &path)? {
            if is_directory {
                left.push(([&path[..], b"/", &name].concat(), false));
            } else {
                beneath::unlink(dir.as_fd(), &name)?;
            }
        }
    }
    Ok(())
}

/// Opens a directory to empty it, and makes that possible if it is ours and closed.
fn open(root: &Beneath, path: &[u8]) -> io::Result<OwnedFd> {
    if !nix::unistd::geteuid().is_root() {
        let (parent, name) = split(path);
        let parent = root.open_dir_here(parent)?;
        match set_mode_at(parent.as_fd(), name, 0o700) {
            Err(e) if e.kind() != ErrorKind::PermissionDenied => return Err(e),
            // Not ours: what follows says whether that matters.
            _ => {}
        }
    }
    root.open_dir_here(path).map_err(|e| match e {
        e if is_errno(&e, &[Errno::EXDEV]) => {
            let message = format!("{} is a mount point: unmount it", path.escape_ascii());
            io::Error::new(ErrorKind::ResourceBusy, message)
        }
        e => e,
    })
}

/// Names, and whether each is a directory.
fn list(root: &Beneath, path: &[u8]) -> io::Result<Vec<(Vec<u8>, bool)>> {
    retry_io(|| {
        let handle = root.open_dir_here(path)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(root.open_dir_here(path)?)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let is_directory = match entry.file_type() {
                Some(kind) => kind == Type::Directory,
                // Some file systems do not say.
                None => beneath::stat(handle.as_fd(), name)?.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR,
            };
            names.push((name.to_vec(), is_directory));
        }
        Ok(names)
    })
}

/// The first name in the directory `root` that `skip` does not have.
pub fn first_but(root: &Beneath, skip: &[&[u8]]) -> io::Result<Option<OsString>> {
    retry_io(|| {
        for entry in Dir::from_fd(root.open_dir(b"")?)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !skip.contains(&name) {
                return Ok(Some(OsString::from_vec(name.to_vec())));
            }
        }
        Ok(None)
    })
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn all_but_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("kept/inside")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("canary"), "sings").unwrap();
        fs::write(root.join("a/file"), "x").unwrap();
        fs::write(root.join("file"), "x").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(&outside, root.join("a/b/link")).unwrap();
        let beneath = Beneath::open(&root).unwrap();
        assert!(first_but(&beneath, &[b"kept"]).unwrap().is_some());
        remove_all_but(&beneath, &[b"kept"]).unwrap();
        assert_eq!(first_but(&beneath, &[b"kept"]).unwrap(), None);
        assert!(root.join("kept/inside").is_dir());
        assert_eq!(fs::read(outside.join("canary")).unwrap(), b"sings");
        remove_tree(&beneath, b"kept").unwrap();
        assert_eq!(first_but(&beneath, &[]).unwrap(), None);
        // A link in the place of the tree is not followed.
        symlink(&outside, root.join("tree")).unwrap();
        assert!(remove_tree(&beneath, b"tree").is_err());
        assert!(outside.join("canary").exists());
    }

    #[test]
    fn deeper_than_files_may_be_open() {
        let dir = tempfile::tempdir().unwrap();
        let beneath = Beneath::open(dir.path()).unwrap();
        let mut path = b"d".to_vec();
        for _ in 0..1500 {
            let (parent, name) = split(&path);
            beneath::make_dir(beneath.open_dir(parent).unwrap().as_fd(), name, 0o700).unwrap();
            path.extend_from_slice(b"/d");
        }
        remove_all_but(&beneath, &[]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
