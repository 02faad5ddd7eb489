//! What the fuzzers found once, and every vector, through the checks of the fuzzers.

#[path = "../fuzz/checks/mod.rs"]
// `image` needs btrfs-progs, which the tests of the format do without.
#[allow(dead_code, unused_imports)]
pub mod checks;

use std::path::Path;

use burst::format::checksum::crc32;
use burst::format::directory_reader::PlacedEntry;

fn each_file(directory: &Path, visit: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, visit);
        } else if path.metadata().unwrap().len() < 1 << 20 {
            visit(&path, &std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn all_checks_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for directory in ["spec/vectors", "tests/fuzz/found"] {
        each_file(&root.join(directory), &mut |path, bytes| {
            println!("{}", path.display());
            checks::archive(bytes);
            checks::stream(bytes);
            checks::frame(bytes);
            checks::fields(bytes);
            checks::differential(bytes);
            checks::journal(bytes);
            seen += 1;
        });
    }
    assert!(seen > 140, "{seen} files");
}

/// Here all of them, because the fuzzer asks 7-Zip only now and then.
#[test]
fn seven_zip_sees_what_we_see() {
    let mut accepted = 0;
    each_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/vectors"), &mut |path, bytes| {
        // A wrong CRC-32 of content is for `burst verify --content` to find.
        let is_right =
            |ours: &Vec<(PlacedEntry, Vec<u8>)>| ours.iter().all(|(e, content)| crc32(content) == e.entry.crc32);
        if let Some(ours) = checks::read::read(bytes, true).ok().filter(is_right) {
            println!("{}", path.display());
            assert!(checks::seven_zip::compare(bytes, &ours), "7-Zip refuses {}", path.display());
            accepted += 1;
        }
    });
    assert!(accepted > 20, "{accepted} files");
}
