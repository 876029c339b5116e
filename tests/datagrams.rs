//! Datagram sockets: a program for the first datagram, and what becomes of one that nobody reads.

mod unread;

use crate::kit::net::{Client, hear_udp, udp, unix_datagram};
use crate::kit::skd::{Running, Skd};
use crate::kit::{DEADLINE, Folder, eventually, need, probe};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use std::fs::{self, File};
use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

/// skd on a UDP port of 127.0.0.1, the probe being PROG with this word.
fn serving(options: &str, word: &str) -> (Running, u16) {
    let skd = Skd::new(&format!("-v -1u 127.0.0.1:0 {options}"));
    let mut skd = skd.word(probe()).word(word).start();
    let port = skd.port();
    (skd, port)
}

fn port_of(client: &UdpSocket) -> u16 {
    client.local_addr().unwrap().port()
}

/// Sends a datagram and hears the answer.
fn asks(client: &UdpSocket, text: &str) -> String {
    client.send(text.as_bytes()).unwrap();
    hear_udp(client)
}

/// A log with pids as P1, P2 and so on, seconds as S, and texts that differ by run as given.
fn plain(log: &str, texts: &[(&str, &str)]) -> String {
    let mut pids: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for line in log.lines() {
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            let word = match words.last().map(String::as_str) {
                Some("pid") => {
                    if !pids.contains(&word) {
                        pids.push(word);
                    }
                    format!("P{}", 1 + pids.iter().position(|pid| *pid == word).unwrap())
                }
                Some("secs") => {
                    let (whole, part) = word.split_once('.').unwrap();
                    assert!(whole.parse::<u32>().is_ok() && part.len() == 3, "{line}");
                    "S".to_owned()
                }
                _ => word.to_owned(),
            };
            words.push(word);
        }
        let line = words.join(" ");
        lines.push(
            texts
                .iter()
                .fold(line, |line, (from, to)| line.replace(from, to))
                + "\n",
        );
    }
    lines.concat()
}

/// The same for a UDP socket whose clients have these ports.
fn plain_udp(log: &str, port: u16, clients: &[u16]) -> String {
    let mut log = plain(log, &[(&format!("udp:127.0.0.1:{port}"), "HERE")]);
    for (number, client) in (1..).zip(clients) {
        log = log.replace(&format!("127.0.0.1:{client}"), &format!("CLIENT{number}"));
    }
    log
}

/// How often in a row a program was started, by the numbers of the pids.
fn starts(numbers: std::ops::RangeInclusive<u32>, from: &str, end: &str) -> String {
    let start = |number| {
        format!(
            "skd: info: datagram HERE{from} pid P{number}\nskd: info: end HERE pid P{number} {end} secs S\n"
        )
    };
    numbers.map(start).collect()
}

/// What is said of a datagram that five programs left unread.
fn discard(prog: &str, len: usize, from: &str) -> String {
    format!(
        "skd: warning: \"{prog}\" left it unread 5 times: discarding a datagram of {len} bytes{from} of HERE\n"
    )
}

/// The processor time that a process has used, in clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<u64> = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    fields.iter().sum()
}

/// Each of them has its own five starts; and skd uses next to no time for all of that.
#[test]
fn equal_datagrams_are_each_read() {
    let (mut skd, port) = serving("", "echo-datagram");
    let client = udp(port);
    for _ in 0..12 {
        client.send(b"same").unwrap();
    }
    for _ in 0..12 {
        assert_eq!(hear_udp(&client), "same");
    }
    skd.waits_for_nth("end ", 12);
    let log = plain_udp(&skd.stop().stderr, port, &[port_of(&client)]);
    let all = starts(1..=12, " CLIENT1", "exit 0");
    assert_eq!(log, format!("skd: info: listen HERE\n{all}"));
}

/// The fifth program takes the first datagram; the second has five programs of its own.
/// The datagram here is an empty one.
/// More attempts than programs that a datagram may start; then one process more is allowed.
#[test]
fn one_program_has_the_socket_until_it_ends_and_may_take_several() {
    let (mut skd, port) = serving("-u 127.0.0.1:0", "talk-datagram");
    let (one, two) = (udp(port), udp(skd.port()));
    let talks = |client: &UdpSocket, text: &str| -> i32 {
        let answer = asks(client, text);
        answer
            .strip_suffix(&format!(" {text}"))
            .unwrap()
            .parse()
            .unwrap()
    };
    let first = talks(&one, "a");
    let beside = talks(&two, "a");
    assert_ne!(first, beside);
    for text in ["b", "", "c", "end"] {
        assert_eq!(talks(&one, text), first);
    }
    let second = talks(&one, "d");
    assert!(second != first && second != beside);
    assert_eq!(talks(&two, "b"), beside);
    assert_eq!(skd.status(), "2 accepted 3 denied 0 failed 0");
    assert_eq!((talks(&one, "end"), talks(&two, "end")), (second, beside));
    skd.is_alone();
    let log = skd.stop().stderr;
    assert_eq!(log.matches("info: datagram ").count(), 3, "{log}");
}

#[test]
fn skd_is_idle_while_datagrams_wait_for_a_program_to_end() {
    let mut skd = Skd::new("-v -c 1 -1u 127.0.0.1:0 -u 127.0.0.1:0 sleep 1").start();
    let (one, two) = (udp(skd.port()), udp(skd.port()));
    for text in ["one", "two", "three"] {
        one.send(text.as_bytes()).unwrap();
    }
    skd.waits_for("datagram ");
    two.send(b"at the limit").unwrap();
    let before = ticks(skd.pid());
    skd.waits_for("end ");
    let used = ticks(skd.pid()) - before;
    assert!(used < 10, "{used} ticks");
    let lines = skd
        .seen
        .iter()
        .filter(|line| line.contains("info: datagram "));
    assert_eq!(lines.count(), 1);
    skd.stop();
}

/// Of the two datagrams that wait when a program ends, one may have the next.
#[test]
fn the_limit_counts_the_programs_of_datagrams() {
    let prog = format!(
        "[ $PROTO = TCP ] && exec cat; exec {} talk-datagram",
        probe()
    );
    let words = "-v -c 1 -1u 127.0.0.1:0 -u 127.0.0.1:0 -t 127.0.0.1:0 sh -c";
    let mut skd = Skd::new(words).word(prog).start();
    let (one, two) = (udp(skd.port()), udp(skd.port()));
    asks(&one, "a");
    two.send(b"b").unwrap();
    assert_eq!(skd.status(), "1/1 accepted 1 denied 0 failed 0");
    for text in ["end", "c"] {
        one.send(text.as_bytes()).unwrap();
    }
    skd.waits_for_nth("datagram ", 2);
    assert_eq!(skd.status(), "1/1 accepted 2 denied 0 failed 0");
    for client in [&one, &two] {
        client.send(b"end").unwrap();
    }
    for (client, text) in [
        (&one, "end"),
        (&one, "c"),
        (&one, "end"),
        (&two, "b"),
        (&two, "end"),
    ] {
        assert!(hear_udp(client).ends_with(&format!(" {text}")));
    }
    skd.is_alone();
    skd.stop();
}

#[test]
fn a_datagram_waits_while_a_connection_has_the_only_place() {
    let prog = format!(
        "[ $PROTO = TCP ] && exec cat; exec {} echo-datagram",
        probe()
    );
    let words = "-v -c 1 -1u 127.0.0.1:0 -t 127.0.0.1:0 sh -c";
    let mut skd = Skd::new(words).word(prog).start();
    let datagrams = udp(skd.port());
    let mut client = Client::tcp(skd.port());
    client.says("hello\n").hears("hello\n");
    datagrams.send(b"x").unwrap();
    assert_eq!(skd.status(), "1/1 accepted 1 denied 0 failed 0");
    assert_eq!(client.hears_all(), "");
    assert_eq!(hear_udp(&datagrams), "x");
    skd.stop();
}

#[test]
fn a_program_has_the_socket_as_its_descriptors_and_no_others() {
    for (options, is_clients) in [("", false), ("-e", true)] {
        let folder = Folder::new();
        let (file, path) = (folder.path("report"), folder.path("sock"));
        let mut skd = Skd::new(&format!("-v {options} -dl {path}"))
            .word(probe())
            .word("report-to")
            .word(&file);
        skd = skd.under("env --block-signal --ignore-signal");
        let skd = skd.start();
        let client = UnixDatagram::unbound().unwrap();
        for _ in 0..3 {
            sends_descriptor(&client, "with", &path);
            let report = eventually("the report", || fs::read_to_string(&file).ok());
            fs::remove_file(&file).unwrap();
            let lines: Vec<_> = report
                .lines()
                .take_while(|line| !line.starts_with("umask"))
                .collect();
            let socket = lines[0].split(' ').nth(2).unwrap();
            assert!(socket.starts_with("socket:["), "{report}");
            let stderr = fs::read_link(format!("/proc/{}/fd/2", skd.pid())).unwrap();
            let stderr = if is_clients {
                socket
            } else {
                stderr.to_str().unwrap()
            };
            let fds =
                format!("fd 0 {socket} blocking\nfd 1 {socket} blocking\nfd 2 {stderr} blocking\n");
            // The probe's own runtime ignores SIGPIPE.
            let signals = "signals SigBlk 0000000000000000\nsignals SigIgn 0000000000001000";
            assert_eq!(lines.join("\n"), fds + signals);
        }
        skd.stop();
    }
}

/// Sends a datagram with a descriptor along.
fn sends_descriptor(client: &UnixDatagram, text: &str, to: &str) {
    let file = File::open("/dev/null").unwrap();
    let fds = [file.as_raw_fd()];
    let to = UnixAddr::new(to).unwrap();
    let text = [IoSlice::new(text.as_bytes())];
    sendmsg(
        client.as_raw_fd(),
        &text,
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        Some(&to),
    )
    .unwrap();
}

#[test]
fn descriptors_that_come_with_a_datagram_do_not_stay_in_skd() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let skd = Skd::new(&format!("-vdl {path}")).word(probe());
    let mut skd = skd.word("picky-datagram").start();
    let client = unix_datagram(&folder.path("client"));
    // The first datagram shows what skd opens when it begins to serve.
    client.send_to(b"good", &path).unwrap();
    skd.waits_for("end ");
    // Whatever skd looks up at the end of a program is over when it heeds a signal.
    skd.status();
    let before = skd.descriptors();
    sends_descriptor(&client, "bad", &path);
    skd.waits_for("discarding");
    // The one that throws it away may need a moment to be gone.
    skd.comes_to_have(before);
    skd.stop();
}

/// The program before left the socket non-blocking.
#[test]
fn each_program_has_the_socket_blocking_and_without_the_options_by_which_skd_looks() {
    if !need::ipv6() {
        return;
    }
    for (address, client) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("*:0", "127.0.0.1"),
        ("0", "::1"),
        ("[::1]:0", "::1"),
    ] {
        let words = ["-v", "-1u", address, &probe(), "inspect-datagram"];
        let mut skd = Skd::with_words(words).start();
        let port = skd.port();
        let client = UdpSocket::bind((client, 0)).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
            .connect((client.local_addr().unwrap().ip(), port))
            .unwrap();
        for _ in 0..3 {
            assert_eq!(asks(&client, "?"), "blocking, 0 told", "{address}");
        }
        skd.stop();
    }
    let folder = Folder::new();
    let path = folder.path("sock");
    let skd = Skd::new(&format!("-vdl {path}"))
        .word(probe())
        .word("inspect-datagram")
        .start();
    let client = unix_datagram(&folder.path("client"));
    for _ in 0..3 {
        client.send_to(b"?", &path).unwrap();
        let mut heard = [0; 100];
        let len = client.recv(&mut heard).unwrap();
        assert_eq!(String::from_utf8_lossy(&heard[..len]), "blocking, 0 told");
    }
    skd.stop();
}

#[test]
fn empty_and_big_datagrams_are_served() {
    let (skd, port) = serving("", "echo-datagram");
    let client = udp(port);
    let big = "big ".repeat(15_000);
    for text in ["", &big, "", "x"] {
        assert_eq!(asks(&client, text), text);
    }
    skd.stop();
}

/// A sender is shown if it has a name.
#[test]
fn unix_datagrams_are_served_and_told() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let mut skd = Skd::new(&format!("-vdl {path} -l @{path}"))
        .word(probe())
        .word("picky-datagram")
        .start();
    let own_path = folder.path("client");
    let client = unix_datagram(&own_path);
    let big = vec![b'x'; 60_000];
    client.send_to(&big, &path).unwrap();
    let mut heard = vec![0; 65536];
    assert_eq!(client.recv(&mut heard).unwrap(), big.len());
    skd.waits_for("end ");
    UnixDatagram::unbound()
        .unwrap()
        .send_to(b"bad", &path)
        .unwrap();
    skd.waits_for("discarding");
    let log = skd.stop().stderr;
    let texts = [
        (own_path.as_str(), "CLIENT"),
        (&format!("unix:@{path}"), "THERE"),
        (&format!("unix:{path}"), "HERE"),
    ];
    let head = "skd: info: listen HERE\nskd: info: listen THERE\n";
    let (one, bad) = (
        starts(1..=1, " CLIENT", "exit 0"),
        starts(2..=6, "", "exit 0"),
    );
    let last = discard(&probe(), 3, "");
    assert_eq!(plain(&log, &texts), format!("{head}{one}{bad}{last}"));
}

#[test]
fn a_program_goes_on_with_the_socket_when_skd_has_ended() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let (skd, port) = serving(&format!("-l {path}"), "talk-datagram");
    let client = udp(port);
    let before = asks(&client, "a");
    skd.stop();
    assert!(!fs::exists(&path).unwrap());
    assert_eq!(asks(&client, "a"), before);
    assert!(asks(&client, "end").ends_with(" end"));
    eventually("the end of the program", || {
        client.send(b"x").is_err().then_some(())
    });
}

/// As whoever handed it over meant it: nobody else is heard.
#[test]
fn a_socket_that_was_connected_when_it_was_adopted_stays_so() {
    let (adopted, client) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    client.connect(adopted.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    adopted.connect(client.local_addr().unwrap()).unwrap();
    let copy = adopted.try_clone().unwrap();
    let skd = Skd::new("-v -0").word(probe()).word("echo-datagram");
    let mut skd = skd.descriptor(0, adopted).start();
    for count in 1..=2 {
        client.send(b"hello").unwrap();
        assert_eq!(hear_udp(&client), "hello");
        skd.waits_for_nth("info: end ", count);
        assert_eq!(copy.peer_addr().unwrap(), client.local_addr().unwrap());
    }
    skd.stop();
}
