//! The trees that describe the space: free space, devices, extents, chunks, and the root tree. Extent and free space
//! tree describe their own blocks too, so their sizes are found first, as a fixed point, and then they are written to
//! the places planned for them.

use super::constants::*;
use super::inode::Time;
use super::layout::{Layout, Space, Write};
use super::space_items::{chunk_items, device_items, for_each_extent_item, free_space_items, root_items};
use super::structures::*;
use super::superblock::{self, Roots};
use super::tree::{NodeCounter, NodeIds, NodeStore, Root, TreeWriter, broken, levels, seal};
use crate::error::Result;

/// Tree blocks that follow each other and belong to one level of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub address: u64,
    pub count: u64,
    pub owner: u64,
    pub level: u8,
}

/// An extent of file content, and the one place that refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataExtent {
    pub address: u64,
    pub file_offset: u64,
    /// Bytes on the device.
    pub stored: u32,
    /// Inode number, counted from [`ROOT_DIRECTORY`].
    pub inode: u32,
}

/// Who a file system is.
#[derive(Debug, Clone)]
pub struct Identity {
    pub nodes: NodeIds,
    /// One for each device.
    pub devices: Vec<Uuid>,
    /// Of the top level, as a subvolume.
    pub fs_tree: Uuid,
    /// If the files are not in the top level: the subvolume they are in, which is what is mounted by default.
    pub subvolume: Option<Subvolume>,
    /// At most 255 bytes.
    pub label: Vec<u8>,
    pub created: Time,
}

/// A subvolume in the top level.
#[derive(Debug, Clone)]
pub struct Subvolume {
    /// As every name in a directory.
    pub name: Vec<u8>,
    pub uuid: Uuid,
}

impl Identity {
    /// Object id of the tree that the files are in.
    pub fn files_tree(&self) -> u64 {
        if self.subvolume.is_some() { FIRST_SUBVOLUME } else { FS_TREE }
    }
}

/// Everything that was written before: what the space trees have to describe.
pub struct Written<'a> {
    pub identity: &'a Identity,
    pub layout: Layout,
    pub runs: Vec<Run>,
    /// In the order of their addresses.
    pub data: &'a [DataExtent],
    /// Trees that are complete, by their object id.
    pub trees: Vec<(u64, Root)>,
}

/// Writes bytes to places on the devices.
pub trait PlaceWriter {
    fn write(&mut self, writes: &[Write], bytes: &[u8]) -> Result<()>;
}

/// Writes what is missing of the file system but for the superblock, which it returns.
pub fn finish(mut written: Written<'_>, writer: &mut dyn PlaceWriter) -> Result<(SuperBlock, Layout)> {
    written.layout.complete()?;
    let plan = plan(&written)?;
    let Plan { layout, mut runs, nodes, system, .. } = plan;
    runs.sort_unstable_by_key(|run| run.address);
    let identity = written.identity;
    let ids = identity.nodes;

    let mut places = Planned { spaces: nodes, used: 0, writer };
    let mut free_space = TreeWriter::new(&mut places, ids, FREE_SPACE_TREE);
    for (key, item) in free_space_items(&layout.chunks) {
        free_space.put(key, &[&item])?;
    }
    let free_space = free_space.finish()?;
    let mut devices = TreeWriter::new(&mut places, ids, DEV_TREE);
    for (key, item) in device_items(&layout, identity) {
        devices.put(key, &[&item])?;
    }
    let devices = devices.finish()?;
    let mut extents = TreeWriter::new(&mut places, ids, EXTENT_TREE);
    for_each_extent_item(&layout.chunks, written.data, &runs, |item| {
        let (key, bytes) = item.encode(identity.files_tree());
        extents.put(key, &[bytes.as_slice()])
    })?;
    let extents = extents.finish()?;
    let mut trees = written.trees.clone();
    trees.extend([(FREE_SPACE_TREE, free_space), (DEV_TREE, devices), (EXTENT_TREE, extents)]);
    let mut roots = TreeWriter::new(&mut places, ids, ROOT_TREE);
    for (key, item) in root_items(&trees, identity) {
        roots.put(key, &[&item])?;
    }
    let root_tree = roots.finish()?;
    if !places.spaces.is_empty() {
        return Err(broken("the space trees are smaller than planned".into()));
    }
    let mut places = Planned { spaces: vec![system], used: 0, writer };
    let mut chunks = TreeWriter::new(&mut places, ids, CHUNK_TREE);
    for (key, item) in chunk_items(&layout, identity) {
        chunks.put(key, &[&item])?;
    }
    let chunk_tree = chunks.finish()?;
    if !places.spaces.is_empty() {
        return Err(broken("the chunk tree is smaller than planned".into()));
    }
    let tree = |id: u64| trees.iter().find(|(owner, _)| *owner == id).map_or(Root::default(), |(_, root)| *root);
    let roots = Roots {
        root_tree,
        chunk_tree,
        extent_tree: extents,
        fs_tree: tree(FS_TREE),
        dev_tree: devices,
        csum_tree: tree(CSUM_TREE),
    };
    Ok((superblock::build(identity, &layout, &roots), layout))
}

struct Plan {
    layout: Layout,
    /// All tree blocks, also those of the space trees.
    runs: Vec<Run>,
    /// Where the space trees go, in the order they are written.
    nodes: Vec<Space>,
    system: Space,
}

/// Finds out how many blocks the space trees take. More blocks never make them smaller by more than one, so counting
/// again and again comes to an end. But where one number fills a chunk, there is a range of free space less to describe,
/// which may make it another number: it would swing. Then these blocks go to a new chunk, and the end of the other one
/// stays free.
fn plan(written: &Written<'_>) -> Result<Plan> {
    let mut base = written.layout.clone();
    let mut count = 4;
    for round in 1..200 {
        if round % 20 == 0 {
            base.new_metadata_chunk()?;
        }
        let mut layout = base.clone();
        let mut nodes = Vec::new();
        let mut left = count;
        while left > 0 {
            let space = layout.take_nodes(left)?;
            left -= space.length / NODE as u64;
            nodes.push(space);
        }
        let chunk_levels = levels(chunk_items(&layout, written.identity).map(|(_, item)| item.len()));
        let system = layout.take_system_nodes(chunk_levels.iter().sum())?;
        let mut runs = written.runs.clone();
        let system_blocks = Blocks { spaces: std::slice::from_ref(&system), used: 0 };
        assign(system_blocks, CHUNK_TREE, &chunk_levels, &mut runs);

        let mut trees = written.trees.clone();
        trees.extend([FREE_SPACE_TREE, DEV_TREE, EXTENT_TREE].map(|id| (id, Root::default())));
        let free_space = levels(free_space_items(&layout.chunks).map(|(_, item)| item.len()));
        let devices = levels(device_items(&layout, written.identity).into_iter().map(|(_, item)| item.len()));
        let roots = levels(root_items(&trees, written.identity).into_iter().map(|(_, item)| item.len()));
        let mut blocks = Blocks { spaces: &nodes, used: 0 };
        blocks = assign(blocks, FREE_SPACE_TREE, &free_space, &mut runs);
        blocks = assign(blocks, DEV_TREE, &devices, &mut runs);
        // Those that are left are of extent and root tree; which is which makes no difference to their number.
        let rest = Blocks { spaces: blocks.spaces, used: blocks.used };
        assign(rest, EXTENT_TREE, &[u64::MAX], &mut runs);
        runs.sort_unstable_by_key(|run| run.address);
        let mut extents = NodeCounter::default();
        for_each_extent_item(&layout.chunks, written.data, &runs, |item| {
            extents.item(item.length());
            Ok(())
        })?;
        let extents = extents.levels();
        let needed = [&free_space, &devices, &extents, &roots].iter().map(|l| l.iter().sum::<u64>()).sum();
        if needed == count {
            let mut runs = written.runs.clone();
            let system_blocks = Blocks { spaces: std::slice::from_ref(&system), used: 0 };
            assign(system_blocks, CHUNK_TREE, &chunk_levels, &mut runs);
            let mut blocks = Blocks { spaces: &nodes, used: 0 };
            for (owner, tree) in
                [(FREE_SPACE_TREE, free_space), (DEV_TREE, devices), (EXTENT_TREE, extents), (ROOT_TREE, roots)]
            {
                blocks = assign(blocks, owner, &tree, &mut runs);
            }
            return Ok(Plan { layout, runs, nodes, system });
        }
        count = needed;
    }
    Err(broken("the sizes of the space trees find no end".into()))
}

/// Blocks of some spaces, one after the other.
struct Blocks<'a> {
    spaces: &'a [Space],
    /// Bytes used of the first.
    used: u64,
}

/// Says whose the next blocks are, as [`TreeWriter`] will store them: leaves first. Stops where the blocks end.
fn assign<'a>(mut blocks: Blocks<'a>, owner: u64, levels: &[u64], runs: &mut Vec<Run>) -> Blocks<'a> {
    for (&count, level) in levels.iter().zip(0u8..) {
        let mut left = count;
        while left > 0
            && let Some((space, rest)) = blocks.spaces.split_first()
        {
            let room = (space.length - blocks.used) / NODE as u64;
            if room == 0 {
                blocks = Blocks { spaces: rest, used: 0 };
                continue;
            }
            let count = left.min(room);
            runs.push(Run { address: space.logical + blocks.used, count, owner, level });
            blocks.used += count * NODE as u64;
            left -= count;
        }
    }
    blocks
}

/// Stores nodes in the places planned for them.
struct Planned<'a> {
    spaces: Vec<Space>,
    /// Bytes used of the first.
    used: u64,
    writer: &'a mut dyn PlaceWriter,
}

impl NodeStore for &mut Planned<'_> {
    fn store(&mut self, _: u64, _: u8, nodes: &mut [u8]) -> Result<Vec<u64>> {
        let mut addresses = Vec::new();
        let mut rest = nodes;
        while !rest.is_empty() {
            let Some(space) = self.spaces.first() else {
                return Err(broken("the space trees are larger than planned".into()));
            };
            let length = rest.len().min((space.length - self.used) as usize);
            let (now, later) = rest.split_at_mut(length);
            for (node, n) in now.chunks_exact_mut(NODE).zip(0u64..) {
                let address = space.logical + self.used + n * NODE as u64;
                seal(node, address);
                addresses.push(address);
            }
            self.writer.write(&space.writes(self.used, length as u64), now)?;
            self.used += length as u64;
            if self.used == space.length {
                self.spaces.remove(0);
                self.used = 0;
            }
            rest = later;
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btrfs_image::layout::Profile::{self, Dup, Raid0, Raid1, Single};
    use crate::btrfs_image::layout::{ChunkKind, Profiles};

    /// Counts what is written, and where.
    #[derive(Default)]
    struct Count {
        places: std::collections::BTreeSet<(usize, u64)>,
    }

    impl PlaceWriter for Count {
        fn write(&mut self, writes: &[Write], bytes: &[u8]) -> Result<()> {
            for write in writes {
                let mut at = write.offset;
                for n in write.pieces.iter().flat_map(|piece| piece.clone().step_by(NODE)) {
                    assert!(self.places.insert((write.device, at)), "written twice");
                    assert!(n + NODE <= bytes.len());
                    at += NODE as u64;
                }
            }
            Ok(())
        }
    }

    fn identity() -> Identity {
        Identity {
            nodes: NodeIds { fsid: [1; 16], chunk_tree: [2; 16] },
            devices: vec![[3; 16], [5; 16], [6; 16]],
            fs_tree: [4; 16],
            subvolume: None,
            label: Vec::new(),
            created: (5, 6),
        }
    }

    /// A file system of so many extents and tree blocks, in chunks of at most this size.
    fn build(extents: u64, blocks: u64, chunk_max: u64, metadata: Profile) -> (SuperBlock, Layout) {
        let one = matches!(metadata, Single | Dup);
        let sizes: &[u64] = if one { &[8 << 30] } else { &[5 << 30, 2 << 30, 1 << 30] };
        let profiles = Profiles { data: if one { Single } else { Raid0 }, metadata };
        let mut layout = Layout::new(sizes, profiles, chunk_max).unwrap();
        let mut data = Vec::new();
        while (data.len() as u64) < extents {
            let space = layout.take_data(SECTOR, |room| room.min((extents - data.len() as u64) * SECTOR)).unwrap();
            for n in 0..space.length / SECTOR {
                let address = space.logical + n * SECTOR;
                data.push(DataExtent { address, file_offset: 0, stored: SECTOR as u32, inode: 1 });
            }
        }
        let mut runs = Vec::new();
        let mut left = blocks;
        while left > 0 {
            let space = layout.take_nodes(left).unwrap();
            let count = space.length / NODE as u64;
            runs.push(Run { address: space.logical, count, owner: FS_TREE, level: 0 });
            left -= count;
        }
        let identity = identity();
        let root = Root { address: 1, level: 0, nodes: blocks };
        let trees = vec![(FS_TREE, root), (CSUM_TREE, root), (UUID_TREE, root), (DATA_RELOC_TREE, root)];
        let mut count = Count::default();
        let written = Written { identity: &identity, layout, runs, data: &data, trees };
        let (superblock, layout) = finish(written, &mut count).unwrap();
        let used: u64 = layout.used() - extents * SECTOR - blocks * NODE as u64;
        let copies = if matches!(metadata, Dup | Raid1) { 2 } else { 1 };
        assert_eq!(used / NODE as u64, count.places.len() as u64 / copies, "blocks were planned and not written");
        (superblock, layout)
    }

    #[test]
    fn sizes_find_an_end_everywhere() {
        for (n, profile) in (0..800).step_by(5).zip([Dup, Single, Raid1, Raid0].into_iter().cycle()) {
            build(n, 3, u64::MAX, profile);
            build(n % 3, n, u64::MAX, profile);
            // Chunks of 64 blocks: another chunk becomes necessary again and again.
            build(n, n % 67, MIB, profile);
        }
        for n in 0..10 {
            build(122_000 + n * 7, 64 * 90 + n, MIB, Single);
        }
    }

    /// The free space tree has room for one more range in its only leaf, or has not: whether the last chunk is full
    /// decides how many blocks there are, and they whether it is full.
    #[test]
    fn sizes_that_swing() {
        for profile in [Single, Dup] {
            let mut swung = 0;
            for left in 116..132 {
                let (_, layout) = build(256, 64 * 490 - left, MIB, profile);
                let metadata = layout.chunks.iter().rev().filter(|chunk| chunk.kind == ChunkKind::Metadata);
                swung += metadata.skip(1).filter(|chunk| chunk.free().is_some()).count();
            }
            assert_eq!(swung, 1);
        }
    }

    #[test]
    fn chunk_trees_of_several_levels() {
        for (blocks, level) in [(64 * 100, 0), (64 * 120, 1), (64 * 1000, 1)] {
            let (superblock, layout) = build(1, blocks, MIB, Dup);
            assert_eq!(superblock.chunk_root_level, level, "{} chunks", layout.chunks.len());
        }
    }
}
