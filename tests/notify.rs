//! What the service manager is told: readiness on NOTIFY_SOCKET and on a descriptor, counters, signs of life, sockets.

mod draining;
mod handing_on;
mod jailed;

use crate::kit::daemon::{self, Daemon};
use crate::kit::net::{Client, set_nonblocking, tcp_listener};
use crate::kit::skd::{Running, Skd};
use crate::kit::{DEADLINE, Folder, eventually, fails, reporting};
use crate::upgrade::{Copy, file_of};
use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::unistd::pipe;
use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at(folder: &Folder) -> Self {
        let name = folder.path("notify");
        let socket = UnixDatagram::bind(&name).unwrap();
        Self::of(socket, name)
    }

    fn hidden() -> Self {
        let name = format!("skd-test-{}-notify", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self::of(
            UnixDatagram::bind_addr(&address).unwrap(),
            format!("@{name}"),
        )
    }

    fn of(socket: UnixDatagram, name: String) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        setsockopt(&socket, sockopt::PassCred, &true).unwrap();
        Self { socket, name }
    }

    fn starts(&self, words: &str) -> Skd {
        Skd::new(words).env("NOTIFY_SOCKET", &self.name)
    }

    /// The next message, its sender's pid and the descriptor that came along.
    fn hears_from(&self) -> (String, i32, Option<OwnedFd>) {
        let mut text = vec![0; 65536];
        let mut control = cmsg_space!([i32; 8], libc::ucred);
        let (mut pid, mut fd) = (0, None);
        let len = {
            let mut bytes = [IoSliceMut::new(&mut text)];
            let number = self.socket.as_raw_fd();
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(number, &mut bytes, Some(&mut control), flags).unwrap();
            for control in message.cmsgs().unwrap() {
                match control {
                    ControlMessageOwned::ScmCredentials(who) => pid = who.pid(),
                    ControlMessageOwned::ScmRights(fds) => fd = Some(taken(fds[0])),
                    _ => {}
                }
            }
            message.bytes
        };
        (String::from_utf8(text[..len].to_vec()).unwrap(), pid, fd)
    }

    fn hears(&self) -> String {
        self.hears_from().0
    }

    /// The next message that is not about counters.
    fn hears_other(&self) -> String {
        loop {
            let text = self.hears();
            if !text.starts_with("STATUS=") {
                return text;
            }
        }
    }

    /// Waits for this message, whatever comes before.
    fn waits_for(&self, text: &str) {
        while self.hears() != text {}
    }

    /// Nothing waits to be read.
    fn hears_nothing(&self) {
        self.socket.set_nonblocking(true).unwrap();
        let heard = self.socket.recv(&mut [0; 4096]);
        assert!(heard.is_err(), "{heard:?}");
        self.socket.set_nonblocking(false).unwrap();
    }
}

/// A descriptor that recvmsg(2) has just made.
fn taken(number: i32) -> OwnedFd {
    #[allow(unsafe_code, reason = "nix gives numbers")]
    // SAFETY: the kernel has just made it; nothing else knows of it.
    unsafe {
        OwnedFd::from_raw_fd(number)
    }
}

#[test]
fn readiness_is_told_by_the_serving_process_when_it_listens() {
    let folder = Folder::new();
    for manager in [Manager::at(&folder), Manager::hidden()] {
        let path = folder.path("served");
        let skd = manager.starts(&format!("-c 40 -l {path} cat")).spawn();
        let (text, pid, fd) = manager.hears_from();
        let expected = "READY=1\nSTATUS=0/40 connections, 0 accepted, 0 refused\n";
        assert_eq!((text.as_str(), pid), (expected, skd.pid()));
        assert!(fd.is_none());
        Client::unix(&path).says("x").hears("x");
        skd.signal(Signal::SIGTERM);
        assert_eq!(manager.hears_other(), "STOPPING=1\n");
        assert_eq!(skd.ends().code, 0);
    }
}

#[test]
fn the_daemon_of_b_tells_its_own_pid() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let skd = daemon::skd(&folder)
        .word("-t")
        .word("127.0.0.1:0")
        .word("cat");
    let (skd, _) = Daemon::start(skd.env("NOTIFY_SOCKET", &manager.name), &folder);
    let (text, pid, _) = manager.hears_from();
    assert_eq!(pid, skd.pid());
    let main_pid = format!("MAINPID={pid}\nREADY=1\nSTATUS=0 connections, ");
    assert!(text.starts_with(&main_pid), "{text}");
    skd.stop();
}

/// The last counters come, however many there were in between; and two of them are a second apart.
#[test]
fn counters_are_told_when_they_changed_and_at_most_once_a_second() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let mut skd = manager.starts("-v -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    manager.waits_for("READY=1\nSTATUS=0 connections, 0 accepted, 0 refused\n");
    let mut last = Instant::now();
    for accepted in [10, 20] {
        let held = Client::tcp(port);
        for _ in 1..10 {
            Client::tcp(port).hears_all();
        }
        let expected = format!("STATUS=1 connections, {accepted} accepted, 0 refused\n");
        loop {
            let text = manager.hears();
            assert!(last.elapsed().as_millis() >= 900, "{text}");
            last = Instant::now();
            if text == expected {
                break;
            }
        }
        held.hears_all();
        while manager.hears() != format!("STATUS=0 connections, {accepted} accepted, 0 refused\n") {
        }
        last = Instant::now();
    }
    manager.hears_nothing();
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let skd = manager.starts("-t 127.0.0.1:0 cat").spawn();
    manager.hears();
    skd.signal(Signal::SIGHUP);
    let text = manager.hears();
    let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    let micros: u64 = micros.trim_end().parse().unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!((uptime - micros as f64 / 1e6).abs() < 3600.0, "{text}");
    assert_eq!(manager.hears(), "READY=1\n");
    skd.stop();
}

#[test]
fn signs_of_life_come_when_they_are_asked_for() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let skd = |variables: &str| manager.starts("-t 127.0.0.1:0 cat").envs(variables).spawn();
    for off in ["WATCHDOG_USEC=0", "WATCHDOG_USEC=30000 WATCHDOG_PID=1"] {
        let skd = skd(off);
        manager.hears();
        skd.signal(Signal::SIGHUP);
        assert!(manager.hears().starts_with("RELOADING"), "{off}");
        assert_eq!(manager.hears(), "READY=1\n", "{off}");
        skd.stop();
        assert_eq!(manager.hears(), "STOPPING=1\n", "{off}");
    }
    let skd = skd("WATCHDOG_USEC=30000");
    manager.hears();
    for _ in 0..10 {
        assert_eq!(manager.hears(), "WATCHDOG=1\n");
    }
    skd.stop();
}

/// A manager means the process that it started, which with `-B` is not the one that serves; so it is after an upgrade, too.
#[test]
fn signs_of_life_come_from_the_daemon_of_the_process_that_was_started() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let copy = Copy::new();
    let names = folder.script("names", "export WATCHDOG_PID=$(($$ + OTHER)); exec \"$@\"");
    let start = |other: &str| {
        let skd = daemon::skd(&folder).under(&names).binary(&copy.path);
        let skd = skd.envs("WATCHDOG_USEC=30000").env("OTHER", other);
        let skd = skd.word("-t").word("127.0.0.1:0").word("cat");
        let skd = skd.env("NOTIFY_SOCKET", &manager.name);
        let (skd, _) = Daemon::start(skd, &folder);
        let text = manager.hears();
        assert!(text.starts_with("MAINPID="), "{text}");
        skd
    };
    let skd = start("0");
    assert_eq!(manager.hears(), "WATCHDOG=1\n");
    let file = copy.renew();
    skd.signal(Signal::SIGUSR2);
    eventually("the new binary", || {
        (file_of(skd.pid()) == file).then_some(())
    });
    manager.waits_for("READY=1\nSTATUS=0 connections, 0 accepted, 0 refused\n");
    assert_eq!(manager.hears(), "WATCHDOG=1\n");
    skd.stop();
    manager.waits_for("STOPPING=1\n");
    // That of another process is not ours, here as anywhere.
    let skd = start("100000");
    skd.signal(Signal::SIGHUP);
    assert!(manager.hears().starts_with("RELOADING"));
    assert_eq!(manager.hears(), "READY=1\n");
    skd.stop();
    assert_eq!(manager.hears(), "STOPPING=1\n");
}

/// Neither one that is gone nor one that is full; and what a full one must not miss comes when it has room.
#[test]
fn a_dead_or_full_manager_does_not_stop_service() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"x", &manager.name).is_ok() {}
    let mut skd = manager
        .starts("-v -t 127.0.0.1:0 cat")
        .env("WATCHDOG_USEC", "50000")
        .start();
    let port = skd.port();
    Client::tcp(port).says("x").hears("x");
    while manager.hears() == "x" {}
    drop(manager);
    std::fs::remove_file(folder.path("notify")).unwrap();
    Client::tcp(port).says("x").hears("x");
    skd.signal(Signal::SIGHUP);
    Client::tcp(port).says("x").hears("x");
    let again = Manager::at(&folder);
    again.waits_for("WATCHDOG=1\n");
    skd.stop();
}

#[test]
fn a_full_manager_hears_of_readiness_when_it_has_room() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"x", &manager.name).is_ok() {}
    let skd = manager.starts("-v -t 127.0.0.1:0 cat").start();
    let first = loop {
        let text = manager.hears();
        if text != "x" {
            break text;
        }
    };
    assert!(first.starts_with("READY=1\n"), "{first}");
    skd.stop();
}

/// All are called alike, so that the manager has to forget all of them and is given the others again.
#[test]
fn a_socket_that_is_served_no_more_is_not_kept() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let (conf, path) = (folder.path("inetd.conf"), folder.path("goes"));
    let goes = format!("{path} stream unix nowait root internal echo\n");
    let stays = format!("{path}-stays stream unix nowait root internal echo\n");
    std::fs::write(&conf, format!("{goes}{stays}")).unwrap();
    let words = format!("-v --fdstore --inetd-conf {conf} -t 127.0.0.1:0 cat");
    let skd = manager.starts(&words).spawn();
    for _ in 0..3 {
        assert_eq!(manager.hears_other(), "FDSTORE=1\nFDNAME=skd\n");
    }
    assert!(manager.hears().starts_with("READY=1\n"));
    std::fs::write(&conf, &stays).unwrap();
    skd.signal(Signal::SIGHUP);
    assert!(manager.hears_other().starts_with("RELOADING=1\n"));
    assert_eq!(manager.hears_other(), "FDSTOREREMOVE=1\nFDNAME=skd\n");
    for _ in 0..2 {
        assert_eq!(manager.hears_other(), "FDSTORE=1\nFDNAME=skd\n");
    }
    assert!(manager.hears_other().starts_with("READY=1\n"));
    skd.stop();
}

/// The socket that skd bound goes to the manager, once; one that came from there does not.
#[test]
fn sockets_that_skd_bound_are_given_to_be_kept() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let path = folder.path("kept");
    for (option, variable) in [("--fdstore", "X=1"), ("", "FDSTORE=1")] {
        let (adopted, _) = tcp_listener();
        let words = format!("{option} -t 127.0.0.1:0 -l {path} cat");
        let skd = manager
            .starts(&words)
            .envs(variable)
            .listen_fds(vec![adopted])
            .spawn();
        let mut kept = Vec::new();
        for _ in 0..2 {
            let (text, _, fd) = manager.hears_from();
            assert_eq!(text, "FDSTORE=1\nFDNAME=skd\n");
            kept.push(fd.unwrap());
        }
        assert!(manager.hears().starts_with("READY=1\n"));
        skd.stop();
        assert_eq!(manager.hears_other(), "STOPPING=1\n");
        // Who connects now waits for the next skd.
        let waiting = UnixStream::connect(&path).unwrap();
        let address = TcpListener::from(kept[0].try_clone().unwrap())
            .local_addr()
            .unwrap();
        let words = format!("-v --fdstore -t {address} -l {path} cat");
        let skd = manager.starts(&words).listen_fds(kept).start();
        assert!(manager.hears().starts_with("READY=1\n"));
        Client::of_unix(waiting).says("x").hears("x");
        Client::tcp(address.port()).says("x").hears("x");
        skd.stop();
        while manager.hears() != "STOPPING=1\n" {}
        assert!(Path::new(&path).exists());
        std::fs::remove_file(&path).unwrap();
    }
}

/// One that skd bound in another life and that no option names any more is served, and told of.
#[test]
fn a_kept_socket_that_nothing_names_is_told_of() {
    let words = |named: &str| format!("-v {named} cat");
    for (name, named, is_told) in [
        ("skd", "-t 127.0.0.1:0", true),
        ("skd", "-t ADDRESS", false),
        ("skd", "", false),
        ("other", "-t 127.0.0.1:0", false),
    ] {
        let (kept, port) = tcp_listener();
        let address = format!("127.0.0.1:{port}");
        let skd = Skd::new(&words(&named.replace("ADDRESS", &address)))
            .listen_fds(vec![kept])
            .env("LISTEN_FDNAMES", name)
            .start();
        Client::tcp(port).says("x").hears("x");
        let stderr = skd.stop().stderr;
        let text = format!(
            "skd: warning: no option names tcp:{address}, which the manager has kept: \
             serving it until it is let go\n"
        );
        assert_eq!(stderr.contains(&text), is_told, "{stderr}");
        assert_eq!(stderr.contains("warning"), is_told, "{stderr}");
    }
}

/// Nobody keeps them, so nothing is left behind.
#[test]
fn without_a_manager_no_socket_file_stays() {
    let folder = Folder::new();
    let path = folder.path("served");
    // It is the same command line everywhere, so that is no reason to warn.
    let note = "skd: info: no manager keeps sockets for --fdstore: NOTIFY_SOCKET names none\n";
    for (level, is_told) in [("-v", false), ("-vv", true)] {
        let skd = Skd::new(&format!("{level} --fdstore -l {path} cat")).start();
        assert_eq!(skd.stop().stderr.contains(note), is_told);
        assert!(!Path::new(&path).exists());
    }
    let gone = folder.path("gone");
    let skd = Skd::new(&format!("-v --fdstore -l {path} cat")).env("NOTIFY_SOCKET", gone);
    skd.start().stop();
    assert!(!Path::new(&path).exists());
}

/// What was written to the descriptor of readiness, to its end.
fn told(words: &str, number: i32) -> (Running, String) {
    let (read, write) = pipe().unwrap();
    let skd = Skd::new(&words.replace('N', &number.to_string()))
        .descriptor(number, write)
        .spawn();
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    (skd, text)
}

#[test]
fn a_newline_and_the_end_of_the_descriptor_tell_of_readiness() {
    let folder = Folder::new();
    let path = folder.path("served");
    for number in [3, 7, 200, 0, 2] {
        let words = format!("--ready-fd N -l {path} cat");
        let (skd, text) = told(&words, number);
        assert_eq!(text, "\n");
        Client::unix(&path).says("x").hears("x");
        skd.stop();
    }
    let (skd, text) = told("--ready-fd N -S sleep 1000", 3);
    assert_eq!((text.as_str(), skd.children().len()), ("\n", 1));
    skd.stop();
    let (skd, text) = told("--ready-fd N true", 3);
    assert_eq!((text.as_str(), skd.ends().code), ("\n", 0));
}

/// Ports come first where both go to stdout, as s6's `-1` has it.
#[test]
fn stdout_can_tell_of_readiness() {
    let skd = Skd::new("--ready-fd 1 -v -t 127.0.0.1:0 sh -c").word("exec ls -l /proc/self/fd >&2");
    let mut skd = skd.start();
    let port = skd.port();
    Client::tcp(port).hears_all();
    skd.waits_for("info: end ");
    assert_eq!(skd.stop_and_read_stdout(), "\n");
}

/// By then the log has stderr's number, and keeps it.
#[test]
fn stderr_can_tell_of_readiness_beside_a_log() {
    let folder = Folder::new();
    let (path, log) = (folder.path("served"), folder.path("log"));
    let words = format!("-v --ready-fd N -L >>{log} -l {path} cat");
    let (skd, text) = told(&words, 2);
    assert_eq!(text, "\n");
    Client::unix(&path).says("x").hears("x");
    eventually("its line", || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains("info: end ").then_some(())
    });
    skd.stop();
}

#[test]
fn no_child_has_the_descriptor_of_readiness() {
    let (read, write) = pipe().unwrap();
    let mut skd = reporting("-v --ready-fd 9 -t 127.0.0.1:0")
        .descriptor(9, write)
        .start();
    let port = skd.port();
    let report = Client::tcp(port).hears_all();
    crate::kit::holds_one_socket(&report);
    drop(read);
    skd.stop();
}

/// A reader that is gone or does not read is no reason not to serve.
#[test]
fn readiness_that_nobody_hears_is_a_warning() {
    let (read, write) = pipe().unwrap();
    drop(read);
    let mut skd = Skd::new("-v --ready-fd 3 -t 127.0.0.1:0 cat")
        .descriptor(3, write)
        .start();
    let line = skd.waits_for("readiness");
    assert_eq!(
        line,
        "skd: warning: unable to tell of readiness: Broken pipe"
    );
    let (_read, write) = pipe().unwrap();
    set_nonblocking(&write, true);
    while nix::unistd::write(&write, &[0; 4096]).is_ok() {}
    set_nonblocking(&write, false);
    let mut skd = Skd::new("-v --ready-fd 3 -t 127.0.0.1:0 cat")
        .descriptor(3, write)
        .start();
    skd.waits_for("skd: warning: unable to tell of readiness: Resource temporarily unavailable");
    skd.stop();
}

#[test]
fn a_descriptor_of_readiness_must_be_open_and_for_nothing_else() {
    let line = |number| {
        format!("fatal: unable to use descriptor {number} for --ready-fd: Bad file descriptor")
    };
    for number in [7, 1, 1073741815] {
        let skd = Skd::new(&format!("--ready-fd {number} -t 127.0.0.1:0 cat")).closed(number);
        let outcome = skd.outcome();
        let stderr = format!("skd: {}\n", line(number));
        assert_eq!((outcome.code, outcome.stderr), (100, stderr));
    }
    let (listener, _) = tcp_listener();
    let skd = Skd::new("--check --ready-fd 7 -0 cat")
        .descriptor(0, listener)
        .closed(7);
    fails(skd, 100, &line(7));
    let line = "usage: --ready-fd: descriptor 3 is adopted; try \"skd --help\"";
    fails(
        Skd::new("--ready-fd 3 cat").listen_fds(vec![tcp_listener().0]),
        100,
        line,
    );
    let line =
        "usage: --ready-fd: \"x\" is no whole number from 0 to 1073741815; try \"skd --help\"";
    fails(Skd::new("--ready-fd x -t 0 cat"), 100, line);
}

#[test]
fn check_tells_nobody_of_readiness() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let (read, write) = pipe().unwrap();
    let skd = manager
        .starts("--check --ready-fd 3 --fdstore -t 127.0.0.1:0 cat")
        .descriptor(3, write);
    let outcome = skd.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
    manager.hears_nothing();
}

/// What skd becomes is the process that the manager means now; what it supervises is not.
#[test]
fn a_supervised_program_does_not_speak_for_skd() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let skd = manager
        .starts("-S sleep 1000")
        .env("WATCHDOG_USEC", "30000")
        .spawn();
    assert_eq!(manager.hears(), "READY=1\n");
    assert_eq!(manager.hears(), "WATCHDOG=1\n");
    skd.signal(Signal::SIGTERM);
    manager.waits_for("STOPPING=1\n");
    assert_eq!(skd.ends().code, 0);
    let outcome = manager
        .starts("sh -c")
        .word("echo $NOTIFY_SOCKET")
        .outcome();
    assert_eq!(outcome.stdout.trim_end(), manager.name);
    manager.socket.set_nonblocking(true).unwrap();
    eventually("silence", || {
        manager.socket.recv(&mut [0; 99]).is_err().then_some(())
    });
}

/// A unix listener of the test's own is not skd's to remove, with or without a store.
#[test]
fn an_adopted_socket_is_not_given_to_be_kept() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let path = folder.path("adopted");
    let listener = UnixListener::bind(&path).unwrap();
    let skd = manager
        .starts("--fdstore -0 cat")
        .descriptor(0, listener)
        .spawn();
    assert!(manager.hears().starts_with("READY=1\n"));
    skd.stop();
    assert!(Path::new(&path).exists());
}
