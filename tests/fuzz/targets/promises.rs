//! Descriptors that the environment promises, by LISTEN_FDS and S6_FD#: only what was promised and asked for is taken.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/config"]
mod config {
    pub(crate) mod addr;
    mod number;
}
#[path = "../../../src/listen"]
mod listen {
    pub(crate) mod inherit;
    mod promises;
    mod s6dump;
}
#[path = "../../../src/model/mod.rs"]
mod model;

use config::addr::adopt;
use libfuzzer_sys::fuzz_target;
use listen::inherit::{Receiver, Taking, UNNAMED, all, of_another, takings};
use model::address::Family;
use model::admission::Admission;
use model::daemon::Daemon;
use model::error::Fatal;
use model::manager::Manager;
use model::number::decimal;
use model::service::{
    Adopt, Level, Lifetime, LogFormat, MOST_DESCRIPTORS, Making, Replaces, Run, Service,
};
use model::sockopt::SocketOptions;
use model::text::harmless;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// What may be promised at most.
const MOST: usize = 4096;

// A line each: variables, `NAME=VALUE`, and words behind `--adopt`. `no` is `--no-adopt`, and with `id` we know the
// inode number of our pidfd.
fuzz_target!(|bytes: &[u8]| {
    if bytes.contains(&0) {
        return;
    }
    let owned = |bytes| OsStr::from_bytes(bytes).to_owned();
    let (mut environment, mut asked, mut heeds) = (Vec::new(), Vec::new(), true);
    let mut us = Receiver {
        pid: 42,
        pidfd_id: None,
    };
    for line in bytes.split(|byte| *byte == b'\n') {
        match line.iter().position(|byte| *byte == b'=') {
            Some(place) => environment.push((owned(&line[..place]), owned(&line[place + 1..]))),
            None if line == b"no" => heeds = false,
            None if line == b"id" => us.pidfd_id = Some(99),
            None => asked.extend(adopt(OsStr::from_bytes(line))),
        }
    }
    // As the command line has it.
    heeds |= asked.iter().any(|it| matches!(it, Adopt::ListenFds(_)));
    managed(&Manager::of(&environment, [us.pid, us.pid - 2]));
    let promised = all(&environment, us);
    let run = run(asked, heeds);
    let taken = takings(&run, &environment, us);
    promises(&promised, &environment, us);
    for result in [&promised, &taken] {
        match result {
            Ok((takings, warnings)) => {
                assert!(warnings.len() <= 1);
                for text in warnings.iter().chain(takings.iter().map(|it| &it.called)) {
                    assert!(harmless(text.as_bytes()) == *text && text.len() <= 500);
                }
            }
            Err(fatal) => {
                assert_eq!(fatal.exit_code(), 100);
                assert!(harmless(fatal.text.as_bytes()) == fatal.text && fatal.text.len() <= 900);
            }
        }
    }
    let Ok((taken, _)) = taken else {
        return;
    };
    let mut numbers = HashSet::new();
    let promised = promised.map_or(Vec::new(), |(promised, _)| promised);
    let asks_for_none = !run.adopt.iter().any(|it| matches!(it, Adopt::ListenFds(_)));
    for taking in &taken {
        assert!(numbers.insert(taking.number));
        assert!(u64::try_from(taking.number).expect("it is not negative") <= MOST_DESCRIPTORS);
        let is_asked = |adopt: &Adopt| match adopt {
            Adopt::Descriptor(number) => *number == taking.number,
            Adopt::ListenFds(name) => name.as_ref().is_none_or(|name| *name == taking.name),
            Adopt::S6(id) => {
                let is_there = of_dump(&environment, id.as_deref(), taking.number);
                is_there && id.is_none() == taking.may_be_foreign
            }
        };
        if taking.listen_fds_place.is_some() {
            assert!(run.heed_listen_fds && promised.contains(taking));
            assert!(asks_for_none || run.adopt.iter().any(is_asked));
        } else {
            assert!(run.adopt.iter().any(is_asked) && taking.name == UNNAMED);
        }
    }
    if run.heed_listen_fds && asks_for_none {
        assert_eq!(taken[..promised.len()], promised[..]);
    }
});

/// What a service manager's variables say else.
fn managed(manager: &Manager) {
    assert_ne!(manager.watchdog, Some(Duration::ZERO));
    match manager.sun_path.as_deref() {
        None | Some([0, _, ..]) => {}
        Some(path) => assert!(path.starts_with(b"/") && path.ends_with(b"\0")),
    }
}

/// Whether s6-fdholder-getdump tells of this number by this identifier, or by any.
fn of_dump(environment: &[(OsString, OsString)], id: Option<&OsStr>, number: i32) -> bool {
    environment.iter().any(|(name, value)| {
        let place = name.to_str().and_then(|name| name.strip_prefix("S6_FD_"));
        let id_name = place.map(|place| format!("S6_FDID_{place}"));
        let mut all = environment.iter();
        let found =
            all.find(|(other, _)| id_name.as_ref().is_some_and(|name| other == name.as_str()));
        decimal(value.as_bytes()) == u64::try_from(number).ok()
            && found.is_some_and(|(_, other)| id.is_none_or(|id| id == other))
    })
}

/// What LISTEN_FDS promises; sd_listen_fds(3).
fn promises(
    promised: &Result<(Vec<Taking>, Vec<String>), Fatal>,
    environment: &[(OsString, OsString)],
    us: Receiver,
) {
    let var = |name| {
        let mut all = environment.iter();
        all.find(|(other, _)| other == name)
            .map(|(_, value)| value.as_bytes())
    };
    let is = |name, number| var(name).is_none_or(|text| decimal(text) == Some(number));
    let is_ours = is("LISTEN_PID", 42) && us.pidfd_id.is_none_or(|id| is("LISTEN_PIDFDID", id));
    let count = var("LISTEN_FDS").filter(|_| is_ours).map(decimal);
    assert_eq!(
        of_another(environment, us).is_some(),
        var("LISTEN_FDS").is_some() && !is_ours
    );
    let count = match (count, promised) {
        (None, Ok((promised, _))) => return assert_eq!(*promised, []),
        (Some(Some(count @ 1..=4096)), Ok(_)) => usize::try_from(count).unwrap(),
        (Some(count), Err(_)) if !count.is_some_and(|count| (1..=4096).contains(&count)) => return,
        (count, other) => panic!("{count:?}: {other:?}"),
    };
    let Ok((promised, warnings)) = promised else {
        return;
    };
    assert!(promised.len() == count && count <= MOST);
    let names: Vec<&[u8]> = promised.iter().map(|it| it.name.as_bytes()).collect();
    let given = var("LISTEN_FDNAMES");
    let fits = given.is_some_and(|text| text.split(|byte| *byte == b':').count() == count);
    assert_eq!(warnings.len(), usize::from(given.is_some() && !fits));
    match given.filter(|_| fits) {
        Some(text) => assert_eq!(names.join(&b':'), text),
        None => assert!(names.iter().all(|name| *name == UNNAMED.as_bytes())),
    }
    for (place, taking) in promised.iter().enumerate() {
        assert_eq!(taking.listen_fds_place, Some(place));
        assert_eq!(usize::try_from(taking.number), Ok(3 + place));
    }
}

/// A command line with nothing else on it.
fn run(adopt: Vec<Adopt>, heed_listen_fds: bool) -> Run {
    Run {
        service: Service::default(),
        named: Vec::new(),
        inetd_conf: None,
        metrics: None,
        making: Making {
            family: Family::Either,
            backlog: 1,
            listens: true,
            replaces: Replaces::default(),
            mode: None,
            owner: None,
            sockets: SocketOptions::default(),
        },
        adopt,
        heed_listen_fds,
        print_ports: false,
        level: Level::Warning,
        log_format: LogFormat::default(),
        lifetime: Lifetime::default(),
        daemon: Daemon::default(),
        check: false,
        admission: Admission::default(),
        inquiry: None,
        passes: false,
        needs_socket: None,
    }
}
