//! skd's own command line: what is meant is within its bounds, and PROG is what stands behind the options, unchanged.
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
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
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
    let run = match read(words.clone()) {
        Ok(Asked::Run(run)) => run,
        Ok(Asked::Text(text)) => {
            assert!(text.starts_with("Usage: skd ") || text.starts_with("skd "));
            return;
        }
        Err((fatal, _)) => {
            assert_eq!(fatal.exit_code(), 100);
            assert!(harmless(fatal.text.as_bytes()) == fatal.text && fatal.text.len() <= 900);
            return;
        }
    };
    in_range(&run);
    let prog = run.service.words.clone();
    assert!(words.ends_with(&prog));
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
