//! Restore onto a blank device: the file system itself is made, nothing is created in one (spec/btrfs-image.md).
//!
//! ```text
//! sink     parts, in any order -> content on the device, leaves of the tree of files
//! place    packs, sums and writes content        names       what directories need to know
//! finish   directories, upper levels, the other trees, superblock
//! disk     owns the devices: refuses what is in use, wipes before, makes them a file system with the last write
//! ```

mod attributes;
mod disk;
mod finish;
mod names;
mod place;
mod sink;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::info;

use self::disk::Disks;
pub use self::finish::Sizes;
use self::place::{Placed, Volume};
use self::sink::ImageSink;
use super::StopFlag;
use super::fetch_directory::Archive;
use super::pipeline::{self, PipelineOptions};
use super::report::Report;
use super::selection::Selection;
use crate::btrfs_image::constants::{NODE, ROOT_DIRECTORY};
use crate::btrfs_image::inode::{Inode, Time, check_xattrs};
use crate::btrfs_image::layout::Layout;
pub use crate::btrfs_image::layout::Profile;
use crate::btrfs_image::layout::Profiles;
use crate::btrfs_image::space_trees::{Identity, Subvolume};
use crate::btrfs_image::structures::Uuid;
use crate::btrfs_image::tree::NodeIds;
use crate::error::{Error, Kind, Result};
use crate::format::Attributes;
use crate::format::entry::{EntryType, S_IFDIR};
use crate::format::limits::{COMPLETION_MARKER, is_marker};
use crate::observe::{Event, Events};
use crate::volume::content::{new_uuid, show_uuid};

/// What kind of file system to make.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// How parts are fetched and checked.
    pub pipeline: PipelineOptions,
    /// At most 255 bytes, without NUL or newline.
    pub label: Vec<u8>,
    /// If None, a new one by which the file system is known as one of ours.
    pub uuid: Option<Uuid>,
    /// How content lies on the devices: [`Profile::Single`] or [`Profile::Raid0`]. None: striped over several.
    pub data: Option<Profile>,
    /// How trees lie on the devices. None: twice, on two of several devices.
    pub metadata: Option<Profile>,
    /// Everything goes into a subvolume of this name in the top level, which is then what is mounted by default.
    pub subvolume: Option<Vec<u8>>,
    /// Overwrite what is there.
    pub force: bool,
    /// Largest chunk in bytes; only tests make it smaller than the kernel would.
    pub chunk_max: u64,
}

impl Default for ImageOptions {
    fn default() -> Self {
        ImageOptions {
            pipeline: PipelineOptions::default(),
            label: Vec::new(),
            uuid: None,
            data: None,
            metadata: None,
            subvolume: None,
            force: false,
            chunk_max: u64::MAX,
        }
    }
}

/// Where the file system is made.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a> {
    /// On these block devices together.
    Devices(&'a [PathBuf]),
    /// On new image files of so many bytes.
    Files(&'a [(PathBuf, u64)]),
}

/// What was made.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ImageReport {
    /// What was put into it.
    pub restored: Report,
    /// What it takes on the devices.
    pub sizes: Sizes,
    /// By which mount and /dev/disk/by-uuid know it.
    pub uuid: Uuid,
}

/// Makes a file system that holds what the archive holds. Until it is complete there is none on the devices; image
/// files are removed if anything fails.
pub fn image(
    archive: &Archive,
    destination: Destination<'_>,
    options: &ImageOptions,
    events: &Events,
    stop: &StopFlag,
) -> Result<ImageReport> {
    let created = now();
    let root = root_inode(archive, created)?;
    let count = match destination {
        Destination::Devices(paths) => paths.len(),
        Destination::Files(files) => files.len(),
    };
    let profiles = Profiles::choose(count, options.data, options.metadata)?;
    let identity = identity(options, count, created)?;
    let disks = match destination {
        Destination::Devices(paths) => Disks::open_devices(paths, options.force)?,
        Destination::Files(files) => Disks::create_files(files, options.force)?,
    };
    let placed = |layout| Mutex::new(Placed { layout, runs: Vec::new(), data: Vec::new(), sums: Vec::new() });
    let layout = Layout::new(&disks.sizes(), profiles, options.chunk_max);
    let made = match layout.map_err(|e| e.context(disks.names())) {
        Err(e) => (Err(e), disks),
        Ok(layout) => {
            let volume = Volume { placed: placed(layout), disks };
            (fill(archive, &volume, root, &identity, options, events, stop), volume.disks)
        }
    };
    if let ((Err(_), disks), Destination::Files(_)) = (&made, destination) {
        disks.remove();
    }
    made.0
}

fn fill(
    archive: &Archive,
    volume: &Volume,
    root: Inode,
    identity: &Identity,
    options: &ImageOptions,
    events: &Events,
    stop: &StopFlag,
) -> Result<ImageReport> {
    let wiping = if options.force { "all that is there" } else { "what an unfinished run left" };
    info!(on = volume.disks.names(), uuid = show_uuid(&identity.nodes.fsid), wiping, "a file system is made");
    volume.disks.wipe(options.force, identity.nodes.fsid)?;
    let sink = ImageSink::new(archive, volume, identity, root, stop);
    let in_device = |e: Error| match e.kind() {
        // Not the file system that is made, but what it is written to.
        Kind::NoSpace if std::error::Error::source(&e).is_some() => e.with_hint(
            "make room where the image or the device takes its blocks from, then run the same command again",
        ),
        Kind::NoSpace => e.context(volume.disks.names()).with_hint(
            "choose a larger device (or --size), or several; --metadata single takes half of the metadata's room",
        ),
        _ => e,
    };
    let fetched =
        pipeline::run(archive, &Selection::default(), &sink, &options.pipeline, events, stop).map_err(in_device)?;
    events.emit(Event::Finishing);
    let finishing = std::time::Instant::now();
    let sizes = finish::finish(&sink, identity, stop).map_err(in_device)?;
    let restored = Report { fetched, finishing: finishing.elapsed(), ..sink.counters.report() };
    Ok(ImageReport { restored, sizes, uuid: identity.nodes.fsid })
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() as i64, since.subsec_nanos())
}

/// The root directory, with the mark that everything is there: if it can be mounted, it is complete.
fn root_inode(archive: &Archive, created: Time) -> Result<Inode> {
    let attributes = archive.root_attributes()?;
    let mut xattrs = Vec::new();
    let mut inode = Inode {
        number: ROOT_DIRECTORY,
        mode: S_IFDIR | 0o755,
        mtime: created,
        created,
        // What mkfs.btrfs says of a root directory.
        occupied: NODE as u64,
        ..Inode::default()
    };
    if let Some(Attributes { permissions, uid, gid, mtime, xattrs: found }) = attributes {
        inode.mode = S_IFDIR | permissions & 0o7777;
        (inode.uid, inode.gid) = (uid, gid);
        inode.mtime = (mtime.seconds, mtime.nanos);
        xattrs = found;
    }
    let refuse = |why: String| {
        let message = format!("{}: the root directory: {why}", archive.source.name());
        Error::new(Kind::UnsafeEntry, message)
    };
    xattrs.retain(|(name, _)| !is_marker(name));
    for (name, value) in &xattrs {
        attributes::check(EntryType::Directory, name, value)
            .map_err(|why| refuse(format!("extended attribute {}: {why}", name.escape_ascii())))?;
    }
    xattrs.push((COMPLETION_MARKER.into(), marker(archive).to_string().into_bytes()));
    inode.xattrs = xattrs;
    check_xattrs(&inode).map_err(refuse)?;
    Ok(inode)
}

/// As a restore into a directory would leave it.
fn marker(archive: &Archive) -> serde_json::Value {
    let t = &archive.index.trailer;
    super::identity::Identity::of_archive(archive).marker_of(t.entries, t.content_bytes, false)
}

fn identity(options: &ImageOptions, devices: usize, created: Time) -> Result<Identity> {
    let label = &options.label;
    if label.len() > 255 || label.iter().any(|&b| b == 0 || b == b'\n') {
        let message = "a label has at most 255 bytes and no newline";
        return Err(Error::new(Kind::Usage, message));
    }
    let random = || -> Result<Uuid> {
        let mut id = crate::snapshot::random_id()?;
        // Version 4, variant 1 (RFC 9562 section 5.4).
        id[6] = id[6] & 0x0F | 0x40;
        id[8] = id[8] & 0x3F | 0x80;
        Ok(id)
    };
    let subvolume = match &options.subvolume {
        None => None,
        Some(name) if !(1..=255).contains(&name.len()) || name.iter().any(|&b| b == 0 || b == b'/') => {
            return Err(Error::new(Kind::Usage, "the name of a subvolume has 1 to 255 bytes and no \"/\""));
        }
        Some(name) if name == b"." || name == b".." => {
            return Err(Error::new(Kind::Usage, "a subvolume cannot be named \".\" or \"..\""));
        }
        Some(name) => Some(Subvolume { name: name.clone(), uuid: random()? }),
    };
    let fsid = options.uuid.map_or_else(new_uuid, Ok)?;
    Ok(Identity {
        nodes: NodeIds { fsid, chunk_tree: random()? },
        devices: (0..devices).map(|_| random()).collect::<Result<_>>()?,
        fs_tree: random()?,
        subvolume,
        label: label.clone(),
        created,
    })
}
