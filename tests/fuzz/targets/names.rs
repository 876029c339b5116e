//! The command lines of the programs that skd can be called as: each is told by its own letters, and means what it says.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/config/mod.rs"]
mod config;
#[path = "../../../src/model/mod.rs"]
mod model;

use config::Asked;
use config::inetd::parse;
use config::names::read_as;
use libfuzzer_sys::fuzz_target;
use model::address::{Host, Named, Style, UnixName};
use model::name::Name;
use model::service::{Mode, Run};
use model::text::harmless;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

// A word each line, the first one being what skd is called.
fuzz_target!(|bytes: &[u8]| {
    if bytes.contains(&0) {
        return;
    }
    let mut words = bytes.split(|byte| *byte == b'\n').map(OsStr::from_bytes);
    let name = Name::of(words.next().unwrap_or_default());
    if name == Name::Skd {
        return;
    }
    let words: Vec<OsString> = words.map(OsStr::to_owned).collect();
    let run = match read_as(name, words.clone()) {
        Ok(Asked::Run(run)) => *run,
        Ok(Asked::Text(text)) => {
            assert!(name == Name::OneNetd && text.starts_with("onenetd, which is skd, "));
            return;
        }
        Err((fatal, _)) => {
            assert_eq!(fatal.exit_code(), 100);
            assert!(harmless(fatal.text.as_bytes()) == fatal.text && fatal.text.len() <= 700);
            // Nobody typed an option of skd's, which is named only as what the log does not write.
            let before = fatal.text.split('"').next().unwrap_or_default();
            let after = fatal.text.rsplit('"').next().unwrap_or_default();
            let is_hint = after.starts_with(" is how the log writes --");
            assert!(
                !before.contains("--") && (is_hint || !after.contains("--")),
                "{}",
                fatal.text
            );
            return;
        }
    };
    assert!(words.ends_with(&run.service.words));
    match name {
        Name::OneNetd => assert!(is_onenetd(&run)),
        Name::SocketBinder => {
            let path = &words[words.len() - run.service.words.len() - 1];
            assert!(is_binder(&run, path.as_bytes()));
        }
        Name::Inetd | Name::Skd => is_inetd(&run, words.last()),
    }
    if words.first().is_none_or(|word| word != "--check") {
        let words = [vec!["--check".into()], words].concat();
        let Ok(Asked::Run(checked)) = read_as(name, words) else {
            panic!("{run:?}")
        };
        assert_eq!(*checked, Run { check: true, ..run });
    }
});

fn is_onenetd(run: &Run) -> bool {
    let [Named::Inet { style, .. }] = run.named[..] else {
        return false;
    };
    style == Style::Stream
        && run.service.mode == Mode::Connections
        && run.service.max_connections.is_some()
        && !run.service.words.is_empty()
        && !run.heed_listen_fds
}

fn is_binder(run: &Run, path: &[u8]) -> bool {
    // One that begins with `@` is a file here.
    let [
        Named::Unix {
            name: UnixName::Path(name),
            ..
        },
    ] = &run.named[..]
    else {
        return false;
    };
    let name = match name.strip_prefix(b"./") {
        Some(rest @ [b'@', ..]) if path.starts_with(b"@") => rest,
        _ => name,
    };
    name == path
        && run.making.mode.is_some_and(|mode| mode <= 0o777)
        && run.making.listens == (run.making.backlog > 0)
        && run.service.mode == Mode::Exec
        && run.service.pass.stdin
        && !run.service.words.is_empty()
        && !run.heed_listen_fds
}

fn is_inetd(run: &Run, last: Option<&OsString>) {
    let conf = run.inetd_conf.as_ref().expect("it has a file");
    assert!(conf.path == "/etc/inetd.conf" || Some(&conf.path) == last);
    assert!(run.service.words.is_empty() && run.named.is_empty());
    assert!(
        conf.starts_per_minute
            .is_some_and(|most| most.get() <= 1_000_000)
    );
    // Who asks for an address is not heard on all of them.
    let services = parse(b"7 stream tcp nowait root cat", conf.host.as_deref());
    assert_eq!(services.wrong, []);
    let is_every = |named: &Named| {
        matches!(
            named,
            Named::Inet {
                host: Host::Every,
                ..
            }
        )
    };
    let is_every = services.all[0].named.iter().any(is_every);
    assert_eq!(
        is_every,
        conf.host.as_deref().is_none_or(|host| host == "*")
    );
}
