//! Turns the options about what a program is given into what they mean together.

use crate::config::draft::{JUDGING, given, is_typed, value};
use crate::model::error::Fatal;
use crate::model::service::{Mode, Pass};
use crate::model::text::Quoted;
use clap::ArgMatches;
use std::os::unix::ffi::OsStrExt;

/// Options that make no sense beside another: where PROG accepts by itself there are no connections of skd's, and where
/// skd becomes PROG it does nothing any more.
const EXCLUDED: [(&str, &[&str]); 2] = [
    (
        "wait",
        &["exec", "max-connections", "nodelay", "stderr-to-client"],
    ),
    (
        "exec",
        &[
            "max-connections",
            "nodelay",
            "stderr-to-client",
            "proto",
            "tcp6",
            "idle-exit",
            "drain",
            "fdstore",
            "metrics",
            "supervise",
        ],
    ),
];

/// Refuses what makes no sense together.
///
/// # Errors
/// A usage error that names both options.
pub(super) fn exclude(typed: &ArgMatches) -> Result<(), Fatal> {
    let is_there = |name: &str| is_typed(typed, name);
    for (one, others) in EXCLUDED.iter().filter(|(one, _)| is_there(one)) {
        let judging = JUDGING.iter().map(|(name, _)| name);
        if let Some(other) = others.iter().chain(judging).find(|other| is_there(other)) {
            let text = format!("--{one} and --{other} exclude each other");
            return Err(Fatal::usage(text));
        }
    }
    Ok(())
}

pub(super) fn mode(typed: &ArgMatches) -> Mode {
    match (given(typed, "exec"), given(typed, "wait")) {
        (true, _) => Mode::Exec,
        (false, true) => Mode::Listeners,
        (false, false) => Mode::Connections,
    }
}

/// The word of `--pass`.
///
/// # Errors
/// A usage error that lists what there is.
pub(super) fn pass(typed: &ArgMatches) -> Result<Pass, Fatal> {
    let Some(word) = value(typed, "pass") else {
        return Ok(Pass::default());
    };
    let (stdio, listen_fds) = match word.as_bytes() {
        b"stdin" => (true, false),
        b"listen-fds" => (false, true),
        b"both" => (true, true),
        _ => {
            let word = Quoted(word.as_bytes());
            return Err(Fatal::usage(format!(
                "--pass: {word}: stdin, listen-fds or both expected"
            )));
        }
    };
    Ok(Pass {
        stdio,
        listen_fds,
        ..Pass::default()
    })
}
