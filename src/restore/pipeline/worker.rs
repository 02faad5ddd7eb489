//! The threads that verify the parts as they arrive and hand them to the sink.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Arrival, PartPlan, Shared, Sink, TICK, VerifiedPart};
use crate::error::{Error, Result};
use crate::observe::{Event, Events};
use crate::restore::fetch_directory::Archive;
use crate::restore::report::add;
use crate::restore::selection::Selection;

/// What a worker does until there are no more parts, or the run has failed.
pub fn work<S: Sink>(
    archive: &Archive,
    selection: &Selection,
    sink: &S,
    shared: &Shared,
    receiver: &Receiver<Arrival>,
    events: &Events,
    begun: Instant,
) -> Result<()> {
    let started = Instant::now();
    let mut worker = sink.worker()?;
    loop {
        let idle_since = Instant::now();
        let Some(Arrival { at, parts, result, permit }) = next_arrival(receiver, shared) else {
            add(&shared.idle, idle_since.elapsed().as_nanos() as u64);
            shared.worker_ends(started);
            return Ok(());
        };
        add(&shared.idle, idle_since.elapsed().as_nanos() as u64);
        add(&shared.waited, idle_since.max(at).elapsed().as_nanos() as u64);
        let _working = Working::begin(&shared.working);
        let buffer = result?;
        let bytes = (*buffer).as_ref();
        let first = parts.first().map(|part| part.index).unwrap_or_default();
        events.emit(Event::Taken { first });
        let mut offset = 0;
        for PartPlan { index, entries } in parts {
            let range = archive.index.part_range(index);
            let length = (range.end - range.start) as usize;
            let bytes = bytes.get(offset..offset + length).unwrap_or_default();
            offset += length;
            let pieces = archive.index.read_part(index, bytes, &entries).map_err(|e| {
                let at = format!("{}: part {index} (bytes {}-{})", archive.source.name(), range.start, range.end - 1);
                Error::from(e).context(at)
            })?;
            sink.part(&mut worker, &VerifiedPart { index, bytes, entries: &entries, pieces: &pieces, selection })?;
            shared
                .first_part
                .compare_exchange(0, begun.elapsed().as_nanos() as u64, Ordering::Relaxed, Ordering::Relaxed)
                .ok();
            events.emit(Event::PartDone { part: index, bytes: length as u64 });
        }
        // The buffer goes back before the permit, which stands for its memory.
        drop(buffer);
        drop(permit);
        events.emit(Event::RequestDone { first });
    }
}

/// The next arrival; None when there will be none, or when the run has failed. Requests that never come back
/// must not keep a failed run from ending.
fn next_arrival(receiver: &Receiver<Arrival>, shared: &Shared) -> Option<Arrival> {
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(_) if shared.failed() => return None,
            Ok(arrival) => return Some(arrival),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if shared.failed() => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Counts a thread as working while it exists.
struct Working<'a>(&'a AtomicU64);

impl<'a> Working<'a> {
    fn begin(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Working(counter)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
