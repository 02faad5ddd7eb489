//! A job: one restore as a file, for what runs at boot. Its keys are a public interface (spec/job.md); everything that
//! could be a mistake is refused, because nobody is there at boot to see a warning.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::store::Location;
use crate::volume::Selector;
use crate::volume::prepare::check_label;

/// The version of the format that this program knows.
pub const VERSION: u64 = 1;

/// How long to wait for a device unless the job says otherwise, in seconds.
pub const WAIT_SECONDS: u64 = 300;

/// Longest job file; guards reading.
const LENGTH_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub version: u64,
    pub name: String,
    pub source: String,
    pub path: PathBuf,
    pub device: Option<String>,
    pub wait_seconds: Option<u64>,
    pub label: Option<String>,
    pub mount_options: Option<String>,
    /// None: a blank disk becomes the file system if the whole archive is wanted.
    pub sink: Option<Sink>,
    pub owner: Option<String>,
    #[serde(default)]
    pub options: Options,
}

/// How the content gets onto the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sink {
    /// Files are made in a mounted file system, which is made first on blank disks.
    Mount,
    /// The file system itself is written onto blank disks, or nothing is done.
    Device,
}

/// The same as the flags of `burst restore`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    pub profile: Option<String>,
    pub in_flight: Option<u16>,
    pub memory_mib: Option<u64>,
    #[serde(default)]
    pub paths: Vec<String>,
    pub ca_bundle: Option<PathBuf>,
    #[serde(default)]
    pub no_sign_request: bool,
    pub start_jitter_seconds: Option<u64>,
    #[serde(default)]
    pub acl: Acl,
}

/// What ACLs are that the file system of the target refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Acl {
    /// An error.
    #[default]
    Require,
    /// Left out; the report tells how many.
    Warn,
}

/// Who shall own the root of what is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub user: Uid,
    /// None: as it is.
    pub group: Option<Gid>,
}

impl Job {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Kind::Usage`], naming the key and what is allowed.
    pub fn read(file: &Path) -> Result<Job> {
        let what = || format!("read the job {}", file.display());
        let mut text = Vec::new();
        let opened = std::fs::File::open(file).map_err(|e| Error::io(what(), e))?;
        opened.take(LENGTH_MAX + 1).read_to_end(&mut text).map_err(|e| Error::io(what(), e))?;
        if text.len() as u64 > LENGTH_MAX {
            return Err(wrong("longer than 1 MiB").context(file.display()));
        }
        Job::parse(&text).map_err(|e| e.context(format!("the job {}", file.display())))
    }

    pub fn parse(text: &[u8]) -> Result<Job> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let job: Job = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            let path = e.path().to_string();
            let why = e.into_inner().to_string();
            wrong(if matches!(path.as_str(), "." | "?") { why } else { format!("{path}: {why}") })
        })?;
        json.end().map_err(|e| wrong(e.to_string()))?;
        job.check()?;
        Ok(job)
    }

    fn check(&self) -> Result<()> {
        if self.version != VERSION {
            return Err(key("version", format!("must be {VERSION}, and is {}", self.version)));
        }
        let simple = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(simple) || self.name.starts_with('.') {
            return Err(key(
                "name",
                format!(
                    "must be 1 to 64 letters, digits, '-', '_' and '.', with no '.' at the start, and is {:?}",
                    self.name
                ),
            ));
        }
        match Location::parse(self.source.as_ref()).map_err(|e| key("source", e))? {
            Location::File(path) if !path.is_absolute() => {
                return Err(key("source", "must be s3://bucket/key or an absolute path: a job runs in any directory"));
            }
            Location::Stdio => return Err(key("source", "a job cannot read standard input")),
            _ => {}
        }
        check_path(&self.path)?;
        self.check_device()?;
        if let Some(label) = &self.label {
            check_label(label).map_err(|e| key("label", e))?;
        }
        if self.wait_seconds.is_some_and(|seconds| seconds > 7 * 24 * 3600) {
            return Err(key("wait_seconds", "must be at most 604800, a week"));
        }
        if self.mount_options.as_ref().is_some_and(|o| o.chars().any(|c| c.is_control() || c.is_whitespace())) {
            return Err(key("mount_options", "must be a list with commas, without spaces, as mount -o takes it"));
        }
        self.check_options()
    }

    fn check_device(&self) -> Result<()> {
        if let Some(device) = &self.device {
            Selector::parse(device).map_err(|e| key("device", e))?;
            if self.sink == Some(Sink::Device) && !self.options.paths.is_empty() {
                return Err(key(
                    "options.paths",
                    "must be left out with sink \"device\", which writes whole archives only",
                ));
            }
            return Ok(());
        }
        let needs = [
            ("wait_seconds", self.wait_seconds.is_some()),
            ("label", self.label.is_some()),
            ("mount_options", self.mount_options.is_some()),
            ("sink", self.sink == Some(Sink::Device)),
        ];
        match needs.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(key(name, "must be left out without \"device\"")),
            None => Ok(()),
        }
    }

    fn check_options(&self) -> Result<()> {
        let o = &self.options;
        let texts = [("region", &o.region), ("endpoint_url", &o.endpoint_url), ("profile", &o.profile)];
        for (name, text) in texts {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.chars().any(char::is_control)) {
                return Err(key(&format!("options.{name}"), "must not be empty, nor hold control characters"));
            }
        }
        if o.in_flight.is_some_and(|n| !(1..=4096).contains(&n)) {
            return Err(key("options.in_flight", "must be 1 to 4096"));
        }
        if o.memory_mib == Some(0) {
            return Err(key("options.memory_mib", "must be at least 1"));
        }
        if o.start_jitter_seconds.is_some_and(|seconds| seconds > 24 * 3600) {
            return Err(key("options.start_jitter_seconds", "must be at most 86400, a day"));
        }
        if o.profile.is_some() && o.no_sign_request {
            return Err(key("options.no_sign_request", "must be left out with options.profile"));
        }
        if o.paths.iter().any(String::is_empty) {
            return Err(key("options.paths", "must not hold an empty path"));
        }
        if o.ca_bundle.as_ref().is_some_and(|file| !file.is_absolute()) {
            return Err(key("options.ca_bundle", "must be an absolute path"));
        }
        Ok(())
    }

    /// Whether blank disks become the file system by being written: only whole archives can be.
    pub fn fills_blank_disks(&self) -> bool {
        match self.sink {
            Some(Sink::Mount) => false,
            Some(Sink::Device) => true,
            None => self.options.paths.is_empty(),
        }
    }

    /// Looks up the owner.
    pub fn owner(&self) -> Result<Option<Owner>> {
        let Some(text) = &self.owner else { return Ok(None) };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text.as_str(), None),
        };
        let unknown = |what: &str, name: &str| key("owner", format!("there is no {what} {name:?}"));
        let uid = match user.parse() {
            Ok(number) => Uid::from_raw(number),
            Err(_) => {
                let found =
                    User::from_name(user).map_err(|e| Error::io(format!("look up the user {user}"), e.into()))?;
                found.ok_or_else(|| unknown("user", user))?.uid
            }
        };
        let gid = match group.map(|group| (group, group.parse())) {
            None => None,
            Some((_, Ok(number))) => Some(Gid::from_raw(number)),
            Some((name, Err(_))) => {
                let found =
                    Group::from_name(name).map_err(|e| Error::io(format!("look up the group {name}"), e.into()))?;
                Some(found.ok_or_else(|| unknown("group", name))?.gid)
            }
        };
        Ok(Some(Owner { user: uid, group: gid }))
    }
}

fn check_path(path: &Path) -> Result<()> {
    let normal = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !normal || path.parent().is_none() {
        return Err(key("path", "must be an absolute path without \"..\", and not the root directory"));
    }
    if path.to_string_lossy().contains('\0') {
        return Err(key("path", "must not hold a NUL character"));
    }
    Ok(())
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
        .with_hint("spec/job.md, in packages below /usr/share/doc/burst, describes the keys of a job")
}

fn key(name: &str, why: impl std::fmt::Display) -> Error {
    wrong(format!("{name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({"version": 1, "name": "data", "source": "s3://b/k", "path": "/data", "device": "vol-0123456789abcdef0",
            "wait_seconds": 300, "label": "data", "mount_options": "noatime,compress=zstd:1", "sink": "mount",
            "owner": "root:root", "options": {"region": "eu-west-1", "endpoint_url": "http://127.0.0.1:9000",
            "profile": "p", "in_flight": 16, "memory_mib": 512, "paths": ["a/b"], "ca_bundle": "/etc/ca.pem",
            "no_sign_request": false, "start_jitter_seconds": 30, "acl": "warn"}})
    }

    fn parse(value: &Value) -> Result<Job> {
        Job::parse(value.to_string().as_bytes())
    }

    #[test]
    fn accepts() {
        parse(&good()).unwrap();
        let least = json!({"version": 1, "name": "a", "source": "/x.zip", "path": "/d"});
        let job = parse(&least).unwrap();
        assert_eq!((job.sink, job.device), (None, None));
    }

    #[test]
    fn what_blank_disks_become() {
        let fills = |sink: Value, paths: Value| {
            let mut job = good();
            job["sink"] = sink;
            job["options"]["paths"] = paths;
            parse(&job).unwrap().fills_blank_disks()
        };
        assert!(fills(Value::Null, json!([])) && fills(json!("device"), json!([])));
        assert!(!fills(Value::Null, json!(["a"])) && !fills(json!("mount"), json!([])));
    }

    #[test]
    fn refuses_naming_the_key() {
        let bad = [
            ("version", json!(2)),
            ("version", json!("1")),
            ("name", json!("")),
            ("name", json!("../x")),
            ("name", json!("a b")),
            ("name", json!(7)),
            ("source", json!("-")),
            ("source", json!("relative.zip")),
            ("source", json!("http://host/x")),
            ("path", json!("data")),
            ("path", json!("/")),
            ("path", json!("/a/../b")),
            ("device", json!("vol-xyz")),
            ("device", json!("")),
            ("device", json!(["vol-0123456789abcdef0"])),
            ("wait_seconds", json!(-1)),
            ("wait_seconds", json!("300")),
            ("wait_seconds", json!(999_999)),
            ("label", json!("")),
            ("label", json!("a\nb")),
            ("mount_options", json!("noatime, ro")),
            ("sink", json!("disk")),
            ("owner", json!(0)),
            ("options", json!([])),
        ];
        for (name, value) in bad {
            let mut job = good();
            job[name] = value.clone();
            let error = parse(&job).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(name), "{name} = {value}: {error}");
        }
        let bad = [
            ("region", json!("")),
            ("region", json!(1)),
            ("endpoint_url", json!("")),
            ("profile", json!("")),
            ("in_flight", json!(0)),
            ("in_flight", json!(5000)),
            ("in_flight", json!(70000)),
            ("memory_mib", json!(0)),
            ("paths", json!("a")),
            ("paths", json!([""])),
            ("ca_bundle", json!("ca.pem")),
            ("no_sign_request", json!("yes")),
            ("no_sign_request", json!(true)),
            ("start_jitter_seconds", json!(-1)),
            ("start_jitter_seconds", json!("5m")),
            ("start_jitter_seconds", json!(86_401)),
            ("acl", json!("drop")),
            ("unknown", json!(1)),
        ];
        for (name, value) in bad {
            let mut job = good();
            job["options"][name] = value.clone();
            let error = parse(&job).unwrap_err();
            assert!(error.to_string().contains(name), "{name} = {value}: {error}");
        }
    }

    #[test]
    fn refuses_what_is_missing_or_too_much() {
        for name in ["version", "name", "source", "path"] {
            let mut job = good();
            job.as_object_mut().unwrap().remove(name);
            assert!(parse(&job).unwrap_err().to_string().contains(name));
        }
        let mut job = good();
        job["sourse"] = json!("x");
        assert!(parse(&job).unwrap_err().to_string().contains("sourse"));
        for (name, value) in [
            ("wait_seconds", json!(1)),
            ("label", json!("x")),
            ("mount_options", json!("ro")),
            ("sink", json!("device")),
        ] {
            let mut job = json!({"version": 1, "name": "a", "source": "/x.zip", "path": "/d"});
            job[name] = value;
            assert!(parse(&job).unwrap_err().to_string().starts_with(name));
        }
        let mut job = good();
        job["sink"] = json!("device");
        assert!(parse(&job).unwrap_err().to_string().contains("options.paths"));
        for text in ["", "{", "[]", "null", r#"{"version":1,"version":1}"#] {
            assert_eq!(Job::parse(text.as_bytes()).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        let twice = good().to_string() + "{}";
        assert!(Job::parse(twice.as_bytes()).is_err());
    }

    #[test]
    fn owners() {
        let of = |text: &str| {
            let mut job = good();
            job["owner"] = json!(text);
            parse(&job).unwrap().owner()
        };
        let root = Owner { user: Uid::from_raw(0), group: Some(Gid::from_raw(0)) };
        assert_eq!(of("root:root").unwrap(), Some(root));
        assert_eq!(of("0:0").unwrap(), Some(root));
        assert_eq!(of("root").unwrap(), Some(Owner { group: None, ..root }));
        for bad in ["", ":root", "nobody-of-this-name", "root:no-such-group", "root:", "-1:0"] {
            assert_eq!(of(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
