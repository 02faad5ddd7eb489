//! `burst plan`: what a restore would do here, how fast and why; nothing is written.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::choices::{Row, row};
use super::log;
use super::output::{bytes, count};
use super::pipeline_args::{PipelineArgs, Tuned};
use super::s3_args::S3Args;
use super::spent;
use crate::error::{Error, Kind, Result};
use crate::restore::Archive;
use crate::store::{Location, open_source};
use crate::tuning::facts::{Depth, DeviceKind, Target};
use crate::tuning::policy::{self, Expectation, Work, expect};
use crate::tuning::{Roots, instance_types};

/// Shows what a restore would run with, why, and how long it should take; writes nothing.
///
/// The numbers for EC2 come from a table of instance types in the program, and from EC2 itself in a build with the cargo
/// feature "ec2". What EBS volumes were paid for cannot be seen
/// from inside: they are taken for plain gp3 unless --disk-mbps says more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst plan s3://bucket/usr.zip /mnt/data
  burst plan --network-gbps 1 --json usr.zip /mnt/data | jq .expected")]
pub struct PlanArgs {
    /// s3://bucket/key or a file
    source: OsString,
    /// Directory to restore into, or a blank device
    target: PathBuf,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Look at the machine whose /sys and /proc are in this directory
    #[arg(long, value_name = "DIR", hide = true)]
    machine: Option<PathBuf>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    s3: S3Args,
}

pub fn run(args: PlanArgs) -> Result<()> {
    let location = Location::parse(&args.source)?;
    if matches!(location, Location::Stdio) {
        return Err(Error::new(Kind::Usage, "standard input cannot be looked at before a restore reads it"));
    }
    let roots = args.machine.as_deref().map(Roots::below).unwrap_or_default();
    let tuned = args.pipeline.tuned_on(&roots, Depth::Full, Some(&args.target))?;
    let mut s3 = args.s3.options(&location)?;
    tuned.options(&mut s3);
    let archive = Archive::open(open_source(&location, &s3)?)?;
    let encoded = encoded(&tuned);
    let work = work(&archive, &tuned, encoded.is_ok());
    let plan = Plan { expected: expect(&tuned.tuning, &work), tuned, archive, encoded };
    let text =
        if args.json { format!("{}\n", super::output::versioned(plan.json()?)) } else { plan.text(&args.target) };
    match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
        // The reader had enough.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("write to standard output", e)),
        _ => Ok(()),
    }
}

struct Plan {
    tuned: Tuned,
    archive: Archive,
    /// Whether compressed data can go to the disk as it is, else why not.
    encoded: Result<(), String>,
    expected: Expectation,
}

fn encoded(tuned: &Tuned) -> Result<(), String> {
    match tuned.facts.target.as_ref().map(|target| target.file_system.as_deref()) {
        // What is put on a blank device is a BTRFS, written from here.
        Some(None) => Ok(()),
        Some(Some("btrfs")) => tuned.facts.kernel.encoded_writes().map_err(str::to_owned),
        Some(Some(other)) => Err(format!("the target is on {other}, not on BTRFS")),
        None => Err("the target's file system is not known".into()),
    }
}

fn work(archive: &Archive, tuned: &Tuned, encoded: bool) -> Work {
    let trailer = &archive.index.trailer;
    Work {
        archive_bytes: trailer.data_end,
        content_bytes: trailer.content_bytes,
        stored_bytes: if encoded { trailer.data_end } else { trailer.content_bytes },
        entries: trailer.entries,
        device: tuned.facts.target.as_ref().is_some_and(|target| target.file_system.is_none()),
    }
}

impl Plan {
    fn rows(&self) -> Vec<Row> {
        let mut rows = self.tuned.rows();
        let upload = policy::upload_part_mib(self.archive.source.len());
        rows.extend(upload.ok().map(|c| row("upload_part_mib", " MiB", &c)));
        rows.extend(log::chosen().rows());
        rows
    }

    fn json(&self) -> Result<Value> {
        let (facts, trailer) = (&self.tuned.facts, &self.archive.index.trailer);
        let choices: serde_json::Map<String, Value> = self
            .rows()
            .into_iter()
            .map(|(name, _, value, from, why)| {
                (name.to_owned(), json!({ "value": value, "from": from, "reason": why }))
            })
            .collect();
        let instance = facts.instance.as_ref().map(|i| {
            json!({
                "type": i.instance_type, "told_by": i.told_by, "id": i.id,
                "region": i.region, "zone": i.zone, "account": i.account,
            })
        });
        let target = facts.target.as_ref().map(|target| {
            json!({
                "file_system": target.file_system,
                "mounted_at": target.mounted_at.as_ref().map(|path| path.to_string_lossy()),
                "devices": target.devices.iter().map(device_json).collect::<Vec<_>>(),
            })
        });
        Ok(json!({
            "source": self.archive.source.name(),
            "archive": {
                "bytes": self.archive.source.len(), "data_bytes": trailer.data_end, "parts": trailer.parts,
                "content_bytes": trailer.content_bytes, "entries": trailer.entries, "directories": trailer.directories,
            },
            "instance": instance,
            "cpus": { "usable": facts.cpus.usable, "online": facts.cpus.online, "quota": facts.cpus.quota },
            "interfaces": facts.interfaces.iter().map(interface_json).collect::<Vec<_>>(),
            "memory": {
                "total": facts.memory.total, "available": facts.memory.available, "limit": facts.memory.limit,
            },
            "kernel": facts.kernel.release,
            "target": target,
            "encoded_writes": self.encoded.is_ok(),
            "not_encoded": self.encoded.as_ref().err(),
            "choices": choices,
            "expected": spent::json(&self.expected),
            "notes": self.notes(),
            "table": instance_types::source(),
        }))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.tuned.facts.notes.clone();
        let name = self.tuned.facts.instance.as_ref().and_then(|i| i.instance_type.as_deref());
        let described = self.tuned.facts.described.is_some();
        if let Some(name) = name.filter(|name| !described && instance_types::find(name).is_none()) {
            notes.push(format!(
                "nothing is known of instance type {name}: defaults are used (--network-gbps tells more)"
            ));
        }
        notes.extend(policy::advice(&self.tuned.facts, &self.tuned.tuning));
        notes
    }

    fn text(&self, target: &Path) -> String {
        let (facts, trailer) = (&self.tuned.facts, &self.archive.index.trailer);
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<9}{text}");
        };
        line(
            "archive",
            format!(
                "{}: {}, {} of content in {} ({})",
                self.archive.source.name(),
                count(trailer.entries, "entry"),
                bytes(trailer.content_bytes),
                bytes(self.archive.source.len()),
                count(trailer.parts, "part"),
            ),
        );
        line("instance", instance(&self.tuned));
        line(
            "machine",
            format!(
                "{} of {} CPUs, {} of {} memory available, Linux {}",
                facts.cpus.usable,
                facts.cpus.online,
                bytes(facts.memory.available),
                bytes(facts.memory.total),
                facts.kernel.release,
            ),
        );
        line("target", format!("{}: {}", target.display(), place(facts.target.as_ref())));
        line(
            "writes",
            match &self.encoded {
                Ok(()) => "compressed data goes to the disk as it is".to_owned(),
                Err(why) => format!("everything is decompressed: {why}"),
            },
        );
        line("", String::new());
        for (name, value, _, from, why) in self.rows() {
            line("", format!("{name:<17}{value:<13} {from:<12}{why}"));
        }
        line("", String::new());
        line("expected", expected(&self.expected));
        for note in self.notes() {
            line("note", note);
        }
        // Columns of empty lines and names leave spaces at the end of a line.
        out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

fn instance(tuned: &Tuned) -> String {
    let Some(it) = &tuned.facts.instance else { return "none that can be seen".into() };
    let mut text = it.instance_type.clone().unwrap_or_else(|| "of unknown type".into());
    for more in [&it.id, &it.zone].into_iter().flatten() {
        text += &format!(", {more}");
    }
    format!("{text} (told by: {})", it.told_by)
}

fn place(target: Option<&Target>) -> String {
    let Some(target) = target else { return "not found".into() };
    let devices: Vec<String> = target
        .devices
        .iter()
        .map(|d| match &d.kind {
            DeviceKind::Ebs(Some(id)) => format!("{} (EBS {id})", d.name),
            DeviceKind::Ebs(None) => format!("{} (EBS)", d.name),
            DeviceKind::InstanceStore => format!("{} (instance store)", d.name),
            DeviceKind::Other(Some(model)) => format!("{} ({model})", d.name),
            DeviceKind::Other(None) => d.name.clone(),
        })
        .collect();
    let on = if devices.is_empty() { String::new() } else { format!(" on {}", devices.join(", ")) };
    match (&target.file_system, &target.mounted_at) {
        (Some(file_system), Some(at)) => format!("{file_system} at {}{on}", at.display()),
        (None, None) => format!("a device{on}"),
        _ => "file system not known".into(),
    }
}

fn interface_json(interface: &crate::tuning::facts::Interface) -> Value {
    json!({ "name": interface.name, "mac": interface.mac, "card": interface.card })
}

fn device_json(device: &crate::tuning::facts::Device) -> Value {
    let (kind, detail) = match &device.kind {
        DeviceKind::Ebs(id) => ("ebs", id.clone()),
        DeviceKind::InstanceStore => ("instance-store", None),
        DeviceKind::Other(model) => ("other", model.clone()),
    };
    let (volume, model) = if kind == "ebs" { (detail, None) } else { (None, detail) };
    json!({ "name": device.name, "kind": kind, "volume": volume, "model": model, "rotational": device.rotational })
}

fn expected(e: &Expectation) -> String {
    let part = |name: &str, seconds: Option<f64>| match seconds {
        Some(s) => format!("{name} {s:.1} s"),
        None => format!("{name} not known"),
    };
    let parts =
        [part("network", e.network_seconds), part("disk", e.disk_seconds), part("CPU about", Some(e.cpu_seconds))]
            .join(", ");
    match e.bound {
        Some(_) => format!("{:.1} s, bound: {} ({parts})", e.seconds, spent::bound(e)),
        None => format!("not known without the speed of the network or the disk ({parts})"),
    }
}
