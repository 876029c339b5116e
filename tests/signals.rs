//! Signals: what each does, and what lives on.

use crate::kit::net::Client;
use crate::kit::skd::{Skd, field};
use crate::kit::{Folder, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Says its pid, then echoes.
const ECHO: &str = "echo $$; exec cat";
/// Says when it is asked to end; it has stopped itself before.
const STOPPED: &str = "trap 'echo term; exit 0' TERM; echo $$; kill -STOP $$; echo continued";

/// skd at `-v` with PROG `sh -c SCRIPT`; `words` are further options.
fn serving(words: &str, script: &str) -> Skd {
    let skd = Skd::new(&format!("-1 -v {words} -t 127.0.0.1:0"));
    skd.word("sh").word("-c").word(script)
}

/// The pid that the program says first.
fn pid_of(client: &mut Client) -> i32 {
    client.hears_line().parse().unwrap()
}

fn waits_for_state(pid: i32, state: &str) {
    eventually(&format!("state {state} of {pid}"), || {
        field(pid, "State")?.starts_with(state).then_some(())
    });
}

/// Ended, whether or not whoever inherited it has looked yet.
fn waits_for_end(pid: i32) {
    eventually("the end of a child", || {
        field(pid, "State")
            .is_none_or(|state| state.starts_with('Z'))
            .then_some(())
    });
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn term_and_int_end_the_listening_and_leave_children_alive() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = Folder::new();
        let path = folder.path("socket");
        let mut skd = serving(&format!("-l {path}"), ECHO).start();
        let port = skd.port();
        let (mut tcp, mut unix) = (Client::tcp(port), Client::unix(&path));
        let pids = [pid_of(&mut tcp), pid_of(&mut unix)];
        skd.waits_for_nth("accept ", 2);
        skd.signal(signal);
        let outcome = skd.ends();
        assert_eq!(outcome.code, 0, "{signal}");
        assert!(!outcome.stderr.contains(" end "), "{}", outcome.stderr);
        assert!(!Path::new(&path).exists(), "{signal}");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{signal}");
        assert!(pids.iter().all(|pid| field(*pid, "State").is_some()));
        tcp.says("still\n").hears("still\n");
        unix.says("here\n").hears("here\n");
        assert_eq!((tcp.hears_all(), unix.hears_all()), Default::default());
    }
}

/// A child that was stopped sees the TERM too, since CONT follows.
#[test]
fn quit_ends_every_child_even_a_stopped_one() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut skd = serving(&format!("-l {path}"), STOPPED).start();
    let port = skd.port();
    let mut clients = [Client::tcp(port), Client::tcp(port), Client::unix(&path)];
    let pids = clients.each_mut().map(pid_of);
    for pid in pids {
        waits_for_state(pid, "T");
    }
    skd.waits_for_nth("accept ", 3);
    skd.signal(Signal::SIGQUIT);
    assert_eq!(skd.ends().code, 0);
    assert!(!Path::new(&path).exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    for client in &mut clients {
        assert_eq!(client.hears_rest(), "term\n");
    }
    pids.into_iter().for_each(waits_for_end);
}

#[test]
fn hangup_drops_nothing_and_says_nothing() {
    let mut skd = serving("-c 1", ECHO).start();
    let port = skd.port();
    let mut served = Client::tcp(port);
    let pid = pid_of(&mut served);
    let mut waiting = Client::tcp(port);
    for _ in 0..10 {
        skd.signal(Signal::SIGHUP);
        assert_eq!(skd.status(), "1/1 accepted 1 denied 0 failed 0");
    }
    served.says("still\n").hears("still\n");
    assert_eq!(skd.children(), [pid]);
    let told = ["info: listen ", "info: accept ", "info: status "];
    let is_told = |line: &String| told.iter().any(|text| line.contains(text));
    assert!(skd.seen.iter().all(is_told), "{:#?}", skd.seen);
    assert_eq!(served.hears_all(), "");
    pid_of(&mut waiting);
    waiting.says("served\n").hears("served\n");
    skd.stop();
}

#[test]
fn usr1_tells_the_status_at_every_level_but_quiet() {
    for level in ["", "-v", "-vv"] {
        for (limit, count) in [("", "0"), ("-c 7", "0/7")] {
            let words = format!("-1 {level} {limit} -t 127.0.0.1:0 cat");
            let mut skd = Skd::new(&words).spawn();
            skd.port();
            skd.signal(Signal::SIGUSR1);
            let line = format!("skd: info: status {count} accepted 0 denied 0 failed 0");
            assert_eq!(skd.waits_for("status"), line, "{words}");
            let stderr = skd.stop().stderr;
            assert_eq!(stderr.matches("status").count(), 1, "{words}");
            assert!(!level.is_empty() || stderr == format!("{line}\n"));
        }
    }
    let mut skd = Skd::new("-1q -t 127.0.0.1:0 cat").spawn();
    skd.port();
    // Of two signals that wait, the kernel hands over the lower number first: USR1.
    skd.signal(Signal::SIGUSR1);
    assert_eq!(skd.stop().stderr, "\n");
}

/// A parent may have left any signal ignored or blocked; nohup(1) and old shells do.
#[test]
fn signals_that_were_ignored_or_blocked_at_the_start_work() {
    let taken = "TERM,INT,QUIT,HUP,USR1,CHLD";
    let wrapper = format!("env --ignore-signal={taken} --block-signal={taken}");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut skd = serving("", ECHO).under(&wrapper).start();
        let port = skd.port();
        let mut first = Client::tcp(port);
        pid_of(&mut first);
        assert_eq!(first.hears_all(), "");
        skd.waits_for(" exit 0 secs ");
        skd.is_alone();
        let mut second = Client::tcp(port);
        let pid = pid_of(&mut second);
        skd.signal(Signal::SIGHUP);
        assert_eq!(skd.status(), "1 accepted 2 denied 0 failed 0");
        skd.signal(signal);
        assert_eq!(skd.ends().code, 0, "{signal}");
        if signal == Signal::SIGQUIT {
            waits_for_end(pid);
        } else {
            second.says("still\n").hears("still\n");
        }
    }
}

#[test]
fn a_storm_of_signals_loses_no_child() {
    const CLIENTS: usize = 200;
    let mut skd = serving("", "echo served").start();
    let (port, pid) = (skd.port(), skd.pid());
    let storm = std::thread::spawn(move || {
        for round in 0..1000 {
            send(pid, Signal::SIGUSR1);
            send(pid, Signal::SIGHUP);
            if round % 10 == 0 {
                send(pid, Signal::SIGCHLD);
            }
        }
    });
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::tcp(port)).collect();
    for client in &mut clients {
        assert_eq!(client.hears_rest(), "served\n");
    }
    storm.join().unwrap();
    skd.is_alone();
    skd.waits_for_nth(" exit 0 secs ", CLIENTS);
    let status = format!("0 accepted {CLIENTS} denied 0 failed 0");
    assert_eq!(skd.status(), status);
    skd.stop();
}

/// Many ends are one SIGCHLD to a process that does not look.
#[test]
fn children_that_end_while_skd_is_stopped_are_all_counted() {
    const CLIENTS: usize = 50;
    let mut skd = serving("", ECHO).start();
    let port = skd.port();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::tcp(port)).collect();
    let pids: Vec<_> = clients.iter_mut().map(pid_of).collect();
    skd.signal(Signal::SIGSTOP);
    waits_for_state(skd.pid(), "T");
    drop(clients);
    for pid in pids {
        waits_for_state(pid, "Z");
    }
    skd.signal(Signal::SIGCONT);
    skd.waits_for_nth(" exit 0 secs ", CLIENTS);
    skd.is_alone();
    let status = format!("0 accepted {CLIENTS} denied 0 failed 0");
    assert_eq!(skd.status(), status);
    skd.stop();
}

#[test]
fn a_child_that_is_stopped_and_continued_has_not_ended() {
    let mut skd = serving("", ECHO).start();
    let mut client = Client::tcp(skd.port());
    let pid = pid_of(&mut client);
    for (signal, state) in [(Signal::SIGSTOP, "T"), (Signal::SIGCONT, "S")] {
        send(pid, signal);
        waits_for_state(pid, state);
        assert_eq!(skd.status(), "1 accepted 1 denied 0 failed 0");
    }
    client.says("still\n").hears("still\n");
    assert!(!skd.stop().stderr.contains("info: end "));
}

#[test]
fn a_signal_that_comes_while_skd_starts_leaves_no_socket_file() {
    for _ in 0..20 {
        let folder = Folder::new();
        let path = folder.path("socket");
        let skd = Skd::new(&format!("-l {path} cat")).spawn();
        eventually("a socket file", || Path::new(&path).exists().then_some(()));
        skd.stop();
        assert!(!Path::new(&path).exists());
        assert!(UnixStream::connect(&path).is_err());
    }
}

/// TERM is obeyed between two connections, however many wait.
#[test]
fn term_ends_a_flooded_skd() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut skd = Skd::new(&format!("-1 -q -l {path} -t 127.0.0.1:0 true")).spawn();
    skd.port();
    let flood = std::thread::spawn({
        let path = path.clone();
        move || {
            eventually("nobody who listens", || {
                let many = (0..50).map(|_| UnixStream::connect(&path));
                let (there, gone): (Vec<_>, Vec<_>) = many.partition(Result::is_ok);
                (there.is_empty() && gone.len() == 50).then_some(())
            });
        }
    });
    eventually("children", || (!skd.children().is_empty()).then_some(()));
    skd.stop();
    flood.join().unwrap();
    assert!(!Path::new(&path).exists());
}
