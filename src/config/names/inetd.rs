//! inetd(8), as OpenBSD and Debian have it: the services of a file.

use crate::config::Asked;
use crate::config::inetd;
use crate::config::names::letters::Letters;
use crate::config::names::meant;
use crate::config::number;
use crate::model::error::Fatal;
use crate::model::text::Quoted;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;

/// The file without FILE.
const FILE: &str = "/etc/inetd.conf";
/// The backlog without `-q`.
const BACKLOG: &str = "128";
/// How often a service is started in a minute without `-R`.
const RATE: u32 = 256;
const PIDFILE: &str = "/run/inetd.pid";
/// The tag of the system log.
const TAG: &str = "inetd:daemon.notice";

const CALLED: [(&str, &str); 2] = [("--inetd-conf", "FILE"), ("--backlog", "-q")];

pub(super) fn read(words: Vec<OsString>) -> Result<Asked, Fatal> {
    let typed = Letters::read("dEilR:a:q:", words)?;
    let file = match typed.rest.as_slice() {
        [] => OsStr::new(FILE),
        [file] => file,
        [_, more, ..] => {
            let more = Quoted(more.as_bytes());
            return Err(Fatal::usage(format!("{more}: one FILE is expected")));
        }
    };
    let backlog = typed.value(b'q').unwrap_or(OsStr::new(BACKLOG));
    let mut words: Vec<OsString> = vec![
        "--inetd-conf".into(),
        file.to_owned(),
        "--backlog".into(),
        backlog.to_owned(),
    ];
    if typed.has(b'd') {
        words.push("-vv".into());
    } else if typed.has(b'l') {
        words.push("-v".into());
    }
    if !typed.has(b'd') && !typed.has(b'i') {
        words.extend(["--background", "--pidfile", PIDFILE, "--log", TAG].map(Into::into));
    }
    let mut run = meant(words, &CALLED)?;
    if let Some(conf) = &mut run.inetd_conf {
        let rate = match typed.value(b'R') {
            None => RATE,
            Some(text) => {
                let number = number::option("-R", text.as_bytes(), &(1..=1_000_000))?;
                u32::try_from(number).unwrap_or(RATE)
            }
        };
        conf.starts_per_minute = NonZeroU32::new(rate);
        conf.launders = !typed.has(b'E');
        conf.heeds_wrappers = typed.has(b'l');
        conf.host = typed.value(b'a').map(host).transpose()?;
    }
    Ok(Asked::Run(run))
}

/// ADDR, where services listen that name no host, as a line of the file would have it.
fn host(word: &OsStr) -> Result<Box<str>, Fatal> {
    let wrong = |why: &str| Fatal::usage(format!("-a: {}: {why}", Quoted(word.as_bytes())));
    let text = word.to_str().ok_or_else(|| wrong("a host is expected"))?;
    let is_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let is_list = text.contains(',');
    let has_port = text.contains("]:") || (text.contains(':') && !text.starts_with('['));
    if text.is_empty() || (has_port && !is_v6 && !is_list) {
        return Err(wrong("a host without a port is expected"));
    }
    // Only in the file an IPv6 address needs its brackets.
    let text = match is_v6 {
        true => format!("[{text}]"),
        false => text.to_owned(),
    };
    inetd::hosts(&text).map_err(|why| wrong(&why))?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::names::meaning;
    use crate::model::inetd::ServiceFile;
    use crate::model::name::Name;
    use crate::model::service::{Level, Run};

    fn run(words: &str) -> Result<Run, String> {
        meaning(Name::Inetd, words)
    }

    fn conf(path: &str) -> ServiceFile {
        ServiceFile {
            path: path.into(),
            starts_per_minute: NonZeroU32::new(256),
            launders: true,
            heeds_wrappers: false,
            host: None,
        }
    }

    #[test]
    fn options_mean_what_the_manual_says() {
        let plain = run("").unwrap();
        assert_eq!(plain.inetd_conf, Some(conf("/etc/inetd.conf")));
        assert_eq!((plain.making.backlog, plain.level), (128, Level::Warning));
        assert!(plain.daemon.background && plain.daemon.log.is_some());
        assert_eq!(
            plain.daemon.pidfile.as_deref(),
            Some(OsStr::new("/run/inetd.pid"))
        );
        let all = run("-dEl -R 5 -a ::1 -q 9 ./x").unwrap();
        let expected = ServiceFile {
            starts_per_minute: NonZeroU32::new(5),
            launders: false,
            heeds_wrappers: true,
            host: Some("[::1]".into()),
            ..conf("./x")
        };
        assert_eq!(all.inetd_conf, Some(expected));
        assert_eq!((all.making.backlog, all.level), (9, Level::Everything));
        for front in [all, run("-i").unwrap()] {
            let daemon = front.daemon;
            assert!(!daemon.background && daemon.log.is_none() && daemon.pidfile.is_none());
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_the_letters_that_were_typed() {
        for (words, text) in [
            ("a b", "\"b\": one FILE is expected"),
            ("-R 0", "-R: \"0\" is no whole number from 1 to 1000000"),
            ("-q x", "-q: \"x\" is no whole number from 1 to 2147483647"),
            ("-a [::1", "-a: \"[::1\": a \"]\" is missing"),
            (
                "-a 127.0.0.1,",
                "-a: \"127.0.0.1,\": a host is missing before the colon; leave out the colon for every address",
            ),
            (
                "-a *,127.0.0.1",
                "-a: \"*,127.0.0.1\": \"*\" goes with no other host",
            ),
            (
                "-a 127.0.0.1:5",
                "-a: \"127.0.0.1:5\": a host without a port is expected",
            ),
            (
                "-a [::1]:5",
                "-a: \"[::1]:5\": a host without a port is expected",
            ),
            ("-a ::x", "-a: \"::x\": a host without a port is expected"),
            ("-x", "there is no option \"-x\""),
        ] {
            assert_eq!(run(words).unwrap_err(), text, "{words}");
        }
        let Err(fatal) = host(OsStr::new("")) else {
            panic!()
        };
        assert_eq!(fatal.text, "-a: \"\": a host without a port is expected");
    }
}
