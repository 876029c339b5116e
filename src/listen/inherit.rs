//! Turns the environment and `--adopt` into the numbers of the descriptors to take over; pure.

use crate::listen::promises::Environment;
use crate::listen::s6dump::s6_dump;
use crate::model::error::Fatal;
use crate::model::number;
use crate::model::service::{Adopt, Run};
use crate::model::text::Quoted;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The first descriptor of LISTEN_FDS, SD_LISTEN_FDS_START of sd_listen_fds(3).
const FIRST: i32 = 3;
/// The most descriptors that LISTEN_FDS and S6_FD# may promise.
pub(super) const MOST: usize = 4096;

/// A descriptor to take over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Taking {
    pub(crate) number: i32,
    /// What it is called in messages: `stdin`, `descriptor 3`.
    pub(crate) called: String,
    /// Skipped with a warning if it is no socket: one of a whole s6 dump.
    pub(crate) may_be_foreign: bool,
    /// Its place among LISTEN_FDS, counted from 0.
    pub(crate) listen_fds_place: Option<usize>,
    /// What LISTEN_FDNAMES calls it.
    pub(crate) name: OsString,
}

/// What sd_listen_fds_with_names(3) calls a descriptor without a name.
pub(crate) const UNNAMED: &str = "unknown";

/// Who we are to a sender of descriptors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Receiver {
    /// getpid(2)
    pub(crate) pid: i32,
    /// The inode number of our own pidfd, which is ours alone as long as the machine runs; `None` where it cannot be
    /// known.
    pub(crate) pidfd_id: Option<u64>,
}

/// Everything that LISTEN_FDS promises, and warnings about what is ignored.
///
/// # Errors
/// 100 for a number that is wrong.
pub(crate) fn all(
    environment: &[(OsString, OsString)],
    receiver: Receiver,
) -> Result<(Vec<Taking>, Vec<String>), Fatal> {
    let mut warnings = Vec::new();
    let promised = listen_fds(&Environment(environment), receiver, &mut warnings)?;
    Ok((promised.unwrap_or_default(), warnings))
}

/// What to take over, LISTEN_FDS first, and warnings about what is ignored.
///
/// # Errors
/// 100 for numbers and names that are wrong or missing, and for a descriptor taken twice.
pub(crate) fn takings(
    run: &Run,
    environment: &[(OsString, OsString)],
    receiver: Receiver,
) -> Result<(Vec<Taking>, Vec<String>), Fatal> {
    let environment = Environment(environment);
    let mut warnings = Vec::new();
    let mut takings = Vec::new();
    let asked: Vec<Option<&OsStr>> = run.adopt.iter().filter_map(listen_fds_name).collect();
    if run.heed_listen_fds {
        let promised = listen_fds(&environment, receiver, &mut warnings)?;
        takings = chosen(promised, &asked)?;
    }
    for adopt in &run.adopt {
        match adopt {
            Adopt::ListenFds(_) => {}
            Adopt::Descriptor(number) => takings.push(Taking::new(*number)),
            Adopt::S6(id) => takings.extend(s6_dump(&environment, id.as_deref())?),
        }
    }
    let mut numbers: Vec<i32> = takings.iter().map(|taking| taking.number).collect();
    numbers.sort_unstable();
    match numbers.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => Err(Fatal::usage(format!(
            "descriptor {} is adopted twice",
            pair.first().unwrap_or(&0)
        ))),
        None => Ok((takings, warnings)),
    }
}

impl Taking {
    pub(super) fn new(number: i32) -> Self {
        let called = if number == 0 {
            "stdin".into()
        } else {
            format!("descriptor {number}")
        };
        Self {
            number,
            called,
            may_be_foreign: false,
            listen_fds_place: None,
            name: UNNAMED.into(),
        }
    }
}

fn listen_fds_name(adopt: &Adopt) -> Option<Option<&OsStr>> {
    match adopt {
        Adopt::ListenFds(name) => Some(name.as_deref()),
        Adopt::Descriptor(_) | Adopt::S6(_) => None,
    }
}

/// What there is to say of a LISTEN_FDS that is another process's.
pub(crate) fn of_another(
    environment: &[(OsString, OsString)],
    receiver: Receiver,
) -> Option<String> {
    let environment = Environment(environment);
    environment.var("LISTEN_FDS")?;
    let name = other_receiver(&environment, receiver)?;
    Some(format!(
        "LISTEN_FDS is not for this process but for that of {name}, ignoring"
    ))
}

/// The variable by which LISTEN_FDS is for another process than us.
fn other_receiver(environment: &Environment<'_>, receiver: Receiver) -> Option<&'static str> {
    let number = |name: &str| {
        environment
            .var(name)
            .map(|text| number::decimal(text.as_bytes()))
    };
    let is_ours = |pid: Option<u64>| pid == u64::try_from(receiver.pid).ok();
    let has_our_id = |id: Option<u64>| receiver.pidfd_id.is_none() || id == receiver.pidfd_id;
    if !number("LISTEN_PID").is_none_or(is_ours) {
        Some("LISTEN_PID")
    } else if !number("LISTEN_PIDFDID").is_none_or(has_our_id) {
        Some("LISTEN_PIDFDID")
    } else {
        None
    }
}

/// The descriptors that LISTEN_FDS promises to us, with their names; sd_listen_fds(3).
fn listen_fds(
    environment: &Environment<'_>,
    receiver: Receiver,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<Taking>>, Fatal> {
    if other_receiver(environment, receiver).is_some() {
        return Ok(None);
    }
    let Some(count) = environment.number("LISTEN_FDS", 1, MOST)? else {
        return Ok(None);
    };
    let mut names = vec![OsString::from(UNNAMED); count];
    if let Some(text) = environment.var("LISTEN_FDNAMES") {
        let given = text.as_bytes().split(|byte| *byte == b':');
        let given: Vec<_> = given
            .take(count + 1)
            .map(|name| OsStr::from_bytes(name).to_owned())
            .collect();
        if given.len() == count {
            names = given;
        } else {
            warnings.push(format!("LISTEN_FDNAMES has not as many names as LISTEN_FDS descriptors, {count}, ignoring the names"));
        }
    }
    let numbers = (FIRST..).zip(names).enumerate();
    let promised = numbers.map(|(place, (number, name))| Taking {
        listen_fds_place: Some(place),
        name,
        ..Taking::new(number)
    });
    Ok(Some(promised.collect()))
}

/// Those of the promised that are asked for: all if nothing is asked for.
fn chosen(promised: Option<Vec<Taking>>, asked: &[Option<&OsStr>]) -> Result<Vec<Taking>, Fatal> {
    let Some(mut promised) = promised else {
        return match asked {
            [] => Ok(Vec::new()),
            _ => Err(Fatal::configuration(
                "there is nothing to adopt: LISTEN_FDS is not set for this process",
            )),
        };
    };
    for name in asked.iter().flatten() {
        if !promised.iter().any(|taking| taking.name == *name) {
            let name = Quoted(name.as_bytes());
            return Err(Fatal::configuration(format!(
                "no descriptor of LISTEN_FDS is named {name}"
            )));
        }
    }
    let is_asked = |name: &OsString| {
        let mut asked = asked.iter();
        asked.any(|asked| asked.is_none_or(|asked| asked == name))
    };
    promised.retain(|taking| asked.is_empty() || is_asked(&taking.name));
    Ok(promised)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Asked, read};

    const US: Receiver = Receiver {
        pid: 42,
        pidfd_id: Some(99),
    };

    /// The outcome in one line: `numbers; warnings`, or `exit code: text`.
    fn outcome(options: &str, variables: &str) -> String {
        let words = options
            .split_whitespace()
            .chain(["cat"])
            .map(OsString::from)
            .collect();
        let Ok(Asked::Run(run)) = read(words) else {
            panic!("{options}")
        };
        let pair = |assignment: &str| {
            let (name, value) = assignment.split_once('=').unwrap();
            (OsString::from(name), OsString::from(value))
        };
        let environment: Vec<_> = variables.split_terminator(' ').map(pair).collect();
        match takings(&run, &environment, US) {
            Ok((takings, warnings)) => {
                let numbers: Vec<_> = takings
                    .iter()
                    .map(|taking| taking.number.to_string())
                    .collect();
                format!("{}; {}", numbers.join(" "), warnings.join(" "))
            }
            Err(fatal) => format!("{}: {}", fatal.exit_code(), fatal.text),
        }
    }

    #[test]
    fn malformed_promises_are_fatal() {
        let wrong = |name, value, least| {
            format!("100: {name} is \"{value}\", a whole number from {least} to 4096 expected")
        };
        for value in [
            "",
            "0",
            "-1",
            "+1",
            "4097",
            "abc",
            "1x",
            "2147483647",
            "99999999999999999999",
        ] {
            assert_eq!(
                outcome("", &format!("LISTEN_FDS={value}")),
                wrong("LISTEN_FDS", value, 1)
            );
            if value != "0" {
                assert_eq!(
                    outcome("--adopt s6", &format!("S6_FD#={value}")),
                    wrong("S6_FD#", value, 0)
                );
            }
        }
        let table = [
            (
                "--adopt listen-fds",
                "",
                "100: there is nothing to adopt: LISTEN_FDS is not set for this process",
            ),
            (
                "--adopt listen-fds",
                "LISTEN_FDS=1 LISTEN_PID=43",
                "100: there is nothing to adopt: LISTEN_FDS is not set for this process",
            ),
            (
                "--adopt listen-fds:x",
                "LISTEN_FDS=1",
                "100: no descriptor of LISTEN_FDS is named \"x\"",
            ),
            (
                "--adopt listen-fds:x",
                "LISTEN_FDS=1 LISTEN_FDNAMES=y",
                "100: no descriptor of LISTEN_FDS is named \"x\"",
            ),
            (
                "--adopt s6",
                "",
                "100: there is nothing to adopt: S6_FD# is not set",
            ),
            (
                "--adopt s6",
                "S6_FD#=0",
                "100: there is nothing to adopt: S6_FD# is 0",
            ),
            (
                "--adopt s6",
                "S6_FD#=1",
                "100: S6_FD# is 1, but S6_FD_0 is not set",
            ),
            (
                "--adopt s6",
                "S6_FD#=1 S6_FD_0=4",
                "100: S6_FD# is 1, but S6_FDID_0 is not set",
            ),
            (
                "--adopt s6:b",
                "S6_FD#=1 S6_FD_0=4 S6_FDID_0=a",
                "100: no descriptor of S6_FD# is \"b\"",
            ),
            ("-0 --adopt stdin", "", "100: descriptor 0 is adopted twice"),
            (
                "--adopt fd:3",
                "LISTEN_FDS=1",
                "100: descriptor 3 is adopted twice",
            ),
            (
                "--adopt s6 --adopt s6:a",
                "S6_FD#=1 S6_FD_0=4 S6_FDID_0=a",
                "100: descriptor 4 is adopted twice",
            ),
        ];
        for (options, variables, text) in table {
            assert_eq!(outcome(options, variables), text, "{options} {variables}");
        }
    }

    #[test]
    fn what_is_for_another_process_is_ignored() {
        for pid in [
            "43",
            "",
            "x",
            "-42",
            "+42",
            "4 2",
            "42x",
            "99999999999999999999999",
        ] {
            let variables = [
                ("LISTEN_PID".into(), pid.into()),
                ("LISTEN_FDS".into(), "junk".into()),
            ];
            let promised = listen_fds(&Environment(&variables), US, &mut Vec::new());
            assert!(promised.unwrap().is_none(), "{pid}");
            let text = "LISTEN_FDS is not for this process but for that of LISTEN_PID, ignoring"
                .to_owned();
            assert_eq!(of_another(&variables, US), Some(text));
            assert_eq!(of_another(&variables[..1], US), None, "no LISTEN_FDS");
        }
        for id in ["98", "x", "-99"] {
            let variables = format!("LISTEN_FDS=1 LISTEN_PID=42 LISTEN_PIDFDID={id}");
            assert_eq!(outcome("", &variables), "; ", "{id}");
        }
        let unknown = Receiver {
            pidfd_id: None,
            ..US
        };
        let variables = [
            ("LISTEN_FDS".into(), "1".into()),
            ("LISTEN_PIDFDID".into(), "98".into()),
        ];
        assert_eq!(all(&variables, unknown).unwrap().0.len(), 1);
        assert_eq!(all(&variables, US).unwrap().0.len(), 0);
        assert_eq!(of_another(&variables, unknown), None);
        let text = "LISTEN_FDS is not for this process but for that of LISTEN_PIDFDID, ignoring";
        assert_eq!(of_another(&variables, US), Some(text.to_owned()));
        assert_eq!(outcome("--no-adopt", "LISTEN_FDS=junk LISTEN_PID=42"), "; ");
        assert_eq!(outcome("", "LISTEN_PID=42 LISTEN_FDNAMES=x"), "; ");
    }

    #[test]
    fn descriptors_are_taken_by_number_and_name() {
        let ignored =
            "LISTEN_FDNAMES has not as many names as LISTEN_FDS descriptors, 2, ignoring the names";
        let table = [
            ("", "", "; ".to_owned()),
            ("", "LISTEN_FDS=2", "3 4; ".into()),
            ("", "LISTEN_FDS=2 LISTEN_PID=42", "3 4; ".into()),
            ("", "LISTEN_FDS=1 LISTEN_PIDFDID=99", "3; ".into()),
            (
                "",
                "LISTEN_FDS=2 LISTEN_PID=42 LISTEN_FDNAMES=a:",
                "3 4; ".into(),
            ),
            (
                "",
                "LISTEN_FDS=2 LISTEN_FDNAMES=a",
                format!("3 4; {ignored}"),
            ),
            (
                "",
                "LISTEN_FDS=2 LISTEN_FDNAMES=a:b:c",
                format!("3 4; {ignored}"),
            ),
            ("", "LISTEN_FDS=2 LISTEN_FDS_FIRST_FD=9", "3 4; ".into()),
            ("--adopt listen-fds", "LISTEN_FDS=2", "3 4; ".into()),
            (
                "--adopt listen-fds:b",
                "LISTEN_FDS=3 LISTEN_FDNAMES=a:b:b",
                "4 5; ".into(),
            ),
            (
                "--adopt listen-fds:a --adopt listen-fds:b",
                "LISTEN_FDS=3 LISTEN_FDNAMES=a:b:c",
                "3 4; ".into(),
            ),
            ("--adopt listen-fds:unknown", "LISTEN_FDS=1", "3; ".into()),
            ("-0 --adopt fd:9", "LISTEN_FDS=1", "3 0 9; ".into()),
            ("--no-adopt -0", "LISTEN_FDS=1", "0; ".into()),
            (
                "--adopt s6",
                "S6_FD#=2 S6_FD_0=4 S6_FDID_0=a S6_FD_1=6 S6_FDID_1=b",
                "4 6; ".into(),
            ),
            (
                "--adopt s6:b",
                "S6_FD#=2 S6_FD_0=4 S6_FDID_0=a S6_FD_1=6 S6_FDID_1=b",
                "6; ".into(),
            ),
        ];
        for (options, variables, text) in table {
            assert_eq!(outcome(options, variables), text, "{options} {variables}");
        }
    }
}
