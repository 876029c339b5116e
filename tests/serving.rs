//! Connections: taken, counted, limited, ended.

use crate::kit::net::{Client, hear_udp, udp};
use crate::kit::skd::{Running, Skd, field};
use crate::kit::{Folder, eventually, probe, probing};
use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn two_clients_are_served_at_once() {
    let mut skd = Skd::new("-1 -vt 127.0.0.1:0 cat").start();
    let port = skd.port();
    let (mut one, mut other) = (Client::tcp(port), Client::tcp(port));
    one.says("one\n").hears("one\n");
    other.says("other\n").hears("other\n");
    one.says("again\n").hears("again\n");
    assert_eq!(skd.status(), "2 accepted 2 denied 0 failed 0");
    assert_eq!(one.hears_all(), "");
    drop(other);
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 2 denied 0 failed 0");
    skd.stop();
}

/// The third client waits in the backlog and is served when the first leaves.
#[test]
fn a_full_server_leaves_clients_in_the_backlog() {
    let mut skd = Skd::new("-1 -vc 2 -t 127.0.0.1:0")
        .word(probe())
        .word("hold")
        .start();
    let port = skd.port();
    let (mut first, mut second) = (Client::tcp(port), Client::tcp(port));
    assert!(first.hears_line().starts_with("ready "));
    assert!(second.hears_line().starts_with("ready "));
    let mut third = Client::tcp(port);
    assert_eq!(skd.status(), "2/2 accepted 2 denied 0 failed 0");
    assert_eq!(first.hears_all(), "bye\n");
    assert!(third.hears_line().starts_with("ready "));
    assert_eq!(skd.status(), "2/2 accepted 3 denied 0 failed 0");
    let outcome = skd.stop();
    assert!(
        outcome.stderr.contains(" count 1/2\n"),
        "{}",
        outcome.stderr
    );
}

/// At the limit the one who waits may leave before it is served.
#[test]
fn a_client_that_leaves_while_it_waits_does_not_block_the_next() {
    let mut skd = Skd::new("-1 -v -c 1 -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    let mut first = Client::tcp(port);
    first.says("first").hears("first");
    drop(Client::tcp(port));
    let mut third = Client::tcp(port);
    assert_eq!(skd.status(), "1/1 accepted 1 denied 0 failed 0");
    assert_eq!(first.hears_all(), "");
    third.says("third").hears("third");
    assert_eq!(skd.status(), "1/1 accepted 3 denied 0 failed 0");
    skd.stop();
}

#[test]
fn a_limit_is_never_exceeded_and_always_used() {
    const CLIENTS: usize = 200;
    let mut skd = Skd::new("-1 -v -c 3 -t 127.0.0.1:0")
        .word(probe())
        .word("hold")
        .start();
    let port = skd.port();
    let path = format!("/proc/{0}/task/{0}/children", skd.pid());
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_done.load(Ordering::Relaxed) {
                let children = std::fs::read_to_string(&path).unwrap();
                most = most.max(children.split_whitespace().count());
            }
            most
        });
        let serve_one = || {
            let mut client = Client::tcp(port);
            assert!(client.hears_line().starts_with("ready "));
            assert_eq!(client.hears_all(), "bye\n");
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(serve_one)).collect();
        for client in clients {
            client.join().unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(watcher.join().unwrap(), 3);
    });
    skd.is_alone();
    let status = format!("0/3 accepted {CLIENTS} denied 0 failed 0");
    assert_eq!(skd.status(), status);
    let stderr = skd.stop().stderr;
    for (count, at_least) in [("0/3", 1), ("1/3", 2), ("2/3", 2), ("3/3", 1)] {
        let lines = stderr.lines().filter(|line| line.ends_with(count));
        assert!(lines.count() >= at_least, "{count}");
    }
    assert!(!stderr.contains(" count 4/3"));
}

#[test]
fn clients_that_connect_and_vanish_leave_nothing_behind() {
    let mut skd = Skd::new("-1 -t 127.0.0.1:0 cat").spawn();
    let port = skd.port();
    let descriptors = skd.descriptors();
    for _ in 0..1000 {
        drop(Client::tcp(port));
    }
    Client::tcp(port).says("hello").hears("hello");
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 1001 denied 0 failed 0");
    has_no_more(&skd, descriptors);
    skd.stop();
}

/// Connects `count` times from four threads and reads each connection to its end.
fn connect_often(count: usize, connect: impl Fn() -> Client + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..count / 4 {
                    assert_eq!(connect().hears_rest(), "");
                }
            });
        }
    });
}

/// skd has so many descriptors open. On a busy machine some children live long enough for the reaper, which skd talks to
/// through two more.
fn has_no_more(skd: &Running, descriptors: usize) {
    let more = skd.descriptors() - descriptors;
    assert!(more == 0 || more == 2, "{more} descriptors more");
}

/// The resident memory in kB.
fn memory(skd: &Running) -> u64 {
    let field = skd.field("VmRSS");
    field.trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn thousands_of_connections_leave_no_process_no_descriptor_and_no_memory() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let words = format!("-1 -t 127.0.0.1:0 -l {path} true");
    let mut skd = Skd::new(&words).spawn();
    let port = skd.port();
    let descriptors = skd.descriptors();
    // Fewer by TCP, since each leaves a port in TIME_WAIT that other tests may want.
    connect_often(400, || Client::tcp(port));
    connect_often(1600, || Client::unix(&path));
    skd.is_alone();
    let before = memory(&skd);
    connect_often(1600, || Client::tcp(port));
    connect_often(16_400, || Client::unix(&path));
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 20000 denied 0 failed 0");
    has_no_more(&skd, descriptors);
    let grown = memory(&skd).saturating_sub(before);
    assert!(grown < 400, "{grown} kB more than {before} kB");
    skd.stop();
}

#[test]
fn a_flooded_listener_leaves_the_others_their_turn() {
    let mut skd = Skd::new("-1 -q -t 127.0.0.1:0 -t 127.0.0.1:0 cat").spawn();
    let (flooded, other) = (skd.port(), skd.port());
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    drop(Client::tcp(flooded));
                }
            });
        }
        for _ in 0..50 {
            let mut client = Client::tcp(other);
            client.says("hello").hears("hello");
        }
        is_done.store(true, Ordering::Relaxed);
    });
    skd.is_alone();
    skd.stop();
}

/// More than one turn of the loop takes, all there before skd looks. The kernel keeps them up to somaxconn.
/// Whatever the limit, what becomes free is for the listener that has waited longest, not for the first one.
#[test]
fn at_a_limit_listeners_have_their_turns() {
    for limit in ["-c 1", "--rate 1/1"] {
        let words = format!("-1 -v {limit} -t 127.0.0.1:0 -t 127.0.0.1:0");
        let mut skd = Skd::new(&words).word(probe()).word("hold").start();
        skd.waits_for_nth("listen ", 2);
        let ports = [skd.port(), skd.port()];
        let mut first = Client::tcp(ports[0]);
        first.hears_line();
        let [a, b] = ports.map(|port| [(); 3].map(|()| Client::tcp(port)));
        assert_eq!(first.hears_all(), "bye\n");
        for (mut of_a, mut of_b) in a.into_iter().zip(b) {
            of_b.hears_line();
            of_b.hears_all();
            of_a.hears_line();
            of_a.hears_all();
        }
        let accepts = skd.stop().stderr;
        let accepts = accepts.lines().filter(|line| line.contains(" accept "));
        let served: Vec<_> = accepts
            .map(|line| line.contains(&format!(":{} ", ports[0])))
            .collect();
        assert_eq!(
            served,
            [true, false, true, false, true, false, true],
            "{limit}"
        );
    }
}

/// So many clients are told that there is no place that one of them would always be there when one becomes free.
#[test]
fn a_datagram_that_waits_at_the_limit_has_its_turn_beside_those_who_are_refused() {
    let folder = Folder::new();
    let prog = format!(
        "[ $PROTO = UDP ] && exec {0} echo-datagram\nexec {0} hold",
        probe()
    );
    let prog = folder.script("prog", &prog);
    let words = "-1 -v -c 1 -r full -t 127.0.0.1:0 -u 127.0.0.1:0";
    let mut skd = Skd::new(words).word(&prog).start();
    let (port, client) = (skd.port(), udp(skd.port()));
    for _ in 0..2 {
        let mut held = Client::tcp(port);
        held.hears_line();
        client.send(b"turn").unwrap();
        let child = skd.children()[0];
        let next = skd.while_stopped(|| {
            drop(held);
            eventually("an end", || {
                field(child, "State")?.starts_with('Z').then_some(())
            });
            Client::tcp(port)
        });
        assert_eq!(next.hears_all(), "full");
        assert_eq!(hear_udp(&client), "turn");
        skd.is_alone();
    }
    assert_eq!(skd.status(), "0/1 accepted 4 denied 2 failed 0");
    skd.stop();
}

#[test]
fn a_burst_that_fills_the_backlog_is_served() {
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let count = 500.min(somaxconn.trim().parse().unwrap());
    let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    skd.signal(Signal::SIGSTOP);
    eventually("a stop", || {
        skd.field("State").starts_with('T').then_some(())
    });
    let mut clients: Vec<_> = (0..count).map(|_| Client::tcp(port)).collect();
    skd.signal(Signal::SIGCONT);
    for client in &mut clients {
        client.says("hello").hears("hello");
    }
    drop(clients);
    skd.is_alone();
    let status = format!("0 accepted {count} denied 0 failed 0");
    assert_eq!(skd.status(), status);
    skd.stop();
}

/// A unix client for whom the backlog has no room waits in connect(2). (What TCP does with one is the kernel's affair.)
#[test]
fn a_burst_beyond_the_backlog_is_served() {
    const CLIENTS: usize = 200;
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut skd = Skd::new(&format!("-v -b 5 -l {path} cat")).start();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                Client::unix(&path).says("hello").hears("hello");
            });
        }
    });
    skd.is_alone();
    let status = format!("0 accepted {CLIENTS} denied 0 failed 0");
    assert_eq!(skd.status(), status);
    skd.stop();
}

/// Once, until a child has ended.
#[test]
fn that_the_limit_is_reached_is_told_to_those_who_want_to_know_everything() {
    for (level, is_told) in [("-v", false), ("-vv", true)] {
        let mut skd = probing(&format!("{level} -1 -c 2 -t 127.0.0.1:0"), "hold").start();
        let port = skd.port();
        let [one, two] = [(); 2].map(|()| {
            let mut client = Client::tcp(port);
            client.hears_line();
            client
        });
        let mut waiting = Client::tcp(port);
        skd.waits_for_nth("info: accept ", 2);
        assert_eq!(one.hears_all(), "bye\n");
        waiting.hears_line();
        for client in [two, waiting] {
            assert_eq!(client.hears_all(), "bye\n");
        }
        skd.waits_for_nth("info: end ", 3);
        let line = "skd: info: the limit of --max-connections is reached, children: 2\n";
        let told = skd.stop().stderr.matches(line).count();
        assert_eq!(told, if is_told { 2 } else { 0 });
    }
}
