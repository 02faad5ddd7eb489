//! The sink that makes the file system itself. Inodes have the numbers of their entries, so a part's files are a range
//! of the tree: their leaves are written together with their content, in whatever order the parts come. What one part
//! does not know waits: files in several parts until the last of them, inodes with several names and the directories
//! until all names are known.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};

use super::attributes;
use super::names::{Names, Place, inode_number};
use super::place::{Placer, Volume, round_up};
use crate::btrfs_image::inode::{Extent, Inline, Inode, Name, check_xattrs, write_extents, write_inline, write_inode};
use crate::btrfs_image::space_trees::Identity;
use crate::btrfs_image::tree::{Child, TreeWriter};
use crate::error::{Error, Kind, Result};
use crate::format::directory_reader::PlacedEntry;
use crate::format::entry::{EntryType, check_restorable, split_parent};
use crate::format::limits::GRID;
use crate::format::part_reader::{Piece, PieceKind};
use crate::format::{Entry, Xattr};
use crate::restore::StopFlag;
use crate::restore::fetch_directory::Archive;
use crate::restore::pipeline::{Sink, VerifiedPart};
use crate::restore::report::{Counters, add};

/// Content of an inode, once it is placed.
#[derive(Debug, Default)]
pub struct Content {
    pub inline: Option<Inline>,
    pub extents: Vec<Extent>,
}

/// An inode that cannot be written yet.
pub struct Waiting {
    pub inode: Inode,
    pub content: Content,
}

/// A file of which not all parts have come.
#[derive(Default)]
struct Spanning {
    parts: u64,
    /// Which content came, as [from, to).
    ranges: Vec<(u64, u64)>,
    extents: Vec<Extent>,
}

pub struct ImageSink<'a> {
    archive: &'a Archive,
    pub volume: &'a Volume,
    stop: &'a StopFlag,
    identity: &'a Identity,
    pub names: RwLock<Names>,
    /// Leaves of the tree of files, in runs.
    pub leaves: Mutex<Vec<Vec<Child>>>,
    /// Inodes with several names, by ordinal.
    pub linked: Mutex<BTreeMap<u64, Waiting>>,
    spanning: Mutex<HashMap<u64, Spanning>>,
    /// Inodes announced and written, without directories.
    announced: AtomicU64,
    pub written: AtomicU64,
    pub counters: Counters,
}

/// State of one thread.
pub struct Worker<'a> {
    placer: Placer<'a>,
    tree: TreeWriter<&'a Volume>,
    places: Vec<Option<Place>>,
    /// Files that this part completed.
    completed: Vec<(usize, Content)>,
    /// The tree has items that belong to the run being built.
    open: bool,
}

/// What to try where BTRFS cannot hold an entry that is well made.
pub const OTHER_FILE_SYSTEM: &str =
    "without --device another file system may take it; or make the archive without it (--exclude)";

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl<'a> ImageSink<'a> {
    pub fn new(
        archive: &'a Archive,
        volume: &'a Volume,
        identity: &'a Identity,
        root: Inode,
        stop: &'a StopFlag,
    ) -> Self {
        ImageSink {
            archive,
            volume,
            stop,
            identity,
            names: RwLock::new(Names::new(root, archive.index.trailer.entries)),
            leaves: Mutex::default(),
            linked: Mutex::default(),
            spanning: Mutex::default(),
            announced: AtomicU64::new(0),
            written: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    pub fn tree(&self) -> TreeWriter<&'a Volume> {
        TreeWriter::new(self.volume, self.identity.nodes, self.identity.files_tree())
    }

    /// Everything about an entry but its content. What BTRFS cannot hold is refused.
    fn inode(&self, entry: &Entry) -> Result<Inode> {
        let refuse =
            |why: &str| self.fault(Kind::UnsafeEntry, format_args!("entry \"{}\": {why}", entry.path.escape_ascii()));
        let xattrs: Vec<Xattr> = self.archive.xattrs(entry)?;
        for (name, value) in &xattrs {
            attributes::check(entry.entry_type, name, value)
                .map_err(|why| refuse(&format!("extended attribute {}: {why}", name.escape_ascii())))?;
        }
        let a = &entry.attributes;
        let permissions = if entry.entry_type == EntryType::Symlink { 0o777 } else { a.permissions & 0o7777 };
        let device = match entry.entry_type {
            EntryType::CharDevice { major, minor } | EntryType::BlockDevice { major, minor } => {
                self.archive.check_device(&entry.path)?;
                // The kernel's own dev_t (include/linux/kdev_t.h): 12 and 20 bits.
                if major >= 1 << 12 || minor >= 1 << 20 {
                    return Err(refuse(&format!("Linux has no device numbers {major}, {minor}")));
                }
                u64::from(major) << 20 | u64::from(minor)
            }
            _ => 0,
        };
        let size = if entry.entry_type == EntryType::Directory { 0 } else { entry.uncompressed_size };
        let inode = Inode {
            number: inode_number(entry.ordinal),
            mode: entry.entry_type.mode_bits() | permissions,
            uid: a.uid,
            gid: a.gid,
            size,
            occupied: 0,
            mtime: (a.mtime.seconds, a.mtime.nanos),
            created: self.identity.created,
            device,
            xattrs,
        };
        check_xattrs(&inode).map_err(|why| refuse(&why).with_hint(OTHER_FILE_SYSTEM))?;
        Ok(inode)
    }

    /// Whether all parts of an archive brought all it announced.
    pub fn check_complete(&self) -> Result<()> {
        let (announced, written) = (self.announced.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
        let left = locked(&self.spanning).len();
        if (announced, left) == (written, 0) {
            return Ok(());
        }
        let message = format_args!("{announced} files were announced, {written} came, {left} are incomplete");
        Err(self.fault(Kind::Corrupt, message))
    }

    /// An error of the archive, by its name.
    pub fn fault(&self, kind: Kind, what: impl Display) -> Error {
        Error::new(kind, what.to_string()).context(self.archive.source.name())
    }

    fn incomplete(&self, entry: &Entry, why: &str) -> Error {
        self.fault(Kind::Corrupt, format_args!("entry \"{}\": {why}", entry.path.escape_ascii()))
    }

    fn check_end(&self, entry: &Entry, end: u64) -> Result<()> {
        match end == entry.uncompressed_size {
            true => Ok(()),
            false => {
                Err(self.incomplete(entry, &format!("content ends at {end} instead of {}", entry.uncompressed_size)))
            }
        }
    }

    /// Writes an inode with one name at the end of the run that a tree is building.
    fn write(
        &self,
        tree: &mut TreeWriter<&Volume>,
        entry: &Entry,
        place: Option<Place>,
        content: Content,
    ) -> Result<()> {
        let mut inode = self.inode(entry)?;
        inode.occupied = occupied(&inode, &content);
        self.count(entry);
        if entry.link_count.is_some() {
            locked(&self.linked).insert(entry.ordinal, Waiting { inode, content });
            return Ok(());
        }
        let Some(Place { parent, index }) = place else {
            return Err(self.incomplete(entry, "it has content but was not announced"));
        };
        let name = split_parent(&entry.path).1;
        write_inode(tree, &inode, &mut [Name { parent, index, name }])?;
        write_content(tree, inode.number, &content)?;
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn count(&self, entry: &Entry) {
        let c = &self.counters;
        match entry.entry_type {
            EntryType::Regular => {
                add(&c.files, 1);
                add(&c.content_bytes, entry.uncompressed_size);
            }
            EntryType::Symlink => add(&c.symlinks, 1),
            _ => add(&c.nodes, 1),
        }
    }

    /// Content of a file that lies in several parts; all of it when this part was the last.
    fn spanning(
        &self,
        placed: &PlacedEntry,
        pieces: &[Piece],
        extents: impl Iterator<Item = Extent>,
    ) -> Result<Option<Content>> {
        let entry = &placed.entry;
        let mut waiting = locked(&self.spanning);
        let file = waiting.entry(entry.ordinal).or_default();
        file.parts += 1;
        if let Some(range) = contiguous(pieces) {
            file.ranges.push(range.map_err(|why| self.incomplete(entry, &why))?);
        }
        file.extents.extend(extents);
        let parts = (placed.end - 1) / GRID - entry.header_offset / GRID + 1;
        if file.parts < parts {
            return Ok(None);
        }
        let Some(mut file) = waiting.remove(&entry.ordinal) else { return Ok(None) };
        drop(waiting);
        file.ranges.sort_unstable();
        let mut end = 0;
        for (from, to) in file.ranges {
            if from != end {
                return Err(self.incomplete(entry, &format!("content goes on at {from} instead of {end}")));
            }
            end = to;
        }
        self.check_end(entry, end)?;
        file.extents.sort_unstable_by_key(|extent| extent.file_offset);
        Ok(Some(Content { inline: None, extents: file.extents }))
    }
}

/// Writes the content of an inode.
pub fn write_content(tree: &mut TreeWriter<&Volume>, number: u64, content: &Content) -> Result<()> {
    match &content.inline {
        Some(inline) => write_inline(tree, number, inline),
        None => write_extents(tree, number, &content.extents),
    }
}

fn occupied(inode: &Inode, content: &Content) -> u64 {
    match &content.inline {
        Some(_) => inode.size,
        None => content.extents.iter().map(|extent| extent.length).sum(),
    }
}

/// Which content the pieces are, if they follow each other without gaps and begin on sectors.
fn contiguous(pieces: &[Piece]) -> Option<std::result::Result<(u64, u64), String>> {
    let first = pieces.first()?.content_offset;
    let mut end = first;
    for piece in pieces {
        let at = piece.content_offset;
        if at != end || round_up(at) != at || piece.content_len == 0 {
            return Some(Err(format!("{} bytes of content at {at}, expected at {end}", piece.content_len)));
        }
        match at.checked_add(piece.content_len).filter(|&end| end <= i64::MAX as u64) {
            Some(next) => end = next,
            None => return Some(Err(format!("content at {at} goes beyond every file"))),
        }
    }
    Some(Ok((first, end)))
}

impl Sink for ImageSink<'_> {
    type Worker<'w>
        = Worker<'w>
    where
        Self: 'w;

    fn worker(&self) -> Result<Worker<'_>> {
        Ok(Worker {
            placer: Placer::new(self.volume, &self.counters)?,
            tree: self.tree(),
            places: Vec::new(),
            completed: Vec::new(),
            open: false,
        })
    }

    fn entry(&self, entry: &Entry, destination: &[u8], _: Option<&[u8]>) -> Result<()> {
        check_restorable(destination).map_err(|e| self.archive.named(e))?;
        let directory = match entry.entry_type {
            EntryType::Directory => Some(self.inode(entry)?),
            _ => None,
        };
        match entry.entry_type {
            EntryType::Directory => add(&self.counters.directories, 1),
            EntryType::HardLink { .. } => add(&self.counters.hard_links, 1),
            _ => {
                self.announced.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.names
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .add(entry, directory)
            .map_err(|e| e.context(self.archive.source.name()))
    }

    /// The directories need nothing of the parts: they are written while those come.
    fn announced(&self, _parts: u64) -> Result<()> {
        super::finish::write_directories(self, self.stop)
    }

    fn part(&self, worker: &mut Worker<'_>, part: &VerifiedPart<'_>) -> Result<()> {
        let Worker { placer, tree, places, completed, open } = worker;
        {
            let names = self.names.read().unwrap_or_else(|e| e.into_inner());
            places.clear();
            places.extend(part.entries.iter().map(|placed| names.place(placed.entry.ordinal)));
        }
        // First all content, so that it is written in large pieces; then the leaves.
        placer.extents.clear();
        let mut inlines: HashMap<usize, Inline> = HashMap::new();
        for (n, (placed, pieces)) in part.contents().enumerate() {
            let entry = &placed.entry;
            if entry.entry_type != EntryType::Regular {
                continue;
            }
            let at = |e: Error| {
                let e = e.context(format_args!("entry \"{}\"", entry.path.escape_ascii()));
                // Else it is the device's.
                if e.kind() == Kind::Corrupt { e.context(self.archive.source.name()) } else { e }
            };
            if part.holds_all_of(placed)
                && let Some(inline) = placer.inline(pieces, part.bytes, entry.uncompressed_size).map_err(at)?
            {
                inlines.insert(n, inline);
                continue;
            }
            for piece in pieces {
                placer.add(n, inode_number(entry.ordinal), piece, part.bytes).map_err(at)?;
            }
        }
        placer.flush()?;

        completed.clear();
        let mut extents = placer.extents.as_slice();
        for (n, (placed, pieces)) in part.contents().enumerate() {
            let entry = &placed.entry;
            let mine = extents.iter().take_while(|(entry, _)| *entry == n).count();
            let (now, later) = extents.split_at(mine);
            extents = later;
            let now = now.iter().map(|(_, extent)| *extent);
            let begins_here = entry.header_offset >= part.index * GRID;
            let content = match entry.entry_type {
                EntryType::Regular if part.holds_all_of(placed) => {
                    let end = contiguous(pieces).transpose().map_err(|why| self.incomplete(entry, &why))?;
                    if end.is_some_and(|(from, _)| from != 0) {
                        return Err(self.incomplete(entry, "content does not begin at 0"));
                    }
                    self.check_end(entry, end.map_or(0, |(_, end)| end))?;
                    Content { inline: inlines.remove(&n), extents: now.collect() }
                }
                EntryType::Regular => {
                    if let Some(content) = self.spanning(placed, pieces, now)? {
                        completed.push((n, content));
                    }
                    end_run(self, tree, open)?;
                    continue;
                }
                EntryType::Symlink => {
                    let [Piece { kind: PieceKind::Stored { range }, .. }] = pieces else { continue };
                    let text = part.bytes.get(range.clone()).unwrap_or_default();
                    self.check_end(entry, text.len() as u64)?;
                    let length = text.len() as u64;
                    let inline = Inline { bytes: text.to_vec(), length, compressed: false };
                    Content { inline: Some(inline), extents: Vec::new() }
                }
                EntryType::CharDevice { .. } | EntryType::BlockDevice { .. } | EntryType::Fifo if begins_here => {
                    Content::default()
                }
                _ => continue,
            };
            // Its leaves come later: those of this part end here.
            if entry.link_count.is_some() {
                end_run(self, tree, open)?;
            } else {
                *open = true;
            }
            self.write(tree, entry, places.get(n).copied().flatten(), content)?;
        }
        end_run(self, tree, open)?;
        for (n, content) in completed.drain(..) {
            let Some(placed) = part.entries.get(n) else { continue };
            *open = true;
            self.write(tree, &placed.entry, places.get(n).copied().flatten(), content)?;
            end_run(self, tree, open)?;
        }
        Ok(())
    }
}

fn end_run(sink: &ImageSink<'_>, tree: &mut TreeWriter<&Volume>, open: &mut bool) -> Result<()> {
    if std::mem::take(open) {
        let leaves = tree.end_run()?;
        locked(&sink.leaves).push(leaves);
    }
    Ok(())
}
