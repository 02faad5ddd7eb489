//! How many CPUs and how much memory this process may use: of the machine, less what its control groups withhold.

use std::path::{Path, PathBuf};

use super::{Roots, field, text};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpus {
    /// What this process may use: CPUs it may run on, at most the quota, at least 1.
    pub usable: usize,
    /// Of the machine.
    pub online: usize,
    /// CPUs that the control groups allow, if they limit them.
    pub quota: Option<f64>,
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine; 0 if unknown.
    pub total: u64,
    /// What can be used now without pushing out anything but caches.
    pub available: u64,
    /// What the control groups allow, if they limit it.
    pub limit: Option<u64>,
}

/// `status` is `/proc/self/status`.
pub fn cpus(roots: &Roots, status: &str) -> Cpus {
    let online = text(&roots.sys.join("devices/system/cpu/online")).and_then(|list| count(&list));
    let allowed = field(status, "Cpus_allowed_list:").and_then(count);
    let quota = groups(roots, "cpu").into_iter().filter_map(|group| cpu_quota(&group)).reduce(f64::min);
    let most = allowed.or(online).unwrap_or(1);
    let usable = quota.map_or(most, |quota| most.min(quota as usize)).max(1);
    Cpus { usable, online: online.unwrap_or(most), quota }
}

pub fn memory(roots: &Roots) -> Memory {
    let info = text(&roots.proc.join("meminfo")).unwrap_or_default();
    let kib = |name| field(&info, name).and_then(|v| v.split(' ').next()?.parse::<u64>().ok()).map(|n| n << 10);
    let total = kib("MemTotal:").unwrap_or(0);
    let mut memory = Memory { total, available: kib("MemAvailable:").unwrap_or(total / 2), limit: None };
    for (limit, used) in groups(roots, "memory").into_iter().filter_map(|group| memory_limit(&group)) {
        // The first version says "no limit" with a number larger than any machine.
        if limit < total || total == 0 {
            memory.limit = Some(memory.limit.map_or(limit, |known| known.min(limit)));
            memory.available = memory.available.min(limit.saturating_sub(used));
        }
    }
    memory
}

/// The number of CPUs in a list like "0-3,8".
fn count(list: &str) -> Option<usize> {
    list.split(',').try_fold(0, |sum, range| {
        let (first, last) = range.trim().split_once('-').unwrap_or((range.trim(), range.trim()));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + (last + 1).checked_sub(first)?)
    })
}

/// Directories of the control groups of this process and all above them, of both versions, that may have a limit of
/// this controller.
fn groups(roots: &Roots, controller: &str) -> Vec<PathBuf> {
    let mounts = roots.sys.join("fs/cgroup");
    let mut found = Vec::new();
    for line in text(&roots.proc.join("self/cgroup")).unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let mount = match controllers {
            // Version 2.
            "" => mounts.clone(),
            _ if controllers.split(',').any(|c| c == controller) => {
                let named = mounts.join(controller);
                if named.exists() { named } else { mounts.join(controllers) }
            }
            _ => continue,
        };
        // In a container the path may be the host's, which is not there: what is mounted then is its own group.
        let path = Path::new(path.trim_start_matches('/'));
        if path.components().all(|c| matches!(c, std::path::Component::Normal(_))) {
            found.extend(path.ancestors().map(|above| mount.join(above)));
        }
    }
    found
}

fn cpu_quota(group: &Path) -> Option<f64> {
    let number = |name: &str| text(&group.join(name))?.parse::<f64>().ok();
    let (quota, period) = match text(&group.join("cpu.max")) {
        Some(line) => {
            let (quota, period) = line.split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
        // -1 is no limit.
        None => (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?),
    };
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// Limit and what is used of it that caches cannot give back.
fn memory_limit(group: &Path) -> Option<(u64, u64)> {
    let number = |name: &str| text(&group.join(name))?.parse::<u64>().ok();
    let stat = text(&group.join("memory.stat")).unwrap_or_default();
    let cached = |name| field(&stat, name).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let (limit, used, cache) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current").unwrap_or(0), cached("file ")),
        None => {
            (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes").unwrap_or(0), cached("total_cache "))
        }
    };
    Some((limit, used.saturating_sub(cache)))
}
