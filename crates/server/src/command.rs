//! The command line's top level: flags from the table of settings, then the command.
//!
//! `eye` without a command is `eye serve`. Every setting is a flag of both; `--data` and `--config` go with every
//! command, because every command may need the data folder.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Args as _, FromArgMatches as _, Subcommand as _};

use crate::config::table::{Setting, TABLE};
use crate::config::{Resolved, Settings, Written, report, resolve};
use crate::{cli, serve};

/// A wrong command line or setting.
const EXIT_USAGE: u8 = 2;

/// Settings whose flags go with every command.
const EVERYWHERE: [&str; 1] = ["data"];
/// Settings that `-h` shows; `--help` shows them all.
const SHORT_HELP: [&str; 3] = ["data", "listen", "table"];

/// Reads the command line and does what it says.
///
/// The exit code is 0 if that went well, 2 for a wrong command line or setting, and otherwise as the command documents.
#[must_use]
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    let resolved = match resolve::resolve(&written(&matches)) {
        Ok(resolved) => resolved,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    match matches.subcommand() {
        None | Some(("serve", _)) => serve::run(&resolved.settings),
        Some(("config", arguments)) => print(&config(arguments, &resolved)),
        Some(_) => client(&matches, &resolved.settings),
    }
}

fn client(matches: &ArgMatches, settings: &Settings) -> ExitCode {
    let parsed = cli::Global::from_arg_matches(matches)
        .and_then(|global| Ok((global, cli::Command::from_arg_matches(matches)?)));
    match parsed {
        Ok((global, command)) => cli::run(&global, settings, command),
        Err(error) => error.exit(),
    }
}

/// Says what went wrong; the exit code.
pub(crate) fn fail(code: u8, error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}

/// Writes to standard output; nobody reading it is no error.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn config(arguments: &ArgMatches, resolved: &Resolved) -> String {
    if arguments.get_flag("markdown") {
        report::markdown()
    } else if arguments.get_flag("json") {
        report::json(resolved) + "\n"
    } else {
        report::text(resolved)
    }
}

/// The whole command line.
pub(crate) fn command() -> clap::Command {
    let serve = clap::Command::new("serve").about("Run the server (what `eye` does without a command)");
    let markdown =
        Arg::new("markdown").long("markdown").action(ArgAction::SetTrue).help("Print docs/configuration.md instead");
    let config = clap::Command::new("config")
        .about("Print every setting that is in force, and where its value comes from")
        .arg(markdown);
    let command = clap::Command::new("eye")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(config_flag())
        .args(flags(|_| true))
        .subcommand(serve.args(flags(|setting| !EVERYWHERE.contains(&setting.name))))
        .subcommand(config.args(flags(|setting| !EVERYWHERE.contains(&setting.name))));
    let command = cli::Global::augment_args(command);
    // Last, for the groups of flags above bring their own documentation along.
    let about = "Collects events, never loses one, and shows every session in order";
    cli::Command::augment_subcommands(command).about(about).long_about(None).next_line_help(false)
}

fn config_flag() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("path")
        .value_parser(clap::value_parser!(PathBuf))
        .global(true)
        .help("The file with settings [default: eye.toml, if it is there]")
}

fn flags(wanted: impl Fn(&Setting) -> bool) -> impl Iterator<Item = Arg> {
    TABLE.iter().filter(move |setting| wanted(setting)).map(|setting| {
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
        Arg::new(setting.name)
            .long(setting.flag())
            .value_name(setting.kind)
            .global(EVERYWHERE.contains(&setting.name))
            .hide_short_help(!SHORT_HELP.contains(&setting.name))
            .help_heading(setting.section)
            .help(format!("{}{default}", setting.doc))
    })
}

/// The flags that were given, on the top level or after `serve` or `config`: the later one wins.
fn written(matches: &ArgMatches) -> Written {
    let after = matches.subcommand().filter(|(name, _)| ["serve", "config"].contains(name)).map(|(_, matches)| matches);
    let given = |setting: &'static Setting| {
        let texts = [Some(matches), after].into_iter().flatten().filter_map(|matches| {
            let text = matches.try_get_one::<String>(setting.name).ok()??;
            Some((setting.name, text.clone()))
        });
        texts.collect::<Vec<_>>()
    };
    Written { flags: TABLE.iter().flat_map(given).collect(), config: matches.get_one::<PathBuf>("config").cloned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags_of(line: &[&str]) -> Vec<(&'static str, String)> {
        written(&command().try_get_matches_from(line).unwrap()).flags
    }

    #[test]
    fn the_command_line_has_no_contradictions() {
        command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_serve() {
        let listen = vec![("listen", "127.0.0.1:1".to_owned())];
        assert_eq!(flags_of(&["eye", "--listen", "127.0.0.1:1"]), listen);
        assert_eq!(flags_of(&["eye", "serve", "--listen", "127.0.0.1:1"]), listen);
        let both = flags_of(&["eye", "--listen", "127.0.0.1:2", "serve", "--listen", "127.0.0.1:1"]);
        assert_eq!(both.last(), listen.last());
        let data = flags_of(&["eye", "session", "s", "--data", "x"]);
        assert_eq!(data, vec![("data", "x".to_owned())]);
    }

    #[test]
    fn an_unknown_flag_is_an_error() {
        let error = command().try_get_matches_from(["eye", "--flush-age", "1s"]).unwrap_err();
        assert!(error.to_string().contains("--flush-age-max"), "{error}");
    }
}
