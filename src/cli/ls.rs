//! `burst ls`: the entries of an archive.

use std::ffi::OsString;
use std::io::{BufWriter, Write};

use clap::Args;

use super::output::path;
use super::s3_args::S3Args;
use crate::error::{Error, Kind, Result};
use crate::format::entry::{Entry, EntryType};
use crate::format::hard_links::HardLinks;
use crate::format::namespace::NamespaceChecker;
use crate::restore::{Archive, hex};
use crate::store::{Location, open_source};

/// Lists the entries of an archive; only its directory is read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst ls s3://bucket/usr.zip
  burst ls --json usr.zip | jq -r 'select(.type == \"file\") | .path'")]
pub struct LsArgs {
    /// s3://bucket/key or a file
    source: OsString,
    /// Print the result as JSON on standard output
    ///
    /// One object per line, for each entry.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    s3: S3Args,
}

pub fn run(args: LsArgs) -> Result<()> {
    let location = Location::parse(&args.source)?;
    let s3 = args.s3.options(&location)?;
    let archive = Archive::open(open_source(&location, &s3)?)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut names = NamespaceChecker::for_archive(&archive.index.trailer);
    let mut hard_links = HardLinks::new();
    let printed = archive.for_each_entry(|placed| {
        let entry = placed.entry;
        names.check(&entry.path, entry.entry_type).map_err(|e| archive.named(e))?;
        let target = hard_links.check(&entry).map_err(|e| archive.named(e))?;
        let line = if args.json { json(&archive, &entry, target)?.to_string() } else { long(&entry, target) };
        writeln!(out, "{line}").map_err(stdout_failed)
    });
    match printed.and_then(|()| out.flush().map_err(stdout_failed)) {
        // The reader had enough, as in `burst ls | head`.
        Err(e) if e.kind() == Kind::Interrupted(nix::libc::SIGPIPE) => Ok(()),
        result => result,
    }
}

fn stdout_failed(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Error::new(Kind::Interrupted(nix::libc::SIGPIPE), "the output was closed"),
        _ => Error::io("write to standard output", error),
    }
}

fn type_name(entry_type: EntryType) -> (&'static str, char) {
    match entry_type {
        EntryType::Directory => ("directory", 'd'),
        EntryType::Regular => ("file", '-'),
        EntryType::Symlink => ("symlink", 'l'),
        EntryType::HardLink { .. } => ("hardlink", 'h'),
        EntryType::CharDevice { .. } => ("char-device", 'c'),
        EntryType::BlockDevice { .. } => ("block-device", 'b'),
        EntryType::Fifo => ("fifo", 'p'),
    }
}

/// Like `ls -l`, with the time in UTC.
fn long(entry: &Entry, target: Option<&[u8]>) -> String {
    let a = &entry.attributes;
    let mut line = format!(
        "{}{} {:>6} {:>6} {:>12} {} {}",
        type_name(entry.entry_type).1,
        permissions(a.permissions),
        a.uid,
        a.gid,
        match entry.entry_type {
            EntryType::CharDevice { major, minor } | EntryType::BlockDevice { major, minor } =>
                format!("{major}, {minor}"),
            _ => entry.uncompressed_size.to_string(),
        },
        crate::format::zip::dos_time::utc(a.mtime),
        path(&entry.path),
    );
    if let Some(target) = target {
        line.push_str(" link to ");
        line.push_str(&path(target));
    }
    line
}

fn permissions(mode: u32) -> String {
    let mut text: Vec<u8> = (0..9).rev().map(|bit| if mode >> bit & 1 == 1 { b"xwr"[bit % 3] } else { b'-' }).collect();
    for (bit, place, set, unset) in [(11, 2, b's', b'S'), (10, 5, b's', b'S'), (9, 8, b't', b'T')] {
        if mode >> bit & 1 == 1 {
            text[place] = if text[place] == b'x' { set } else { unset };
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn json(archive: &Archive, entry: &Entry, target: Option<&[u8]>) -> Result<serde_json::Value> {
    let a = &entry.attributes;
    let mut value = serde_json::json!({
        "path": String::from_utf8_lossy(&entry.path),
        "type": type_name(entry.entry_type).0,
        "mode": format!("{:04o}", a.permissions),
        "uid": a.uid,
        "gid": a.gid,
        "mtime_s": a.mtime.seconds,
        "mtime_ns": a.mtime.nanos,
        "size": entry.uncompressed_size,
        "compressed_size": entry.compressed_size,
        "crc32": format!("{:08x}", entry.crc32),
        "offset": entry.header_offset,
    });
    if std::str::from_utf8(&entry.path).is_err() {
        value["path_hex"] = hex(&entry.path).into();
    }
    if let Some(target) = target {
        value["link_to"] = String::from_utf8_lossy(target).into();
    }
    if let EntryType::CharDevice { major, minor } | EntryType::BlockDevice { major, minor } = entry.entry_type {
        value["device"] = serde_json::json!([major, minor]);
    }
    let xattrs = archive.xattrs(entry)?;
    if !xattrs.is_empty() {
        let names = xattrs.iter().map(|(n, v)| (String::from_utf8_lossy(n).into_owned(), hex(v).into()));
        value["xattrs_hex"] = serde_json::Value::Object(names.collect());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::permissions;

    #[test]
    fn permission_texts() {
        assert_eq!(permissions(0o755), "rwxr-xr-x");
        assert_eq!(permissions(0o4755), "rwsr-xr-x");
        assert_eq!(permissions(0o2644), "rw-r-Sr--");
        assert_eq!(permissions(0o1777), "rwxrwxrwt");
    }
}
