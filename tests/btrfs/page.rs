//! The page and the tests name each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// All `module::name` with a test attribute in this directory; those for another user are no proof by themselves.
fn tests_here() -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/btrfs");
    let mut names = BTreeSet::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = fs::read_to_string(&path).unwrap();
        for item in source.split("#[test]\nfn ").skip(1) {
            names.insert(format!("{module}::{}", item.split('(').next().unwrap()));
        }
    }
    names
}

/// All `module::name` in backquotes on the page.
fn tests_on_page() -> BTreeSet<String> {
    let page = include_str!("../../spec/btrfs-encoded-io.md");
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains("::") && !text.starts_with("burst::")).map(str::to_owned).collect()
}

#[test]
fn every_test_on_the_page_exists_and_every_test_is_on_the_page() {
    let (here, page) = (tests_here(), tests_on_page());
    assert!(here.len() > 50, "the search finds the tests: {here:?}");
    let missing: Vec<_> = page.difference(&here).collect();
    assert!(missing.is_empty(), "on the page, but no such test: {missing:?}");
    let unnamed: Vec<_> = here.difference(&page).filter(|name| !name.starts_with("page::")).collect();
    assert!(unnamed.is_empty(), "proves something the page does not say: {unnamed:?}");
}
