//! Turns `[HOST:]PORT`, unix names and `--adopt` words into what they mean.

use crate::config::number;
use crate::model::address::{EVERY_CID, Host, LOGGED_AS, Port, UNIX_NAME_BYTES, UnixName};
use crate::model::daemon::UserSpec;
use crate::model::error::Fatal;
use crate::model::service::{Adopt, MOST_DESCRIPTORS};
use crate::model::text::Quoted;
use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;

/// `[HOST:]PORT` of the option `name`.
///
/// # Errors
/// A usage error that names the word and what was expected.
pub(crate) fn inet(name: &str, word: &OsStr) -> Result<(Host, Port), Fatal> {
    let wrong =
        |expected: &str| Fatal::usage(format!("{name}: {}: {expected}", Quoted(word.as_bytes())));
    let text = word.to_str().ok_or_else(|| wrong("[HOST:]PORT expected"))?;
    if let Some((label, option)) = label_of_log(text) {
        return Err(wrong(&format!(
            "[HOST:]PORT expected, \"{label}:\" is how the log writes {option}"
        )));
    }
    if text.contains(',') {
        return Err(wrong(&match name {
            "--tcp" | "--udp" | "--inet" => {
                format!("one [HOST:]PORT is expected, {name} may be given several times")
            }
            _ => "one [HOST:]PORT is expected".to_owned(),
        }));
    }
    let no_port = "a port is missing behind the host, [HOST:]PORT expected";
    let (host, port_text) = match text.rsplit_once(':') {
        None if text.starts_with('[') || text.parse::<Ipv4Addr>().is_ok() => {
            return Err(wrong(no_port));
        }
        None => (Host::Every, text),
        Some((_, port)) if port.contains(']') => return Err(wrong(no_port)),
        Some((host, port)) => (host_of(host).map_err(wrong)?, port),
    };
    if port_text.is_empty() {
        return Err(wrong("a port is missing"));
    }
    let port = if port_text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = number::decimal(port_text.as_bytes(), &(0..=65535))
            .and_then(|number| u16::try_from(number).ok());
        Port::Number(number.ok_or_else(|| wrong("a port is 0 to 65535 or a service name"))?)
    } else {
        Port::Service(port_text.to_owned())
    };
    Ok((host, port))
}

/// The word before an address as the log writes it, where it cannot be the name of a host.
fn label_of_log(text: &str) -> Option<(&'static str, &'static str)> {
    let (before, address) = text.split_once(':')?;
    let mut all = LOGGED_AS.into_iter();
    all.find(|(label, _)| *label == before && address.contains(':'))
}

/// What stands before the last colon; an error says what was expected.
pub(super) fn host_of(text: &str) -> Result<Host, &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let inside = rest.strip_suffix(']').ok_or("a \"]\" is missing")?;
        let (ip, scope) = match inside.split_once('%') {
            Some((_, "")) => return Err("a scope is missing behind \"%\""),
            Some((ip, scope)) => (ip, Some(scope.to_owned())),
            None => (inside, None),
        };
        return Ok(Host::V6(
            ip.parse()
                .map_err(|_| "an IPv6 address is expected in brackets")?,
            scope,
        ));
    }
    match text {
        "" => Err("a host is missing before the colon; leave out the colon for every address"),
        "*" => Ok(Host::Every),
        _ if text.contains([':', ']']) => Err("an IPv6 address goes in brackets, [HOST]:PORT"),
        _ => Ok(text
            .parse()
            .map_or_else(|_| Host::Name(text.to_owned()), Host::V4)),
    }
}

/// The highest port of vsock(7); the one above it is VMADDR_PORT_ANY, which is none.
const HIGHEST_VSOCK_PORT: u64 = 4_294_967_294;

/// CID and port of `[CID:]PORT`. Without a CID, and for `*`, it is every CID of the machine.
///
/// # Errors
/// A usage error that names the word and what was expected.
pub(crate) fn vsock(word: &OsStr) -> Result<(u32, u32), Fatal> {
    let wrong =
        |expected: &str| Fatal::usage(format!("--vsock: {}: {expected}", Quoted(word.as_bytes())));
    let number = |text: &[u8], highest: u64| {
        number::decimal(text, &(0..=highest)).and_then(|number| u32::try_from(number).ok())
    };
    let text = word.as_bytes();
    let (cid, port) = match text.iter().rposition(|byte| *byte == b':') {
        None => (&b"*"[..], text),
        Some(colon) => {
            let (cid, rest) = text.split_at(colon);
            (cid, rest.get(1..).unwrap_or_default())
        }
    };
    let cid = match cid {
        b"" => Err("a CID is missing before the colon; leave out the colon for every CID"),
        b"*" => Ok(EVERY_CID),
        digits => number(digits, u64::from(EVERY_CID))
            .ok_or("a CID is a whole number from 0 to 4294967295 or \"*\""),
    };
    if port.is_empty() {
        return Err(wrong("a port is missing"));
    }
    let port = number(port, HIGHEST_VSOCK_PORT)
        .ok_or_else(|| wrong("a vsock port is a whole number from 0 to 4294967294"))?;
    Ok((cid.map_err(wrong)?, port))
}

/// A unix path, or `@name` in the abstract namespace, of the option `name`.
///
/// # Errors
/// A usage error for an empty name and for one that does not fit whole into a socket address.
pub(crate) fn unix(name: &str, word: &OsStr) -> Result<UnixName, Fatal> {
    let unix_name = match word.as_bytes() {
        [b'@', rest @ ..] => UnixName::Abstract(rest.into()),
        path => UnixName::Path(path.into()),
    };
    let (UnixName::Path(bytes) | UnixName::Abstract(bytes)) = &unix_name;
    let wrong = |expected: &str| {
        Err(Fatal::usage(format!(
            "{name}: {}: {expected}",
            Quoted(word.as_bytes())
        )))
    };
    match bytes.len() {
        0 => wrong("a path or @name is expected"),
        1..=UNIX_NAME_BYTES => Ok(unix_name),
        _ => wrong("a unix socket's name has at most 107 bytes"),
    }
}

/// The WHAT of `--adopt`.
///
/// # Errors
/// A usage error that lists what there is.
pub(crate) fn adopt(word: &OsStr) -> Result<Adopt, Fatal> {
    let wrong =
        |expected: &str| Fatal::usage(format!("--adopt: {}: {expected}", Quoted(word.as_bytes())));
    let bytes = word.as_bytes();
    let (kind, detail) = match bytes
        .iter()
        .position(|byte| *byte == b':')
        .and_then(|colon| bytes.split_at_checked(colon))
    {
        Some((kind, detail)) => (kind, detail.get(1..)),
        None => (bytes, None),
    };
    let owned = |detail: &[u8]| OsString::from(OsStr::from_bytes(detail));
    match (kind, detail) {
        (_, Some([])) => Err(wrong("something is missing behind the colon")),
        (b"stdin", None) => Ok(Adopt::Descriptor(0)),
        (b"fd", Some(digits)) => number::decimal(digits, &(0..=MOST_DESCRIPTORS))
            .and_then(|number| i32::try_from(number).ok())
            .map(Adopt::Descriptor)
            .ok_or_else(|| wrong("the number of a descriptor is expected")),
        (b"s6", detail) => Ok(Adopt::S6(detail.map(owned))),
        (b"listen-fds", detail) => Ok(Adopt::ListenFds(detail.map(owned))),
        _ => Err(wrong("stdin, fd:N, s6[:ID] or listen-fds[:NAME] expected")),
    }
}

/// `USER[:GROUP]` of the option `name`; an empty half is wrong.
///
/// # Errors
/// A usage error that names the word and what was expected.
pub(crate) fn owner(name: &str, word: &OsStr) -> Result<UserSpec, Fatal> {
    let wrong = || {
        Fatal::usage(format!(
            "{name}: {}: USER[:GROUP] expected",
            Quoted(word.as_bytes())
        ))
    };
    let text = word.to_str().ok_or_else(wrong)?;
    let (user, group) = match text.split_once(':') {
        Some((_, "")) => return Err(wrong()),
        Some((user, group)) => (user, Some(group.to_owned())),
        None => (text, None),
    };
    if user.is_empty() {
        return Err(wrong());
    }
    Ok(UserSpec {
        user: user.to_owned(),
        group,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_addresses_are_usage_errors() {
        let table = [
            ("", "a port is missing"),
            (
                ":80",
                "a host is missing before the colon; leave out the colon for every address",
            ),
            ("localhost:", "a port is missing"),
            ("*:", "a port is missing"),
            (
                "[::1]",
                "a port is missing behind the host, [HOST:]PORT expected",
            ),
            (
                "127.0.0.1",
                "a port is missing behind the host, [HOST:]PORT expected",
            ),
            (
                "tcp:127.0.0.1:80",
                "[HOST:]PORT expected, \"tcp:\" is how the log writes --tcp",
            ),
            (
                "udp:[::]:80",
                "[HOST:]PORT expected, \"udp:\" is how the log writes --udp",
            ),
            (
                "tcp:[::1]",
                "[HOST:]PORT expected, \"tcp:\" is how the log writes --tcp",
            ),
            (
                "tcpx:127.0.0.1:80",
                "an IPv6 address goes in brackets, [HOST]:PORT",
            ),
            (
                "127.0.0.1:80,127.0.0.2:80",
                "one [HOST:]PORT is expected, --tcp may be given several times",
            ),
            (
                "80,443",
                "one [HOST:]PORT is expected, --tcp may be given several times",
            ),
            ("[::1", "a \"]\" is missing"),
            ("[::1]:", "a port is missing"),
            ("[::1:80", "a \"]\" is missing"),
            ("[]:80", "an IPv6 address is expected in brackets"),
            ("[127.0.0.1]:80", "an IPv6 address is expected in brackets"),
            ("[fe80::1%]:80", "a scope is missing behind \"%\""),
            ("::1:80", "an IPv6 address goes in brackets, [HOST]:PORT"),
            ("::1]:80", "an IPv6 address goes in brackets, [HOST]:PORT"),
            ("65536", "a port is 0 to 65535 or a service name"),
            (
                "localhost:99999999999999999999",
                "a port is 0 to 65535 or a service name",
            ),
        ];
        for (word, expected) in table {
            let error = inet("--tcp", OsStr::new(word)).unwrap_err();
            assert_eq!(error.text, format!("--tcp: \"{word}\": {expected}"));
            assert_eq!(error.exit_code(), 100);
        }
        let error = inet("ADDR", OsStr::new("80,443")).unwrap_err();
        assert_eq!(error.text, "ADDR: \"80,443\": one [HOST:]PORT is expected");
        assert!(inet("--tcp", OsStr::from_bytes(b"\xff:80")).is_err());
    }

    #[test]
    fn addresses_are_a_host_and_a_port() {
        let number = Port::Number;
        let v6 =
            |ip: &str, scope: Option<&str>| Host::V6(ip.parse().unwrap(), scope.map(str::to_owned));
        let table = [
            ("80", Host::Every, number(80)),
            ("0", Host::Every, number(0)),
            ("*:65535", Host::Every, number(65535)),
            ("http", Host::Every, Port::Service("http".into())),
            (
                "127.0.0.1:http",
                Host::V4("127.0.0.1".parse().unwrap()),
                Port::Service("http".into()),
            ),
            ("tcp:25", Host::Name("tcp".into()), number(25)),
            ("127.1", Host::Every, Port::Service("127.1".into())),
            ("localhost:25", Host::Name("localhost".into()), number(25)),
            ("[::1]:25", v6("::1", None), number(25)),
            ("[fe80::1%eth0]:25", v6("fe80::1", Some("eth0")), number(25)),
            (
                "[::ffff:127.0.0.1]:25",
                v6("::ffff:127.0.0.1", None),
                number(25),
            ),
        ];
        for (word, host, port) in table {
            assert_eq!(
                inet("--tcp", OsStr::new(word)).unwrap(),
                (host, port),
                "{word}"
            );
        }
    }

    #[test]
    fn unix_names_fit_whole_or_are_refused() {
        for word in [
            "",
            "@",
            &"x".repeat(108),
            &format!("@{}", "x".repeat(108)),
            &"/x".repeat(150),
        ] {
            assert_eq!(
                unix("--unix", OsStr::new(word)).unwrap_err().exit_code(),
                100
            );
        }
        for word in [
            "x",
            "@x",
            "./@x",
            &"x".repeat(107),
            &format!("@{}", "x".repeat(107)),
        ] {
            assert_eq!(
                unix("--unix", OsStr::new(word)).unwrap().shown(),
                word.as_bytes()
            );
        }
    }

    #[test]
    fn vsock_addresses_are_numbers() {
        let port = "a vsock port is a whole number from 0 to 4294967294";
        let cid = "a CID is a whole number from 0 to 4294967295 or \"*\"";
        let missing = "a CID is missing before the colon; leave out the colon for every CID";
        let table = [
            ("", "a port is missing"),
            ("3:", "a port is missing"),
            (":", "a port is missing"),
            (":5", missing),
            ("http", port),
            ("-1", port),
            ("+5", port),
            ("5 ", port),
            ("3:*", port),
            ("4294967295", port),
            ("3:4294967296", port),
            ("99999999999999999999999", port),
            ("host:5", cid),
            ("-1:5", cid),
            ("4294967296:5", cid),
            ("1:2:5", cid),
            ("**:5", cid),
        ];
        for (word, expected) in table {
            let error = vsock(OsStr::new(word)).unwrap_err();
            assert_eq!(error.text, format!("--vsock: \"{word}\": {expected}"));
            assert_eq!(error.exit_code(), 100);
        }
        assert!(vsock(OsStr::from_bytes(b"\xff:5")).is_err());
        for (word, cid, port) in [
            ("5", EVERY_CID, 5),
            ("*:5", EVERY_CID, 5),
            ("4294967295:5", EVERY_CID, 5),
            ("0:0", 0, 0),
            ("3:4294967294", 3, 4_294_967_294),
            ("007:0080", 7, 80),
        ] {
            assert_eq!(vsock(OsStr::new(word)).unwrap(), (cid, port), "{word}");
        }
    }

    #[test]
    fn adopt_takes_four_words() {
        for junk in [
            "",
            "stdin:",
            "stdin:0",
            "fd",
            "fd:",
            "fd:x",
            "fd:-1",
            "fd:99999999999",
            "s6:",
            "listen-fds:",
            "tcp",
        ] {
            assert_eq!(
                adopt(OsStr::new(junk)).unwrap_err().exit_code(),
                100,
                "{junk}"
            );
        }
        let table = [
            ("stdin", Adopt::Descriptor(0)),
            ("fd:7", Adopt::Descriptor(7)),
            ("s6", Adopt::S6(None)),
            ("s6:tcp:::1:25", Adopt::S6(Some("tcp:::1:25".into()))),
            ("listen-fds", Adopt::ListenFds(None)),
            ("listen-fds:web", Adopt::ListenFds(Some("web".into()))),
        ];
        for (word, meant) in table {
            assert_eq!(adopt(OsStr::new(word)).unwrap(), meant);
        }
    }

    #[test]
    fn owners_are_a_user_and_perhaps_a_group() {
        for junk in ["", ":", "user:", ":group"] {
            assert!(owner("--owner", OsStr::new(junk)).is_err(), "{junk}");
        }
        let table = [("root", "root", None), ("0:staff", "0", Some("staff"))];
        for (word, user, group) in table {
            let meant = UserSpec {
                user: user.into(),
                group: group.map(str::to_owned),
            };
            assert_eq!(owner("--owner", OsStr::new(word)).unwrap(), meant);
        }
    }
}
