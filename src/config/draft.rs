//! Turns options as typed into what they mean together, and refuses what makes no sense.

use crate::config::cli::{self, ADOPT_STDIN, PROG};
use crate::config::{addr, admission, number, passing, process, sockets, sockopt};
use crate::model::address::Family;
use crate::model::error::Fatal;
use crate::model::service::{Adopt, Level, Lifetime, Making, Proto, Replaces, Run, Service};
use clap::ArgMatches;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The backlog without `-b`; net.core.somaxconn is 4096 where nobody changed it.
const BACKLOG: i32 = 4096;
/// The most children that `-c` may allow.
const MOST_CONNECTIONS: u64 = 1_000_000;
/// The longest time that an option may ask skd to wait: about a year.
const MOST_SECS: u64 = 31_536_000;

/// What the options mean; `last` is the last word of the command line.
///
/// # Errors
/// A usage error that names the option.
pub(crate) fn meant(typed: &ArgMatches, last: Option<&OsStr>) -> Result<Run, Fatal> {
    let family = family(typed)?;
    let adopt = adopted(typed)?;
    passing::exclude(typed)?;
    let service = Service {
        mode: passing::mode(typed),
        pass: passing::pass(typed)?,
        words: program(typed, last)?,
        max_connections: max_connections(typed)?,
        stderr_to_client: given(typed, "stderr-to-client"),
        nodelay: given(typed, "nodelay"),
        keepalive: sockopt::keepalive(typed)?,
        proto: Proto {
            name: proto(typed)?,
            tcp6: given(typed, "tcp6"),
        },
    };
    Ok(Run {
        service,
        named: sockets::named(typed, family)?,
        inetd_conf: process::inetd_conf(typed)?,
        metrics: sockets::metrics(typed, family)?,
        making: making(typed, family)?,
        adopt,
        heed_listen_fds: !given(typed, "no-adopt"),
        print_ports: given(typed, "print-port"),
        level: level(typed)?,
        log_format: process::log_format(typed)?,
        lifetime: Lifetime {
            idle_exit: secs(typed, "idle-exit", 1..=MOST_SECS)?,
            drain: secs(typed, "drain", 0..=MOST_SECS)?,
        },
        daemon: process::daemon(typed)?,
        check: given(typed, "check"),
        passes: value(typed, "pass").is_some(),
        admission: admission::admission(typed, MOST_CONNECTIONS)?,
        inquiry: admission::inquiry(typed)?,
        needs_socket: needs_socket(typed),
    })
}

pub(super) fn given(typed: &ArgMatches, name: &str) -> bool {
    typed.get_count(name) > 0
}

pub(super) fn value<'a>(typed: &'a ArgMatches, name: &str) -> Option<&'a OsStr> {
    typed.get_one::<OsString>(name).map(OsString::as_os_str)
}

/// The values of an option with the place of each on the command line.
pub(super) fn values<'a>(
    typed: &'a ArgMatches,
    name: &'static str,
) -> impl Iterator<Item = (usize, &'a OsStr)> {
    let places = typed.indices_of(name).into_iter().flatten();
    places.zip(
        typed
            .get_many::<OsString>(name)
            .into_iter()
            .flatten()
            .map(OsString::as_os_str),
    )
}

fn program(typed: &ArgMatches, last: Option<&OsStr>) -> Result<Vec<OsString>, Fatal> {
    let words: Vec<OsString> = typed
        .get_many::<OsString>(PROG)
        .unwrap_or_default()
        .cloned()
        .collect();
    match words.first() {
        None if value(typed, "check-peer").is_some() => Ok(words),
        None if value(typed, "inetd-conf").is_some() => sockets::unless_named(typed, words),
        None => Err(cli::no_program(typed, last)),
        Some(word) if word.is_empty() => Err(Fatal::usage("PROG is empty")),
        Some(_) => Ok(words),
    }
}

fn max_connections(typed: &ArgMatches) -> Result<Option<NonZeroU32>, Fatal> {
    let Some(text) = value(typed, "max-connections") else {
        return Ok(None);
    };
    let number = number::option(
        "--max-connections",
        text.as_bytes(),
        &(1..=MOST_CONNECTIONS),
    )?;
    Ok(u32::try_from(number).ok().and_then(NonZeroU32::new))
}

/// The seconds that an option was given, inside `range`.
pub(super) fn secs(
    typed: &ArgMatches,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<Duration>, Fatal> {
    let Some(text) = value(typed, name) else {
        return Ok(None);
    };
    let secs = number::option(&format!("--{name}"), text.as_bytes(), &range)?;
    Ok(Some(Duration::from_secs(secs)))
}

fn proto(typed: &ArgMatches) -> Result<Option<OsString>, Fatal> {
    match value(typed, "proto") {
        Some(name) if name.is_empty() => Err(Fatal::usage("--proto: a name is missing")),
        name => Ok(name.map(OsStr::to_owned)),
    }
}

fn making(typed: &ArgMatches, family: Family) -> Result<Making, Fatal> {
    let backlog = match value(typed, "backlog") {
        None => BACKLOG,
        Some(text) => {
            let number = number::option("--backlog", text.as_bytes(), &(1..=2_147_483_647))?;
            i32::try_from(number).unwrap_or(i32::MAX)
        }
    };
    let mode = value(typed, "mode")
        .map(|text| number::mode("--mode", text.as_bytes()))
        .transpose()?;
    let owner = value(typed, "owner")
        .map(|text| addr::owner("--owner", text))
        .transpose()?;
    Ok(Making {
        family,
        backlog,
        listens: true,
        replaces: Replaces::default(),
        mode,
        owner,
        sockets: sockopt::options(typed)?,
    })
}

fn family(typed: &ArgMatches) -> Result<Family, Fatal> {
    match (given(typed, "ipv4"), given(typed, "ipv6")) {
        (true, true) => Err(Fatal::usage("--ipv4 and --ipv6 exclude each other")),
        (true, false) => Ok(Family::V4),
        (false, true) => Ok(Family::V6),
        (false, false) => Ok(Family::Either),
    }
}

fn level(typed: &ArgMatches) -> Result<Level, Fatal> {
    match (given(typed, "quiet"), typed.get_count("verbose")) {
        (true, 1..) => Err(Fatal::usage("--quiet and --verbose exclude each other")),
        (true, 0) => Ok(Level::Fatal),
        (false, 0) => Ok(Level::Warning),
        (false, 1) => Ok(Level::Connections),
        (false, 2..) => Ok(Level::Everything),
    }
}

fn adopted(typed: &ArgMatches) -> Result<Vec<Adopt>, Fatal> {
    let mut adopt = Vec::new();
    for _ in 0..typed.get_count(ADOPT_STDIN) {
        adopt.push(Adopt::Descriptor(0));
    }
    for (_, word) in values(typed, "adopt") {
        adopt.push(addr::adopt(word)?);
    }
    if given(typed, "no-adopt")
        && adopt
            .iter()
            .any(|adopt| matches!(adopt, Adopt::ListenFds(_)))
    {
        return Err(Fatal::usage(
            "--no-adopt and --adopt listen-fds exclude each other",
        ));
    }
    Ok(adopt)
}

/// The options that judge connections, as they are typed.
pub(super) const JUDGING: [(&str, &str); 11] = [
    ("max-per-source", "--max-per-source"),
    ("refuse", "--refuse"),
    ("rate", "--rate"),
    ("rate-per-source", "--rate-per-source"),
    ("allow", "--allow"),
    ("deny", "--deny"),
    ("rules", "--rules"),
    ("proxy-from", "--proxy-from"),
    ("resolve", "--resolve"),
    ("ident", "--ident"),
    ("lookup-timeout", "--lookup-timeout"),
];

/// Whether an option stands on the command line.
pub(super) fn is_typed(typed: &ArgMatches, name: &str) -> bool {
    typed.value_source(name) == Some(clap::parser::ValueSource::CommandLine)
}

/// The first option given that says something about sockets or connections.
fn needs_socket(typed: &ArgMatches) -> Option<&'static str> {
    const VALUES: &[(&str, &str)] = &[
        ("backlog", "--backlog"),
        ("mode", "--mode"),
        ("owner", "--owner"),
        ("bind-to-device", "--bind-to-device"),
        ("defer-accept", "--defer-accept"),
        ("max-connections", "--max-connections"),
        ("proto", "--proto"),
        ("pass", "--pass"),
        ("idle-exit", "--idle-exit"),
        ("drain", "--drain"),
        ("metrics", "--metrics"),
    ];
    const FLAGS: &[(&str, &str)] = &[
        ("stream", "--stream"),
        ("datagram", "--datagram"),
        ("seqpacket", "--seqpacket"),
        ("ipv4", "--ipv4"),
        ("ipv6", "--ipv6"),
        ("nodelay", "--nodelay"),
        ("reuse-port", "--reuse-port"),
        ("freebind", "--freebind"),
        ("mptcp", "--mptcp"),
        ("print-port", "--print-port"),
        ("stderr-to-client", "--stderr-to-client"),
        ("tcp6", "--tcp6"),
        ("fdstore", "--fdstore"),
        ("wait", "--wait"),
        ("exec", "--exec"),
    ];
    // The value of this one may be left out.
    let keepalive = [("keepalive", "--keepalive")];
    let all = VALUES.iter().chain(FLAGS).chain(&keepalive).chain(&JUDGING);
    let mut typed = all.filter(|(name, _)| is_typed(typed, name));
    typed.next().map(|(_, shown)| *shown)
}

#[cfg(test)]
mod tests {
    use crate::config::meaning as run;
    use crate::model::address::{EVERY_CID, Host, Named, Port, Style, UnixName};
    use crate::model::service::Level;

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        let table = [
            ("-t 80", "PROG is missing"),
            (
                "-v -t cat",
                "PROG is missing; \"cat\" was taken for the value of --tcp",
            ),
            ("-t 80 ", "PROG is empty"),
            ("-t  cat", "--tcp: \"\": a port is missing"),
            ("-l  cat", "--unix: \"\": a path or @name is expected"),
            ("--proto  cat", "--proto: a name is missing"),
            (
                "-t 80 -c abc cat",
                "--max-connections: \"abc\" is no whole number from 1 to 1000000",
            ),
            (
                "-t 80 -c -1 cat",
                "--max-connections: \"-1\" is no whole number from 1 to 1000000",
            ),
            (
                "-t 80 -c 0 cat",
                "--max-connections: \"0\" is no whole number from 1 to 1000000",
            ),
            (
                "-t 80 -c 99999999999 cat",
                "--max-connections: \"99999999999\" is no whole number from 1 to 1000000",
            ),
            (
                "-t 80 -b 0 cat",
                "--backlog: \"0\" is no whole number from 1 to 2147483647",
            ),
            (
                "-t 80 -b 2147483648 cat",
                "--backlog: \"2147483648\" is no whole number from 1 to 2147483647",
            ),
            ("-t 80 -b 1 -b 1 cat", "--backlog: given more than once"),
            (
                "-l x --mode 888 cat",
                "--mode: \"888\" is no octal mode from 0 to 0777",
            ),
            (
                "-l x --owner : cat",
                "--owner: \":\": USER[:GROUP] expected",
            ),
            ("-46 -t 80 cat", "--ipv4 and --ipv6 exclude each other"),
            (
                "-4 -t [::1]:80 cat",
                "--tcp: ::1 is no IPv4 address, but --ipv4 is given",
            ),
            (
                "-6 -u 127.0.0.1:80 cat",
                "--udp: 127.0.0.1 is no IPv6 address, but --ipv6 is given",
            ),
            ("-qv -t 80 cat", "--quiet and --verbose exclude each other"),
            ("-sd -l x cat", "--stream and --datagram exclude each other"),
            (
                "-d --seqpacket -l x cat",
                "--datagram and --seqpacket exclude each other",
            ),
            ("-d -t 80 cat", "--datagram and --tcp exclude each other"),
            (
                "-d -t 80 -l x cat",
                "--datagram and --tcp exclude each other",
            ),
            (
                "-d --vsock 80 cat",
                "--datagram and --vsock exclude each other",
            ),
            ("-s -u 80 cat", "--stream and --udp exclude each other"),
            (
                "--seqpacket -i 80 cat",
                "--seqpacket is for --unix, not for --inet",
            ),
            (
                "--seqpacket -t 80 cat",
                "--seqpacket is for --unix, not for --tcp or --udp",
            ),
            (
                "--seqpacket --vsock 80 cat",
                "--seqpacket is for --unix, not for --vsock",
            ),
            (
                "--adopt foo cat",
                "--adopt: \"foo\": stdin, fd:N, s6[:ID] or listen-fds[:NAME] expected",
            ),
            (
                "--no-adopt --adopt listen-fds:x cat",
                "--no-adopt and --adopt listen-fds exclude each other",
            ),
        ];
        for (words, text) in table {
            assert_eq!(run(words).unwrap_err(), text, "{words}");
        }
    }

    #[test]
    fn sockets_stand_in_the_order_of_the_command_line() {
        let run = run("-u 1 -l x -t 2 --vsock 5 -i 3 -x @y -t 4 --vsock 3:5 cat").unwrap();
        let inet = |option, style, port| Named::Inet {
            option,
            style,
            host: Host::Every,
            port: Port::Number(port),
        };
        let unix = |name| Named::Unix {
            style: Style::Stream,
            name,
        };
        let (stream, datagram) = (Style::Stream, Style::Datagram);
        let x = unix(UnixName::Path((*b"x").into()));
        let y = unix(UnixName::Abstract((*b"y").into()));
        let vsock = |cid| Named::Vsock { cid, port: 5 };
        assert_eq!(
            run.named,
            [
                inet("--udp", datagram, 1),
                x,
                inet("--tcp", stream, 2),
                vsock(EVERY_CID),
                inet("--inet", stream, 3),
                y,
                inet("--tcp", stream, 4),
                vsock(3),
            ]
        );
    }

    #[test]
    fn styles_are_those_of_inet_and_unix_sockets() {
        let styles = |words| -> Vec<Style> {
            let named = run(words).unwrap().named;
            let style = |named| match named {
                Named::Inet { style, .. } | Named::Unix { style, .. } => style,
                Named::Vsock { .. } => Style::Stream,
            };
            named.into_iter().map(style).collect()
        };
        assert_eq!(styles("-d -i 1 -l x -u 2 cat"), [Style::Datagram; 3]);
        assert_eq!(styles("-s -i 1 -u 2 cat"), [Style::Stream, Style::Datagram]);
        assert_eq!(
            styles("--seqpacket -l x -t 2 -u 3 --vsock 4 cat"),
            [
                Style::SeqPacket,
                Style::Stream,
                Style::Datagram,
                Style::Stream
            ]
        );
        assert_eq!(styles("-d -u 1 cat"), [Style::Datagram]);
    }

    #[test]
    fn options_have_their_defaults() {
        let plain = run("-t 80 cat -n").unwrap();
        assert_eq!(plain.service.words, ["cat", "-n"]);
        assert_eq!(plain.making.backlog, 4096);
        assert_eq!(
            (plain.making.mode, plain.service.max_connections),
            (None, None)
        );
        assert_eq!(
            (plain.level, plain.check, plain.heed_listen_fds),
            (Level::Warning, false, true)
        );
        assert_eq!(run("-vvv -t 80 cat").unwrap().level, Level::Everything);
        assert_eq!(run("-vnvt 80 cat").unwrap().level, Level::Everything);
        assert_eq!(run("-q -t 80 -t 81 -nn cat").unwrap().level, Level::Fatal);
        assert_eq!(
            run("-c 1000000 -t 80 cat")
                .unwrap()
                .service
                .max_connections
                .unwrap()
                .get(),
            1_000_000
        );
        assert_eq!(run("-n -1 cat").unwrap().needs_socket, Some("--nodelay"));
        assert_eq!(
            run("-vv --check --no-adopt cat").unwrap().needs_socket,
            None
        );
    }
}
