//! `burst run`: carries out a job, with the same outcome at every boot.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::volume::{RootArgs, prepared_json, prepared_text, tagged_volumes};
use super::{log, output, restore, signals, systemd};
use crate::error::{Error, Kind, Result};
use crate::job::{Acl, Job, Owner, Sink, WAIT_SECONDS};
use crate::restore::{Status, check_stop, status};
use crate::store::Location;
use crate::volume::content::{new_uuid, show_uuid};
use crate::volume::prepare::{State, choose, mount_chosen, names};
use crate::volume::wait::Hooks;
use crate::volume::{Disk, Prepared, Roots, Selector, Wanted, prepare};

/// Carries out the restore that a job file describes; does nothing if it is done already.
///
/// Made for boot: waits for the device, writes the file system onto it if it is blank, mounts it, restores. The file is
/// described in spec/job.md. Under systemd (Type=notify), its state is told and the unit is started when all is done.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst run /etc/burst/jobs/data.json
  burst run --json data.json | jq .state

Example of a job:
  {\"version\": 1, \"name\": \"data\", \"source\": \"s3://bucket/data.zip\", \"path\": \"/data\", \"device\": \"/dev/sdf\"}")]
pub struct RunArgs {
    /// The job, a JSON file
    job: PathBuf,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Print only what went wrong
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    roots: RootArgs,
}

pub fn run(args: RunArgs) -> Result<()> {
    let done = carry_out(&args);
    match &done {
        Ok(_) => {
            systemd::status("done");
            systemd::ready();
        }
        Err(error) => systemd::status(&error.to_string()),
    }
    let done = done?;
    if args.json { output::print(output::versioned(done)) } else { Ok(()) }
}

fn carry_out(args: &RunArgs) -> Result<Value> {
    let begun = Instant::now();
    let job = Job::read(&args.job)?;
    let owner = job.owner().map_err(|e| e.context(format_args!("the job {}", args.job.display())))?;
    let stop = signals::stop_flag()?;
    let say = |text: &str| {
        systemd::status(text);
        if !args.quiet && !args.json {
            log::say(format_args!("{}: {text}", job.name));
        }
    };
    let go_on = || {
        systemd::alive();
        check_stop(&stop)
    };
    let hooks = Hooks { go_on: &go_on, say: &say, tagged: &tagged_volumes };
    let (volume, mut report) = match &job.device {
        Some(device) => attach(&job, device, args, hooks)?,
        None => (None, None),
    };
    if report.is_none() && !is_complete(&job.path, &job.source)? {
        if job.sink == Some(Sink::Device) {
            let message = format!(
                "{} is a volume without a complete restore of {}, and sink \"device\" fills blank disks only",
                job.path.display(),
                job.source
            );
            return Err(Error::new(Kind::Incomplete, message).with_hint(
                "look at what is there; then use sink \"mount\", which keeps it, or `burst volume prepare --wipe`, which does not",
            ));
        }
        make_parents(&job.path)?;
        check_stop(&stop)?;
        say(&format!("restoring {} into {}", job.source, job.path.display()));
        report = Some(restored(&job, args, &[], Some(&job.path))?);
    }
    if let Some(owner) = owner {
        set_owner(&job.path, owner)?;
    }
    let state = if report.is_some() { "restored" } else { "nothing to do" };
    if report.is_none() {
        say(&format!("nothing to do: {} holds {}", job.path.display(), job.source));
    }
    Ok(json!({
        "job": job.name,
        "source": job.source,
        "path": job.path.to_string_lossy(),
        "state": state,
        "volume": volume.as_ref().map(prepared_json),
        "report": report,
        "seconds": begun.elapsed().as_secs_f64(),
    }))
}

/// The job's file system, mounted; and the report if making it was the restore.
fn attach(job: &Job, device: &str, args: &RunArgs, hooks: Hooks<'_>) -> Result<(Option<Prepared>, Option<Value>)> {
    let wanted = Wanted {
        selectors: vec![Selector::parse(device)?],
        wait: Duration::from_secs(job.wait_seconds.unwrap_or(WAIT_SECONDS)),
        label: job.label.clone(),
        mount: Some(job.path.clone()),
        mount_options: job.mount_options.clone(),
        wipe: Vec::new(),
        data: None,
    };
    let roots = args.roots.roots();
    let (prepared, report) = match job.fills_blank_disks() {
        false => (prepare(&wanted, &roots, hooks)?, None),
        true => fill(job, &wanted, &roots, args, hooks)?,
    };
    (hooks.say)(&prepared_text(&prepared));
    Ok((Some(prepared), report))
}

/// Writes the file system onto blank disks, if there is none yet, and mounts it.
fn fill(
    job: &Job,
    wanted: &Wanted,
    roots: &Roots,
    args: &RunArgs,
    hooks: Hooks<'_>,
) -> Result<(Prepared, Option<Value>)> {
    let chosen = choose(wanted, roots, hooks)?;
    let (uuid, report) = match &chosen.state {
        State::Found(uuid) => (*uuid, None),
        State::Blank(_) => {
            (hooks.go_on)()?;
            (hooks.say)(&format!("restoring {} onto {}", job.source, names(&chosen.disks)));
            let uuid = new_uuid()?;
            let of_disk = |disk: &Disk| [OsString::from("--device"), disk.path.clone().into()];
            let mut flags: Vec<OsString> = chosen.disks.iter().flat_map(of_disk).collect();
            flags.push(format!("--label={}", chosen.label).into());
            flags.push(format!("--uuid={}", show_uuid(&uuid)).into());
            (uuid, Some(restored(job, args, &flags, None)?))
        }
    };
    let mounted = mount_chosen(&chosen, wanted, hooks)?;
    let made = report.is_some();
    let prepared =
        Prepared { uuid: show_uuid(&uuid), label: chosen.label.clone(), disks: chosen.disks.clone(), made, mounted };
    Ok((prepared, report))
}

/// Runs `burst restore`, in this process, with what the job says.
fn restored(job: &Job, args: &RunArgs, flags: &[OsString], target: Option<&Path>) -> Result<Value> {
    let o = &job.options;
    let mut arguments = flags.to_vec();
    let mut flag = |name: &str, value: Option<String>| {
        arguments.extend(value.map(|value| OsString::from(format!("--{name}={value}"))));
    };
    flag("region", o.region.clone());
    flag("endpoint-url", o.endpoint_url.clone());
    flag("profile", o.profile.clone());
    flag("in-flight", o.in_flight.map(|n| n.to_string()));
    flag("memory", o.memory_mib.map(|n| n.to_string()));
    flag("start-jitter", o.start_jitter_seconds.map(|n| n.to_string()));
    for path in &o.paths {
        flag("path", Some(path.clone()));
    }
    if let Some(file) = &o.ca_bundle {
        arguments.extend([OsString::from("--ca-bundle"), file.into()]);
    }
    if o.no_sign_request {
        arguments.push("--no-sign-request".into());
    }
    // What is written onto a device takes them all.
    if o.acl == Acl::Warn && target.is_some() {
        arguments.push("--acl=warn".into());
    }
    if args.quiet || args.json {
        arguments.push("--quiet".into());
    }
    arguments.extend([OsString::from("--"), OsString::from(&job.source)]);
    arguments.extend(target.map(OsString::from));
    restore::perform(restore::arguments(arguments)?)
}

/// Whether this archive was restored here completely.
///
/// # Errors
/// [`Kind::TargetInUse`] if it was another one.
fn is_complete(path: &Path, source: &str) -> Result<bool> {
    // An unfinished one, `burst restore` continues or refuses.
    let Status::Complete(marker) = status(path)? else { return Ok(false) };
    let found = marker.get("archive").and_then(Value::as_str).unwrap_or("an unknown archive");
    if found == Location::parse(source.as_ref())?.to_string() {
        return Ok(true);
    }
    let message = format!("{} holds {found}, and the job wants {source}: restore into another path", path.display());
    Err(Error::new(Kind::TargetInUse, message))
}

/// The directories above the target, which `burst restore` wants to be there.
fn make_parents(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
    made.map_err(|e| Error::io(format!("create {}", parent.display()), e))
}

/// Changes nothing if it is right, so that the time of the last change tells something.
fn set_owner(path: &Path, owner: Owner) -> Result<()> {
    let what = || format!("change the owner of {}", path.display());
    let now = fs::metadata(path).map_err(|e| Error::io(what(), e))?;
    if now.uid() == owner.user.as_raw() && owner.group.is_none_or(|group| group.as_raw() == now.gid()) {
        return Ok(());
    }
    let changed = chown(path, Some(owner.user.as_raw()), owner.group.map(|g| g.as_raw()));
    changed.map_err(|e| Error::io(what(), e))
}
