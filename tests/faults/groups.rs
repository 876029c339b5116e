//! Control groups that allow no more processes, or no more memory.

use super::{hears, is_served};
use crate::kit::group::Group;
use crate::kit::skd::Skd;
use crate::kit::{eventually, need};
use std::net::TcpStream;

#[test]
fn a_group_that_may_have_no_more_processes_costs_connections_and_then_no_more() {
    const CLIENTS: usize = 5;
    if !need::root() || !need::group("pids") {
        return;
    }
    let group = Group::new("pids");
    let skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").under(&group.enter());
    let mut skd = skd.start();
    let port = skd.port();
    assert!(is_served(port));
    skd.is_alone();
    let before = skd.descriptors();
    group.set("pids.max", "1");
    for count in 1..=CLIENTS {
        assert_eq!(hears(port), "");
        let warning = skd.waits_for_nth("warning", count);
        let text = "unable to start \"cat\": Resource temporarily unavailable, closing the connection of tcp:";
        assert!(warning.contains(text), "{warning}");
    }
    // One at a time: the others are closed, and nothing is left of them.
    group.set("pids.max", "2");
    eventually("one that is served", || is_served(port).then_some(()));
    group.set("pids.max", "max");
    let clients: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    eventually("children", || (skd.children().len() == 20).then_some(()));
    drop(clients);
    skd.is_alone();
    skd.comes_to_have(before);
    skd.stop();
}

/// The kernel ends the program that takes too much, and nobody else.
#[test]
fn a_program_that_takes_all_the_memory_of_the_group_is_ended_alone() {
    if !need::root() || !need::group("memory") {
        return;
    }
    let group = Group::new("memory");
    let script = "read -r word; case $word in eat) exec tail -n 1 /dev/zero;; *) echo $word;; esac";
    let skd = Skd::new("-1 -v -t 127.0.0.1:0 sh -c").word(script);
    let mut skd = skd.under(&group.enter()).start();
    let port = skd.port();
    assert!(is_served(port));
    group.limit_memory(48 << 20);
    for count in 1..=3 {
        let mut eater = crate::kit::net::Client::tcp(port);
        eater.says("eat\n");
        assert!(is_served(port));
        skd.waits_for_nth(" signal KILL ", count);
        assert_eq!(eater.hears_rest(), "");
        assert!(is_served(port));
    }
    skd.is_alone();
    assert!(skd.status().ends_with(" failed 0"));
    assert!(!skd.stop().stderr.contains("warning"));
}
