//! Reads the command lines of the programs that skd can be called as, and says them as its own; section 12 of the
//! interface. `--check` in front is skd's, by which one that is about to be replaced asks the next.

mod binder;
mod inetd;
mod letters;
mod onenetd;

use crate::config::{Asked, read};
use crate::model::error::Fatal;
use crate::model::name::Name;
use crate::model::service::{LogFormat, Run};
use std::ffi::OsString;

/// What a command line asks for, its first word being left out.
///
/// # Errors
/// A usage error that names the option as it was typed.
pub(crate) fn read_as(name: Name, mut words: Vec<OsString>) -> Result<Asked, (Fatal, LogFormat)> {
    if name == Name::Skd {
        return read(words);
    }
    let is_check = words.first().is_some_and(|word| word == "--check");
    if is_check {
        words.remove(0);
    }
    let asked = match name {
        Name::OneNetd => onenetd::read(words),
        Name::SocketBinder => binder::read(words),
        Name::Inetd | Name::Skd => inetd::read(words),
    };
    match asked {
        Ok(Asked::Run(mut run)) => {
            run.check |= is_check;
            Ok(Asked::Run(run))
        }
        Ok(text) => Ok(text),
        Err(fatal) => Err((fatal, LogFormat::Text)),
    }
}

/// What these words of skd's own mean; in an error each of `called` stands for the option before it.
fn meant(words: Vec<OsString>, called: &[(&str, &str)]) -> Result<Box<Run>, Fatal> {
    match read(words) {
        Ok(Asked::Run(run)) => Ok(run),
        // None of them is asked for.
        Ok(Asked::Text(_)) => Err(Fatal::usage("there is nothing to run")),
        Err((fatal, _)) => {
            let name = called.iter().fold(fatal.text, |text, (ours, theirs)| {
                match text.strip_prefix(ours) {
                    Some(rest) => format!("{theirs}{rest}"),
                    None => text,
                }
            });
            Err(Fatal::usage(name))
        }
    }
}

/// What these words of a name mean, or the text of the usage error that they are; each blank divides two words.
#[cfg(test)]
fn meaning(name: Name, words: &str) -> Result<Run, String> {
    let words = words.split(' ').filter(|word| !word.is_empty());
    match read_as(name, words.map(OsString::from).collect()) {
        Ok(Asked::Run(run)) => Ok(*run),
        Ok(Asked::Text(text)) => Err(text),
        Err((fatal, _)) => Err(fatal.text),
    }
}
