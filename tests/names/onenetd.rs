//! onenetd(1).

use super::Called;
use crate::kit::net::{Client, tcp_from_loopback};
use crate::kit::skd::{Outcome, Skd};
use crate::kit::{need, probe, told};
use nix::sys::signal::Signal;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};

/// The only line on stderr, and the exit code 20.
fn fails(skd: Skd, text: &str) {
    let Outcome {
        code,
        stdout,
        stderr,
    } = skd.outcome();
    assert_eq!(
        (code, stdout.as_str(), stderr),
        (20, "", format!("onenetd: {text}\n"))
    );
}

#[test]
fn a_program_is_served_on_a_port_that_is_printed() {
    let called = Called::new("onenetd");
    let skd = called
        .with("-v -1 127.0.0.1 0")
        .word(probe())
        .word("report");
    let mut skd = skd
        .envs("LISTEN_FDS=1 LISTEN_PID=1 LISTEN_FDNAMES=x")
        .start();
    let port = skd.port();
    let report = Client::tcp(port).hears_all();
    crate::kit::holds_one_socket(&report);
    let told = told(&report);
    assert!(
        told.starts_with("PROTO=TCP ") && told.contains(" TCPREMOTEIP=127.0.0.1 "),
        "{told}"
    );
    assert!(!told.contains("LISTEN"), "{told}");
    let line = skd.waits_for(" accept ");
    assert!(
        line.starts_with("onenetd: info: accept tcp:127.0.0.1:"),
        "{line}"
    );
    skd.waits_for(" end ");
    // -c is 40.
    assert_eq!(skd.status(), "0/40 accepted 1 denied 0 failed 0");
    skd.stop();
}

#[test]
fn proto_is_tcp6_on_native_ipv6_alone() {
    if !need::ipv6() {
        return;
    }
    let called = Called::new("onenetd");
    let skd = called.with("-v -6 -1 :: 0").word(probe()).word("report");
    let mut skd = skd.start();
    let port = skd.port();
    for (ip, proto) in [("[::1]", "PROTO=TCP6 "), ("127.0.0.1", "PROTO=TCP ")] {
        let address: SocketAddr = format!("{ip}:{port}").parse().unwrap();
        let told = told(&Client::tcp_to(address).hears_all());
        assert!(told.starts_with(proto), "{told}");
    }
    skd.stop();
}

#[test]
fn those_beyond_the_limit_wait_or_hear_a_message() {
    let called = Called::new("onenetd");
    let skd = called.with("-v -1 -c 1 127.0.0.1 0 cat");
    let mut skd = skd.start();
    let port = skd.port();
    let mut first = Client::tcp(port);
    first.says("a\n").hears("a\n");
    let mut second = Client::tcp(port);
    second.says("b\n");
    assert_eq!(skd.status(), "1/1 accepted 1 denied 0 failed 0");
    assert_eq!(first.hears_all(), "");
    second.hears("b\n");
    skd.stop();
    let skd = called.with("-v -1 -c 1 -r 421\\tfull\\r\\n 127.0.0.1 0 cat");
    let mut skd = skd.start();
    let port = skd.port();
    let mut first = Client::tcp(port);
    first.says("a\n").hears("a\n");
    assert_eq!(Client::tcp(port).hears_all(), "421\tfull\r\n");
    skd.stop();
}

#[test]
fn stderr_is_the_connections_with_e_and_skd_says_nothing_by_itself() {
    let called = Called::new("onenetd");
    for (options, heard) in [("-1e", "out\nerr\n"), ("-1", "out\n")] {
        let skd = called.with(options).word("127.0.0.1").word("0");
        let skd = skd.word("sh").word("-c").word("echo out; echo err >&2");
        let mut skd = skd.spawn();
        let port = skd.port();
        let mut all = String::new();
        tcp_from_loopback(1, port).read_to_string(&mut all).unwrap();
        assert_eq!(all, heard);
        let stderr = skd.stop().stderr;
        assert!(!stderr.contains("onenetd:"), "{stderr}");
    }
}

#[test]
fn every_failure_of_its_own_is_20() {
    let called = Called::new("onenetd");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let hint = "; try \"onenetd -h\"";
    for (words, text) in [
        ("", format!("usage: ADDRESS PORT PROG expected{hint}")),
        (
            "-u nobody 0 0 cat",
            format!("usage: -u: \"nobody\" is no whole number from 0 to 4294967294{hint}"),
        ),
        (
            "-x 0 0 cat",
            format!("usage: there is no option \"-x\"{hint}"),
        ),
        (
            "127.0.0.1 nosuch cat",
            format!(
                "usage: ADDRESS PORT: there is no tcp service \"nosuch\"; PORT is 0 to 65535 or a service name{hint}"
            ),
        ),
        (
            "127.0.0.1 0 /no/such",
            "fatal: unable to run \"/no/such\": No such file or directory".into(),
        ),
        (
            &format!("127.0.0.1 {port} cat"),
            format!("fatal: unable to bind tcp:127.0.0.1:{port}: Address already in use"),
        ),
        (
            "-U 127.0.0.1 0 cat",
            "fatal: UID is not set, as -U needs it".into(),
        ),
    ] {
        fails(called.with(words), &text);
    }
    let help = called.with("-h").outcome();
    assert_eq!(help.code, 0);
    assert!(
        help.stdout.starts_with("onenetd, which is skd,"),
        "{help:?}"
    );
}

#[test]
fn ids_are_given_up_with_all_other_groups() {
    if !need::root() {
        return;
    }
    let called = Called::new("onenetd");
    let table = [
        ("-u 4242 -g 7", "", "uid=4242 gid=7(lp) groups=7(lp)\n"),
        ("-g 7", "", "uid=0(root) gid=7(lp) groups=7(lp)\n"),
        ("-u 4242", "", "uid=4242 gid=0(root) groups=0(root)\n"),
        (
            "-U",
            "UID=4242 GID=7 GIDLIST=1,2 ROOT=/nowhere",
            "uid=4242 gid=7(lp) groups=7(lp)\n",
        ),
    ];
    for (options, variables, expected) in table {
        let skd = called
            .with(&format!("{options} -v -1 127.0.0.1 0 id"))
            .envs(variables);
        let mut skd = skd.start();
        assert_eq!(Client::tcp(skd.port()).hears_all(), expected, "{options}");
        skd.stop();
    }
}

#[test]
fn usr2_replaces_it_under_its_name() {
    let called = Called::new("onenetd");
    let mut skd = called.with("-v -1 127.0.0.1 0 cat").start();
    let port = skd.port();
    let mut held = Client::tcp(port);
    held.says("a\n").hears("a\n");
    let pid = skd.pid();
    skd.signal(Signal::SIGUSR2);
    crate::kit::eventually("the skd in its place", || {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        String::from_utf8_lossy(&variables)
            .contains("SKD_STATE=")
            .then_some(())
    });
    assert_eq!(skd.status(), "1/40 accepted 1 denied 0 failed 0");
    held.says("b\n").hears("b\n");
    crate::kit::net::echoes(port);
    assert_eq!(held.hears_all(), "");
    skd.stop();
}
