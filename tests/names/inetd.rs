//! inetd(8), as OpenBSD and Debian have it.

use super::Called;
use crate::kit::net::Client;
use crate::kit::skd::Skd;
use crate::kit::syslog::Dev;
use crate::kit::{eventually, facts, need, probe};
use std::fs;
use std::net::{SocketAddr, TcpListener};

/// A free port of 127.0.0.1, and a file with this service on it.
fn served(called: &Called, rest: &str) -> (u16, String) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let path = called.folder.path("inetd.conf");
    let rest = rest.replace("PROBE", &probe());
    fs::write(&path, format!("{port} stream tcp4 {rest}\n")).unwrap();
    (port, path)
}

fn listening(skd: &mut crate::kit::skd::Running) {
    skd.waits_for("listen ");
}

#[test]
fn programs_get_path_and_what_there_is_to_say_of_the_connection_and_all_with_e() {
    let called = Called::new("inetd");
    let (port, path) = served(&called, "nowait root PROBE probe report");
    for (options, has_mine) in [("-d", false), ("-dE", true), ("-i -l", false)] {
        let skd = called.with(options).word(&path).env("MINE", "1");
        let mut skd = skd.spawn();
        listening(&mut skd);
        let report = Client::tcp(port).hears_all();
        let variables = facts(&report, "env");
        assert_eq!(variables.contains(&"MINE=1"), has_mine, "{options}");
        let path = std::env::var("PATH").unwrap();
        assert!(
            variables.contains(&format!("PATH={path}").as_str()),
            "{variables:?}"
        );
        if !has_mine {
            let allowed = |text: &&str| {
                ["PATH=", "PROTO=", "TCP", "REMOTE_"]
                    .iter()
                    .any(|it| text.starts_with(it))
            };
            assert!(variables.iter().all(allowed), "{variables:?}");
        }
        let line = skd.waits_for(" accept ");
        assert!(line.starts_with("inetd: info: "), "{line}");
        skd.stop();
    }
}

#[test]
fn a_service_is_started_as_often_in_a_minute_as_r_says_unless_its_line_does() {
    let called = Called::new("inetd");
    for (wait, starts) in [("nowait", 2), ("nowait.3", 3)] {
        let (port, path) = served(&called, &format!("{wait} root /bin/echo"));
        let skd = called.with("-d -R 2").word(&path);
        let mut skd = skd.spawn();
        listening(&mut skd);
        for _ in 0..starts {
            assert_eq!(Client::tcp(port).hears_all(), "\n");
        }
        skd.waits_for("was started as often as it may be in a minute");
        skd.waits_for_nth(" end ", starts);
        let _waits = Client::tcp(port);
        assert_eq!(
            skd.status(),
            format!("0 accepted {starts} denied 0 failed 0")
        );
        skd.stop();
    }
}

#[test]
fn services_without_a_host_listen_where_a_says() {
    let called = Called::new("inetd");
    let (port, path) = served(&called, "nowait root /bin/echo");
    let skd = called.with("-d -a 127.0.0.77 -q 5").word(&path);
    let mut skd = skd.spawn();
    skd.waits_for(&format!("listen tcp:127.0.0.77:{port}"));
    let backlog = crate::kit::sockets::borrowed(&skd);
    drop(backlog);
    let address = SocketAddr::from(([127, 0, 0, 77], port));
    assert_eq!(Client::tcp_to(address).hears_all(), "\n");
    assert_eq!(crate::kit::listens(&skd.stop().stderr).len(), 0);
}

#[test]
fn it_is_a_daemon_with_a_pid_file_that_logs_to_syslog() {
    if !need::root() {
        return;
    }
    let called = Called::new("inetd");
    let (port, path) = served(&called, "nowait.1 root /bin/echo");
    let dev = Dev::new();
    let log = dev.datagrams();
    let script = called
        .folder
        .script("own-run", "mount -t tmpfs none /run && exec \"$@\"");
    let enter = format!("{} unshare --mount {script}", dev.enter());
    let skd = Skd::with_words([path.as_str()])
        .binary(&called.path)
        .under(&enter);
    let outcome = skd.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(Client::tcp(port).hears_all(), "\n");
    let mut line = vec![0; 8192];
    let len = log.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..len]).into_owned();
    // daemon.notice
    assert!(
        line.starts_with("<29>") && line.contains(" inetd["),
        "{line}"
    );
    let pid: i32 = line
        .split_once(" inetd[")
        .unwrap()
        .1
        .split(']')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/root/run/inetd.pid")).unwrap();
    assert_eq!(text, format!("{pid}\n"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM).unwrap();
    eventually("its end", || crate::kit::daemon::is_gone(pid).then_some(()));
}

#[test]
fn what_is_wrong_is_told_in_its_name() {
    let called = Called::new("inetd");
    let hint = "inetd [-dEil] [-R RATE] [-a ADDR] [-q BACKLOG] [FILE]";
    for (words, code, text) in [
        (
            "-i a b",
            100,
            format!("usage: \"b\": one FILE is expected; {hint}"),
        ),
        (
            "-x",
            100,
            format!("usage: there is no option \"-x\"; {hint}"),
        ),
        (
            "-i /no/such",
            100,
            "fatal: unable to read the services \"/no/such\": No such file or directory".into(),
        ),
    ] {
        let outcome = called.with(words).outcome();
        assert_eq!(
            (outcome.code, outcome.stderr),
            (code, format!("inetd: {text}\n"))
        );
    }
}

#[test]
fn rules_of_tcp_wrappers_that_would_not_be_heeded_are_fatal() {
    if !need::root() || !need::mounts() {
        return;
    }
    let called = Called::new("inetd");
    let (_, path) = served(&called, "nowait root /bin/echo");
    let wrapper = crate::kit::own_etc(&called.folder, &[("hosts.deny", "# all\nALL: ALL\n")]);
    let skd = called.with("-il").word(&path).under(&wrapper);
    let outcome = skd.outcome();
    let text = "inetd: fatal: -l: /etc/hosts.deny has rules, which skd does not read; \
                skd --inetd-conf with --rules has its own\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (100, text));
    // Whoever cannot read them does not know whom they keep out.
    let socket = called.folder.path("unreadable");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let body = format!("mount --bind {socket} /etc/hosts.deny || exit 99\nexec \"$@\"");
    let script = called.folder.script("not-to-be-opened", &body);
    let wrapper = format!("unshare --mount {script}");
    let outcome = called.with("-il").word(&path).under(&wrapper).outcome();
    let text = "inetd: fatal: unable to read /etc/hosts.deny: No such device or address\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (111, text));
}
