//! A BTRFS file system built from what it shall hold, not by writing into it: structures, leaves, trees, chunks and
//! superblock as pure code (spec/btrfs-image.md). No files, devices, clocks or threads; what is written goes through
//! [`tree::NodeStore`].
//!
//! ```text
//! constants, structures   the on-disk format, each with its kernel header
//! layout                  chunks on the device; gives out space
//! tree                    sorted items -> leaves -> inner nodes
//! inode                   the items of files, directories, links
//! small_trees             checksums, UUIDs, relocation
//! space_items, space_trees what describes the space itself; sizes by fixed point
//! superblock              the last block to be written
//! ```

pub mod buffer;
pub mod checksum;
pub mod constants;
pub mod inode;
pub mod layout;
pub mod small_trees;
pub mod space_items;
pub mod space_trees;
pub mod structures;
pub mod superblock;
pub mod tree;
