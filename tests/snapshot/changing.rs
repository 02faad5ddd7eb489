//! Sources that do not hold still, and failures: what is at DEST afterwards, and the exit code.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::*;

/// A pipe that is full stops the program in the middle of its work, until `meanwhile` is done.
fn stopped_midway(place: &Place, arguments: &[&str], meanwhile: impl FnOnce(u32)) -> (Option<i32>, Vec<u8>, String) {
    let mut command = burst();
    command.args(["snapshot", "--workers", "1", "--archive-id", ID]).args(arguments);
    command.arg(place.path("tree")).arg("-").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let mut archive = vec![0; 1 << 16];
    pipe.read_exact(&mut archive).unwrap();
    // Until the budget is used up and nothing is read any more.
    std::thread::sleep(Duration::from_millis(1500));
    meanwhile(child.id());
    pipe.read_to_end(&mut archive).unwrap();
    let out = child.wait_with_output().unwrap();
    (out.status.code(), archive, String::from_utf8_lossy(&out.stderr).into_owned())
}

fn fill(place: &Place) {
    let mut random = Random::new(7);
    // More than may be on its way, so that the files after it are not read yet.
    for i in 0..12 {
        place.write(&format!("a{i:02}"), &random.bytes(15 * MIB));
    }
    place.write("b-large", &random.bytes(200 * MIB));
    place.write("c-small", b"before");
    place.write("d-gone", b"before");
}

#[test]
fn a_large_file_truncated_while_it_is_read() {
    let place = Place::new();
    fill(&place);
    let (code, archive, said) = stopped_midway(&place, &[], |_| {
        fs::File::options().write(true).open(place.tree("b-large")).unwrap().set_len(5 * MIB + 77).unwrap();
        fs::write(place.tree("c-small"), b"after").unwrap();
        fs::remove_file(place.tree("d-gone")).unwrap();
    });
    assert_eq!(code, Some(20), "{said}");
    assert!(said.contains("d-gone vanished"), "{said}");
    fs::write(place.path("archive"), archive).unwrap();
    check_grid(&place.path("archive"));
    check_seven_zip(&place.path("archive"));
    let entries = list(&place.path("archive"));
    assert_eq!(entries.len(), 14);
    assert_eq!(find(&entries, "c-small").number("size"), 5);
}

#[test]
fn changes_may_be_allowed() {
    let place = Place::new();
    fill(&place);
    let (code, _, said) =
        stopped_midway(&place, &["--allow-changed"], |_| fs::remove_file(place.tree("d-gone")).unwrap());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("d-gone vanished"), "{said}");
}

#[test]
fn signals_leave_nothing_behind() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let place = Place::new();
        fill(&place);
        let mut child = burst()
            .args(["snapshot", "--workers", "1", "--level", "15"])
            .args([place.path("tree"), place.path("out.burst")])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(400));
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let left: Vec<_> = fs::read_dir(place.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["tree"]);
    }
}

#[test]
fn what_may_not_be_read_fails_with_its_name() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("secret", b"x");
    fs::set_permissions(place.tree("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    for path in [place.dir.path().to_owned(), place.path("tree")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    // Nobody may be unable to reach this program's own directory.
    fs::copy(env!("CARGO_BIN_EXE_burst"), place.path("burst")).unwrap();
    let out = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(place.path("burst"))
        .arg("snapshot")
        .args([place.path("tree"), place.path("out")])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(11), "{}", text(&out));
    assert!(text(&out).contains("tree/secret"), "{}", text(&out));
    let left = fs::read_dir(place.dir.path()).unwrap().count();
    assert_eq!(left, 2, "tree and program only");
}

#[test]
fn usage_errors_come_before_anything_starts() {
    let place = Place::new();
    place.write("f", b"x");
    for (arguments, code) in [
        (&["--part-size", "7"][..], 2),
        (&["--part-size", "24"], 2),
        (&["--archive-id", "xyz"], 2),
        (&["--hardlinks", "sometimes"], 2),
        (&["--exclude", "[b-a]"], 2),
        (&["--sse-kms-key-id", "k"], 2),
    ] {
        let out = place.run("out", arguments);
        assert_eq!(out.status.code(), Some(code), "{arguments:?} {}", text(&out));
        assert!(!place.path("out").exists());
    }
    assert!(place.run("out", &["--part-size", "16"]).status.success());
    assert_eq!(place.run("out", &[]).status.code(), Some(19));
    assert!(place.run("out", &["--overwrite"]).status.success());
    fs::remove_dir_all(place.path("tree")).unwrap();
    assert_eq!(place.run("new", &[]).status.code(), Some(10));
}
