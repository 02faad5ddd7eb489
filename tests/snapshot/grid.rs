//! Every grid point is a clean point, wherever headers and data fall. $BURST_GRID_ROUNDS asks for more random trees.

use super::support::*;

fn rounds(default: u64) -> std::ops::Range<u64> {
    let first = std::env::var("BURST_GRID_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    first..first + std::env::var("BURST_GRID_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn name(random: &mut Random, i: u64) -> String {
    let length = random.below(250) as usize + 1;
    let mut name = format!("{i:x}");
    name.extend((name.len()..length).map(|_| 'n'));
    name
}

/// Makes one archive and has the independent checker and 7-Zip look at it.
fn check(place: &Place, seed: u64) {
    let archive = place.snapshot("archive", &["--level", "-3"]);
    println!("seed {seed}: {} bytes", std::fs::metadata(&archive).unwrap().len());
    check_grid(&archive);
    check_seven_zip(&archive);
}

/// Headers land everywhere: a file brings the writer close to a grid point, tiny entries step over it.
#[test]
fn tiny_entries_around_grid_points() {
    for seed in rounds(6) {
        let (place, mut random) = (Place::new(), Random::new(seed));
        let mut i = 0;
        for part in 0..6 {
            let lead = 8 * MIB - random.below(30_000);
            place.write(&format!("{part}-"), &random.bytes(lead));
            for _ in 0..random.below(400) + 20 {
                i += 1;
                let size = [0, 1, 20, 100, 3000][random.below(5) as usize];
                let content = if random.below(2) == 0 { random.bytes(size) } else { random.text(size) };
                let name = name(&mut random, i);
                match random.below(8) {
                    0 => std::os::unix::fs::symlink("x", place.tree(&format!("{part}{name}"))).unwrap(),
                    1 => std::fs::create_dir(place.tree(&format!("{part}{name}"))).unwrap(),
                    _ => place.write(&format!("{part}{name}"), &content),
                }
            }
        }
        check(&place, seed);
    }
}

/// Data ends everywhere: incompressible, compressible, sparse and large files whose ends fall close to grid points.
#[test]
fn data_around_grid_points() {
    for seed in rounds(6) {
        let (place, mut random) = (Place::new(), Random::new(seed + 1_000_000));
        for i in 0..12 {
            let near = [4 * MIB, 8 * MIB, 16 * MIB, 128 << 10][random.below(4) as usize];
            let size = near + random.below(4096) - random.below(4096).min(near - 1);
            let name = name(&mut random, i);
            match random.below(5) {
                0 => place.write(&name, &random.text(size)),
                1 => place.sparse(&name, size + MIB, &[(4096 * random.below(200), &random.bytes(size / 2))]),
                2 => place.write(&name, &random.bytes(size + 16 * MIB)),
                _ => place.write(&name, &random.bytes(size)),
            }
        }
        check(&place, seed);
    }
}
