//! File locations: reading by range, and a new archive that appears whole or not at all.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::mpsc::channel;

use burst::error::{Kind, Result};
use burst::store::file::{FileSink, FileSource};
use burst::store::{ArchiveSink, ArchiveSource, Location, S3Options, TAIL_BYTES, open_source, upload_part_size};

fn kind<T>(result: Result<T>) -> Kind {
    match result {
        Ok(_) => panic!("this must fail"),
        Err(error) => error.kind(),
    }
}

fn write(path: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    let mut sink: Box<dyn ArchiveSink> = Box::new(FileSink::create(path, overwrite)?);
    sink.write(bytes)?;
    sink.finish()
}

#[test]
fn ranges_tail_and_version() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let bytes: Vec<u8> = (0..3 * TAIL_BYTES + 5).map(|i| (i % 251) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    let source = FileSource::open(&path).unwrap();
    assert_eq!(source.len(), bytes.len() as u64);
    assert_eq!(source.tail(), &bytes[bytes.len() - TAIL_BYTES as usize..]);
    assert!(source.version().starts_with(&format!("{}-", bytes.len())));

    let (send, receive) = channel();
    for start in (0..bytes.len() as u64).step_by(100_000) {
        let send = send.clone();
        let range = start..(start + 100_000).min(bytes.len() as u64);
        let deliver = Box::new(move |result| send.send((start as usize, result)).unwrap());
        source.start(range, deliver);
    }
    drop(send);
    for (start, result) in receive {
        let got = result.unwrap();
        let got = (*got).as_ref();
        // A recycled buffer must not show what it held before.
        assert_eq!(got, &bytes[start..(start + 100_000).min(bytes.len())]);
    }
    assert_eq!(kind(source.read(0..source.len() + 1)), Kind::Corrupt);

    fs::write(&path, b"other").unwrap();
    assert_eq!(kind(source.read(0..1)), Kind::ObjectChanged);
}

#[test]
fn only_files_and_block_devices_are_opened() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [directory.path(), &fifo, Path::new("/dev/null")] {
        assert_eq!(kind(FileSource::open(path)), Kind::Usage);
    }
    assert_eq!(kind(FileSource::open(Path::new("/no/such"))), Kind::NotFound);
    let empty = directory.path().join("empty");
    fs::write(&empty, b"").unwrap();
    assert_eq!(FileSource::open(&empty).unwrap().tail(), b"");
    let options = S3Options::default();
    assert_eq!(kind(open_source(&Location::Stdio, &options)), Kind::Usage);
}

#[test]
fn a_new_file_appears_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let names = || fs::read_dir(directory.path()).unwrap().count();
    let mut sink = FileSink::create(&path, false).unwrap();
    sink.write(b"half").unwrap();
    assert!(!path.exists());
    drop(sink);
    assert_eq!(names(), 0);

    write(&path, b"first", false).unwrap();
    assert_eq!(names(), 1);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777 & !0o044, 0o600);
    assert_eq!(kind(write(&path, b"second", false)), Kind::TargetInUse);
    assert_eq!(fs::read(&path).unwrap(), b"first");
    write(&path, b"second", true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(names(), 1);

    // One that appears meanwhile is kept, too.
    let late = directory.path().join("late");
    let sink: Box<dyn ArchiveSink> = Box::new(FileSink::create(&late, false).unwrap());
    fs::write(&late, b"theirs").unwrap();
    assert_eq!(kind(sink.finish()), Kind::TargetInUse);
    assert_eq!(fs::read(&late).unwrap(), b"theirs");

    // A symlink stays one; devices and directories are not replaced.
    let link = directory.path().join("link");
    symlink("a", &link).unwrap();
    write(&link, b"third", true).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&path).unwrap(), b"third");
    for path in [Path::new("/dev/null"), directory.path()] {
        assert_eq!(kind(FileSink::create(path, true)), Kind::Usage);
    }
    let nowhere = directory.path().join("none/a");
    assert_eq!(kind(FileSink::create(&nowhere, false)), Kind::NotFound);
}

#[test]
fn part_sizes_fit_into_ten_thousand_parts() {
    const MIB: u64 = 1 << 20;
    for (bound, part) in
        [(0, 8 * MIB), (80_000 * MIB, 8 * MIB), (80_000 * MIB + 1, 16 * MIB), (40_960_000 * MIB, 4096 * MIB)]
    {
        assert_eq!(upload_part_size(bound).unwrap(), part);
    }
    assert_eq!(kind(upload_part_size(40_960_000 * MIB + 1)), Kind::Usage);
}
