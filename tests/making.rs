//! Internet sockets made by address: what is in use, which families, which ports, what is printed.

mod hosts;

use crate::kit::net::{Client, hear_udp, udp};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, fails, need, own_etc, probe};
use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// Where skd said that it listens, in its order, once all of it is known: with `-v` these lines come before the ports.
fn listens(skd: &mut Running, count: usize) -> Vec<String> {
    skd.waits_for_nth("info: listen ", count);
    let lines = skd
        .seen
        .iter()
        .filter_map(|line| line.split_once("info: listen "));
    lines.map(|(_, label)| label.to_owned()).collect()
}

fn v6(port: u16) -> Client {
    Client::tcp_to(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))
}

#[test]
fn a_tcp_address_in_use_is_fatal() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let line = format!("fatal: unable to bind tcp:{address}: Address already in use");
    fails(Skd::new(&format!("-t {address} cat")), 111, &line);
    // The first of these could be bound, but no port is printed unless all of them are.
    fails(
        Skd::new(&format!("-1 -t 127.0.0.1:0 -t {address} cat")),
        111,
        &line,
    );
}

#[test]
fn every_address_is_in_use_where_another_skd_has_it() {
    if !need::ipv6() {
        return;
    }
    let mut first = Skd::new("-t 0 cat").spawn();
    let port = first.port();
    for (words, label) in [
        (format!("-t {port} cat"), format!("tcp:[::]:{port}")),
        (format!("-4 -t *:{port} cat"), format!("tcp:0.0.0.0:{port}")),
        (format!("-6 -t {port} cat"), format!("tcp:[::]:{port}")),
    ] {
        let line = format!("fatal: unable to bind {label}: Address already in use");
        fails(Skd::new(&words), 111, &line);
    }
    first.stop();
}

/// With SO_REUSEADDR the second would take over the port of the first.
#[test]
fn a_second_skd_on_a_udp_port_fails() {
    let first = Skd::new("-u 127.0.0.1:0").word(probe());
    let mut first = first.word("echo-datagram").spawn();
    let port = first.port();
    let line = format!("fatal: unable to bind udp:127.0.0.1:{port}: Address already in use");
    fails(Skd::new(&format!("-u 127.0.0.1:{port} cat")), 111, &line);
    let client = udp(port);
    client.send(b"still here").unwrap();
    assert_eq!(hear_udp(&client), "still here");
    first.stop();
}

#[test]
fn an_address_that_is_not_ours_is_fatal() {
    let line = "fatal: unable to bind tcp:192.0.2.1:4711: Cannot assign requested address";
    fails(Skd::new("-t 192.0.2.1:4711 cat"), 111, line);
    let line = "fatal: unable to find the interface \"none\": No such device";
    fails(Skd::new("-t [fe80::1%none]:0 cat"), 111, line);
}

#[test]
fn an_unknown_service_is_wrong_usage() {
    for (words, option, proto) in [
        ("-t 127.0.0.1:nosuch cat", "--tcp", "tcp"),
        ("-u nosuch cat", "--udp", "udp"),
        ("-d -i *:nosuch cat", "--inet", "udp"),
    ] {
        let expected = "[HOST:]PORT expected, PORT being 0 to 65535 or a service name";
        let text = format!("{option}: there is no {proto} service \"nosuch\"; {expected}");
        fails(
            Skd::new(words),
            100,
            &format!("usage: {text}; try \"skd --help\""),
        );
    }
}

#[test]
fn a_port_alone_and_a_star_are_every_address_of_both_families() {
    if !need::ipv6() {
        return;
    }
    for words in ["-vt 0", "-vt *:0", "-vi 0", "-v --tcp=*:0"] {
        let mut skd = Skd::new(words).word("cat").start();
        let port = skd.port();
        assert_eq!(listens(&mut skd, 1), [format!("tcp:[::]:{port}")]);
        Client::tcp(port).says("four").hears("four");
        v6(port).says("six").hears("six");
        skd.stop();
    }
    let mut skd = Skd::new("-vu 0")
        .word(probe())
        .word("echo-datagram")
        .start();
    let port = skd.port();
    assert_eq!(listens(&mut skd, 1), [format!("udp:[::]:{port}")]);
    let four = udp(port);
    four.send(b"four").unwrap();
    assert_eq!(hear_udp(&four), "four");
    let six = UdpSocket::bind("[::1]:0").unwrap();
    six.set_read_timeout(Some(crate::kit::DEADLINE)).unwrap();
    six.send_to(b"six", (Ipv6Addr::LOCALHOST, port)).unwrap();
    assert_eq!(hear_udp(&six), "six");
    skd.stop();
}

/// Beside one that is IPv6 only there is room for an IPv4 socket on the same port.
#[test]
fn addresses_in_brackets_and_ipv6_are_ipv6_only() {
    if !need::ipv6() {
        return;
    }
    for (style, call) in [("-t", "tcp"), ("-u", "udp")] {
        let mut four = Skd::new(&format!("{style} 127.0.0.1:0 cat")).spawn();
        let port = four.port();
        for words in [
            format!("-v {style} [::]:{port} cat"),
            format!("-v6 {style} {port} cat"),
            format!("-v6 {style} *:{port} cat"),
            format!("-v6 {style} [::]:{port} cat"),
        ] {
            let mut six = Skd::new(&words).start();
            assert_eq!(listens(&mut six, 1), [format!("{call}:[::]:{port}")]);
            six.stop();
        }
        let line = format!("fatal: unable to bind {call}:[::]:{port}: Address already in use");
        fails(Skd::new(&format!("{style} {port} cat")), 111, &line);
        four.stop();
    }
    let mut skd = Skd::new("-6 -t 0 cat").spawn();
    v6(skd.port()).says("six").hears("six");
    skd.stop();
}

#[test]
fn ipv4_is_every_ipv4_address() {
    for words in [
        "-v4t 0 cat",
        "-v -4 -t *:0 cat",
        "-v --ipv4 -t 0.0.0.0:0 cat",
    ] {
        let mut skd = Skd::new(words).start();
        let port = skd.port();
        assert_eq!(listens(&mut skd, 1), [format!("tcp:0.0.0.0:{port}")]);
        Client::tcp(port).says("four").hears("four");
        skd.stop();
    }
}

#[test]
fn each_address_has_its_own_socket() {
    if !need::ipv6() {
        return;
    }
    for (words, before) in [
        ("-t 127.0.0.1:0", "tcp:127.0.0.1:"),
        ("--tcp [::1]:0", "tcp:[::1]:"),
        ("-u 127.0.0.1:0", "udp:127.0.0.1:"),
        ("--udp=[::1]:0", "udp:[::1]:"),
        ("-i 127.0.0.1:0", "tcp:127.0.0.1:"),
        ("-s --inet 127.0.0.1:0", "tcp:127.0.0.1:"),
        ("-d -i 127.0.0.1:0", "udp:127.0.0.1:"),
        ("-i [::1]:0 --datagram", "udp:[::1]:"),
        ("-4 -i 127.0.0.1:0", "tcp:127.0.0.1:"),
        ("-6 -i [::1]:0", "tcp:[::1]:"),
    ] {
        let mut skd = Skd::new(&format!("-v {words} cat")).start();
        let port = skd.port();
        assert_eq!(listens(&mut skd, 1), [format!("{before}{port}")], "{words}");
        skd.stop();
    }
}

#[test]
fn an_address_may_have_a_scope() {
    if !need::ipv6() {
        return;
    }
    for scope in ["lo", "1"] {
        let mut skd = Skd::new(&format!("-t [::1%{scope}]:0 cat")).spawn();
        v6(skd.port()).says("six").hears("six");
        skd.stop();
    }
}

#[test]
fn a_service_name_is_a_port_of_its_protocol() {
    if !need::root() || !need::mounts() {
        return;
    }
    let folder = Folder::new();
    // Two runs of these tests at once do not meet.
    let tcp = u16::try_from(10_000 + std::process::id() % 10_000).unwrap();
    let udp = tcp + 10_000;
    let services = format!("skdtest {tcp}/tcp skdalias\nskdtest {udp}/udp\n");
    let files = [
        ("services", services.as_str()),
        ("nsswitch.conf", "services: files\nhosts: files\n"),
    ];
    let wrapper = own_etc(&folder, &files);
    let words = "-1 -v -t 127.72.0.1:skdtest -t 127.72.0.2:skdalias -u 127.72.0.1:skdtest cat";
    let mut skd = Skd::new(words).under(&wrapper).start();
    assert_eq!([skd.port(), skd.port(), skd.port()], [tcp, tcp, udp]);
    assert_eq!(
        listens(&mut skd, 3),
        [
            format!("tcp:127.72.0.1:{tcp}"),
            format!("tcp:127.72.0.2:{tcp}"),
            format!("udp:127.72.0.1:{udp}")
        ]
    );
    skd.stop();
}

/// A port that nobody has on an address of its own. No descriptor of ours was ever bound to it: a process that another
/// test is just starting would have a copy.
fn unused(ip: &str) -> SocketAddr {
    let mut skd = Skd::new(&format!("-t {ip}:0 cat")).spawn();
    let port = skd.port();
    skd.stop();
    SocketAddr::new(ip.parse().unwrap(), port)
}

#[test]
fn only_ports_of_the_kernels_choice_are_printed() {
    let fixed = unused("127.73.0.1");
    let folder = Folder::new();
    let path = folder.path("socket");
    let words = format!("-v -t {fixed} -l {path} -u 127.0.0.1:0 cat");
    let mut skd = Skd::new(&words).start();
    let port = skd.port();
    let expected = [
        format!("tcp:{fixed}"),
        format!("unix:{path}"),
        format!("udp:127.0.0.1:{port}"),
    ];
    assert_eq!(listens(&mut skd, 3), expected);
    assert_eq!(skd.stop_and_read_stdout(), "");
}

#[test]
fn ports_are_printed_in_the_order_of_the_command_line() {
    let fixed = unused("127.74.0.1");
    let folder = Folder::new();
    let path = folder.path("socket");
    let words = format!(
        "-v -u 127.0.0.1:0 -t {fixed} -l {path} -i 127.0.0.1:0 --print-port -t 127.0.0.2:0 cat"
    );
    let mut skd = Skd::new(&words).start();
    let (udp, tcp, inet, last) = (skd.port(), skd.port(), skd.port(), skd.port());
    assert_eq!(tcp, fixed.port());
    assert_eq!(
        listens(&mut skd, 5),
        [
            format!("udp:127.0.0.1:{udp}"),
            format!("tcp:{fixed}"),
            format!("unix:{path}"),
            format!("tcp:127.0.0.1:{inet}"),
            format!("tcp:127.0.0.2:{last}"),
        ]
    );
    assert_eq!(skd.stop_and_read_stdout(), "");
}

#[test]
fn one_process_serves_many_sockets_of_every_kind() {
    let folder = Folder::new();
    let (path, other) = (folder.path("stream"), folder.path("other"));
    let many = "-t 127.0.0.1:0 ".repeat(60);
    let words = format!("{many} -u 127.0.0.1:0 -l {path} -x {other}");
    let body = "if test \"$PROTO\" = UDP; then exec \"$1\" echo-datagram; fi; exec cat";
    let mut skd = Skd::new(&words)
        .word(folder.script("serve", body))
        .word(probe())
        .spawn();
    let ports: Vec<u16> = (0..61).map(|_| skd.port()).collect();
    let different: BTreeSet<_> = ports[..60].iter().collect();
    assert_eq!(different.len(), 60);
    let mut clients: Vec<Client> = ports[..60].iter().map(|port| Client::tcp(*port)).collect();
    clients.extend([Client::unix(&path), Client::unix(&other)]);
    for client in &mut clients {
        client.says("hello").hears("hello");
    }
    let datagrams = udp(ports[60]);
    datagrams.send(b"hello").unwrap();
    assert_eq!(hear_udp(&datagrams), "hello");
    assert!(skd.status().contains("accepted 63 "), "{}", skd.status());
    skd.stop();
}

/// A connection that the server closed first stays in TIME_WAIT, and only SO_REUSEADDR can bind beside it.
#[test]
fn a_tcp_port_can_be_bound_again_at_once() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};
    let address = unused("127.75.0.1");
    let serve = || {
        let mut skd = Skd::new(&format!("-1 -t {address} echo bye")).spawn();
        assert_eq!(skd.port(), address.port());
        assert_eq!(Client::tcp_to(address).hears_rest(), "bye\n");
        skd.is_alone();
        skd.stop();
    };
    serve();
    let plain = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    let bound = bind(
        std::os::fd::AsRawFd::as_raw_fd(&plain),
        &SockaddrStorage::from(address),
    );
    assert_eq!(bound, Err(nix::errno::Errno::EADDRINUSE));
    serve();
}

#[test]
fn nodelay_is_set_on_the_first_connection_too() {
    for (words, line) in [
        ("-t 127.0.0.1:0", "nodelay 0"),
        ("-nt 127.0.0.1:0", "nodelay 1"),
        ("--nodelay -t 127.0.0.1:0", "nodelay 1"),
    ] {
        let mut skd = Skd::new(words).word(probe()).word("report").spawn();
        let port = skd.port();
        for _ in 0..2 {
            let report = Client::tcp(port).hears_all();
            assert!(
                report.lines().any(|other| other == line),
                "{words}: {report}"
            );
        }
        skd.stop();
    }
}
