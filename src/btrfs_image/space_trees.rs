//! The trees that describe the space: free space, devices, extents, chunks, and the root tree. Extent and free space
//! tree describe their own blocks too, so their sizes are found first, as a fixed point, and then they are written to
//! the places planned for them.

use zerocopy::{Immutable, IntoBytes};

use super::constants::*;
use super::inode::{Inode, Time, inode_item, timespec};
use super::layout::{Chunk, ChunkKind, Layout, Space};
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
    pub device: Uuid,
    /// Of the tree of files, as a subvolume.
    pub fs_tree: Uuid,
    /// At most 255 bytes.
    pub label: Vec<u8>,
    pub created: Time,
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

/// Writes bytes to places on the device.
pub trait PlaceWriter {
    fn write(&mut self, places: &[u64], bytes: &[u8]) -> Result<()>;
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
        let (key, bytes) = item.encode();
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
/// again and again comes to an end; where it would swing between two numbers, a block is left free.
fn plan(written: &Written<'_>) -> Result<Plan> {
    let mut base = written.layout.clone();
    let mut count = 4;
    for round in 1..200 {
        if round % 20 == 0 {
            base.take_nodes(1)?;
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
            let places: Vec<u64> = space.places.iter().map(|place| place + self.used).collect();
            self.writer.write(&places, now)?;
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

type Item = (Key, Vec<u8>);

fn free_space_items(chunks: &[Chunk]) -> impl Iterator<Item = Item> {
    chunks.iter().flat_map(|chunk| {
        let free = chunk.free();
        let info = FreeSpaceInfo { extent_count: u32::from(free.is_some()).into(), flags: 0.into() };
        let extent = free.map(|(start, length)| (Key::new(start, FREE_SPACE_EXTENT, length), Vec::new()));
        let info = (Key::new(chunk.logical, FREE_SPACE_INFO, chunk.length), info.as_bytes().to_vec());
        std::iter::once(info).chain(extent)
    })
}

fn device_items(layout: &Layout, identity: &Identity) -> Vec<Item> {
    let stats = DevStats::zeroed();
    let mut items = vec![(Key::new(DEV_STATS, PERSISTENT_ITEM, 1), stats.as_bytes().to_vec())];
    for chunk in &layout.chunks {
        let extent = DevExtent {
            chunk_tree: CHUNK_TREE.into(),
            chunk_objectid: FIRST_CHUNK_TREE.into(),
            chunk_offset: chunk.logical.into(),
            length: chunk.length.into(),
            chunk_tree_uuid: identity.nodes.chunk_tree,
        };
        items.extend(chunk.stripes.iter().map(|&at| (Key::new(1, DEV_EXTENT, at), extent.as_bytes().to_vec())));
    }
    items.sort_unstable_by_key(|(key, _)| *key);
    items
}

/// The device as chunk tree and superblock describe it.
pub fn device_item(layout: &Layout, identity: &Identity) -> DevItem {
    DevItem {
        devid: 1.into(),
        total_bytes: layout.device_size.into(),
        bytes_used: layout.allocated().into(),
        io_align: (SECTOR as u32).into(),
        io_width: (SECTOR as u32).into(),
        sector_size: (SECTOR as u32).into(),
        uuid: identity.device,
        fsid: identity.nodes.fsid,
        ..DevItem::zeroed()
    }
}

/// The item of a chunk with its stripes, as it also stands in the superblock.
pub fn chunk_item(chunk: &Chunk, identity: &Identity) -> Vec<u8> {
    let head = ChunkItem {
        length: chunk.length.into(),
        owner: EXTENT_TREE.into(),
        stripe_len: STRIPE_LEN.into(),
        chunk_type: chunk.flags().into(),
        io_align: (STRIPE_LEN as u32).into(),
        io_width: (STRIPE_LEN as u32).into(),
        sector_size: (SECTOR as u32).into(),
        num_stripes: (chunk.stripes.len() as u16).into(),
        sub_stripes: 1.into(),
    };
    let mut item = head.as_bytes().to_vec();
    for &at in &chunk.stripes {
        let stripe = Stripe { devid: 1.into(), offset: at.into(), dev_uuid: identity.device };
        item.extend_from_slice(stripe.as_bytes());
    }
    item
}

fn chunk_items<'a>(layout: &'a Layout, identity: &'a Identity) -> impl Iterator<Item = Item> + 'a {
    let device = (Key::new(DEV_ITEMS, DEV_ITEM, 1), device_item(layout, identity).as_bytes().to_vec());
    let chunks = layout
        .chunks
        .iter()
        .map(|chunk| (Key::new(FIRST_CHUNK_TREE, CHUNK_ITEM, chunk.logical), chunk_item(chunk, identity)));
    std::iter::once(device).chain(chunks)
}

/// An item of the extent tree.
enum ExtentTreeItem<'a> {
    Data(&'a DataExtent),
    Node { address: u64, owner: u64, level: u8 },
    Group(&'a Chunk),
}

/// The largest item of the extent tree, on the stack: there are very many.
struct Bytes {
    bytes: [u8; size_of::<DataExtentItem>()],
    length: usize,
}

impl Bytes {
    fn of(item: &(impl IntoBytes + Immutable)) -> Bytes {
        let mut bytes = [0; size_of::<DataExtentItem>()];
        let from = item.as_bytes();
        let length = from.len().min(bytes.len());
        bytes[..length].copy_from_slice(&from[..length]);
        Bytes { bytes, length }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl ExtentTreeItem<'_> {
    fn length(&self) -> usize {
        match self {
            ExtentTreeItem::Data(_) => size_of::<DataExtentItem>(),
            ExtentTreeItem::Node { .. } => size_of::<NodeExtentItem>(),
            ExtentTreeItem::Group(_) => size_of::<BlockGroupItem>(),
        }
    }

    fn encode(&self) -> (Key, Bytes) {
        let extent = |flags: u64| ExtentItem { refs: 1.into(), generation: GENERATION.into(), flags: flags.into() };
        match *self {
            ExtentTreeItem::Data(data) => {
                let item = DataExtentItem {
                    item: extent(EXTENT_FLAG_DATA),
                    ref_type: EXTENT_DATA_REF,
                    root: FS_TREE.into(),
                    objectid: (ROOT_DIRECTORY + u64::from(data.inode)).into(),
                    offset: data.file_offset.into(),
                    count: 1.into(),
                };
                (Key::new(data.address, EXTENT_ITEM, data.stored.into()), Bytes::of(&item))
            }
            ExtentTreeItem::Node { address, owner, level } => {
                let item = NodeExtentItem {
                    item: extent(EXTENT_FLAG_TREE_BLOCK),
                    ref_type: TREE_BLOCK_REF,
                    root: owner.into(),
                };
                (Key::new(address, METADATA_ITEM, level.into()), Bytes::of(&item))
            }
            ExtentTreeItem::Group(chunk) => {
                let item = BlockGroupItem {
                    used: chunk.filled.into(),
                    chunk_objectid: FIRST_CHUNK_TREE.into(),
                    flags: chunk.flags().into(),
                };
                (Key::new(chunk.logical, BLOCK_GROUP_ITEM, chunk.length), Bytes::of(&item))
            }
        }
    }
}

/// All items of the extent tree in order. `data` and `runs` are in the order of their addresses.
fn for_each_extent_item<'a>(
    chunks: &'a [Chunk],
    data: &'a [DataExtent],
    runs: &'a [Run],
    mut visit: impl FnMut(ExtentTreeItem<'a>) -> Result<()>,
) -> Result<()> {
    let (mut data, mut runs) = (data.iter().peekable(), runs.iter().peekable());
    for chunk in chunks {
        // A group's key sorts behind that of an extent at its very start.
        let mut group = Some(chunk);
        let mut visit_behind = |address: u64, item: Option<ExtentTreeItem<'a>>| {
            if let Some(group) = group.take_if(|group| address > group.logical) {
                visit(ExtentTreeItem::Group(group))?;
            }
            item.map_or(Ok(()), &mut visit)
        };
        if chunk.kind == ChunkKind::Data {
            while let Some(extent) = data.next_if(|extent| extent.address < chunk.end()) {
                visit_behind(extent.address, Some(ExtentTreeItem::Data(extent)))?;
            }
        } else {
            while let Some(&Run { address, count, owner, level }) = runs.next_if(|run| run.address < chunk.end()) {
                for n in 0..count {
                    let address = address + n * NODE as u64;
                    visit_behind(address, Some(ExtentTreeItem::Node { address, owner, level }))?;
                }
            }
        }
        visit_behind(u64::MAX, None)?;
    }
    match (data.peek(), runs.peek()) {
        (None, None) => Ok(()),
        (data, run) => Err(broken(format!("outside of every chunk: {data:?} {run:?}"))),
    }
}

/// The items of the root tree, in order.
fn root_items(trees: &[(u64, Root)], identity: &Identity) -> Vec<Item> {
    let mut items: Vec<Item> = trees
        .iter()
        .map(|(id, root)| (Key::new(*id, ROOT_ITEM, 0), root_item(*id, root, identity).as_bytes().to_vec()))
        .collect();
    // The name "default" of the tree of files, as mkfs.btrfs makes it (mkfs/main.c, make_root_dir).
    let name: &[u8] = b"default";
    let reference = |index: u64, name: &[u8]| {
        let head = InodeRef { index: index.into(), name_len: (name.len() as u16).into() };
        [head.as_bytes(), name].concat()
    };
    let entry = DirItem {
        location: Key::new(FS_TREE, ROOT_ITEM, u64::MAX).into(),
        transid: 0.into(),
        data_len: 0.into(),
        name_len: (name.len() as u16).into(),
        file_type: FT_DIR,
    };
    let directory = Inode {
        number: ROOT_TREE_DIR,
        mode: 0o040755,
        occupied: NODE as u64,
        mtime: identity.created,
        created: identity.created,
        ..Inode::default()
    };
    items.extend([
        (Key::new(FS_TREE, INODE_REF, ROOT_TREE_DIR), reference(0, name)),
        (Key::new(ROOT_TREE_DIR, INODE_ITEM, 0), inode_item(&directory, 1).as_bytes().to_vec()),
        (Key::new(ROOT_TREE_DIR, INODE_REF, ROOT_TREE_DIR), reference(0, b"..")),
        (Key::new(ROOT_TREE_DIR, DIR_ITEM, super::checksum::name_hash(name)), [entry.as_bytes(), name].concat()),
    ]);
    items.sort_unstable_by_key(|(key, _)| *key);
    items
}

fn root_item(id: u64, root: &Root, identity: &Identity) -> RootItem {
    let mut inode = inode_item(&Inode { mode: 0o040755, ..Inode::default() }, 1);
    // mkfs.btrfs leaves these so; nothing reads them.
    inode.generation = 1.into();
    inode.transid = 0.into();
    inode.size = 3.into();
    inode.nbytes = (NODE as u64).into();
    let mut item = RootItem {
        inode,
        generation: GENERATION.into(),
        bytenr: root.address.into(),
        bytes_used: (root.nodes * NODE as u64).into(),
        refs: 1.into(),
        level: root.level,
        generation_v2: GENERATION.into(),
        ..RootItem::zeroed()
    };
    if id == FS_TREE || id == DATA_RELOC_TREE {
        item.root_dirid = ROOT_DIRECTORY.into();
    }
    if id == FS_TREE {
        item.inode.flags = INODE_ROOT_ITEM_INIT.into();
        item.uuid = identity.fs_tree;
        item.ctransid = GENERATION.into();
        item.ctime = timespec(identity.created);
        item.otime = timespec(identity.created);
    }
    item
}
