//! skd's own command line: what is meant is within its bounds, and PROG begins where getopt_long(3) would have it begin.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/config/mod.rs"]
mod config;
#[path = "../../../src/model/mod.rs"]
mod model;

use config::{Asked, read};
use libfuzzer_sys::fuzz_target;
use model::address::{Family, Host, Named, UNIX_NAME_BYTES, UnixName};
use model::daemon::LogTo;
use model::service::{Adopt, MOST_DESCRIPTORS, Run};
use model::text::harmless;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;
use std::time::Duration;

/// What an option may ask for at most: programs, and time to wait.
const MOST: u32 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(31_536_000);

// A word each line.
fuzz_target!(|bytes: &[u8]| {
    if bytes.contains(&0) {
        return;
    }
    let words = bytes.split(|byte| *byte == b'\n').map(OsStr::from_bytes);
    let words: Vec<OsString> = words.map(OsStr::to_owned).collect();
    let end = scan(&words);
    let run = match read(words.clone()) {
        Ok(Asked::Run(run)) => run,
        // Completions of a shell.
        Ok(Asked::Text(text)) if text.starts_with('#') => {
            return assert!(matches!(end, End::Prog { .. }));
        }
        Ok(Asked::Text(text)) => {
            assert!(text.starts_with("Usage: skd ") || text.starts_with("skd "));
            return assert_eq!(end, End::Text);
        }
        Err((fatal, _)) => {
            let text = &fatal.text;
            assert_eq!(fatal.exit_code(), 100);
            assert!(harmless(text.as_bytes()) == *text && text.len() <= 900);
            let is_unread = text.starts_with("there is no option ")
                || text.ends_with(": a value is missing")
                || text.ends_with(": takes no value");
            assert!(!is_unread || end == End::Wrong, "{text}");
            let is_bare = matches!(end, End::Prog { is_bare: true, .. });
            // A word may have it, too.
            let says = " is not joined to it, ";
            let has_said = String::from_utf8_lossy(bytes).contains(says);
            assert!(is_bare || has_said || !text.contains(says), "{text}");
            return;
        }
    };
    let End::Prog { place, .. } = end else {
        panic!("{run:?}")
    };
    in_range(&run);
    let prog = run.service.words.clone();
    assert_eq!(prog, words[place..]);
    if prog.is_empty() {
        assert!(run.inetd_conf.is_some() || run.inquiry.is_some());
        return;
    }
    // What stands behind the options is nothing to them; nor is `--` in between, if it is not there.
    let (options, _) = words.split_at(words.len() - prog.len());
    let with = |between: Option<&str>, prog: &[&str]| {
        let more = between.into_iter().chain(prog.iter().copied());
        let words = options.iter().cloned().chain(more.map(OsString::from));
        match read(words.collect()) {
            Ok(Asked::Run(other)) => {
                assert_eq!(other.service.words, prog);
                *other
            }
            other => panic!("{other:?}"),
        }
    };
    let mut run = *run;
    let between = Some("--").filter(|word| options.last().is_none_or(|last| last != word));
    for (between, prog) in [
        (None, &["cat", "-h", "--bogus", "--"][..]),
        (between, &["cat", "-v"]),
        (between, if between.is_some() { &["-h"] } else { &["cat"] }),
    ] {
        run.service.words = prog.iter().map(OsString::from).collect();
        assert_eq!(with(between, prog), run);
    }
});

/// Where the options end.
#[derive(Debug, Eq, PartialEq)]
enum End {
    /// At this word, which is no option. `is_bare`: right before it is an option whose value may be left out, and is.
    Prog { place: usize, is_bare: bool },
    /// At `--help` or `--version`.
    Text,
    /// At one that does not exist, lacks a value or takes none.
    Wrong,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Takes {
    Nothing,
    Value,
    Maybe,
}

/// Every name of an option, as the help has it, and what the option takes.
fn names() -> HashMap<String, Takes> {
    let Ok(Asked::Text(help)) = read(vec!["--help".into()]) else {
        panic!("there is no help")
    };
    let mut names = HashMap::from([("-x".into(), Takes::Value)]);
    for line in help.lines().filter(|line| line.starts_with("  ")) {
        let (short, rest) = line.split_at(6);
        let shown = rest.split("  ").next().unwrap_or_default();
        let (long, takes) = match (shown.split_once("[="), shown.split_once(' ')) {
            (Some((long, _)), _) => (long, Takes::Maybe),
            (None, Some((long, _))) => (long, Takes::Value),
            (None, None) => (shown, Takes::Nothing),
        };
        let all = [short.trim_matches([' ', ',']), long];
        names.extend(all.map(|name| (name.to_owned(), takes)));
    }
    names
}

/// As getopt_long(3) does that stops at the first word which is no option, and knows no abbreviations.
fn scan(words: &[OsString]) -> End {
    static NAMES: LazyLock<HashMap<String, Takes>> = LazyLock::new(names);
    let takes = |name: &[u8]| NAMES.get(str::from_utf8(name).ok()?).copied();
    let is_text = |name: &[u8]| [&b"-h"[..], b"--help", b"-V", b"--version"].contains(&name);
    let (mut place, mut is_bare) = (0, false);
    while let Some(word) = words.get(place).map(|word| word.as_bytes()) {
        if word == b"--" {
            return End::Prog {
                place: place + 1,
                is_bare: false,
            };
        }
        if word.len() < 2 || word[0] != b'-' {
            break;
        }
        place += 1;
        is_bare = false;
        if word.starts_with(b"--") {
            let equals = word.iter().position(|byte| *byte == b'=');
            let name = &word[..equals.unwrap_or(word.len())];
            match (takes(name), equals) {
                (Some(Takes::Nothing), None) if is_text(name) => return End::Text,
                (None, _) | (Some(Takes::Nothing), Some(_)) => return End::Wrong,
                (Some(Takes::Value), None) => place += 1,
                (Some(Takes::Maybe), None) => is_bare = true,
                (Some(_), _) => {}
            }
            continue;
        }
        for (at, letter) in word.iter().enumerate().skip(1) {
            let name = [b'-', *letter];
            match takes(&name) {
                Some(Takes::Nothing) if is_text(&name) => return End::Text,
                Some(Takes::Nothing) => continue,
                Some(Takes::Value | Takes::Maybe) => place += usize::from(at + 1 == word.len()),
                None => return End::Wrong,
            }
            break;
        }
    }
    match place > words.len() {
        true => End::Wrong,
        false => End::Prog { place, is_bare },
    }
}

fn in_range(run: &Run) {
    for named in run.named.iter().chain(&run.metrics) {
        match (named, run.making.family) {
            (Named::Inet { host, .. }, family) => assert!(!matches!(
                (host, family),
                (Host::V4(_), Family::V6) | (Host::V6(..), Family::V4)
            )),
            (Named::Unix { name, .. }, _) => {
                let (UnixName::Path(bytes) | UnixName::Abstract(bytes)) = name;
                assert!((1..=UNIX_NAME_BYTES).contains(&bytes.len()));
            }
            (Named::Vsock { port, .. }, _) => assert_ne!(*port, u32::MAX),
        }
    }
    for adopt in &run.adopt {
        if let Adopt::Descriptor(number) = adopt {
            let number = u64::try_from(*number).expect("it is not negative");
            assert!(number <= MOST_DESCRIPTORS);
        }
    }
    assert!(!run.adopt.iter().any(|it| matches!(it, Adopt::ListenFds(_))) || run.heed_listen_fds);
    let making = &run.making;
    assert!(making.backlog >= 1 && making.mode.is_none_or(|mode| mode <= 0o777));
    if let Some(device) = &making.sockets.device {
        assert!((1..=15).contains(&device.len()));
    }
    let limits = [run.service.max_connections, run.admission.max_per_source];
    assert!(limits.into_iter().flatten().all(|it| it.get() <= MOST));
    let spans = [run.lifetime.idle_exit, run.lifetime.drain];
    assert!(spans.into_iter().flatten().all(|it| it <= LONGEST));
    assert_ne!(run.lifetime.idle_exit, Some(Duration::ZERO));
    let daemon = &run.daemon;
    assert!(daemon.privileges.umask.is_none_or(|umask| umask <= 0o777));
    assert!(daemon.ready_fd.is_none_or(|number| number >= 0));
    if let Some(LogTo::Syslog(to)) = &daemon.log {
        assert!(!to.tag.is_empty() && !to.tag.chars().any(char::is_control));
        assert!(to.facility < 24 && to.severity < 8);
    }
}
