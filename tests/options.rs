//! What the sockets that skd makes are set to, read from the real sockets.

mod mptcp;
mod shared;
mod vsock;

use crate::kit::net::{Client, echoes, tcp_listener};
use crate::kit::skd::Skd;
use crate::kit::sockets::{self, borrowed};
use crate::kit::{Folder, facts, fails, need, reporting};
use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};
use nix::{getsockopt_impl, sockopt_impl};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

sockopt_impl!(
    /// IPV6_FREEBIND.
    V6Freebind,
    GetOnly,
    libc::SOL_IPV6,
    libc::IPV6_FREEBIND,
    libc::c_int
);
sockopt_impl!(
    /// TCP_DEFER_ACCEPT of tcp(7).
    DeferAccept,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    libc::c_int
);
sockopt_impl!(
    /// SO_PROTOCOL of socket(7).
    Protocol,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_PROTOCOL,
    libc::c_int
);

/// What is set on a socket, in the words of the options.
fn set_on(socket: &OwnedFd) -> String {
    let mut words = Vec::new();
    if getsockopt(socket, sockopt::ReusePort) == Ok(true) {
        words.push("reuse-port".to_owned());
    }
    let v6_freebind = getsockopt(socket, V6Freebind) == Ok(1);
    if getsockopt(socket, sockopt::IpFreebind) == Ok(true) || v6_freebind {
        words.push("freebind".into());
    }
    let device = getsockopt(socket, sockopt::BindToDevice).unwrap_or_default();
    if !device.is_empty() {
        words.push(format!("device {}", device.to_string_lossy()));
    }
    let number = |number: nix::Result<u32>| number.map_or(0, |number| number);
    if getsockopt(socket, sockopt::KeepAlive) == Ok(true) {
        let idle = number(getsockopt(socket, sockopt::TcpKeepIdle));
        let interval = number(getsockopt(socket, sockopt::TcpKeepInterval));
        let count = number(getsockopt(socket, sockopt::TcpKeepCount));
        words.push(format!("keepalive {idle},{interval},{count}"));
    }
    match getsockopt(socket, DeferAccept) {
        Ok(secs) if secs > 0 => words.push(format!("defer {secs}")),
        _ => {}
    }
    if getsockopt(socket, Protocol) == Ok(libc::IPPROTO_MPTCP) {
        words.push("mptcp".into());
    }
    words.join(" ")
}

/// What the kernel does by itself: `IDLE,INTERVAL,COUNT`.
fn kernels_keepalive() -> String {
    let numbers = ["time", "intvl", "probes"].map(|name| {
        let path = format!("/proc/sys/net/ipv4/tcp_keepalive_{name}");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    });
    numbers.join(",")
}

/// A command under which the kernel refuses a call, each time.
fn refusing(call: &str, error: &str) -> String {
    format!("strace -qq -o /dev/null -e trace={call} -e inject={call}:error={error}")
}

/// A command that runs skd in a network of its own with something written below /proc/sys/net.
fn network_with(folder: &Folder, name: &str, value: &str) -> String {
    let up = "busybox ip link set lo up";
    let body = format!("{up} && echo '{value}' >/proc/sys/net/{name} || exit 99\nexec \"$@\"");
    format!("unshare -n {}", folder.script("network", &body))
}

#[test]
fn each_option_is_set_on_the_sockets_that_it_is_for() {
    if !need::ipv6() || !need::vsock() || !need::mptcp() {
        return;
    }
    let keepalive = format!("keepalive {}", kernels_keepalive());
    for (option, tcp, udp) in [
        ("", "", ""),
        ("--reuse-port", "reuse-port", "reuse-port"),
        ("--freebind", "freebind", "freebind"),
        ("--bind-to-device lo", "device lo", "device lo"),
        ("--keepalive", keepalive.as_str(), ""),
        ("--keepalive=600,7,3", "keepalive 600,7,3", ""),
        (
            "--keepalive=32767,32767,127",
            "keepalive 32767,32767,127",
            "",
        ),
        ("--defer-accept 5", "defer 7", ""),
        ("--mptcp", "mptcp", ""),
        (
            "--mptcp --defer-accept=1 --keepalive=9,8,7 --bind-to-device=lo --freebind --reuse-port",
            "reuse-port freebind device lo keepalive 9,8,7 defer 1 mptcp",
            "reuse-port freebind device lo",
        ),
    ] {
        let folder = Folder::new();
        let rest = format!(
            "-l {} --vsock {}",
            folder.path("socket"),
            vsock::vsock_port()
        );
        let inet = "-t 127.0.0.1:0 -i [::1]:0 -t 0 -u 127.0.0.1:0 -u 0";
        let mut skd = Skd::new(&format!("-v {option} {inet} {rest} cat")).start();
        skd.waits_for_nth("info: listen ", 7);
        let set: Vec<_> = borrowed(&skd).iter().map(set_on).collect();
        assert_eq!(set, [tcp, tcp, tcp, udp, udp, "", ""], "{option}");
        skd.stop();
    }
}

#[test]
fn an_option_without_a_socket_that_it_is_for_is_a_usage_error() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let unix = format!("-l {path}");
    for (options, kind, others) in [
        (
            "--reuse-port;--freebind;--bind-to-device lo",
            "internet socket to make",
            &[&unix, "--vsock 5", "-0"][..],
        ),
        (
            "--defer-accept 5;--mptcp",
            "TCP listener to make",
            &[
                "-u 127.0.0.1:0",
                "-d -i 127.0.0.1:0",
                &unix,
                "--vsock 5",
                "-0",
            ],
        ),
        (
            "--nodelay;--keepalive;--keepalive=5",
            "TCP socket",
            &["-u 127.0.0.1:0", "-di 127.0.0.1:0", &unix, "--vsock 5"],
        ),
        (
            "--mode 600;--owner 0;--owner nosuch",
            "unix socket file to make",
            &[
                "-t 127.0.0.1:0",
                "-u 127.0.0.1:0",
                "-l @skd-no-file",
                "--vsock 5",
                "-0",
            ],
        ),
    ] {
        for option in options.split(';') {
            let name = option.split([' ', '=']).next().unwrap();
            let line = format!("usage: {name}: there is no {kind}; try \"skd --help\"");
            for other in others {
                for check in ["", "--check"] {
                    let skd = Skd::new(&format!("{check} {option} {other} cat"));
                    fails(skd.descriptor(0, tcp_listener().0), 100, &line);
                }
            }
            if option.ends_with("nosuch") {
                continue;
            }
            // Beside a socket that it is for, others may stand.
            let words = format!("--check {option} -t 127.0.0.1:0 -u 127.0.0.1:0 {unix} cat");
            let outcome = Skd::new(&words).outcome();
            assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{words}");
        }
    }
    // What is adopted counts where it is connections that are meant.
    for option in ["--keepalive", "--nodelay"] {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let skd = || Skd::new(&format!("-0 {option} cat"));
        let line = format!("usage: {option}: there is no TCP socket; try \"skd --help\"");
        fails(skd().descriptor(0, udp), 100, &line);
        let (_client, conn) = UnixStream::pair().unwrap();
        fails(skd().descriptor(0, conn), 100, &line);
        let skd = Skd::new(&format!("--check -0 {option} -l {path} cat"));
        let outcome = skd.descriptor(0, tcp_listener().0).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{option}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let line = "usage: --mptcp: there is no TCP listener to make; try \"skd --help\"";
    fails(Skd::new("-0 --mptcp cat").descriptor(0, client), 100, line);
}

#[test]
fn what_the_kernel_does_not_have_is_fatal() {
    if !need::program("strace") {
        return;
    }
    let words = "-t 127.0.0.1:5 cat";
    for (option, call, error, reason) in [
        (
            "--mptcp",
            "socket",
            "EPROTONOSUPPORT",
            "Protocol not supported",
        ),
        (
            "--reuse-port",
            "setsockopt",
            "ENOPROTOOPT",
            "Protocol not available",
        ),
        (
            "--freebind",
            "setsockopt",
            "ENOPROTOOPT",
            "Protocol not available",
        ),
        (
            "--keepalive",
            "setsockopt",
            "ENOPROTOOPT",
            "Protocol not available",
        ),
        (
            "--keepalive=5",
            "setsockopt",
            "EOPNOTSUPP",
            "Operation not supported",
        ),
        (
            "--defer-accept 5",
            "setsockopt",
            "EOPNOTSUPP",
            "Operation not supported",
        ),
    ] {
        let name = option.split([' ', '=']).next().unwrap();
        let line = format!("fatal: unable to bind tcp:127.0.0.1:5 with {name}: {reason}");
        for check in ["", "--check"] {
            let skd = Skd::new(&format!("{check} {option} {words}"));
            fails(skd.under(&refusing(call, error)), 111, &line);
        }
    }
    let (listener, port) = tcp_listener();
    let skd = Skd::new("-0 --keepalive=5 cat").under(&refusing("setsockopt", "ENOPROTOOPT"));
    let line = format!(
        "fatal: unable to serve tcp:127.0.0.1:{port} with --keepalive: Protocol not available"
    );
    fails(skd.descriptor(0, listener), 111, &line);
}

#[test]
fn an_interface_that_is_not_there_is_fatal() {
    for (words, label) in [
        ("-t 127.0.0.1:5", "tcp:127.0.0.1:5"),
        ("--check -u 127.0.0.1:5", "udp:127.0.0.1:5"),
        ("-4 -t 0", "tcp:0.0.0.0:0"),
    ] {
        let line = format!(
            "fatal: unable to bind {label} with --bind-to-device \"nosuch0\": No such device"
        );
        let skd = Skd::new(&format!("--bind-to-device nosuch0 {words} cat"));
        fails(skd, 111, &line);
    }
}

#[test]
fn freebind_binds_an_address_that_is_not_there() {
    for (words, label) in [
        ("-t 192.0.2.1:0", "tcp:192.0.2.1"),
        ("-u 192.0.2.1:0", "udp:192.0.2.1"),
        ("-t [2001:db8::1]:0", "tcp:[2001:db8::1]"),
        ("-u [2001:db8::1]:0", "udp:[2001:db8::1]"),
        ("--mptcp -t 192.0.2.1:0", "tcp:192.0.2.1"),
    ] {
        let is_there = !words.contains("::") || need::ipv6();
        if !is_there || (words.contains("mptcp") && !need::mptcp()) {
            continue;
        }
        let line = format!("fatal: unable to bind {label}:0: Cannot assign requested address");
        fails(Skd::new(&format!("{words} cat")), 111, &line);
        let mut skd = Skd::new(&format!("-v --freebind {words} cat")).start();
        let port = skd.port();
        assert_eq!(
            skd.stop().stderr,
            format!("skd: info: listen {label}:{port}\n")
        );
    }
}

/// What a program reads from its connection, `off` or `IDLE,INTERVAL,COUNT`.
fn keepalive_of(client: Client) -> String {
    facts(&client.hears_all(), "keepalive")[0].to_owned()
}

#[test]
fn keepalive_is_set_on_every_connection_from_the_first_on() {
    let kernels = kernels_keepalive();
    let kernels_rest = kernels.split_once(',').unwrap().1;
    for (option, expected) in [
        ("", "off"),
        ("--keepalive", kernels.as_str()),
        ("--keepalive=60", &format!("60,{kernels_rest}")),
        ("--keepalive=60,5,4", "60,5,4"),
    ] {
        let mut skd = reporting(&format!("{option} -t 127.0.0.1:0")).spawn();
        let port = skd.port();
        for _ in 0..2 {
            assert_eq!(keepalive_of(Client::tcp(port)), expected, "{option}");
        }
        skd.stop();
    }
}

/// One client was there before skd: its connection has nothing that the listener was given later.
#[test]
fn connections_of_adopted_listeners_have_keepalive_and_the_listeners_stay_as_they_are() {
    for words in ["-v --no-adopt --adopt fd:3", "-v", "-v -t 127.0.0.1:PORT"] {
        let (listener, port) = tcp_listener();
        let copy = listener.try_clone().unwrap();
        let early = Client::tcp(port);
        let words = words.replace("PORT", &port.to_string());
        let skd = reporting(&format!("--keepalive=60,5,4 {words}"));
        let skd = skd.listen_fds(vec![listener]).start();
        assert_eq!(keepalive_of(early), "60,5,4", "{words}");
        assert_eq!(keepalive_of(Client::tcp(port)), "60,5,4", "{words}");
        assert_eq!(set_on(&copy), "", "{words}");
        skd.stop();
    }
    let folder = Folder::new();
    let path = folder.path("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let skd = reporting("-v --keepalive -t 127.0.0.1:0").listen_fds(vec![unix.into()]);
    let skd = skd.start();
    assert_eq!(keepalive_of(Client::unix(&path)), "off");
    skd.stop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (conn, _) = listener.accept().unwrap();
    let skd = reporting("-0 --keepalive=60,5,4")
        .descriptor(0, conn)
        .spawn();
    assert_eq!(keepalive_of(Client::of_tcp(client)), "60,5,4");
    skd.ends();
}

#[test]
fn inherited_sockets_are_used_as_they_are() {
    let (listener, port) = tcp_listener();
    let options = "--reuse-port --freebind --bind-to-device lo --defer-accept 5 --mptcp";
    let options = if need::mptcp() {
        options
    } else {
        "--reuse-port --freebind"
    };
    let skd = Skd::new(&format!("-v {options} -t 127.0.0.1:{port} cat"));
    let skd = skd.listen_fds(vec![listener]).start();
    assert_eq!(set_on(&sockets::the_one(&skd)), "");
    echoes(port);
    skd.stop();
}

/// Such a service may have been forbidden to make any.
#[test]
fn where_all_sockets_are_inherited_none_is_made() {
    if !need::program("strace") {
        return;
    }
    let mut sockets = Vec::new();
    let mut inherit = |listener: TcpListener, words: &str| {
        let port = listener.local_addr().unwrap().port();
        let words = words.replace("PORT", &port.to_string());
        sockets.push((OwnedFd::from(listener), words));
    };
    let listener = |address| TcpListener::bind(address).unwrap();
    inherit(listener("127.0.0.1:0"), "-t 127.0.0.1:PORT");
    inherit(listener("127.0.0.1:0"), "--keepalive=5");
    if need::ipv6() {
        let options = "--reuse-port --freebind --bind-to-device lo --defer-accept 5 --mptcp";
        inherit(listener("[::]:0"), &format!("{options} -t PORT"));
    }
    if need::vsock() {
        let port = vsock::vsock_port();
        let socket = vsock::vsock_listener(u32::MAX, port);
        sockets.push((socket, format!("--vsock {port}")));
    }
    for (socket, words) in sockets {
        let skd = Skd::new(&format!("--check {words} cat")).listen_fds(vec![socket]);
        let outcome = skd.under(&refusing("socket", "EAFNOSUPPORT")).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{words}");
    }
}

#[test]
fn a_client_that_says_nothing_starts_no_program() {
    let mut skd = Skd::new("-v --defer-accept 3600 -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    let mut silent = Client::tcp(port);
    echoes(port);
    skd.waits_for("info: end ");
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 0");
    silent.says("hello").hears("hello");
    assert_eq!(skd.status(), "1 accepted 2 denied 0 failed 0");
    drop(silent);
    skd.waits_for_nth("info: end ", 2);
    skd.stop();
}
