//! Turns argv into whose metrics to show; pure.

use crate::config::addr;
use crate::model::address::{Host, Port, UnixName};
use crate::model::error::Fatal;
use crate::model::text::{Quoted, foreign};
use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What the command line holds.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Text for stdout: the help or the version.
    Text(String),
    Watch(Target),
}

/// A skd whose metrics are to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// As it was typed, harmless.
    pub(crate) shown: String,
}

/// Where it answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Inet(Host, Port),
    Unix(UnixName),
}

const HELP: &str = "\
Usage: skd-top ADDR|PATH
Show live what a running skd does, once a second, from its --metrics.
If stdout is no terminal, print one table of one second.

ADDR:
  [HOST:]PORT               as for skd --metrics; without HOST this machine
PATH:
  a path with a slash, or @NAME in the abstract namespace

Options:
  -h, --help                print this and exit
  -V, --version             print the version and exit

Keys:
  q, Esc, Ctrl-C            end
  Up, Down, PageUp, PageDown, Home, End
                            scroll where not all listeners fit

The manual is skd-top(1).
";

/// The name of the words that are no options.
const PLACE: &str = "PLACE";

/// Reads argv without its first word.
///
/// # Errors
/// A usage error that names the word.
pub(crate) fn read(words: Vec<OsString>) -> Result<Asked, Fatal> {
    let all = std::iter::once(OsString::from("skd-top")).chain(words);
    let matches = match command().try_get_matches_from(all) {
        Ok(matches) => matches,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp => Ok(Asked::Text(HELP.into())),
                ErrorKind::DisplayVersion => Ok(Asked::Text(
                    concat!("skd-top ", env!("CARGO_PKG_VERSION"), "\n").into(),
                )),
                _ => Err(Fatal::usage(complaint(&error))),
            };
        }
    };
    let mut words = matches.get_many::<OsString>(PLACE).unwrap_or_default();
    match (words.next(), words.next()) {
        (None, _) => Err(Fatal::usage("ADDR or PATH is missing")),
        (Some(word), None) => Ok(Asked::Watch(Target {
            place: place(word)?,
            shown: foreign(word.as_bytes()),
        })),
        (Some(_), Some(more)) => Err(Fatal::usage(format!(
            "one ADDR or PATH is expected, and {} is one more",
            Quoted(more.as_bytes())
        ))),
    }
}

fn command() -> Command {
    let option = |name, short, action| Arg::new(name).long(name).short(short).action(action);
    Command::new("skd-top")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .version(env!("CARGO_PKG_VERSION"))
        .arg(option("help", 'h', ArgAction::Help))
        .arg(option("version", 'V', ArgAction::Version))
        .arg(
            Arg::new(PLACE)
                .num_args(0..)
                .value_parser(ValueParser::os_string()),
        )
}

/// clap's error in one line of ours.
fn complaint(error: &clap::Error) -> String {
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "a word",
    };
    match error.kind() {
        ErrorKind::UnknownArgument => format!("there is no option {}", Quoted(option.as_bytes())),
        ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
            format!("{option}: takes no value")
        }
        kind => kind
            .as_str()
            .unwrap_or("the command line cannot be read")
            .to_owned(),
    }
}

/// A path has a slash, or is `@NAME`, as for `--metrics`.
fn place(word: &OsStr) -> Result<Place, Fatal> {
    let urls: [&[u8]; 2] = [b"http://", b"https://"];
    if urls.iter().any(|url| word.as_bytes().starts_with(url)) {
        return Err(Fatal::usage(format!(
            "{}: ADDR or PATH is expected, not a URL",
            Quoted(word.as_bytes())
        )));
    }
    if word.as_bytes().contains(&b'/') || word.as_bytes().starts_with(b"@") {
        return Ok(Place::Unix(addr::unix("PATH", word)?));
    }
    match addr::inet("ADDR", word)? {
        (_, Port::Number(0)) => Err(Fatal::usage(format!(
            "ADDR: {}: port 0 is chosen by the kernel, the one that skd has printed is expected",
            Quoted(word.as_bytes())
        ))),
        (host, port) => Ok(Place::Inet(host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(words: &[&str]) -> Result<Asked, Fatal> {
        read(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn the_table_is_one_that_clap_takes_and_the_help_fits() {
        command().debug_assert();
        assert!(HELP.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn wrong_words_are_named() {
        let table: &[(&[&str], &str)] = &[
            (&[], "ADDR or PATH is missing"),
            (&["--bogus"], "there is no option \"--bogus\""),
            (&["-x", "80"], "there is no option \"-x\""),
            (&["--help=x"], "--help: takes no value"),
            (
                &["80", "8\x1b1"],
                "one ADDR or PATH is expected, and \"8?1\" is one more",
            ),
            (
                &["127.0.0.1:0"],
                "ADDR: \"127.0.0.1:0\": port 0 is chosen by the kernel, the one that skd has printed is expected",
            ),
            (
                &["http://127.0.0.1:9100/metrics"],
                "\"http://127.0.0.1:9100/metrics\": ADDR or PATH is expected, not a URL",
            ),
            (&["x:"], "ADDR: \"x:\": a port is missing"),
            (&["@"], "PATH: \"@\": a path or @name is expected"),
        ];
        for (words, text) in table {
            let fatal = reads(words).unwrap_err();
            assert_eq!((fatal.text.as_str(), fatal.exit_code()), (*text, 100));
        }
    }

    #[test]
    fn places_are_those_of_metrics() {
        let table = [
            ("9100", Place::Inet(Host::Every, Port::Number(9100))),
            ("*:9100", Place::Inet(Host::Every, Port::Number(9100))),
            (
                "[::1]:9100",
                Place::Inet(Host::V6("::1".parse().unwrap(), None), Port::Number(9100)),
            ),
            (
                "host:http",
                Place::Inet(Host::Name("host".into()), Port::Service("http".into())),
            ),
            (
                "./metrics",
                Place::Unix(UnixName::Path((*b"./metrics").into())),
            ),
            (
                "@metrics",
                Place::Unix(UnixName::Abstract((*b"metrics").into())),
            ),
        ];
        for (word, place) in table {
            let Ok(Asked::Watch(target)) = reads(&["--", word]) else {
                panic!("{word}");
            };
            assert_eq!((target.place, target.shown.as_str()), (place, word));
        }
    }

    #[test]
    fn help_and_version_win_over_what_is_behind_them() {
        for (words, begins) in [(["-h", "--bogus"], "Usage: "), (["-V", "80"], "skd-top ")] {
            let Ok(Asked::Text(text)) = reads(&words) else {
                panic!("{words:?}");
            };
            assert!(text.starts_with(begins));
        }
    }
}
