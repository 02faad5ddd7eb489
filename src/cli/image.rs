//! `burst image`: an archive to an image file of a file system.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;

use super::image_args::{ImageArgs, json, summary};
use super::output::{print, versioned};
use super::pipeline_args::PipelineArgs;
use super::s3_args::S3Args;
use super::units;
use super::watch::WatchArgs;
use crate::error::{Error, Kind, Result};
use crate::restore::{Archive, Destination, image};
use crate::store::{Location, open_source_or_spool};

/// Makes an image of a BTRFS file system that holds what an archive holds.
///
/// Needs neither root nor BTRFS. The image is a sparse file; `dd` or `cp` puts it on a disk, `mount -o loop` shows
/// it. With several files, each is the image of one device of the file system. If anything fails, no image is left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst image s3://bucket/usr.zip usr.img --size 8G
  burst image --label usr --metadata single usr.zip usr.img --size 8G
  mount -o loop usr.img /mnt/usr
  burst image usr.zip disk1.img disk2.img --size 8G")]
pub struct ImageCommandArgs {
    /// s3://bucket/key, a file, or - for standard input, which is copied to a file in $TMPDIR first
    source: OsString,
    /// The image file, which must not exist; one for each device
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Size of the image in bytes, or with K, M, G or T; at least 64M. Of several images: of each, or repeated, their
    /// sizes in order
    #[arg(long, value_name = "SIZE", value_parser = units::size, required = true)]
    size: Vec<u64>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    s3: S3Args,
}

pub fn run(args: ImageCommandArgs) -> Result<()> {
    let begun = Instant::now();
    let files = with_sizes(&args.files, &args.size)?;
    let location = Location::parse(&args.source)?;
    let mut s3 = args.s3.options(&location)?;
    let options = args.image.options(args.pipeline.options(&mut s3)?);
    let stop = args.pipeline.stop_flag()?;
    s3.stop = stop.clone();
    let mut watch = args.watch.begin("making the image", args.json, None);
    s3.events = watch.events.clone();
    let mut archive = Archive::open(open_source_or_spool(&location, &s3)?)?;
    // In a file they do nothing: who mounts it decides.
    archive.allows_devices = true;
    watch.archive(&archive);
    let report = image(&archive, Destination::Files(&files), &options, &watch.events, &stop)?;
    watch.end();
    let repeated = s3.repeated.load(Ordering::Relaxed);
    if args.json {
        print(versioned(json(&report, &args.files, &location, begun, repeated)))?;
    } else if !args.watch.quiet {
        summary(&report, &args.files, begun, repeated, None);
    }
    Ok(())
}

fn with_sizes(files: &[PathBuf], sizes: &[u64]) -> Result<Vec<(PathBuf, u64)>> {
    let wrong = |message: String| Err(Error::new(Kind::Usage, message));
    if let Some(n) = (1..files.len()).find(|&n| files[..n].contains(&files[n])) {
        return wrong(format!("{} is named twice", files[n].display()));
    }
    match sizes {
        [size] => Ok(files.iter().map(|file| (file.clone(), *size)).collect()),
        sizes if sizes.len() == files.len() => Ok(files.iter().cloned().zip(sizes.iter().copied()).collect()),
        sizes => wrong(format!("{} sizes for {} files: give one, or one for each", sizes.len(), files.len())),
    }
}
