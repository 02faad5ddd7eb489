//! SIGINT and SIGTERM end a run at the next opportunity, with everything tidied up; a second one ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};

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
