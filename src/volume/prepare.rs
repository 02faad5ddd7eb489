//! From chosen disks to a mounted file system, at every boot with the same outcome: what we made is mounted, what is
//! blank becomes a file system first, and anything else is refused.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::content::{BtrfsVolume, Content, content, missing_program, new_uuid, show_uuid};
use super::find::{self, Disk, Roots, Selector};
use super::identify::volume_id;
use super::mount;
use super::twice;
use super::wait::{self, Hooks};
use crate::btrfs_image::constants::{MIB, SUPERBLOCK_LENGTH, SUPERBLOCKS};
use crate::btrfs_image::structures::Uuid;
use crate::error::{Error, Kind, Result};

/// How data lies on several disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Striped: as fast as all of them together.
    Raid0,
    /// One disk after the other.
    Single,
}

impl Data {
    pub fn name(self) -> &'static str {
        match self {
            Data::Raid0 => "raid0",
            Data::Single => "single",
        }
    }
}

/// What is wanted of some disks.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub selectors: Vec<Selector>,
    /// How long to wait until the disks are attached.
    pub wait: Duration,
    /// Of the file system; by default from the mount point.
    pub label: Option<String>,
    pub mount: Option<PathBuf>,
    /// Instead of those that are chosen here.
    pub mount_options: Option<String>,
    /// Volume ids, serial numbers or paths of disks that may be written over whatever they hold.
    pub wipe: Vec<String>,
    /// None: by the number of disks.
    pub data: Option<Data>,
}

/// What there is now.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub uuid: String,
    pub label: String,
    pub disks: Vec<Disk>,
    /// The file system was made just now.
    pub made: bool,
    pub mounted: Option<Mounted>,
}

#[derive(Debug, Clone)]
pub struct Mounted {
    pub at: PathBuf,
    pub options: String,
    /// It was mounted there before.
    pub already: bool,
}

/// Disks that are held, and what is to be done with them.
pub struct Chosen {
    pub disks: Vec<Disk>,
    pub label: String,
    pub state: State,
    _locks: Vec<Flock<File>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Our file system is on them.
    Found(Uuid),
    /// They are blank. In this list: those to be wiped first.
    Blank(Vec<PathBuf>),
}

/// Makes what is wanted, if it is not there yet.
///
/// # Errors
/// [`Kind::TargetInUse`] for disks that hold something else or are in use, [`Kind::Deadline`] and [`Kind::NotFound`]
/// for disks that are not there.
pub fn prepare(wanted: &Wanted, roots: &Roots, hooks: Hooks<'_>) -> Result<Prepared> {
    let chosen = choose(wanted, roots, hooks)?;
    let (uuid, made) = match &chosen.state {
        State::Found(uuid) => (*uuid, false),
        State::Blank(wipe) => (make(&chosen, wipe, wanted.data)?, true),
    };
    let mounted = mount_chosen(&chosen, wanted, hooks)?;
    Ok(Prepared { uuid: show_uuid(&uuid), label: chosen.label.clone(), disks: chosen.disks.clone(), made, mounted })
}

/// Only mounts: disks without a file system of ours are refused, also blank ones.
pub fn mount_only(wanted: &Wanted, roots: &Roots, hooks: Hooks<'_>) -> Result<Prepared> {
    let chosen = choose(wanted, roots, hooks)?;
    let State::Found(uuid) = chosen.state else {
        let message = format!("{}: blank, so there is nothing to mount", names(&chosen.disks));
        return Err(Error::new(Kind::NotFound, message).with_hint("`burst volume prepare` makes a file system on it"));
    };
    let mounted = mount_chosen(&chosen, wanted, hooks)?;
    Ok(Prepared {
        uuid: show_uuid(&uuid),
        label: chosen.label.clone(),
        disks: chosen.disks.clone(),
        made: false,
        mounted,
    })
}

/// Waits for the disks, holds them, and decides. Nothing is changed.
pub fn choose(wanted: &Wanted, roots: &Roots, hooks: Hooks<'_>) -> Result<Chosen> {
    let label = label(wanted)?;
    let disks = wait::find(&wanted.selectors, wanted.wait, roots, hooks)?;
    twice::check_known(&paths(&disks), &roots.sys)?;
    let wipe = to_wipe(&wanted.wipe, &disks, roots)?;
    // udev and other runs of ours leave a locked disk alone (systemd.io/BLOCK_DEVICE_LOCKING).
    let locks = lock(&disks, hooks)?;
    let contents: Vec<Content> = disks.iter().map(look).collect::<Result<_>>()?;
    let state = decide(&disks, &contents, &label, &wipe)?;
    if let Some(at) = &wanted.mount
        && let Some(other) = mount::mounted_at(at)?.filter(|found| !mount::is_of(found, &disks))
    {
        let message =
            format!("{} is the mount point of {}, not of {}", at.display(), other.source.display(), names(&disks));
        return Err(Error::new(Kind::TargetInUse, message));
    }
    if matches!(state, State::Blank(_)) {
        disks.iter().try_for_each(exclusive)?;
    }
    Ok(Chosen { disks, label, state, _locks: locks })
}

/// What a disk holds.
pub fn look(disk: &Disk) -> Result<Content> {
    content(&find::open_device(&disk.path)?, &disk.path, disk.size)
}

fn decide(disks: &[Disk], contents: &[Content], label: &str, wipe: &[PathBuf]) -> Result<State> {
    if let Some(own) = complete(contents) {
        if own.label == label {
            return Ok(State::Found(own.uuid));
        }
        if wipe.is_empty() {
            let message = format!(
                "{}: this is the BURST volume {:?}, not {label:?}: give --label {} (in a job: label), or `burst volume prepare` --wipe to lose what is on it",
                names(disks),
                own.label,
                own.label
            );
            return Err(Error::new(Kind::TargetInUse, message));
        }
    }
    // Where one disk says that its file system was never finished, the others of it hold nothing either.
    let unfinished: Vec<Uuid> = contents
        .iter()
        .filter_map(|content| if let Content::Unfinished(uuid) = content { Some(*uuid) } else { None })
        .collect();
    let (mut clear, mut refused) = (Vec::new(), Vec::new());
    for (disk, content) in disks.iter().zip(contents) {
        match content {
            Content::Blank => {}
            Content::Unfinished(_) => clear.push(disk.path.clone()),
            Content::Own(own) if unfinished.contains(&own.uuid) => clear.push(disk.path.clone()),
            _ if wipe.contains(&disk.path) => clear.push(disk.path.clone()),
            Content::Own(own) => refused.push(format!(
                "{disk} holds one of {} disks of the BURST volume {:?}, and not all of these were chosen or attached",
                own.disks, own.label
            )),
            Content::Btrfs(other) if other.disks == disks.len() as u64 && unfinished.contains(&other.uuid) => {
                clear.push(disk.path.clone())
            }
            Content::Btrfs(_) | Content::Other(_) => refused.push(format!("{disk} is not blank: it holds {content}")),
        }
    }
    if refused.is_empty() {
        return Ok(State::Blank(clear));
    }
    let message = format!(
        "{}; to lose what is there, give `burst volume prepare` --wipe with the volume id, serial number or path",
        refused.join("; ")
    );
    Err(Error::new(Kind::TargetInUse, message))
}

/// The file system of ours that these disks, and no others, are.
fn complete(contents: &[Content]) -> Option<&BtrfsVolume> {
    let Some(Content::Own(first)) = contents.first() else { return None };
    let same = |content: &Content| matches!(content, Content::Own(own) if own.uuid == first.uuid);
    (contents.iter().all(same) && first.disks == contents.len() as u64).then_some(first)
}

/// Fails if anybody uses the disk: mounts, swap, RAID, LVM, partitions in use, another program.
fn exclusive(disk: &Disk) -> Result<()> {
    if let Some(user) = mount::used_by(disk) {
        return Err(Error::new(Kind::TargetInUse, format!("{disk} {user}")));
    }
    match OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(&disk.path) {
        Ok(_) => Ok(()),
        Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => {
            Err(Error::new(Kind::TargetInUse, format!("{disk} {}", mount::is_busy(&disk.path))))
        }
        Err(e) => Err(Error::io(format!("open the device {}", disk.path.display()), e)),
    }
}

/// Who uses the disk; None also if that cannot be found out.
pub fn in_use(disk: &Disk) -> Option<String> {
    let known = mount::used_by(disk);
    known.or_else(|| {
        exclusive(disk).is_err_and(|e| e.kind() == Kind::TargetInUse).then(|| "is used by something else".into())
    })
}

/// How long another run may hold a disk: as long as mkfs.btrfs takes.
const LOCK_WAIT: Duration = Duration::from_secs(60);

fn lock(disks: &[Disk], hooks: Hooks<'_>) -> Result<Vec<Flock<File>>> {
    // In the same order everywhere, so that two runs do not wait for each other.
    let mut paths = paths(disks);
    paths.sort();
    let begun = Instant::now();
    let mut locks = Vec::new();
    for path in paths {
        let mut file = find::open_device(path)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break locks.push(lock),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if begun.elapsed() < LOCK_WAIT => file = back,
                Err((_, Errno::EWOULDBLOCK)) => {
                    let message = format!("{} is locked by another program: `lslocks` tells by which", path.display());
                    return Err(Error::new(Kind::TargetInUse, message));
                }
                Err((_, errno)) => return Err(Error::io(format!("lock {}", path.display()), errno.into())),
            }
            (hooks.go_on)()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(locks)
}

/// The disks that --wipe names. Each must be one of those chosen: a name that means none of them is a mistake.
fn to_wipe(ids: &[String], disks: &[Disk], roots: &Roots) -> Result<Vec<PathBuf>> {
    let named = |id: &String| {
        let path = id.starts_with('/').then(|| std::fs::canonicalize(find::node(Path::new(id), roots)).ok()).flatten();
        let volume = volume_id(id);
        let is = |disk: &&Disk| {
            (volume.is_some() && disk.volume_id == volume)
                || (!disk.serial.is_empty() && disk.serial == *id)
                || path.as_ref() == Some(&disk.path)
        };
        disks.iter().find(is).map(|disk| disk.path.clone()).ok_or_else(|| {
            let message = format!("--wipe {id}: this is none of the chosen disks, which are {}", names(disks));
            Error::new(Kind::Usage, message)
        })
    };
    ids.iter().map(named).collect()
}

/// BTRFS on these disks. Metadata is kept twice: on two disks, or at two places of one.
fn make(chosen: &Chosen, wipe: &[PathBuf], data: Option<Data>) -> Result<Uuid> {
    let uuid = new_uuid()?;
    for path in wipe {
        wipe_disk(path)?;
    }
    for disk in chosen.disks.iter().filter(|disk| wipe.contains(&disk.path)) {
        let left = look(disk)?;
        if left != Content::Blank {
            return Err(Error::new(Kind::Failure, format!("{disk} was wiped and still holds {left}")));
        }
    }
    let several = chosen.disks.len() > 1;
    if several {
        twice::try_marks(&paths(&chosen.disks), uuid)?;
    }
    let data = if several { data.unwrap_or(Data::Raid0) } else { Data::Single };
    let mut arguments: Vec<OsString> =
        ["-q", "-L", &chosen.label, "-U", &show_uuid(&uuid), "-d", data.name(), "-m"].iter().map(Into::into).collect();
    arguments.push(if several { "raid1" } else { "dup" }.into());
    // A blank disk has nothing to discard, and doing it to terabytes takes minutes on some.
    if wipe.is_empty() {
        arguments.push("-K".into());
    }
    // Without -f: mkfs.btrfs looks for itself, and refuses what it knows.
    arguments.extend(chosen.disks.iter().map(|disk| disk.path.clone().into_os_string()));
    run_program("mkfs.btrfs", &arguments)?;
    Ok(uuid)
}

fn wipe_disk(path: &Path) -> Result<()> {
    // wipefs also makes the kernel forget the partitions.
    run_program("wipefs", &["--all".into(), "--quiet".into(), path.into()])?;
    zero(path)
}

/// Clears the first and the last MiB and all superblocks of a disk that nobody uses.
fn zero(path: &Path) -> Result<()> {
    let what = || format!("wipe {}", path.display());
    let mut file =
        OpenOptions::new().write(true).custom_flags(nix::libc::O_EXCL).open(path).map_err(|e| Error::io(what(), e))?;
    let size = file.seek(SeekFrom::End(0)).map_err(|e| Error::io(what(), e))?;
    let zeros = vec![0; MIB as usize];
    let copies = SUPERBLOCKS.map(|place| (place, SUPERBLOCK_LENGTH));
    for (start, length) in [(0, MIB), (size.saturating_sub(MIB), MIB)].into_iter().chain(copies) {
        let end = size.min(start + length);
        if start < end {
            let bytes = zeros.get(..(end - start) as usize).unwrap_or_default();
            file.write_all_at(bytes, start).map_err(|e| Error::io(what(), e))?;
        }
    }
    file.sync_all().map_err(|e| Error::io(what(), e))
}

fn run_program(name: &str, arguments: &[OsString]) -> Result<()> {
    let done = Command::new(name).args(arguments).output();
    let package = if name == "wipefs" { "util-linux" } else { "btrfs-progs" };
    let done = done.map_err(|e| missing_program(name, package, e))?;
    if done.status.success() {
        return Ok(());
    }
    let shown: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
    let said = String::from_utf8_lossy(&done.stderr);
    let message = format!("{name} {}: {}: {}", shown.join(" "), done.status, said.trim());
    Err(Error::new(Kind::Failure, message))
}

/// Mounts the disks where that is wanted.
pub fn mount_chosen(chosen: &Chosen, wanted: &Wanted, hooks: Hooks<'_>) -> Result<Option<Mounted>> {
    let Some(at) = &wanted.mount else { return Ok(None) };
    if let Some(found) = mount::mounted_at(at)?.filter(|found| mount::is_of(found, &chosen.disks)) {
        return Ok(Some(Mounted { at: at.clone(), options: found.options, already: true }));
    }
    let options = wanted.mount_options.clone().unwrap_or_else(|| default_options(&chosen.disks));
    if std::fs::read_dir(at).is_ok_and(|mut entries| entries.next().is_some()) {
        (hooks.say)(&format!(
            "notice: {} is not empty: what is in it is hidden while the volume is mounted",
            at.display()
        ));
    }
    mount::mount(&paths(&chosen.disks), at, &options)?;
    Ok(Some(Mounted { at: at.clone(), options, already: false }))
}

/// noatime: reading a file must not write. discard=async, where all disks discard: SSDs keep their speed, at no cost
/// for deletions (the kernel's default since Linux 6.2). No compression: what is restored is compressed already, and
/// the kernel would spend CPU time on the rest.
pub fn default_options(disks: &[Disk]) -> String {
    let discards = disks.iter().all(|disk| disk.discards);
    if discards { "noatime,discard=async" } else { "noatime" }.into()
}

/// The label as given, or from the mount point: /srv/data -> srv-data.
fn label(wanted: &Wanted) -> Result<String> {
    let given = match (&wanted.label, &wanted.mount) {
        (Some(label), _) => label.clone(),
        (None, Some(at)) => {
            let name = |part| match part {
                std::path::Component::Normal(name) => Some(name.to_string_lossy()),
                _ => None,
            };
            at.components().filter_map(name).collect::<Vec<_>>().join("-")
        }
        (None, None) => {
            return Err(Error::new(Kind::Usage, "give --label or --mount: the label is how the volume is found again"));
        }
    };
    check_label(&given)?;
    Ok(given)
}

/// mkfs.btrfs takes 255 bytes; a newline or a control character would only confuse.
pub fn check_label(label: &str) -> Result<()> {
    if label.is_empty() || label.len() > 255 || label.chars().any(char::is_control) {
        let message = format!("{label:?} cannot be a label: 1 to 255 bytes without control characters");
        return Err(Error::new(Kind::Usage, message));
    }
    Ok(())
}

fn paths(disks: &[Disk]) -> Vec<&Path> {
    disks.iter().map(|disk| disk.path.as_path()).collect()
}

/// For messages.
pub fn names(disks: &[Disk]) -> String {
    disks.iter().map(Disk::to_string).collect::<Vec<_>>().join(", ")
}
