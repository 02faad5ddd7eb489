//! The golden vectors in spec/vectors: the writer still makes them, the readers read and refuse them as the manifest says.

use std::path::PathBuf;

use burst::format::stream_reader::{Event, StreamReader};
use burst::format::{EntryType, Reason, Step};
use serde_json::Value;

use crate::consume::{Read, index, read};
use crate::vector_set::{ALL, json};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("spec/vectors")
}

fn manifest() -> Value {
    let text = std::fs::read_to_string(directory().join("manifest.json")).expect("the manifest");
    serde_json::from_str(&text).expect("JSON")
}

fn rows(manifest: &Value, key: &str) -> Vec<Value> {
    manifest[key].as_array().expect(key).clone()
}

fn bytes(row: &Value) -> Vec<u8> {
    let file = row["file"].as_str().unwrap();
    let bytes = std::fs::read(directory().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    assert_eq!(json::sha256(&bytes), row["sha256"], "{file}");
    bytes
}

/// F7: the writer's bytes depend on nothing but what it is given.
#[test]
fn the_writer_makes_them() {
    let manifest = manifest();
    let valid = rows(&manifest, "valid");
    assert_eq!(valid.len(), ALL.len(), "make the vectors anew");
    for (make, row) in ALL.iter().zip(valid) {
        let vector = make();
        assert!(bytes(&row) == vector.bytes, "{}: other bytes than in spec/vectors", vector.name);
        assert_eq!(json::manifest(&vector), row, "{}", vector.name);
    }
}

/// What was read as the manifest has it.
fn compare(found: &Read, row: &Value) {
    let file = &row["file"];
    let root = found.root.as_ref().map(json::attributes);
    assert_eq!(serde_json::to_value(root).unwrap(), row["root"], "{file}");
    let expected = row["entries"].as_array().unwrap();
    assert_eq!(found.entries.len(), expected.len(), "{file}");
    for ((placed, content), expected) in found.entries.iter().zip(&found.contents).zip(expected) {
        let e = &placed.entry;
        let mut found = json::attributes(&e.attributes);
        found.insert("path".into(), json::escape(&e.path).into());
        found.insert("type".into(), json::type_name(e.entry_type).into());
        found.insert("size".into(), e.uncompressed_size.into());
        if let Some(count) = e.link_count {
            found.insert("links".into(), count.into());
        }
        match e.entry_type {
            EntryType::Regular => found.insert("sha256".into(), json::sha256(content).into()),
            EntryType::Symlink | EntryType::HardLink { .. } => {
                found.insert("link".into(), json::escape(content).into())
            }
            EntryType::CharDevice { major, minor } | EntryType::BlockDevice { major, minor } => {
                found.insert("device".into(), serde_json::json!([major, minor]))
            }
            _ => None,
        };
        for (key, value) in expected.as_object().unwrap() {
            // Ordinals and frames are compared elsewhere.
            if key != "hard_link" && key != "holes" {
                assert_eq!(found.get(key), Some(value), "{file}: {}: {key}", expected["path"]);
            }
        }
    }
}

#[test]
fn readers_find_what_the_manifest_says() {
    let manifest = manifest();
    for row in rows(&manifest, "valid").iter().chain(&rows(&manifest, "valid_by_hand")) {
        let bytes = bytes(row);
        let found = read(&bytes).unwrap_or_else(|e| panic!("{}: {e}", row["file"]));
        compare(&found, row);
        if let Some(parts) = row["parts"].as_array() {
            let map = index(&bytes, 1 << 16).unwrap().map;
            let records: Vec<_> =
                map.iter().map(|r| serde_json::json!([r.kind as u8, r.ordinal, r.content_offset])).collect();
            assert_eq!(&records, parts, "{}", row["file"]);
        }
    }
}

#[test]
fn readers_refuse_the_others() {
    for row in rows(&manifest(), "refuse") {
        let file = &row["file"];
        let error = match read(&bytes(&row)) {
            Ok(_) => panic!("{file} was read"),
            Err(error) => error,
        };
        let code = match error.reason {
            Reason::Corrupt => 13,
            Reason::UnsafeEntry => 14,
            Reason::Unsupported => 17,
        };
        assert_eq!(row["exit_code"], code, "{file}: {error}");
    }
}

/// Where two places of an archive say the same thing differently, the message has what each of them says.
#[test]
fn a_disagreement_names_both_values() {
    let told = [
        ("archive-length", "is 397", "says 500"),
        ("entry-count", "is 1", "says 2"),
        ("content-bytes", "bytes: 7", "says 8"),
        ("part-count", "is 2", "expected 1"),
        ("part-checksum", "is 0x90148a07", "says 0x00000001"),
        ("directory-checksum", "is 0x76c4195b", "says 0x00000001"),
        ("index-checksum", "is 0xaa569248", "says 0x00000000"),
        ("trailer-checksum", "is 0x14639557", "expected 0xdb320040"),
        ("start-of-part-offset", "is 16777216", "expected 8388608"),
        ("local-name", "\"file\"", "\"File\""),
        ("local-size", "is 8191", "says 8192"),
        ("local-crc", "is 7", "says 4274335913"),
        ("local-time", "is 2", "says 45482"),
        ("descriptor", "is 4269154016", "says 4269154017"),
        ("time-fields", "7", "1700000001"),
        ("stored-sizes", "size is 7", "size 8"),
        ("too-few-frames", "4096", "8192"),
        ("too-many-frames", "8192", "4096"),
        ("hard-link-text", "0x08e1e5af", "0x8c9f3610"),
        ("hard-link-owner", "0:100", "1000:100"),
        ("overflow-checksum", "0xaf188d9c", "0x2fe56e09"),
        ("sizes-past-the-end", "8235", "9000"),
        ("shared-local-header", "at 0", "behind the previous at 0"),
    ];
    for (name, found, expected) in told {
        let bytes = std::fs::read(directory().join(format!("refuse/{name}.zip"))).unwrap();
        let message = read(&bytes).err().unwrap_or_else(|| panic!("{name} was read")).to_string();
        assert!(message.contains(found) && message.contains(expected), "{name}: {message}");
    }
}

/// Holes, and the bytes consumed by each kind of event; or where the stream was refused.
#[derive(Debug, Default, PartialEq)]
struct Streamed {
    holes: Vec<(u64, Vec<(u64, u64)>)>,
    entries: u64,
    content: u64,
    refused: Option<String>,
}

fn stream(bytes: &[u8], mut give: impl FnMut(usize) -> usize) -> Streamed {
    let mut reader = StreamReader::at_start();
    let (mut from, mut to) = (0, 0);
    let mut found = Streamed::default();
    loop {
        let advance = match reader.next(&bytes[from..to]) {
            Err(e) => {
                found.refused = Some(e.message);
                return found;
            }
            Ok(Step::NeedMore(_)) if to == bytes.len() => {
                found.refused = Some("cut".into());
                return found;
            }
            Ok(Step::NeedMore(n)) => {
                to = (to + give(n - (to - from))).min(bytes.len());
                continue;
            }
            Ok(Step::Ready(advance)) => advance,
        };
        match advance.event {
            Event::LocalHeader { .. } => found.entries += 1,
            Event::Frame { content_offset, content_size, is_hole: true, .. } => {
                let (entry, start, end) = (found.entries - 1, content_offset, content_offset + u64::from(content_size));
                if found.holes.last().is_none_or(|(last, _)| *last != entry) {
                    found.holes.push((entry, Vec::new()));
                }
                let list = &mut found.holes.last_mut().unwrap().1;
                match list.last_mut() {
                    Some(last) if last.1 == start => last.1 = end,
                    _ => list.push((start, end)),
                }
            }
            Event::EntryEnd { content_size, .. } => found.content += content_size,
            Event::EndOfData => return found,
            _ => {}
        }
        from += advance.consumed;
    }
}

/// However the stream is cut: one byte more at a time for small vectors, odd pieces for all.
#[test]
fn streams_cut_anywhere() {
    let manifest = manifest();
    for (key, valid) in [("valid", true), ("valid_by_hand", true), ("refuse", false)] {
        for row in rows(&manifest, key) {
            let (bytes, file) = (bytes(&row), &row["file"]);
            let whole = stream(&bytes, |_| usize::MAX / 2);
            let mut size = 1;
            let odd = stream(&bytes, |_| {
                size = (size * 7 + 1) % 100_003;
                size
            });
            assert_eq!(odd, whole, "{file}");
            if bytes.len() < 20_000 {
                assert_eq!(stream(&bytes, |_| 1), whole, "{file}");
            }
            if !valid {
                continue;
            }
            assert_eq!(whole.refused, None, "{file}");
            let entries = row["entries"].as_array().unwrap();
            assert_eq!(whole.entries, entries.len() as u64, "{file}");
            assert_eq!(whole.content, entries.iter().map(|e| e["size"].as_u64().unwrap()).sum::<u64>(), "{file}");
            let holes: Vec<Value> = entries.iter().filter_map(|e| e.get("holes").cloned()).collect();
            let found: Vec<Value> = whole.holes.iter().map(|(_, list)| serde_json::json!(list)).collect();
            assert_eq!(found, holes, "{file}");
        }
    }
}

/// Vectors that the zip crate reads, another implementation of ZIP.
#[test]
fn the_zip_crate() {
    let manifest = manifest();
    for row in rows(&manifest, "valid").iter().chain(&rows(&manifest, "valid_by_hand")) {
        assert_eq!(row["tools"]["zip crate"], "ok", "no deviation is known");
        let file = &row["file"];
        let mut archive =
            zip::ZipArchive::new(std::io::Cursor::new(bytes(row))).unwrap_or_else(|e| panic!("{file}: {e}"));
        let entries = row["entries"].as_array().unwrap();
        assert_eq!(archive.len(), entries.len(), "{file}");
        for (i, expected) in entries.iter().enumerate() {
            let mut entry = archive.by_index(i).unwrap_or_else(|e| panic!("{file}: {e}"));
            let name = entry.name_raw().strip_suffix(b"/").unwrap_or(entry.name_raw());
            assert_eq!(json::escape(name), expected["path"], "{file}");
            assert_eq!(entry.size(), expected["size"], "{file}");
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap_or_else(|e| panic!("{file}: {expected}: {e}"));
            if let Some(sum) = expected.get("sha256") {
                assert_eq!(&Value::from(json::sha256(&content)), sum, "{file}: {}", expected["path"]);
            } else if let Some(link) = expected.get("link") {
                assert_eq!(&Value::from(json::escape(&content)), link, "{file}: {}", expected["path"]);
            }
        }
    }
}
