//! `burst volume`: disks, and file systems on those that are blank.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::image_args::DataArg;
use super::output::{bytes, print, versioned};
use super::{log, signals, units};
use crate::ec2::{api, imds};
use crate::error::{Error, Kind, Result};
use crate::restore::check_stop;
use crate::volume::content::show_uuid;
use crate::volume::mount::mounted_at;
use crate::volume::prepare::{in_use, look, mount_only};
use crate::volume::wait::Hooks;
use crate::volume::{Content, Data, Disk, Prepared, Roots, Selector, Wanted, disks, prepare};

/// Shows disks, makes file systems on blank ones, and mounts them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst volume list
  burst volume prepare vol-0123456789abcdef0 --wait 5m --mount /data
  burst volume status /data")]
pub struct VolumeArgs {
    #[command(subcommand)]
    command: VolumeCommand,
}

#[derive(Debug, Subcommand)]
enum VolumeCommand {
    List(ListArgs),
    Prepare(PrepareArgs),
    Mount(MountArgs),
    Status(StatusArgs),
}

/// Where the kernel shows its devices; tests have their own.
#[derive(Debug, Args)]
pub struct RootArgs {
    #[arg(long, hide = true, value_name = "DIR", default_value = "/sys")]
    sysfs: PathBuf,
    #[arg(long, hide = true, value_name = "DIR", default_value = "/dev")]
    devices: PathBuf,
}

impl RootArgs {
    pub fn roots(&self) -> Roots {
        Roots { sys: self.sysfs.clone(), dev: self.devices.clone() }
    }
}

/// Lists the disks: size, kind, volume id or serial number, EC2's name, and what they hold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst volume list
  burst volume list --json | jq -r '.[] | select(.blank) | .path'")]
struct ListArgs {
    /// Print the result as JSON on standard output
    ///
    /// One array of all disks.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    roots: RootArgs,
}

/// What both commands that mount have in common.
#[derive(Debug, Args)]
struct WhichArgs {
    /// vol-..., an EC2 device name (/dev/sdf), a device or a link to it, tag:KEY=VALUE (all volumes of this instance that
    /// have this tag), or instance-store (all such disks)
    #[arg(required = true, value_name = "SELECTOR", value_parser = |text: &str| Selector::parse(text))]
    selectors: Vec<Selector>,
    /// Wait so long until the disks are attached: 30, 30s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "0")]
    wait: Duration,
    /// Label of the file system, at most 255 bytes
    ///
    /// It is found again by it. By default it is made of the mount point: /srv/data is srv-data.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// Options of the mount, as mount -o takes them
    ///
    /// By default noatime, and discard=async where the disks discard.
    #[arg(long, value_name = "OPTIONS", requires = "mount")]
    mount_options: Option<String>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    roots: RootArgs,
}

/// Makes a BTRFS file system on blank disks; one that is there already is only mounted.
///
/// Several disks become one file system. Disks that hold anything else, or are in use, are refused and stay as they
/// are. The same command may run at every boot: instance store that came back empty is prepared again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst volume prepare vol-0123456789abcdef0 --wait 5m --mount /data
  burst volume prepare instance-store --mount /scratch
  burst volume prepare tag:Name=data --wait 5m --mount /data    # built with feature ec2
  burst volume prepare /dev/sdf --label data --mount /srv/data --mount-options noatime,compress=zstd:1")]
struct PrepareArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Where to mount it; the directory is made if it is absent
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    /// Write over this disk whatever it holds, unless it is the volume that is wanted: its volume id, serial number
    /// or path; may be repeated
    #[arg(long, value_name = "ID")]
    wipe: Vec<String>,
    /// How content lies on the devices [default: single on one, raid0 on several]
    #[arg(long)]
    data: Option<DataArg>,
}

/// Mounts a volume that `burst volume prepare` made; never makes one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst volume mount vol-0123456789abcdef0 --wait 5m --mount /data
  burst volume mount /dev/sdf --mount /data --mount-options noatime")]
struct MountArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Where to mount it; the directory is made if it is absent
    #[arg(long, value_name = "PATH", required = true)]
    mount: Option<PathBuf>,
}

/// Says what is mounted at a path. Exit code 0: a volume of BURST; 10: nothing, or something else.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst volume status /data
  burst volume status --json /data | jq .bytes_free")]
struct StatusArgs {
    /// The mount point
    path: PathBuf,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    roots: RootArgs,
}

pub fn run(args: VolumeArgs) -> Result<()> {
    match args.command {
        VolumeCommand::List(args) => list(&args),
        VolumeCommand::Status(args) => status(&args),
        VolumeCommand::Mount(MountArgs { which, mount }) => mounting(which, mount, Vec::new(), None, false),
        VolumeCommand::Prepare(PrepareArgs { which, mount, wipe, data }) => {
            let data = data.map(|data| match data {
                DataArg::Raid0 => Data::Raid0,
                DataArg::Single => Data::Single,
            });
            mounting(which, mount, wipe, data, true)
        }
    }
}

fn mounting(args: WhichArgs, mount: Option<PathBuf>, wipe: Vec<String>, data: Option<Data>, make: bool) -> Result<()> {
    let WhichArgs { selectors, wait, label, mount_options, json, roots } = args;
    let wanted = Wanted { selectors, wait, label, mount, mount_options, wipe, data };
    let stop = signals::stop_flag()?;
    let hooks = Hooks { go_on: &|| check_stop(&stop), say: &|text| log::say(text), tagged: &tagged_volumes };
    let work = if make { prepare } else { mount_only };
    let prepared = work(&wanted, &roots.roots(), hooks)?;
    if json {
        print(versioned(prepared_json(&prepared)))?;
    } else {
        log::say(prepared_text(&prepared));
    }
    Ok(())
}

/// Ids of the volumes of this instance that have a tag.
pub fn tagged_volumes(key: &str, value: &str) -> Result<Vec<String>> {
    let error = |kind, why: String| {
        Error::new(kind, format!("cannot find out which volumes have tag:{key}={value}: {why}"))
            .with_hint("allow ec2:DescribeVolumes and the metadata service, or choose by volume id or device name")
    };
    // Before anything is asked that takes time.
    if cfg!(not(feature = "ec2")) {
        return Err(error(Kind::Unsupported, api::Trouble::NotBuilt.to_string()));
    }
    let service = imds::Service::from_environment();
    let this = service.identity().map_err(|e| {
        error(Kind::Unavailable, format!("the instance metadata service, which tells the instance id: {e}"))
    })?;
    api::tagged_volumes(&this.instance_id, &this.region, key, value)
        .map_err(|e| error(e.kind(), format!("ec2:DescribeVolumes: {e}")))
}

/// What was done, as other programs read it.
pub fn prepared_json(prepared: &Prepared) -> Value {
    let mounted = prepared.mounted.as_ref();
    json!({
        "label": prepared.label,
        "uuid": prepared.uuid,
        "disks": prepared.disks.iter().map(disk_json).collect::<Vec<_>>(),
        "made": prepared.made,
        "mount": mounted.map(|m| m.at.to_string_lossy()),
        "mount_options": mounted.map(|m| &m.options),
        "was_mounted": mounted.is_some_and(|m| m.already),
    })
}

/// The same for a person.
pub fn prepared_text(prepared: &Prepared) -> String {
    let disks: Vec<String> = prepared.disks.iter().map(Disk::to_string).collect();
    let made = if prepared.made { "made" } else { "found" };
    let mounted = prepared.mounted.as_ref().map_or_else(String::new, |mounted| {
        let how = if mounted.already { "mounted before" } else { "mounted" };
        format!(", {how} at {} ({})", mounted.at.display(), mounted.options)
    });
    format!("{made} the volume {:?} on {}{mounted}", prepared.label, disks.join(", "))
}

fn disk_json(disk: &Disk) -> Value {
    json!({
        "device": disk.path.to_string_lossy(),
        "bytes": disk.size,
        "kind": disk.kind.to_string(),
        "model": disk.model,
        "serial": disk.serial,
        "volume_id": disk.volume_id,
        "ec2_name": disk.ec2_name.as_ref().map(|name| format!("/dev/{name}")),
        "virtual_name": disk.virtual_name,
    })
}

fn list(args: &ListArgs) -> Result<()> {
    let found = disks(&args.roots.roots())?;
    let states: Vec<(Option<String>, Result<Content>)> = found.iter().map(|disk| (in_use(disk), look(disk))).collect();
    if args.json {
        let all = found.iter().zip(&states).map(|(disk, (used, content))| {
            let mut value = disk_json(disk);
            value["in_use"] = used.clone().into();
            value["partitions"] = disk.partitions.clone().into();
            value["blank"] = content.as_ref().ok().map(|content| *content == Content::Blank).into();
            value["holds"] = content.as_ref().ok().map(Content::to_string).into();
            value
        });
        return print(Value::Array(all.collect()));
    }
    let mut rows = vec![["DEVICE", "SIZE", "KIND", "ID", "EC2 NAME", "STATE"].map(String::from)];
    for (disk, (used, content)) in found.iter().zip(&states) {
        let state = match (used, content) {
            (Some(used), Ok(content)) => format!("{content}; {used}"),
            (Some(used), Err(_)) => used.clone(),
            (None, Ok(content)) => content.to_string(),
            (None, Err(error)) if error.kind() == Kind::Denied => "unknown (access denied; root can tell)".into(),
            (None, Err(error)) => error.to_string(),
        };
        let ec2 = match (&disk.ec2_name, &disk.virtual_name) {
            (Some(name), _) => format!("/dev/{name}"),
            (None, Some(name)) => name.clone(),
            _ => "-".into(),
        };
        let id = disk.volume_id.clone().unwrap_or_else(|| disk.serial.clone());
        let id = if id.is_empty() { "-".into() } else { id };
        rows.push([disk.path.display().to_string(), bytes(disk.size), disk.kind.to_string(), id, ec2, state]);
    }
    print(table(&rows).trim_end())
}

fn table(rows: &[[String; 6]]) -> String {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn status(args: &StatusArgs) -> Result<()> {
    let shown = args.path.display();
    let nothing = |why: String| {
        Error::new(Kind::NotFound, why)
            .with_hint("`findmnt` tells what is mounted, `burst volume list` which disks there are")
    };
    let mount = mounted_at(&args.path)?.ok_or_else(|| nothing(format!("{shown} is no mount point")))?;
    let other = || nothing(format!("{shown} shows {} ({}), no volume of BURST", mount.source.display(), mount.kind));
    if mount.kind != "btrfs" {
        return Err(other());
    }
    let roots = args.roots.roots();
    let source = Selector::Device(mount.source.clone()).choose(&disks(&roots)?, &roots)?;
    let disk = source.first().ok_or_else(other)?;
    let Content::Own(own) = look(disk)? else { return Err(other()) };
    let uuid = show_uuid(&own.uuid);
    let space = nix::sys::statvfs::statvfs(&args.path).map_err(|e| Error::io(format!("look at {shown}"), e.into()))?;
    let unit = space.fragment_size();
    let (size, free) = (space.blocks() * unit, space.blocks_available() * unit);
    if args.json {
        let value = json!({
            "mount": args.path.to_string_lossy(), "label": own.label, "uuid": uuid, "disks": own.disks,
            "mount_options": mount.options, "bytes": size, "bytes_free": free,
        });
        print(versioned(value))
    } else {
        let disks = super::output::count(own.disks, "disk");
        print(format_args!(
            "{shown}: volume {:?} on {disks}, {} of {} free ({})",
            own.label,
            bytes(free),
            bytes(size),
            mount.options
        ))
    }
}
