//! `burst status`: is a target complete, unfinished, or was nothing restored there?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::log;
use super::output::{bytes, print, versioned};
use crate::error::{Error, Kind, Result};
use crate::format::Timestamp;
use crate::format::zip::dos_time::utc;
use crate::restore::{Status, Unfinished, status};

/// Tells whether a target is complete (exit code 0), unfinished or being restored (21), or neither (10).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst status /mnt/data
  burst status --json /mnt/data | jq .parts_done")]
pub struct StatusArgs {
    /// Directory that was restored into
    target: PathBuf,
    /// Print the result as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// Unfinished is an answer and no error: only the exit code says more than what is printed.
pub fn run(args: StatusArgs) -> Result<ExitCode> {
    let shown = args.target.display();
    let found = status(&args.target)?;
    if args.json {
        print(versioned(as_json(&found)))?;
    } else {
        match &found {
            Status::Nothing => {}
            Status::Complete(marker) => print(format_args!("{shown}: complete, {}", complete(marker)))?,
            Status::Unfinished(unfinished) => print(format_args!("{shown}: {}", in_words(unfinished)))?,
        }
    }
    match found {
        Status::Complete(_) => Ok(ExitCode::SUCCESS),
        Status::Unfinished(_) => Ok(ExitCode::from(Kind::Incomplete.exit_code())),
        Status::Nothing => {
            let error = Error::new(Kind::NotFound, format!("{shown}: nothing was restored here"))
                .with_hint("check the path; `burst restore` restores into it");
            if !args.json {
                return Err(error);
            }
            // The object has said it; a second one would be no JSON.
            log::failure(&error);
            Ok(ExitCode::from(error.kind().exit_code()))
        }
    }
}

fn complete(marker: &Value) -> String {
    format!(
        "{}, {} entries, {} of content, at {}",
        source(marker),
        marker["entries"],
        bytes(marker["content_bytes"].as_u64().unwrap_or_default()),
        time(&marker["completed"]),
    )
}

fn in_words(u: &Unfinished) -> String {
    let mut out = match u.running {
        Some(true) => "being restored".to_owned(),
        _ => "unfinished".to_owned(),
    };
    if !u.begun.is_null() {
        out += &format!(", {}", source(&u.begun));
    }
    if u.begun["begun"].is_u64() {
        out += &format!(", begun at {}", time(&u.begun["begun"]));
    }
    if u.finishing {
        return out + ", everything is in place but for tidying up";
    }
    if u.can_continue {
        out += &format!(", {} of {} parts done", u.done, u.parts.map_or("?".to_owned(), |n| n.to_string()));
    } else if u.running != Some(true) {
        out += ", cannot be continued: restore again with --restart";
    }
    out
}

fn source(value: &Value) -> String {
    let text = |key: &str| value[key].as_str().unwrap_or("?").to_owned();
    format!("{} (archive {})", text("archive"), text("archive_id"))
}

/// In UTC.
fn time(seconds: &Value) -> String {
    seconds.as_i64().map_or("?".into(), |seconds| format!("{} UTC", utc(Timestamp { seconds, nanos: 0 })))
}

fn as_json(found: &Status) -> Value {
    match found {
        Status::Nothing => json!({"state": "nothing"}),
        Status::Complete(marker) => json!({
            "state": "complete",
            "archive": marker["archive"],
            "archive_id": marker["archive_id"],
            "version": marker["version"],
            "completed": marker["completed"],
            "entries": marker["entries"],
            "content_bytes": marker["content_bytes"],
            "burst": marker["burst"],
        }),
        Status::Unfinished(u) => json!({
            "state": "unfinished",
            "running": u.running,
            "finishing": u.finishing,
            "can_continue": u.can_continue,
            "archive": u.begun["archive"],
            "archive_id": u.begun["archive_id"],
            "version": u.begun["version"],
            "begun": u.begun["begun"],
            "parts_done": u.done,
            "parts": u.parts,
            "burst": u.begun["burst"],
        }),
    }
}
