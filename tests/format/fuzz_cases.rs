//! What the fuzzers found once, and every vector, through the checks of the fuzzers.

#[path = "../fuzz/checks/mod.rs"]
pub mod checks;

use std::path::Path;

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
