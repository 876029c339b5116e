//! The end: with children that are waited for, and by itself when nobody comes.

mod idle;

use crate::kit::net::{Client, is_refused, tcp_listener, udp};
use crate::kit::skd::{Running, Skd, field};
use crate::kit::{Folder, eventually, fails, probe, probing};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

/// skd that holds each connection until its client leaves.
fn holding(words: &str) -> Running {
    Skd::new(words).word(probe()).word("hold").start()
}

/// A client whose program runs; returns it with that program's pid.
fn held(port: u16) -> (Client, i32) {
    let mut client = Client::tcp(port);
    let line = client.hears_line();
    let pid = line.strip_prefix("ready ").unwrap().parse().unwrap();
    (client, pid)
}

fn lives(pid: i32) -> bool {
    field(pid, "State").is_some_and(|state| !state.starts_with('Z'))
}

#[test]
fn with_drain_skd_ends_when_its_children_have_and_serves_nobody_new() {
    let folder = Folder::new();
    let (path, pidfile) = (folder.path("served"), folder.path("pid"));
    let mut skd = holding(&format!(
        "-v --drain 600 -P {pidfile} -l {path} -t 127.0.0.1:0"
    ));
    let port = skd.port();
    let (one, _) = held(port);
    let (other, _) = held(port);
    skd.signal(Signal::SIGTERM);
    // Whoever comes before that is served, and counted.
    eventually("a removed socket file", || {
        (!Path::new(&path).exists()).then_some(())
    });
    is_refused(port);
    assert!(Path::new(&pidfile).exists());
    assert_eq!(skd.status(), "2 accepted 2 denied 0 failed 0");
    assert_eq!(one.hears_all(), "bye\n");
    skd.waits_for(" exit 0 secs ");
    assert_eq!(skd.status(), "1 accepted 2 denied 0 failed 0");
    assert_eq!(other.hears_all(), "bye\n");
    let outcome = skd.ends();
    assert_eq!((outcome.code, Path::new(&pidfile).exists()), (0, false));
    assert_eq!(outcome.stderr.matches(" exit 0 secs ").count(), 2);
}

/// Who asks what became of the clients finds how many programs go on without skd.
#[test]
fn the_last_line_says_how_many_children_are_left() {
    for (words, count) in [("-vv", 2), ("-vv --drain 600", 0), ("-v", 2)] {
        let mut skd = holding(&format!("{words} -t 127.0.0.1:0"));
        let port = skd.port();
        let clients = [held(port).0, held(port).0];
        skd.waits_for_nth("info: accept ", 2);
        let outcome = if count == 0 {
            skd.signal(Signal::SIGTERM);
            skd.waits_for("asked to stop");
            for client in clients {
                assert_eq!(client.hears_all(), "bye\n");
            }
            skd.ends()
        } else {
            skd.stop()
        };
        let line = format!("skd: info: stopped, children left: {count}\n");
        let is_told = outcome.stderr.ends_with(&line);
        assert_eq!(is_told, words != "-v", "{}", outcome.stderr);
    }
}

#[test]
fn without_children_drain_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let skd = holding("-v --drain 600 -t 127.0.0.1:0");
        skd.signal(signal);
        assert_eq!(skd.ends().code, 0);
    }
}

#[test]
fn a_second_term_or_int_ends_skd_at_once_and_children_live_on() {
    for (first, second) in [
        (Signal::SIGTERM, Signal::SIGTERM),
        (Signal::SIGTERM, Signal::SIGINT),
        (Signal::SIGINT, Signal::SIGTERM),
    ] {
        let mut skd = holding("-v --drain 600 -t 127.0.0.1:0");
        let port = skd.port();
        let (mut client, pid) = held(port);
        skd.signal(first);
        is_refused(port);
        skd.signal(second);
        assert_eq!(skd.ends().code, 0);
        assert!(lives(pid));
        client.says("still there");
        assert_eq!(client.hears_all(), "bye\n");
    }
}

#[test]
fn children_that_do_not_end_in_time_are_told_to_and_then_killed() {
    let script = "trap '' TERM; echo ready; while :; do read line || sleep 1000; done";
    let skd = Skd::new("-v --drain 0 -t 127.0.0.1:0 sh -c")
        .word(format!("[ $TCPCONNNUM = 1 ] && exec sleep 1000; {script}"));
    let mut skd = skd.start();
    let port = skd.port();
    let _obeys = Client::tcp(port);
    skd.waits_for_nth("accept ", 1);
    let mut deaf = Client::tcp(port);
    assert_eq!(deaf.hears_line(), "ready");
    skd.signal(Signal::SIGTERM);
    skd.waits_for("signal TERM");
    let outcome = skd.ends();
    assert_eq!(outcome.code, 0);
    assert!(outcome.stderr.contains("signal KILL"), "{}", outcome.stderr);
}

#[test]
fn quit_with_drain_tells_children_at_once() {
    let mut skd = holding("-v --drain 600 -t 127.0.0.1:0");
    let port = skd.port();
    let (_client, _) = held(port);
    skd.signal(Signal::SIGQUIT);
    let outcome = skd.ends();
    assert_eq!(outcome.code, 0);
    assert!(outcome.stderr.contains("signal TERM"), "{}", outcome.stderr);
}

/// It tells the children what the first signal did not, and skd waits for them as before.
#[test]
fn quit_while_skd_drains_tells_children_and_goes_on_with_it() {
    for first in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let skd = probing("-v --drain 600 -t 127.0.0.1:0", "told USR1");
        let mut skd = skd.start();
        let port = skd.port();
        let _client = Client::tcp(port);
        skd.waits_for("ready");
        let child = skd.children()[0];
        skd.signal(first);
        is_refused(port);
        if first == Signal::SIGQUIT {
            // Two that come together are one to a program.
            skd.waits_for("got TERM");
            skd.waits_for("got CONT");
        }
        skd.signal(Signal::SIGQUIT);
        let count = if first == Signal::SIGQUIT { 2 } else { 1 };
        skd.waits_for_nth("got CONT", count);
        skd.waits_for_nth("got TERM", count);
        // It is still there.
        assert_eq!(skd.status(), "1 accepted 1 denied 0 failed 0");
        kill(Pid::from_raw(child), Signal::SIGUSR1).unwrap();
        skd.waits_for(&format!("pid {child} exit 7 secs "));
        assert_eq!(skd.ends().code, 0);
    }
}

/// The program of a datagram is a child like any other.
#[test]
fn drain_waits_for_the_programs_of_datagrams() {
    let skd = Skd::new("-v --drain 600 -1u 127.0.0.1:0")
        .word(probe())
        .word("talk-datagram");
    let mut skd = skd.start();
    let client = udp(skd.port());
    client.send(b"x").unwrap();
    crate::kit::net::hear_udp(&client);
    skd.signal(Signal::SIGTERM);
    assert_eq!(skd.status(), "1 accepted 1 denied 0 failed 0");
    client.send(b"end").unwrap();
    assert_eq!(skd.ends().code, 0);
}

fn cpu_nanos(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// While others work it does next to nothing.
fn does_not_spin(skd: &Running) {
    let (start, before) = (Instant::now(), cpu_nanos(skd.pid()));
    for _ in 0..200 {
        // A process of another test's pace, so that time passes.
        std::process::Command::new("true").status().unwrap();
    }
    let (wall, used) = (start.elapsed().as_nanos(), cpu_nanos(skd.pid()) - before);
    assert!(u128::from(used) * 10 < wall, "{used} of {wall} ns");
}

/// The listener is still open, since others hold it, and clients knock at it.
#[test]
fn while_it_drains_skd_does_not_look_at_a_socket_of_others() {
    let (listener, port) = tcp_listener();
    let skd = Skd::new("-v --drain 600 -0").word(probe()).word("hold");
    let mut skd = skd.descriptor(0, listener.try_clone().unwrap()).start();
    let (client, _) = held(port);
    skd.signal(Signal::SIGTERM);
    assert_eq!(skd.status(), "1 accepted 1 denied 0 failed 0");
    let _knocking = TcpStream::connect(("127.0.0.1", port)).unwrap();
    does_not_spin(&skd);
    assert_eq!(skd.status(), "1 accepted 1 denied 0 failed 0");
    client.hears_all();
    assert_eq!(skd.ends().code, 0);
}

/// As the first process of a pid namespace skd has orphans to reap; its end ends all that is left there.
#[test]
fn as_the_first_process_skd_reaps_orphans_drains_and_ends_when_told() {
    if !crate::kit::need::root() || !crate::kit::need::program("unshare") {
        return;
    }
    let script = "(sleep 0.05; exit 3) & exec cat";
    let skd = Skd::new("-v --drain 600 -t 127.0.0.1:0 sh -c").word(script);
    let mut skd = skd
        .under("unshare --pid --fork --kill-child --mount-proc")
        .start();
    let port = skd.port();
    let first = eventually("skd as the first process", || {
        skd.children().first().copied()
    });
    let mut client = Client::tcp(port);
    client.says("x").hears("x");
    for _ in 0..3 {
        Client::tcp(port).says("x").hears("x");
    }
    eventually("no zombie", || {
        let children = crate::kit::daemon::children_of(first);
        let is_zombie = |pid: &i32| field(*pid, "State").is_some_and(|it| it.starts_with('Z'));
        (children.len() == 1 && !children.iter().any(is_zombie)).then_some(())
    });
    kill(Pid::from_raw(first), Signal::SIGTERM).unwrap();
    is_refused(port);
    client.says("y").hears("y");
    drop(client);
    assert_eq!(skd.ends().code, 0);
}

#[test]
fn spans_are_whole_seconds() {
    for (option, least) in [("--idle-exit", 1), ("--drain", 0)] {
        for junk in ["x", "-1", "1.5", "31536001"] {
            let line = format!(
                "usage: {option}: \"{junk}\" is no whole number from {least} to 31536000; try \"skd --help\""
            );
            fails(Skd::new(&format!("{option} {junk} -t 0 cat")), 100, &line);
        }
        let line = format!("usage: {option}: there is no socket; try \"skd --help\"");
        fails(Skd::new(&format!("{option} 1 cat")), 100, &line);
    }
}
