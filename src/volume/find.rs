//! Which disks there are, and which of them is meant: sysfs, device nodes, and what EC2 calls them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::identify::{self, Identified};
use crate::error::{Error, Kind, Result};
use crate::linux::is_errno;
use crate::linux::nvme::{Identify, identify};

/// Where the kernel shows its devices.
#[derive(Debug, Clone)]
pub struct Roots {
    pub sys: PathBuf,
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots { sys: "/sys".into(), dev: "/dev".into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    Ebs,
    /// Local to the instance: empty after a stop.
    InstanceStore,
    Other,
}

impl fmt::Display for DiskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DiskKind::Ebs => "EBS",
            DiskKind::InstanceStore => "instance store",
            DiskKind::Other => "other",
        })
    }
}

#[derive(Debug, Clone)]
pub struct Disk {
    /// The device node, with links resolved.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    pub kind: DiskKind,
    pub model: String,
    pub serial: String,
    /// "vol-…"
    pub volume_id: Option<String>,
    /// What EC2 calls it, without "/dev/".
    pub ec2_name: Option<String>,
    /// "ephemeral0"
    pub virtual_name: Option<String>,
    /// Names of what is on top of it or in it.
    pub partitions: Vec<String>,
    pub holders: Vec<String>,
    /// TRIM does something.
    pub discards: bool,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        let mut more = Vec::new();
        match (&self.volume_id, self.kind) {
            (Some(id), _) => more.push(id.clone()),
            (None, DiskKind::InstanceStore) => more.push("instance store".into()),
            _ => {}
        }
        more.extend(self.ec2_name.as_ref().map(|name| format!("/dev/{name}")));
        if more.is_empty() { Ok(()) } else { write!(f, " ({})", more.join(", ")) }
    }
}

/// All disks: whole devices that hardware, or a hypervisor, stands behind. Loop devices, device mapper, RAID and
/// memory have no `device` in sysfs.
pub fn disks(roots: &Roots) -> Result<Vec<Disk>> {
    let block = roots.sys.join("block");
    let what = || format!("list the disks in {}", block.display());
    let mut names: Vec<String> = fs::read_dir(&block)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect())
        .map_err(|e| Error::io(what(), e))?;
    names.sort_by_key(|name| (name.len(), name.clone()));
    let links = ec2_links(&roots.dev);
    Ok(names.iter().filter_map(|name| disk(roots, name, &links)).collect())
}

/// None if it is no disk, or not (or no longer) there.
fn disk(roots: &Roots, name: &str, links: &[(String, PathBuf)]) -> Option<Disk> {
    let sys = roots.sys.join("block").join(name);
    let attribute = |file: &str| fs::read_to_string(sys.join(file)).map(|text| text.trim().to_owned());
    // The paths to one disk of several are hidden behind it; an optical drive is no disk.
    if !sys.join("device").exists() || attribute("hidden").is_ok_and(|hidden| hidden == "1") || name.starts_with("sr") {
        return None;
    }
    // Always in units of 512 bytes (Documentation/ABI/stable/sysfs-block).
    let size = attribute("size").ok()?.parse::<u64>().ok()?.checked_mul(512).filter(|&size| size > 0)?;
    let path = fs::canonicalize(roots.dev.join(name)).ok()?;
    let model = attribute("device/model").unwrap_or_default();
    let serial = attribute("device/serial").or_else(|_| attribute("serial")).unwrap_or_default();
    let kind = match model.as_str() {
        "Amazon Elastic Block Store" => DiskKind::Ebs,
        "Amazon EC2 NVMe Instance Storage" => DiskKind::InstanceStore,
        _ => DiskKind::Other,
    };
    let identified = match kind {
        DiskKind::Other => Identified::default(),
        _ => ask(&path, attribute("nsid").ok().and_then(|nsid| nsid.parse().ok())),
    };
    // Where udev or the kernel (Xen) names it as EC2 does.
    let linked = || links.iter().find(|(_, to)| *to == path).map(|(name, _)| name.clone());
    let xen = || name.starts_with("xvd").then(|| name.to_owned());
    let children = |directory: &Path, wanted: &dyn Fn(&Path) -> bool| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter(|e| wanted(&e.path())).map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    Some(Disk {
        size,
        kind,
        volume_id: identified.volume_id.or_else(|| identify::volume_id(&serial)),
        ec2_name: identified.ec2_name.or_else(linked).or_else(xen),
        virtual_name: identified.virtual_name,
        partitions: children(&sys, &|path| path.join("partition").exists()),
        holders: children(&sys.join("holders"), &|_| true),
        discards: attribute("queue/discard_max_bytes").is_ok_and(|bytes| bytes != "0"),
        path,
        model,
        serial,
    })
}

/// Without the right to ask, or an answer, the disk has no name of EC2.
fn ask(path: &Path, nsid: Option<u32>) -> Identified {
    let Ok(device) = open_for_reading(path) else { return Identified::default() };
    let Ok(controller) = identify(&device, Identify::Controller) else { return Identified::default() };
    let namespace = nsid.and_then(|nsid| identify(&device, Identify::Namespace(nsid)).ok());
    identify::parse(&controller, namespace.as_deref())
}

/// Links that the udev rules of amazon-ec2-utils and of distributions make: sdf -> nvme1n1.
fn ec2_links(dev: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(dev).into_iter().flatten().flatten();
    let mut links: Vec<(String, PathBuf)> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| mapping_letters(name).is_some())
        .filter_map(|(name, path)| Some((name, fs::canonicalize(path).ok()?)))
        .collect();
    links.sort();
    links
}

/// What distinguishes names of block device mappings: "f" of sdf and xvdf, which EC2 takes for the same.
fn mapping_letters(name: &str) -> Option<&str> {
    let letters = name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd"))?;
    (!letters.is_empty() && letters.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(letters)
}

/// How a disk is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// All instance store volumes.
    InstanceStore,
    /// "vol-…"
    Volume(String),
    /// Volumes of this instance that have a tag; which these are, EC2 has to say.
    Tag { key: String, value: String },
    /// A device node, a link to one, or the name EC2 has for it.
    Device(PathBuf),
}

impl Selector {
    /// # Errors
    /// [`Kind::Usage`], saying what is allowed.
    pub fn parse(text: &str) -> Result<Selector> {
        if text == "instance-store" {
            return Ok(Selector::InstanceStore);
        }
        if let Some(id) = identify::volume_id(text) {
            return Ok(Selector::Volume(id));
        }
        if let Some((key, value)) = text.strip_prefix("tag:").and_then(|tag| tag.split_once('=')) {
            // EC2's own limits.
            if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
                let message = format!(
                    "{text:?}: a tag is tag:KEY=VALUE with a key of 1 to 128 and a value of 0 to 256 characters"
                );
                return Err(Error::new(Kind::Usage, message));
            }
            return Ok(Selector::Tag { key: key.to_owned(), value: value.to_owned() });
        }
        let name = text.bytes().all(|b| b.is_ascii_alphanumeric());
        if text.starts_with("vol-") || !(text.starts_with('/') || name && !text.is_empty()) || text == "/" {
            let message = format!(
                "{text:?} chooses no disk: give a volume id (vol- and 17 hexadecimal digits), an EC2 device name \
                 (/dev/sdf), a device or a link to it (/dev/disk/by-id/...), tag:KEY=VALUE, or instance-store"
            );
            return Err(Error::new(Kind::Usage, message));
        }
        Ok(Selector::Device(if name { Path::new("/dev").join(text) } else { text.into() }))
    }

    /// The disks it stands for; none if they are not there (yet), or EC2 would have to be asked.
    pub fn choose(&self, disks: &[Disk], roots: &Roots) -> Result<Vec<Disk>> {
        let matching = |wanted: &dyn Fn(&Disk) -> bool| disks.iter().filter(|d| wanted(d)).cloned().collect::<Vec<_>>();
        match self {
            Selector::InstanceStore => Ok(matching(&|disk| disk.kind == DiskKind::InstanceStore)),
            Selector::Volume(id) => Ok(matching(&|disk| disk.volume_id.as_ref() == Some(id))),
            Selector::Tag { .. } => Ok(Vec::new()),
            Selector::Device(path) => {
                let mut found: Vec<Disk> = device(path, disks, roots)?.into_iter().collect();
                let name = path.strip_prefix("/dev").ok().and_then(Path::to_str).unwrap_or_default();
                if let Some(letters) = mapping_letters(name) {
                    let same = |disk: &Disk| disk.ec2_name.as_deref() == Some(name);
                    let alike = |disk: &Disk| disk.ec2_name.as_deref().and_then(mapping_letters) == Some(letters);
                    let exact = matching(&same);
                    found.extend(if exact.is_empty() && found.is_empty() { matching(&alike) } else { exact });
                }
                found.sort_by(|a, b| a.path.cmp(&b.path));
                found.dedup_by(|a, b| a.path == b.path);
                if let [first, second, ..] = found.as_slice() {
                    let message =
                        format!("{} may be {first} or {second}: choose by volume id or by-id link", path.display());
                    return Err(Error::new(Kind::Usage, message));
                }
                Ok(found)
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::InstanceStore => f.write_str("instance-store"),
            Selector::Volume(id) => f.write_str(id),
            Selector::Tag { key, value } => write!(f, "tag:{key}={value}"),
            Selector::Device(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The path of a device node below the root for them.
pub fn node(path: &Path, roots: &Roots) -> PathBuf {
    path.strip_prefix("/dev").map_or_else(|_| path.to_owned(), |name| roots.dev.join(name))
}

/// The block device at a path; None if there is none, or one without a medium (as a loop device without a file).
fn device(path: &Path, disks: &[Disk], roots: &Roots) -> Result<Option<Disk>> {
    let real = fs::canonicalize(node(path, roots)).or_else(|_| fs::canonicalize(path));
    let Ok(real) = real else { return Ok(None) };
    if let Some(disk) = disks.iter().find(|disk| disk.path == real) {
        return Ok(Some(disk.clone()));
    }
    if !fs::metadata(&real).is_ok_and(|m| m.file_type().is_block_device()) {
        return Err(Error::new(Kind::Usage, format!("{} is no block device", path.display())));
    }
    let size = match open_for_reading(&real).and_then(|mut file| file.seek(SeekFrom::End(0))) {
        Ok(size) => size,
        // A node without a device behind it.
        Err(e) if is_errno(&e, &[Errno::ENXIO, Errno::ENODEV, Errno::ENOMEDIUM]) => 0,
        Err(e) => return Err(Error::io(format!("open the device {}", real.display()), e)),
    };
    let disk = Disk {
        path: real,
        size,
        kind: DiskKind::Other,
        model: String::new(),
        serial: String::new(),
        volume_id: None,
        ec2_name: None,
        virtual_name: None,
        partitions: Vec::new(),
        holders: Vec::new(),
        discards: false,
    };
    Ok((size > 0).then_some(disk))
}

/// Opens a device for reading.
pub fn open_device(path: &Path) -> Result<File> {
    open_for_reading(path).map_err(|e| Error::io(format!("open the device {}", path.display()), e))
}

/// Without waiting for a medium.
fn open_for_reading(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &Path, ec2_name: Option<&str>) -> Disk {
        Disk {
            path: path.to_owned(),
            size: 1,
            kind: DiskKind::Ebs,
            model: String::new(),
            serial: String::new(),
            volume_id: None,
            ec2_name: ec2_name.map(Into::into),
            virtual_name: None,
            partitions: Vec::new(),
            holders: Vec::new(),
            discards: false,
        }
    }

    #[test]
    fn names_of_ec2_and_of_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        let dev = dir.path().canonicalize().unwrap();
        let roots = Roots { sys: dev.clone(), dev: dev.clone() };
        let disks = [
            named(&dev.join("a"), Some("sdf")),
            named(&dev.join("b"), Some("xvdf")),
            named(&dev.join("c"), Some("xvdg")),
            named(&dev.join("sdh"), None),
            named(&dev.join("d"), Some("sdh")),
            named(&dev.join("e"), Some("sdi")),
            named(&dev.join("f"), Some("xvdi")),
        ];
        std::fs::write(dev.join("sdh"), "").unwrap();
        let chosen = |text: &str| Selector::parse(text)?.choose(&disks, &roots);
        let one = |text: &str| {
            chosen(text).unwrap().iter().map(|d| d.path.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(one("/dev/sdf"), ["a"]);
        assert_eq!(one("xvdf"), ["b"]);
        // Another name for the same mapping, where nothing has exactly this one.
        assert_eq!(one("/dev/sdg"), ["c"]);
        assert!(one("/dev/sdx").is_empty());
        // The kernel's sdh is not EC2's sdh: nobody guesses.
        let error = chosen("/dev/sdh").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("may be"), "{error}");
    }

    #[test]
    fn selectors() {
        let volume = Selector::Volume("vol-0123456789abcdef0".into());
        assert_eq!(Selector::parse("vol0123456789abcdef0").unwrap(), volume);
        assert_eq!(Selector::parse("nvme1n1").unwrap(), Selector::Device("/dev/nvme1n1".into()));
        let tag = |key: &str, value: &str| Selector::Tag { key: key.into(), value: value.into() };
        assert_eq!(Selector::parse("tag:Name=a=b").unwrap(), tag("Name", "a=b"));
        assert_eq!(Selector::parse("tag:burst:volume=").unwrap(), tag("burst:volume", ""));
        assert_eq!(Selector::parse("instance-store").unwrap(), Selector::InstanceStore);
        for bad in ["", "/", "vol-1", "a/b", "instance store", "tag:x", "tag:=x", "../x"] {
            assert_eq!(Selector::parse(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
