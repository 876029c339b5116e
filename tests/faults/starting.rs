//! Calls that fail while skd starts: one line says what could not be done, with 111 or 100, and nothing is left behind.

use super::warnings;
use crate::kit::net::Client;
use crate::kit::skd::{Outcome, Skd};
use crate::kit::strace::{Fault, starting};
use crate::kit::{Folder, need, own_etc};
use std::net::SocketAddr;

const TCP: &str = "-t 127.0.0.1:0 cat";
const UNIX: &str = "-l DIR/socket --mode 0600 --owner 0:0 cat";
const PIDFILE: &str = "-P DIR/pid -t 127.0.0.1:0 cat";

const BIND_TCP: &str = "bind tcp:127.0.0.1:0";
const BIND_UNIX: &str = "bind unix:DIR/socket";
const WRITE_PIDFILE: &str = "write the pid file \"DIR/pid\"";

/// The command line, in which DIR is a folder of its own, what fails, and what cannot be done then.
const CASES: &[(&str, &[&str], &str)] = &[
    (
        TCP,
        &[
            "socket:error=EMFILE:when=1",
            "socket:error=ENFILE:when=1",
            "socket:error=ENOBUFS:when=1",
            "socket:error=ENOMEM:when=1",
            "bind:error=EACCES:when=1",
            "bind:error=EADDRNOTAVAIL:when=1",
            "listen:error=EOPNOTSUPP:when=1",
            "getsockname:error=ENOBUFS:when=1",
            "setsockopt:error=ENOMEM:when=1",
        ],
        BIND_TCP,
    ),
    (
        UNIX,
        &[
            "bind:error=ENOSPC:when=1",
            "bind:error=EROFS:when=1",
            "listen:error=EOPNOTSUPP:when=1",
            "fchownat:error=EPERM:when=1",
        ],
        BIND_UNIX,
    ),
    (
        PIDFILE,
        &[
            "renameat2:error=EROFS:when=1",
            "renameat2:error=ENOSPC:when=1",
            "renameat2:error=EACCES:when=1",
            "fchmod:error=EPERM:when=1",
            "fchmod:error=EIO:when=2",
            "flock:error=ENOLCK:when=1",
        ],
        WRITE_PIDFILE,
    ),
];

#[test]
fn a_call_that_fails_before_skd_is_ready_is_told_in_one_line_and_leaves_nothing() {
    if !need::root() || !need::program("strace") {
        return;
    }
    for (words, faults, deed) in CASES {
        for fault in *faults {
            let (outcome, left, folder) = run(words, fault);
            let deed = deed.replace("DIR", &folder);
            let shown = format!("{fault}: {outcome:#?}");
            assert_eq!(
                (outcome.code, outcome.stdout.as_str()),
                (111, ""),
                "{shown}"
            );
            let begin = format!("skd: fatal: unable to {deed}");
            assert!(outcome.stderr.starts_with(&begin), "{shown}");
            assert_eq!(outcome.stderr.lines().count(), 1, "{shown}");
            assert_eq!(left, [""; 0], "{shown}");
        }
    }
}

/// What comes of it, what is left in the folder, and its path.
fn run(words: &str, fault: &str) -> (Outcome, Vec<String>, String) {
    let (folder, traces) = (Folder::new(), Folder::new());
    let path = folder.path("");
    let path = path.trim_end_matches('/').to_owned();
    let skd = Skd::new(&words.replace("DIR", &path));
    let outcome = starting(&traces, skd, Fault(fault), Skd::outcome);
    let left = std::fs::read_dir(&path).unwrap();
    let left = left.map(|it| it.unwrap().file_name().into_string().unwrap());
    (outcome, left.collect(), path)
}

/// NFS and others cannot rename without replacing.
#[test]
fn a_pid_file_is_put_in_place_on_any_file_system() {
    if !need::program("strace") {
        return;
    }
    let (folder, traces) = (Folder::new(), Folder::new());
    let pidfile = folder.path("pid");
    let skd = Skd::new(&format!("-v -P {pidfile} -t 127.0.0.1:0 cat"));
    let fault = Fault("renameat2:error=EINVAL:when=1");
    let skd = starting(&traces, skd, fault, Skd::start);
    let names = || std::fs::read_dir(folder.path("")).unwrap().count();
    let text = std::fs::read_to_string(&pidfile).unwrap();
    assert_eq!((names(), text), (1, format!("{}\n", skd.pid())));
    skd.stop();
    assert_eq!(names(), 0);
}

/// The socket file is there by then.
#[test]
fn a_socket_file_that_cannot_be_held_is_not_left_behind() {
    if !need::program("strace") {
        return;
    }
    for errno in ["EMFILE", "ENFILE", "ENOMEM"] {
        let (folder, traces) = (Folder::new(), Folder::new());
        let path = folder.path("socket");
        let skd = Skd::new(&format!("-l {path} cat"));
        // The first looks what is there.
        let fault = format!("openat:error={errno}:when=2 -P socket");
        let outcome = starting(&traces, skd, Fault(&fault), Skd::outcome);
        assert_eq!(outcome.code, 111);
        let begin = format!("skd: fatal: unable to bind unix:{path}: ");
        assert!(outcome.stderr.starts_with(&begin), "{outcome:#?}");
        assert_eq!(std::fs::read_dir(folder.path("")).unwrap().count(), 0);
    }
}

/// One is polled from the start, and the other a moment later.
#[test]
fn a_second_listener_of_the_metrics_that_cannot_be_polled_is_so_later() {
    if !need::root() || !need::mounts() || !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let hosts = [("hosts", "127.0.0.1 both\n127.0.0.2 both\n")];
    let own_etc = own_etc(&folder, &hosts);
    // Signals, the listener, and one of the metrics come first.
    let fault = "epoll_ctl:error=ENOSPC:when=4";
    let strace = format!("strace -D -qq -o /dev/null -e trace=epoll_ctl -e inject={fault}");
    let skd = Skd::new("-1 -v --metrics both:0 -t 127.0.0.1:0 cat");
    let mut skd = skd.under(&format!("{own_etc} {strace}")).start();
    let _ = skd.port();
    let port = skd.port();
    skd.waits_for("warning: unable to wait for clients of the metrics: No space left");
    for last in [1, 2] {
        let mut client = Client::tcp_to(SocketAddr::from(([127, 0, 0, last], port)));
        client.says("GET /metrics HTTP/1.1\r\n\r\n");
        assert_eq!(client.hears_line(), "HTTP/1.1 200 OK\r");
    }
    let stderr = skd.stop().stderr;
    assert_eq!(warnings(&stderr).len(), 1, "{stderr}");
}
