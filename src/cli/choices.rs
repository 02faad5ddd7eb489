//! What a run was tuned to, as rows of text: `burst plan` prints them, and they are logged.

use std::fmt::Display;

use serde_json::{Value, json};
use tracing::info;

use super::output::bytes;
use super::pipeline_args::Tuned;
use crate::tuning::policy::{Choice, Speed};

/// A choice: its name, its value as text and as a number, where it is from, why.
pub type Row = (&'static str, String, Value, String, String);

pub fn row<T: Display + Copy + Into<Value>>(name: &'static str, unit: &str, c: &Choice<T>) -> Row {
    (name, format!("{}{unit}", c.value), c.value.into(), c.origin.to_string(), c.reason.clone())
}

impl Tuned {
    pub fn rows(&self) -> Vec<Row> {
        let t = &self.tuning;
        let speed = |name, text: String, c: &Choice<Speed>| {
            let value = json!({ "baseline": c.value.baseline, "peak": c.value.peak });
            (name, text, value, c.origin.to_string(), c.reason.clone())
        };
        let gbps = |n: f64| format!("{n:.3} Gbit/s");
        let mut rows = Vec::new();
        rows.extend(t.network.as_ref().map(|c| speed("network", gbps(c.value.peak * 8.0 / 1e9), c)));
        rows.extend(t.interfaces.as_ref().map(|c| {
            ("interfaces", c.value.join(","), c.value.clone().into(), c.origin.to_string(), c.reason.clone())
        }));
        rows.extend(t.disk.as_ref().map(|c| speed("disk", format!("{}/s", bytes(c.value.peak as u64)), c)));
        rows.extend(
            t.target_gbps
                .as_ref()
                .map(|c| ("target_gbps", gbps(c.value), c.value.into(), c.origin.to_string(), c.reason.clone())),
        );
        rows.push(row("in_flight", "", &t.in_flight));
        rows.extend(t.most_in_flight.as_ref().map(|c| row("most_in_flight", "", c)));
        rows.push(row("workers", "", &t.workers));
        rows.push(row("request_size_mib", " MiB", &t.request_size_mib));
        rows.extend(t.memory_mib.as_ref().map(|c| row("memory_mib", " MiB", c)));
        rows
    }

    /// What the machine is, and what follows.
    pub fn log(&self) {
        let facts = &self.facts;
        info!(
            instance_type = facts.instance.as_ref().and_then(|i| i.instance_type.as_deref()),
            told_by = facts.instance.as_ref().map(|i| tracing::field::display(&i.told_by)),
            cpus = facts.cpus.usable,
            memory_available = facts.memory.available,
            kernel = facts.kernel.release,
            file_system = facts.target.as_ref().and_then(|target| target.file_system.as_deref()),
            "the machine and the target"
        );
        for note in &facts.notes {
            info!("{note}");
        }
        for (setting, value, _, from, reason) in self.rows() {
            info!(setting, value, from, reason, "chosen");
        }
    }
}
