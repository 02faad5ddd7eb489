//! Names, types and attributes.

use burst::format::archive_writer::NewEntry;
use burst::format::{Attributes, EntryType, Timestamp, Xattr};

use super::Vector;
use super::maker::{Maker, attributes, entry, file, xattr};

fn with_xattrs(path: &str, xattrs: Vec<Xattr>) -> NewEntry {
    NewEntry { attributes: Attributes { xattrs, ..attributes() }, ..file(path) }
}

/// A POSIX ACL in the kernel's form (include/uapi/linux/posix_acl_xattr.h): version 2, then tag, permissions, id.
fn acl(rows: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in rows {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

const NO_ID: u32 = u32::MAX;

/// F9
pub fn all_attributes() -> Vector {
    let shows = "all 12 permission bits, owners, extended attributes, POSIX ACLs, file capabilities";
    let mut m = Maker::new("attributes", shows, &["types", "burst-field", "xattrs"]);
    // user:: rwx, user 5: r-x, group:: r-x, mask rwx, other: ---
    let list = acl(&[(1, 7, NO_ID), (2, 5, 5), (4, 5, NO_ID), (16, 7, NO_ID), (32, 0, NO_ID)]);
    let of = |path: &str, permissions: u32| {
        let is_directory = path.ends_with('/');
        let entry_type = if is_directory { EntryType::Directory } else { EntryType::Regular };
        NewEntry {
            attributes: Attributes { permissions, ..attributes() },
            ..entry(path.trim_end_matches('/'), entry_type)
        }
    };
    let mut default_acl = of("default-acl/", 0o770);
    default_acl.attributes.xattrs =
        vec![xattr("system.posix_acl_access", &list), xattr("system.posix_acl_default", &list)];
    m.stored(default_acl, b"");
    m.stored(of("sticky/", 0o1777), b"");
    m.stored(of("setgid/", 0o2755), b"");
    m.stored(of("setuid", 0o4755), b"#!");
    m.stored(of("setgid-file", 0o2711), b"#!");
    m.stored(of("nothing", 0), b"secret");
    m.stored(of("everything", 0o7777), b"");
    let mut owner = of("owner", 0o600);
    (owner.attributes.uid, owner.attributes.gid) = (u32::MAX - 1, 2_000_000_000);
    m.stored(owner, b"ids over 31 bits");
    m.stored(
        with_xattrs("xattrs", vec![xattr("user.a", b""), xattr("user.b", b"\0\xff"), xattr("user.\u{e4}", b"u")]),
        b"x",
    );
    let mut acl_file = of("acl", 0o770);
    acl_file.attributes.xattrs = vec![xattr("system.posix_acl_access", &list)];
    m.stored(acl_file, b"");
    // VFS_CAP_REVISION_2, effective: cap_net_bind_service (include/uapi/linux/capability.h)
    let mut capability = of("capability", 0o755);
    let value = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    capability.attributes.xattrs = vec![xattr("security.capability", value)];
    m.stored(capability, b"#!");
    m.finish()
}

/// F9
pub fn overflow() -> Vector {
    let shows = "extended attributes that make the BURST field over 32,768 bytes stand in an overflow list; just below they do not";
    let root = Attributes { permissions: 0o755, xattrs: vec![xattr("user.r", &[b'r'; 9000])], ..attributes() };
    let mut m = Maker::with_root("overflow", shows, &["burst-field", "attribute-region"], Some(root));
    let list = |last: usize| {
        [("user.1", 12_000), ("user.2", 12_000), ("user.3", last)]
            .map(|(n, length)| xattr(n, &vec![b'v'; length]))
            .to_vec()
    };
    // 16 bytes before the attributes, 5 for the attribute, 5 + 6 for each record.
    let fits = 32_768 - 16 - 5 - 3 * 11 - 24_000;
    m.stored(with_xattrs("over", list(fits + 1)), b"");
    m.stored(with_xattrs("fits", list(fits)), b"");
    m.stored(with_xattrs("over too", list(11_000)), b"content");
    m.finish()
}

pub fn nodes() -> Vector {
    let mut m = Maker::new("nodes", "devices and FIFOs", &["types", "burst-field"]);
    m.stored(entry("null", EntryType::CharDevice { major: 1, minor: 3 }), b"");
    m.stored(entry("large minor", EntryType::CharDevice { major: 4095, minor: 1_048_575 }), b"");
    m.stored(entry("loop", EntryType::BlockDevice { major: 7, minor: 0 }), b"");
    m.stored(entry("fifo", EntryType::Fifo), b"");
    m.finish()
}

pub fn symlinks() -> Vector {
    let shows = "symbolic links: relative, absolute, dangling, upward, of 4,095 bytes, not UTF-8";
    let mut m = Maker::new("symlinks", shows, &["types", "method"]);
    m.directory("d");
    m.stored(file("d/file"), b"x");
    let targets: [(&str, &[u8]); 6] = [
        ("relative", b"d/file"),
        ("d/upward", b"../d/file"),
        ("absolute", b"/etc/hostname"),
        ("dangling", b"no/such/file"),
        ("outside", b"../../outside"),
        ("not utf-8", b"\xff\\\n"),
    ];
    for (path, target) in targets {
        m.stored(entry(path, EntryType::Symlink), target);
    }
    m.stored(entry("long", EntryType::Symlink), &"./".repeat(2048).as_bytes()[..4095]);
    m.finish()
}

/// F9
pub fn hard_links() -> Vector {
    let shows = "hard links in the same and in other directories, to a file, a symbolic link and a FIFO; some names are not archived";
    let mut m = Maker::new("hard-links", shows, &["hard-links", "types"]);
    for path in ["a", "a/b", "c"] {
        m.directory(path);
    }
    let linked = |path: &str, entry_type, count| NewEntry { link_count: Some(count), ..entry(path, entry_type) };
    let target = m.stored(linked("a/target", EntryType::Regular, 7), b"one inode");
    for path in ["a/same directory", "a/b/below", "c/beside", "above"] {
        m.hard_link(path, target);
    }
    let link = m.stored(linked("c/symlink", EntryType::Symlink, 2), b"nowhere");
    m.hard_link("c/symlink too", link);
    let fifo = m.stored(linked("fifo", EntryType::Fifo, 2), b"");
    m.hard_link("a/b/fifo", fifo);
    m.stored(linked("alone", EntryType::Regular, 2), b"the other name is elsewhere");
    m.finish()
}

/// F9
pub fn times() -> Vector {
    let shows = "modification times: nanoseconds, odd seconds, before 1980, before 1970, outside 32 bits, after 2107";
    let mut m = Maker::new("times", shows, &["burst-field", "local-file-header"]);
    for (path, seconds, nanos) in [
        ("epoch", 0, 0),
        ("nanoseconds", 1_700_000_000, 999_999_999),
        ("odd", 1_700_000_001, 1),
        ("1969", -1, 999_999_999),
        ("1980", 315_532_800, 0),
        ("before 1980", 315_532_799, 999_999_999),
        ("first of 32 bits", i64::from(i32::MIN), 0),
        ("before 32 bits", i64::from(i32::MIN) - 1, 0),
        ("last of 32 bits", i64::from(i32::MAX), 0),
        ("after 32 bits", i64::from(i32::MAX) + 1, 0),
        ("2107", 4_354_819_199, 0),
        ("2108", 4_354_819_200, 0),
        ("far", 1 << 40, 7),
        ("long ago", -(1 << 40), 7),
    ] {
        m.stored(
            NewEntry { attributes: Attributes { mtime: Timestamp { seconds, nanos }, ..attributes() }, ..file(path) },
            b"",
        );
    }
    m.finish()
}

/// F9
pub fn names() -> Vector {
    let shows = "names: bit 11 exactly for valid UTF-8 beyond ASCII, other bytes as they are";
    let mut m = Maker::new("names", shows, &["names"])
        .deviations(&[("bsdtar", "makes / of the backslash, and drops a: as a drive letter")]);
    m.directory("\u{e4} directory");
    m.directory("\u{e4} directory/.burst");
    let names: [&[u8]; 13] = [
        "\u{e4} directory/\u{20ac}\u{1f980}".as_bytes(),
        "e\u{301} decomposed".as_bytes(),
        b"not utf-8 \xff\xfe",
        b"latin-1 \xe4",
        b"overlong \xc0\xaf",
        b"back\\slash",
        b"new\nline",
        b"control \x01\x7f",
        b" spaces ",
        b"...",
        b"-rf",
        b"a:b*?\"<>|",
        b"CON",
    ];
    for name in names {
        m.stored(file(name), b"n");
    }
    m.finish()
}

pub fn long_names() -> Vector {
    let shows = "a component of 255 bytes, a path of 4,095 bytes";
    let mut m = Maker::new("long-names", shows, &["names", "limits"]);
    let components: Vec<String> = (b'a'..=b'o').map(|c| char::from(c).to_string().repeat(255)).collect();
    for depth in 1..=components.len() {
        m.directory(components[..depth].join("/"));
    }
    m.stored(file("f".repeat(255)), b"255");
    // 15 times 255 bytes and a slash, then 255.
    m.stored(file(format!("{}/{}", components.join("/"), "p".repeat(255))), b"4095");
    m.finish()
}

pub fn unrestorable_name() -> Vector {
    let shows = "a component of 256 bytes: can be listed and tested, not restored on Linux";
    let mut m = Maker::new("unrestorable-name", shows, &["names"]);
    m.stored(file("c".repeat(256)), b"256");
    m.finish()
}
