//! `-E`: skd binds or adopts, and becomes the program with the listeners.

use crate::kit::daemon::Daemon;
use crate::kit::net::{Client, asks, echoes, is_refused, set_nonblocking, tcp_listener};
use crate::kit::skd::{Skd, field};
use crate::kit::{Folder, eventually, facts, fails, file_of, need, probe, probing, told};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// PROG has skd's pid, the listener, and nothing else.
#[test]
fn with_e_skd_becomes_the_program_with_the_listener() {
    let folder = Folder::new();
    let skd = probing("-E -t 127.0.0.1:0", "accept-report 0");
    let skd = skd.envs("NOTIFY_SOCKET=/x WATCHDOG_USEC=5 FDSTORE=3 LISTEN_PID=1 LISTEN_FDS=1 PROTO=OLD TCPREMOTEIP=1");
    let mut skd = skd
        .under("env --ignore-signal=HUP,USR1 --block-signal=USR2")
        .spawn();
    let port = skd.port();
    let report = Client::tcp(port).hears_all();
    let pid = facts(&report, "pid")[0].split(' ').next().unwrap();
    assert_eq!(pid, skd.pid().to_string());
    assert_eq!(told(&report), "NOTIFY_SOCKET=/x WATCHDOG_USEC=5");
    // The probe ignores PIPE itself.
    assert_eq!(
        facts(&report, "signals"),
        ["SigBlk 0000000000000000", "SigIgn 0000000000001000"]
    );
    let fds = facts(&report, "fd");
    // The last is the connection that it was told on.
    assert_eq!(fds.len(), 4, "{fds:#?}");
    assert!(fds.iter().all(|fd| fd.ends_with(" blocking")), "{fds:#?}");
    assert_eq!(fds[0].strip_prefix("0 "), fds[1].strip_prefix("1 "));
    assert_eq!(skd.ends().code, 0);
    let path = folder.path("served");
    for (level, is_told) in [("-v", false), ("-vv", true)] {
        let words = format!("{level} -E --pass listen-fds -l {path} -u 127.0.0.1:9 sh -c true");
        let line = format!("with unix:{path}, udp:127.0.0.1:9\n");
        let said = Skd::new(&words).outcome().stderr;
        let is_it = said.starts_with("skd: info: becoming PROG at /") && said.ends_with(&line);
        assert_eq!((is_it, said.is_empty()), (is_told, !is_told), "{said}");
        std::fs::remove_file(&path).unwrap();
    }
    let skd = probing(&format!("-E -l {path}"), "accept-once 0").spawn();
    let client = eventually("a listener", || UnixStream::connect(&path).ok());
    Client::of_unix(client).hears_line();
    assert_eq!(skd.ends().code, 0);
    // It was the program's then.
    assert!(Path::new(&path).exists());
}

/// Inherited ones first, then as on the command line; one that satisfies a name is there once.
#[test]
fn with_e_all_listeners_are_passed_from_3_on() {
    let folder = Folder::new();
    let ((web, first), (more, second)) = (tcp_listener(), tcp_listener());
    let files = [file_of(&web), file_of(&more)];
    set_nonblocking(&web, true);
    let path = folder.path("served");
    let words =
        format!("-E --pass listen-fds -l {path} -t 127.0.0.1:{second} -u 127.0.0.1:0 sh -c");
    let report = format!("{} report; exec sleep 1000", probe());
    let skd = Skd::new(&words).word(format!("{{ {report}; }} >{}", folder.path("report")));
    let skd = skd
        .listen_fds(vec![web, more])
        .env("LISTEN_FDNAMES", "web:")
        .spawn();
    let report = eventually("a report", || {
        let text = std::fs::read_to_string(folder.path("report")).ok()?;
        text.contains("env PWD").then_some(text)
    });
    assert!(
        told(&report).contains("LISTEN_FDNAMES=web::unknown:unknown LISTEN_FDS=4"),
        "{report}"
    );
    assert!(told(&report).contains(&format!("LISTEN_PID={}", skd.pid())));
    let fds = facts(&report, "fd");
    assert_eq!(fds.len(), 7, "{fds:#?}");
    assert_eq!(fds[3], format!("3 {} blocking", files[0]));
    assert_eq!(fds[4], format!("4 {} blocking", files[1]));
    assert!(Path::new(&path).exists());
    let _ = TcpListener::bind(("127.0.0.1", first)).unwrap_err();
}

#[test]
fn with_e_skd_can_be_in_the_background_with_pid_file_log_and_user() {
    if !need::root() {
        return;
    }
    let folder = Folder::new();
    let log = format!(">{}", folder.path("log"));
    let pidfile = folder.path("pid");
    let script = "id -u >&2; for fd in /proc/$$/fd/*; do readlink $fd; done | grep /pid$ >&2; exec \"$0\" accept-until-end 0";
    let skd = Skd::with_words([
        "-1EBP",
        &pidfile,
        "-L",
        &log,
        "--user",
        "nobody",
        "-t",
        "127.0.0.1:0",
    ]);
    let outcome = skd
        .word("sh")
        .word("-c")
        .word(script)
        .word(folder.copy(&probe(), "probe"))
        .outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let port = outcome.stdout.trim_end().parse().unwrap();
    let daemon = Daemon::named_by(&pidfile);
    assert_eq!(asks(port, "hello"), daemon.pid().to_string());
    let log = std::fs::read_to_string(folder.path("log")).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    assert_eq!(log, format!("{nobody}\n{pidfile}\n"));
    let held = format!(
        "fatal: unable to write the pid file \"{pidfile}\": process {} holds it",
        daemon.pid()
    );
    fails(
        Skd::with_words(["-P", &pidfile, "-t", "127.0.0.1:0", "cat"]),
        111,
        &held,
    );
    asks(port, "end");
    daemon.ends();
}

#[test]
fn with_e_a_program_that_cannot_be_run_leaves_nothing_behind() {
    let folder = Folder::new();
    let path = folder.path("served");
    let line = "fatal: unable to run \"nosuch\": No such file or directory";
    fails(Skd::new(&format!("-E -l {path} nosuch")), 111, line);
    assert!(!Path::new(&path).exists());
    let broken = folder.path("broken");
    crate::kit::executable(&broken, "\x7fELF junk");
    let line = format!("fatal: unable to run \"{broken}\": Exec format error");
    for how in ["stdin", "listen-fds", "both"] {
        fails(
            Skd::new(&format!("-E --pass {how} -l {path} {broken}")),
            111,
            &line,
        );
        assert!(!Path::new(&path).exists());
    }
}

/// Debian's s6-ipcserverd wants a unix listener on stdin.
#[test]
fn s6_ipcserverd_serves_a_listener_that_skd_bound() {
    if !need::program("s6-ipcserverd") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("served");
    let skd = Skd::new(&format!("-E -l {path} s6-ipcserverd sh -c"))
        .word("echo $IPCREMOTEEUID; exec cat");
    let skd = skd.spawn();
    let client = eventually("a listener", || UnixStream::connect(&path).ok());
    let mut client = Client::of_unix(client);
    assert_eq!(client.hears_line(), nix::unistd::geteuid().to_string());
    client.says("hello").hears("hello");
    kill(Pid::from_raw(skd.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(skd.ends().code, 0);
}

/// dbus-daemon takes its sockets by sd_listen_fds(3); busctl is its client.
#[test]
fn dbus_daemon_serves_a_listener_that_skd_bound() {
    if !need::program("dbus-daemon") || !need::program("busctl") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("bus");
    let words =
        format!("-E --pass listen-fds -l {path} dbus-daemon --session --nofork --address=systemd:");
    let skd = Skd::new(&words).spawn();
    let names = eventually("an answer of the bus", || {
        let mut busctl = std::process::Command::new("busctl");
        let busctl = busctl
            .arg(format!("--address=unix:path={path}"))
            .args(["--no-pager", "list"]);
        let done = busctl.output().unwrap();
        done.status
            .success()
            .then(|| String::from_utf8(done.stdout).unwrap())
    });
    assert!(names.contains("org.freedesktop.DBus"), "{names}");
    assert_eq!(field(skd.pid(), "Name").as_deref(), Some("dbus-daemon"));
}

/// skd hands over to skd: the second takes what the first has bound.
#[test]
fn skd_serves_what_skd_bound() {
    let second = crate::kit::skd::BINARY;
    for how in ["listen-fds", "both", "stdin"] {
        let adopt = if how == "stdin" {
            "-0"
        } else {
            "--adopt listen-fds"
        };
        let words = format!("-E --pass {how} -t 127.0.0.1:0 {second} -v {adopt} cat");
        let mut skd = Skd::new(&words).spawn();
        let port = skd.port();
        skd.waits_for(&format!("info: listen tcp:127.0.0.1:{port}"));
        echoes(port);
        skd.stop();
        is_refused(port);
    }
}

/// A name with several addresses is several listeners, which is seen when they are bound; nothing stays then.
#[test]
fn a_name_with_several_addresses_is_several_listeners() {
    if !need::mounts() {
        return;
    }
    let folder = Folder::new();
    let hosts = folder.path("hosts");
    std::fs::write(&hosts, "127.0.0.1 two.test\n127.0.0.2 two.test\n").unwrap();
    let mount = format!("mount --bind {hosts} /etc/hosts && exec \"$@\"");
    let wrapper = format!("unshare --mount {}", folder.script("mount", &mount));
    let line = "usage: --exec with several listeners needs --pass listen-fds; try \"skd --help\"";
    fails(Skd::new("-E -t two.test:0 cat").under(&wrapper), 100, line);
}
