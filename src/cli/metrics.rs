//! `--metrics`: figures of a run for a monitoring system, described in spec/metrics.md.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::output::public_file;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One line of JSON in CloudWatch's embedded metric format
    Emf,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Monitoring")]
pub struct MetricsArgs {
    /// At the end, also of a run that fails, write its figures for a monitoring system
    #[arg(long, value_name = "FORMAT")]
    metrics: Option<Format>,
    /// File to append them to; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-", requires = "metrics")]
    metrics_to: PathBuf,
}

/// Metric, unit, and where it is in the report.
const METRICS: [(&str, &str, &str); 14] = [
    ("ContentBytes", "Bytes", "/content_bytes"),
    ("ArchiveBytes", "Bytes", "/archive_bytes"),
    ("Parts", "Count", "/parts"),
    ("PartsFoundInPlace", "Count", "/parts_there"),
    ("Files", "Count", "/files"),
    ("RepeatedRequests", "Count", "/repeated_requests"),
    ("TimeToDirectory", "Seconds", "/seconds_to_directory_read"),
    ("TimeToFirstPart", "Seconds", "/seconds_to_first_part"),
    ("TimeFinishing", "Seconds", "/seconds_finishing"),
    ("WorkersTime", "Seconds", "/seconds_of_workers/total"),
    ("WorkersWaitingForData", "Seconds", "/seconds_of_workers/waiting_for_data"),
    ("WorkersAtWork", "Seconds", "/seconds_of_workers/at_work"),
    ("WorkersWaitingForDisk", "Seconds", "/seconds_of_workers/waiting_for_disk"),
    ("WorkersWaitingForCpu", "Seconds", "/seconds_of_workers/waiting_for_cpu"),
];

impl MetricsArgs {
    /// Writes the figures of a restore, if they were asked for.
    pub fn write(&self, source: &str, target: &str, begun: Instant, outcome: &Result<Value>) -> Result<()> {
        let Some(Format::Emf) = self.metrics else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = emf(source, target, now.as_millis() as u64, begun.elapsed().as_secs_f64(), outcome);
        append(&self.metrics_to, &format!("{line}\n"))
            .map_err(|e| Error::io(format!("write the metrics to {}", self.metrics_to.display()), e))
    }
}

/// In one write, so that lines of several processes do not mix.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    if path == Path::new("-") {
        return std::io::stdout().write_all(line.as_bytes());
    }
    public_file(OpenOptions::new().append(true), path)?.write_all(line.as_bytes())
}

fn emf(source: &str, target: &str, milliseconds: u64, seconds: f64, outcome: &Result<Value>) -> Value {
    let mut metrics = vec![("Time", "Seconds", seconds), ("Failures", "Count", f64::from(u8::from(outcome.is_err())))];
    if let Ok(report) = outcome {
        metrics
            .extend(METRICS.iter().filter_map(|&(name, unit, at)| Some((name, unit, report.pointer(at)?.as_f64()?))));
        let per_second = |at: &str| Some(report.pointer(at)?.as_f64()? / seconds.max(1e-9));
        let rates = [("ContentRate", "/content_bytes"), ("ArchiveRate", "/archive_bytes")];
        metrics.extend(rates.into_iter().filter_map(|(name, at)| Some((name, "Bytes/Second", per_second(at)?))));
    }
    let directive = json!({
        "Timestamp": milliseconds,
        "CloudWatchMetrics": [{
            "Namespace": "BURST",
            "Dimensions": [["Command"]],
            "Metrics": metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect::<Vec<_>>(),
        }],
    });
    let mut line = Map::new();
    line.insert("_aws".into(), directive);
    line.insert("Command".into(), "restore".into());
    line.insert("Version".into(), env!("CARGO_PKG_VERSION").into());
    line.insert("Source".into(), source.into());
    line.insert("Target".into(), target.into());
    let error = outcome.as_ref().err();
    line.insert("ExitCode".into(), error.map_or(0, |e| e.kind().exit_code()).into());
    if let Some(error) = error {
        line.insert("Error".into(), error.to_string().into());
    }
    for (name, _, value) in metrics {
        // A whole number stays one.
        let value = if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) };
        line.insert(name.into(), value);
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn every_metric_that_is_named_has_a_number() {
        let report = json!({"content_bytes": 2_000_000, "parts": 3, "seconds_of_workers": {"total": null}});
        let failed = Err(Error::new(Kind::NoSpace, "full"));
        for outcome in [Ok(report), failed] {
            let line = emf("s3://b/k", "/t", 1_700_000_000_000, 2.0, &outcome);
            let named = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
            assert!(named.iter().all(|m| line[m["Name"].as_str().unwrap()].is_number()), "{line}");
            assert!(line["Command"].is_string());
            match outcome {
                Ok(_) => assert_eq!((&line["ContentRate"], &line["Failures"]), (&json!(1_000_000), &json!(0))),
                Err(_) => assert_eq!((&line["ExitCode"], &line["Failures"]), (&json!(15), &json!(1))),
            }
        }
    }
}
