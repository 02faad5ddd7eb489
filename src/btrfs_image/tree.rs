//! Trees from items that come in order: leaves are filled one after the other, then one level of inner nodes after
//! the other. Nothing is ever inserted, split or balanced.

use zerocopy::{FromBytes, IntoBytes};

use super::buffer::AlignedBuffer;
use super::checksum::crc32c;
use super::constants::{GENERATION, HEADER_FLAGS, ITEM_MAX, NODE, NODE_DATA, POINTERS};
use super::structures::{Header, ItemHead, Key, KeyPointer, Uuid};
use crate::error::{Error, Kind, Result};

/// Nodes handed to the store at once: 1 MiB.
const BATCH: usize = 64;
const HEADER: usize = size_of::<Header>();
const HEAD: usize = size_of::<ItemHead>();
const POINTER: usize = size_of::<KeyPointer>();

/// Where nodes go. Finished but for address and checksum, they are given in batches of one tree and level.
pub trait NodeStore {
    /// Gives each node an address, completes it with [`seal`], and writes it. Returns the addresses, in order.
    fn store(&mut self, owner: u64, level: u8, nodes: &mut [u8]) -> Result<Vec<u64>>;
}

/// A node from the view of its parent: its first key and its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    pub first: Key,
    pub address: u64,
}

/// The top of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Root {
    pub address: u64,
    pub level: u8,
    /// Nodes in the tree.
    pub nodes: u64,
}

/// The identifiers every node carries.
#[derive(Debug, Clone, Copy)]
pub struct NodeIds {
    pub fsid: Uuid,
    pub chunk_tree: Uuid,
}

/// Writes the address and then the checksum into a finished node.
pub fn seal(node: &mut [u8], address: u64) {
    if let Ok((header, _)) = Header::mut_from_prefix(node) {
        header.bytenr = address.into();
    }
    let sum = crc32c(node.get(32..).unwrap_or_default());
    if let Some(place) = node.get_mut(..32) {
        place.fill(0);
        place[..4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Builds one tree, or the leaves of a part of it.
pub struct TreeWriter<S: NodeStore> {
    store: S,
    ids: NodeIds,
    owner: u64,
    level: u8,
    /// Finished nodes, then the one being filled.
    batch: AlignedBuffer,
    finished: usize,
    /// Of the node being filled: items, end of their heads, start of their data.
    count: usize,
    top: usize,
    bottom: usize,
    /// First keys of the nodes in the batch.
    firsts: Vec<Key>,
    last: Option<Key>,
    children: Vec<Child>,
}

impl<S: NodeStore> TreeWriter<S> {
    pub fn new(store: S, ids: NodeIds, owner: u64) -> Self {
        TreeWriter {
            store,
            ids,
            owner,
            level: 0,
            batch: AlignedBuffer::new(BATCH * NODE),
            finished: 0,
            count: 0,
            top: HEADER,
            bottom: NODE,
            firsts: Vec::new(),
            last: None,
            children: Vec::new(),
        }
    }

    /// Appends an item, whose data may come in pieces. Keys must ascend.
    pub fn put(&mut self, key: Key, data: &[&[u8]]) -> Result<()> {
        let length: usize = data.iter().map(|piece| piece.len()).sum();
        if length > ITEM_MAX {
            return Err(broken(format!("an item of {length} bytes at {key:?}, a leaf takes {ITEM_MAX}")));
        }
        if self.last.is_some_and(|last| last >= key) {
            return Err(broken(format!("item {key:?} follows {:?}", self.last)));
        }
        self.last = Some(key);
        if self.count > 0 && self.bottom - self.top < HEAD + length {
            self.close_node()?;
        }
        if self.count == 0 {
            self.firsts.push(key);
        }
        self.bottom -= length;
        let head =
            ItemHead { key: key.into(), offset: ((self.bottom - HEADER) as u32).into(), size: (length as u32).into() };
        let (top, mut at) = (self.top, self.bottom);
        let node = self.node();
        node[top..top + HEAD].copy_from_slice(head.as_bytes());
        for piece in data {
            node[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        self.top += HEAD;
        self.count += 1;
        Ok(())
    }

    /// Ends a run of leaves: stores what is left and returns all leaves since the last call. The next key may be any.
    pub fn end_run(&mut self) -> Result<Vec<Child>> {
        if self.count > 0 {
            self.close_node()?;
        }
        self.store_batch()?;
        self.last = None;
        Ok(std::mem::take(&mut self.children))
    }

    /// Builds the levels above these leaves, which must be in order. Without leaves the tree is one empty leaf.
    pub fn finish_above(mut self, mut children: Vec<Child>) -> Result<Root> {
        if let Some(w) = children.windows(2).find(|w| w[0].first >= w[1].first) {
            return Err(broken(format!("a node that begins with {:?} follows {:?}", w[1].first, w[0].first)));
        }
        if children.is_empty() {
            self.firsts.push(Key::default());
            self.close_node()?;
            children = self.end_run()?;
        }
        let mut nodes = children.len() as u64;
        while children.len() > 1 {
            self.level += 1;
            for group in children.chunks(POINTERS) {
                let [first, ..] = group else { continue };
                self.firsts.push(first.first);
                for child in group {
                    let pointer = KeyPointer {
                        key: child.first.into(),
                        blockptr: child.address.into(),
                        generation: GENERATION.into(),
                    };
                    let top = self.top;
                    self.node()[top..top + POINTER].copy_from_slice(pointer.as_bytes());
                    self.top += POINTER;
                    self.count += 1;
                }
                self.close_node()?;
            }
            children = self.end_run()?;
            nodes += children.len() as u64;
        }
        let address = children.first().map_or(0, |top| top.address);
        Ok(Root { address, level: self.level, nodes })
    }

    /// Ends the tree, all of which was put into this writer.
    pub fn finish(mut self) -> Result<Root> {
        let leaves = self.end_run()?;
        self.finish_above(leaves)
    }

    fn node(&mut self) -> &mut [u8] {
        let at = self.finished * NODE;
        &mut self.batch[at..at + NODE]
    }

    fn close_node(&mut self) -> Result<()> {
        let header = Header {
            csum: [0; 32],
            fsid: self.ids.fsid,
            bytenr: 0.into(),
            flags: HEADER_FLAGS.into(),
            chunk_tree_uuid: self.ids.chunk_tree,
            generation: GENERATION.into(),
            owner: self.owner.into(),
            nritems: (self.count as u32).into(),
            level: self.level,
        };
        let (top, bottom) = (self.top, self.bottom);
        let node = self.node();
        node[..HEADER].copy_from_slice(header.as_bytes());
        // What an earlier batch left there is nobody's business.
        node[top..bottom].fill(0);
        self.finished += 1;
        self.count = 0;
        self.top = HEADER;
        self.bottom = NODE;
        if self.finished == BATCH { self.store_batch() } else { Ok(()) }
    }

    fn store_batch(&mut self) -> Result<()> {
        if self.finished == 0 {
            return Ok(());
        }
        let nodes = self.batch.get_mut(..self.finished * NODE).unwrap_or_default();
        let addresses = self.store.store(self.owner, self.level, nodes)?;
        if addresses.len() != self.finished || self.firsts.len() != self.finished {
            return Err(broken(format!("{} addresses for {} nodes", addresses.len(), self.finished)));
        }
        let children = self.firsts.drain(..).zip(addresses).map(|(first, address)| Child { first, address });
        self.children.extend(children);
        self.finished = 0;
        Ok(())
    }
}

/// A rule of this code was broken; no archive can do that.
pub fn broken(what: String) -> Error {
    Error::new(Kind::Failure, format!("cannot build the file system (a fault of burst): {what}"))
}

/// Counts the nodes of a tree from the sizes of its items, as [`TreeWriter`] lays them out; from the leaves up.
#[derive(Debug, Clone, Default)]
pub struct NodeCounter {
    leaves: u64,
    room: usize,
}

impl NodeCounter {
    /// Counts the next item.
    pub fn item(&mut self, size: usize) {
        if self.room < HEAD + size {
            self.leaves += 1;
            self.room = NODE_DATA;
        }
        self.room = self.room.saturating_sub(HEAD + size);
    }

    /// Nodes of each level, leaves first.
    pub fn levels(&self) -> Vec<u64> {
        let mut levels = vec![self.leaves.max(1)];
        while let Some(&below) = levels.last()
            && below > 1
        {
            levels.push(below.div_ceil(POINTERS as u64));
        }
        levels
    }
}

/// [`NodeCounter`] of items that are at hand.
pub fn levels(sizes: impl IntoIterator<Item = usize>) -> Vec<u64> {
    let mut counter = NodeCounter::default();
    sizes.into_iter().for_each(|size| counter.item(size));
    counter.levels()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Keeps nodes in memory, at made-up addresses.
    #[derive(Default)]
    struct Memory {
        nodes: BTreeMap<u64, Vec<u8>>,
    }

    impl NodeStore for &mut Memory {
        fn store(&mut self, _: u64, _: u8, nodes: &mut [u8]) -> Result<Vec<u64>> {
            let mut addresses = Vec::new();
            for node in nodes.chunks_exact_mut(NODE) {
                let address = (1 + self.nodes.len() as u64) * NODE as u64;
                seal(node, address);
                self.nodes.insert(address, node.to_vec());
                addresses.push(address);
            }
            Ok(addresses)
        }
    }

    const IDS: NodeIds = NodeIds { fsid: [1; 16], chunk_tree: [2; 16] };

    /// Reads the items back, checking every node on the way.
    fn walk(memory: &Memory, address: u64, level: u8, items: &mut Vec<(Key, Vec<u8>)>) {
        let node = &memory.nodes[&address];
        let (header, body) = Header::ref_from_prefix(node).unwrap();
        assert_eq!(header.bytenr.get(), address);
        assert_eq!(header.level, level);
        assert_eq!(u32::from_le_bytes(node[..4].try_into().unwrap()), crc32c(&node[32..]));
        let count = header.nritems.get() as usize;
        for n in 0..count {
            if level == 0 {
                let (head, _) = ItemHead::ref_from_prefix(&body[n * HEAD..]).unwrap();
                let at = head.offset.get() as usize;
                items.push(((&head.key).into(), body[at..at + head.size.get() as usize].to_vec()));
            } else {
                let (pointer, _) = KeyPointer::ref_from_prefix(&body[n * POINTER..]).unwrap();
                let before = items.len();
                walk(memory, pointer.blockptr.get(), level - 1, items);
                assert_eq!(items[before].0, (&pointer.key).into());
            }
        }
    }

    fn build(sizes: &[usize]) -> (Root, Vec<u64>) {
        let mut memory = Memory::default();
        let mut tree = TreeWriter::new(&mut memory, IDS, 5);
        let all: Vec<(Key, Vec<u8>)> = sizes
            .iter()
            .enumerate()
            .map(|(n, &size)| (Key::new(n as u64, (n % 250) as u8, 7), vec![n as u8; size]))
            .collect();
        for (key, data) in &all {
            let (a, b) = data.split_at(data.len() / 3);
            tree.put(*key, &[a, b]).unwrap();
        }
        let root = tree.finish().unwrap();
        let mut found = Vec::new();
        walk(&memory, root.address, root.level, &mut found);
        assert_eq!(found, all);
        let counted = levels(sizes.iter().copied());
        assert_eq!(counted.iter().sum::<u64>(), memory.nodes.len() as u64);
        assert_eq!(root.nodes, memory.nodes.len() as u64);
        assert_eq!(counted.len(), usize::from(root.level) + 1);
        (root, counted)
    }

    #[test]
    fn at_every_boundary() {
        assert_eq!(build(&[]).1, [1]);
        assert_eq!(build(&[0]).1, [1]);
        assert_eq!(build(&[ITEM_MAX]).1, [1]);
        assert_eq!(build(&[ITEM_MAX, 0]).1, [2, 1]);
        // Exactly full, and one byte too many.
        assert_eq!(build(&[ITEM_MAX - 125, 100]).1, [1]);
        assert_eq!(build(&[ITEM_MAX - 125, 101]).1, [2, 1]);
        // Without data 651 heads fill a leaf (651 * 25 + 8 = 16,283).
        assert_eq!(build(&[0; 651]).1, [1]);
        assert_eq!(build(&[0; 652]).1, [2, 1]);
        // One leaf per item: 493 pointers fill a node.
        assert_eq!(build(&vec![ITEM_MAX; POINTERS]).1, [493, 1]);
        assert_eq!(build(&vec![ITEM_MAX; POINTERS + 1]).1, [494, 2, 1]);
    }

    #[test]
    fn many_sizes() {
        let mut x = 1u64;
        let sizes: Vec<usize> = (0..30_000)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (x >> 33) as usize % if x.is_multiple_of(97) { ITEM_MAX } else { 300 }
            })
            .collect();
        build(&sizes);
    }

    #[test]
    fn runs_of_leaves_join() {
        let mut memory = Memory::default();
        let mut tree = TreeWriter::new(&mut memory, IDS, 5);
        tree.put(Key::new(9, 1, 0), &[b"nine"]).unwrap();
        let nine = tree.end_run().unwrap();
        tree.put(Key::new(1, 1, 0), &[b"one"]).unwrap();
        let one = tree.end_run().unwrap();
        assert!(tree.finish_above([nine.clone(), one.clone()].concat()).is_err());
        let tree = TreeWriter::new(&mut memory, IDS, 5);
        let root = tree.finish_above([one, nine].concat()).unwrap();
        let mut found = Vec::new();
        walk(&memory, root.address, root.level, &mut found);
        assert_eq!(found.iter().map(|(key, _)| key.objectid).collect::<Vec<_>>(), [1, 9]);
    }

    #[test]
    fn refuses_disorder_and_excess() {
        let mut memory = Memory::default();
        let mut tree = TreeWriter::new(&mut memory, IDS, 5);
        tree.put(Key::new(1, 2, 3), &[]).unwrap();
        assert!(tree.put(Key::new(1, 2, 3), &[]).is_err());
        assert!(tree.put(Key::new(1, 1, 9), &[]).is_err());
        assert!(tree.put(Key::new(2, 0, 0), &[&[0; ITEM_MAX + 1]]).is_err());
    }
}
