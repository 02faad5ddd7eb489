//! What the program relies on in BTRFS, proven on a real one: `spec/btrfs-encoded-io.md` names these tests.
//!
//! Needs root, loop devices and btrfs-progs; fails without. Images are made in $BURST_TEST_DIR or the system's
//! directory for temporary files, which any user must be able to reach. Mounts are private to each test.

mod capability;
mod content;
mod durability;
mod encoded_read;
mod frames;
mod inline;
mod limits;
mod nodes;
mod order;
mod page;
mod privilege;
mod sparse;
mod trees;
mod volume;
