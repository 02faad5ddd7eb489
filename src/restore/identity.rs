//! What decides the result of a restore: which archive, and which of the options. A restore is continued, or found to
//! be complete, only if these are the same.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::RestoreOptions;
use super::fetch_directory::{Archive, hex};
use super::report::Report;
use super::selection::Selection;
use crate::error::Result;

/// Longest name of an archive that is kept: an extended attribute has little room, and the name is only shown.
const NAME_KEPT: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As messages name it.
    pub archive: String,
    /// ETag of an object in S3; what tells versions of other sources apart says nothing about their content.
    pub version: String,
    pub archive_id: String,
    pub archive_length: u64,
    /// Checksum of the part map and of the checksums of the directory, so of everything.
    pub index_crc32c: u32,
    /// Parts of the whole archive.
    pub parts: u64,
    /// Which paths; empty = everything.
    pub selection: String,
    pub into_existing: bool,
}

impl Identity {
    pub fn new(archive: &Archive, options: &RestoreOptions) -> Result<Identity> {
        let selection = Selection::by_name(&options.paths)?.fingerprint();
        Ok(Identity { selection, into_existing: options.into_existing, ..Identity::of_archive(archive) })
    }

    /// Of a restore of everything.
    pub fn of_archive(archive: &Archive) -> Identity {
        let name = archive.source.name();
        let t = &archive.index.trailer;
        Identity {
            archive: name.chars().take(NAME_KEPT).collect(),
            version: if name.starts_with("s3://") { archive.source.version().to_owned() } else { String::new() },
            archive_id: hex(&t.archive_id),
            archive_length: t.archive_length,
            index_crc32c: t.index_crc32c,
            parts: t.parts,
            selection: String::new(),
            into_existing: false,
        }
    }

    pub fn parse(value: &Value) -> Option<Identity> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Some(Identity {
            archive: text("archive")?,
            version: text("version")?,
            archive_id: text("archive_id")?,
            archive_length: value["archive_length"].as_u64()?,
            index_crc32c: u32::from_str_radix(value["index_crc32c"].as_str()?, 16).ok()?,
            parts: value["parts"].as_u64()?,
            selection: text("selection")?,
            into_existing: value["into_existing"].as_bool()?,
        })
    }

    fn json(&self) -> Value {
        json!({
            "archive": self.archive,
            "version": self.version,
            "archive_id": self.archive_id,
            "archive_length": self.archive_length,
            "index_crc32c": format!("{:08x}", self.index_crc32c),
            "parts": self.parts,
            "selection": self.selection,
            "into_existing": self.into_existing,
            "burst": env!("CARGO_PKG_VERSION"),
        })
    }

    /// The header of a journal.
    pub fn header(&self) -> String {
        let mut value = self.json();
        value["begun"] = now().into();
        // Two journals of one target never have the same header.
        value["begun_ns"] = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.subsec_nanos()).into();
        value.to_string()
    }

    /// The completion marker of a target. With the whole archive, it speaks of what the archive's trailer counts as
    /// content: also the texts of links.
    pub fn marker(&self, report: &Report, archive: &Archive, held_others: bool) -> Value {
        let entries = report.files + report.directories + report.symlinks + report.hard_links + report.nodes;
        let is_whole = self.selection.is_empty();
        let content_bytes = if is_whole { archive.index.trailer.content_bytes } else { report.content_bytes };
        self.marker_of(entries, content_bytes, held_others)
    }

    /// `held_others`: the target was not empty before.
    pub fn marker_of(&self, entries: u64, content_bytes: u64, held_others: bool) -> Value {
        let mut value = self.json();
        value["completed"] = now().into();
        value["entries"] = entries.into();
        value["content_bytes"] = content_bytes.into();
        value["held_others"] = held_others.into();
        value
    }

    fn is_same_archive(&self, found: &Identity) -> bool {
        let key = |i: &Identity| (i.archive_id.clone(), i.archive_length, i.index_crc32c);
        key(self) == key(found)
    }

    /// Whether a target that is complete with `found` is what this restore would make of it.
    pub fn is_done_by(&self, found: &Identity) -> bool {
        let existing_too = found.into_existing || !self.into_existing;
        self.is_same_archive(found) && self.selection == found.selection && existing_too
    }

    /// Why this restore cannot continue what `found` began; None if it can.
    pub fn difference(&self, found: &Identity) -> Option<String> {
        let differs = |what: &str, found: &str, now: &str| Some(format!("{what} was {found} and is {now} now"));
        if self.archive_id != found.archive_id {
            return differs("the archive", &found.shown(), &self.shown());
        }
        if self.archive_length != found.archive_length {
            let shown = |i: &Identity| format!("{} bytes long", i.archive_length);
            return differs("the archive", &shown(found), &shown(self));
        }
        if self.index_crc32c != found.index_crc32c {
            let shown = |i: &Identity| format!("{:08x}", i.index_crc32c);
            return differs("the checksum of the archive's part map", &shown(found), &shown(self));
        }
        if !self.version.is_empty() && !found.version.is_empty() && self.version != found.version {
            return differs("the ETag", &found.version, &self.version);
        }
        if self.selection != found.selection {
            let shown = |i: &Identity| if i.selection.is_empty() { "everything" } else { "other paths" };
            return differs(
                "what is restored (--path)",
                shown(found),
                if self.selection.is_empty() { "everything" } else { "some paths" },
            );
        }
        if self.into_existing != found.into_existing {
            let shown = |i: &Identity| if i.into_existing { "given" } else { "not given" };
            return differs("--into-existing", shown(found), shown(self));
        }
        None
    }

    /// How messages name the archive.
    pub fn shown(&self) -> String {
        format!("{} (archive {})", self.archive, self.archive_id)
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            archive: "s3://b/k".into(),
            version: "e1".into(),
            archive_id: "00ff".into(),
            archive_length: 1 << 40,
            index_crc32c: 0xABC,
            parts: 9,
            selection: String::new(),
            into_existing: false,
        }
    }

    #[test]
    fn comes_back_from_json() {
        let one = identity();
        let header: Value = serde_json::from_str(&one.header()).unwrap();
        assert_eq!(Identity::parse(&header), Some(one.clone()));
        assert_eq!(Identity::parse(&one.marker_of(1, 2, false)), Some(one));
        assert_eq!(Identity::parse(&json!({"archive_id": "00ff"})), None);
        assert_eq!(Identity::parse(&json!([])), None);
    }

    #[test]
    fn differences_are_named() {
        let one = identity();
        assert_eq!(one.difference(&one), None);
        type Change = fn(&mut Identity);
        let changes: [(&str, Change); 6] = [
            ("archive 11", |i| i.archive_id = "11".into()),
            ("bytes long", |i| i.archive_length = 1),
            ("part map", |i| i.index_crc32c = 1),
            ("ETag was e2 and is e1 now", |i| i.version = "e2".into()),
            ("--path", |i| i.selection = "x".into()),
            ("--into-existing was given", |i| i.into_existing = true),
        ];
        for (named, change) in changes {
            let mut other = identity();
            change(&mut other);
            assert!(one.difference(&other).unwrap().contains(named), "{named}");
        }
        // The same archive from elsewhere.
        let copy = Identity { archive: "copy.zip".into(), version: String::new(), ..identity() };
        assert_eq!(one.difference(&copy), None);
        assert!(one.is_done_by(&copy));
    }
}
