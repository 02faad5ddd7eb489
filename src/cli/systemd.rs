//! What systemd is told of a run, sd_notify(3). Where nobody listens, nothing happens.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How long systemd is to wait for the next sign of life. Much longer than the time without any progress after which a
/// request is given up, so that a run that fails says why.
const PATIENCE: Duration = Duration::from_secs(300);

/// The same for what the program cannot see into: the kernel writes out all that memory holds.
const LONG_PATIENCE: Duration = Duration::from_secs(3600);

/// How often signs of life are passed on.
const EVERY: Duration = Duration::from_secs(1);

/// Whether systemd asked to be told.
pub fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// What is going on: one line, as each line of a message is a statement of its own.
pub fn status(text: &str) {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    tell(NotifyState::Status(&line));
}

/// All is done: what is ordered after the unit may start.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// There is progress, or a wait that ends by itself: so this does not hang.
pub fn alive() {
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    if let Ok(mut told) = TOLD.lock()
        && told.is_none_or(|at| at.elapsed() >= EVERY)
    {
        *told = Some(Instant::now());
        extend(PATIENCE);
    }
}

/// From here on nothing may be seen for long.
pub fn alive_for_long() {
    extend(LONG_PATIENCE);
}

fn extend(time: Duration) {
    tell(NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)));
}

fn tell(what: NotifyState<'_>) {
    // Nobody may be there to listen.
    let _ = sd_notify::notify(&[what]);
}
