//! `burst snapshot`: flags, and what is printed.

use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::{Args, ValueEnum};

use super::s3_args::S3Args;
use super::select_args::{self, SelectArgs};
use super::{output, snapshot_summary as summary};
use crate::error::{Error, Kind, Result};
use crate::snapshot::{self, Consistent, DEFAULT_LEVEL, Event, HardLinks, Skip, SnapshotOptions};
use crate::store::{Encryption, Location, S3Options, create_sink};

const EXAMPLES: &str = "\
Examples:
  burst snapshot /srv/data s3://bucket/data.burst     the contents of /srv/data; restoring gives them back
  burst snapshot etc home backup.burst                several sources: each under its own name
  burst snapshot /usr - | ssh host 'cat > usr.burst'  to a pipe
  burst snapshot --exclude '*.o' --exclude /target --level 9 . ../project.burst
  burst snapshot --preset host --dry-run / s3://bucket/image.burst     what an image of this host would hold

Nothing is visible under DEST before the archive is complete, and nothing stays there after a failure.

What is archived of BTRFS: content, frames as they are stored, holes, and what other file systems have too. Left out:
  chattr +C (NOCOW)      a file restored into a directory that has it gets it, and is stored decompressed
  chattr +i, +a and so on  they would stop the restore, and what comes after it; set them again if they matter
  compression property   what is restored is compressed as in the archive; new data follow the target's own property
  project quota          its numbers mean something on one host only; BTRFS has none (qgroups belong to subvolumes)
  subvolumes             they become directories";

/// Makes an archive of directories or files.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", select_args::preset_help()))]
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
    /// Archive one moment of SOURCE: a read-only snapshot of its BTRFS subvolume, made for this and deleted afterwards
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    consistent: ConsistentArg,
    #[command(flatten)]
    select: SelectArgs,
    /// Names that share a file: keep them shared, or give each its own copy
    #[arg(long, value_enum, default_value = "keep", value_name = "HOW")]
    hardlinks: HardLinksArg,
    /// Exit with 0 even if files changed while they were read
    #[arg(long)]
    allow_changed: bool,
    /// Identifier of the archive, 32 hexadecimal digits; with it, equal input gives equal bytes [default: random]
    #[arg(long, value_name = "HEX", value_parser = parse_id)]
    archive_id: Option<[u8; 16]>,
    /// Say what would go in, and what is left out and why; write nothing
    #[arg(long)]
    dry_run: bool,
    /// The summary as one JSON object, on standard output (standard error if DEST is -)
    #[arg(long)]
    json: bool,
    /// No summary, no progress; only trouble is reported
    #[arg(long, short, conflicts_with_all = ["json", "dry_run"])]
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ConsistentArg {
    /// Where it is possible (BTRFS, as root); the summary says so
    Auto,
    /// Or fail
    Require,
    /// Read what is there; what changes meanwhile is reported
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SseArg {
    Aes256,
    #[value(name = "aws:kms")]
    Kms,
}

impl SnapshotArgs {
    /// Whether standard output is the archive.
    pub fn is_piped(&self) -> bool {
        self.destination == "-"
    }
}

pub fn run(args: SnapshotArgs) -> Result<()> {
    let begun = Instant::now();
    let location = Location::parse(&args.destination)?;
    let options = options(&args, &location)?;
    if args.dry_run {
        return survey(&args, &options, &location);
    }
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
        // Asked for: --dry-run names them.
        Event::Skipped { why: Skip::Excluded | Skip::OtherFileSystem, .. } => {}
        Event::Skipped { path, why } => say(&bar, path, summary::why(why)),
        Event::Changed { path, what } => say(&bar, path, what),
        Event::Notice { text } => bar.suspend(|| eprintln!("burst: {text}")),
    };
    let make_sink = |part_size| {
        let s3 = S3Options { part_size, ..s3 };
        create_sink(&location, &s3, args.overwrite)
    };
    let result = snapshot::run(&options, &args.sources, make_sink, show);
    bar.finish_and_clear();
    let report = result?;
    let repeated = repeated.load(Ordering::Relaxed);
    if args.json {
        let json = output::versioned(summary::json(&location, &report, begun.elapsed(), repeated));
        // Standard output may be the archive.
        if matches!(location, Location::Stdio) { eprintln!("{json}") } else { println!("{json}") }
    } else if !args.quiet {
        eprint!("{}", summary::text(&location, &report, begun.elapsed()));
        super::restore::say_repeated(repeated);
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

fn survey(args: &SnapshotArgs, options: &SnapshotOptions, location: &Location) -> Result<()> {
    let is_piped = matches!(location, Location::Stdio);
    let print = |line: String| if is_piped { eprintln!("{line}") } else { println!("{line}") };
    let show = |event: Event<'_>| match event {
        Event::Skipped { path, why } if !args.json => print(format!("{} {}", shown(path), summary::why(why))),
        Event::Changed { path, what } => eprintln!("burst: {} {what}", shown(path)),
        _ => {}
    };
    let report = snapshot::survey(options, &args.sources, show)?;
    print(if args.json {
        output::versioned(summary::survey_json(&report)).to_string()
    } else {
        summary::survey_text(&report)
    });
    Ok(())
}

fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    output::path(path.as_os_str().as_bytes())
}

fn say(bar: &indicatif::ProgressBar, path: &Path, what: &str) {
    bar.suspend(|| eprintln!("burst: {} {what}", shown(path)));
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
        consistent: match args.consistent {
            ConsistentArg::Auto => Consistent::Auto,
            ConsistentArg::Require => Consistent::Require,
            ConsistentArg::Off => Consistent::Off,
        },
        preset: args.select.preset(),
        exclude: args.select.exclude()?,
        include: args.select.include.clone(),
        files_from: args.select.files()?,
        one_file_system: args.select.one_file_system,
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
