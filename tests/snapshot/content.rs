//! Content of every size and kind.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::support::*;

#[test]
fn sizes_around_every_limit() {
    let place = Place::new();
    let mut random = Random::new(1);
    let edges =
        [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 128 << 10, (128 << 10) + 1, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1];
    for size in edges {
        place.write(&format!("text-{size}"), &random.text(size));
        place.write(&format!("random-{size}"), &random.bytes(size));
        place.write(&format!("zeros-{size}"), &vec![0; size as usize]);
    }
    let entries = place.check(&[]);
    assert_eq!(entries.len(), 3 * edges.len());
    // Allocated zeros are no holes; what does not compress is stored; over 16 MiB everything is compressed.
    assert!(entries.iter().all(|e| e.0["holes"].as_array().is_none_or(Vec::is_empty)));
    assert_eq!(find(&entries, "random-16777216").number("method"), 0);
    assert_eq!(find(&entries, "random-16777217").number("method"), 93);
    assert_eq!(find(&entries, "text-4096").number("method"), 93);
    assert_eq!(find(&entries, "text-0").number("method"), 0);

    extract(&place.path("archive"), &place.path("out"));
    for size in edges {
        for kind in ["text", "random", "zeros"] {
            let name = format!("{kind}-{size}");
            let (a, b) = (fs::read(place.tree(&name)).unwrap(), fs::read(place.path("out").join(&name)).unwrap());
            assert!(a == b, "{name}");
        }
    }
}

#[test]
fn levels_from_end_to_end() {
    let place = Place::new();
    let mut random = Random::new(2);
    place.write("a", &random.text(700_000));
    place.write("b", &random.text(18 * MIB));
    let mut lengths = Vec::new();
    for level in ["-15", "0", "3", "7", "15"] {
        place.check(&["--level", level]);
        lengths.push(fs::metadata(place.path("archive")).unwrap().len());
    }
    assert!(lengths[0] > lengths[4], "{lengths:?}");
    for level in ["-16", "16"] {
        assert_eq!(place.run("x", &["--level", level]).status.code(), Some(2));
    }
}

#[test]
fn holes_at_start_middle_and_end() {
    let place = Place::new();
    let data = Random::new(3).bytes(5000);
    place.sparse("start", 200_000, &[(131_072, &data)]);
    place.sparse("middle", MIB, &[(0, &data), (MIB - 5000, &data)]);
    place.sparse("end", 3 * MIB + 5, &[(8192, &data)]);
    place.sparse("only", 20 * MIB + 1, &[]);
    let entries = place.check(&[]);
    let hole = |name| find(&entries, name).0["holes"].to_string();
    assert_eq!(hole("start"), "[[0,131072],[139264,200000]]");
    assert_eq!(hole("middle"), "[[8192,1040384]]");
    assert_eq!(hole("only"), "[[0,20971521]]");
}

/// Takes 13 bytes per 128 KiB, and no longer than writing those does.
#[test]
fn a_hole_of_100_gib() {
    let place = Place::new();
    place.sparse("huge", 100 << 30, &[(50 << 30, &Random::new(8).bytes(5000))]);
    let archive = place.snapshot("archive", &[]);
    check_grid(&archive);
    let entries = list(&archive);
    assert_eq!(find(&entries, "huge").number("size"), 100 << 30);
    let half = 50u64 << 30;
    assert_eq!(entries[0].0["holes"].to_string(), format!("[[0,{half}],[{},{}]]", half + 8192, 2 * half));
    assert!(fs::metadata(archive).unwrap().len() < 12 * MIB);
}

#[test]
fn incompressible_files_across_parts() {
    let place = Place::new();
    let mut random = Random::new(4);
    for i in 0..9 {
        let size = random.below(7 * MIB) + 1;
        place.write(&format!("f{i}"), &random.bytes(size));
    }
    place.write("large", &random.bytes(37 * MIB + 11));
    place.check(&[]);
    extract(&place.path("archive"), &place.path("out"));
    assert!(fs::read(place.tree("large")).unwrap() == fs::read(place.path("out/large")).unwrap());
}

#[test]
fn memory_does_not_grow_with_bytes() {
    let place = Place::new();
    let peak = |size: u64| {
        let file = fs::File::create(place.tree("f")).unwrap();
        let chunk = Random::new(5).text(MIB);
        for at in 0..size / MIB {
            std::os::unix::fs::FileExt::write_all_at(&file, &chunk, at * MIB).unwrap();
        }
        assert_eq!(file.metadata().unwrap().size(), size);
        let mut out = burst();
        out.args(["snapshot", "--level", "-5", "--workers", "2"]).arg(place.path("tree")).arg("-");
        let mut child = out.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let pid = child.id();
        let mut pipe = child.stdout.take().unwrap();
        let (mut peak, mut buffer) = (0, vec![0; 1 << 16]);
        while std::io::Read::read(&mut pipe, &mut buffer).unwrap() > 0 {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
            peak = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(peak);
        }
        assert!(child.wait().unwrap().success());
        peak << 10
    };
    let (small, large) = (peak(200 * MIB), peak(1024 * MIB));
    assert!(large < 200 * MIB, "{large}");
    assert!(large < small + 64 * MIB, "{small} {large}");
}
