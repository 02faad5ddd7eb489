//! What `burst snapshot` says in the end.

use std::time::Duration;

use serde_json::{Value, json};

use super::level_arg::Level;
use super::output::{bytes, count, rate};
use crate::snapshot::{Change, Report, Skip, Skipped, Stillness};
use crate::store::Location;

/// Places that are named; the others are counted.
const NAMED: usize = 3;

pub fn why(skip: Skip) -> &'static str {
    match skip {
        Skip::Excluded => "is excluded",
        Skip::OtherFileSystem => "is another file system: stays empty",
        Skip::Socket => "is a socket",
        Skip::Refused(what) => what,
    }
}

pub fn how(change: Change) -> &'static str {
    match change {
        Change::NotThere => "is not there: not archived",
        Change::Vanished => "vanished: not archived",
        Change::OtherType => "became something else: not archived",
        Change::WhileRead => "changed while it was read",
    }
}

pub fn text(location: &Location, report: &Report, level: &Level, time: Duration) -> String {
    let ratio = report.content_bytes as f64 / report.archive_bytes.max(1) as f64;
    let mut text = format!(
        "{}: {} in an archive of {} (ratio {ratio:.2})\n{:.2} s, {}\narchive {} at {location}\n",
        entries(report),
        bytes(report.content_bytes),
        bytes(report.archive_bytes),
        time.as_secs_f64(),
        rate(report.content_bytes, time),
        id(report),
    );
    text += &level_text(level);
    if report.verbatim_bytes > 0 {
        let share = 100.0 * verbatim_share(report);
        text += &format!("{share:.0} % of the content was taken in the frames in which it is stored\n");
    }
    text += &stillness(&report.stillness);
    if let Some(skipped) = skipped(&report.skipped) {
        text += &format!("left out: {skipped}\n");
    }
    if report.changed > 0 {
        text += &format!("{} changed while being read\n", report.changed);
    }
    text
}

pub fn survey_text(report: &Report, level: &Level) -> String {
    let left_out = skipped(&report.skipped).unwrap_or_else(|| "nothing".to_owned());
    let level = level_text(level);
    format!("would archive {}: {}\n{level}left out: {left_out}", entries(report), bytes(report.content_bytes))
}

/// Only what was chosen needs to be said.
fn level_text(level: &Level) -> String {
    level.reason.as_ref().map(|reason| format!("level {}: {reason}\n", level.value)).unwrap_or_default()
}

fn entries(report: &Report) -> String {
    let mut found = vec![count(report.files, "file"), count(report.directories, "directory")];
    for (n, noun) in [(report.hard_links, "hard link"), (report.others, "other entry")] {
        if n > 0 {
            found.push(count(n, noun));
        }
    }
    found.join(", ")
}

fn stillness(stillness: &Stillness) -> String {
    let mut text = String::new();
    match stillness.snapshots {
        0 => {}
        1 => text += "one moment: read from a read-only snapshot of the subvolume\n",
        n => text += &format!("read from read-only snapshots of {n} subvolumes, made one after the other\n"),
    }
    if stillness.read_only > 0 {
        text += &format!("{} read-only: nothing changes there\n", count(stillness.read_only, "place"));
    }
    for place in &stillness.frozen {
        let path = super::output::path(std::os::unix::ffi::OsStrExt::as_bytes(place.path.as_os_str()));
        let seconds = place.time.as_secs_f64();
        text += &match place.thawed_early {
            None => format!("one moment: the file system of {path} was frozen for {seconds:.1} s\n"),
            Some(why) => format!("the file system of {path} was thawed after {seconds:.1} s, too early: {why}\n"),
        };
    }
    for (path, reason) in stillness.live.iter().take(NAMED) {
        let path = super::output::path(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
        text += &format!("read as it was used, without a subvolume snapshot: {path} ({reason})\n");
    }
    if let more @ 1.. = stillness.live.len().saturating_sub(NAMED) {
        text += &format!("and {more} more so\n");
    }
    text
}

fn skipped(skipped: &Skipped) -> Option<String> {
    let found: Vec<String> = [
        (skipped.excluded, "excluded path"),
        (skipped.other_file_systems, "other file system"),
        (skipped.sockets, "socket"),
        (skipped.refused, "archive or swap file"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, noun)| count(n, noun))
    .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

pub fn json(location: &Location, report: &Report, level: &Level, time: Duration, repeated: u64) -> Value {
    let mut value = survey_json(report, level);
    value["target"] = json!(location.to_string());
    value["archive_id"] = json!(id(report));
    value["archive_bytes"] = json!(report.archive_bytes);
    value["part_size"] = json!(report.part_size);
    value["ratio"] = json!(report.content_bytes as f64 / report.archive_bytes.max(1) as f64);
    value["verbatim_bytes"] = json!(report.verbatim_bytes);
    value["verbatim_share"] = json!(verbatim_share(report));
    value["seconds"] = json!(time.as_secs_f64());
    value["repeated_requests"] = json!(repeated);
    let live = report.stillness.live.iter();
    let live: Vec<Value> =
        live.map(|(path, reason)| json!({"path": path.to_string_lossy(), "reason": reason})).collect();
    let frozen = report.stillness.frozen.iter().map(|place| {
        json!({
            "path": place.path.to_string_lossy(),
            "seconds": place.time.as_secs_f64(),
            "thawed_early": place.thawed_early,
        })
    });
    let frozen: Vec<Value> = frozen.collect();
    value["consistent"] = json!({
        "subvolume_snapshots": report.stillness.snapshots,
        "read_only": report.stillness.read_only,
        "frozen": frozen,
        "live": live,
    });
    value
}

pub fn survey_json(report: &Report, level: &Level) -> Value {
    json!({
        "files": report.files,
        "directories": report.directories,
        "hard_links": report.hard_links,
        "other_entries": report.others,
        "content_bytes": report.content_bytes,
        "changed": report.changed,
        "level": level.value,
        "level_reason": level.reason,
        "skipped": {
            "excluded": report.skipped.excluded,
            "other_file_systems": report.skipped.other_file_systems,
            "sockets": report.skipped.sockets,
            "archive_or_swap_files": report.skipped.refused,
        },
    })
}

fn verbatim_share(report: &Report) -> f64 {
    report.verbatim_bytes as f64 / report.content_bytes.max(1) as f64
}

fn id(report: &Report) -> String {
    report.archive_id.iter().map(|byte| format!("{byte:02x}")).collect()
}
