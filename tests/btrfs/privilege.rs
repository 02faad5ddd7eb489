//! Who may do it: CAP_SYS_ADMIN is asked for at each call, not when the file is opened.
//!
//! The tests marked "as another user" are run by the others in a new process, with an open file as standard input.

use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use burst::btrfs::{DeviceErrors, EncodedSupport, encoded_read, probe};
use nix::libc::EPERM;

use crate::frames::exact;
use crate::volume::{Volume, errno, run};

/// Runs one test of this program as user 1000.
fn as_another_user(volume: &Volume, test: &str, stdin: File) {
    // The directory this program was built in may be closed to others.
    let program = volume.path().join("program");
    // Not copied in this process: another test could start a program while we have this one open for writing.
    run("cp", &[&std::env::current_exe().unwrap(), &program]);
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(volume.path(), Permissions::from_mode(0o777)).unwrap();
    let output = Command::new(&program)
        .args(["--ignored", "--exact", test])
        .uid(1000)
        .gid(1000)
        .stdin(Stdio::from(stdin))
        .output()
        .unwrap_or_else(|error| panic!("cannot run {} as user 1000: {error}", program.display()));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
fn encoded_io_needs_cap_sys_admin_at_the_call() {
    let volume = Volume::with(512, "");
    as_another_user(&volume, "privilege::as_another_user_encoded_io", volume.create("file"));
}

#[test]
fn probe_says_that_the_capability_is_missing() {
    let volume = Volume::with(512, "");
    as_another_user(&volume, "privilege::as_another_user_probe", volume.dir_fd());
}

#[test]
fn errors_of_the_devices_are_told_to_anyone() {
    let volume = Volume::with(512, "");
    as_another_user(&volume, "privilege::as_another_user_device_errors", volume.dir_fd());
}

#[test]
#[ignore = "as another user"]
fn as_another_user_device_errors() {
    let stdin = std::io::stdin();
    let counts = DeviceErrors::read(stdin.as_fd()).unwrap();
    assert_eq!(counts.risen_since(&counts.clone(), stdin.as_fd()), None);
}

#[test]
#[ignore = "as another user"]
fn as_another_user_encoded_io() {
    let (_, frame) = exact(8192, 100);
    let stdin = std::io::stdin();
    let file = stdin.as_fd();
    assert_eq!(errno(burst::btrfs::encoded_write(file, 0, 8192, &frame)), EPERM);
    assert_eq!(errno(encoded_read(file, 0, &mut [0; 4096])), EPERM);
    // An ordinary write through the same descriptor is allowed.
    burst::linux::pwrite_all(file, 0, b"x").unwrap();
}

#[test]
#[ignore = "as another user"]
fn as_another_user_probe() {
    match probe(std::io::stdin().as_fd()).unwrap() {
        EncodedSupport::Unsupported(reason) => {
            assert!(reason.contains("CAP_SYS_ADMIN"), "{reason}")
        }
        supported => panic!("{supported:?}"),
    }
}
