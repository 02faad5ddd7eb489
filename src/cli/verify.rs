//! `burst verify`: is an archive what it should be?

use std::ffi::OsString;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;

use super::output::{bytes, count, print, rate, versioned};
use super::pipeline_args::PipelineArgs;
use super::s3_args::S3Args;
use super::watch::WatchArgs;
use crate::error::{Kind, Result};
use crate::restore::{Archive, verify};
use crate::store::{Location, open_source};

/// Checks an archive: directory, checksum of every part, structure of every frame.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst verify s3://bucket/usr.zip
  burst verify --content usr.zip")]
pub struct VerifyArgs {
    /// s3://bucket/key or a file
    source: OsString,
    /// Also decompress everything and compare it with its CRC-32
    #[arg(long)]
    content: bool,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    s3: S3Args,
}

pub fn run(args: VerifyArgs) -> Result<()> {
    let begun = Instant::now();
    let location = Location::parse(&args.source)?;
    let mut s3 = args.s3.options(&location)?;
    let options = args.pipeline.options(&mut s3)?;
    let stop = args.pipeline.stop_flag()?;
    s3.stop = stop.clone();
    let mut watch = args.watch.begin("verifying", args.json, None);
    s3.events = watch.events.clone();
    let archive = Archive::open(open_source(&location, &s3)?)?;
    watch.archive(&archive);
    let report = verify(&archive, args.content, &options, &watch.events, &stop).map_err(|e| match e.kind() {
        // The hint of this kind is to do what was done here.
        Kind::Corrupt => e.with_hint("copy it anew from where it is good, restore another version, or make it anew"),
        _ => e,
    })?;
    watch.end();
    let time = begun.elapsed();
    let repeated = s3.repeated.load(Ordering::Relaxed);
    if args.json {
        let report = serde_json::json!({
            "source": location.to_string(),
            "good": true,
            "content": report.content,
            "entries": report.entries,
            "parts": report.fetched.parts,
            "archive_bytes": report.fetched.bytes,
            "content_bytes": report.content_bytes,
            "repeated_requests": repeated,
            "seconds": time.as_secs_f64(),
        });
        print(versioned(report))?;
    } else if !args.watch.quiet {
        super::restore::say_repeated(repeated);
        print(format_args!(
            "{}: good, {} in {}, {} of content{}, {:.2} s ({})",
            archive.source.name(),
            count(report.entries, "entry"),
            count(report.fetched.parts, "part"),
            bytes(report.content_bytes),
            if report.content { " decompressed and compared" } else { "" },
            time.as_secs_f64(),
            rate(report.fetched.bytes, time),
        ))?;
    }
    Ok(())
}
