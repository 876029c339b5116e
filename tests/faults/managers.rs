//! Calls that fail on the way to a service manager or to syslog.

use super::is_served;
use crate::kit::net::Client;
use crate::kit::skd::Skd;
use crate::kit::strace::{Fault, Faults};
use crate::kit::syslog::{Dev, hear};
use crate::kit::{DEADLINE, Folder, need};
use nix::sys::signal::Signal;
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;

#[test]
fn a_service_manager_that_cannot_be_told_never_stops_service_and_hears_what_comes_later() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").env("NOTIFY_SOCKET", &path);
    let mut skd = skd.start();
    let port = skd.port();
    assert!(hear(&manager).starts_with("READY=1"));
    let before = skd.descriptors();
    // What it must not miss is told again where it merely does not keep up.
    for (fault, is_late) in [
        ("sendmsg:error=EAGAIN:when=1..3", true),
        ("sendmsg:error=EINTR:when=1..3", true),
        ("sendmsg:error=ECONNREFUSED:when=1", true),
        ("sendmsg:error=ECONNREFUSED:when=1..2", false),
        ("sendmsg:error=ENOBUFS:when=1..2", false),
        ("sendmsg:error=EPIPE:when=1..2", false),
        ("sendmsg:error=ENOTCONN:when=1", true),
        ("sendmsg:error=EMSGSIZE:when=1..2", false),
    ] {
        let faults = Faults::of(&folder, skd.pid(), Fault(fault));
        skd.signal(Signal::SIGHUP);
        assert!(is_served(port), "{fault}");
        let mut heard = vec![hear(&manager)];
        while !heard.last().unwrap().starts_with("READY=1") {
            heard.push(hear(&manager));
        }
        let is_told = heard.iter().any(|it| it.starts_with("RELOADING=1"));
        assert_eq!(is_told, is_late, "{fault}: {heard:?}");
        faults.end();
        skd.is_alone();
        skd.comes_to_have(before);
    }
    assert!(!skd.stop().stderr.contains("warning"));
}

/// The service says every line of its client on stderr, and acknowledges each.
const REPEATER: &str = r#"while read -r line; do echo "$line" >&2; echo; done"#;

#[test]
fn the_logger_loses_no_line_whatever_a_call_says() {
    if !need::root() || !need::program("strace") {
        return;
    }
    let (dev, folder) = (Dev::new(), Folder::new());
    let mut socket = dev.datagrams();
    let skd = Skd::new("-1 -t 127.0.0.1:0 -L x sh -c").word(REPEATER);
    let mut skd = skd.under(&dev.enter()).spawn();
    let mut client = Client::tcp(skd.port());
    client.says("first\n").hears("\n");
    assert!(hear(&socket).ends_with(": first"));
    let logger = dev.logger();
    let open = || {
        std::fs::read_dir(format!("/proc/{logger}/fd"))
            .unwrap()
            .count()
    };
    let before = open();
    for fault in [
        "sendto:error=EAGAIN:when=1..3",
        "sendto:error=EINTR:when=1",
        "sendto:error=ENOBUFS:when=1..2",
        "sendto:error=ECONNREFUSED:when=1..2",
        "sendto:error=ENOTCONN:when=1",
        "sendto:error=EPIPE:when=1",
        "sendto:error=ENOMEM:when=1",
        "getsockopt:error=ENOMEM:when=1",
        "poll:error=EINTR:when=1",
        "poll:error=ENOMEM:when=1",
        "read:error=EINTR:when=1",
        "read:error=EAGAIN:when=1",
    ] {
        let faults = Faults::of(&folder, logger, Fault(fault));
        for number in 0..3 {
            client.says(&format!("{fault} {number}\n")).hears("\n");
            let heard = hear(&socket);
            assert!(heard.ends_with(&format!(": {fault} {number}")), "{heard}");
        }
        faults.end();
        assert_eq!((dev.logger(), open()), (logger, before), "{fault}");
    }
    // syslog has gone and come again, and cannot be connected to at once.
    for fault in [
        "socket:error=EMFILE:when=1..2",
        "connect:error=ECONNREFUSED:when=1..2",
        "connect:error=EAGAIN:when=1",
        "fchdir:error=EACCES:when=1",
    ] {
        let faults = Faults::of(&folder, logger, Fault(fault));
        // A process that another test is just starting may have a copy of it.
        socket.shutdown(Shutdown::Both).unwrap();
        socket = dev.datagrams_again();
        client.says(&format!("{fault}\n")).hears("\n");
        let heard = hear(&socket);
        assert!(heard.ends_with(&format!(": {fault}")), "{heard}");
        faults.end();
        assert_eq!((dev.logger(), open()), (logger, before), "{fault}");
    }
    drop(client);
    skd.stop();
    dev.has_no_logger();
}
