//! Behind the real HAProxy: every kind of header that it sends, its health checks, and two skd of which one is restarted.

use crate::kit::haproxy::HaProxy;
use crate::kit::net::{self, Client, own_network};
use crate::kit::skd::{Running, Skd};
use crate::kit::systemd::readme;
use crate::kit::{Folder, eventually, need};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");

const DEFAULTS: &str = "global
    stats socket ADMIN level admin
    tune.ssl.default-dh-param 2048
defaults
    mode tcp
    timeout connect 30s
    timeout client 30s
    timeout server 30s
    timeout check 30s
";

/// Each address that is no loopback address is a client's or HAProxy's; for skd HAProxy is 127.0.0.1.
const ADDRESSES: [&str; 4] = ["10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"];

const SCRIPT: &str = "echo \"$PROTO $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT ${PROXYREMOTEIP-none} \
    ${SSL_PROTOCOL-none} ${SSL_CIPHER-none} ${SSL_TLS_SNI_SERVERNAME-none} ${SSL_CLIENT_CN-none}\"; exec cat";

/// skd in a network of its own, at 127.0.0.1 port 7300 and on a unix socket.
fn behind(folder: &Folder, options: &str) -> Option<Running> {
    if !need::own_network() || !need::ipv6() || !need::program("haproxy") {
        return None;
    }
    let path = folder.path("sock");
    let words =
        format!("-v --proxy-from 127.0.0.1,unix {options} -t 127.0.0.1:7300 -l {path} sh -c");
    let skd = Skd::new(&words).word(SCRIPT);
    let mut skd = skd.under(&own_network(folder, &ADDRESSES)).start();
    skd.waits_for_nth("listen ", 2);
    Some(skd)
}

/// A client in the network of skd.
fn connect(skd: &Running, from: &str, to: SocketAddr) -> TcpStream {
    let from: IpAddr = from.parse().unwrap();
    net::inside(&skd.pid().to_string(), || net::tcp_from(from, to))
}

/// A part of HAProxy's configuration: where it listens, and what it sends to skd.
fn front(name: &str, bind: &str, server: &str) -> String {
    format!("listen {name}\n    bind {bind}\n    server skd {server}\n")
}

#[test]
fn the_client_is_who_haproxy_says_it_is() {
    let folder = Folder::new();
    let Some(skd) = behind(&folder, "") else {
        return;
    };
    let (tcp, unix) = ("127.0.0.1:7300", format!("unix@{}", folder.path("sock")));
    let servers = [
        format!("{tcp} send-proxy"),
        format!("{tcp} send-proxy-v2"),
        format!("{tcp} send-proxy-v2 proxy-v2-options crc32c,unique-id"),
        format!("{unix} send-proxy"),
        format!("{unix} send-proxy-v2"),
    ];
    let mut configuration = format!("{DEFAULTS}    unique-id-format %{{+X}}o%ci:%cp\n");
    for (number, server) in servers.iter().enumerate() {
        let path = folder.path(&format!("front{number}"));
        for (name, bind) in [
            ("v4", format!("10.77.0.1:720{number}")),
            ("v6", format!("[fd77::1]:720{number}")),
            ("unix", format!("unix@{path}")),
        ] {
            configuration += &front(&format!("{name}-{number}"), &bind, server);
        }
    }
    let _haproxy = HaProxy::start(skd.pid(), &folder, &configuration);
    for (number, server) in servers.iter().enumerate() {
        let proxy = if server.starts_with("unix") {
            "none"
        } else {
            "127.0.0.1"
        };
        for (from, to) in [("10.77.0.2", "10.77.0.1"), ("fd77::2", "fd77::1")] {
            let to = SocketAddr::new(to.parse().unwrap(), format!("720{number}").parse().unwrap());
            let stream = connect(&skd, from, to);
            let port = stream.local_addr().unwrap().port();
            let mut client = Client::of_tcp(stream);
            let ends = format!("{from} {port} {} {}", to.ip(), to.port());
            let said = format!("TCP {ends} {proxy} none none none none");
            assert_eq!(client.hears_line(), said, "{server}");
            client.says("hello\n").hears("hello\n");
        }
        // Of a client on a unix socket HAProxy says nothing: the connection is its own.
        let mut client = Client::unix(&folder.path(&format!("front{number}")));
        let said = client.says("hello\n").hears_line();
        if server.starts_with("unix") {
            assert_eq!(said, "UNIX     none none none none none");
        } else {
            assert!(said.starts_with("TCP 127.0.0.1 "), "{said}");
            let end = " 127.0.0.1 7300 127.0.0.1 none none none none";
            assert!(said.ends_with(end), "{said}");
        }
        client.hears("hello\n");
    }
    skd.stop();
}

/// A certificate that signs itself, with its key.
fn certificate(folder: &Folder) -> String {
    let (key, pem) = (folder.path("key"), folder.path("pem"));
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=client.example";
    let mut command = Command::new("openssl");
    let command = command
        .args(words.split(' '))
        .args(["-keyout", &key, "-out", &pem]);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let both = [&pem, &key].map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(&pem, both.concat()).unwrap();
    pem
}

/// HAProxy ends the TLS, and tells of it.
#[test]
fn the_program_is_told_of_the_tls_that_haproxy_ended() {
    let folder = Folder::new();
    if !need::program("openssl") {
        return;
    }
    let Some(skd) = behind(&folder, "") else {
        return;
    };
    let pem = certificate(&folder);
    let bind = |port: u16| format!("10.77.0.1:{port} ssl crt {pem} ca-file {pem} verify optional");
    let all =
        "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c";
    let configuration = [
        DEFAULTS.to_owned(),
        front("cn", &bind(7201), "127.0.0.1:7300 send-proxy-v2-ssl-cn"),
        front("all", &bind(7202), &format!("127.0.0.1:7300 {all}")),
    ];
    let _haproxy = HaProxy::start(skd.pid(), &folder, &configuration.concat());
    let shown = format!("-cert {pem} -servername skd.example");
    let cipher = "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384";
    for (port, options, told) in [
        (7201, "-tls1_3".to_owned(), "TLSv1.3 none none none"),
        (
            7201,
            format!("-tls1_2 {shown}"),
            "TLSv1.2 none none client.example",
        ),
        (
            7202,
            format!("{cipher} {shown}"),
            "TLSv1.3 TLS_AES_256_GCM_SHA384 skd.example client.example",
        ),
    ] {
        let options = format!("-connect 10.77.0.1:{port} -CAfile {pem} {options}");
        let said = hears_by_tls(&skd, &options);
        let (_, tls) = said
            .split_once(&format!(" 10.77.0.1 {port} 127.0.0.1 "))
            .unwrap();
        assert_eq!(tls, told);
    }
    skd.stop();
}

/// The first line that openssl's client hears.
fn hears_by_tls(skd: &Running, options: &str) -> String {
    let mut client = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", skd.pid()))
        .args(["openssl", "s_client", "-quiet"])
        .args(options.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    let mut stdout = client.stdout.take().unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"\nhello\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        heard.extend(byte);
    }
    client.kill().unwrap();
    client.wait().unwrap();
    let text = String::from_utf8(heard).unwrap();
    text.lines().next().unwrap().to_owned()
}

/// In version 1 they look like clients from the proxy's own address, in version 2 they are LOCAL. Either can be denied,
/// and costs no program then; HAProxy is content.
#[test]
fn health_checks_of_haproxy_are_the_proxys_own_connections() {
    let folder = Folder::new();
    let Some(mut skd) = behind(&folder, "--deny 127.0.0.1") else {
        return;
    };
    let mut configuration = DEFAULTS.to_owned();
    for (port, option) in [(7201, "send-proxy"), (7202, "send-proxy-v2")] {
        let server = format!("127.0.0.1:7300 {option} check inter 50ms");
        configuration += &front(option, &format!("10.77.0.1:{port}"), &server);
    }
    let haproxy = HaProxy::start(skd.pid(), &folder, &configuration);
    let line = skd.waits_for_nth("info: deny ", 20);
    let begin = "skd: info: deny tcp:127.0.0.1:7300 127.0.0.1:";
    assert!(line.starts_with(begin), "{line}");
    haproxy.sees("send-proxy/skd", "UP");
    haproxy.sees("send-proxy-v2/skd", "UP");
    for port in [7201, 7202] {
        let stream = connect(&skd, "10.77.0.2", ([10, 77, 0, 1], port).into());
        let mut client = Client::of_tcp(stream);
        assert!(client.hears_line().starts_with("TCP 10.77.0.2 "));
    }
    skd.is_alone();
    let status = skd.status();
    assert!(status.starts_with("0 accepted 2 denied "), "{status}");
    skd.stop();
    haproxy.sees("send-proxy/skd", "DOWN");
}

/// The block of the README that begins with this line, without the indent.
fn block(first: &str) -> String {
    let mut lines = README.lines().map(|line| line.strip_prefix("    "));
    lines.find(|line| *line == Some(first)).unwrap();
    let lines = lines.map_while(|line| line).map(|line| format!("{line}\n"));
    format!("{first}\n{}", lines.collect::<String>())
}

/// As the README has it: who comes is sent to the other one meanwhile, and who is there is served to the end.
#[test]
fn two_skd_behind_one_haproxy_lose_no_request_while_one_is_restarted() {
    if !need::own_network() || !need::program("haproxy") || !need::program("ip") {
        return;
    }
    let folder = Folder::new();
    // HAProxy comes from its own address although all of them are on one machine.
    let routes = "for to in 192.0.2.1 192.0.2.2; do
        ip route change table local local $to dev lo src 192.0.2.10 || exit 99\ndone\nexec \"$@\"";
    let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.10", "192.0.2.77"];
    let network = own_network(&folder, &addresses);
    let network = format!("{network} {}", folder.script("routes", routes));
    let started = |number: u8, network: &str| {
        let line = readme("skd -v --drain 60 --proxy-from 192.0.2.10 ");
        let line = line.replace("192.0.2.1:", &format!("192.0.2.{number}:"));
        Skd::new(line.strip_prefix("skd ").unwrap())
            .under(network)
            .start()
    };
    let mut other = started(2, &network);
    let place = other.pid().to_string();
    let there = format!("nsenter --net=/proc/{place}/ns/net");
    let mut one = started(1, &there);
    let configuration = block("global").replace("/run/haproxy/admin.sock", "ADMIN");
    let haproxy = HaProxy::start(other.pid(), &folder, &configuration);
    let set = |state: &str| {
        let line = readme(&format!(
            "echo 'set server echo/one state {state}' | socat "
        ));
        let (_, command) = line.split_once('\'').unwrap();
        assert_eq!(haproxy.asks(command.split_once('\'').unwrap().0).trim(), "");
    };
    let connect = || {
        net::inside(&place, || {
            net::tcp_from([192, 0, 2, 77].into(), ([192, 0, 2, 10], 7000).into())
        })
    };
    let client = || {
        let mut client = Client::of_tcp(connect());
        client.says("hello\n").hears("hello\n");
        assert_eq!(client.hears_all(), "");
    };
    let [mut stays, mut stays_too] = [(); 2].map(|()| Client::of_tcp(connect()));
    for client in [&mut stays, &mut stays_too] {
        client.says("hello\n").hears("hello\n");
    }
    let mut ended = None;
    let work = || {
        one.waits_for_nth("info: accept ", 5);
        set("drain");
        // What is on its way from HAProxy has arrived.
        assert!(one.status().ends_with(" failed 0"));
        one.signal(Signal::SIGTERM);
        eventually("its address", || {
            net::inside(&place, || TcpStream::connect("192.0.2.1:7000").err())
        });
        let mut next = started(1, &there);
        set("ready");
        next.waits_for_nth("info: accept ", 5);
        ended = Some((one, next));
    };
    let count = net::while_clients_come(client, || {
        net::while_clients_come(client, work);
    });
    assert!(count > 5);
    let (one, next) = ended.unwrap();
    for client in [&mut stays, &mut stays_too] {
        client.says("still\n").hears("still\n");
    }
    assert_eq!(stays.hears_all() + &stays_too.hears_all(), "");
    let line = other.waits_for("info: accept ");
    assert!(line.contains(" 192.0.2.77:"), "{line}");
    other.waits_for("info: deny tcp:192.0.2.2:7000 192.0.2.10:");
    assert_eq!(one.ends().code, 0);
    next.stop();
    other.stop();
}
