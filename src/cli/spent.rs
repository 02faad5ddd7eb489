//! What decided how long a restore took, and where the time of its workers went.

use std::time::{Duration, Instant};

use super::log;
use super::pipeline_args::Tuned;
use crate::restore::{Report, Spent};
use crate::tuning::policy::{Bound, Expectation, Work, expect};

/// How long a restore took, beside what was to be expected.
pub struct Took {
    time: Duration,
    finishing: Duration,
    spent: Option<Spent>,
    expected: Option<Expectation>,
}

impl Took {
    /// `device`: onto a blank one.
    pub fn of(tuned: &Tuned, report: &Report, begun: Instant, device: bool) -> Took {
        let archive_bytes = report.fetched.bytes;
        let encoded = report.not_encoded.is_none();
        let work = Work {
            archive_bytes,
            content_bytes: report.content_bytes,
            stored_bytes: if encoded { archive_bytes } else { report.content_bytes },
            entries: report.files + report.directories + report.symlinks + report.hard_links + report.nodes,
            device,
        };
        // From standard input the network is somebody else's.
        let expected = (archive_bytes > 0).then(|| expect(&tuned.tuning, &work));
        Took { time: begun.elapsed(), finishing: report.finishing, spent: report.spent(), expected }
    }

    /// Of the speed that was possible, 1 = all; None if it is not known. What the CPU allows is an estimate.
    fn achieved(&self) -> Option<f64> {
        let expected = self.expected.as_ref().filter(|e| matches!(e.bound, Some(Bound::Network | Bound::Disk)))?;
        Some(expected.seconds / self.time.as_secs_f64().max(1e-9))
    }

    pub fn say(&self) {
        match (self.expected.as_ref().filter(|e| e.bound.is_some()), self.achieved()) {
            (Some(e), Some(achieved)) => {
                log::say(format_args!("bound: {}, achieved {:.0} %", bound(e), 100.0 * achieved));
            }
            (Some(e), None) => log::say(format_args!("bound: {} of {:.2} s", bound(e), e.seconds)),
            (None, _) => {}
        }
        let Some(spent) = self.spent else { return };
        let share = |part: Duration| 100.0 * part.as_secs_f64() / spent.total.as_secs_f64().max(1e-9);
        log::say(format_args!(
            "workers: {:.0} % waiting for data, {:.0} % at work, {:.0} % waiting for the disk, {:.0} % for a CPU; \
             {:.2} s to finish",
            share(spent.waiting_for_data),
            share(spent.at_work),
            share(spent.waiting_for_disk),
            share(spent.waiting_for_cpu),
            self.finishing.as_secs_f64(),
        ));
    }

    pub fn add_to(&self, report: &mut serde_json::Value) {
        let seconds = |of: fn(&Spent) -> Duration| self.spent.as_ref().map(|spent| of(spent).as_secs_f64());
        report["seconds_of_workers"] = serde_json::json!({
            "total": seconds(|s| s.total),
            "waiting_for_data": seconds(|s| s.waiting_for_data),
            "at_work": seconds(|s| s.at_work),
            "waiting_for_disk": seconds(|s| s.waiting_for_disk),
            "waiting_for_cpu": seconds(|s| s.waiting_for_cpu),
        });
        report["seconds_finishing"] = self.finishing.as_secs_f64().into();
        report["expected"] = self.expected.as_ref().map_or(serde_json::Value::Null, json);
        report["achieved"] = self.achieved().into();
    }
}

/// "disk 1.51 GB/s"
pub fn bound(e: &Expectation) -> String {
    match e.bound {
        Some(Bound::Network) => format!("network {:.3} Gbit/s", e.rate * 8.0 / 1e9),
        Some(Bound::Disk) => format!("disk {}/s", super::output::bytes(e.rate as u64)),
        Some(Bound::Cpu) => "CPU (an estimate)".to_owned(),
        None => "not known".to_owned(),
    }
}

pub fn json(e: &Expectation) -> serde_json::Value {
    let name = e.bound.map(|bound| match bound {
        Bound::Network => "network",
        Bound::Disk => "disk",
        Bound::Cpu => "cpu",
    });
    serde_json::json!({
        "bound": name,
        "seconds": e.bound.map(|_| e.seconds),
        "bytes_per_second": e.bound.map(|_| e.rate),
        "network_seconds": e.network_seconds,
        "disk_seconds": e.disk_seconds,
        "cpu_seconds": e.cpu_seconds,
    })
}
