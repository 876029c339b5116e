//! How many may come in, over all and from one source, how fast, and what those hear who may not.

use crate::kit::net::{self, Client, in_own_network, tcp_from, tcp_from_loopback};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, fails, need, probing};
use crate::upgrade::{Copy, upgrade};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What `-r` sends in these tests, as it is typed and as it arrives.
const TYPED: &str = r"421 too many,\tcome back \\o/\r\n";
const MESSAGE: &str = "421 too many,\tcome back \\o/\r\n";

/// skd that holds each connection until its client leaves.
fn holding(options: &str) -> Skd {
    probing(&format!("-v -1 {options}"), "hold")
}

/// The same, which tells those whom it refuses.
fn telling(options: &str) -> Skd {
    let words = format!("-v -1 {options}");
    Skd::with_words(words.split(' ').chain(["-r", TYPED]))
        .word(crate::kit::probe())
        .word("hold")
}

/// A client that is let in.
fn held(stream: TcpStream) -> Client {
    let mut client = Client::of_tcp(stream);
    assert!(client.hears_line().starts_with("ready "));
    client
}

/// A client that is refused without a word; returns the peer that the log has.
fn refused(stream: TcpStream) -> String {
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(Client::of_tcp(stream).hears_rest(), "");
    peer
}

/// Waits until just `count` children are left.
fn has_left(skd: &Running, count: usize) {
    eventually("an end", || (skd.children().len() == count).then_some(()));
}

#[test]
fn of_one_ipv4_address_so_many_are_served_and_the_next_is_closed() {
    if !need::ipv6() {
        return;
    }
    let mut skd = holding("-C 2 -t 127.0.0.1:0 -t 0").start();
    let ports = [skd.port(), skd.port()];
    let labels = [
        format!("tcp:127.0.0.1:{}", ports[0]),
        format!("tcp:[::]:{}", ports[1]),
    ];
    let first = held(tcp_from_loopback(1, ports[0]));
    // The same address, mapped into IPv6.
    let second = held(tcp_from_loopback(1, ports[1]));
    for (port, label) in ports.into_iter().zip(labels) {
        let peer = refused(tcp_from_loopback(1, port));
        skd.waits_for(&format!(
            "skd: info: deny {label} {peer} --max-per-source 2"
        ));
    }
    assert_eq!(skd.children().len(), 2);
    let other = held(tcp_from_loopback(2, ports[1]));
    assert!(skd.status().contains(" denied 2 failed 0"));
    drop(first);
    has_left(&skd, 2);
    let third = held(tcp_from_loopback(1, ports[0]));
    refused(tcp_from_loopback(1, ports[0]));
    assert!(skd.status().starts_with("3 "));
    drop((second, third, other));
    skd.is_alone();
    assert!(skd.status().contains(" denied 3 failed 0"));
    skd.stop();
}

#[test]
fn connnum_is_the_count_that_the_limit_is_about() {
    let script = "echo $TCPCONNNUM; exec cat";
    let mut skd = Skd::new("-v -1 -C 2 -t 127.0.0.1:0 sh -c")
        .word(script)
        .start();
    let port = skd.port();
    let comes = |number: &str| {
        let mut client = Client::tcp(port);
        assert_eq!(client.hears_line(), number);
        client
    };
    let (first, second) = (comes("1"), comes("2"));
    comes("");
    drop(first);
    has_left(&skd, 1);
    let third = comes("2");
    comes("");
    drop((second, third));
    skd.is_alone();
    comes("1");
    skd.stop();
}

#[test]
fn of_one_ipv6_network_of_64_bits_so_many_are_served() {
    if !need::own_network() || !need::ipv6() {
        return;
    }
    let addresses = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"];
    let folder = Folder::new();
    let mut skd = in_own_network(holding("-C 1 -t 0"), &folder, &addresses).start();
    let to = SocketAddr::new(addresses[0].parse().unwrap(), skd.port());
    let pid = skd.pid().to_string();
    let from = |ip: usize| {
        let from = addresses[ip].parse().unwrap();
        net::inside(&pid, || tcp_from(from, to))
    };
    let first = held(from(0));
    let peer = refused(from(1));
    assert!(peer.starts_with("[2001:db8:0:1:ffff::2]:"));
    skd.waits_for(&format!(" {peer} --max-per-source 1"));
    let _other = held(from(2));
    drop(first);
    has_left(&skd, 1);
    held(from(1));
    skd.stop();
}

#[test]
fn of_one_user_so_many_are_served() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let mut skd = holding(&format!("-C 1 --mode 666 -l {path}")).start();
    let mut first = Client::unix(&path);
    assert!(first.hears_line().starts_with("ready "));
    assert_eq!(Client::unix(&path).hears_rest(), "");
    let uid = nix::unistd::getuid();
    let line = skd.waits_for("info: deny ");
    assert!(
        line.starts_with(&format!("skd: info: deny unix:{path} uid {uid} gid ")),
        "{line}"
    );
    assert!(line.ends_with(" --max-per-source 1"), "{line}");
    if need::root() && need::program("nc") {
        let ids = ["--reuid=54323", "--regid=54323", "--clear-groups"];
        let mut nc = Command::new("setpriv")
            .args(ids)
            .args(["nc", "-U", &path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        nc.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready ");
        nc.kill().unwrap();
        nc.wait().unwrap();
    }
    drop(first);
    skd.is_alone();
    assert!(Client::unix(&path).hears_line().starts_with("ready "));
    skd.stop();
}

#[test]
fn a_source_is_full_after_an_upgrade_if_it_was_before() {
    let copy = Copy::new();
    let skd = holding("-C 2 -t 127.0.0.1:0").binary(&copy.path);
    let mut skd = skd.start();
    let port = skd.port();
    let first = held(tcp_from_loopback(1, port));
    let _second = held(tcp_from_loopback(1, port));
    upgrade(&mut skd, &copy);
    refused(tcp_from_loopback(1, port));
    let _other = held(tcp_from_loopback(2, port));
    drop(first);
    has_left(&skd, 2);
    let _third = held(tcp_from_loopback(1, port));
    refused(tcp_from_loopback(1, port));
    assert!(skd.status().contains(" denied 2 "));
    skd.stop();
}

/// Each limit, and the reason that the log has.
const LIMITS: &[(&str, &str)] = &[
    ("-c 1", "--max-connections 1"),
    ("-C 1", "--max-per-source 1"),
    ("--rate-per-source 1/86400", "--rate-per-source 1/86400"),
];

/// Nobody reads what this client says: closing its connection at once would reset it, and destroy the message.
fn hears_message(skd: &Running, connect: impl Fn() -> Client) {
    let mut talker = skd.while_stopped(|| {
        let mut client = connect();
        client.says(&"x".repeat(50_000));
        client
    });
    talker.hears(MESSAGE).says("and more\n");
    assert_eq!(talker.hears_rest(), "");
    let mut silent = connect();
    silent.hears(MESSAGE);
    assert_eq!(silent.hears_all(), "");
}

#[test]
fn whom_a_limit_keeps_out_receives_the_message_whole_whatever_it_has_said() {
    for (limit, reason) in LIMITS {
        let mut skd = telling(&format!("{limit} -t 127.0.0.1:0")).start();
        let port = skd.port();
        let first = held(tcp_from_loopback(1, port));
        hears_message(&skd, || Client::tcp(port));
        assert_eq!(skd.children().len(), 1, "{limit}: no process is made");
        let line = skd.waits_for_nth("info: deny ", 2);
        assert!(line.ends_with(&format!(" {reason}")), "{line}");
        assert!(skd.status().contains(" denied 2 failed 0"));
        drop(first);
        skd.is_alone();
        skd.stop();

        let folder = Folder::new();
        let path = folder.path("sock");
        let skd = telling(&format!("{limit} -l {path}")).start();
        let mut first = Client::unix(&path);
        first.hears_line();
        hears_message(&skd, || Client::unix(&path));
        skd.stop();
    }
}

#[test]
fn a_message_is_one_packet_on_a_seqpacket_socket() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let skd = telling(&format!("-c 1 --seqpacket -l {path}")).start();
    let mut first = net::seqpacket(&path);
    assert!(first.hears_message().starts_with("ready "));
    let mut second = skd.while_stopped(|| {
        let mut client = net::seqpacket(&path);
        client.says("unread").says("too");
        client
    });
    assert_eq!(second.hears_message(), MESSAGE);
    assert_eq!(second.hears_message(), "");
    skd.stop();
}

/// A start at whose limit a message is said that is longer than what the kernel takes at once, in a network of its own;
/// and the message.
pub(crate) fn with_long_message(folder: &Folder) -> Option<(Skd, String)> {
    if !need::own_network() {
        return None;
    }
    let small = "for kind in rmem wmem; do echo 4096 4096 4096 >/proc/sys/net/ipv4/tcp_$kind; done\nexec \"$@\"";
    let network = net::own_network(folder, &[]);
    let network = format!("{network} {}", folder.script("small", small));
    let message = "we are full ".repeat(10_000);
    let skd = Skd::with_words("-v -1 -c 1 -t 127.0.0.1:0 -r".split(' ')).under(&network);
    let skd = skd.word(&message).word(crate::kit::probe()).word("hold");
    Some((skd, message))
}

/// The rest is sent as the client reads, whether that has said its last word or not.
#[test]
fn a_long_message_arrives_whole_too() {
    let folder = Folder::new();
    let Some((skd, message)) = with_long_message(&folder) else {
        return;
    };
    let mut skd = skd.start();
    let (port, pid) = (skd.port(), skd.pid().to_string());
    let _first = held(net::inside(&pid, || tcp_from_loopback(1, port)));
    for (number, says_more) in (1..).zip([true, false]) {
        let stream = net::inside(&pid, || tcp_from_loopback(1, port));
        if !says_more {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        // It has begun before anything is read.
        skd.waits_for_nth(" --max-connections 1", number);
        skd.status();
        let heard = Client::of_tcp(stream).hears_rest();
        assert_eq!((heard.len(), heard == message), (message.len(), true));
    }
    skd.stop();
}

/// Its last word is heard until then, and there is no reset before.
#[test]
fn one_that_stays_is_cut_off_in_time_and_not_before() {
    let mut skd = telling("-c 1 -t 127.0.0.1:0").start();
    let port = skd.port();
    let _first = held(tcp_from_loopback(1, port));
    // An answer shows that skd has let go of that connection.
    skd.status();
    let descriptors = skd.descriptors();
    let begun = Instant::now();
    let mut stream = tcp_from_loopback(1, port);
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, MESSAGE);
    // The end that it has read is not yet the end of the connection.
    assert_eq!(skd.descriptors(), descriptors + 1);
    let cut = eventually("its end", || stream.write_all(b"still here\n").err());
    let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(kinds.contains(&cut.kind()), "{cut}");
    assert!(begun.elapsed() >= Duration::from_millis(4900));
    assert_eq!(skd.descriptors(), descriptors);
    skd.stop();
}

/// All are told; nobody is kept waiting, and no place is lost.
#[test]
fn sixty_four_are_seen_off_at_once_at_most() {
    let mut skd = telling("-C 1 -t 127.0.0.1:0").start();
    let port = skd.port();
    let first = held(tcp_from_loopback(1, port));
    let descriptors = skd.descriptors();
    for _ in 0..2 {
        let clients = skd.while_stopped(|| {
            let clients = (0..100).map(|_| Client::tcp(port));
            clients.collect::<Vec<_>>()
        });
        // Whoever else comes is served while they stay.
        drop(held(tcp_from_loopback(2, port)));
        has_left(&skd, 1);
        assert!(skd.descriptors() <= descriptors + 64);
        let heard = clients.into_iter().map(|client| {
            let mut client = client;
            (client.hears_rest(), client)
        });
        let heard: Vec<_> = heard.collect();
        let told = heard.iter().filter(|(text, _)| text == MESSAGE);
        assert_eq!(told.count(), heard.len());
        drop(heard);
        has_left(&skd, 1);
        eventually("no good-byes", || {
            (skd.descriptors() <= descriptors + 1).then_some(())
        });
    }
    assert!(skd.status().contains(" denied 200 failed 0"));
    skd.waits_for_nth(" --max-per-source 1", 200);
    drop(first);
    skd.is_alone();
    held(tcp_from_loopback(1, port));
    skd.stop();
}

/// Whoever has not had all of it stays until it has.
#[test]
fn nobody_is_cut_off_in_the_middle_of_the_message_for_others() {
    let folder = Folder::new();
    let Some((skd, message)) = with_long_message(&folder) else {
        return;
    };
    let mut skd = skd.start();
    let (port, pid) = (skd.port(), skd.pid().to_string());
    let _first = held(net::inside(&pid, || tcp_from_loopback(1, port)));
    let mut clients: Vec<_> = skd.while_stopped(|| {
        let connect = || (0..70).map(|_| tcp_from_loopback(1, port)).collect();
        let streams: Vec<_> = net::inside(&pid, connect);
        streams.into_iter().map(Client::of_tcp).collect()
    });
    skd.waits_for_nth(" --max-connections 1", 70);
    for late in clients.drain(64..) {
        let mut late = late;
        let heard = late.hears_rest();
        assert!(message.starts_with(&heard) && heard != message);
    }
    let mut last = clients.pop().unwrap();
    assert!(last.hears_rest() == message);
    skd.stop();
}

/// It ends, with those good-byes that are not said yet.
#[test]
fn who_is_being_told_does_not_keep_skd_from_ending() {
    for options in ["-c 1", "-c 1 --drain 600"] {
        let mut skd = telling(&format!("{options} -t 127.0.0.1:0")).start();
        let port = skd.port();
        let first = held(tcp_from_loopback(1, port));
        let mut stays = Client::tcp(port);
        stays.hears(MESSAGE);
        skd.signal(nix::sys::signal::Signal::SIGTERM);
        drop(first);
        assert_eq!(skd.ends().code, 0);
        assert_eq!(stays.hears_rest(), "");
    }
}

/// They wait in the backlog of whatever listener, and skd sleeps meanwhile.
#[test]
fn over_the_rate_clients_wait_and_are_all_served() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let words = format!("-v -1 --rate 2/1 -l {path} -t 127.0.0.1:0 cat");
    let mut skd = Skd::new(&words).start();
    let port = skd.port();
    let switches = |skd: &Running| -> u64 {
        let count = skd.field("voluntary_ctxt_switches");
        count.parse().unwrap()
    };
    let (begun, before) = (Instant::now(), switches(&skd));
    let clients = [(); 3].map(|()| [Client::tcp(port), Client::unix(&path)]);
    for mut client in clients.into_iter().flatten() {
        client.says("hello\n").hears("hello\n");
    }
    // Two at once, and four more at half a second each.
    assert!(begun.elapsed() >= Duration::from_millis(1900));
    assert!(switches(&skd) - before < 200, "it spins");
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 6 denied 0 failed 0");
    skd.stop();
}

/// Nothing is given up for ever: the next token is for the next client.
#[test]
fn over_the_rate_of_one_source_clients_are_refused_until_it_has_a_token() {
    let mut skd = Skd::new("-v -1 --rate-per-source 1/2 -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    let is_served = |last: u8| {
        let mut stream = tcp_from_loopback(last, port);
        let _ = stream.write_all(b"x");
        stream.shutdown(Shutdown::Write).ok();
        let mut heard = Vec::new();
        // Refused, what it has said is not read: a reset or the end.
        let _ = stream.read_to_end(&mut heard);
        heard == b"x"
    };
    for last in [1, 2] {
        assert!(is_served(last));
        eventually("a refusal", || (!is_served(last)).then_some(()));
        assert!(is_served(last + 10), "another source");
        eventually("a token", || is_served(last).then_some(()));
    }
    let line = skd.waits_for("info: deny ");
    assert!(line.ends_with(" --rate-per-source 1/2"), "{line}");
    skd.stop();
}

/// The option that makes no sense, and why.
#[test]
fn what_judges_connections_is_a_usage_error_where_there_are_none() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let options = [
        ("-C 5", "--max-per-source"),
        ("-r full", "--refuse"),
        ("--rate 1/1", "--rate"),
        ("--rate-per-source 1/1", "--rate-per-source"),
        ("--allow ::1", "--allow"),
        ("--deny ::1", "--deny"),
        ("--rules rules", "--rules"),
        ("--proxy-from ::1", "--proxy-from"),
        ("--resolve", "--resolve"),
        ("--ident", "--ident"),
    ];
    let nobody = "there is no listener whose connections could be judged";
    for (words, option) in options {
        let table = [
            (
                "-w -t 0".to_owned(),
                format!("--wait and {option} exclude each other"),
            ),
            (
                "-E -t 0".to_owned(),
                format!("--exec and {option} exclude each other"),
            ),
            ("-u 0".to_owned(), format!("{option}: {nobody}")),
            (format!("-d -l {path}"), format!("{option}: {nobody}")),
            (String::new(), format!("{option}: there is no socket")),
        ];
        for (sockets, text) in table {
            let skd = Skd::new(&format!("{sockets} {words} cat"));
            fails(skd, 100, &format!("usage: {text}; try \"skd --help\""));
        }
    }
    // Nor is there anybody whom a message could reach.
    let text = "--refuse is for --max-connections, --max-per-source and --rate-per-source";
    for words in ["-r full", "-r full --rate 5/1", "-r full --deny ::1"] {
        for check in ["", "--check"] {
            let skd = Skd::new(&format!("{check} {words} -t 127.0.0.1:0 cat"));
            fails(skd, 100, &format!("usage: {text}; try \"skd --help\""));
        }
    }
    for limit in ["-c 5", "-C 5", "--rate-per-source 5/1"] {
        let skd = Skd::new(&format!("--check -r full {limit} -t 127.0.0.1:0 cat"));
        assert_eq!(skd.outcome().code, 0, "{limit}");
    }
    // Of one connection alone there are neither too many nor too fast ones.
    for (words, option) in options.iter().take(4) {
        let (conn, _client) = std::os::unix::net::UnixStream::pair().unwrap();
        let skd = Skd::new(&format!("-0 {words} cat")).descriptor(0, conn);
        let text =
            format!("{option}: a connected socket is adopted, which is one connection alone");
        fails(skd, 100, &format!("usage: {text}; try \"skd --help\""));
    }
}
