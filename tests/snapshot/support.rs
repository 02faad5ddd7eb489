//! Trees, runs of the program, and the readers.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub const ID: &str = "000102030405060708090a0b0c0d0e0f";
pub const MIB: u64 = 1 << 20;

/// A directory for one test: `tree` to be archived, and room beside it.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        Place { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Path within the tree.
    pub fn tree(&self, name: &str) -> PathBuf {
        self.path("tree").join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.tree(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A file of `size` bytes with data at these offsets and holes elsewhere.
    pub fn sparse(&self, name: &str, size: u64, data: &[(u64, &[u8])]) {
        let file = fs::File::create(self.tree(name)).unwrap();
        file.set_len(size).unwrap();
        data.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
    }

    /// Archives the tree to `name`, and expects success.
    pub fn snapshot(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let out = self.run(name, arguments);
        assert!(out.status.success(), "{}", text(&out));
        self.path(name)
    }

    pub fn run(&self, name: &str, arguments: &[&str]) -> Output {
        burst()
            .args(["snapshot", "--archive-id", ID])
            .args(arguments)
            .args([self.path("tree"), self.path(name)])
            .output()
            .unwrap()
    }

    /// Archives with 1, 2 and 3 workers, to a file and to a pipe; all must be the same bytes, and good.
    pub fn check(&self, arguments: &[&str]) -> Vec<Entry> {
        let archive = self.snapshot("archive", &[arguments, &["--overwrite"]].concat());
        let expected = fs::read(&archive).unwrap();
        for workers in ["1", "2", "3"] {
            let mut piped = burst();
            piped.args(["snapshot", "--quiet", "--archive-id", ID, "--workers", workers]).args(arguments);
            let out = piped.arg(self.path("tree")).arg("-").output().unwrap();
            assert!(out.status.success(), "{}", text(&out));
            assert!(out.stdout == expected, "{workers} workers to a pipe give other bytes");
        }
        drop(expected);
        check_grid(&archive);
        check_seven_zip(&archive);
        list(&archive)
    }
}

pub fn burst() -> Command {
    Command::new(env!("CARGO_BIN_EXE_burst"))
}

pub fn text(out: &Output) -> String {
    format!("{}\n{}", out.status, String::from_utf8_lossy(&out.stderr))
}

fn python(script: &str) -> Command {
    let program = std::env::var("BURST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(program);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/reference").join(script));
    command
}

pub fn check_grid(archive: &Path) {
    let out = python("check_grid.py").arg("--no-crc").arg(archive).output().unwrap();
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), text(&out));
}

/// `t` ends with 0 and without a warning.
pub fn check_seven_zip(archive: &Path) {
    let out = Command::new("7zz").args(["t", "-tzip"]).arg(archive).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains("Everything is Ok"), "{said}{}", text(&out));
    assert!(!said.to_lowercase().contains("warning"), "{said}");
}

/// One row of the reference reader's list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry(pub serde_json::Value);

impl Entry {
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_default()
    }
}

/// Everything the reference reader finds; it reads and checks all parts on the way.
pub fn list(archive: &Path) -> Vec<Entry> {
    let out = python("burst_reference.py").args(["list", "--json"]).arg(archive).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap();
    rows.into_iter().map(Entry).collect()
}

/// Extracts with the reference reader, which compares CRC-32 and sizes too.
pub fn extract(archive: &Path, into: &Path) {
    let out = python("burst_reference.py").arg("extract").args([archive, into]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
}

pub fn find<'a>(entries: &'a [Entry], path: &str) -> &'a Entry {
    entries.iter().find(|entry| entry.text("path") == path).unwrap_or_else(|| panic!("no entry {path}"))
}

/// Pseudorandom numbers; the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    /// Bytes that do not compress. They repeat after a MiB, which is farther than a frame can see.
    pub fn bytes(&mut self, length: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.min(MIB).div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(length as usize);
        while (bytes.len() as u64) < length {
            let more = bytes.len().min(length as usize - bytes.len());
            bytes.extend_from_within(..more);
        }
        bytes
    }

    /// Bytes that compress to about a third.
    pub fn text(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = self.bytes(length.min(MIB));
        bytes
            .iter_mut()
            .for_each(|byte| *byte = b"etaoin shrdlu\n"[usize::from(*byte % 14).min(usize::from(*byte >> 5))]);
        bytes.into_iter().cycle().take(length as usize).collect()
    }
}
