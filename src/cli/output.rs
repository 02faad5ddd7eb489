//! How numbers, paths and reports look, and progress on a terminal.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::log;
use crate::error::{Error, Result};

/// Version of what --json prints; see spec/json.md.
pub const SCHEMA: u64 = 1;

/// A report with the version of its schema.
pub fn versioned(mut report: serde_json::Value) -> serde_json::Value {
    report["schema"] = SCHEMA.into();
    report
}

/// A line on standard output, which may be closed, or a file on a full disk.
pub fn print(line: impl Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| Error::io("write to standard output", e))
}

/// Opens a file that everyone may read, whatever the umask: a restore has none.
pub fn public_file(options: &mut OpenOptions, path: &Path) -> std::io::Result<File> {
    options.create(true).mode(0o644).open(path)
}

/// Bytes as a person reads them: "1.38 GB" (decimal, as disks and networks count).
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.2} {}", UNITS[unit]) }
}

/// Bytes per second as MB/s.
pub fn rate(n: u64, time: Duration) -> String {
    format!("{:.0} MB/s", n as f64 / 1e6 / time.as_secs_f64().max(1e-9))
}

/// Progress on standard error towards an end that is not known yet; hidden unless that is a terminal.
pub fn progress_bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() || !log::leaves_room_for_a_bar() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg}{bytes}, {bytes_per_sec}, {elapsed}"));
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    bar
}

/// From now on the end is known; rates count from now.
pub fn total_known(bar: &ProgressBar, total: u64) {
    bar.set_style(style("{bar:40} {percent:>3}% {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"));
    bar.set_length(total);
    bar.reset_eta();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A count with its noun: "1 file", "2 directories".
pub fn count(n: u64, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {noun}s"),
    }
}

/// A path from an archive for a line of output: newlines and other control characters are escaped.
pub fn path(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => path.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_380_000_000), "1.38 GB");
        assert_eq!(count(1, "entry"), "1 entry");
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(path(b"a\nb"), "a\\nb");
        assert_eq!(path("ä".as_bytes()), "ä");
    }
}
