//! Waiting for disks: EC2 attaches volumes while the instance boots, and names them when it likes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::find::{Disk, Roots, Selector, disks};
use crate::error::{Error, Kind, Result};

/// How often is looked; sysfs of a machine with 30 disks takes a millisecond or two.
const EVERY: Duration = Duration::from_millis(250);

/// How often EC2 is asked for the volumes that have a tag: its API is one for all instances of an account.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How long the set of instance store disks must stay the same: the kernel finds them one after the other.
const SETTLED: Duration = Duration::from_secs(1);

/// What the caller has to do with what is going on here.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// An error ends the wait.
    pub go_on: &'a dyn Fn() -> Result<()>,
    /// Is told what takes time, and what is remarkable.
    pub say: &'a dyn Fn(&str),
    /// Ids of the volumes of this instance that have a tag (its key and value), attached or on the way.
    pub tagged: &'a dyn Fn(&str, &str) -> Result<Vec<String>>,
}

/// The chosen disks, each once, in the order they were chosen.
///
/// # Errors
/// [`Kind::Deadline`] when they are not there in time, [`Kind::NotFound`] if none was given.
pub fn find(selectors: &[Selector], wait: Duration, roots: &Roots, hooks: Hooks<'_>) -> Result<Vec<Disk>> {
    let begun = Instant::now();
    let mut said = false;
    let mut tagged = Tagged { hooks, known: HashMap::new() };
    // The set that was found last, and since when it is this one.
    let mut same: (Vec<std::path::PathBuf>, Instant) = (Vec::new(), begun);
    loop {
        (hooks.go_on)()?;
        let present = disks(roots)?;
        let mut found: Vec<Disk> = Vec::new();
        let mut missing: Vec<String> = Vec::new();
        let mut wanted: Vec<Selector> = Vec::new();
        for selector in selectors {
            match selector {
                Selector::Tag { key, value } => match tagged.volumes(key, value, begun.elapsed() < wait)? {
                    [] => missing.push(selector.to_string()),
                    ids => wanted.extend(ids.iter().cloned().map(Selector::Volume)),
                },
                other => wanted.push(other.clone()),
            }
        }
        for selector in &wanted {
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

/// What EC2 said about tags, and when.
struct Tagged<'a> {
    hooks: Hooks<'a>,
    known: HashMap<(String, String), (Instant, Vec<String>)>,
}

impl Tagged<'_> {
    /// Ids of volumes. While there is time, a service that cannot be reached counts as one that knows none (yet).
    fn volumes(&mut self, key: &str, value: &str, time: bool) -> Result<&[String]> {
        let tag = (key.to_owned(), value.to_owned());
        if self.known.get(&tag).is_none_or(|(asked, _)| asked.elapsed() >= ASK_EVERY) {
            let found = match (self.hooks.tagged)(key, value) {
                Err(error) if time && error.kind() == Kind::Unavailable => {
                    (self.hooks.say)(&error.to_string());
                    Vec::new()
                }
                found => found?,
            };
            self.known.insert(tag.clone(), (Instant::now(), found));
        }
        Ok(self.known.get(&tag).map_or(&[], |(_, ids)| ids.as_slice()))
    }
}

fn absent(missing: &str, wait: Duration, present: &[Disk]) -> Error {
    let there = match present {
        [] => "there is no disk at all".to_owned(),
        [one] => format!("there is only {one}"),
        some => format!("there are {}", some.iter().map(Disk::to_string).collect::<Vec<_>>().join(", ")),
    };
    match wait.as_secs() {
        0 => Error::new(Kind::NotFound, format!("{missing} is not attached; {there}"))
            .with_hint("attach it, or allow time for that: --wait 5m, in a job wait_seconds"),
        seconds => {
            let message = format!("{missing} was not attached within {seconds} s; {there}");
            Error::new(Kind::Deadline, message).with_hint(
                "attach it to this instance, or allow more time (--wait, in a job wait_seconds); `burst volume list` shows what is there",
            )
        }
    }
}
