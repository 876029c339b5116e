//! onenetd(1): one TCP service.

use crate::config::Asked;
use crate::config::names::letters::Letters;
use crate::config::names::meant;
use crate::model::address::Named;
use crate::model::daemon::{Id, Identity};
use crate::model::error::Fatal;
use crate::model::number;
use crate::model::text::Quoted;
use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;

const USAGE: &str = "\
onenetd, which is skd, serves a program on a TCP port.

Usage: onenetd [OPTION]... ADDRESS PORT PROG [ARG]...

ADDRESS is 0 for every IPv4 address, PORT is 0 for any free one.

  -c N    at most N children at once [40]
  -b N    a backlog of N connections [10]
  -r MSG  say MSG to those beyond -c; \\r, \\n, \\t and \\\\ are escapes
  -6      ADDRESS is of IPv6; 0 and :: are every address, of IPv4 too
  -u UID, -g GID, -U
          give up all others; -U: what UID and GID say
  -1      print the port on stdout
  -D      set TCP_NODELAY on connections
  -e      the child's stderr is the connection
  -v      log connections
  -Q      log fatal errors only [yes]
  -h      print this help
";

const CALLED: [(&str, &str); 4] = [
    ("--max-connections", "-c"),
    ("--backlog", "-b"),
    ("--refuse", "-r"),
    ("--tcp", PLACE),
];
const PLACE: &str = "ADDRESS PORT";

pub(super) fn read(words: Vec<OsString>) -> Result<Asked, Fatal> {
    let typed = Letters::read("c:6g:u:U1b:DQvehr:", words)?;
    if typed.has(b'h') {
        return Ok(Asked::Text(USAGE.into()));
    }
    let [address, port, prog, ..] = typed.rest.as_slice() else {
        return Err(Fatal::usage("ADDRESS PORT PROG expected"));
    };
    if prog.is_empty() {
        return Err(Fatal::usage("PROG is empty"));
    }
    let mut words: Vec<OsString> = vec!["--no-adopt".into(), "--tcp6".into()];
    let mut option = |name: &str, value: &OsStr| words.extend([name.into(), value.to_owned()]);
    let or = |letter, default| typed.value(letter).unwrap_or(OsStr::new(default));
    option("--max-connections", or(b'c', "40"));
    option("--backlog", or(b'b', "10"));
    option("--tcp", &place(address, port, typed.has(b'6'))?);
    if let Some(message) = typed.value(b'r') {
        option("--refuse", message);
    }
    words.extend(family(address, typed.has(b'6')).map(Into::into));
    let flags = [
        (b'1', "--print-port"),
        (b'D', "--nodelay"),
        (b'e', "--stderr-to-client"),
    ];
    let given = flags.into_iter().filter(|(letter, _)| typed.has(*letter));
    words.extend(given.map(|(_, name)| name.into()));
    // The last one counts.
    let mut loud = typed.options.iter().rev().map(|(letter, _)| *letter);
    let is_loud = loud.find(|letter| matches!(letter, b'v' | b'Q')) == Some(b'v');
    words.push(if is_loud { "--verbose" } else { "--quiet" }.into());
    words.push("--".into());
    words.extend(typed.rest.iter().skip(2).cloned());
    let mut run = meant(words, &CALLED)?;
    for named in &mut run.named {
        if let Named::Inet { option, .. } = named {
            *option = PLACE;
        }
    }
    run.daemon.privileges.identity = identity(&typed)?;
    Ok(Asked::Run(run))
}

/// ADDRESS and PORT as `--tcp` takes them.
fn place(address: &OsStr, port: &OsStr, v6: bool) -> Result<OsString, Fatal> {
    for (name, word) in [("ADDRESS", address), ("PORT", port)] {
        if word.as_bytes().contains(&b',') {
            let word = Quoted(word.as_bytes());
            return Err(Fatal::usage(format!("{name}: {word}: one is expected")));
        }
    }
    let host = match address.as_bytes() {
        b"0" | b"::" if v6 => b"*".to_vec(),
        b"0" => b"0.0.0.0".to_vec(),
        ip if ip.contains(&b':') => [b"[", ip, b"]"].concat(),
        b"" => return Err(Fatal::usage("ADDRESS is empty")),
        host if v6 && is_ipv4(host) => {
            let host = Quoted(host);
            return Err(Fatal::usage(format!(
                "-6: {host} is an address of IPv4; one of IPv6, a name, 0 or :: is expected"
            )));
        }
        host => host.to_vec(),
    };
    if port.is_empty() {
        return Err(Fatal::usage("PORT is empty"));
    }
    Ok(OsStr::from_bytes(&[host.as_slice(), b":", port.as_bytes()].concat()).to_owned())
}

fn is_ipv4(host: &[u8]) -> bool {
    str::from_utf8(host).is_ok_and(|host| host.parse::<Ipv4Addr>().is_ok())
}

/// The option that says of which family ADDRESS is, where it does not say so itself.
fn family(address: &OsStr, v6: bool) -> Option<&'static str> {
    match (address.as_bytes(), v6) {
        (b"0" | b"::", true) => None,
        (ip, false) if ip.contains(&b':') => None,
        (_, true) => Some("--ipv6"),
        (_, false) => Some("--ipv4"),
    }
}

fn identity(typed: &Letters) -> Result<Identity, Fatal> {
    let (mut uid, mut gid) = (None, None);
    for (letter, value) in &typed.options {
        match letter {
            b'u' => uid = Some(id("-u", value)?),
            b'g' => gid = Some(id("-g", value)?),
            b'U' => (uid, gid) = (Some(Id::Variable("UID")), Some(Id::Variable("GID"))),
            _ => {}
        }
    }
    Ok(match (uid, gid) {
        (None, None) => Identity::Unchanged,
        (uid, gid) => Identity::Numbers { uid, gid },
    })
}

fn id(option: &str, value: &OsStr) -> Result<Id, Fatal> {
    let id = value.to_str().and_then(number::id).map(Id::Number);
    id.ok_or_else(|| {
        let value = Quoted(value.as_bytes());
        Fatal::usage(format!(
            "{option}: {value} is no whole number from 0 to 4294967294"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::names::meaning;
    use crate::model::address::{Family, Host, Named, Port, Style};
    use crate::model::name::Name;
    use crate::model::service::{Level, Run};
    use std::net::Ipv4Addr;

    fn run(words: &str) -> Result<Run, String> {
        meaning(Name::OneNetd, words)
    }

    #[test]
    fn options_mean_what_the_manual_says() {
        let plain = run("0 7 cat -v").unwrap();
        assert_eq!(plain.service.words, ["cat", "-v"]);
        assert_eq!(plain.service.max_connections.map(u32::from), Some(40));
        assert_eq!((plain.making.backlog, plain.level), (10, Level::Fatal));
        assert!(plain.service.proto.tcp6 && !plain.heed_listen_fds && !plain.print_ports);
        assert_eq!(plain.daemon.privileges.identity, Identity::Unchanged);
        let all = run("-1Dev -c 3 -b5 -r a\\r\\n 192.0.2.1 echo cat").unwrap();
        assert_eq!(all.service.max_connections.map(u32::from), Some(3));
        assert_eq!((all.making.backlog, all.level), (5, Level::Connections));
        assert!(all.service.nodelay && all.service.stderr_to_client && all.print_ports);
        assert_eq!(all.admission.refusal.as_deref(), Some(&b"a\r\n"[..]));
        assert_eq!(run("-vQ 0 7 cat").unwrap().level, Level::Fatal);
    }

    #[test]
    fn addresses_are_those_of_one_family() {
        let table = [
            ("0 7", Host::V4(Ipv4Addr::UNSPECIFIED), Family::V4),
            ("127.0.0.1 7", Host::V4(Ipv4Addr::LOCALHOST), Family::V4),
            ("localhost 7", Host::Name("localhost".into()), Family::V4),
            ("-6 0 7", Host::Every, Family::Either),
            ("-6 :: 7", Host::Every, Family::Either),
            (
                "-6 ::1 7",
                Host::V6("::1".parse().unwrap(), None),
                Family::V6,
            ),
            (
                "::1 7",
                Host::V6("::1".parse().unwrap(), None),
                Family::Either,
            ),
            ("-6 localhost 7", Host::Name("localhost".into()), Family::V6),
        ];
        for (words, host, family) in table {
            let run = run(&format!("{words} cat")).unwrap();
            let named = Named::Inet {
                option: "ADDRESS PORT",
                style: Style::Stream,
                host,
                port: Port::Number(7),
            };
            assert_eq!(
                (run.named, run.making.family),
                (vec![named], family),
                "{words}"
            );
        }
    }

    #[test]
    fn ids_are_numbers_and_the_last_counts() {
        let variables = (Some(Id::Variable("UID")), Some(Id::Variable("GID")));
        let table = [
            ("-u 5", (Some(Id::Number(5)), None)),
            ("-g 6", (None, Some(Id::Number(6)))),
            ("-U", variables),
            ("-U -u 5", (Some(Id::Number(5)), variables.1)),
            ("-u 5 -U", variables),
        ];
        for (words, (uid, gid)) in table {
            let run = run(&format!("{words} 0 7 cat")).unwrap();
            let identity = Identity::Numbers { uid, gid };
            assert_eq!(run.daemon.privileges.identity, identity, "{words}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_the_letters_that_were_typed() {
        for (words, text) in [
            ("", "ADDRESS PORT PROG expected"),
            ("0 7", "ADDRESS PORT PROG expected"),
            ("::1,::2 7 cat", "ADDRESS: \"::1,::2\": one is expected"),
            ("0 7,8 cat", "PORT: \"7,8\": one is expected"),
            (
                "-c x 0 7 cat",
                "-c: \"x\" is no whole number from 1 to 1000000",
            ),
            (
                "-b -1 0 7 cat",
                "-b: \"-1\" is no whole number from 1 to 2147483647",
            ),
            (
                "-u nobody 0 7 cat",
                "-u: \"nobody\" is no whole number from 0 to 4294967294",
            ),
            (
                "-g -1 0 7 cat",
                "-g: \"-1\" is no whole number from 0 to 4294967294",
            ),
            (
                "-r \\x 0 7 cat",
                "-r: \"\\x\": \\r, \\n, \\t or \\\\ is expected at a backslash",
            ),
            (
                "0 70000 cat",
                "ADDRESS PORT: \"0.0.0.0:70000\": a port is 0 to 65535 or a service name",
            ),
            (
                "-6 127.0.0.1 7 cat",
                "-6: \"127.0.0.1\" is an address of IPv4; one of IPv6, a name, 0 or :: is expected",
            ),
            ("--help", "there is no option \"--help\""),
        ] {
            assert_eq!(run(words).unwrap_err(), text, "{words}");
        }
        assert_eq!(run("-h").unwrap_err(), USAGE);
    }
}
