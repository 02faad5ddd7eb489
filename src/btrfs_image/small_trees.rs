//! Trees that are written whole before the space trees: checksums, UUIDs, and the tree that relocation uses.

use super::constants::*;
use super::inode::{Inode, Name, write_inode};
use super::space_trees::Identity;
use super::structures::Key;
use super::tree::{NodeStore, Root, TreeWriter};
use crate::error::Result;

/// Checksums of sectors that follow each other on the device.
#[derive(Debug, Clone)]
pub struct Sums {
    pub address: u64,
    pub sums: Vec<u32>,
}

/// The checksum tree; `all` in the order of their addresses.
pub fn write_csum_tree<S: NodeStore>(store: S, identity: &Identity, all: &[Sums]) -> Result<Root> {
    let mut tree = TreeWriter::new(store, identity.nodes, CSUM_TREE);
    let (mut address, mut item): (u64, Vec<u8>) = (0, Vec::with_capacity(4 * SUMS_PER_ITEM));
    for Sums { address: start, sums } in all {
        for (sum, n) in sums.iter().zip(0u64..) {
            let at = start + n * SECTOR;
            let follows = address + item.len() as u64 / 4 * SECTOR == at;
            if !item.is_empty() && (!follows || item.len() == 4 * SUMS_PER_ITEM) {
                tree.put(Key::new(EXTENT_CSUM, EXTENT_CSUM_ITEM, address), &[&item])?;
                item.clear();
            }
            if item.is_empty() {
                address = at;
            }
            item.extend_from_slice(&sum.to_le_bytes());
        }
    }
    if !item.is_empty() {
        tree.put(Key::new(EXTENT_CSUM, EXTENT_CSUM_ITEM, address), &[&item])?;
    }
    tree.finish()
}

/// The UUID tree: the subvolume that the tree of files is (fs/btrfs/uuid-tree.c).
pub fn write_uuid_tree<S: NodeStore>(store: S, identity: &Identity) -> Result<Root> {
    let mut tree = TreeWriter::new(store, identity.nodes, UUID_TREE);
    let number = u128::from_le_bytes(identity.fs_tree);
    let key = Key::new(number as u64, UUID_SUBVOLUME, (number >> 64) as u64);
    tree.put(key, &[&FS_TREE.to_le_bytes()])?;
    tree.finish()
}

/// The data relocation tree: an empty directory.
pub fn write_relocation_tree<S: NodeStore>(store: S, identity: &Identity) -> Result<Root> {
    let mut tree = TreeWriter::new(store, identity.nodes, DATA_RELOC_TREE);
    let directory = Inode {
        number: ROOT_DIRECTORY,
        mode: 0o040755,
        mtime: identity.created,
        created: identity.created,
        ..Inode::default()
    };
    write_inode(&mut tree, &directory, &mut [root_name()])?;
    tree.finish()
}

/// How a root directory names itself.
pub fn root_name() -> Name<'static> {
    Name { parent: ROOT_DIRECTORY, index: 0, name: b".." }
}
