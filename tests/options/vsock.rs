//! Vsock listeners made by address. Nothing connects to them: that takes a second machine.

use super::refusing;
use crate::kit::net::raw_socket;
use crate::kit::skd::{Running, Skd};
use crate::kit::sockets::{self, borrowed};
use crate::kit::{fails, listens, need};
use nix::sys::socket::{
    AddressFamily, Backlog, SockType, VsockAddr, bind, getsockname, getsockopt, listen, sockopt,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// The CID that is every CID of the machine.
const EVERY: u32 = u32::MAX;

/// A vsock port that nobody else uses. It is never bound to find out: a process that another test is just starting
/// would have a copy.
pub(super) fn vsock_port() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    0x4000_0000 + std::process::id() * 16 + COUNT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn vsock_listener(cid: u32, port: u32) -> OwnedFd {
    let listener = raw_socket(AddressFamily::Vsock, SockType::Stream);
    bind(listener.as_raw_fd(), &VsockAddr::new(cid, port)).unwrap();
    listen(&listener, Backlog::new(16).unwrap()).unwrap();
    listener
}

/// CID and port of a socket that listens.
fn listens_at(socket: &OwnedFd) -> (u32, u32) {
    assert_eq!(getsockopt(socket, sockopt::AcceptConn), Ok(true));
    assert_eq!(getsockopt(socket, sockopt::SockType), Ok(SockType::Stream));
    let address: VsockAddr = getsockname(socket.as_raw_fd()).unwrap();
    (address.cid(), address.port())
}

#[test]
fn vsock_listens_on_every_cid_or_on_one() {
    if !need::vsock() {
        return;
    }
    let mut cids = vec![("".to_owned(), EVERY), ("*:".into(), EVERY)];
    cids.extend(sockets::own_cid().map(|cid| (format!("{cid}:"), cid)));
    for (word, cid) in cids {
        let port = vsock_port();
        let skd = Skd::new(&format!("-v --vsock {word}{port} cat")).start();
        assert_eq!(listens_at(&sockets::the_one(&skd)), (cid, port));
        let shown = if cid == EVERY {
            "*".into()
        } else {
            cid.to_string()
        };
        let line = format!("skd: info: listen vsock:{shown}:{port}\n");
        assert_eq!(skd.stop().stderr, line);
    }
}

#[test]
fn vsock_goes_with_every_other_socket_and_prints_no_port() {
    if !need::vsock() {
        return;
    }
    let (first, second) = (vsock_port(), vsock_port());
    let words = format!("-v1 --vsock {first} -t 127.0.0.1:0 --vsock={second} -u 127.0.0.1:0 cat");
    let mut skd = Skd::new(&words).start();
    let (tcp, udp) = (skd.port(), skd.port());
    skd.waits_for_nth("listen ", 4);
    let families = borrowed(&skd)
        .into_iter()
        .filter(|socket| getsockname::<VsockAddr>(socket.as_raw_fd()).is_ok());
    let ports: Vec<_> = families.map(|socket| listens_at(&socket)).collect();
    assert_eq!(ports, [(EVERY, first), (EVERY, second)]);
    let expected = [
        format!("vsock:*:{first}"),
        format!("tcp:127.0.0.1:{tcp}"),
        format!("vsock:*:{second}"),
        format!("udp:127.0.0.1:{udp}"),
    ];
    assert_eq!(listens(&skd.seen.join("\n")), expected);
    assert_eq!(skd.stop_and_read_stdout(), "");
}

#[test]
fn a_vsock_address_that_cannot_be_had_is_fatal() {
    if !need::vsock() {
        return;
    }
    let port = vsock_port();
    let skd = Skd::new(&format!("-v --vsock {port} cat")).start();
    let line = format!("fatal: unable to bind vsock:*:{port}: Address already in use");
    fails(Skd::new(&format!("--vsock {port} cat")), 111, &line);
    skd.stop();
    // No machine has this CID.
    let line = "fatal: unable to bind vsock:4294967294:5: Cannot assign requested address";
    fails(Skd::new("--vsock 4294967294:5 cat"), 111, line);
    if need::program("strace") {
        let line = "fatal: unable to bind vsock:*:5: Address family not supported by protocol";
        for words in ["--vsock 5 cat", "--check --vsock 5 cat"] {
            let skd = Skd::new(words).under(&refusing("socket", "EAFNOSUPPORT"));
            fails(skd, 111, line);
        }
    }
}

#[test]
fn an_inherited_vsock_listener_satisfies_its_name() {
    if !need::vsock() {
        return;
    }
    let mut cids = vec![EVERY];
    cids.extend(sockets::own_cid());
    for cid in cids {
        let port = vsock_port();
        let named = if cid == EVERY {
            port.to_string()
        } else {
            format!("{cid}:{port}")
        };
        let label = format!(
            "vsock:{}:{port}",
            if cid == EVERY {
                "*".into()
            } else {
                cid.to_string()
            }
        );
        let skd = Skd::new(&format!("-v --vsock {named} cat"));
        let skd = skd.listen_fds(vec![vsock_listener(cid, port)]).start();
        assert_eq!(listens_at(&sockets::the_one(&skd)), (cid, port));
        assert_eq!(listens(&skd.stop().stderr), [label]);
    }
    // Another port is another address.
    let (one, other) = (vsock_port(), vsock_port());
    let skd = Skd::new(&format!("-v --vsock {other} cat"));
    let mut skd: Running = skd.listen_fds(vec![vsock_listener(EVERY, one)]).start();
    skd.waits_for_nth("listen ", 2);
    let ports: Vec<_> = borrowed(&skd).iter().map(listens_at).collect();
    assert_eq!(ports, [(EVERY, one), (EVERY, other)]);
    skd.stop();
}
