//! How a run is told to stop: by a signal, or because its time is over.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use crate::error::{Error, Kind, Result};

/// Set to a signal's number, or to [`TIME_IS_OVER`], to make a run stop at the next opportunity; 0 = go on.
pub type StopFlag = AtomicUsize;

/// Value of a [`StopFlag`]: the time allowed for the whole run is over.
pub const TIME_IS_OVER: usize = usize::MAX;

/// An error if a signal asked to stop, or the time is over.
pub fn check_stop(stop: &StopFlag) -> Result<()> {
    match stop.load(Ordering::Relaxed) {
        0 => Ok(()),
        TIME_IS_OVER => Err(Error::new(Kind::Deadline, "the time allowed for the whole run (--deadline) is over")),
        signal => {
            let name = Signal::try_from(signal as i32).map_or("a signal", Signal::as_str);
            Err(Error::new(Kind::Interrupted(signal as i32), format!("stopped by {name} (signal {signal})")))
        }
    }
}
