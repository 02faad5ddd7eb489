//! Flags that say what goes into an archive.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::snapshot::{HOST, Preset};

#[derive(Debug, Args)]
#[command(next_help_heading = "What goes in")]
pub struct SelectArgs {
    /// Leave out what matches, as in a .gitignore file, relative to SOURCE; with a directory, all below it
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// A file of such patterns, one per line; those of --exclude come after it
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Take what matches, with all below it, whatever is excluded; from within an excluded directory only with a
    /// path that begins with /
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Leave out what the image of a host must not carry; --help lists it
    #[arg(long, value_enum, value_name = "NAME")]
    preset: Option<PresetArg>,
    /// Only the paths that FILE (- for standard input) names, one per line, relative to SOURCE, with all below them
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// The paths of --files-from end with NUL, as `find -print0` writes them
    #[arg(long, requires = "files_from")]
    null: bool,
    /// Keep the path of each SOURCE as its name (as rsync --relative does; only what follows /./ if it has that), with
    /// the directories above it; patterns are relative to the whole then
    #[arg(long, conflicts_with = "files_from")]
    pub relative: bool,
    /// Stay within the file system of SOURCE: others (also BTRFS subvolumes) become empty directories
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub one_file_system: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PresetArg {
    /// SOURCE is the root of a system
    Host,
}

impl SelectArgs {
    pub fn preset(&self) -> Option<Preset> {
        self.preset.map(|PresetArg::Host| Preset::Host)
    }

    /// All patterns, in the order in which they count.
    pub fn exclude(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for path in &self.exclude_from {
            let text = fs::read_to_string(path).map_err(|e| failed(path, e))?;
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.extend(self.exclude.iter().cloned());
        Ok(lines)
    }

    pub fn files(&self) -> Result<Option<Vec<PathBuf>>> {
        let Some(path) = &self.files_from else { return Ok(None) };
        let mut bytes = Vec::new();
        if path.as_os_str() == "-" {
            io::stdin().read_to_end(&mut bytes).map(drop)
        } else {
            fs::read(path).map(|read| bytes = read)
        }
        .map_err(|e| failed(path, e))?;
        let end = if self.null { 0 } else { b'\n' };
        let names = bytes.split(|&byte| byte == end).filter(|name| !name.is_empty());
        Ok(Some(names.map(|name| PathBuf::from(OsString::from_vec(name.to_vec()))).collect()))
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::io(format!("read {}", path.display()), error)
}

/// What the preset leaves out.
pub fn preset_help() -> String {
    let lines: String = HOST.lines().map(|line| format!("  {line}\n")).collect();
    format!("--preset host leaves out, SOURCE being the root of a system:\n{}", lines.trim_end())
}
