//! The items of the trees that describe the space, each in the order of its keys.

use zerocopy::{Immutable, IntoBytes};

use super::constants::*;
use super::inode::{Inode, inode_item, timespec};
use super::layout::{self, Chunk, ChunkKind, Layout};
use super::small_trees;
use super::space_trees::{DataExtent, Identity, Run, Subvolume};
use super::structures::*;
use super::tree::{Root, broken};
use crate::error::Result;

pub type Item = (Key, Vec<u8>);

pub fn free_space_items(chunks: &[Chunk]) -> impl Iterator<Item = Item> {
    chunks.iter().flat_map(|chunk| {
        let free = chunk.free();
        let info = FreeSpaceInfo { extent_count: u32::from(free.is_some()).into(), flags: 0.into() };
        let extent = free.map(|(start, length)| (Key::new(start, FREE_SPACE_EXTENT, length), Vec::new()));
        let info = (Key::new(chunk.logical, FREE_SPACE_INFO, chunk.length), info.as_bytes().to_vec());
        std::iter::once(info).chain(extent)
    })
}

pub fn device_items(layout: &Layout, identity: &Identity) -> Vec<Item> {
    let stats = |id| (Key::new(DEV_STATS, PERSISTENT_ITEM, id), DevStats::zeroed().as_bytes().to_vec());
    let mut items: Vec<Item> = (0..layout.devices()).map(device_id).map(stats).collect();
    for chunk in &layout.chunks {
        let extent = DevExtent {
            chunk_tree: CHUNK_TREE.into(),
            chunk_objectid: FIRST_CHUNK_TREE.into(),
            chunk_offset: chunk.logical.into(),
            length: chunk.stripe_length().into(),
            chunk_tree_uuid: identity.nodes.chunk_tree,
        };
        let key = |stripe: &layout::Stripe| Key::new(device_id(stripe.device), DEV_EXTENT, stripe.offset);
        items.extend(chunk.stripes.iter().map(|stripe| (key(stripe), extent.as_bytes().to_vec())));
    }
    items.sort_unstable_by_key(|(key, _)| *key);
    items
}

/// `devid`: devices are counted from 1.
fn device_id(device: usize) -> u64 {
    device as u64 + 1
}

fn device_uuid(identity: &Identity, device: usize) -> Uuid {
    identity.devices.get(device).copied().unwrap_or_default()
}

/// A device as the chunk tree and its own superblock describe it.
pub fn device_item(layout: &Layout, identity: &Identity, device: usize) -> DevItem {
    DevItem {
        devid: device_id(device).into(),
        total_bytes: layout.device_size(device).into(),
        bytes_used: layout.allocated(device).into(),
        io_align: (SECTOR as u32).into(),
        io_width: (SECTOR as u32).into(),
        sector_size: (SECTOR as u32).into(),
        uuid: device_uuid(identity, device),
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
    for &layout::Stripe { device, offset } in &chunk.stripes {
        let (devid, dev_uuid) = (device_id(device).into(), device_uuid(identity, device));
        item.extend_from_slice(Stripe { devid, offset: offset.into(), dev_uuid }.as_bytes());
    }
    item
}

pub fn chunk_items<'a>(layout: &'a Layout, identity: &'a Identity) -> impl Iterator<Item = Item> + 'a {
    let device = |n| {
        let item = device_item(layout, identity, n);
        (Key::new(DEV_ITEMS, DEV_ITEM, device_id(n)), item.as_bytes().to_vec())
    };
    let devices = (0..layout.devices()).map(device);
    let chunks = layout
        .chunks
        .iter()
        .map(|chunk| (Key::new(FIRST_CHUNK_TREE, CHUNK_ITEM, chunk.logical), chunk_item(chunk, identity)));
    devices.chain(chunks)
}

/// An item of the extent tree.
pub enum ExtentTreeItem<'a> {
    Data(&'a DataExtent),
    Node { address: u64, owner: u64, level: u8 },
    Group(&'a Chunk),
}

/// The largest item of the extent tree, on the stack: there are very many.
pub struct Bytes {
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

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl ExtentTreeItem<'_> {
    pub fn length(&self) -> usize {
        match self {
            ExtentTreeItem::Data(_) => size_of::<DataExtentItem>(),
            ExtentTreeItem::Node { .. } => size_of::<NodeExtentItem>(),
            ExtentTreeItem::Group(_) => size_of::<BlockGroupItem>(),
        }
    }

    /// `files_tree`: the tree whose files refer to the content.
    pub fn encode(&self, files_tree: u64) -> (Key, Bytes) {
        let extent = |flags: u64| ExtentItem { refs: 1.into(), generation: GENERATION.into(), flags: flags.into() };
        match *self {
            ExtentTreeItem::Data(data) => {
                let item = DataExtentItem {
                    item: extent(EXTENT_FLAG_DATA),
                    ref_type: EXTENT_DATA_REF,
                    root: files_tree.into(),
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
pub fn for_each_extent_item<'a>(
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
pub fn root_items(trees: &[(u64, Root)], identity: &Identity) -> Vec<Item> {
    let mut items: Vec<Item> = trees
        .iter()
        .map(|(id, root)| (Key::new(*id, ROOT_ITEM, 0), root_item(*id, root, identity).as_bytes().to_vec()))
        .collect();
    // The name "default" of what is mounted, as mkfs.btrfs makes it (mkfs/main.c, make_root_dir).
    let name: &[u8] = b"default";
    let reference = |index: u64, name: &[u8]| {
        let head = InodeRef { index: index.into(), name_len: (name.len() as u16).into() };
        [head.as_bytes(), name].concat()
    };
    let entry = DirItem {
        location: Key::new(identity.files_tree(), ROOT_ITEM, u64::MAX).into(),
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
    if let Some(Subvolume { name, .. }) = &identity.subvolume {
        let head = RootRef {
            dirid: ROOT_DIRECTORY.into(),
            sequence: small_trees::SUBVOLUME_INDEX.into(),
            name_len: (name.len() as u16).into(),
        };
        let reference = [head.as_bytes(), name].concat();
        items.extend([
            (Key::new(FS_TREE, ROOT_REF, FIRST_SUBVOLUME), reference.clone()),
            (Key::new(FIRST_SUBVOLUME, ROOT_BACKREF, FS_TREE), reference),
        ]);
    }
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
    let uuid = match (id, &identity.subvolume) {
        (FS_TREE, _) => Some(identity.fs_tree),
        (FIRST_SUBVOLUME, Some(subvolume)) => Some(subvolume.uuid),
        _ => None,
    };
    if uuid.is_some() || id == DATA_RELOC_TREE {
        item.root_dirid = ROOT_DIRECTORY.into();
    }
    if let Some(uuid) = uuid {
        item.inode.flags = INODE_ROOT_ITEM_INIT.into();
        item.uuid = uuid;
        if id == FIRST_SUBVOLUME {
            item.otransid = GENERATION.into();
        }
        item.ctransid = GENERATION.into();
        item.ctime = timespec(identity.created);
        item.otime = timespec(identity.created);
    }
    item
}
