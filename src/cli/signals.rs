//! SIGINT and SIGTERM end a run at the next opportunity; a second one ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// The flag that the library looks at: 0, or the number of the signal that came.
pub fn stop_flag() -> Result<Arc<AtomicI32>> {
    let flag = Arc::new(AtomicI32::new(0));
    for signal in [SIGINT, SIGTERM] {
        let failed = |e| Error::io("install a signal handler", e);
        let seen = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, seen.clone()).map_err(failed)?;
        signal_hook::flag::register(signal, seen).map_err(failed)?;
        let mut signals = signal_hook::iterator::Signals::new([signal]).map_err(failed)?;
        let flag = flag.clone();
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                flag.store(signal, Ordering::Relaxed);
            }
        });
    }
    Ok(flag)
}
