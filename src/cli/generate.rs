//! `burst completions` and `burst man`: what a package installs beside the program, made from its command line.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::error::{Error, Kind, Result};

/// Prints the completions of a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst completions bash > /usr/share/bash-completion/completions/burst
  burst completions zsh > /usr/share/zsh/vendor-completions/_burst
  burst completions fish > /usr/share/fish/vendor_completions.d/burst.fish")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints a manual page, or writes all of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burst man | man -l -
  burst man restore | man -l -
  burst man --out /usr/share/man/man1")]
pub struct ManArgs {
    /// The command whose page is printed, for example restore or volume prepare [default: burst itself]
    #[arg(conflicts_with = "out")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "burst", &mut text);
    print(&text)
}

pub fn man(args: &ManArgs) -> Result<()> {
    if let Some(directory) = &args.out {
        let written = clap_mangen::generate_to(Cli::command(), directory);
        return written.map_err(|e| Error::io(format!("write manual pages into {}", directory.display()), e));
    }
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| unknown(command, name))?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text).map_err(|e| Error::io("write the manual page", e))?;
    print(&text)
}

fn unknown(command: &Command, name: &str) -> Error {
    let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    let message = format!("there is no command {name} of {}; it has: {}", command.get_name(), known.join(", "));
    Error::new(Kind::Usage, message)
}

fn print(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // The reader had enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Error::io("write to standard output", e)),
    }
}
