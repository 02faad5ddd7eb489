//! A new BTRFS on a loop device, mounted where only this test sees it, gone when dropped.

use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use burst::btrfs;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

pub struct Volume {
    dir: TempDir,
    image: PathBuf,
}

impl Volume {
    pub fn new() -> Volume {
        Volume::with(256, "")
    }

    /// A file system of `mib` MiB, mounted with these options.
    pub fn with(mib: u64, options: &str) -> Volume {
        let dir = private_dir();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run("mkfs.btrfs", &["-q".as_ref(), image.as_ref()]);
        Volume::mount(dir, image, options)
    }

    fn mount(dir: TempDir, image: PathBuf, options: &str) -> Volume {
        let volume = Volume { dir, image };
        fs::create_dir(volume.path()).unwrap();
        volume.mount_again(options);
        volume
    }

    fn mount_again(&self, options: &str) {
        // "-o loop" makes a device that detaches itself at the last unmount, also if this process is killed.
        let options = format!("loop,{options}");
        let (image, path) = (self.image.as_path(), self.path());
        run("mount", &["-t".as_ref(), "btrfs".as_ref(), "-o".as_ref(), options.as_ref(), image, &path]);
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub fn remount(&self, options: &str) {
        self.unmount().expect("unmount; is a file still open?");
        self.mount_again(options);
    }

    /// A program that another test just starts has, for a moment, all open files of this process.
    fn unmount(&self) -> nix::Result<()> {
        let begin = Instant::now();
        loop {
            match nix::mount::umount(&self.path()) {
                Err(Errno::EBUSY) if begin.elapsed() < Duration::from_secs(10) => {
                    thread::sleep(Duration::from_millis(10));
                }
                result => return result,
            }
        }
    }

    /// Copies the device as it is at this moment, as a crash would leave it, and mounts the copy in its place.
    /// (Not beside it: both have the same file system id.)
    pub fn crash(self) -> Volume {
        let dir = private_dir();
        let image = dir.path().join("image");
        run("cp", &["--sparse=always".as_ref(), self.image.as_ref(), image.as_ref()]);
        drop(self);
        Volume::mount(dir, image, "")
    }

    pub fn create(&self, name: &str) -> File {
        File::options().read(true).write(true).create_new(true).open(self.path().join(name)).unwrap()
    }

    pub fn open(&self, name: &str) -> File {
        File::options().read(true).write(true).open(self.path().join(name)).unwrap()
    }

    pub fn dir_fd(&self) -> File {
        File::open(self.path()).unwrap()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A panic may have left a file open; the mount then ends with its last user.
        if thread::panicking() || self.unmount().is_err() {
            let _ = nix::mount::umount2(&self.path(), MntFlags::MNT_DETACH);
        }
    }
}

fn private_dir() -> TempDir {
    assert!(nix::unistd::geteuid().is_root(), "these tests mount a file system: run them as root");
    thread_local!(static PRIVATE: Cell<bool> = const { Cell::new(false) });
    if !PRIVATE.get() {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of its own (needs CAP_SYS_ADMIN)");
        // Slave, not private: what others unmount must not stay mounted here.
        let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
        PRIVATE.set(true);
    }
    let base = std::env::var_os("BURST_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::Builder::new().prefix("burst-btrfs-").tempdir_in(base).unwrap();
    // The tests that run as another user must get in.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Runs a program that must succeed and returns what it printed.
pub fn run(program: &str, args: &[&Path]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program} (btrfs-progs, util-linux): {error}"));
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}: {printed}", output.status);
    printed
}

/// An encoded write through the public function.
pub fn write(file: &File, offset: u64, content_len: usize, frame: &[u8]) -> io::Result<()> {
    btrfs::encoded_write(file.as_fd(), offset, content_len as u32, frame)
}

/// The errno an operation must have ended with.
#[track_caller]
pub fn errno<T>(result: io::Result<T>) -> i32 {
    let error = result.err().expect("an error");
    error.raw_os_error().unwrap_or_else(|| panic!("no errno: {error}"))
}

/// `len` bytes at `offset`, all of them.
pub fn read(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0xEE; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The whole file, compared without printing megabytes.
#[track_caller]
pub fn assert_content(file: &File, expected: &[u8]) {
    assert_eq!(file.metadata().unwrap().len(), expected.len() as u64, "size");
    let found = read(file, 0, expected.len()).unwrap();
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "first difference");
}
