//! What the SOURCE arguments mean, and where they are read.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

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
pub fn place(paths: &[PathBuf], relative: bool, still: &mut Still) -> Result<Sources> {
    let mut all = if relative { resolve_relative(paths)? } else { resolve(paths)? };
    let mut root = None;
    for source in all.iter_mut().filter(|source| !source.only_itself) {
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

/// Each under the path it was given by, as `rsync --relative` and tar do it: below the directories that lead there.
fn resolve_relative(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut all: Vec<Source> = Vec::new();
    let mut parents = HashSet::new();
    for path in paths {
        fs::symlink_metadata(path).map_err(|_| Error::io(format!("look at {}", path.display()), gone(path)))?;
        let (start, names) = kept(path)?;
        if names.is_empty() {
            if paths.len() == 1 {
                return resolve(paths);
            }
            let message = format!("{}: has no name of its own: give it as the only SOURCE", path.display());
            return Err(Error::new(Kind::Usage, message));
        }
        if names.first().is_some_and(|first| first.as_bytes() == STATE_DIRECTORY.as_bytes()) {
            let message = format!("{}: the name .burst is reserved at the root of an archive", path.display());
            return Err(Error::new(Kind::Usage, message));
        }
        let mut name = PathBuf::new();
        for (n, component) in names.iter().enumerate() {
            name.push(component);
            let shown = start.join(&name);
            let bytes = name.as_os_str().as_bytes().to_vec();
            if n + 1 == names.len() {
                all.push(Source { prefix: name.clone(), ..Source::new(path, bytes) });
            } else if parents.insert(bytes.clone()) {
                // With "/." a link on the way gives the directory that it leads to.
                all.push(Source { base: shown.join("."), only_itself: true, ..Source::new(&shown, bytes) });
            }
        }
    }
    let given: HashSet<&[u8]> = all.iter().filter(|s| !s.only_itself).map(|s| &s.name[..]).collect();
    if given.len() < paths.len() {
        return Err(Error::new(Kind::Usage, "two sources are the same path with --relative: name it once"));
    }
    for source in &all {
        let is_below = |(n, _): &(usize, &u8)| source.name.get(..*n).is_some_and(|above| given.contains(above));
        let slashes = source.name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let is_twice = source.only_itself && given.contains(&source.name[..]);
        if is_twice || slashes.into_iter().any(|slash| is_below(&slash)) {
            let message = format!("{}: lies within another source: leave one of them out", source.shown.display());
            return Err(Error::new(Kind::Usage, message));
        }
    }
    Ok(all)
}

/// What of a path stays its name: all of it, or what follows "/./"; and where that begins.
fn kept(path: &Path) -> Result<(PathBuf, Vec<OsString>)> {
    let bytes = path.as_os_str().as_bytes();
    let mark = bytes.windows(3).position(|three| three == b"/./").filter(|at| at + 3 < bytes.len());
    let (start, rest) = match mark {
        Some(at) => (bytes.get(..at + 1).unwrap_or_default(), bytes.get(at + 3..).unwrap_or_default()),
        None if path.has_root() => (&b"/"[..], bytes),
        None => (&b""[..], bytes),
    };
    let mut names = Vec::new();
    for component in Path::new(OsStr::from_bytes(rest)).components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let message = format!("{}: \"..\" cannot be part of a name: --relative keeps the path", path.display());
                return Err(Error::new(Kind::Usage, message));
            }
        }
    }
    Ok((PathBuf::from(OsStr::from_bytes(start)), names))
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
            let mut still = Still::new(super::super::still::Consistent::Off, None);
            let placed = place(&[path(one)], false, &mut still).unwrap();
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

    #[test]
    fn relative_keeps_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| PathBuf::from(format!("{}/.{path}", dir.path().display()));
        fs::create_dir_all(at("/a/b/c")).unwrap();
        fs::create_dir(at("/a/d")).unwrap();
        std::os::unix::fs::symlink("a", at("/l")).unwrap();
        let names = |paths: &[&str]| -> Result<Vec<String>> {
            let all = resolve_relative(&paths.iter().map(|path| at(path)).collect::<Vec<_>>())?;
            let text = |s: &Source| format!("{}{}", s.name.escape_ascii(), if s.only_itself { "/" } else { "" });
            Ok(all.iter().map(text).collect())
        };
        assert_eq!(names(&["/a/b/c/"]).unwrap(), ["a/", "a/b/", "a/b/c"]);
        assert_eq!(names(&["/a/b/./c", "/l/d", "/a/d"]).unwrap(), ["a/", "a/b/", "a/b/c", "l/", "l/d", "a/d"]);
        for wrong in [&["/a/b", "/a/b/c"][..], &["/a/b/c", "/a"], &["/a", "/a"], &["/a/../a"]] {
            assert_eq!(names(wrong).unwrap_err().kind(), Kind::Usage, "{wrong:?}");
        }
        assert_eq!(names(&["/none"]).unwrap_err().kind(), Kind::NotFound);
        let full = resolve_relative(&[dir.path().join("a/b")]).unwrap();
        assert_eq!(full.last().unwrap().shown, dir.path().join("a/b"));
        assert_eq!(full.last().unwrap().name, dir.path().join("a/b").as_os_str().as_bytes()[1..]);
    }
}
