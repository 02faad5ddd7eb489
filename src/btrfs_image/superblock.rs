//! The superblock: what makes a device a file system.

use zerocopy::IntoBytes;

use super::checksum::crc32c;
use super::constants::*;
use super::layout::Layout;
use super::space_items::{chunk_item, device_item};
use super::space_trees::Identity;
use super::structures::{DiskKey, Key, RootBackup, SuperBlock, Uuid};
use super::tree::Root;

/// The trees that the superblock and its backup name.
#[derive(Debug, Clone, Copy)]
pub struct Roots {
    pub root_tree: Root,
    pub chunk_tree: Root,
    pub extent_tree: Root,
    pub fs_tree: Root,
    pub dev_tree: Root,
    pub csum_tree: Root,
}

/// The superblock of the first device, without the fields in which its copies differ.
pub fn build(identity: &Identity, layout: &Layout, roots: &Roots) -> SuperBlock {
    let mut sb = SuperBlock::zeroed();
    sb.fsid = identity.nodes.fsid;
    sb.flags = SUPER_FLAGS.into();
    sb.magic = MAGIC;
    sb.generation = GENERATION.into();
    sb.root = roots.root_tree.address.into();
    sb.root_level = roots.root_tree.level;
    sb.chunk_root = roots.chunk_tree.address.into();
    sb.chunk_root_level = roots.chunk_tree.level;
    sb.chunk_root_generation = GENERATION.into();
    sb.total_bytes = layout.size().into();
    sb.bytes_used = layout.used().into();
    sb.root_dir_objectid = ROOT_TREE_DIR.into();
    sb.num_devices = (layout.devices() as u64).into();
    sb.sectorsize = (SECTOR as u32).into();
    sb.nodesize = (NODE as u32).into();
    sb.unused_leafsize = (NODE as u32).into();
    sb.stripesize = (SECTOR as u32).into();
    sb.compat_ro_flags = COMPAT_RO.into();
    let default = if identity.subvolume.is_some() { INCOMPAT_DEFAULT_SUBVOLUME } else { 0 };
    sb.incompat_flags = (INCOMPAT | default).into();
    sb.dev_item = device_item(layout, identity, 0);
    for (to, from) in sb.label.iter_mut().zip(identity.label.iter().take(255)) {
        *to = *from;
    }
    // The UUID tree is of this generation, so that the first mount need not look through all subvolumes.
    sb.uuid_tree_generation = GENERATION.into();
    if let Some(system) = layout.chunks.first() {
        let key = DiskKey::from(Key::new(FIRST_CHUNK_TREE, CHUNK_ITEM, system.logical));
        let array = [key.as_bytes(), &chunk_item(system, identity)].concat();
        sb.sys_chunk_array_size = (array.len() as u32).into();
        for (to, from) in sb.sys_chunk_array.iter_mut().zip(array) {
            *to = from;
        }
    }
    sb.super_roots[0] = backup(layout, roots);
    sb
}

fn backup(layout: &Layout, roots: &Roots) -> RootBackup {
    RootBackup {
        tree_root: roots.root_tree.address.into(),
        tree_root_gen: GENERATION.into(),
        chunk_root: roots.chunk_tree.address.into(),
        chunk_root_gen: GENERATION.into(),
        extent_root: roots.extent_tree.address.into(),
        extent_root_gen: GENERATION.into(),
        fs_root: roots.fs_tree.address.into(),
        fs_root_gen: GENERATION.into(),
        dev_root: roots.dev_tree.address.into(),
        dev_root_gen: GENERATION.into(),
        csum_root: roots.csum_tree.address.into(),
        csum_root_gen: GENERATION.into(),
        total_bytes: layout.size().into(),
        bytes_used: layout.used().into(),
        num_devices: (layout.devices() as u64).into(),
        tree_root_level: roots.root_tree.level,
        chunk_root_level: roots.chunk_tree.level,
        extent_root_level: roots.extent_tree.level,
        fs_root_level: roots.fs_tree.level,
        dev_root_level: roots.dev_tree.level,
        csum_root_level: roots.csum_tree.level,
        ..RootBackup::zeroed()
    }
}

/// The superblock of another device of the same file system.
pub fn of_device(sb: &SuperBlock, layout: &Layout, identity: &Identity, device: usize) -> SuperBlock {
    SuperBlock { dev_item: device_item(layout, identity, device), ..sb.clone() }
}

/// What stands at the place of the superblock of this device, counted from 1, while the file system with this UUID is
/// being made. Everything that is not zero lies in the first 512 bytes, so that no cut tears it.
pub fn unfinished(fsid: Uuid, devid: u64) -> Vec<u8> {
    let mut sb = SuperBlock::zeroed();
    sb.fsid = fsid;
    sb.dev_item.devid = devid.into();
    sb.magic = MAGIC_UNFINISHED;
    copy_at(sb, SUPERBLOCKS[0])
}

/// [`copy_at`] with the magic number of an unfinished one. Only the first 512 bytes differ, which every device writes
/// whole: written over it, the superblock is there or is not.
pub fn almost_finished(mut sb: SuperBlock, place: u64) -> Vec<u8> {
    sb.magic = MAGIC_UNFINISHED;
    copy_at(sb, place)
}

/// The bytes of the copy at this place.
pub fn copy_at(mut sb: SuperBlock, place: u64) -> Vec<u8> {
    sb.bytenr = place.into();
    let sum = crc32c(&sb.as_bytes()[32..]);
    sb.csum[..4].copy_from_slice(&sum.to_le_bytes());
    sb.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_write_changes_one_sector() {
        let sb = SuperBlock { fsid: [7; 16], magic: MAGIC, total_bytes: 5.into(), ..SuperBlock::zeroed() };
        let (before, after) = (almost_finished(sb.clone(), SUPERBLOCKS[0]), copy_at(sb, SUPERBLOCKS[0]));
        assert_eq!(before[512..], after[512..]);
        assert_eq!((&before[64..72], &after[64..72]), (&MAGIC_UNFINISHED[..], &MAGIC[..]));
        let begun = unfinished([7; 16], 32);
        assert!(begun[512..].iter().all(|&b| b == 0));
        assert_eq!(begun[32..72], before[32..72]);
        assert_ne!(begun[..512], unfinished([7; 16], 31)[..512]);
    }
}
