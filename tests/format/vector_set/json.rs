//! A vector's row in the manifest.

use std::fmt::Write;

use burst::format::{Attributes, EntryType, Xattr};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Expected, Vector};

const TOOLS: [&str; 5] = ["burst", "reference", "7zz", "zip crate", "bsdtar"];

/// Printable ASCII as it is, backslash and all other bytes as \xNN.
pub fn escape(name: &[u8]) -> String {
    name.iter().fold(String::new(), |mut text, &b| {
        let _ = match b {
            b'\\' | 0..0x20 | 0x7F.. => write!(text, "\\x{b:02x}"),
            _ => write!(text, "{}", char::from(b)),
        };
        text
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn type_name(entry_type: EntryType) -> &'static str {
    match entry_type {
        EntryType::Directory => "dir",
        EntryType::Regular => "file",
        EntryType::Symlink => "symlink",
        EntryType::HardLink { .. } => "hardlink",
        EntryType::CharDevice { .. } => "char",
        EntryType::BlockDevice { .. } => "block",
        EntryType::Fifo => "fifo",
    }
}

fn xattrs(list: &[Xattr]) -> Value {
    list.iter().map(|(name, value)| (escape(name), hex(value).into())).collect::<Map<_, _>>().into()
}

pub fn attributes(a: &Attributes) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("mode".into(), format!("{:04o}", a.permissions).into());
    row.insert("uid".into(), a.uid.into());
    row.insert("gid".into(), a.gid.into());
    row.insert("mtime".into(), a.mtime.seconds.into());
    row.insert("mtime_ns".into(), a.mtime.nanos.into());
    if !a.xattrs.is_empty() {
        row.insert("xattrs".into(), xattrs(&a.xattrs));
    }
    row
}

fn row(expected: &Expected, all: &[Expected]) -> Value {
    let e = &expected.entry;
    let mut row = attributes(&e.attributes);
    row.insert("path".into(), escape(&e.path).into());
    row.insert("type".into(), type_name(e.entry_type).into());
    row.insert("size".into(), expected.data.len().into());
    match e.entry_type {
        EntryType::Regular => {
            row.insert("sha256".into(), sha256(&expected.data).into());
        }
        EntryType::Symlink => {
            row.insert("link".into(), escape(&expected.data).into());
        }
        EntryType::HardLink { target } => {
            row.insert("link".into(), escape(&expected.data).into());
            row.insert("hard_link".into(), escape(&all[target as usize].entry.path).into());
        }
        EntryType::CharDevice { major, minor } | EntryType::BlockDevice { major, minor } => {
            row.insert("device".into(), json!([major, minor]));
        }
        EntryType::Directory | EntryType::Fifo => {}
    }
    if let Some(count) = e.link_count {
        row.insert("links".into(), count.into());
    }
    if !expected.holes.is_empty() {
        row.insert("holes".into(), json!(expected.holes));
    }
    row.into()
}

pub fn manifest(vector: &Vector) -> Value {
    let tools = TOOLS.iter().map(|&tool| {
        let deviation = vector.deviations.iter().find(|(name, _)| *name == tool);
        (tool.to_owned(), deviation.map_or("ok", |(_, why)| why).into())
    });
    let mut manifest = json!({
        "file": format!("{}.zip", vector.name),
        "length": vector.bytes.len(),
        "sha256": sha256(&vector.bytes),
        "shows": vector.shows,
        "anchors": vector.anchors,
        "tools": tools.collect::<Map<_, _>>(),
        "root": vector.root.as_ref().map(attributes),
        "entries": vector.entries.iter().map(|e| row(e, &vector.entries)).collect::<Vec<_>>(),
    });
    if !vector.parts.is_empty() {
        manifest["parts"] = json!(vector.parts);
    }
    manifest
}
