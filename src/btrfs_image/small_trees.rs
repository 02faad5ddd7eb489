//! Trees that are written whole before the space trees: checksums, UUIDs, the tree that relocation uses, and a top level
//! that holds nothing but a subvolume.

use zerocopy::IntoBytes;

use super::checksum::name_hash;
use super::constants::*;
use super::inode::{Inode, Name, write_inode};
use super::space_trees::{Identity, Subvolume};
use super::structures::{DirItem, Key};
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

/// The UUID tree: top level and subvolume (fs/btrfs/uuid-tree.c).
pub fn write_uuid_tree<S: NodeStore>(store: S, identity: &Identity) -> Result<Root> {
    let mut tree = TreeWriter::new(store, identity.nodes, UUID_TREE);
    let subvolume = identity.subvolume.as_ref().map(|subvolume| (subvolume.uuid, FIRST_SUBVOLUME));
    let mut items: Vec<(Key, u64)> = [(identity.fs_tree, FS_TREE)]
        .into_iter()
        .chain(subvolume)
        .map(|(uuid, id)| (u128::from_le_bytes(uuid), id))
        .map(|(number, id)| (Key::new(number as u64, UUID_SUBVOLUME, (number >> 64) as u64), id))
        .collect();
    items.sort_unstable();
    for (key, id) in items {
        tree.put(key, &[&id.to_le_bytes()])?;
    }
    tree.finish()
}

/// Index of the subvolume in the top level: the first of a directory, after "." and "..".
pub const SUBVOLUME_INDEX: u64 = 2;

/// A top level that holds the subvolume of the files and nothing else.
pub fn write_top_level<S: NodeStore>(store: S, identity: &Identity, subvolume: &Subvolume) -> Result<Root> {
    let mut tree = TreeWriter::new(store, identity.nodes, FS_TREE);
    let name = &subvolume.name;
    let directory = Inode {
        number: ROOT_DIRECTORY,
        mode: 0o040755,
        // Each name counts twice (fs/btrfs/inode.c, btrfs_add_link).
        size: 2 * name.len() as u64,
        occupied: NODE as u64,
        mtime: identity.created,
        created: identity.created,
        ..Inode::default()
    };
    write_inode(&mut tree, &directory, &mut [root_name()])?;
    let item = DirItem {
        location: Key::new(FIRST_SUBVOLUME, ROOT_ITEM, u64::MAX).into(),
        transid: GENERATION.into(),
        data_len: 0.into(),
        name_len: (name.len() as u16).into(),
        file_type: FT_DIR,
    };
    for key in
        [Key::new(ROOT_DIRECTORY, DIR_ITEM, name_hash(name)), Key::new(ROOT_DIRECTORY, DIR_INDEX, SUBVOLUME_INDEX)]
    {
        tree.put(key, &[item.as_bytes(), name])?;
    }
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
