//! The command line: the only code that reads flags or the environment, and the only code that prints.

mod exit_code;
mod failure;
mod generate;
mod image;
mod image_args;
mod level_arg;
mod ls;
mod metrics;
mod output;
mod pipeline_args;
mod plan;
mod restore;
mod run;
mod s3_args;
mod select_args;
mod signals;
mod snapshot;
mod snapshot_summary;
mod spent;
mod start_jitter;
mod status;
mod systemd;
mod timeline;
mod upload_args;
mod verify;
mod volume;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Restores one S3 object to a file tree on BTRFS as fast as the hardware allows, and makes such objects.
#[derive(Debug, Parser)]
#[command(name = "burst", version, max_term_width = 100, after_help = exit_code::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Restore(restore::RestoreArgs),
    Plan(plan::PlanArgs),
    Status(status::StatusArgs),
    Snapshot(snapshot::SnapshotArgs),
    Ls(ls::LsArgs),
    Verify(verify::VerifyArgs),
    Image(image::ImageCommandArgs),
    Volume(volume::VolumeArgs),
    Run(run::RunArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    // 2 for a wrong command line and 0 for --help and --version.
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::tell_usage(&error),
    };
    let piped = matches!(&cli.command, Command::Snapshot(args) if args.is_piped());
    let result = match cli.command {
        Command::Restore(args) => restore::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Status(args) => match status::run(args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Snapshot(args) => snapshot::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Image(args) => image::run(args),
        Command::Volume(args) => volume::run(args),
        Command::Run(args) => run::run(args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::tell(&error, piped),
    }
}
