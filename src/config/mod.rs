//! Turns what was asked for, as text, into what is meant; pure: no file, clock, environment or descriptor.
#![forbid(unsafe_code)]

mod addr;
mod admission;
mod cli;
mod completion;
mod draft;
pub(crate) mod inetd;
mod inquiry;
mod lists;
mod logspec;
pub(crate) mod names;
mod number;
mod options;
mod passing;
mod process;
mod rate;
mod refusal;
mod sockets;
mod sockopt;

use crate::model::error::Fatal;
use crate::model::service::{LogFormat, Run};
use clap::ArgMatches;
use std::ffi::OsString;

/// What these words mean, or the text of the usage error that they are; each blank divides two words.
#[cfg(test)]
fn meaning(words: &str) -> Result<Run, String> {
    match read(words.split(' ').map(OsString::from).collect()) {
        Ok(Asked::Run(run)) => Ok(*run),
        Ok(Asked::Text(text)) => panic!("{text}"),
        Err((fatal, _)) => {
            assert_eq!(fatal.exit_code(), 100);
            Err(fatal.text)
        }
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// `--help`, `--version` or `--completion`: this text on stdout, then exit code 0.
    Text(String),
    Run(Box<Run>),
}

/// Reads skd's own command line, without its first word.
///
/// # Errors
/// A usage error that names the option and what was expected, and the format that it is to be told in: the one asked for,
/// as far as the words could be read.
pub(crate) fn read(words: Vec<OsString>) -> Result<Asked, (Fatal, LogFormat)> {
    let format = |typed: &ArgMatches| process::log_format(typed).unwrap_or_default();
    let last = words.last().cloned();
    match cli::parse(words.clone()) {
        Ok(cli::Typed::Text(text)) => Ok(Asked::Text(text)),
        Ok(cli::Typed::Options(typed)) => match draft::value(&typed, "completion") {
            Some(shell) => completion::script(shell).map(Asked::Text),
            None => draft::meant(&typed, last.as_deref()).map(|run| Asked::Run(Box::new(run))),
        }
        .map_err(|fatal| (fatal, format(&typed))),
        Err(fatal) => {
            let typed = cli::readable(words);
            Err((fatal, typed.as_ref().map_or(LogFormat::Text, format)))
        }
    }
}
