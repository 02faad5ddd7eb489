//! Properties of any tree and of any way to cut it: proptest looks for the smallest tree that breaks one.

use crate::build::{Builder, Built};
use crate::fuzz_cases::checks;
use crate::parts::assert_round_trip;
use burst::format::EntryType;
use proptest::collection::vec;
use proptest::prelude::*;

/// What an entry is made of.
#[derive(Debug, Clone)]
enum Made {
    Noise(usize),
    Framed { pieces: usize, large: bool },
    Symlink(String),
    Linked(usize),
    Fifo,
    Device(u32, u32),
    Overflowing,
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        6 => (0..300_000usize).prop_map(Made::Noise),
        4 => (1..20usize, any::<bool>()).prop_map(|(pieces, large)| Made::Framed { pieces, large }),
        1 => (20..40usize).prop_map(|pieces| Made::Framed { pieces, large: true }),
        3 => "[^\0]{1,300}".prop_map(Made::Symlink),
        2 => (1..4usize).prop_map(Made::Linked),
        1 => Just(Made::Fifo),
        1 => any::<(u32, u32)>().prop_map(|(major, minor)| Made::Device(major, minor)),
        1 => Just(Made::Overflowing),
    ]
}

/// Any component but those that mean something, which a number in front sees to; also makes it unique.
const NAME: &str = "[^/\0]{0,60}";

fn tree() -> impl Strategy<Value = Built> {
    let directories = vec((NAME, any::<prop::sample::Index>()), 0..8);
    let files = vec((NAME, any::<prop::sample::Index>(), made()), 0..12);
    (any::<u64>(), directories, files).prop_map(|(seed, directories, files)| {
        let mut b = Builder::new(seed);
        let mut all = vec![String::new()];
        for (n, (name, parent)) in directories.iter().enumerate() {
            let path = format!("{}{n}{name}", parent.get(&all));
            b.directory(&path);
            all.push(format!("{path}/"));
        }
        for (n, (name, parent, made)) in files.iter().enumerate() {
            let path = format!("{}f{n}{name}", parent.get(&all));
            match made {
                Made::Noise(length) => b.noise(&path, *length),
                Made::Framed { pieces, large } => b.framed(&path, *pieces, *large),
                Made::Symlink(text) => b.stored(&path, EntryType::Symlink, text.as_bytes().to_vec()),
                Made::Linked(count) => {
                    let names: Vec<String> = (0..*count).map(|i| format!("{}l{n}-{i}", parent.get(&all))).collect();
                    b.linked(&path, &names.iter().map(String::as_str).collect::<Vec<_>>());
                }
                Made::Fifo => b.stored(&path, EntryType::Fifo, Vec::new()),
                Made::Device(major, minor) => {
                    b.stored(&path, EntryType::BlockDevice { major: *major, minor: *minor }, Vec::new())
                }
                Made::Overflowing => b.overflowing(&path),
            }
        }
        b.finish()
    })
}

fn config(cases: u32) -> ProptestConfig {
    // The seed of a failure is printed with the case; no file is kept.
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 60, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn any_tree_comes_back(built in tree()) {
        prop_assume!(!built.given.is_empty());
        assert_round_trip(&built);
    }

    #[test]
    fn any_pieces_give_the_same_events(built in tree(), steps in vec(1..300_000usize, 1..8)) {
        let mut steps = steps.iter().cycle();
        let whole = checks::events(&built.bytes, || usize::MAX);
        prop_assert!(!whole.is_empty() || built.given.is_empty());
        prop_assert_eq!(checks::events(&built.bytes, || *steps.next().unwrap_or(&1)), whole);
    }

    #[test]
    fn another_reader_sees_the_same(built in tree()) {
        checks::differential(&built.bytes);
    }
}
