//! What stands behind `wait` and `nowait`.

use super::Conf;
use crate::kit::net::{Client, tcp_from};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

/// What the one from 127.0.0.N hears until the end.
fn heard(conf: &Conf, last: u8) -> String {
    let from = IpAddr::from([127, 0, 0, last]);
    let mut heard = String::new();
    // One that is closed at once may be reset.
    let _ = tcp_from(from, conf.address()).read_to_string(&mut heard);
    heard
}

#[test]
fn after_as_many_starts_as_a_minute_may_have_the_next_wait() {
    let conf = Conf::of("IP:7007 stream tcp nowait.2 root /bin/echo\n");
    let mut skd = conf.start();
    assert_eq!(conf.client().hears_all(), "\n");
    assert_eq!(conf.client().hears_all(), "\n");
    let line = skd.waits_for("resting");
    let expected = format!(
        "skd: warning: tcp:{} was started as often as it may be in a minute, resting until that is over",
        conf.address()
    );
    assert_eq!(line, expected);
    skd.waits_for_nth("info: end ", 2);
    let _waits = conf.client();
    // Told only after everything that was ready has been served.
    assert_eq!(skd.status(), "0 accepted 2 denied 0 failed 0");
    // Other limits are for those who wait.
    conf.put("IP:7007 stream tcp nowait.3 root /bin/echo\n");
    skd.signal(nix::sys::signal::Signal::SIGHUP);
    skd.waits_for_nth("info: end ", 3);
    skd.stop();
}

#[test]
fn as_many_programs_run_as_may_at_once_and_the_next_wait() {
    let conf = Conf::of("IP:7007 stream tcp nowait/2 root PROBE probe hold\n");
    let mut skd = conf.start();
    let mut clients: Vec<Client> = (0..2).map(|_| conf.client()).collect();
    for client in &mut clients {
        assert!(client.hears_line().starts_with("ready "));
    }
    let mut third = conf.client();
    assert_eq!(skd.status(), "2 accepted 2 denied 0 failed 0");
    assert_eq!(clients.remove(0).hears_all(), "bye\n");
    assert!(third.hears_line().starts_with("ready "));
    skd.stop();
}

#[test]
fn one_source_is_closed_beyond_its_limits() {
    let conf = Conf::of("IP:7007 stream tcp nowait/0/2 root /bin/echo\n");
    let mut skd = conf.start();
    let heard_by = |last| heard(&conf, last);
    assert_eq!([1, 1, 1, 2].map(heard_by), ["\n", "\n", "", "\n"]);
    let line = skd.waits_for("info: deny ");
    assert!(line.ends_with(" 2 a minute of one source"), "{line}");
    skd.stop();
    let conf = Conf::of("IP:7007 stream tcp nowait/0/0/1 root PROBE probe hold\n");
    let mut skd = conf.start();
    let mut first = conf.client();
    first.hears_line();
    assert_eq!(heard(&conf, 1), "");
    let line = skd.waits_for("info: deny ");
    assert!(line.ends_with(" 1 at once of one source"), "{line}");
    skd.stop();
}

/// Else all of them would be let in at once when their headers are whole.
#[test]
fn those_whose_header_is_awaited_count() {
    let conf = Conf::of("IP:7007 stream tcp nowait/1 root PROBE probe hold\n");
    let mut skd = conf.skd("-v --proxy-from 127.0.0.0/8").start();
    let header = "PROXY TCP4 192.0.2.7 192.0.2.8 7 8\r\n";
    let mut clients = [conf.client(), conf.client()];
    // Both have had the time to be taken.
    skd.status();
    for client in &mut clients {
        client.says(header);
    }
    let [mut first, mut second] = clients;
    assert!(first.hears_line().starts_with("ready "));
    assert_eq!(skd.status(), "1 accepted 1 denied 0 failed 0");
    assert_eq!(first.hears_all(), "bye\n");
    assert!(second.hears_line().starts_with("ready "));
    skd.stop();
}

#[test]
fn max_connections_neither_counts_nor_keeps_out_clients_of_internal_services() {
    for options in ["-v -c 1", "-v -c 1 -r full"] {
        let conf = Conf::of(
            "IP:7007 stream tcp nowait root PROBE probe hold\n\
             IP:7008 stream tcp nowait root internal echo\n",
        );
        let mut skd = conf.skd(options).start();
        let internal = SocketAddr::from((conf.ip, 7008));
        let mut before = Client::tcp_to(internal);
        before.says("one\n").hears("one\n");
        let mut held = conf.client();
        assert!(held.hears_line().starts_with("ready "));
        let mut after = Client::tcp_to(internal);
        after.says("two\n").hears("two\n");
        let mut next = conf.client();
        if options.ends_with("full") {
            assert_eq!(next.hears_rest(), "full");
        }
        let status = skd.status();
        assert!(status.starts_with("1/1 accepted 3 "), "{status}");
        assert_eq!(held.hears_all(), "bye\n");
        if !options.ends_with("full") {
            assert!(next.hears_line().starts_with("ready "));
        }
        before.says("three\n").hears("three\n");
        skd.stop();
    }
}

#[test]
fn max_connections_does_not_count_an_internal_client_whose_header_is_awaited() {
    let conf = Conf::of(
        "IP:7007 stream tcp nowait root PROBE probe hold\n\
         IP:7008 stream tcp nowait root internal echo\n",
    );
    let mut skd = conf.skd("-v -c 1 --proxy-from 127.0.0.0/8").start();
    let header = "PROXY TCP4 192.0.2.7 192.0.2.8 7 8\r\n";
    let mut internal = Client::tcp_to(SocketAddr::from((conf.ip, 7008)));
    // It has had the time to be taken.
    skd.status();
    let mut held = conf.client();
    assert!(held.says(header).hears_line().starts_with("ready "));
    internal.says(header).says("one\n").hears("one\n");
    skd.stop();
}
