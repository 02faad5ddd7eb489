//! `burst restore`: flags, and what is printed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;

use super::output::{bytes, count, progress_bar, rate};
use super::pipeline_args::PipelineArgs;
use super::s3_args::S3Args;
use crate::error::Result;
use crate::restore::{Archive, Report, RestoreOptions, restore, restore_stream};
use crate::store::{Location, open_source};

/// Restores an archive into a directory.
///
/// TARGET must be absent or empty. On BTRFS, as root, compressed data goes to the disk as it is; elsewhere it is
/// decompressed. A part of the archive is written only after its checksum was found right; from standard input the
/// checksums come last, so a damaged archive is reported at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst restore s3://bucket/usr.zip /mnt/data
  burst restore 's3://bucket/usr.zip?versionId=abc' /mnt/data
  burst restore --path share/doc usr.zip /mnt/doc
  ssh host cat usr.zip | burst restore - /mnt/data")]
pub struct RestoreArgs {
    /// s3://bucket/key, a file, or - for standard input
    source: OsString,
    /// Directory to restore into; it is created if it is absent
    target: PathBuf,
    /// Restore only this path of the archive and what is below it; may be repeated
    #[arg(long, value_name = "PATH")]
    path: Vec<OsString>,
    /// Merge into a target that is not empty: nothing is deleted, only regular files and links are replaced
    #[arg(long)]
    into_existing: bool,
    /// Decompress everything, also where BTRFS would take it compressed
    #[arg(long)]
    no_encoded_writes: bool,
    /// Print the report as one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    s3: S3Args,
}

pub fn run(args: RestoreArgs) -> Result<()> {
    let begun = Instant::now();
    let location = Location::parse(&args.source)?;
    let mut s3 = args.s3.options(&location)?;
    let options = RestoreOptions {
        pipeline: args.pipeline.options(&mut s3)?,
        into_existing: args.into_existing,
        paths: args.path.into_iter().map(OsStringExt::into_vec).collect(),
        no_encoded_writes: args.no_encoded_writes,
    };
    let stop = args.pipeline.stop_flag()?;
    // Files get the mode they are created with, whatever this process was started with.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let report = if matches!(location, Location::Stdio) {
        let bar = progress_bar(None, args.quiet);
        restore_stream(&mut std::io::stdin().lock(), &args.target, &options, &|n| bar.inc(n), &stop)?
    } else {
        let archive = Archive::open(open_source(&location, &s3)?)?;
        let bar = progress_bar(Some(archive.index.trailer.data_end), args.quiet);
        restore(&archive, &args.target, &options, &|n| bar.inc(n), &stop)?
    };
    let repeated = s3.repeated.load(Ordering::Relaxed);
    if args.json {
        println!("{}", json(&report, &args.target, &location, begun, repeated));
    } else if !args.quiet {
        summary(&report, &args.target, begun);
        say_repeated(repeated);
    }
    Ok(())
}

/// What the S3 client had to send again.
pub fn say_repeated(repeated: u64) {
    if repeated > 0 {
        eprintln!("notice: {} failed and had to be repeated", count(repeated, "request"));
    }
}

fn json(report: &Report, target: &Path, source: &Location, begun: Instant, repeated: u64) -> serde_json::Value {
    serde_json::json!({
        "source": source.to_string(),
        "target": target.to_string_lossy(),
        "complete": true,
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

fn summary(report: &Report, target: &Path, begun: Instant) {
    let time = begun.elapsed();
    let links = report.symlinks + report.hard_links;
    eprintln!(
        "restored {}, {}, {} into {}: {} of content from {} in {} in {:.2} s ({})",
        count(report.files, "file"),
        count(report.directories, "directory"),
        count(links, "link"),
        target.display(),
        bytes(report.content_bytes),
        bytes(report.fetched.bytes),
        count(report.fetched.parts, "part"),
        time.as_secs_f64(),
        rate(report.content_bytes, time),
    );
    match &report.not_encoded {
        Some(reason) => eprintln!("notice: everything was decompressed: {reason}"),
        None => eprintln!(
            "{} went to the disk as they are ({}), {} were decompressed",
            count(report.encoded_frames, "frame"),
            bytes(report.encoded_bytes),
            report.decoded_frames,
        ),
    }
    for notice in &report.notices {
        eprintln!("notice: {notice}");
    }
}
