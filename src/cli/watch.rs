//! What a person, or systemd, sees of a run that goes on: a bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::log;
use super::output::bytes;
use super::systemd;
use super::timeline::Recorder;
use super::units;
use crate::observe::{Event, Events};
use crate::restore::Archive;

/// How often a bar is drawn.
const DRAW: Duration = Duration::from_millis(200);
/// How often systemd is told.
const TELL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Print only what went wrong
    #[arg(long, short)]
    pub quiet: bool,
    /// Time between two lines of progress, where there is no terminal for a bar
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::positive_duration)]
    progress_interval: Duration,
}

/// How a run is shown while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Bar,
    Lines(Duration),
    Nothing,
}

/// Shows a run until it is dropped.
pub struct Watch {
    pub events: Events,
    seen: Arc<Seen>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What has happened so far.
#[derive(Debug, Default)]
struct Seen {
    /// Bytes of the whole work, 0 = not known.
    total: AtomicU64,
    parts: AtomicU64,
    bytes_done: AtomicU64,
    parts_done: AtomicU64,
    /// Of these, what was there before.
    bytes_skipped: AtomicU64,
    requested: AtomicU64,
    arrived: AtomicU64,
    taken: AtomicU64,
    failed_attempts: AtomicU64,
    finishing: AtomicBool,
    syncing: AtomicBool,
    /// Draws a picture of the run at its end.
    recorder: Option<Recorder>,
}

impl WatchArgs {
    /// Begins to show a run; `silent`: only systemd hears of it. `verb` is what is done, "restoring".
    pub fn begin(&self, verb: &'static str, silent: bool, recorder: Option<Recorder>) -> Watch {
        let shown = match std::io::stderr().is_terminal() {
            _ if self.quiet => Shown::Nothing,
            true if log::leaves_room_for_a_bar() => Shown::Bar,
            false if silent => Shown::Nothing,
            _ => Shown::Lines(self.progress_interval),
        };
        Watch::begin(verb, shown, recorder)
    }
}

impl Watch {
    fn begin(verb: &'static str, shown: Shown, recorder: Option<Recorder>) -> Watch {
        let seen = Arc::new(Seen { recorder, ..Seen::default() });
        let listening = seen.clone();
        let events = Events::to(move |event| listening.note(event));
        let systemd = systemd::listens();
        if shown == Shown::Nothing && !systemd {
            return Watch { events, seen, stop: None, thread: None };
        }
        let (stop, stopped) = bounded(0);
        let showing = seen.clone();
        let show = move || {
            let bar = (shown == Shown::Bar).then(bar);
            let begun = Instant::now();
            let (mut said, mut told) = (begun, begun);
            let mut last = 0;
            let tick = if bar.is_some() { DRAW } else { Duration::from_millis(500) };
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(tick) {
                let state = showing.state(begun);
                if let Some(bar) = &bar {
                    draw(bar, &state);
                }
                if let Shown::Lines(interval) = shown
                    && said.elapsed() >= interval
                {
                    said = Instant::now();
                    state.say(verb);
                }
                if systemd && told.elapsed() >= TELL {
                    told = Instant::now();
                    // Before there is anything to tell, what was told last holds.
                    if state.begun {
                        systemd::status(&format!("{verb}: {}", state.line()));
                    }
                    // Without progress the unit's own timeout counts.
                    if std::mem::replace(&mut last, state.signs) != state.signs {
                        systemd::alive();
                    }
                }
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        };
        // Without the thread nothing is shown, and nothing else is lost.
        let thread = std::thread::Builder::new().name("burst-progress".into()).spawn(show).ok();
        Watch { events, seen, stop: Some(stop), thread }
    }

    fn total(&self, bytes: u64, parts: u64) {
        self.seen.total.store(bytes, Ordering::Relaxed);
        self.seen.parts.store(parts, Ordering::Relaxed);
    }

    /// There is to do what an archive holds.
    pub fn archive(&self, archive: &Archive) {
        let trailer = &archive.index.trailer;
        tracing::info!(
            archive = archive.source.name(),
            version = archive.source.version(),
            bytes = archive.source.len(),
            parts = trailer.parts,
            entries = trailer.entries,
            content_bytes = trailer.content_bytes,
            "the archive is there"
        );
        self.total(trailer.data_end, trailer.parts);
    }

    /// Ends what is shown, before something else is printed.
    pub fn end(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and harms nothing.
            let _ = thread.join();
        }
    }

    pub fn recorder(&self) -> Option<&Recorder> {
        self.seen.recorder.as_ref()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

impl Seen {
    fn note(&self, event: Event) {
        let add = |counter: &AtomicU64, n: u64| {
            counter.fetch_add(n, Ordering::Relaxed);
        };
        log::event(event);
        match event {
            Event::Skipped { bytes, .. } => {
                add(&self.bytes_skipped, bytes);
                add(&self.bytes_done, bytes);
                add(&self.parts_done, 1);
            }
            Event::Requested { .. } => add(&self.requested, 1),
            Event::Arrived { .. } => add(&self.arrived, 1),
            Event::Taken { .. } => add(&self.taken, 1),
            Event::PartDone { bytes, .. } => {
                add(&self.bytes_done, bytes);
                add(&self.parts_done, 1);
            }
            Event::Streamed { bytes } => add(&self.bytes_done, bytes),
            // Of a selection it is known only now how much is needed.
            Event::AllRequested { parts, bytes, skipped } => {
                self.total.store(bytes + self.bytes_skipped.load(Ordering::Relaxed), Ordering::Relaxed);
                self.parts.store(parts + skipped, Ordering::Relaxed);
            }
            Event::AttemptFailed => add(&self.failed_attempts, 1),
            Event::Finishing => {
                self.finishing.store(true, Ordering::Relaxed);
                systemd::alive_for_long();
            }
            Event::Syncing => {
                self.syncing.store(true, Ordering::Relaxed);
                systemd::alive_for_long();
            }
            _ => {}
        }
        if let Some(recorder) = &self.recorder {
            recorder.note(event);
        }
    }

    fn state(&self, begun: Instant) -> State {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Read backwards, so that no difference is negative.
        let taken = get(&self.taken);
        let arrived = get(&self.arrived);
        let requested = get(&self.requested);
        State {
            done: get(&self.bytes_done),
            total: get(&self.total),
            skipped: get(&self.bytes_skipped),
            parts_done: get(&self.parts_done),
            parts: get(&self.parts),
            waiting_for: if self.syncing.load(Ordering::Relaxed) {
                "waiting for the disk".to_owned()
            } else if self.finishing.load(Ordering::Relaxed) {
                "content is in place, finishing".to_owned()
            } else if arrived > taken + 1 {
                "waiting for disk and CPU".to_owned()
            } else if requested > arrived {
                format!("waiting for {}", super::output::count(requested - arrived, "request"))
            } else {
                String::new()
            },
            failed_attempts: get(&self.failed_attempts),
            elapsed: begun.elapsed(),
            begun: requested > 0 || get(&self.bytes_done) > 0,
            signs: arrived + get(&self.parts_done) + get(&self.bytes_done),
        }
    }
}

/// One moment of a run.
struct State {
    done: u64,
    total: u64,
    skipped: u64,
    parts_done: u64,
    parts: u64,
    waiting_for: String,
    failed_attempts: u64,
    elapsed: Duration,
    /// Something was asked for, or is there.
    begun: bool,
    /// Changes with every sign of progress.
    signs: u64,
}

impl State {
    /// "45 % (1.23 GB of 2.70 GB, 147 of 322 parts), 812 MB/s, 2 s left, waiting for 16 requests"
    fn line(&self) -> String {
        let mut line = match self.percent() {
            Some(percent) => format!("{percent} % ({} of {}", bytes(self.done), bytes(self.total)),
            None => format!("({} so far", bytes(self.done)),
        };
        if self.parts > 0 {
            line += &format!(", {} of {} parts", self.parts_done, self.parts);
        }
        let rate = self.rate();
        line += &format!("), {}/s", bytes(rate as u64));
        if let Some(left) = self.left() {
            line += &format!(", {} s left", left.as_secs());
        }
        line + &self.tail()
    }

    fn say(&self, verb: &str) {
        let known = |n: u64| Some(n).filter(|&n| n > 0);
        let text = format_args!("{verb}: {}", self.line());
        log::progress(text, self.done, known(self.total), self.parts_done, known(self.parts));
    }

    fn tail(&self) -> String {
        let mut tail = String::new();
        if !self.waiting_for.is_empty() {
            tail += &format!(", {}", self.waiting_for);
        }
        if self.failed_attempts > 0 {
            tail += &format!(", {} failed", super::output::count(self.failed_attempts, "attempt"));
        }
        tail
    }

    fn percent(&self) -> Option<u64> {
        (self.done.min(self.total) * 100).checked_div(self.total)
    }

    /// Bytes per second since the beginning, without what was there before.
    fn rate(&self) -> f64 {
        self.done.saturating_sub(self.skipped) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn left(&self) -> Option<Duration> {
        let rate = self.rate();
        let left = self.total.checked_sub(self.done).filter(|_| self.total > 0 && rate > 0.0)?;
        Duration::try_from_secs_f64((left as f64 / rate).ceil()).ok()
    }
}

/// Colours, unless NO_COLOR forbids them, are up to `console`.
fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length().with_style(style("{spinner} {bytes}, {bytes_per_sec}, {elapsed}{msg}"));
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    bar
}

fn draw(bar: &ProgressBar, state: &State) {
    if state.total > 0 && bar.length() != Some(state.total) {
        bar.set_style(style("{bar:28.cyan} {percent:>3}% {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left{msg}"));
        bar.set_length(state.total);
    }
    bar.set_position(state.done);
    let parts = if state.parts > 0 { format!(", part {}/{}", state.parts_done, state.parts) } else { String::new() };
    bar.set_message(parts + &state.tail());
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_what_is_waited_for() {
        let seen = Seen::default();
        seen.total.store(400_000_000, Ordering::Relaxed);
        seen.parts.store(4, Ordering::Relaxed);
        for first in 0..3 {
            seen.note(Event::Requested { first, parts: 1, bytes: 100_000_000 });
        }
        seen.note(Event::Arrived { first: 0, bytes: 100_000_000, good: true });
        seen.note(Event::Taken { first: 0 });
        seen.note(Event::PartDone { part: 0, bytes: 100_000_000 });
        seen.note(Event::AttemptFailed);
        let state = State { elapsed: Duration::from_secs(2), ..seen.state(Instant::now()) };
        assert_eq!(
            state.line(),
            "25 % (100.00 MB of 400.00 MB, 1 of 4 parts), 50.00 MB/s, 6 s left, waiting for 2 requests, 1 attempt failed"
        );
    }

    #[test]
    fn of_a_stream_only_what_came_is_known() {
        let seen = Seen::default();
        seen.note(Event::Streamed { bytes: 5_000_000 });
        let state = State { elapsed: Duration::from_secs(1), ..seen.state(Instant::now()) };
        assert_eq!(state.line(), "(5.00 MB so far), 5.00 MB/s");
    }

    #[test]
    fn what_was_there_before_does_not_make_it_faster() {
        let seen = Seen::default();
        seen.note(Event::Skipped { part: 0, bytes: 80_000_000 });
        seen.note(Event::Requested { first: 1, parts: 1, bytes: 20_000_000 });
        seen.note(Event::AllRequested { parts: 1, bytes: 20_000_000, skipped: 1 });
        let state = State { elapsed: Duration::from_secs(1), ..seen.state(Instant::now()) };
        assert_eq!(state.percent(), Some(80));
        assert_eq!(state.rate(), 0.0);
        assert_eq!(state.left(), None);
    }
}
