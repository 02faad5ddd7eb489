//! Waiting for disks: EC2 attaches volumes while the instance boots, and names them when it likes.

use std::time::{Duration, Instant};

use super::find::{Disk, Roots, Selector, disks};
use crate::error::{Error, Kind, Result};

/// How often is looked; sysfs of a machine with 30 disks takes a millisecond or two.
const EVERY: Duration = Duration::from_millis(250);

/// How long the set of instance store disks must stay the same: the kernel finds them one after the other.
const SETTLED: Duration = Duration::from_secs(1);

/// What the caller has to do with what is going on here.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// An error ends the wait.
    pub go_on: &'a dyn Fn() -> Result<()>,
    /// Is told what takes time, and what is remarkable.
    pub say: &'a dyn Fn(&str),
}

/// The chosen disks, each once, in the order they were chosen.
///
/// # Errors
/// [`Kind::Deadline`] when they are not there in time, [`Kind::NotFound`] if none was given.
pub fn find(selectors: &[Selector], wait: Duration, roots: &Roots, hooks: Hooks<'_>) -> Result<Vec<Disk>> {
    let begun = Instant::now();
    let mut said = false;
    // The set that was found last, and since when it is this one.
    let mut same: (Vec<std::path::PathBuf>, Instant) = (Vec::new(), begun);
    loop {
        (hooks.go_on)()?;
        let present = disks(roots)?;
        let mut found: Vec<Disk> = Vec::new();
        let mut missing: Vec<String> = Vec::new();
        for selector in selectors {
            let chosen = selector.choose(&present, roots)?;
            if chosen.is_empty() {
                missing.push(selector.to_string());
            }
            for disk in chosen {
                if found.iter().all(|other| other.path != disk.path) {
                    found.push(disk);
                }
            }
        }
        if missing.is_empty() {
            let paths: Vec<_> = found.iter().map(|disk| disk.path.clone()).collect();
            if same.0 != paths {
                same = (paths, Instant::now());
            }
            if !selectors.contains(&Selector::InstanceStore) || same.1.elapsed() >= SETTLED {
                return Ok(found);
            }
        } else {
            let missing = missing.join(", ");
            if begun.elapsed() >= wait {
                return Err(absent(&missing, wait, &present));
            }
            if !said {
                (hooks.say)(&format!("waiting up to {} s for {missing}", wait.as_secs()));
                said = true;
            }
        }
        std::thread::sleep(EVERY);
    }
}

fn absent(missing: &str, wait: Duration, present: &[Disk]) -> Error {
    let there = match present {
        [] => "there is no disk at all".to_owned(),
        some => format!("there are {}", some.iter().map(Disk::to_string).collect::<Vec<_>>().join(", ")),
    };
    match wait.as_secs() {
        0 => Error::new(Kind::NotFound, format!("{missing} is not attached ({there}); --wait 5m waits for it")),
        seconds => {
            let message = format!("{missing} was not attached within {seconds} s; {there}");
            Error::new(Kind::Deadline, message)
        }
    }
}
