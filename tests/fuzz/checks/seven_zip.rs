//! 7-Zip as a third reader. It is a program, and one run of it takes as long as hundreds of inputs.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use burst::format::EntryType;
use burst::format::checksum::crc32;
use burst::format::directory_reader::PlacedEntry;

/// When it may run again, so that it takes no more than a fifth of the time. The first input always gets it: who tries a
/// case that was found sees the same.
static NEXT: Mutex<Option<Instant>> = Mutex::new(None);

pub fn compare_now_and_then(archive: &[u8], ours: &[(PlacedEntry, Vec<u8>)]) {
    let mut next = NEXT.lock().unwrap();
    let begun = Instant::now();
    if next.is_none_or(|next| begun >= next) {
        compare(archive, ours);
        *next = Some(Instant::now() + 4 * begun.elapsed());
    }
}

/// Whether 7-Zip accepts this archive; then it must see the same in it as our reader.
pub fn compare(archive: &[u8], ours: &[(PlacedEntry, Vec<u8>)]) -> bool {
    let mut file = tempfile::Builder::new().suffix(".zip").tempfile().unwrap();
    file.write_all(archive).unwrap();
    let run = |arguments: &[&str]| {
        let program = std::env::var_os("BURST_7ZZ_UPSTREAM").unwrap_or_else(|| "7zz".into());
        // 7-Zip must not find out by itself what else the file could be.
        let mut command = Command::new(program);
        command.args(arguments).arg("-tzip").arg("--").arg(file.path()).stdin(Stdio::null());
        let output = command.output().expect("7zz cannot be run (tests/setup installs it)");
        output.status.success().then_some(output.stdout)
    };
    let Some(listing) = run(&["l", "-slt", "-ba", "-sccUTF-8"]) else { return false };
    let Some(content) = run(&["x", "-so"]) else { return false };

    let listing = String::from_utf8_lossy(&listing);
    let values = |key: &str| -> Vec<String> {
        listing.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect()
    };
    // A path may have lines of its own; then nothing of the listing can be told apart.
    if ours.iter().all(|(placed, _)| is_plain(&placed.entry.path)) {
        let (paths, sizes, sums) = (values("Path = "), values("Size = "), values("CRC = "));
        assert_eq!(paths.len(), ours.len(), "number of entries in 7-Zip");
        for (n, (placed, _)) in ours.iter().enumerate() {
            let entry = &placed.entry;
            assert_eq!(paths[n].as_bytes(), entry.path, "name of entry {n} in 7-Zip");
            assert_eq!(sizes[n], entry.uncompressed_size.to_string(), "size of entry {n} in 7-Zip");
            if entry.entry_type != EntryType::Directory {
                assert_eq!(sums[n], format!("{:08X}", entry.crc32), "CRC-32 of entry {n} in 7-Zip");
            }
        }
    }
    assert!(ours.iter().all(|(placed, content)| crc32(content) == placed.entry.crc32), "7-Zip takes a wrong CRC-32");
    assert!(content == ours.iter().map(|(_, content)| &content[..]).collect::<Vec<_>>().concat(), "content in 7-Zip");
    true
}

/// What 7-Zip prints and stores as it is.
fn is_plain(path: &[u8]) -> bool {
    path.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
}
