//! Turns argv into options as typed, by the table of options, and that table into the help.

use crate::config::options::{Many, Maybe, More, NONE, Nothing, One, SECTIONS, Spec};
use crate::model::error::Fatal;
use crate::model::text::Quoted;
use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What the command line holds.
pub(crate) enum Typed {
    /// Text for stdout: the help or the version.
    Text(String),
    Options(ArgMatches),
}

/// The name of `-0`, the one option without a long form.
pub(crate) const ADOPT_STDIN: &str = "0";

/// The name of the words behind the options: PROG and its arguments.
pub(crate) const PROG: &str = "PROG";

/// Reads argv without its first word, as getopt_long(3) does that stops at the first word that is no option.
///
/// # Errors
/// A usage error that names the option.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Typed, Fatal> {
    let (words, prog) = doubled(words);
    let stray = prog.and_then(|place| stray_value(&words, place));
    let all = std::iter::once(OsString::from("skd")).chain(words);
    match command().try_get_matches_from(all) {
        Ok(matches) => stray.map_or(Ok(Typed::Options(matches)), Err),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp => Ok(Typed::Text(help())),
            ErrorKind::DisplayVersion => Ok(Typed::Text(
                concat!("skd ", env!("CARGO_PKG_VERSION"), "\n").into(),
            )),
            _ => Err(Fatal::usage(complaint(&error))),
        },
    }
}

/// What stands before the first word that is wrong.
pub(crate) fn readable(words: Vec<OsString>) -> Option<ArgMatches> {
    let all = std::iter::once(OsString::from("skd")).chain(doubled(words).0);
    let command = command().ignore_errors(true);
    command.try_get_matches_from(all).ok()
}

/// `--keepalive 60`, where 60 would be PROG: numbers that stand as PROG right behind an option whose value is joined to it
/// by `=`. Behind `--` they are PROG.
fn stray_value(words: &[OsString], prog: usize) -> Option<Fatal> {
    let (last, word) = (words.get(prog.checked_sub(1)?)?, words.get(prog)?);
    let name = last.as_bytes().strip_prefix(b"--")?;
    let mut specs = SECTIONS.iter().flat_map(|(_, specs)| specs.iter());
    let Maybe(value) = specs.find(|spec| spec.long.as_bytes() == name)?.takes else {
        return None;
    };
    let digits = word.as_bytes();
    let is_value = digits.iter().all(|it| it.is_ascii_digit() || *it == b',');
    (is_value && !digits.is_empty()).then(|| {
        let (last, word) = (last.to_string_lossy(), Quoted(digits));
        Fatal::usage(format!(
            "{last}: {word} is not joined to it, {last}[={value}] expected"
        ))
    })
}

/// clap takes `-c=5` for `-c 5`; to getopt(3) the value is `=5`. One more `=` makes clap say the same.
/// Also returns the place of PROG, if it stands right behind an option.
fn doubled(mut words: Vec<OsString>) -> (Vec<OsString>, Option<usize>) {
    let specs = || SECTIONS.iter().flat_map(|(_, specs)| specs.iter());
    let takes_value = |is_it: &dyn Fn(&Spec) -> bool| {
        specs().any(|spec| is_it(spec) && matches!(spec.takes, One(..) | Many(..)))
    };
    let mut is_value = false;
    let mut follows_value = false;
    let mut prog = None;
    for (place, word) in words.iter_mut().enumerate() {
        let bytes = word.as_bytes();
        if std::mem::take(&mut is_value) {
            follows_value = true;
            continue;
        }
        match bytes {
            b"--" => break,
            [b'-', b'-', name @ ..] => {
                is_value = takes_value(&|spec| spec.long.as_bytes() == name);
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                let ends = |letter: &u8| {
                    takes_value(&|spec| spec.letters().any(|it| it == char::from(*letter)))
                };
                let Some(place) = letters.iter().position(ends) else {
                    continue;
                };
                let value = letters.get(place + 1..).unwrap_or_default();
                is_value = value.is_empty();
                if let [b'=', ..] = value {
                    let (before, value) = bytes.split_at(place + 2);
                    *word = OsStr::from_bytes(&[before, b"=", value].concat()).to_owned();
                }
            }
            _ => {
                prog = Some(place).filter(|_| !follows_value);
                break;
            }
        }
        follows_value = false;
    }
    (words, prog)
}

fn command() -> Command {
    let specs = SECTIONS.iter().flat_map(|(_, specs)| specs.iter());
    let prog = Arg::new(PROG)
        .num_args(1..)
        .trailing_var_arg(true)
        .value_parser(ValueParser::os_string());
    Command::new("skd")
        .no_binary_name(false)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .version(env!("CARGO_PKG_VERSION"))
        .args(specs.map(argument))
        .arg(prog)
}

fn argument(spec: &Spec) -> Arg {
    let named = if spec.long.is_empty() {
        Arg::new(ADOPT_STDIN)
    } else {
        Arg::new(spec.long).long(spec.long)
    };
    let mut letters = spec.letters();
    let named = match letters.next() {
        Some(letter) => named.short(letter).short_aliases(letters),
        None => named,
    };
    match (spec.takes, spec.long) {
        (Nothing, "help") => named.action(ArgAction::Help),
        (Nothing, "version") => named.action(ArgAction::Version),
        (Nothing | More, _) => named.action(ArgAction::Count),
        (One(..), _) => named
            .action(ArgAction::Set)
            .value_parser(ValueParser::os_string())
            .allow_hyphen_values(true),
        (Many(..), _) => named
            .action(ArgAction::Append)
            .value_parser(ValueParser::os_string())
            .allow_hyphen_values(true),
        (Maybe(_), _) => named
            .action(ArgAction::Set)
            .value_parser(ValueParser::os_string())
            .num_args(0..=1)
            .require_equals(true),
    }
}

/// PROG is missing, perhaps because `last`, the last word, became the value of an option. That is not said of what begins
/// with a digit, nor of options that take a few words only.
pub(super) fn no_program(typed: &ArgMatches, last: Option<&OsStr>) -> Fatal {
    let word = last.filter(|word| !word.as_bytes().first().is_none_or(u8::is_ascii_digit));
    let taken_by = |spec: &&Spec| {
        matches!(spec.takes, One(..) | Many(..))
            && !matches!(spec.takes, One(_, kind) if kind.words().is_some())
            && typed
                .get_many::<OsString>(spec.long)
                .and_then(Iterator::last)
                .is_some_and(|value| word == Some(value))
    };
    let specs = SECTIONS.iter().flat_map(|(_, specs)| specs.iter());
    let place = |spec: &&Spec| typed.indices_of(spec.long).and_then(Iterator::last);
    match (specs.filter(taken_by).max_by_key(place), word) {
        (Some(Spec { long, .. }), Some(word)) => Fatal::usage(format!(
            "PROG is missing; {} was taken for the value of --{long}",
            Quoted(word.as_bytes())
        )),
        _ => Fatal::usage("PROG is missing"),
    }
}

/// clap's error in one line of ours.
fn complaint(error: &clap::Error) -> String {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(option_name(text)),
        _ => None,
    };
    let option = word(ContextKind::InvalidArg).unwrap_or_else(|| "a word".into());
    match error.kind() {
        ErrorKind::UnknownArgument => format!("there is no option {}", Quoted(option.as_bytes())),
        ErrorKind::InvalidValue => format!("{option}: a value is missing"),
        ErrorKind::ArgumentConflict => format!("{option}: given more than once"),
        ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
            format!("{option}: takes no value")
        }
        kind => kind
            .as_str()
            .unwrap_or("the command line cannot be read")
            .to_owned(),
    }
}

/// `--backlog` out of clap's `--backlog <N>`, `--keepalive` out of its `--keepalive[=<keepalive>]`.
fn option_name(shown: &str) -> String {
    let name = shown.split(' ').next().unwrap_or(shown);
    let name = name.split("[=").next().unwrap_or(name);
    name.trim_end_matches("...").to_owned()
}

/// The help: sections as in the manual, one line an option, at most 80 columns.
fn help() -> String {
    let mut text = String::from(
        "Usage: skd [OPTION]... [--] PROG [ARG]...\n       \
         skd [OPTION]... --inetd-conf FILE\n       \
         skd [OPTION]... --check-peer PEER\n\
         Serve PROG on sockets: run it for every connection, the connection on its stdin\n\
         and stdout, the peer in its environment. Without a socket, become PROG.\n",
    );
    for (title, specs) in SECTIONS {
        text.push_str(&format!("\n{title}:\n"));
        for spec in *specs {
            let short = match (spec.short, spec.long) {
                (NONE, _) => String::new(),
                (short, "") => format!("-{short}  "),
                (short, _) => format!("-{short}, "),
            };
            let long = if spec.long.is_empty() {
                String::new()
            } else {
                format!("--{}", spec.long)
            };
            let value = match spec.takes {
                Nothing | More => String::new(),
                One(value, _) | Many(value, _) => format!(" {value}"),
                Maybe(value) => format!("[={value}]"),
            };
            let many = if matches!(spec.takes, Many(..)) {
                " *"
            } else {
                ""
            };
            // What is too long for its column is told apart by two blanks.
            let name = format!("{long}{value}");
            let gap = if name.len() < 24 { " " } else { "  " };
            text.push_str(&format!("{short:>6}{name:<24}{gap}{}{many}\n", spec.help));
        }
    }
    text.push_str("\n* may be given several times. The manual is skd(8).\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> ArgMatches {
        match parse(words.iter().map(OsString::from).collect()) {
            Ok(Typed::Options(matches)) => matches,
            Ok(Typed::Text(text)) => panic!("{text}"),
            Err(fatal) => panic!("{}", fatal.text),
        }
    }

    fn prog(words: &[&str]) -> Vec<String> {
        let matches = options(words);
        let prog = matches.get_many::<OsString>(PROG).unwrap_or_default();
        prog.map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_table_is_one_that_clap_takes() {
        command().debug_assert();
    }

    #[test]
    fn every_line_of_the_help_fits_eighty_columns() {
        for line in help().lines() {
            assert!(line.len() <= 80, "{line}");
        }
    }

    #[test]
    fn options_end_at_the_first_word_that_is_none() {
        let table: &[(&[&str], &[&str])] = &[
            (
                &["-t", "80", "cat", "-n", "--help", "-V"],
                &["cat", "-n", "--help", "-V"],
            ),
            (&["-vt", "3000", "--", "-odd", "-v"], &["-odd", "-v"]),
            (&["-t80", "cat", "--", "x"], &["cat", "--", "x"]),
            (&["-t", "80", "cat", "-1"], &["cat", "-1"]),
            (&["-", "x"], &["-", "x"]),
            (&["--keepalive", "--", "80"], &["80"]),
            (&["--keepalive=60", "80"], &["80"]),
            (&["--keepalive", "8o"], &["8o"]),
            (&["-t", "--keepalive", "80"], &["80"]),
            (&["-1"], &[]),
        ];
        for (words, rest) in table {
            assert_eq!(prog(words), *rest, "{words:?}");
        }
    }

    #[test]
    fn wrong_words_are_named() {
        let table: &[(&[&str], &str)] = &[
            (&["--bogus", "cat"], "there is no option \"--bogus\""),
            (&["-Z", "cat"], "there is no option \"-Z\""),
            (&["-vZ", "cat"], "there is no option \"-Z\""),
            (&["-F", "cat"], "there is no option \"-F\""),
            (&["--verb", "cat"], "there is no option \"--verb\""),
            (&["--bo\ngus"], "there is no option \"--bo?gus\""),
            (&["-t"], "--tcp: a value is missing"),
            (
                &["-b", "1", "-b", "2", "cat"],
                "--backlog: given more than once",
            ),
            (&["--no-adopt=x", "cat"], "--no-adopt: takes no value"),
            (
                &["--keepalive", "60", "-t", "80", "cat"],
                "--keepalive: \"60\" is not joined to it, --keepalive[=IDLE[,INTERVAL[,COUNT]]] expected",
            ),
            (
                &["-t", "80", "--keepalive", "60,20,3", "cat"],
                "--keepalive: \"60,20,3\" is not joined to it, --keepalive[=IDLE[,INTERVAL[,COUNT]]] expected",
            ),
            (
                &["--keepalive", "-t", "80", "--keepalive=5", "cat"],
                "--keepalive: given more than once",
            ),
        ];
        for (words, text) in table {
            let Err(fatal) = parse(words.iter().map(OsString::from).collect()) else {
                panic!("{words:?}")
            };
            assert_eq!(fatal.text, *text, "{words:?}");
        }
    }

    #[test]
    fn help_and_version_win_over_what_is_behind_them() {
        for words in [vec!["-h", "--bogus"], vec!["-t", "80", "-h"], vec!["-vh"]] {
            let Ok(Typed::Text(text)) = parse(words.into_iter().map(OsString::from).collect())
            else {
                panic!()
            };
            assert!(text.starts_with("Usage: skd "));
        }
        let Ok(Typed::Text(text)) = parse(vec!["-V".into(), "-t".into()]) else {
            panic!()
        };
        assert_eq!(text, concat!("skd ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}
