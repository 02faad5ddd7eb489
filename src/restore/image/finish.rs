//! What is written when all names are known, and when all content is in place.

use super::names::{Names, inode_number};
use super::place::Volume;
use super::sink::{ImageSink, OTHER_FILE_SYSTEM, Waiting, locked, write_content};
use crate::btrfs_image::constants::{CSUM_TREE, DATA_RELOC_TREE, FS_TREE, LINK_MAX, UUID_TREE};
use crate::btrfs_image::inode::{DirectoryEntry, Name, write_directory, write_inode};
use crate::btrfs_image::small_trees::{
    root_name, write_csum_tree, write_relocation_tree, write_top_level, write_uuid_tree,
};
use crate::btrfs_image::space_trees::{self, Identity, Written};
use crate::btrfs_image::superblock::of_device;
use crate::error::{Kind, Result};
use crate::restore::{StopFlag, check_stop};

/// Writes all directories with their names. All names must be known.
pub fn write_directories(sink: &ImageSink<'_>, stop: &StopFlag) -> Result<()> {
    let names = sink.names.read().unwrap_or_else(|e| e.into_inner());
    let (order, starts) = names.by_directory();
    let mut tree = sink.tree();
    let mut entries: Vec<DirectoryEntry<'_>> = Vec::new();
    for (n, directory) in names.directories.iter().enumerate() {
        check_stop(stop)?;
        let range = starts.get(n).copied().unwrap_or_default()..starts.get(n + 1).copied().unwrap_or_default();
        entries.clear();
        for &ordinal in order.get(range).unwrap_or_default() {
            let ordinal = u64::from(ordinal);
            let Some(place) = names.place(ordinal) else { continue };
            entries.push(DirectoryEntry {
                index: place.index,
                name: names.name(ordinal),
                inode: names.inode(ordinal),
                file_type: names.file_type(ordinal),
            });
        }
        let name = match n.checked_sub(1) {
            None => root_name(),
            Some(ordinal) => name(sink, &names, ordinal as u64)?,
        };
        write_inode(&mut tree, &directory.inode, &mut [name])?;
        write_directory(&mut tree, directory.inode.number, &entries)?
            .map_err(|why| sink.fault(Kind::UnsafeEntry, format_args!("in \"{}\": {why}", name.name.escape_ascii())))?;
    }
    let leaves = tree.end_run()?;
    locked(&sink.leaves).push(leaves);
    Ok(())
}

fn name<'a>(sink: &ImageSink<'_>, names: &'a Names, ordinal: u64) -> Result<Name<'a>> {
    let missing = || sink.fault(Kind::Corrupt, format_args!("entry {ordinal} is missing"));
    let place = names.place(ordinal).ok_or_else(missing)?;
    Ok(Name { parent: place.parent, index: place.index, name: names.name(ordinal) })
}

/// Writes the inodes that have several names.
fn write_linked(sink: &ImageSink<'_>) -> Result<()> {
    let names = sink.names.read().unwrap_or_else(|e| e.into_inner());
    let mut tree = sink.tree();
    let mut last = None;
    let linked = std::mem::take(&mut *locked(&sink.linked));
    for (ordinal, Waiting { inode, content }) in linked {
        let links = names.links_to(ordinal);
        if links.len() >= LINK_MAX {
            let message = format_args!("entry {ordinal} has {} names, BTRFS allows {LINK_MAX}", links.len() + 1);
            return Err(sink.fault(Kind::UnsafeEntry, message).with_hint(OTHER_FILE_SYSTEM));
        }
        let all = std::iter::once(ordinal).chain(links.iter().map(|&link| u64::from(link)));
        let mut all = all.map(|ordinal| name(sink, &names, ordinal)).collect::<Result<Vec<_>>>()?;
        // Between them there may be others.
        if last.is_some_and(|last| last + 1 != ordinal) {
            let leaves = tree.end_run()?;
            locked(&sink.leaves).push(leaves);
        }
        last = Some(ordinal);
        write_inode(&mut tree, &inode, &mut all)?;
        write_content(&mut tree, inode_number(ordinal), &content)?;
        sink.written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    let leaves = tree.end_run()?;
    locked(&sink.leaves).push(leaves);
    Ok(())
}

/// Bytes that the file system takes.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Sizes {
    /// All devices together.
    pub device: u64,
    /// Content, as it is stored.
    pub data: u64,
    /// Tree blocks, counted once.
    pub metadata: u64,
    /// How many there are, of all kinds.
    pub chunks: u64,
}

/// Writes all that is missing, the superblock last. The content and all directories are in place.
pub fn finish(sink: &ImageSink<'_>, identity: &Identity, stop: &StopFlag) -> Result<Sizes> {
    write_linked(sink)?;
    sink.check_complete()?;
    let volume: &Volume = sink.volume;
    let mut runs = std::mem::take(&mut *locked(&sink.leaves));
    runs.retain(|run| !run.is_empty());
    runs.sort_unstable_by_key(|run| run.first().map(|leaf| leaf.first));
    let fs_tree = sink.tree().finish_above(runs.concat())?;
    drop(runs);
    let (mut sums, mut data) = {
        let mut placed = volume.placed();
        (std::mem::take(&mut placed.sums), std::mem::take(&mut placed.data))
    };
    sums.sort_unstable_by_key(|sums| sums.address);
    data.sort_unstable_by_key(|extent| extent.address);
    let csums = write_csum_tree(volume, identity, &sums)?;
    drop(sums);
    let uuids = write_uuid_tree(volume, identity)?;
    let relocation = write_relocation_tree(volume, identity)?;
    let mut trees =
        vec![(identity.files_tree(), fs_tree), (CSUM_TREE, csums), (UUID_TREE, uuids), (DATA_RELOC_TREE, relocation)];
    if let Some(subvolume) = &identity.subvolume {
        trees.push((FS_TREE, write_top_level(volume, identity, subvolume)?));
    }
    let written = {
        let mut placed = volume.placed();
        Written { identity, layout: placed.layout.clone(), runs: std::mem::take(&mut placed.runs), data: &data, trees }
    };
    let (superblock, layout) = space_trees::finish(written, &mut &volume.disks)?;
    let superblocks: Vec<_> =
        (0..layout.devices()).map(|device| of_device(&superblock, &layout, identity, device)).collect();
    check_stop(stop)?;
    volume.disks.write_superblocks(&superblocks)?;
    let of_data = data.iter().map(|extent| u64::from(extent.stored)).sum();
    Ok(Sizes {
        device: layout.size(),
        data: of_data,
        metadata: layout.used() - of_data,
        chunks: layout.chunks.len() as u64,
    })
}
