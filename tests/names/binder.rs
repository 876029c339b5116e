//! s6-ipcserver-socketbinder, in front of s6's own server, and skd behind the real one.

use super::Called;
use crate::kit::net::Client;
use crate::kit::skd::{BINARY, Outcome, Skd};
use crate::kit::{Folder, eventually, facts, need, probe, told};
use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

const NAME: &str = "s6-ipcserver-socketbinder";

fn ends(skd: Skd, code: i32, text: &str) {
    let outcome = skd.outcome();
    let expected = format!("{NAME}: {text}\n");
    assert_eq!((outcome.code, outcome.stderr), (code, expected));
}

/// What the probe reports that the binder has become, with these options and a socket at `path`.
fn report(called: &Called, options: &str, path: &str) -> String {
    let skd = called.with(options).word(path).word(probe()).word("report");
    let Outcome {
        code,
        stdout,
        stderr,
    } = skd.envs("LISTEN_FDS=1 LISTEN_PID=1").outcome();
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout
}

#[test]
fn the_program_has_the_socket_on_its_stdin_alone() {
    let called = Called::new(NAME);
    let path = called.folder.path("socket");
    for (options, mode, tail) in [("", 0o777, ""), ("-a 0640 -B", 0o640, " blocking")] {
        let report = report(&called, options, &path);
        let fds = facts(&report, "fd");
        assert!(
            fds[0].starts_with("0 socket:[") && fds[0].ends_with(tail),
            "{fds:?}"
        );
        assert_eq!(fds[0].ends_with(" blocking"), !tail.is_empty(), "{fds:?}");
        assert!(fds[1].starts_with("1 pipe:[") && fds.len() == 3, "{fds:?}");
        assert!(!told(&report).contains("LISTEN"), "{report}");
        // It stays, and the next one takes its place.
        let file = fs::metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.mode() & 0o7777, mode);
    }
}

#[test]
fn it_listens_unless_told_otherwise() {
    let called = Called::new(NAME);
    for (options, listens, style) in [
        ("", true, libc::SOCK_STREAM),
        ("-M -b 7", true, libc::SOCK_STREAM),
        ("-b 0", false, libc::SOCK_STREAM),
        ("-m -b0", false, libc::SOCK_DGRAM),
        ("-m", false, libc::SOCK_DGRAM),
    ] {
        let path = called.folder.path("socket");
        let skd = called
            .with(options)
            .word(&path)
            .word("sleep")
            .word("100")
            .spawn();
        let socket = eventually("the socket on stdin", || {
            let link = fs::read_link(format!("/proc/{}/fd/0", skd.pid())).ok()?;
            link.to_string_lossy()
                .starts_with("socket:")
                .then_some(())?;
            let sockets = crate::kit::sockets::borrowed(&skd);
            sockets.into_iter().next()
        });
        assert_eq!(
            getsockopt(&socket, sockopt::AcceptConn).unwrap(),
            listens,
            "{options}"
        );
        let found = getsockopt(&socket, sockopt::SockType).unwrap() as i32;
        assert_eq!(found, style, "{options}");
    }
}

#[test]
fn any_socket_in_the_way_is_replaced_but_with_d_none_and_nothing_else_ever() {
    let called = Called::new(NAME);
    let path = called.folder.path("live");
    let live = UnixListener::bind(&path).unwrap();
    let text = format!("fatal: unable to bind unix:{path}: Address already in use");
    ends(called.with("-D").word(&path).word("true"), 111, &text);
    UnixStream::connect(&path).unwrap();
    report(&called, "-d", &path);
    let inode = |path: &str| fs::metadata(path).unwrap().ino();
    let new = inode(&path);
    drop(live);
    // A dead one, too.
    ends(called.with("-D").word(&path).word("true"), 111, &text);
    assert_eq!(inode(&path), new);
    report(&called, "", &path);
    let file = called.folder.path("file");
    fs::write(&file, "kept").unwrap();
    let text = format!("fatal: unable to bind unix:{file}: File exists and is no socket");
    for options in ["", "-d", "-D"] {
        ends(called.with(options).word(&file).word("true"), 111, &text);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    let link = called.folder.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let text = format!("fatal: unable to bind unix:{link}: File exists and is no socket");
    ends(called.with("").word(&link).word("true"), 111, &text);
}

#[test]
fn its_exit_codes_are_those_of_s6() {
    let called = Called::new(NAME);
    let path = called.folder.path("socket");
    let usage = "[-d|-D] [-b BACKLOG] [-M|-m] [-a PERMS] [-B] PATH PROG";
    ends(
        called.with(""),
        100,
        &format!("usage: PATH PROG expected; {NAME} {usage}"),
    );
    ends(
        called.with("-z x y"),
        100,
        &format!("usage: there is no option \"-z\"; {NAME} {usage}"),
    );
    let text = "fatal: unable to run \"/no/such\": No such file or directory";
    ends(called.with("").word(&path).word("/no/such"), 127, text);
    let text = "fatal: unable to run \"/etc/passwd\": Permission denied";
    ends(called.with("").word(&path).word("/etc/passwd"), 126, text);
    // What was made for nothing is gone again.
    assert!(!fs::exists(&path).unwrap());
    let text = "fatal: unable to bind unix:/no/such/x: No such file or directory";
    ends(called.with("/no/such/x true"), 111, text);
}

#[test]
fn s6_ipcserverd_serves_behind_it() {
    if !need::program("s6-ipcserverd") {
        return;
    }
    let called = Called::new(NAME);
    let path = called.folder.path("socket");
    let skd = called.with("").word(&path);
    let skd = ["s6-ipcserverd", "-1", "cat"]
        .into_iter()
        .fold(skd, Skd::word);
    let _skd = skd.spawn();
    let stream = eventually("s6-ipcserverd", || UnixStream::connect(&path).ok());
    Client::of_unix(stream).says("hello\n").hears("hello\n");
}

#[test]
fn skd_serves_behind_the_real_one() {
    if !need::program(NAME) {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut command = Command::new(NAME);
    command
        .args([&path, BINARY, "-0", "-v", "cat"])
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stream = eventually("skd", || UnixStream::connect(&path).ok());
    Client::of_unix(stream).says("hello\n").hears("hello\n");
    child.kill().unwrap();
    child.wait().unwrap();
}
