//! Ports that others may have too.

use super::{network_with, set_on};
use crate::kit::net::{Client, hear_udp, udp};
use crate::kit::skd::Skd;
use crate::kit::{Folder, fails, need, own_etc, probe, sockets};
use std::collections::BTreeSet;

/// How many connections are made at most until both of two skds have had one; each is as likely.
const TRIES: usize = 200;

#[test]
fn two_skds_share_a_port_if_both_ask_for_it() {
    for (first, second) in [
        ("-4 -t 0", "-4 -t PORT"),
        ("-t 127.0.0.1:0", "-i 127.0.0.1:PORT"),
    ] {
        let mut first = Skd::new(&format!("--reuse-port {first} echo first")).spawn();
        let port = first.port();
        let second = second.replace("PORT", &port.to_string());
        let words = format!("-v --reuse-port {second} echo second");
        let other = Skd::new(&words).start();
        let mut heard = BTreeSet::new();
        for _ in 0..TRIES {
            heard.insert(Client::tcp(port).hears_all());
            if heard.len() == 2 {
                break;
            }
        }
        assert_eq!(heard.len(), 2, "{heard:?}");
        let outcome = Skd::new(&format!("{second} cat")).outcome();
        assert!(outcome.stderr.ends_with(": Address already in use\n"));
        other.stop();
        first.stop();
    }
    let first = Skd::new("--reuse-port -u 127.0.0.1:0").word(probe());
    let mut first = first.word("echo-datagram").spawn();
    let port = first.port();
    let second = Skd::new(&format!("-v --reuse-port -u 127.0.0.1:{port}"));
    let second = second.word(probe()).word("echo-datagram").start();
    for _ in 0..8 {
        let client = udp(port);
        client.send(b"hello").unwrap();
        assert_eq!(hear_udp(&client), "hello");
    }
    let line = format!("fatal: unable to bind udp:127.0.0.1:{port}: Address already in use");
    fails(Skd::new(&format!("-u 127.0.0.1:{port} cat")), 111, &line);
    second.stop();
    first.stop();
}

#[test]
fn a_port_is_not_shared_with_one_who_did_not_ask_for_it() {
    for option in ["-t", "-u"] {
        let mut first = Skd::new(&format!("{option} 127.0.0.1:0 cat")).spawn();
        let address = format!("127.0.0.1:{}", first.port());
        let call = if option == "-t" { "tcp" } else { "udp" };
        let line = format!("fatal: unable to bind {call}:{address}: Address already in use");
        let skd = Skd::new(&format!("--reuse-port {option} {address} cat"));
        fails(skd, 111, &line);
        first.stop();
    }
}

/// The kernel would choose a port of UDP that another socket of the same user shares already.
#[test]
fn a_port_of_the_kernels_choice_is_shared_with_nobody_yet() {
    if !need::root() || !need::own_network() {
        return;
    }
    let folder = Folder::new();
    let network = network_with(&folder, "ipv4/ip_local_port_range", "40000 40007");
    for option in ["-u 127.0.0.1:0", "-t 127.0.0.1:0", "-u 0"] {
        let words = format!("{option} ").repeat(8);
        let skd = Skd::new(&format!("--reuse-port {words} cat"));
        let mut skd = skd.under(&network).spawn();
        let ports: BTreeSet<u16> = (0..8).map(|_| skd.port()).collect();
        assert_eq!(ports, (40_000..40_008).collect(), "{option}");
        for socket in sockets::borrowed(&skd) {
            assert_eq!(set_on(&socket), "reuse-port");
        }
        skd.stop();
    }
}

/// Of eight ports one is free on the second address; on the first all are. It is one that the kernel prefers
/// for TCP.
#[test]
fn nor_is_it_on_the_other_addresses_of_a_name() {
    if !need::root() || !need::mounts() || !need::own_network() {
        return;
    }
    let folder = Folder::new();
    let network = network_with(&folder, "ipv4/ip_local_port_range", "40000 40007");
    let files = [
        ("hosts", "127.71.0.2 many.test\n127.71.0.3 many.test\n"),
        ("nsswitch.conf", "hosts: files\n"),
    ];
    let wrapper = format!("{network} {}", own_etc(&folder, &files));
    for option in ["-u", "-t"] {
        let taken = (40_000..40_008).filter(|port| *port != 40_001);
        let taken: String = taken
            .map(|port| format!("{option} 127.71.0.3:{port} "))
            .collect();
        let words = format!("--reuse-port {taken} {option} many.test:0 cat");
        let mut skd = Skd::new(&words).under(&wrapper).spawn();
        assert_eq!(skd.port(), 40_001, "{option}");
        skd.stop();
    }
}
