//! `--idle-exit`: by itself when nobody comes, and nobody is lost who came at the last moment.

use super::{does_not_spin, held, holding};
use crate::kit::net::{self, Client, is_refused, tcp_listener, udp};
use crate::kit::skd::Skd;
use crate::kit::{Folder, probe, probing};
use nix::sys::socket::UnixAddr;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn when_nobody_comes_skd_ends_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let (path, pidfile) = (folder.path("served"), folder.path("pid"));
    let words = format!("-v --idle-exit 1 -P {pidfile} -l {path} -t 127.0.0.1:0 -u 127.0.0.1:0");
    let mut skd = holding(&words);
    let port = skd.port();
    // Its end begins the time anew.
    let (client, _) = held(port);
    client.hears_all();
    let left = Instant::now();
    let outcome = skd.ends();
    assert!(left.elapsed() >= Duration::from_millis(900));
    assert_eq!(outcome.code, 0);
    assert!(!Path::new(&path).exists() && !Path::new(&pidfile).exists());
    is_refused(port);
}

#[test]
fn while_a_child_lives_skd_does() {
    let mut busy = holding("-v --idle-exit 1 -t 127.0.0.1:0");
    let (client, _) = held(busy.port());
    idle_times_pass();
    assert_eq!(busy.status(), "1 accepted 1 denied 0 failed 0");
    client.hears_all();
    assert_eq!(busy.ends().code, 0);
}

/// Who connects to a socket of others when skd is gone waits for the next skd.
#[test]
fn who_comes_to_an_adopted_socket_too_late_is_served_by_the_next() {
    let (listener, port) = tcp_listener();
    let start = |words: &str| {
        Skd::new(words)
            .descriptor(0, listener.try_clone().unwrap())
            .start()
    };
    assert_eq!(start("-v --idle-exit 1 -0 cat").ends().code, 0);
    let mut waiting = Client::tcp(port);
    let skd = start("-v -0 cat");
    waiting.says("x").hears("x");
    skd.stop();
}

/// Clients come all around the moment at which skd ends: each is served or refused, none is taken and dropped.
#[test]
fn nobody_is_lost_at_the_moment_of_the_end() {
    let folder = Folder::new();
    let clients: Vec<_> = (0..12u64)
        .map(|number| {
            let path = folder.path(&number.to_string());
            let name = format!("skd-idle-{}-{number}", std::process::id());
            let style = ["", "--seqpacket"][usize::from(number % 2 == 1)];
            let words = format!(
                "-v -c 1 --idle-exit 1 {style} -t 127.0.0.1:0 -l {path} -l @{name} head -c 1"
            );
            let words = words.split_whitespace();
            let mut skd = Skd::with_words(words).start();
            let address = SocketAddr::from(([127, 0, 0, 1], skd.port()));
            let begun = Instant::now();
            std::thread::spawn(move || {
                let moment = Duration::from_micros(999_000 + 300 * number);
                std::thread::sleep(moment.saturating_sub(begun.elapsed()));
                let mut served = Vec::new();
                for _ in 0..8 {
                    let patience = Duration::from_millis(300);
                    served
                        .extend(TcpStream::connect_timeout(&address, patience).map(Client::of_tcp));
                    served.extend(net::unix_client(style, UnixAddr::new(path.as_str())));
                    served.extend(net::unix_client(
                        style,
                        UnixAddr::new_abstract(name.as_bytes()),
                    ));
                }
                for client in &mut served {
                    client.says("x");
                }
                for client in &mut served {
                    client.hears("x");
                }
                assert_eq!(skd.ends().code, 0);
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
}

/// As long as a client has not spoken it is in no backlog yet; it is there all the same.
#[test]
fn who_has_connected_and_not_spoken_is_waited_for() {
    let mut skd = Skd::new("-vv --idle-exit 1 --defer-accept 60 -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    let mut client = Client::tcp(port);
    skd.waits_for("nothing to do, stopping");
    // Whoever comes now is too late.
    let late = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(TcpStream::connect_timeout(&late, Duration::from_millis(300)).is_err());
    does_not_spin(&skd);
    client.says("hello\n").hears("hello\n");
    drop(client);
    let outcome = skd.ends();
    assert_eq!(outcome.code, 0);
    assert_eq!(outcome.stderr.matches(" exit 0 secs ").count(), 1);
}

/// A descriptor store goes when the service does, and what is in it is served as long as skd is there. The sockets of
/// others stay, and so does whoever connects to them.
#[test]
fn sockets_that_a_manager_keeps_for_skd_are_served_until_the_end() {
    let [(kept, kept_port), (other, other_port)] = [(); 2].map(|()| tcp_listener());
    let copy = other.try_clone().unwrap();
    let words = "-vv --idle-exit 1 --defer-accept 60 -t 127.0.0.1:0 cat";
    let skd = Skd::new(words).listen_fds(vec![kept, other]);
    let mut skd = skd.env("LISTEN_FDNAMES", "skd:other").start();
    // Somebody who keeps skd there.
    let mut silent = Client::tcp(skd.port());
    skd.waits_for("nothing to do, stopping");
    let mut waiting = Client::tcp(other_port);
    for _ in 0..3 {
        Client::tcp(kept_port).says("hello\n").hears("hello\n");
    }
    silent.says("hello\n").hears("hello\n");
    drop(silent);
    let outcome = skd.ends();
    assert_eq!(outcome.code, 0);
    assert_eq!(outcome.stderr.matches(" exit 0 secs ").count(), 4);
    let next = Skd::new("-v -0 cat").descriptor(0, copy).start();
    waiting.says("hello\n").hears("hello\n");
    next.stop();
}

/// Nor is it the end while somebody waits for a token.
#[test]
fn whoever_the_rate_keeps_waiting_is_served_before_the_end() {
    let skd = Skd::new("-v -1 --idle-exit 1 --rate 1/3 -t 127.0.0.1:0 cat");
    let mut skd = skd.start();
    let port = skd.port();
    let clients = [(); 2].map(|()| Client::tcp(port));
    for mut client in clients {
        client.says("hello\n").hears("hello\n");
        client.hears_all();
    }
    let outcome = skd.ends();
    assert_eq!(outcome.code, 0);
    assert_eq!(outcome.stderr.matches(" exit 0 secs ").count(), 2);
}

/// Longer than the time of `--idle-exit 1`: two of that pass.
fn idle_times_pass() {
    for _ in 0..2 {
        assert_eq!(holding("-v --idle-exit 1 -t 127.0.0.1:0").ends().code, 0);
    }
}

/// The pauses between its programs become longer than the time of idleness.
#[test]
fn while_a_program_takes_nobody_who_waits_skd_is_not_idle() {
    let folder = Folder::new();
    let ready = folder.path("ready");
    let script = format!("[ -e {ready} ] && exec {} accept-once 0", probe());
    let skd = Skd::new("-v -w --idle-exit 1 -t 127.0.0.1:0 sh -c").word(script);
    let mut skd = skd.start();
    let mut client = Client::tcp(skd.port());
    skd.waits_for_nth("info: accept ", 6);
    std::fs::write(&ready, "").unwrap();
    client.hears_line();
    let outcome = skd.ends();
    assert_eq!(outcome.code, 0);
    assert!(outcome.stderr.contains(" exit 0 secs "));
}

#[test]
fn while_a_datagram_is_left_unread_skd_is_not_idle() {
    let skd = probing("-v --idle-exit 1 -u 127.0.0.1:0", "picky-datagram");
    let mut skd = skd.start();
    udp(skd.port()).send(b"bad").unwrap();
    skd.waits_for_nth("info: datagram ", 5);
    skd.waits_for("discarding a datagram of 3 bytes");
    assert_eq!(skd.ends().code, 0);
}

#[test]
fn while_there_is_no_descriptor_for_who_waits_skd_is_not_idle() {
    if !crate::kit::need::program("prlimit") {
        return;
    }
    let mut skd = holding("-v --idle-exit 1 -t 127.0.0.1:0");
    let port = skd.port();
    let limit = |files: &str| {
        let mut prlimit = std::process::Command::new("prlimit");
        let words = [format!("--nofile={files}:"), format!("--pid={}", skd.pid())];
        assert!(prlimit.args(words).status().unwrap().success());
    };
    limit("3");
    let mut client = Client::tcp(port);
    idle_times_pass();
    limit("1024");
    assert!(client.hears_line().starts_with("ready "));
    client.hears_all();
    skd.waits_for("Too many open files");
    assert_eq!(skd.ends().code, 0);
}

/// A program that accepts by itself would wait for ever.
#[test]
fn no_program_is_started_for_nobody_at_the_end() {
    let folder = Folder::new();
    let path = folder.path("served");
    let words = format!("-v -w --idle-exit 1 -t 127.0.0.1:0 -l {path} cat");
    let outcome = Skd::new(&words).start().ends();
    assert_eq!(outcome.code, 0);
    assert!(!outcome.stderr.contains("accept"), "{}", outcome.stderr);
}
