//! Which paths go into an archive.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::SnapshotOptions;
use super::preset::{Preset, swap_files};
use crate::error::{Error, Kind, Result};

/// What to leave out.
pub struct Selection {
    exclude: Gitignore,
    include: Gitignore,
    /// Directories that lead to what is included, and are wanted for that only.
    on_the_way: HashSet<PathBuf>,
    listed: Option<Listed>,
    pub one_file_system: bool,
    /// By device and inode: why.
    identities: HashMap<(u64, u64), &'static str>,
}

/// Paths named one by one: they, what is below them, and the directories above them.
struct Listed {
    exact: HashSet<PathBuf>,
    above: HashSet<PathBuf>,
}

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// It matches a pattern.
    Excluded,
    /// It is not among the paths that were named.
    NotListed,
}

impl Selection {
    pub fn new(options: &SnapshotOptions) -> Result<Selection> {
        let preset = options.preset.into_iter().flat_map(Preset::patterns);
        let lines = preset.map(|line| ("preset", line));
        let lines = lines.chain(options.exclude.iter().map(|line| ("--exclude", line.as_str())));
        let include = options.include.iter().map(|line| ("--include", line.as_str()));
        let mut identities = HashMap::new();
        // Gigabytes of memory that was paged out, of this boot: of no use to anybody, and a secret.
        identities.extend(swap_files().into_iter().map(|file| (file, "is a swap file in use")));
        identities.extend(options.archive_inode.map(|file| (file, "is the archive that is being written")));
        Ok(Selection {
            exclude: patterns(lines)?,
            include: patterns(include)?,
            on_the_way: options.include.iter().flat_map(|pattern| on_the_way(pattern)).collect(),
            listed: options.files_from.as_ref().map(|paths| Listed::new(paths)).transpose()?,
            one_file_system: options.one_file_system,
            identities,
        })
    }

    /// `path`: relative to SOURCE.
    pub fn verdict(&self, path: &Path, is_directory: bool) -> Verdict {
        if self.is_excluded(path, is_directory) {
            return Verdict::Excluded;
        }
        match &self.listed {
            Some(listed) if !listed.contains(path) => Verdict::NotListed,
            _ => Verdict::Take,
        }
    }

    fn is_excluded(&self, path: &Path, is_directory: bool) -> bool {
        if self.include.is_empty() {
            // What is in an excluded directory is not even looked at.
            return self.exclude.matched(path, is_directory).is_ignore();
        }
        self.exclude.matched_path_or_any_parents(path, is_directory).is_ignore()
            && !self.include.matched_path_or_any_parents(path, is_directory).is_ignore()
            && !(is_directory && self.on_the_way.contains(path))
    }

    /// Why a file is left out whatever its name is.
    pub fn refused(&self, inode: (u64, u64)) -> Option<&'static str> {
        self.identities.get(&inode).copied()
    }

    /// Paths that were named one by one, except those that are in `seen`.
    pub fn not_seen<'a>(&'a self, seen: &'a HashSet<PathBuf>) -> impl Iterator<Item = &'a Path> {
        let all = self.listed.iter().flat_map(|listed| &listed.exact);
        all.filter(|path| !seen.contains(*path) && !path.as_os_str().is_empty()).map(PathBuf::as_path)
    }

    /// Whether this very path was named.
    pub fn is_listed(&self, path: &Path) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.exact.contains(path))
    }
}

impl Listed {
    fn new(paths: &[PathBuf]) -> Result<Listed> {
        let exact = paths.iter().map(|path| plain(path)).collect::<Result<HashSet<_>>>()?;
        let above = exact.iter().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
        Ok(Listed { exact, above })
    }

    fn contains(&self, path: &Path) -> bool {
        self.above.contains(path) || path.ancestors().any(|above| self.exact.contains(above))
    }
}

/// Relative to SOURCE, however it begins: "/etc", "./etc" and "etc" are the same.
fn plain(path: &Path) -> Result<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let message = format!("--files-from: \"{}\" has \"..\" in it", path.display());
                return Err(Error::new(Kind::Usage, message));
            }
        }
    }
    Ok(out)
}

fn patterns<'a>(lines: impl Iterator<Item = (&'static str, &'a str)>) -> Result<Gitignore> {
    let mut builder = GitignoreBuilder::new("");
    for (flag, line) in lines {
        let wrong = |e| Error::new(Kind::Usage, format!("{flag} {line}: {e}"));
        builder.add_line(None, line).map_err(wrong)?;
    }
    builder.build().map_err(|e| Error::new(Kind::Usage, format!("patterns: {e}")))
}

/// The directories above what an anchored pattern can match, as far as they are certain: "/a/b/*/c" gives a and a/b.
fn on_the_way(pattern: &str) -> Vec<PathBuf> {
    let pattern = pattern.trim_end_matches('/');
    if !pattern.contains('/') {
        return Vec::new();
    }
    let names: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
    let certain = names.iter().take(names.len() - 1).take_while(|name| !name.contains(['*', '?', '[', '\\']));
    let mut path = PathBuf::new();
    let step = |name| {
        path.push(name);
        path.clone()
    };
    certain.map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(exclude: &[&str], include: &[&str], listed: Option<&[&str]>) -> Selection {
        let own = |lines: &[&str]| lines.iter().map(|line| line.to_string()).collect();
        Selection::new(&SnapshotOptions {
            exclude: own(exclude),
            include: own(include),
            files_from: listed.map(|paths| paths.iter().map(PathBuf::from).collect()),
            ..SnapshotOptions::default()
        })
        .unwrap()
    }

    #[test]
    fn includes_override() {
        let s = selection(&["/var/*", "*.o"], &["/var/lib/cloud/seed", "keep.o"], None);
        let taken = |path: &str, is_directory| s.verdict(Path::new(path), is_directory) == Verdict::Take;
        for directory in ["var", "var/lib", "var/lib/cloud", "var/lib/cloud/seed", "etc"] {
            assert!(taken(directory, true), "{directory}");
        }
        for file in ["etc/f", "etc/keep.o", "var/lib/cloud/seed/user-data"] {
            assert!(taken(file, false), "{file}");
        }
        for file in ["var/log", "var/f", "var/lib/f", "var/lib/cloud/f", "etc/f.o"] {
            assert!(!taken(file, false), "{file}");
        }
        assert!(!taken("var/lib/dpkg", true));
    }

    #[test]
    fn what_is_listed() {
        let s = selection(&["*.o"], &[], Some(&["/a/b", "./c/", "d.o"]));
        let verdict = |path: &str| s.verdict(Path::new(path), false);
        for path in ["a", "a/b", "a/b/x", "c", "c/y/z"] {
            assert_eq!(verdict(path), Verdict::Take, "{path}");
        }
        assert_eq!(verdict("a/x"), Verdict::NotListed);
        assert_eq!(verdict("d.o"), Verdict::Excluded);
        let seen = HashSet::from([PathBuf::from("a/b"), PathBuf::from("d.o")]);
        assert_eq!(s.not_seen(&seen).collect::<Vec<_>>(), [Path::new("c")]);
        assert!(plain(Path::new("a/../b")).is_err());
    }

    #[test]
    fn the_preset_for_hosts() {
        let options = SnapshotOptions { preset: Some(Preset::Host), ..SnapshotOptions::default() };
        let s = Selection::new(&options).unwrap();
        for directory in ["proc", "dev", "run", "tmp", "var/log", "var/log/apt", "var/lib/cloud", "etc/ssh", "root"] {
            assert_eq!(s.verdict(Path::new(directory), true), Verdict::Take, "{directory}");
        }
        for file in ["etc/passwd", "var/lib/dpkg/status", "home/u/.ssh/authorized_keys", "srv/proc/x"] {
            assert_eq!(s.verdict(Path::new(file), false), Verdict::Take, "{file}");
        }
        for file in
            ["etc/machine-id", "etc/ssh/ssh_host_rsa_key", "var/log/syslog", "var/log/apt/history.log", "swapfile"]
        {
            assert_eq!(s.verdict(Path::new(file), false), Verdict::Excluded, "{file}");
        }
        for directory in ["proc/1", "var/log/journal/0123", "var/lib/cloud/instances", "home/u/.cache/x"] {
            assert_eq!(s.verdict(Path::new(directory), true), Verdict::Excluded, "{directory}");
        }
    }
}
