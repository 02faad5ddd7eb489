//! SIGINT, SIGTERM and `--deadline` end a run at the next opportunity, with everything tidied up; a second signal
//! ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::log;
use crate::error::{Error, Kind, Result};
use crate::restore::TIME_IS_OVER;

/// How long after the deadline a run may take to stop by itself, before the process ends as it is: a call that does
/// not come back (a dead disk, a silent pipe) must not keep a boot waiting.
const GRACE: Duration = Duration::from_secs(5);

/// The flag that the library looks at: 0, or the number of the signal that came.
pub fn stop_flag() -> Result<Arc<AtomicUsize>> {
    let stop = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        let seen = Arc::new(AtomicBool::new(false));
        // In this order: the first signal passes the shutdown and arms it for the second.
        flag::register_conditional_shutdown(signal, 128 + signal, seen.clone())
            .and_then(|_| flag::register(signal, seen))
            .and_then(|_| flag::register_usize(signal, stop.clone(), signal as usize))
            .map_err(|e| Error::io("listen for signals", e))?;
    }
    Ok(stop)
}

/// Ends the run that looks at `stop` when `limit` is over.
pub fn set_deadline(limit: Duration, stop: &Arc<AtomicUsize>) -> Result<()> {
    let stop = stop.clone();
    let watch = move || {
        std::thread::sleep(limit);
        // A signal that came before is what gets reported.
        let _ = stop.compare_exchange(0, TIME_IS_OVER, Ordering::SeqCst, Ordering::SeqCst);
        std::thread::sleep(GRACE);
        let message = "the time allowed for the whole run (--deadline) is over, and it did not stop: ended";
        log::failure(&Error::new(Kind::Deadline, message));
        std::process::exit(Kind::Deadline.exit_code().into());
    };
    std::thread::Builder::new()
        .name("burst-deadline".into())
        .spawn(watch)
        .map(drop)
        .map_err(|e| Error::io("start the thread that watches the time", e))
}
