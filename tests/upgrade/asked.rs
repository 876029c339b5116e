//! A new binary that is asked and does not answer, or says no.

use super::{Copy, file_of};
use crate::kit::daemon::is_gone;
use crate::kit::net::{Client, echoes};
use crate::kit::skd::{BINARY, Running, Skd};
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

/// What it says itself is part of one warning, and no line of the log; a running skd has said nothing fatal.
#[test]
fn why_a_new_binary_refuses_is_told_in_one_line_of_skd() {
    let megabyte = "head -c 1000000 /dev/zero | tr '\\0' x >&2";
    let cut = "x".repeat(4096);
    let table = [
        (
            "echo 'skd: fatal: it is so' >&2; exit 111",
            "exits 111: it is so",
        ),
        (
            "echo 'skd: usage: what; try it' >&2; exit 100",
            "exits 100: what; try it",
        ),
        (
            "printf 'one\\33[1m\\ntwo\\n' >&2; exit 3",
            "exits 3: one?[1m",
        ),
        (
            "echo why >&2; kill -SEGV $$",
            "is ended by signal SEGV: why",
        ),
        (&format!("{megabyte}; exit 9"), &format!("exits 9: {cut}")),
        (
            &format!("{megabyte}; exec sleep 1000"),
            "took longer than 2 s",
        ),
    ];
    for options in ["", "--log-format json"] {
        let copy = Copy::new();
        let words = format!("{options} -t 127.0.0.1:0 cat");
        let skd = Skd::new(&format!("-1 {words}")).binary(&copy.path).spawn();
        let mut skd = skd;
        let port = skd.port();
        for (number, (text, reason)) in (1..).zip(&table) {
            copy.spoil(&format!("#!/bin/sh\n{text}"));
            skd.signal(Signal::SIGUSR2);
            let line = skd.waits_for_nth("unable to upgrade to ", number);
            let message = format!("--check {reason}");
            let start: String = message.chars().take(3000).collect();
            assert!(line.contains(&start), "{line}");
            assert!(line.len() < 4096, "{}", line.len());
            echoes(port);
        }
        let stderr = skd.stop().stderr;
        assert_eq!(stderr.lines().count(), table.len(), "{stderr}");
        assert!(
            !stderr.contains("fatal") && !stderr.contains("usage"),
            "{stderr}"
        );
    }
}

/// A wrapper, or the C library that is being debugged.
#[test]
fn whatever_else_is_said_an_skd_that_agrees_takes_its_place() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let prog = folder.script("prog", "exec cat");
    let words = format!("-vv -t 127.0.0.1:0 {prog}");
    let mut skd = Skd::new(&words).binary(&copy.path).start();
    let port = skd.port();
    let noise = "head -c 2000 /dev/zero | tr '\\0' 'x' >&2; echo >&2";
    copy.spoil(&format!(
        "#!/bin/sh\n[ \"$1\" != --check ] || {{ {noise}; }}\nexec {BINARY} \"$@\""
    ));
    std::fs::rename(&prog, folder.path("gone")).unwrap();
    skd.signal(Signal::SIGUSR2);
    let warning = skd.waits_for("unable to upgrade ");
    let reason = "--check exits 111: unable to run ";
    assert!(warning.contains(reason), "{warning}");
    std::fs::rename(folder.path("gone"), &prog).unwrap();
    skd.signal(Signal::SIGUSR2);
    skd.waits_for("in the place of the skd before");
    echoes(port);
    skd.stop();
}

/// With `-q` there is no line at all: a warning is none of those that are told.
#[test]
fn a_quiet_skd_says_nothing_of_a_binary_that_refuses() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let asked = folder.path("asked");
    let skd = Skd::new("-q -1 -t 127.0.0.1:0 cat").binary(&copy.path);
    let mut skd = skd.spawn();
    let port = skd.port();
    copy.spoil(&format!(
        "#!/bin/sh\necho 'skd: fatal: no' >&2; echo >> {asked}; exit 111"
    ));
    skd.signal(Signal::SIGUSR2);
    eventually("it is asked", || {
        std::fs::exists(&asked).ok()?.then_some(())
    });
    skd.is_alone();
    echoes(port);
    assert_eq!(skd.stop().stderr.trim(), "");
}

/// An skd says why in plain words, whatever the format of the log is, and without what is no reason.
#[test]
fn a_refusal_is_words_within_an_object() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let prog = folder.script("prog", "exec cat");
    let words = format!("-1 -vv --log-format json -t 127.0.0.1:0 {prog}");
    let mut skd = Skd::new(&words).binary(&copy.path).spawn();
    let port = skd.port();
    echoes(port);
    std::fs::remove_file(&prog).unwrap();
    skd.signal(Signal::SIGUSR2);
    let line = skd.waits_for("unable to upgrade to ");
    let reason = format!(
        r#"--check exits 111: unable to run \"{prog}\": No such file or directory, going on as before""#
    );
    assert!(line.starts_with('{') && line.contains(&reason), "{line}");
    let stderr = skd.stop().stderr;
    assert!(!stderr.contains("fatal"), "{stderr}");
}

/// true(1) takes every command line, and would end the service.
#[test]
fn a_program_that_is_no_skd_does_not_take_its_place() {
    let copy = Copy::new();
    let skd = Skd::new("-v -t 127.0.0.1:0 cat").binary(&copy.path);
    let mut skd = skd.start();
    let (port, file) = (skd.port(), file_of(skd.pid()));
    for (number, text) in (1..).zip(["exit 0", "echo skd >&2; exit 0", "echo skd agrees; exit 0"]) {
        copy.spoil(&format!("#!/bin/sh\n{text}"));
        skd.signal(Signal::SIGUSR2);
        let line = skd.waits_for_nth("unable to upgrade to ", number);
        assert!(
            line.contains("--check exits 0, but not as an skd"),
            "{line}"
        );
        echoes(port);
    }
    assert_eq!(file_of(skd.pid()), file);
    skd.stop();
}
