//! Connections: taken, counted, limited, ended.

use crate::kit::net::Client;
use crate::kit::probe;
use crate::kit::skd::Skd;

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
