//! Names, types, attributes, links, and what SOURCE and --exclude select.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::support::*;

fn paths(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.text("path")).collect()
}

#[test]
fn every_type_and_attribute() {
    let place = Place::new();
    place.write("d/file", b"content");
    std::os::unix::fs::chown(place.tree("d/file"), Some(1234), Some(70_000)).unwrap();
    fs::set_permissions(place.tree("d/file"), fs::Permissions::from_mode(0o6751)).unwrap();
    symlink("../nowhere/\u{e4}", place.tree("d/link")).unwrap();
    nix::unistd::mkfifo(&place.tree("fifo"), Mode::S_IRUSR).unwrap();
    mknod(&place.tree("device"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 300)).unwrap();
    mknod(&place.tree("disk"), SFlag::S_IFBLK, Mode::S_IWUSR, makedev(7, 200)).unwrap();
    fs::create_dir(place.tree("empty")).unwrap();
    fs::set_permissions(place.tree("empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    let old = std::time::UNIX_EPOCH - std::time::Duration::new(1_000_000_000, 1);
    fs::File::open(place.tree("empty")).unwrap().set_modified(old).unwrap();
    let _socket = UnixListener::bind(place.tree("socket")).unwrap();
    let out = Command::new("setfattr").args(["-n", "user.name", "-v", "value"]).arg(place.tree("d/file")).output();
    assert!(out.unwrap().status.success());
    fs::create_dir(place.tree(".burst")).unwrap();
    place.write(".burst/journal", b"not archived");
    place.write("d/.burst", b"archived");

    let entries = place.check(&[]);
    assert_eq!(paths(&entries), ["d", "empty", "d/.burst", "d/file", "d/link", "device", "disk", "fifo"]);
    let file = find(&entries, "d/file");
    assert_eq!(file.number("mode") & 0o7777, 0o6751);
    assert_eq!((file.number("uid"), file.number("gid")), (1234, 70_000));
    assert_eq!(file.0["xattrs"]["user.name"], "76616c7565");
    assert_eq!(find(&entries, "d/link").text("link"), "../nowhere/\\xc3\\xa4");
    assert_eq!(find(&entries, "device").0["device"].to_string(), "[1,300]");
    assert_eq!(find(&entries, "disk").0["device"].to_string(), "[7,200]");
    let empty = find(&entries, "empty");
    assert_eq!(empty.number("mode") & 0o7777, 0o1777);
    assert_eq!((empty.0["mtime"].as_i64(), empty.number("mtime_ns")), (Some(-1_000_000_001), 999_999_999));
    let out = place.run("again", &[]);
    assert!(out.status.success() && text(&out).contains("left out: 1 socket"), "{}", text(&out));
    assert!(text(&out).contains("socket is a socket"), "{}", text(&out));
}

#[test]
fn names_of_any_bytes() {
    let place = Place::new();
    let long = "n".repeat(255);
    for name in [&b"\xff\xfe"[..], b"new\nline", b"back\\slash", "\u{e4}\u{4e2d}".as_bytes(), b" ", long.as_bytes()] {
        fs::write(place.path("tree").join(OsStr::from_bytes(name)), name).unwrap();
    }
    let deep = vec![long.as_str(); 14].join("/");
    // Longer paths cannot be reached by one name (PATH_MAX).
    if fs::create_dir_all(place.tree(&deep)).is_ok() {
        place.write(&format!("{deep}/leaf"), b"deep");
    }
    let entries = place.check(&[]);
    let found = paths(&entries);
    for name in ["\\xff\\xfe", "new\\x0aline", "back\\x5cslash", "\\xc3\\xa4\\xe4\\xb8\\xad", " "] {
        assert!(found.contains(&name), "{name}");
    }
}

#[test]
fn hard_links_across_directories() {
    let place = Place::new();
    place.write("b/first", b"shared content");
    fs::create_dir(place.tree("a")).unwrap();
    fs::create_dir(place.tree("c")).unwrap();
    fs::hard_link(place.tree("b/first"), place.tree("c/second")).unwrap();
    fs::hard_link(place.tree("b/first"), place.path("outside")).unwrap();
    symlink("x", place.tree("a/sym")).unwrap();
    fs::hard_link(place.tree("a/sym"), place.tree("c/sym")).unwrap();
    nix::unistd::mkfifo(&place.tree("b/fifo"), Mode::S_IRUSR).unwrap();
    fs::hard_link(place.tree("b/fifo"), place.tree("b/fifo2")).unwrap();
    let big = Random::new(6).text(17 * MIB);
    place.write("b/large", &big);
    fs::hard_link(place.tree("b/large"), place.tree("c/large")).unwrap();

    let entries = place.check(&[]);
    for (link, target, text) in [
        ("c/second", "b/first", "../b/first"),
        ("c/sym", "a/sym", "../a/sym"),
        ("b/fifo2", "b/fifo", "fifo"),
        ("c/large", "b/large", "../b/large"),
    ] {
        let entry = find(&entries, link);
        assert_eq!((entry.text("hard_link"), entry.text("link")), (target, text));
    }
    assert_eq!(find(&entries, "b/first").number("links"), 3);
    let entries = place.check(&["--hardlinks", "copy"]);
    assert_eq!(find(&entries, "c/second").text("type"), find(&entries, "b/first").text("type"));
    assert_eq!(find(&entries, "c/large").number("size"), 17 * MIB);
    assert!(entries.iter().all(|entry| entry.0["hard_link"].is_null()));
}

#[test]
fn several_sources_and_excludes() {
    let place = Place::new();
    place.write("one/a.o", b"1");
    place.write("one/a.c", b"2");
    place.write("one/build/x", b"3");
    place.write("two/build/y", b"4");
    fs::write(place.path("file"), b"5").unwrap();
    let run = |arguments: &[&str]| {
        let out =
            burst().current_dir(place.path("tree")).args(["snapshot", "--quiet"]).args(arguments).output().unwrap();
        assert!(out.status.success(), "{}", text(&out));
        let archive = place.tree(arguments.last().unwrap());
        check_grid(&archive);
        let found: Vec<String> = paths(&list(&archive)).into_iter().map(str::to_owned).collect();
        found
    };
    assert_eq!(
        run(&["one/.", "two/", "../file", "../all"]),
        ["one", "one/build", "two", "two/build", "one/a.c", "one/a.o", "one/build/x", "two/build/y", "file"]
    );
    assert_eq!(run(&["--exclude", "*.o", "--exclude", "/build", "one", "../x"]), ["a.c"]);
    assert_eq!(run(&["../file", "../single"]), ["file"]);
    // The archive within the tree: neither the old nor the new one is archived.
    fs::write(place.tree("one/self"), b"old").unwrap();
    assert_eq!(run(&["--overwrite", "one", "one/self"]), ["build", "a.c", "a.o", "build/x"]);
}

#[test]
fn one_file_system_is_the_default() {
    let place = Place::new();
    place.write("mnt/hidden", b"");
    let mounted = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs t \"$1\" && touch \"$1/inside\" && shift && exec \"$@\"", "sh"])
        .arg(place.tree("mnt"))
        .arg(env!("CARGO_BIN_EXE_burst"))
        .args(["snapshot", "--quiet"])
        .args([place.path("tree"), place.path("a")])
        .output()
        .unwrap();
    assert!(mounted.status.success(), "{}", text(&mounted));
    assert_eq!(paths(&list(&place.path("a"))), ["mnt"]);
}
