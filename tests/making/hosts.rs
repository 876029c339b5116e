//! Names of hosts as addresses to listen at.

use super::listens;
use crate::kit::net::{self, Client};
use crate::kit::skd::Skd;
use crate::kit::{Folder, fails, need, own_etc};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

/// A wrapper that gives skd this text as /etc/hosts, and nobody else to ask.
fn with_hosts(folder: &Folder, hosts: &str) -> String {
    own_etc(
        folder,
        &[("hosts", hosts), ("nsswitch.conf", "hosts: files\n")],
    )
}

#[test]
fn a_host_that_does_not_resolve_is_fatal() {
    if !need::root() || !need::mounts() {
        return;
    }
    let folder = Folder::new();
    let hosts = "127.0.0.1 four.test\n";
    let wrapper = with_hosts(&folder, hosts);
    for (words, line) in [
        (
            "-t nosuch.test:0 cat",
            "fatal: unable to find the host \"nosuch.test\": Name or service not known",
        ),
        (
            "-6 -t four.test:0 cat",
            "fatal: unable to find the host \"four.test\": it has no address of the family asked for",
        ),
    ] {
        fails(Skd::new(words).under(&wrapper), 111, line);
    }
}

#[test]
fn localhost_is_bound_on_all_its_addresses() {
    let addresses: BTreeSet<IpAddr> = ("localhost", 0)
        .to_socket_addrs()
        .unwrap()
        .map(|address| address.ip())
        // ::1 is none where IPv6 is off.
        .filter(|ip| UdpSocket::bind((*ip, 0)).is_ok())
        .collect();
    let mut skd = Skd::new("-vt localhost:0 cat").start();
    let port = skd.port();
    let labels: BTreeSet<String> = listens(&mut skd, addresses.len()).into_iter().collect();
    let expected = addresses
        .iter()
        .map(|ip| format!("tcp:{}", SocketAddr::new(*ip, port)));
    assert_eq!(labels, expected.collect());
    for ip in addresses {
        Client::tcp_to(SocketAddr::new(ip, port))
            .says("me")
            .hears("me");
    }
    assert_eq!(skd.stop_and_read_stdout(), "");
}

/// As in many a container, whose /etc/hosts knows of it all the same.
#[test]
fn the_ipv6_loopback_is_left_out_of_a_name_where_ipv6_is_switched_off() {
    if !need::own_network() || !need::mounts() || !need::ipv6() {
        return;
    }
    let folder = Folder::new();
    let hosts = "::1 both.test six.test\n127.0.0.1 both.test far.test\n2001:db8::7 far.test\n";
    let off = "echo $OFF >/proc/sys/net/ipv6/conf/all/disable_ipv6 || exit 99\nexec \"$@\"";
    let network = net::own_network(&folder, &[]);
    let wrapper = format!(
        "{network} {} {}",
        folder.script("off", off),
        with_hosts(&folder, hosts)
    );
    for (off, count) in [("0", 2), ("1", 1)] {
        for (option, call) in [("-t", "tcp"), ("-u", "udp")] {
            let skd = Skd::new(&format!("-v {option} both.test:0 cat")).env("OFF", off);
            let mut skd = skd.under(&wrapper).start();
            let here = format!("{call}:127.0.0.1:{}", skd.port());
            let labels = listens(&mut skd, count);
            assert!(labels.contains(&here), "{labels:?}");
            assert_eq!(skd.stop().stderr.matches(" listen ").count(), count);
        }
    }
    for (words, label) in [
        ("-t six.test:7000 cat", "tcp:[::1]:7000"),
        ("-6t both.test:7000 cat", "tcp:[::1]:7000"),
        ("-t far.test:7000 cat", "tcp:[2001:db8::7]:7000"),
    ] {
        let line = format!("fatal: unable to bind {label}: Cannot assign requested address");
        fails(Skd::new(words).env("OFF", "1").under(&wrapper), 111, &line);
    }
}

#[test]
fn a_name_has_one_port_on_all_its_addresses() {
    if !need::root() || !need::mounts() || !need::ipv6() {
        return;
    }
    let folder = Folder::new();
    let hosts = "127.71.0.2 many.test\n127.71.0.3 many.test\n::1 many.test\n";
    let wrapper = with_hosts(&folder, hosts);
    let (two, three, six) = ("127.71.0.2", "127.71.0.3", "[::1]");
    for (words, addresses, second) in [
        ("-vt", &[two, three, six][..], two),
        ("-v4t", &[two, three], two),
        ("-v6t", &[six], six),
        ("-vu", &[two, three, six], six),
    ] {
        let command = format!("{words} many.test:0 -t {second}:0 cat");
        let mut skd = Skd::new(&command).under(&wrapper).start();
        let (port, other) = (skd.port(), skd.port());
        let call = if words == "-vu" { "udp" } else { "tcp" };
        let mut labels = listens(&mut skd, addresses.len() + 1);
        assert_eq!(labels.pop(), Some(format!("tcp:{second}:{other}")));
        let labels: BTreeSet<_> = labels.into_iter().collect();
        let expected = addresses.iter().map(|ip| format!("{call}:{ip}:{port}"));
        assert_eq!(labels, expected.collect(), "{words}");
        assert_eq!(skd.stop_and_read_stdout(), "", "{words}");
    }
}
