//! Listeners of MPTCP: their clients, and a kernel that has none.

use super::{network_with, set_on};
use crate::kit::net::{self, Client, mptcp_socket};
use crate::kit::skd::Skd;
use crate::kit::{Folder, facts, fails, need, reporting};
use nix::libc;
use nix::sys::socket::{Backlog, SockaddrIn, bind, getsockname, listen};
use std::os::fd::AsRawFd;
use std::process::Command;

/// The backlog of the one listener at a port, as ss(8) shows it.
fn backlog(port: u16, kind: &str) -> String {
    let filter = format!("sport = :{port}");
    let shown = Command::new("ss").args(["-Hln", kind, &filter]).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let fields: Vec<&str> = shown.split_whitespace().collect();
    let place = fields.iter().position(|field| *field == "LISTEN").unwrap();
    fields[place + 2].to_owned()
}

#[test]
fn mptcp_serves_clients_of_mptcp_and_of_tcp_as_tcp() {
    if !need::mptcp() || !need::program("ss") {
        return;
    }
    let mut skd = reporting("-vn --mptcp --keepalive=60,5,4 -b 77 -t 127.0.0.1:0").start();
    let port = skd.port();
    for kind in ["-t", "-M"] {
        assert_eq!(backlog(port, kind), "77");
    }
    for (client, protocol) in [
        (net::mptcp(port), libc::IPPROTO_MPTCP),
        (Client::tcp(port), libc::IPPROTO_TCP),
    ] {
        let report = client.hears_all();
        assert_eq!(facts(&report, "protocol"), [protocol.to_string()]);
        assert_eq!(facts(&report, "nodelay"), ["1"]);
        assert_eq!(facts(&report, "keepalive"), ["60,5,4"]);
        let environment = facts(&report, "env");
        for variable in ["PROTO=TCP", "TCPLOCALIP=127.0.0.1", "TCPREMOTEIP=127.0.0.1"] {
            assert!(environment.contains(&variable), "{variable}");
        }
    }
    let stderr = skd.stop().stderr;
    let label = format!("tcp:127.0.0.1:{port}");
    let accept = format!("skd: info: accept {label} 127.0.0.1:");
    assert!(
        stderr.starts_with(&format!("skd: info: listen {label}\n")),
        "{stderr}"
    );
    assert_eq!(stderr.matches(&accept).count(), 2, "{stderr}");
}

#[test]
fn mptcp_listeners_can_be_adopted() {
    if !need::mptcp() {
        return;
    }
    let listener = mptcp_socket().unwrap();
    bind(listener.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    listen(&listener, Backlog::new(16).unwrap()).unwrap();
    let address: SockaddrIn = getsockname(listener.as_raw_fd()).unwrap();
    let copy = listener.try_clone().unwrap();
    let early = net::mptcp(address.port());
    let words = format!(
        "-vn --keepalive=60,5,4 --mptcp -t 127.0.0.1:{}",
        address.port()
    );
    let skd = reporting(&words).listen_fds(vec![listener]).start();
    assert_eq!(set_on(&copy), "mptcp");
    for client in [early, net::mptcp(address.port())] {
        let report = client.hears_all();
        assert_eq!(
            facts(&report, "protocol"),
            [libc::IPPROTO_MPTCP.to_string()]
        );
        assert_eq!(facts(&report, "nodelay"), ["1"]);
        assert_eq!(facts(&report, "keepalive"), ["60,5,4"]);
    }
    skd.stop();
}

#[test]
fn mptcp_that_is_switched_off_is_fatal() {
    if !need::mptcp() || !need::own_network() {
        return;
    }
    let folder = Folder::new();
    let network = network_with(&folder, "mptcp/enabled", "0");
    for check in ["", "--check"] {
        let skd = Skd::new(&format!("{check} --mptcp -4 -t 5 cat")).under(&network);
        let line = "fatal: unable to bind tcp:0.0.0.0:5 with --mptcp: Protocol not available";
        fails(skd, 111, line);
    }
}
