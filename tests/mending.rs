//! Sockets that somebody has spoilt who has them as well: they serve again, or are left alone.

use crate::kit::net::{Client, hear_udp, set_nonblocking, tcp_listener, udp, unix_datagram};
use crate::kit::skd::Skd;
use crate::kit::{Folder, need, probe};
use nix::sys::socket::{Shutdown, shutdown};
use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

/// A program that ends so, for `-w`.
fn shuts(options: &str) -> Skd {
    Skd::new(&format!("-vw {options}"))
        .word(probe())
        .word("accept-and-shut")
        .word("0")
}

/// The kernel makes no listener of it any more: another socket takes its place.
#[test]
fn a_unix_listener_that_a_program_has_shut_serves_again() {
    if !need::root() {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("served");
    let conf = folder.path("inetd.conf");
    let service = format!(
        "{path} stream unix wait root {} probe accept-and-shut 0\n",
        probe()
    );
    fs::write(&conf, service).unwrap();
    for skd in [
        shuts(&format!("--mode 0620 --owner 65534:65534 -l {path}")),
        Skd::new(&format!("-v --inetd-conf {conf}")),
    ] {
        let mut skd = skd.start();
        let kept = || {
            let file = fs::metadata(&path).unwrap();
            (file.permissions().mode(), file.uid(), file.gid())
        };
        let (before, mode) = (skd.descriptors(), kept());
        for round in 1..=3 {
            assert_eq!(Client::unix(&path).hears_all(), "bye\n");
            let warning = skd.waits_for_nth(&format!("had shut unix:{path}"), round);
            assert!(warning.ends_with(", which serves again"), "{warning}");
            assert_eq!(kept(), mode);
            // What tells of who comes meanwhile, and the queue of those who close, are there from the first time on.
            skd.comes_to_have(before + 3);
        }
        assert_eq!(skd.status(), "0 accepted 3 denied 0 failed 0");
        skd.stop();
        assert!(!fs::exists(&path).unwrap());
    }
}

/// The port was the kernel's choice, which nobody holds while the socket is shut.
#[test]
fn a_port_that_was_chosen_stays_when_a_program_shuts_its_listener() {
    let mut skd = shuts("-t 127.0.0.1:0").start();
    let port = skd.port();
    for round in 1..=3 {
        assert_eq!(Client::tcp(port).hears_all(), "bye\n");
        skd.waits_for_nth(
            &format!("had shut tcp:127.0.0.1:{port}, which serves"),
            round,
        );
    }
    skd.stop();
}

/// Such a port may not be bound any more, but it is still.
#[test]
fn a_privileged_port_serves_again_though_skd_is_not_root_any_more() {
    if !need::root() {
        return;
    }
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (512..1024).find(free).unwrap();
    let mut skd = shuts(&format!("--user nobody -t 127.0.0.1:{port}")).start();
    for round in 1..=2 {
        assert_eq!(Client::tcp(port).hears_all(), "bye\n");
        skd.waits_for_nth(&format!(":{port}, which serves again"), round);
    }
    skd.stop();
}

/// Whoever made it would have to make it anew.
#[test]
fn an_adopted_unix_listener_that_was_shut_is_told_of_once_and_left_alone() {
    let folder = Folder::new();
    for options in ["-w", ""] {
        let path = folder.path("adopted");
        let listener = UnixListener::bind(&path).unwrap();
        let ours = listener.try_clone().unwrap();
        let skd = Skd::new(&format!("-v {options} -0")).descriptor(0, listener);
        let mut skd = skd.word(probe()).word("accept-and-shut").word("0").start();
        match options {
            "-w" => assert_eq!(Client::unix(&path).hears_all(), "bye\n"),
            _ => shutdown(ours.as_raw_fd(), Shutdown::Both).unwrap(),
        }
        let warning = skd.waits_for(&format!("shut unix:{path}, which serves nobody any more"));
        for _ in 0..20 {
            skd.status();
        }
        let stderr = skd.stop().stderr;
        let count = |text: &str| stderr.matches(text).count();
        assert!(count(&warning) == 1 && count("accept ") <= 1, "{stderr}");
        fs::remove_file(&path).unwrap();
    }
}

/// As a service manager does when it hands the socket to another service.
#[test]
fn an_adopted_listener_that_somebody_makes_blocking_keeps_nobody_waiting() {
    let (listener, port) = tcp_listener();
    let ours = listener.try_clone().unwrap();
    let mut skd = Skd::new("-1 -v -0 -t 127.0.0.1:0 cat")
        .descriptor(0, listener)
        .start();
    let other = skd.port();
    for _ in 0..3 {
        set_nonblocking(&ours, false);
        Client::tcp(port).says("one\n").hears("one\n");
        skd.status();
        Client::tcp(other).says("two\n").hears("two\n");
    }
    skd.stop();
}

/// SO_PEEK_OFF: whoever looks sees what comes behind, or another datagram.
#[test]
fn a_program_that_looks_further_hides_no_datagram_from_skd() {
    let folder = Folder::new();
    let path = folder.path("served");
    let words = format!("-v -u 127.0.0.1:0 -dl {path}");
    let mut skd = Skd::new(&format!("{words} -1"))
        .word(probe())
        .word("peek-further")
        .start();
    let client = udp(skd.port());
    let local = unix_datagram(&folder.path("client"));
    for text in ["bad", "good"] {
        client.send(text.as_bytes()).unwrap();
        local.send_to(text.as_bytes(), &path).unwrap();
    }
    assert_eq!(hear_udp(&client), "good");
    let mut heard = [0; 9];
    assert_eq!(local.recv(&mut heard).unwrap(), 4);
    let stderr = skd.stop().stderr;
    let starts = stderr.matches("info: datagram ").count();
    assert_eq!(
        (starts, stderr.matches("discarding").count()),
        (12, 2),
        "{stderr}"
    );
}
