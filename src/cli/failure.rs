//! How a failure is told: a line for a person, and with --json one object for a program (spec/json.md).

use std::error::Error as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::SCHEMA;
use super::{log, output};
use crate::error::{Error, Kind};

/// Whether --json is on the command line, also if that is wrong otherwise.
pub fn wants_json() -> bool {
    std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// Tells it; `piped`: standard output is an archive.
pub fn tell(error: &Error, piped: bool) -> ExitCode {
    log::failure(error);
    if wants_json() {
        print(&object(error), piped);
    }
    ExitCode::from(error.kind().exit_code())
}

/// A command line that is wrong, or asks for help.
pub fn tell_usage(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    let usage = Error::new(Kind::Usage, text.lines().next().unwrap_or_default().trim_start_matches("error: "));
    if error.use_stderr() && log::is_json() {
        log::failure(&usage);
    } else {
        // Nothing can be said where nobody listens.
        let _ = error.print();
    }
    if error.use_stderr() && wants_json() {
        print(&object(&usage), false);
    }
    ExitCode::from(error.exit_code() as u8)
}

fn print(object: &Value, piped: bool) {
    match piped {
        true => log::result(object),
        // The exit code is to be that of the failure, also where nobody listens.
        false => drop(output::print(object)),
    }
}

fn object(error: &Error) -> Value {
    let causes = std::iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string);
    json!({
        "schema": SCHEMA,
        "error": {
            "kind": error.kind().name(),
            "exit_code": error.kind().exit_code(),
            "message": error.to_string(),
            "causes": causes.collect::<Vec<_>>(),
            "hint": error.hint(),
        },
    })
}
