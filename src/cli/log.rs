//! What goes to standard error: lines for people, and the log of what a run decides and does. One subscriber writes
//! both, as text or, with `--log-format json`, as one JSON object a line (spec/json.md).
//!
//! What is said to people ([`say`], [`notice`], [`trouble`], [`failure`]) is always written, in text as it is. The log
//! is the `tracing` events of this program: decisions at level INFO (`-v`), each part at level DEBUG (`-vv`).

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use clap::{ArgAction, Args};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, debug, error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use super::choices::Row;
use super::pipeline_args::config_file;
use crate::error::{Error, Result};
use crate::observe::Event;
use crate::tuning::Settings;
use crate::tuning::settings::{self, CONFIG_FILE, LogFormat, LogLevel, Origin};

/// Targets of what is said to people; the prefix of a line of text goes with each.
const SAY: &str = "burst::say";
const NOTICE: &str = "burst::say::notice";
const TROUBLE: &str = "burst::say::trouble";

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Log what is decided and why (-v), and each part (-vv), on standard error
    ///
    /// Also BURST_LOG=info or debug, or log = "info" in /etc/burst/config.toml.
    #[arg(long, short, action = ArgAction::Count, global = true)]
    verbose: u8,
    /// How lines on standard error look: text, or json for log collectors [default: text]
    ///
    /// Also BURST_LOG_FORMAT, or log_format in /etc/burst/config.toml.
    #[arg(long, value_name = "FORMAT", global = true, hide_possible_values = true)]
    log_format: Option<LogFormat>,
}

/// What is logged, and how; each with where that is from.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    pub level: (LogLevel, Origin),
    pub format: (LogFormat, Origin),
}

impl Log {
    /// As `burst plan` shows settings.
    pub fn rows(&self) -> [Row; 2] {
        let row = |name, value: &str, from: Origin, reason: &str| {
            (name, value.to_owned(), Value::from(value), from.to_string(), reason.to_owned())
        };
        let level = match self.level.0 {
            LogLevel::Warn => row("log", "warn", self.level.1, "-v logs decisions, -vv each part"),
            LogLevel::Info => row("log", "info", self.level.1, "decisions are logged"),
            LogLevel::Debug => row("log", "debug", self.level.1, "decisions and each part are logged"),
        };
        let format = match self.format.0 {
            LogFormat::Text => row("log_format", "text", self.format.1, "for people"),
            LogFormat::Json => row("log_format", "json", self.format.1, "for log collectors"),
        };
        [level, format]
    }
}

static LOG: OnceLock<Log> = OnceLock::new();

impl LogArgs {
    pub fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// Begins to log. If the environment or the configuration file is wrong, this can be said nevertheless. `quiet`: only
    /// trouble, whatever they ask for.
    pub fn begin(&self, quiet: bool) -> Result<()> {
        let level = match self.verbose {
            0 if quiet => Some(LogLevel::Warn),
            0 => None,
            1 => Some(LogLevel::Info),
            _ => Some(LogLevel::Debug),
        };
        begin(Settings { log: level, log_format: self.log_format, ..Settings::default() })
    }
}

/// Begins to log where the command line is wrong: in the format that it seems to ask for.
pub fn begin_unparsed() {
    let arguments: Vec<_> = std::env::args_os().skip(1).take_while(|argument| argument != "--").collect();
    let is_json =
        |pair: &[std::ffi::OsString]| matches!(pair, [flag, value] if flag == "--log-format" && value == "json");
    let json = arguments.iter().any(|a| a == OsStr::new("--log-format=json")) || arguments.windows(2).any(is_json);
    // What is wrong with the command line comes first.
    let _ = begin(Settings { log_format: json.then_some(LogFormat::Json), ..Settings::default() });
}

/// Flags over environment over configuration file, as for all settings.
fn begin(flags: Settings) -> Result<()> {
    let mut failed = None;
    let mut or_none = |found: Result<Settings>| {
        found.unwrap_or_else(|e| {
            failed.get_or_insert(e);
            Settings::default()
        })
    };
    // One by one: that one is wrong must be said in the format that the other names.
    let mut only =
        |wanted| or_none(Settings::from_environment(|name| std::env::var(name).ok().filter(|_| name == wanted)));
    let (level, format) = (only("BURST_LOG"), only("BURST_LOG_FORMAT"));
    let environment = Settings { log_format: format.log_format, ..level };
    // Its other values are checked by the commands that use them, and named there with the file.
    let file = or_none(config_file().map(|(_, file)| Settings {
        log: file.log,
        log_format: file.log_format,
        ..Settings::default()
    }));
    let given = settings::layered(flags, environment, file, Path::new(CONFIG_FILE))?;
    install(Log {
        level: given.log.unwrap_or((LogLevel::default(), Origin::Default)),
        format: given.log_format.unwrap_or((LogFormat::default(), Origin::Default)),
    });
    failed.map_or(Ok(()), Err)
}

fn install(log: Log) {
    let level = match log.level.0 {
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Of other crates nothing: nobody has looked at what they put into their events.
    let wanted = Targets::new().with_target("burst", level).with_target(SAY, LevelFilter::INFO);
    let registry = tracing_subscriber::registry().with(wanted);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Fails only if there is one already.
    let _ = match log.format.0 {
        LogFormat::Text => tracing::subscriber::set_global_default(registry.with(layer.event_format(Text))),
        LogFormat::Json => {
            std::panic::set_hook(Box::new(|panic| tracing::error!(target: TROUBLE, "{panic}")));
            let json =
                layer.json().flatten_event(true).with_target(false).with_current_span(false).with_span_list(false);
            tracing::subscriber::set_global_default(registry.with(json))
        }
    };
    let _ = LOG.set(log);
}

/// What was chosen; the defaults before that.
pub fn chosen() -> Log {
    let default = Log { level: (LogLevel::Warn, Origin::Default), format: (LogFormat::Text, Origin::Default) };
    LOG.get().copied().unwrap_or(default)
}

pub fn is_json() -> bool {
    chosen().format.0 == LogFormat::Json
}

/// Whether a bar would not be torn by lines, nor tear them.
pub fn leaves_room_for_a_bar() -> bool {
    !is_json() && chosen().level.0 == LogLevel::Warn
}

/// A line for people.
pub fn say(text: impl fmt::Display) {
    info!(target: SAY, "{text}");
}

/// How far a run is.
pub fn progress(text: impl fmt::Display, bytes_done: u64, bytes: Option<u64>, parts_done: u64, parts: Option<u64>) {
    info!(target: SAY, bytes_done, bytes, parts_done, parts, "{text}");
}

/// Something that is not as one might expect.
pub fn notice(text: impl fmt::Display) {
    warn!(target: NOTICE, "{text}");
}

/// Something that went wrong, and did not end the run.
pub fn trouble(text: impl fmt::Display) {
    warn!(target: TROUBLE, "{text}");
}

/// What ended the run.
pub fn failure(error: &Error) {
    let kind = error.kind();
    match error.hint() {
        // One line, whoever reads it.
        Some(hint) if !is_json() => error!(target: TROUBLE, "{error}. Hint: {hint}"),
        hint => error!(target: TROUBLE, kind = kind.name(), exit_code = kind.exit_code(), hint, "{error}"),
    }
}

/// A JSON object that is the result of the command, where standard output is an archive.
pub fn result(object: &Value) {
    eprintln!("{object}");
}

/// One line for each event of a run that is worth one.
pub fn event(event: Event) {
    match event {
        Event::Requested { first, parts, bytes } => debug!(part = first, parts, bytes, "parts requested"),
        Event::Arrived { first, bytes, good } => debug!(part = first, bytes, good, "parts arrived"),
        Event::PartDone { part, bytes } => debug!(part, bytes, "part done"),
        Event::Skipped { part, bytes } => debug!(part, bytes, "part found in place"),
        Event::DirectoryRead => info!("the directory is read"),
        Event::AllRequested { parts, bytes, skipped } => {
            info!(parts, bytes, parts_there = skipped, "all parts that are needed are requested");
        }
        Event::Checkpoint { parts, took } => info!(parts, seconds = took.as_secs_f64(), "checkpoint"),
        Event::Finishing => info!("all content is in place; what remains is links and directories, or trees"),
        Event::Syncing => info!("all is in place; it goes to the disk, and is then marked as complete"),
        // Told with its cause where that is known.
        Event::AttemptFailed => {}
        // Of a request between its arrival and its parts; of a stream, each piece.
        _ => {}
    }
}

/// Lines of text.
struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let prefix = match event.metadata().target() {
            SAY => "",
            NOTICE => "notice: ",
            TROUBLE => "burst: ",
            _ => {
                SystemTime.format_time(&mut out)?;
                write!(out, " {} ", event.metadata().level())?;
                context.format_fields(out.by_ref(), event)?;
                return writeln!(out);
            }
        };
        out.write_str(prefix)?;
        let mut message = Message { out: out.by_ref(), result: Ok(()) };
        event.record(&mut message);
        message.result?;
        writeln!(out)
    }
}

/// Of an event only its message.
struct Message<'a> {
    out: Writer<'a>,
    result: fmt::Result,
}

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.result = write!(self.out, "{value:?}");
        }
    }
}
