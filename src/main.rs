//! The `burst` program: parses the command line, runs one command, exits with its documented code.

use std::process::ExitCode;

fn main() -> ExitCode {
    burst::cli::main()
}
