//! `burst restore`: flags, and what is printed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, FromArgMatches};

use super::image_args::ImageArgs;
use super::log;
use super::metrics::MetricsArgs;
use super::output::{self, bytes, count, rate, versioned};
use super::pipeline_args::PipelineArgs;
use super::s3_args::S3Args;
use super::spent::Took;
use super::start_jitter;
use super::timeline::{Caption, Picture, Recorder};
use super::units;
use super::watch::{Watch, WatchArgs};
use crate::error::{Error, Kind, Result};
use crate::job::Acl;
use crate::restore::{Archive, Destination, Report, RestoreOptions, image, restore, restore_stream};
use crate::store::{Location, StdinSource, open_source, open_source_or_spool, without_secrets};
use crate::volume::mount::mount;

/// Restores an archive into a directory.
///
/// TARGET must be absent or empty; or it holds an unfinished restore of the same archive, which is continued, or a
/// complete one, which is left as it is (`burst status` tells). On BTRFS, as root, compressed data goes to the disk as it is; elsewhere it is
/// decompressed. A part of the archive is written only after its checksum was found right; from standard input the
/// checksums come last, so a damaged archive is reported at the end.
///
/// With --device, a blank block device becomes a BTRFS file system that holds the archive, and is then mounted at
/// TARGET if one is given. That is many times faster than creating the files in a mounted file system. The file
/// system exists only when all of it is on the disk.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst restore s3://bucket/usr.zip /mnt/data
  burst restore 's3://bucket/usr.zip?versionId=abc' /mnt/data
  burst restore --path share/doc usr.zip /mnt/doc
  burst restore --timeline run.html s3://bucket/usr.zip /mnt/data
  burst restore --metrics emf --metrics-to /var/log/burst-metrics.json s3://bucket/usr.zip /mnt/data
  ssh host cat usr.zip | burst restore - /mnt/data
  burst restore --device /dev/nvme1n1 s3://bucket/usr.zip
  burst restore --device /dev/nvme1n1 --label data --mount-options noatime s3://bucket/usr.zip /mnt/data
  burst restore --device /dev/nvme1n1 --device /dev/nvme2n1 s3://bucket/usr.zip /mnt/scratch")]
pub struct RestoreArgs {
    /// s3://bucket/key, a file, or - for standard input
    source: OsString,
    /// Directory to restore into; it is created if it is absent
    #[arg(required_unless_present = "device")]
    target: Option<PathBuf>,
    /// Make a file system on this blank block device; TARGET is where to mount it. Repeated: one file system on all
    #[arg(long, value_name = "DEV", conflicts_with_all = ["path", "into_existing", "no_encoded_writes"])]
    device: Vec<PathBuf>,
    /// Options of the mount, as mount -o takes them
    #[arg(long, value_name = "OPTIONS", requires = "device", requires = "target")]
    mount_options: Option<String>,
    #[command(flatten)]
    image: ImageArgs,
    /// Restore only this path of the archive and what is below it; may be repeated
    #[arg(long, value_name = "PATH")]
    path: Vec<OsString>,
    /// Merge into a target that is not empty: nothing is deleted, only regular files and links are replaced
    #[arg(long)]
    into_existing: bool,
    /// Make device nodes also if SOURCE is a file that does not belong to root
    #[arg(long)]
    allow_devices: bool,
    /// Decompress everything, also where BTRFS would take it compressed
    #[arg(long)]
    no_encoded_writes: bool,
    /// Empty a target that holds an unfinished restore, and begin anew
    #[arg(long, conflicts_with = "device")]
    restart: bool,
    /// Time between two checkpoints: so much has to be done again after a crash
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::positive_duration, conflicts_with = "device")]
    checkpoint: Duration,
    /// Wait a random time, up to this long, before the first request
    ///
    /// For fleets: instances that boot together do not ask together. The time is another one at each run.
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "0s")]
    start_jitter: Duration,
    /// ACLs that the file system of the target refuses: an error, or a warning with their number
    #[arg(long, value_name = "HOW", value_enum, default_value = "require", conflicts_with = "device")]
    acl: Acl,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Draw what happened when into this file (.svg or .html), also if the run fails
    #[arg(long, value_name = "FILE", value_parser = Picture::parse)]
    timeline: Option<Picture>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    s3: S3Args,
}

/// The command with these arguments, for a caller that has them as values.
pub fn arguments(arguments: Vec<OsString>) -> Result<RestoreArgs> {
    let command = RestoreArgs::augment_args(clap::Command::new("restore").no_binary_name(true));
    let matches = command.try_get_matches_from(arguments);
    matches.and_then(|matches| RestoreArgs::from_arg_matches(&matches)).map_err(|e| {
        // Its other lines are about a command line, which nobody wrote here.
        let text = e.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Error::new(Kind::Usage, first).with_source(e)
    })
}

pub fn run(args: RestoreArgs) -> Result<()> {
    let print = args.json;
    let report = perform(args)?;
    if print { output::print(versioned(report)) } else { Ok(()) }
}

/// Restores, prints a summary unless that is unwanted, and gives the report as other programs read it.
pub fn perform(args: RestoreArgs) -> Result<serde_json::Value> {
    let begun = Instant::now();
    let picture = args.timeline.clone();
    if let Some(picture) = &picture {
        picture.check()?;
    }
    let mut watch = args.watch.begin("restoring", args.json, picture.is_some().then(|| Recorder::new(begun)));
    let source = without_secrets(&args.source.to_string_lossy()).into_owned();
    let onto = args.target.as_ref().or(args.device.first()).map(|path| path.to_string_lossy().into_owned());
    let onto = onto.unwrap_or_default();
    let metrics = args.metrics.clone();
    let done = match args.device.is_empty() {
        true => perform_mounted(args, &mut watch),
        false => perform_device(args, &mut watch),
    };
    watch.end();
    let drawn = match (picture, watch.recorder()) {
        (Some(picture), Some(recorder)) => recorder.write(&picture, &caption(&source, &onto, begun, &done)),
        _ => Ok(()),
    };
    let told = metrics.write(&source, &onto, begun, &done);
    let done = done?;
    drawn.and(told).map_err(|e| e.context(format_args!("{onto} is complete, but")))?;
    Ok(done)
}

/// What the picture of a run says.
fn caption(source: &str, onto: &str, begun: Instant, done: &Result<serde_json::Value>) -> Caption<'static> {
    let mut figures = vec![("time", format!("{:.2} s", begun.elapsed().as_secs_f64()))];
    if let Ok(report) = done {
        let number = |name: &str| report[name].as_u64().unwrap_or_default();
        let time = begun.elapsed();
        figures.extend([
            ("content", bytes(number("content_bytes"))),
            ("speed", rate(number("content_bytes"), time)),
            ("from the archive", bytes(number("archive_bytes"))),
            ("network", format!("{:.2} Gbit/s", number("archive_bytes") as f64 * 8e-9 / time.as_secs_f64().max(1e-9))),
            ("parts", number("parts").to_string()),
            ("files", number("files").to_string()),
            ("repeated requests", number("repeated_requests").to_string()),
        ]);
    }
    Caption {
        title: format!("burst restore {source} → {onto}"),
        figures,
        failure: done.as_ref().err().map(|e| format!("failed: {e}")),
    }
}

fn perform_mounted(args: RestoreArgs, watch: &mut Watch) -> Result<serde_json::Value> {
    if let Some(flag) = args.image.given() {
        return Err(Error::new(Kind::Usage, format!("{flag} goes with --device")));
    }
    let Some(target) = args.target else { return Err(Error::new(Kind::Usage, "TARGET is missing")) };
    let begun = Instant::now();
    let location = Location::parse(&args.source)?;
    let mut s3 = args.s3.options(&location)?;
    s3.events = watch.events.clone();
    let tuned = args.pipeline.tuned(Some(&target))?;
    let options = RestoreOptions {
        pipeline: tuned.options(&mut s3),
        into_existing: args.into_existing,
        paths: args.path.into_iter().map(OsStringExt::into_vec).collect(),
        no_encoded_writes: args.no_encoded_writes,
        restart: args.restart,
        checkpoint: Some(args.checkpoint),
        warn_of_acls: args.acl == Acl::Warn,
    };
    let stop = args.pipeline.stop_flag()?;
    s3.stop = stop.clone();
    start_jitter::wait(args.start_jitter, args.watch.quiet, &stop)?;
    // Files get the mode they are created with, whatever this process was started with.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let report = if matches!(location, Location::Stdio) {
        restore_stream(&mut StdinSource::open()?, &target, &options, &watch.events, &stop)?
    } else {
        let mut archive = Archive::open(open_source(&location, &s3)?)?;
        archive.allows_devices = args.allow_devices;
        watch.archive(&archive);
        restore(&archive, &target, &options, &watch.events, &stop)?
    };
    watch.end();
    let repeated = s3.repeated.load(Ordering::Relaxed);
    let took = Took::of(&tuned, &report, begun, false);
    if report.was_complete && !args.json && !args.watch.quiet {
        log::say(format_args!("{} is complete already: nothing to do", target.display()));
    } else if !args.json && !args.watch.quiet {
        summary(&report, &target, begun);
        took.say();
        say_repeated(repeated);
    }
    let mut value = json(&report, &target, &location, begun, repeated);
    took.add_to(&mut value);
    Ok(value)
}

fn perform_device(args: RestoreArgs, watch: &mut Watch) -> Result<serde_json::Value> {
    let begun = Instant::now();
    let devices = args.device;
    let location = Location::parse(&args.source)?;
    let mut s3 = args.s3.options(&location)?;
    s3.events = watch.events.clone();
    let tuned = args.pipeline.tuned(devices.first().map(PathBuf::as_path))?;
    let options = args.image.options(tuned.options(&mut s3));
    let stop = args.pipeline.stop_flag()?;
    s3.stop = stop.clone();
    start_jitter::wait(args.start_jitter, args.watch.quiet, &stop)?;
    let mut archive = Archive::open(open_source_or_spool(&location, &s3)?)?;
    archive.allows_devices = args.allow_devices;
    watch.archive(&archive);
    let report = image(&archive, Destination::Devices(&devices), &options, &watch.events, &stop)?;
    watch.end();
    if let Some(target) = &args.target {
        mount(
            &devices.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
            target,
            args.mount_options.as_deref().unwrap_or_default(),
        )?;
    }
    let repeated = s3.repeated.load(Ordering::Relaxed);
    let took = Took::of(&tuned, &report.restored, begun, true);
    if !args.json && !args.watch.quiet {
        super::image_args::summary(&report, &devices, begun, repeated, Some(&took));
    }
    let mut value = super::image_args::json(&report, &devices, &location, begun, repeated);
    took.add_to(&mut value);
    Ok(value)
}

/// What the S3 client had to send again.
pub fn say_repeated(repeated: u64) {
    if repeated > 0 {
        log::notice(format_args!("{} failed and had to be repeated", count(repeated, "request")));
    }
}

/// The report as other programs read it.
pub fn json(report: &Report, target: &Path, source: &Location, begun: Instant, repeated: u64) -> serde_json::Value {
    serde_json::json!({
        "source": source.to_string(),
        "target": target.to_string_lossy(),
        "complete": true,
        "was_complete": report.was_complete,
        "continued": report.continued,
        "parts_there": report.fetched.skipped,
        "seconds": begun.elapsed().as_secs_f64(),
        "seconds_to_first_part": report.fetched.first_part.as_secs_f64(),
        "seconds_to_directory_read": report.fetched.directory.as_secs_f64(),
        "seconds_workers_idle": report.fetched.workers_idle.as_secs_f64(),
        "seconds_parts_waited": report.fetched.parts_waited.as_secs_f64(),
        "seconds_waited_for_files": report.waited_for_files.as_secs_f64(),
        "parts": report.fetched.parts,
        "archive_bytes": report.fetched.bytes,
        "repeated_requests": repeated,
        "files": report.files,
        "directories": report.directories,
        "symlinks": report.symlinks,
        "hard_links": report.hard_links,
        "nodes": report.nodes,
        "content_bytes": report.content_bytes,
        "encoded_frames": report.encoded_frames,
        "encoded_bytes": report.encoded_bytes,
        "decoded_frames": report.decoded_frames,
        "refused_frames": report.refused_frames,
        "not_encoded": report.not_encoded,
        "notices": report.notices,
    })
}

/// The first line of a summary: what was `done` with how much, `to` a target, and how fast.
pub fn headline(done: &str, report: &Report, to: std::fmt::Arguments<'_>, begun: Instant) {
    let time = begun.elapsed();
    log::say(format_args!(
        "{done} {}, {}, {} {to}: {} of content from {} in {} in {:.2} s ({})",
        count(report.files, "file"),
        count(report.directories, "directory"),
        count(report.symlinks + report.hard_links, "link"),
        bytes(report.content_bytes),
        bytes(report.fetched.bytes),
        count(report.fetched.parts, "part"),
        time.as_secs_f64(),
        rate(report.content_bytes, time),
    ));
}

fn summary(report: &Report, target: &Path, begun: Instant) {
    headline("restored", report, format_args!("into {}", target.display()), begun);
    if report.continued {
        let all = report.fetched.skipped + report.fetched.parts;
        log::say(format_args!("continued: {} of {} were there", report.fetched.skipped, count(all, "part")));
    }
    match &report.not_encoded {
        Some(reason) => log::notice(format_args!("everything was decompressed: {reason}")),
        None => log::say(format_args!(
            "{} went to the disk as they are ({}), {} were decompressed",
            count(report.encoded_frames, "frame"),
            bytes(report.encoded_bytes),
            report.decoded_frames,
        )),
    }
    for notice in &report.notices {
        log::notice(notice);
    }
}
