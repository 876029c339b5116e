//! s6-ipcserver-socketbinder: a unix socket on descriptor 0 of the program that skd becomes.

use crate::config::names::letters::Letters;
use crate::config::names::meant;
use crate::config::{Asked, number};
use crate::model::address::UNIX_NAME_BYTES;
use crate::model::error::Fatal;
use crate::model::service::{Pass, Replaces};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The permissions without `-a`.
const PERMS: &str = "0777";

const CALLED: [(&str, &str); 2] = [("--mode", "-a"), ("--unix", "PATH")];

pub(super) fn read(words: Vec<OsString>) -> Result<Asked, Fatal> {
    let typed = Letters::read("dDb:Mma:B", words)?;
    let [path, prog, ..] = typed.rest.as_slice() else {
        return Err(Fatal::usage("PATH PROG expected"));
    };
    if prog.is_empty() {
        return Err(Fatal::usage("PROG is empty"));
    }
    // The last one of two counts.
    let last = |one, other| {
        let mut letters = typed.options.iter().rev().map(|(letter, _)| *letter);
        letters.find(|letter| [one, other].contains(letter))
    };
    let mut words: Vec<OsString> = ["--no-adopt", "--exec", "--mode"].map(Into::into).to_vec();
    words.push(typed.value(b'a').unwrap_or(OsStr::new(PERMS)).to_owned());
    if last(b'M', b'm') == Some(b'm') {
        words.push("--datagram".into());
    }
    words.push("--unix".into());
    words.push(path_of(path)?);
    words.push("--".into());
    words.extend(typed.rest.iter().skip(1).cloned());
    let mut run = meant(words, &CALLED)?;
    if let Some(backlog) = typed.value(b'b') {
        let backlog = number::option("-b", backlog.as_bytes(), &(0..=2_147_483_647))?;
        run.making.backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        run.making.listens = backlog > 0;
    }
    run.making.replaces = match last(b'd', b'D') {
        Some(b'D') => Replaces::Nothing,
        _ => Replaces::Sockets,
    };
    run.service.pass = Pass {
        stdio: false,
        stdin: true,
        listen_fds: false,
        blocks: typed.has(b'B'),
    };
    Ok(Asked::Run(run))
}

/// A path as skd takes it: one that begins with `@` is none of the abstract namespace here.
fn path_of(path: &OsStr) -> Result<OsString, Fatal> {
    if path.len() > UNIX_NAME_BYTES {
        return Err(Fatal::usage(
            "PATH: a unix socket's name has at most 107 bytes",
        ));
    }
    Ok(match path.as_bytes() {
        [b'@', ..] => OsStr::from_bytes(&[b"./", path.as_bytes()].concat()).to_owned(),
        _ => path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::names::meaning;
    use crate::model::address::{Named, Style, UnixName};
    use crate::model::name::Name;
    use crate::model::service::{Mode, Run};

    fn run(words: &str) -> Result<Run, String> {
        meaning(Name::SocketBinder, words)
    }

    #[test]
    fn options_mean_what_the_manual_says() {
        let plain = run("x cat -B").unwrap();
        assert_eq!(
            (plain.service.mode, plain.service.words),
            (Mode::Exec, vec!["cat".into(), "-B".into()])
        );
        assert_eq!(
            (plain.making.mode, plain.making.backlog),
            (Some(0o777), 4096)
        );
        assert_eq!(plain.making.replaces, Replaces::Sockets);
        let pass = Pass {
            stdio: false,
            stdin: true,
            listen_fds: false,
            blocks: false,
        };
        assert!(plain.service.pass == pass && plain.making.listens && !plain.heed_listen_fds);
        let named = |style, path: &str| {
            vec![Named::Unix {
                style,
                name: UnixName::Path(path.as_bytes().into()),
            }]
        };
        assert_eq!(plain.named, named(Style::Stream, "x"));
        let all = run("-BDm -b 0 -a 600 @x cat").unwrap();
        assert_eq!((all.making.mode, all.making.listens), (Some(0o600), false));
        assert_eq!(all.making.replaces, Replaces::Nothing);
        assert!(all.service.pass.blocks);
        assert_eq!(all.named, named(Style::Datagram, "./@x"));
        let last = run("-D -d -m -M -b 7 x cat").unwrap();
        assert_eq!(
            (last.making.replaces, last.making.backlog),
            (Replaces::Sockets, 7)
        );
        assert_eq!(last.named, named(Style::Stream, "x"));
    }

    #[test]
    fn what_is_wrong_is_told_by_the_letters_that_were_typed() {
        let long = format!("{} cat", "x".repeat(108));
        for (words, text) in [
            ("", "PATH PROG expected"),
            ("x", "PATH PROG expected"),
            (
                "-a 888 x cat",
                "-a: \"888\" is no octal mode from 0 to 0777",
            ),
            (
                "-b x x cat",
                "-b: \"x\" is no whole number from 0 to 2147483647",
            ),
            (&long, "PATH: a unix socket's name has at most 107 bytes"),
            ("-1 x cat", "there is no option \"-1\""),
        ] {
            assert_eq!(run(words).unwrap_err(), text, "{words}");
        }
    }
}
