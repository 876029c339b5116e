//! The reaper: that it cannot be had, and what fails in it.

use super::is_served;
use crate::kit::skd::{Running, Skd};
use crate::kit::strace::{Fault, Faults};
use crate::kit::{Folder, eventually, need};
use std::net::TcpStream;

/// More than are asked one by one.
const MANY: usize = 80;
/// So many ends of others make a child an old one.
const SURVIVED: usize = 16;

fn connect(skd: &mut Running, port: u16) -> Vec<TcpStream> {
    let already = skd.children().len();
    let clients = (0..MANY).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap());
    let clients = clients.collect();
    eventually("children", || {
        (skd.children().len() >= already + MANY).then_some(())
    });
    clients
}

/// All end, each is counted, and of what the reaper has skd holds two descriptors.
fn all_end(mut skd: Running, clients: Vec<TcpStream>, before: usize, fault: &str) {
    drop(clients);
    skd.is_alone();
    assert!(skd.status().starts_with("0 accepted "), "{fault}");
    let has = (skd.descriptors(), skd.field("Threads"));
    assert_eq!(has, (before + 2, "2".to_owned()), "{fault}");
    let stderr = skd.stop().stderr;
    let lines = |text| stderr.matches(text).count();
    assert_eq!(lines("info: accept "), lines("info: end "), "{fault}");
}

#[test]
fn a_reaper_that_cannot_be_had_is_done_without_and_leaves_nothing() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    for fault in [
        "eventfd2:error=EMFILE:when=1..4",
        "eventfd2:error=ENOMEM:when=2..5",
        "epoll_ctl:error=ENOSPC:when=1..4",
        "clone3:error=EAGAIN:when=1..4",
    ] {
        let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
        let port = skd.port();
        let before = skd.descriptors();
        let clients = connect(&mut skd, port);
        assert_eq!(skd.field("Threads"), "1");
        let faults = Faults::of(&folder, skd.pid(), Fault(fault));
        assert!((0..2 * SURVIVED).all(|_| is_served(port)), "{fault}");
        faults.end();
        all_end(skd, clients, before, fault);
    }
}

/// In its first moments, and when it has children already.
#[test]
fn a_reaper_in_which_something_fails_forgets_no_child() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    for fault in [
        "unshare:error=ENOMEM",
        "close_range:error=ENOMEM",
        "epoll_create1:error=EMFILE",
    ] {
        let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
        let port = skd.port();
        let before = skd.descriptors();
        let clients = connect(&mut skd, port);
        let faults = Faults::of_all(&folder, skd.pid(), Fault(fault));
        assert!((0..2 * SURVIVED).all(|_| is_served(port)), "{fault}");
        faults.end();
        all_end(skd, clients, before, fault);
    }
    for fault in [
        "pidfd_open:error=EMFILE:when=1..9",
        "pidfd_open:error=ENODEV",
        "epoll_ctl:error=ENOSPC:when=2..9",
        "epoll_wait:error=EINTR:when=1..4",
        "read:error=EINTR:when=1..4",
    ] {
        let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
        let port = skd.port();
        let before = skd.descriptors();
        let mut clients = connect(&mut skd, port);
        assert!(is_served(port));
        let reaper = eventually("a reaper", || {
            let all = std::fs::read_dir(format!("/proc/{}/task", skd.pid())).unwrap();
            let names = all.filter_map(|it| it.ok()?.file_name().into_string().ok());
            names
                .filter_map(|name| name.parse().ok())
                .find(|thread| *thread != skd.pid())
        });
        let faults = Faults::of(&folder, reaper, Fault(fault));
        clients.extend(connect(&mut skd, port));
        assert!((0..2 * SURVIVED).all(|_| is_served(port)), "{fault}");
        faults.end();
        all_end(skd, clients, before, fault);
    }
}
