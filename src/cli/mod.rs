//! The command line: the only code that reads flags or the environment, and the only code that prints.

mod choices;
mod exit_code;
mod failure;
mod generate;
mod image;
mod image_args;
mod level_arg;
mod log;
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
mod units;
mod upload_args;
mod verify;
mod volume;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  burst snapshot /srv/data s3://bucket/data.zip
  burst restore s3://bucket/data.zip /mnt/data
  burst status /mnt/data";

/// Restores one S3 object to a file tree on BTRFS as fast as the hardware allows, and makes such objects.
#[derive(Debug, Parser)]
#[command(name = "burst", version, max_term_width = 100, after_help = format!("{EXAMPLES}\n\n{}", exit_code::HELP))]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: log::LogArgs,
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
    let (cli, quiet) = match parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            log::begin_unparsed();
            return failure::tell_usage(&error);
        }
    };
    let piped = matches!(&cli.command, Command::Snapshot(args) if args.is_piped());
    if let Err(error) = cli.log.begin(quiet) {
        return failure::tell(&error, piped);
    }
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

/// The command line, and whether its command is to be quiet.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Cli, bool), clap::Error> {
    let mut root = Cli::command();
    let matches = root.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut root))?;
    let mut of_command = &matches;
    while let Some((_, inner)) = of_command.subcommand() {
        of_command = inner;
    }
    let quiet = of_command.try_get_one("quiet").ok().flatten().copied().unwrap_or(false);
    if quiet && cli.log.is_verbose() {
        let message = "the argument '--quiet' cannot be used with '--verbose'";
        return Err(root.error(ErrorKind::ArgumentConflict, message));
    }
    Ok((cli, quiet))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Commands without `--json`, which print what is for a shell or for man.
    const NOT_JSON: [&str; 2] = ["burst completions", "burst man"];

    /// Every command with its full name, those that only have commands below them, too.
    fn commands() -> Vec<(String, clap::Command)> {
        fn collect(name: &str, command: &clap::Command, all: &mut Vec<(String, clap::Command)>) {
            all.push((name.to_owned(), command.clone()));
            for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
                collect(&format!("{name} {}", below.get_name()), below, all);
            }
        }
        let mut root = Cli::command();
        root.build();
        let mut all = Vec::new();
        collect("burst", &root, &mut all);
        all
    }

    /// Words of a line as a shell reads it, up to the end of its first command.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
        for c in line.chars() {
            match quote {
                Some(end) if c == end => quote = None,
                Some(_) => word.push(c),
                None if c == '\'' || c == '"' => (quote, begun) = (Some(c), true),
                None if matches!(c, '|' | '>' | '#') => break,
                None if c == ' ' => {
                    words.extend(begun.then(|| std::mem::take(&mut word)));
                    begun = false;
                }
                None => {
                    word.push(c);
                    begun = true;
                }
            }
        }
        words.extend(begun.then_some(word));
        words
    }

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_means_the_same_everywhere() {
        let (mut long, mut short) = (BTreeMap::new(), BTreeMap::new());
        for (name, command) in commands() {
            for flag in command.get_arguments().filter(|flag| flag.get_long().is_some()) {
                let named = flag.get_long().map(str::to_owned);
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                let first_line = help.lines().next().unwrap_or_default().to_owned();
                let takes: Option<Vec<String>> = flag
                    .get_action()
                    .takes_values()
                    .then(|| flag.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect());
                let meaning = (first_line, takes, format!("{:?}", flag.get_value_parser().type_id()));
                let (elsewhere, before) = long.entry(named.clone()).or_insert_with(|| (name.clone(), meaning.clone()));
                assert_eq!(*before, meaning, "{named:?} of `{elsewhere}` and of `{name}`");
                if let Some(letter) = flag.get_short() {
                    assert_eq!(*short.entry(letter).or_insert(named.clone()), named, "-{letter} of `{name}`");
                }
            }
        }
        assert!(long.len() > 50);
    }

    #[test]
    fn sizes_times_and_speeds_have_units() {
        let measures = [
            ("DURATION", vec!["wait", "jitter", "timeout", "deadline", "interval", "checkpoint", "limit"]),
            ("SIZE", vec!["size"]),
            ("MiB", vec!["request-size", "part-size", "memory"]),
            ("Gbit/s", vec!["gbps"]),
            ("MB/s", vec!["mbps"]),
        ];
        for (name, command) in commands() {
            for flag in command.get_arguments().filter(|flag| flag.get_action().takes_values()) {
                let Some(long) = flag.get_long() else { continue };
                let unit = flag.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
                // The last that fits: part-size is a size, too.
                let fits = measures.iter().rfind(|(_, words)| words.iter().any(|word| long.ends_with(word)));
                if let Some((expected, _)) = fits {
                    assert_eq!(unit.as_deref(), Some(*expected), "--{long} of `{name}`");
                }
                assert_ne!(unit.as_deref(), Some("SECONDS"), "--{long} of `{name}`: use DURATION");
            }
        }
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        for (name, command) in commands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let mut section = help.lines().skip_while(|line| *line != "Examples:").skip(1);
            let lines: Vec<&str> = section.by_ref().take_while(|line| line.starts_with("  ")).collect();
            assert!(!lines.is_empty(), "`{name}` has no examples");
            let mut own = 0;
            // What follows many spaces is a remark.
            for line in lines.iter().map(|line| line.trim_start().split("    ").next().unwrap_or_default()) {
                for at in
                    line.match_indices("burst ").map(|(at, _)| at).filter(|&at| at == 0 || line[..at].ends_with("| "))
                {
                    let words = words(&line[at..]);
                    if let Err(error) = parse(words.iter().map(OsString::from)) {
                        panic!("`{name}` has the example {line:?}, and: {error}");
                    }
                    own += u32::from(words.join(" ").starts_with(&name));
                }
            }
            assert!(own > 0, "`{name}` has no example of its own");
        }
    }

    #[test]
    fn every_command_speaks_json() {
        for (name, command) in commands() {
            let expected = !command.has_subcommands() && !NOT_JSON.contains(&name.as_str());
            let has = command.get_arguments().any(|flag| flag.get_long() == Some("json"));
            assert_eq!(has, expected, "`{name}`");
        }
    }
}
