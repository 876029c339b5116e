//! The examples of the manual about listeners that are lent, adopted or of rare kinds, run for real.

use super::README;
use super::examples::{started, words};
use super::machine::shell;
use crate::kit::net::Client;
use crate::kit::skd::{BINARY, Running, Skd};
use crate::kit::{DEADLINE, Folder, eventually, executable, need};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;

/// The same, only sooner.
pub(super) fn ends_when_nobody_comes(block: &str) {
    let mut skd = started(&block.replace(" 600 ", " 1 "), &Folder::new());
    Client::tcp(skd.port()).says("hello\n").hears("hello\n");
    assert_eq!(skd.ends().code, 0);
}

/// One for all clients, and another after it.
pub(super) fn lends_its_listener(block: &str) {
    if !need::program("/lib/systemd/systemd-socket-proxyd") {
        return;
    }
    let mut behind = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
    let line = block
        .replace(":7000", &format!(":{}", behind.port()))
        .replace(":7008", ":0")
        .replace("idle-time=60", "idle-time=1");
    let mut skd = Skd::with_words(words(&line)).start();
    let port = skd.port();
    for round in 1..=2 {
        let mut clients = [Client::tcp(port), Client::tcp(port)];
        for client in &mut clients {
            client.says("hello\n").hears("hello\n");
        }
        drop(clients);
        let start = format!("info: accept tcp:127.0.0.1:{port} pid ");
        let end = format!("info: end tcp:127.0.0.1:{port} pid ");
        let (accept, end) = (
            skd.waits_for_nth(&start, round),
            skd.waits_for_nth(&end, round),
        );
        // As NOTES says: no peer, and no count at the end.
        let pid = |line: &str| line.split(" pid ").nth(1).unwrap().to_owned();
        assert!(accept.ends_with(" count 1"), "{accept}");
        let secs = end.split(" secs ").nth(1).unwrap();
        assert!(secs.parse::<f64>().is_ok(), "{end}");
        let number = pid(&accept).split(' ').next().unwrap().to_owned();
        assert!(pid(&end).starts_with(&format!("{number} exit 0 ")), "{end}");
    }
    skd.stop();
    behind.stop();
}

pub(super) fn becomes_the_server(block: &str) {
    if !need::program("s6-ipcserverd") {
        return;
    }
    let folder = Folder::new();
    let skd = Skd::with_words(words(block)).under(&format!("env -C {}", folder.path("")));
    let skd = skd.spawn();
    let path = folder.path("served.sock");
    let client = eventually("a listener", || UnixStream::connect(&path).ok());
    Client::of_unix(client).says("hello\n").hears("hello\n");
    let name = std::fs::read_to_string(format!("/proc/{}/comm", skd.pid())).unwrap();
    assert_eq!(name, "s6-ipcserverd\n");
    skd.stop();
    // Nobody removes it.
    assert!(std::path::Path::new(&path).exists());
}

/// By a shell, which opens the FIFO.
pub(super) fn does_jobs(block: &str) {
    let folder = Folder::new();
    let (make, serve) = block.split_once("skd ").unwrap();
    let script = folder.path("example");
    let text = format!(
        "#!/bin/sh\ncd {} && {make}exec \"$1\" {serve}\n",
        folder.path("")
    );
    executable(&script, &text);
    let mut skd = Skd::with_words([""; 0]).under(&script).spawn();
    skd.waits_for("info: listen fifo:");
    for (round, job) in ["sweep", "wash up"].iter().enumerate() {
        std::fs::write(folder.path("jobs"), format!("{job}\n")).unwrap();
        skd.waits_for(&format!("doing {job}"));
        let end = skd.waits_for_nth("info: end fifo:", round + 1);
        assert!(end.contains(" exit 0 "), "{end}");
    }
    skd.stop();
}

pub(super) fn listens_to_machines(block: &str) {
    if need::vsock() {
        let port = 0x3000_0000 + std::process::id();
        let line = block.replace("7000", &port.to_string());
        let skd = started(&line, &Folder::new());
        let stderr = skd.stop().stderr;
        assert_eq!(stderr, format!("skd: info: listen vsock:*:{port}\n"));
    }
}

/// The README has the same lines. At an address of this process's own, and by skd and by its other name.
pub(super) fn serves_a_file(block: &str) {
    assert!(README.contains(&format!("    {}\n\n", block.replace('\n', "\n    "))));
    if !need::root() {
        return;
    }
    let [.., high, low] = std::process::id().to_be_bytes();
    let place: SocketAddr = (Ipv4Addr::new(127, 65 | high, low, 1), 7011).into();
    let block = block.replace("127.0.0.1:7011", &place.to_string());
    let lines: Vec<_> = block.lines().collect();
    let folder = Folder::new();
    assert_eq!(shell("", &lines[..2].join("\n"), &folder), "");
    let (link, call) = lines[3].split_once(" && ./inetd ").unwrap();
    let path = folder.path("bin");
    std::fs::create_dir(&path).unwrap();
    symlink(BINARY, format!("{path}/skd")).unwrap();
    let path = format!("PATH={path}:$PATH;");
    assert_eq!(shell("", &format!("{path} {link}"), &folder), "");
    let under = format!("env -C {}", folder.path(""));
    is_served(started(lines[2], &folder), place);
    let named = Skd::new(call).binary(&folder.path("inetd"));
    let mut named = named.under(&under).spawn();
    named.waits_for("info: listen ");
    is_served(named, place);
}

fn is_served(skd: Running, place: SocketAddr) {
    let told = Client::tcp_to(place).hears_all();
    assert!(told.contains(':') && told.ends_with('\n'), "{told}");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.send_to(b"hello", place).unwrap();
    let mut heard = [0; 9];
    let (len, from) = socket.recv_from(&mut heard).unwrap();
    assert_eq!((&heard[..len], from), (&b"hello"[..], place));
    skd.stop();
}
