//! `burst snapshot`: flags, and what is printed.

use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::output;
use super::s3_args::S3Args;
use crate::error::{Error, Kind, Result};
use crate::snapshot::{self, DEFAULT_LEVEL, Event, HardLinks, Report, SnapshotOptions};
use crate::store::{Encryption, Location, S3Options, create_sink};

const EXAMPLES: &str = "\
Examples:
  burst snapshot /srv/data s3://bucket/data.burst     the contents of /srv/data; restoring gives them back
  burst snapshot etc home backup.burst                several sources: each under its own name
  burst snapshot /usr - | ssh host 'cat > usr.burst'  to a pipe
  burst snapshot --exclude '*.o' --exclude /target --level 9 . ../project.burst

Nothing is visible under DEST before the archive is complete, and nothing stays there after a failure.";

/// Makes an archive of directories or files.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SnapshotArgs {
    /// One directory: its contents and its own attributes. Several, or a file: each under its own name
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// s3://bucket/key, a file, or - for standard output
    #[arg(required = true, value_name = "DEST")]
    destination: OsString,
    /// zstd level, -15 (fastest) to 15 (smallest), of what is compressed (see --recompress)
    #[arg(long, default_value_t = DEFAULT_LEVEL, allow_hyphen_values = true, value_name = "LEVEL",
          value_parser = clap::value_parser!(i32).range(-15..=15))]
    level: i32,
    /// Compress everything, also what a BTRFS holds in frames that can be taken as they are [default: take them]
    #[arg(long)]
    recompress: bool,
    /// Threads that read and compress [default: one per processor]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Replace an archive that exists at DEST
    #[arg(long)]
    overwrite: bool,
    /// Leave out what matches, as in a .gitignore file, relative to SOURCE; with a directory, all below it
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Stay within the file system of SOURCE: others (also BTRFS subvolumes) become empty directories
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    one_file_system: bool,
    /// Names that share a file: keep them shared, or give each its own copy
    #[arg(long, value_enum, default_value = "keep", value_name = "HOW")]
    hardlinks: HardLinksArg,
    /// Exit with 0 even if files changed while they were read
    #[arg(long)]
    allow_changed: bool,
    /// Identifier of the archive, 32 hexadecimal digits; with it, equal input gives equal bytes [default: random]
    #[arg(long, value_name = "HEX", value_parser = parse_id)]
    archive_id: Option<[u8; 16]>,
    /// No summary, no progress; only trouble is reported
    #[arg(long, short)]
    quiet: bool,
    /// Size of upload parts in MiB: 8, 16, 32, ... [default: the smallest with which 10,000 parts suffice]
    #[arg(long, value_name = "MIB", help_heading = "S3 options")]
    part_size: Option<u64>,
    /// Encrypt the object: aes256 or aws:kms [default: what the bucket says]
    #[arg(long, value_enum, value_name = "HOW", help_heading = "S3 options")]
    sse: Option<SseArg>,
    /// Key for --sse aws:kms [default: the account's own]
    #[arg(long, value_name = "KEY", help_heading = "S3 options")]
    sse_kms_key_id: Option<String>,
    /// Storage class, for example STANDARD_IA
    #[arg(long, value_name = "CLASS", help_heading = "S3 options")]
    storage_class: Option<String>,
    /// Tag of the object; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_tag, help_heading = "S3 options")]
    tag: Vec<(String, String)>,
    /// Send no CRC32C with the parts, for servers that do not know it
    #[arg(long, help_heading = "S3 options")]
    no_checksum: bool,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HardLinksArg {
    Keep,
    Copy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SseArg {
    Aes256,
    #[value(name = "aws:kms")]
    Kms,
}

pub fn run(args: SnapshotArgs) -> Result<()> {
    let begun = Instant::now();
    let location = Location::parse(&args.destination)?;
    let options = options(&args, &location)?;
    let s3 = s3_options(&args, &location)?;
    let repeated = s3.repeated.clone();
    refuse_existing(&location, args.overwrite)?;

    let bar = output::progress_bar(None, args.quiet);
    let mut total = 0;
    let show = |event: Event<'_>| match event {
        Event::Walking { entries, bytes } => {
            bar.set_message(format!("found {entries} entries, {}", output::bytes(bytes)));
            bar.tick();
        }
        Event::Walked(totals) => {
            total = totals.bytes;
            bar.set_length(total);
        }
        Event::Progress { bytes } => bar.set_position(bytes),
        Event::Skipped { path, what } => say(&bar, path, what),
        Event::Changed { path, what } => say(&bar, path, what),
    };
    let make_sink = |part_size| {
        let s3 = S3Options { part_size, ..s3 };
        create_sink(&location, &s3, args.overwrite)
    };
    let result = snapshot::run(&options, &args.sources, make_sink, show);
    bar.finish_and_clear();
    let report = result?;
    if !args.quiet {
        eprint!("{}", summary(&location, &report, begun.elapsed()));
        super::restore::say_repeated(repeated.load(Ordering::Relaxed));
    }
    if report.changed > 0 && !args.allow_changed {
        let message = format!(
            "{location} is complete, but {} changed while being read (named above): it may not show one moment. \
             Archive a still copy (a BTRFS subvolume snapshot), or accept this with --allow-changed",
            output::count(report.changed, "path")
        );
        return Err(Error::new(Kind::SourceChanged, message));
    }
    Ok(())
}

fn say(bar: &indicatif::ProgressBar, path: &std::path::Path, what: &str) {
    use std::os::unix::ffi::OsStrExt;
    bar.suspend(|| eprintln!("burst: {} {what}", output::path(path.as_os_str().as_bytes())));
}

fn summary(location: &Location, report: &Report, time: Duration) -> String {
    let mut found = vec![output::count(report.files, "file")];
    found.push(output::count(report.directories, "directory"));
    for (n, noun) in [(report.hard_links, "hard link"), (report.others, "other entry")] {
        if n > 0 {
            found.push(output::count(n, noun));
        }
    }
    let ratio = report.content_bytes as f64 / report.archive_bytes.max(1) as f64;
    let id: String = report.archive_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = format!(
        "{}: {} in an archive of {} (ratio {ratio:.2})\n{:.2} s, {}\narchive {id} at {location}\n",
        found.join(", "),
        output::bytes(report.content_bytes),
        output::bytes(report.archive_bytes),
        time.as_secs_f64(),
        output::rate(report.content_bytes, time),
    );
    if report.verbatim_bytes > 0 {
        let share = 100.0 * report.verbatim_bytes as f64 / report.content_bytes.max(1) as f64;
        text += &format!("{share:.0} % of the content was taken in the frames in which it is stored\n");
    }
    if report.skipped > 0 || report.changed > 0 {
        text += &format!("{} skipped, {} changed while being read\n", report.skipped, report.changed);
    }
    text
}

fn options(args: &SnapshotArgs, location: &Location) -> Result<SnapshotOptions> {
    let defaults = SnapshotOptions::default();
    Ok(SnapshotOptions {
        level: args.level,
        recompress: args.recompress,
        workers: args.workers.map_or(defaults.workers, NonZeroUsize::get),
        part_size: args.part_size.map(|mib| mib.saturating_mul(1 << 20)),
        archive_id: match args.archive_id {
            Some(id) => id,
            None => snapshot::random_id()?,
        },
        hard_links: match args.hardlinks {
            HardLinksArg::Keep => HardLinks::Keep,
            HardLinksArg::Copy => HardLinks::Copy,
        },
        exclude: args.exclude.clone(),
        one_file_system: args.one_file_system,
        archive_inode: archive_inode(location),
        interrupt: super::signals::stop_flag()?,
    })
}

fn s3_options(args: &SnapshotArgs, location: &Location) -> Result<S3Options> {
    let encryption = match (args.sse, &args.sse_kms_key_id) {
        (None, None) => Encryption::BucketDefault,
        (Some(SseArg::Aes256), None) => Encryption::Aes256,
        (Some(SseArg::Kms), key_id) => Encryption::Kms { key_id: key_id.clone() },
        (_, Some(_)) => return Err(Error::new(Kind::Usage, "--sse-kms-key-id goes with --sse aws:kms")),
    };
    Ok(S3Options {
        encryption,
        upload_checksums: !args.no_checksum,
        storage_class: args.storage_class.clone(),
        tags: args.tag.clone(),
        ..args.s3.options(location)?
    })
}

/// The sink refuses too; this comes before the walk, which may take long.
fn refuse_existing(location: &Location, overwrite: bool) -> Result<()> {
    match location {
        Location::File(path) if !overwrite && fs::symlink_metadata(path).is_ok() => {
            let message = format!("{location} exists already: use --overwrite to replace it");
            Err(Error::new(Kind::TargetInUse, message))
        }
        _ => Ok(()),
    }
}

/// The file that is being written or replaced, which may lie within SOURCE.
fn archive_inode(location: &Location) -> Option<(u64, u64)> {
    let metadata = match location {
        Location::File(path) => fs::metadata(path),
        Location::Stdio => fs::metadata("/proc/self/fd/1"),
        Location::S3 { .. } => return None,
    };
    metadata.ok().filter(|m| m.is_file()).map(|m| (m.dev(), m.ino()))
}

fn parse_id(text: &str) -> std::result::Result<[u8; 16], String> {
    let wrong = || "an archive identifier is 32 hexadecimal digits".to_owned();
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    u128::from_str_radix(text, 16).map(u128::to_be_bytes).map_err(|_| wrong())
}

fn parse_tag(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a tag is NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(parse_id("000102030405060708090a0B0c0d0e0f").unwrap()[..4], [0, 1, 2, 3]);
        for bad in ["", "0", "+00102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f0"] {
            assert!(parse_id(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_tag("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(parse_tag("=b").is_err() && parse_tag("ab").is_err());
    }
}
