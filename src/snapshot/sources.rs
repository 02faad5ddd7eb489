//! What the SOURCE arguments mean, and where they are read.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::record::{Source, Stat};
use super::source_file::attributes_of_path;
use super::still::Still;
use crate::error::{Error, Kind, Result};
use crate::format::Attributes;
use crate::format::limits::STATE_DIRECTORY;

/// The sources with their names in the archive, and the attributes of the root if the archive has one.
pub struct Sources {
    pub all: Vec<Source>,
    pub root: Option<Attributes>,
}

/// Finds out where all sources are read, and takes snapshots for that.
pub fn place(paths: &[PathBuf], still: &mut Still) -> Result<Sources> {
    let mut all = resolve(paths)?;
    let mut root = None;
    for source in &mut all {
        let is_root = source.name.is_empty();
        still.place(source, is_root)?;
        if is_root {
            // With "/." a link to a directory gives the attributes of the directory itself.
            let base = source.base.join(".");
            let look = |e| Error::io(format!("look at {}", source.shown.display()), e);
            let stat = Stat::of(&fs::metadata(&base).map_err(look)?);
            root = Some(attributes_of_path(&base, &source.shown, &stat)?);
        }
    }
    Ok(Sources { all, root })
}

/// One directory (or a link to one) stands for its contents; anything else stands under its own name.
fn resolve(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let look = |path: &Path| Error::io(format!("look at {}", path.display()), gone(path));
    if let [path] = paths {
        let found = fs::metadata(path).or_else(|_| fs::symlink_metadata(path));
        let found = found.map_err(|e| Error::io(format!("look at {}", path.display()), e))?;
        if found.is_dir() {
            return Ok(vec![Source::new(path, Vec::new())]);
        }
    }
    if paths.is_empty() {
        return Err(Error::new(Kind::Usage, "nothing to archive: give at least one SOURCE"));
    }
    let mut names = HashSet::new();
    let mut all = Vec::new();
    for path in paths {
        fs::symlink_metadata(path).map_err(|_| look(path))?;
        let name = name_of(path)?;
        if name == STATE_DIRECTORY.as_bytes() {
            let message = format!("{}: the name .burst is reserved at the root of an archive", path.display());
            return Err(Error::new(Kind::Usage, message));
        }
        if !names.insert(name.clone()) {
            let message = format!(
                "two sources are named \"{}\": archive the directory that holds them, or one at a time",
                name.escape_ascii()
            );
            return Err(Error::new(Kind::Usage, message));
        }
        all.push(Source::new(path, name));
    }
    Ok(all)
}

fn gone(path: &Path) -> std::io::Error {
    fs::symlink_metadata(path).err().unwrap_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// The last component; of what "." and ".." mean, if the path ends so.
fn name_of(path: &Path) -> Result<Vec<u8>> {
    let full;
    let name = match path.file_name() {
        Some(name) => Some(name),
        None => {
            full = fs::canonicalize(path).map_err(|e| Error::io(format!("look at {}", path.display()), e))?;
            full.file_name()
        }
    };
    name.map(|name| name.as_bytes().to_vec()).ok_or_else(|| {
        let message = format!("{}: has no name of its own: give it as the only SOURCE", path.display());
        Error::new(Kind::Usage, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
        Ok(resolve(paths)?.into_iter().map(|s| s.name).collect())
    }

    #[test]
    fn one_directory_has_no_name_and_several_have() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::create_dir(path("e")).unwrap();
        fs::create_dir(path("e/d")).unwrap();
        fs::write(path("f"), b"x").unwrap();
        std::os::unix::fs::symlink("d", path("l")).unwrap();
        for one in ["d", "d/", "d/.", "d/./", "e/../d", "l"] {
            assert_eq!(names(&[path(one)]).unwrap(), [b""], "{one}");
            let placed = place(&[path(one)], &mut Still::new(super::super::still::Consistent::Off)).unwrap();
            assert!(placed.root.is_some());
        }
        assert_eq!(names(&[path("f")]).unwrap(), [b"f"]);
        assert_eq!(names(&[path("d/."), path("e/"), path("l")]).unwrap(), [b"d", b"e", b"l"]);
        assert_eq!(names(&[path("e/d/.."), path("d")]).unwrap(), [b"e", b"d"]);
        assert_eq!(names(&[path("d"), path("e/d")]).unwrap_err().kind(), Kind::Usage);
        assert_eq!(names(&["/".into(), path("d")]).unwrap_err().kind(), Kind::Usage);
        assert_eq!(names(&[path("nothing")]).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(names(&[path("d"), path("nothing")]).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(names(&[]).unwrap_err().kind(), Kind::Usage);
    }
}
