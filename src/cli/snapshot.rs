//! `burst snapshot`: flags, and what is printed.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::level_arg::{self, Level, LevelArg};
use super::s3_args::S3Args;
use super::select_args::{self, SelectArgs};
use super::upload_args::UploadArgs;
use super::{log, output, snapshot_summary as summary, units};
use crate::error::{Error, Kind, Result};
use crate::observe::{Event, Events, Skip};
use crate::snapshot::{self, Consistent, Freeze, HardLinks, SnapshotOptions};
use crate::store::{Location, S3Options, create_sink};

const EXAMPLES: &str = "\
Examples:
  burst snapshot /srv/data s3://bucket/data.burst     the contents of /srv/data; restoring gives them back
  burst snapshot etc home backup.burst                several sources: each under its own name
  burst snapshot /usr - | ssh host 'cat > usr.burst'  to a pipe
  burst snapshot --exclude '*.o' --exclude /target --level 9 . ../project.burst
  burst snapshot --relative etc/ssh srv/./data backup.burst     as etc/ssh and data, with the directories above them
  burst snapshot --freeze --freeze-limit 120 /srv/db s3://bucket/db.burst     one moment of an ext4 or XFS
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
    /// zstd level, -15 (fastest) to 15 (smallest), of what is compressed (see --recompress); auto: the smallest archive
    /// that the CPUs make as fast as the network takes it (to S3; the summary says which and why)
    #[arg(long, default_value = "3", allow_hyphen_values = true, value_name = "LEVEL", value_parser = level_arg::parse)]
    level: LevelArg,
    /// Speed of the network in Gbit/s [default: what the instance type has]
    ///
    /// For --level auto.
    #[arg(long, value_name = "Gbit/s")]
    network_gbps: Option<f64>,
    /// Compress everything, also what a BTRFS holds in frames that can be taken as they are [default: take them]
    #[arg(long)]
    recompress: bool,
    /// Threads that do the work [default: one per CPU]
    ///
    /// They read and compress.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=u64::from(u16::MAX)))]
    workers: Option<u64>,
    /// Replace an archive that exists at DEST
    #[arg(long)]
    overwrite: bool,
    /// Archive one moment of SOURCE: a read-only snapshot of its BTRFS subvolume, made for this and deleted afterwards
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    consistent: ConsistentArg,
    /// Freeze the file system of SOURCE (ext4, XFS, ...) while it is read: whoever writes to it waits. On BTRFS a
    /// subvolume snapshot does the same without that
    #[arg(long)]
    freeze: bool,
    /// Time after which it is thawed all the same; what was not read by then is reported (exit code 20)
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "freeze", value_parser = units::freeze_limit)]
    freeze_limit: Duration,
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
    /// Print the result as JSON on standard output
    ///
    /// On standard error if DEST is -.
    #[arg(long)]
    json: bool,
    /// Print only what went wrong
    #[arg(long, short, conflicts_with_all = ["json", "dry_run"])]
    quiet: bool,
    #[command(flatten)]
    upload: UploadArgs,
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

impl SnapshotArgs {
    /// Whether standard output is the archive.
    pub fn is_piped(&self) -> bool {
        self.destination == "-"
    }
}

pub fn run(args: SnapshotArgs) -> Result<()> {
    let begun = Instant::now();
    let location = Location::parse(&args.destination)?;
    let (options, level) = options(&args, &location)?;
    if args.dry_run {
        return survey(&args, &options, &level, &location);
    }
    let mut s3 = args.upload.options(args.s3.options(&location)?)?;
    s3.stop = options.interrupt.clone();
    let repeated = s3.repeated.clone();
    tracing::info!(
        zstd_level = level.value,
        reason = level.reason.as_deref().unwrap_or("given, or the default"),
        workers = options.workers,
        recompress = options.recompress,
        consistent = ?options.consistent,
        freeze = options.freeze.is_some(),
        "an archive is made"
    );
    refuse_existing(&location, args.overwrite)?;

    let bar = output::progress_bar(args.quiet);
    let on = bar.clone();
    let show = move |event: Event<'_>| match event {
        Event::Walking { entries, bytes } => {
            on.set_message(format!("found {}, {}; ", output::count(entries, "entry"), output::bytes(bytes)));
            on.tick();
        }
        Event::Walked { entries, bytes } => {
            tracing::info!(entries, bytes, "the sources are walked");
            output::total_known(&on, bytes);
        }
        Event::Archived { bytes } => on.set_position(bytes),
        // Asked for: --dry-run names them.
        Event::LeftOut { path, why: why @ (Skip::Excluded | Skip::OtherFileSystem) } => {
            tracing::debug!(path = ?path, why = summary::why(why), "left out");
        }
        Event::LeftOut { path, why } => say(&on, path, summary::why(why)),
        Event::Changed { path, how } => say(&on, path, summary::how(how)),
        Event::NotReleased { why } => on.suspend(|| log::trouble(why)),
        _ => {}
    };
    let make_sink = |part_size| {
        let s3 = S3Options { part_size, ..s3 };
        create_sink(&location, &s3, args.overwrite)
    };
    let result = snapshot::run(&options, &args.sources, make_sink, &Events::to(show));
    bar.finish_and_clear();
    let report = result?;
    let repeated = repeated.load(Ordering::Relaxed);
    if args.json {
        let json = output::versioned(summary::json(&location, &report, &level, begun.elapsed(), repeated));
        // Standard output may be the archive.
        match location {
            Location::Stdio => log::result(&json),
            _ => output::print(json)?,
        }
    } else if !args.quiet {
        summary::text(&location, &report, &level, begun.elapsed()).lines().for_each(log::say);
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
    if report.stillness.thawed_early() && !args.allow_changed {
        let message = format!(
            "{location} is complete, but the file system was thawed before all of it was read: it may not show one \
             moment. Allow more time (--freeze-limit), or accept this with --allow-changed"
        );
        return Err(Error::new(Kind::SourceChanged, message));
    }
    Ok(())
}

fn survey(args: &SnapshotArgs, options: &SnapshotOptions, level: &Level, location: &Location) -> Result<()> {
    let is_piped = matches!(location, Location::Stdio);
    let print = move |line: String| match is_piped {
        true => {
            line.lines().for_each(log::say);
            Ok(())
        }
        false => output::print(line),
    };
    let json = args.json;
    let show = move |event: Event<'_>| match event {
        Event::LeftOut { path, why } if !json => {
            // What fails here fails at the end, too.
            drop(print(format!("{} {}", shown(path), summary::why(why))));
        }
        Event::Changed { path, how } => log::trouble(format_args!("{} {}", shown(path), summary::how(how))),
        _ => {}
    };
    let report = snapshot::survey(options, &args.sources, &Events::to(show))?;
    print(if args.json {
        output::versioned(summary::survey_json(&report, level)).to_string()
    } else {
        summary::survey_text(&report, level)
    })
}

fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    output::path(path.as_os_str().as_bytes())
}

fn say(bar: &indicatif::ProgressBar, path: &Path, what: &str) {
    bar.suspend(|| log::trouble(format_args!("{} {what}", shown(path))));
}

fn options(args: &SnapshotArgs, location: &Location) -> Result<(SnapshotOptions, Level)> {
    let defaults = SnapshotOptions::default();
    let workers = args.workers.map_or(defaults.workers, |n| n as usize);
    let level = args.level.choose(location, args.network_gbps, workers)?;
    let options = SnapshotOptions {
        level: level.value,
        recompress: args.recompress,
        workers,
        part_size: args.upload.part_size(),
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
        freeze: freeze(args, location)?,
        preset: args.select.preset(),
        exclude: args.select.exclude()?,
        include: args.select.include.clone(),
        files_from: args.select.files()?,
        relative: args.select.relative,
        one_file_system: args.select.one_file_system,
        archive_inode: archive_inode(location),
        interrupt: super::signals::stop_flag()?,
    };
    Ok((options, level))
}

fn freeze(args: &SnapshotArgs, location: &Location) -> Result<Option<Freeze>> {
    if !args.freeze {
        return Ok(None);
    }
    if matches!(args.consistent, ConsistentArg::Off) {
        return Err(Error::new(Kind::Usage, "--freeze cannot be used with --consistent off"));
    }
    // Also where they lead: a log file is waited for as the archive is.
    let mut written = vec![("/proc/self/fd/1".into(), "standard output"), ("/proc/self/fd/2".into(), "standard error")];
    if let Location::File(path) = location {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        written.push((directory.unwrap_or(Path::new(".")).to_owned(), "the archive"));
    }
    Ok(Some(Freeze { limit: args.freeze_limit, written }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(parse_id("000102030405060708090a0B0c0d0e0f").unwrap()[..4], [0, 1, 2, 3]);
        for bad in ["", "0", "+00102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f0"] {
            assert!(parse_id(bad).is_err(), "{bad}");
        }
    }
}
