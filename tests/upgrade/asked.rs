//! A new binary that is asked and does not answer, or says no.

use super::Copy;
use crate::kit::daemon::is_gone;
use crate::kit::net::{Client, echoes};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, probe};
use nix::sys::signal::Signal;

/// Puts a binary there that has a child of its own and waits for it, and has it asked. Returns the pids of both.
fn hangs(skd: &Running, copy: &Copy, folder: &Folder) -> Vec<i32> {
    let pids = folder.path("pids");
    copy.spoil(&format!(
        "#!/bin/sh\nsleep 1000 &\necho $$ $! > {pids}.new\nmv {pids}.new {pids}\nwait"
    ));
    skd.signal(Signal::SIGUSR2);
    let text = eventually("a child of it", || std::fs::read_to_string(&pids).ok());
    let pids = text.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.collect()
}

fn are_gone(pids: &[i32]) {
    eventually("the end of who was asked", || {
        pids.iter().all(|pid| is_gone(*pid)).then_some(())
    });
}

/// They have its sockets.
#[test]
fn who_is_asked_ends_with_skd() {
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];
    for (options, signal) in ["", "--drain 600"]
        .iter()
        .flat_map(|it| signals.map(|signal| (it, signal)))
    {
        let (copy, folder) = (Copy::new(), Folder::new());
        let words = format!("-v {options} -t 127.0.0.1:0 cat");
        let skd = Skd::new(&words).binary(&copy.path).start();
        let pids = hangs(&skd, &copy, &folder);
        skd.signal(signal);
        assert_eq!(skd.ends().code, 0);
        are_gone(&pids);
    }
}

#[test]
fn who_does_not_answer_is_ended_with_all_that_it_started() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let mut skd = Skd::new("-v -t 127.0.0.1:0 cat").binary(&copy.path).start();
    let port = skd.port();
    let pids = hangs(&skd, &copy, &folder);
    echoes(port);
    let line = skd.waits_for("warning");
    let reason = "--check took longer than 2 s, going on as before";
    assert!(line.ends_with(reason), "{line}");
    are_gone(&pids);
    echoes(port);
    skd.stop();
}

/// What came while the new binary was asked is not forgotten when it has said no: the next program was started for
/// somebody else, and counts.
#[test]
fn a_no_takes_no_news_of_a_lent_listener_away() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let go = folder.path("go");
    let script = format!(
        "{} accept-once 0; until [ -e {go} ]; do sleep 0.01; done",
        probe()
    );
    let skd = Skd::new("-v -w -t 127.0.0.1:0 sh -c").word(script);
    let mut skd = skd.binary(&copy.path).start();
    let port = skd.port();
    let first = Client::tcp(port).hears_line();
    let mut second = Client::tcp(port);
    copy.spoil("#!/bin/sh\nexit 100");
    skd.signal(Signal::SIGUSR2);
    skd.waits_for("--check exits 100, going on as before");
    assert_eq!(skd.status(), "1 accepted 1 denied 0 failed 0");
    std::fs::write(&go, "").unwrap();
    assert_ne!(second.hears_line(), first);
    skd.waits_for_nth("info: end ", 2);
    assert_eq!(skd.status(), "0 accepted 2 denied 0 failed 0");
    skd.stop();
}
