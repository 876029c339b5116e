//! Programs that get a listener and not a connection: `-w` and `--pass`.

use crate::kit::net::{Client, asks, set_nonblocking, tcp_listener, udp, unix_datagram};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, facts, fails, probe, probing, told};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn with_w_one_program_accepts_by_itself_until_it_ends() {
    let mut skd = probing("-v -w -t 127.0.0.1:0", "accept-until-end 0").start();
    let port = skd.port();
    for _ in 0..3 {
        let pids = ["a", "b", "c", "end"].map(|line| asks(port, line));
        assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
        let line = format!(
            "skd: info: accept tcp:127.0.0.1:{port} pid {} count 1",
            pids[0]
        );
        assert_eq!(skd.waits_for(&format!("pid {} count", pids[0])), line);
        let end = format!(
            "skd: info: end tcp:127.0.0.1:{port} pid {} exit 0 secs ",
            pids[0]
        );
        assert!(
            skd.waits_for(&format!("pid {} exit", pids[0]))
                .starts_with(&end)
        );
    }
    assert_eq!(skd.status(), "0 accepted 3 denied 0 failed 0");
    skd.stop();
}

/// The listener is on descriptors 0 and 1, blocking, and besides 2 only the connection is there that it was told on.
fn has_a_listener(report: &str) {
    let fds = facts(report, "fd");
    let (rest, conn) = report.split_once("\nfd 3 socket:").unwrap();
    assert!(conn.contains(" blocking\nsignals "), "{fds:#?}");
    crate::kit::holds_one_socket(rest);
    assert_eq!(fds.len(), 4, "{fds:#?}");
}

/// What PROG is given: the listener on 0 and 1, blocking, and of the variables those that are true of every client.
#[test]
fn with_w_a_program_has_the_listener_and_its_local_address() {
    let folder = Folder::new();
    let path = folder.path("served");
    let mut skd = probing(
        &format!("-v -w -t 127.0.0.1:0 -l {path}"),
        "accept-report 0",
    )
    .start();
    let port = skd.port();
    let report = Client::tcp(port).hears_all();
    has_a_listener(&report);
    let expected = format!("PROTO=TCP TCPLOCALIP=127.0.0.1 TCPLOCALPORT={port}");
    assert_eq!(told(&report), expected);
    assert_eq!(
        facts(&report, "signals"),
        ["SigBlk 0000000000000000", "SigIgn 0000000000001000"]
    );
    let report = Client::unix(&path).hears_all();
    let expected = format!("IPCLOCALPATH={path} PROTO=UNIX UNIXLOCALPATH={path}");
    assert_eq!(told(&report), expected);
    skd.stop();
    assert!(!Path::new(&path).exists());
}

#[test]
fn with_w_each_listener_has_a_program_of_its_own() {
    let words = "-v -w -t 127.0.0.1:0 -t 127.0.0.1:0";
    let mut skd = probing(words, "accept-until-end 0").start();
    let ports = [skd.port(), skd.port()];
    let [one, other] = ports.map(|port| asks(port, "hello"));
    assert_ne!(one, other);
    assert_eq!(asks(ports[0], "end"), one);
    skd.waits_for(&format!("pid {one} exit 0"));
    assert_ne!(asks(ports[0], "again"), one);
    assert_eq!(asks(ports[1], "still"), other);
    skd.stop();
    // They live on.
    assert_eq!(asks(ports[1], "end"), other);
    asks(ports[0], "end");
}

/// Programs that each accept one client are started as often as there are clients, without a pause.
#[test]
fn a_program_that_takes_one_of_many_is_started_for_the_next_at_once() {
    let folder = Folder::new();
    let path = folder.path("served");
    let mut skd = probing(&format!("-v -w -t 127.0.0.1:0 -l {path}"), "accept-once 0").start();
    let port = skd.port();
    let clients: Vec<Client> = (0..40)
        .flat_map(|_| [Client::tcp(port), Client::unix(&path)])
        .collect();
    let begun = Instant::now();
    for mut client in clients {
        client.hears_line().parse::<u32>().unwrap();
    }
    // With a pause before each it would have taken more than a minute.
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(skd.status().ends_with(" accepted 80 denied 0 failed 0"));
    skd.stop();
}

/// It is started again with growing pauses, and who waits goes on waiting.
#[test]
fn a_program_that_takes_nobody_does_not_make_skd_spin() {
    let folder = Folder::new();
    let (path, ready) = (folder.path("served"), folder.path("ready"));
    let script = format!("[ -e {ready} ] && exec {} accept-once 0", probe());
    for address in ["-t 127.0.0.1:0", &format!("-l {path}")] {
        let skd = Skd::new(&format!("-v -w {address} sh -c")).word(script.as_str());
        let mut skd = skd.start();
        let begun = Instant::now();
        let mut client = match address.starts_with("-t") {
            true => Client::tcp(skd.port()),
            false => Client::unix(&path),
        };
        skd.waits_for_nth("info: accept ", 4);
        assert!(begun.elapsed() >= Duration::from_millis(1500));
        let begun = Instant::now();
        skd.waits_for_nth("info: accept ", 5);
        assert!(begun.elapsed() >= Duration::from_millis(1900));
        assert!(skd.status().ends_with(" accepted 1 denied 0 failed 0"));
        std::fs::write(&ready, "").unwrap();
        client.hears_line();
        skd.stop();
        std::fs::remove_file(&ready).unwrap();
    }
}

#[test]
fn a_program_that_cannot_be_executed_leaves_who_waits() {
    let folder = Folder::new();
    let script = folder.script("prog", &format!("exec {} accept-once 0", probe()));
    let mut skd = Skd::new(&format!("-v -w -t 127.0.0.1:0 {script}")).start();
    let port = skd.port();
    let away = folder.path("away");
    std::fs::rename(&script, &away).unwrap();
    let mut client = Client::tcp(port);
    let line = format!(
        "skd: warning: unable to run \"{script}\": No such file or directory, leaving who waits of tcp:127.0.0.1:{port}"
    );
    assert_eq!(skd.waits_for("warning"), line);
    skd.waits_for_nth("warning", 2);
    std::fs::rename(&away, &script).unwrap();
    client.hears_line();
    assert!(skd.status().ends_with(" accepted 1 denied 0 failed 1"));
    skd.stop();
}

/// What a report says of LISTEN_ variables, its own pid put as PID.
fn passed(report: &str) -> String {
    let pid = facts(report, "pid")[0].split(' ').next().unwrap();
    let told = told(report).replace(&format!("LISTEN_PID={pid}"), "LISTEN_PID=PID");
    let words: Vec<&str> = told
        .split(' ')
        .filter(|word| word.starts_with("LISTEN"))
        .collect();
    words.join(" ")
}

/// The files on the descriptors of a report, `-` for skd's own standard ones.
fn placed(report: &str, skd: &Running) -> String {
    let own = |number: &str| {
        let link = std::fs::read_link(format!("/proc/{}/fd/{number}", skd.pid()));
        link.map(|link| link.display().to_string())
            .unwrap_or_default()
    };
    let fds = facts(report, "fd").into_iter().map(|fd| {
        let (number, file) = fd.split_once(' ').unwrap();
        let file = file.strip_suffix(" blocking").unwrap();
        let is_own = number != "3" && file == own(number);
        let what = if is_own { "-" } else { file };
        format!(
            "{number}{}",
            if what.starts_with("socket:") {
                "=socket"
            } else {
                what
            }
        )
    });
    fds.collect::<Vec<_>>().join(" ")
}

#[test]
fn pass_says_where_a_program_finds_its_listener() {
    for (how, number, expected) in [
        ("stdin", 0, "0=socket 1=socket 2-"),
        ("listen-fds", 3, "0- 1- 2- 3=socket"),
        ("both", 0, "0=socket 1=socket 2- 3=socket"),
        ("both", 3, "0=socket 1=socket 2- 3=socket"),
    ] {
        let words = format!("-v -w --pass {how} -t 127.0.0.1:0");
        let mut skd = probing(&words, &format!("accept-report {number}")).start();
        let port = skd.port();
        for _ in 0..2 {
            let mut report = String::new();
            // The connection that the report is sent on is the last of its descriptors.
            for line in Client::tcp(port).hears_all().lines() {
                report += &format!("{line}\n");
            }
            let mut fds = placed(&report, &skd);
            fds = fds
                .strip_suffix("=socket")
                .unwrap()
                .rsplit_once(' ')
                .unwrap()
                .0
                .to_owned();
            assert_eq!(fds, expected, "{how}");
            let listen = match how {
                "stdin" => "",
                _ => "LISTEN_FDNAMES=unknown LISTEN_FDS=1 LISTEN_PID=PID",
            };
            assert_eq!(passed(&report), listen, "{how}");
        }
        skd.stop();
    }
}

#[test]
fn an_adopted_listener_keeps_its_name_when_it_is_passed_on() {
    let ((web, port), (ctl, other)) = (tcp_listener(), tcp_listener());
    let skd = probing("-v -w --pass listen-fds", "accept-report 3");
    let skd = skd
        .listen_fds(vec![web, ctl])
        .env("LISTEN_FDNAMES", "web:ctl")
        .start();
    for (port, name) in [(port, "web"), (other, "ctl")] {
        let report = Client::tcp(port).hears_all();
        let expected = format!("LISTEN_FDNAMES={name} LISTEN_FDS=1 LISTEN_PID=PID");
        assert_eq!(passed(&report), expected);
    }
    skd.stop();
}

#[test]
fn datagram_programs_get_their_socket_as_pass_says() {
    let folder = Folder::new();
    for (how, listen) in [
        ("stdin", ""),
        ("both", "LISTEN_FDNAMES=unknown LISTEN_FDS=1 LISTEN_PID=PID"),
    ] {
        let mut skd = probing(
            &format!("-v --pass {how} -u 127.0.0.1:0"),
            "report-datagram",
        )
        .start();
        let client = udp(skd.port());
        client.send(b"x").unwrap();
        let report = crate::kit::net::hear_udp(&client);
        assert_eq!(passed(&report), listen);
        assert!(told(&report).contains("UDPREMOTEIP=127.0.0.1"));
        skd.stop();
    }
    let path = folder.path("served");
    let words = format!("-v --pass listen-fds -dl {path} sh -c");
    let mut skd = Skd::new(&words)
        .word(format!("exec {} report-datagram <&3", probe()))
        .start();
    let client = unix_datagram(&folder.path("client"));
    client.send_to(b"x", &path).unwrap();
    let mut heard = [0; 65536];
    let len = client.recv(&mut heard).unwrap();
    let report = String::from_utf8_lossy(&heard[..len]).into_owned();
    assert_eq!(
        passed(&report),
        "LISTEN_FDNAMES=unknown LISTEN_FDS=1 LISTEN_PID=PID"
    );
    skd.waits_for("info: end ");
    skd.stop();
}

#[test]
fn what_makes_no_sense_together_is_a_usage_error() {
    const TABLE: &str = "\
-w -c 5 -t 0|--wait and --max-connections exclude each other
-w -n -t 0|--wait and --nodelay exclude each other
-w -e -t 0|--wait and --stderr-to-client exclude each other
-w -E -t 0|--wait and --exec exclude each other
-E -c 5 -t 0|--exec and --max-connections exclude each other
-E -n -t 0|--exec and --nodelay exclude each other
-E -e -t 0|--exec and --stderr-to-client exclude each other
-E --proto X -t 0|--exec and --proto exclude each other
-E --tcp6 -t 0|--exec and --tcp6 exclude each other
-E --idle-exit 5 -t 0|--exec and --idle-exit exclude each other
-E --drain 5 -t 0|--exec and --drain exclude each other
-E --fdstore -t 0|--exec and --fdstore exclude each other
-E -S -t 0|--exec and --supervise exclude each other
-E -t 0 -t 0|--exec with several listeners needs --pass listen-fds
-E --pass both -t 0 -u 0|--exec with several listeners needs --pass listen-fds
-E --pass stdin -l a -l b|--exec with several listeners needs --pass listen-fds
--pass both -t 0|--pass is for programs that get a listener: -w, -E and datagram sockets
--pass x -w -t 0|--pass: \"x\": stdin, listen-fds or both expected
-w -u 0|--wait: there is no stream or seqpacket listener, a program gets a datagram socket without it
-w -d -l a|--wait: there is no stream or seqpacket listener, a program gets a datagram socket without it
-w|--wait: there is no socket
-E|--exec: there is no socket
--pass stdin|--pass: there is no socket";
    for row in TABLE.lines() {
        let (words, text) = row.split_once('|').unwrap();
        let line = format!("usage: {text}; try \"skd --help\"");
        fails(Skd::new(&format!("{words} cat")), 100, &line);
        fails(Skd::new(&format!("--check {words} cat")), 100, &line);
    }
    for option in [
        "-w",
        "-E",
        "--pass stdin",
        "--idle-exit 5",
        "--drain 5",
        "--fdstore",
    ] {
        let (one, _other) = UnixStream::pair().unwrap();
        let long = match option {
            "-w" => "--wait",
            "-E" => "--exec",
            other => other.split(' ').next().unwrap(),
        };
        let text = "a connected socket is adopted, which is one connection alone";
        let line = format!("usage: {long}: {text}; try \"skd --help\"");
        fails(
            Skd::new(&format!("-0 {option} cat")).descriptor(0, one),
            100,
            &line,
        );
    }
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let text =
        "there is no stream or seqpacket listener, a program gets a datagram socket without it";
    let line = format!("usage: --wait: {text}; try \"skd --help\"");
    fails(Skd::new("-w -0 cat").descriptor(0, udp), 100, &line);
    let fds = vec![tcp_listener().0, tcp_listener().0];
    let line = "usage: --exec with several listeners needs --pass listen-fds; try \"skd --help\"";
    fails(Skd::new("-E cat").listen_fds(fds), 100, line);
}

/// What was blocking or not before makes no difference to PROG.
#[test]
fn a_lent_listener_is_blocking() {
    let (listener, port) = tcp_listener();
    set_nonblocking(&listener, true);
    let copy = listener.try_clone().unwrap();
    let skd = probing("-v -w -0", "accept-report 0")
        .descriptor(0, listener)
        .start();
    let report = Client::tcp(port).hears_all();
    has_a_listener(&report);
    let flags = OFlag::from_bits_retain(fcntl(copy.as_fd(), FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
    skd.stop();
}

/// A datagram socket is served as ever beside listeners that are lent.
#[test]
fn w_is_for_stream_listeners_and_datagrams_stay_as_they_are() {
    let folder = Folder::new();
    let words = "-v -w -t 127.0.0.1:0 -u 127.0.0.1:0 sh -c";
    let script = format!(
        "case $PROTO in TCP) exec {0} accept-once 0;; *) exec {0} report-to {1};; esac",
        probe(),
        folder.path("report")
    );
    let mut skd = Skd::new(words).word(script).start();
    let [port, packets] = [skd.port(), skd.port()];
    Client::tcp(port).hears_line();
    udp(packets).send(b"x").unwrap();
    let report = eventually("a report", || {
        std::fs::read_to_string(folder.path("report")).ok()
    });
    assert!(told(&report).contains("UDPREMOTEIP=127.0.0.1"), "{report}");
    skd.stop();
}
