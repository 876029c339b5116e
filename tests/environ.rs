//! The environment of a child: each kind of socket as a whole transcript, against an environment full of lies.

use crate::kit::net::{Client, client_inside, in_own_network, tcp_from, unix_datagram, unix_from};
use crate::kit::skd::Skd;
use crate::kit::{DEADLINE, Folder, eventually, facts, need, probe};
use nix::sys::socket::{SockType, UnixAddr};
use nix::unistd::{getegid, geteuid};
use std::ffi::OsString;
use std::io::{BufRead, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixDatagram;

/// The families of variables, and what their names go on with.
const FAMILIES: &str = "TCP TCP6 UDP UNIX IPC VSOCK";
const ENDINGS: &str = "LOCAL LOCALIP LOCALPORT LOCALHOST LOCALPATH LOCALCID LOCALUID LOCAL_X REMOTE REMOTEIP \
    REMOTEPORT REMOTEHOST REMOTEINFO REMOTEPATH REMOTEPID REMOTEEUID REMOTEEGID REMOTECID REMOTE_X CONNNUM";
/// What else a child never inherits.
const OTHERS: &str = "PROTO TCPCONCURRENCY TCP6INTERFACE PEERPID PEERUID PEERGID REMOTE_ADDR REMOTE_PORT REMOTE_HOST \
    PROXYREMOTE PROXYREMOTEIP PROXYREMOTEPORT SSL_ SSL_PROTOCOL SSL_CLIENT_S_DN SSL_TLS_SNI LISTEN_FDS LISTEN_PID \
    LISTEN_FDNAMES LISTEN_PIDFDID LISTEN_X S6_FD# S6_FD_0 S6_FDID_0 NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID FDSTORE";
/// What passes as it is; several names only look like those above.
const KEPT: &str = "EMPTY= HOME=/ INVOCATION_ID=0123abcd JOURNAL_STREAM=1:1 PATH=/usr/bin:/bin PEER=kept PROTOCOL=kept \
    PROXY=kept REMOTE_USER=kept TCP=kept TCP6=kept TCP_REMOTEIP=kept TCPCONNMAX=kept UNIX=kept WATCHDOG=kept \
    XTCPREMOTEIP=kept";

/// skd started among stale variables of every name; PROG is the probe, with `word` and `more`.
fn hostile(options: &str, word: &str, more: &str) -> Skd {
    let mut names: Vec<String> = OTHERS.split_whitespace().map(String::from).collect();
    for family in FAMILIES.split_whitespace() {
        let endings = ENDINGS.split_whitespace();
        names.extend(endings.map(|ending| format!("{family}{ending}")));
    }
    let stale: Vec<_> = names.iter().map(|name| format!("{name}=stale")).collect();
    let prog = format!("{options} {} {word} {more}", probe());
    Skd::new(&prog).under(&format!("env -i {} {KEPT}", stale.join(" ")))
}

/// The environment in a report, a line each.
fn environment(report: &str) -> String {
    facts(report, "env").join("\n")
}

/// What passes, and a connection's own variables.
fn expected(own: &str) -> String {
    let mut all: Vec<_> = KEPT
        .split_whitespace()
        .chain(own.split_whitespace())
        .map(|text| text.split_once('=').unwrap())
        .collect();
    all.sort_unstable();
    let all = all.iter().map(|(name, value)| format!("{name}={value}"));
    all.collect::<Vec<_>>().join("\n")
}

fn loopback(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), port)
}

/// What a TCP client hears that connects from `ip` to the same address, and its port.
fn hear_tcp(ip: &str, port: u16) -> (String, u16) {
    let from: IpAddr = ip.parse().unwrap();
    let mut stream = tcp_from(from, SocketAddr::new(from, port));
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    (environment(&heard), stream.local_addr().unwrap().port())
}

/// The variables of a TCP connection whose both ends have the address `ip`.
fn of_tcp(proto: &str, ip: &str, local: u16, remote: u16) -> String {
    let mut all = format!(
        "PROTO={proto} TCPLOCALIP={ip} TCPLOCALPORT={local} TCPREMOTEIP={ip} TCPREMOTEPORT={remote} TCPCONNNUM=1 \
         REMOTE_ADDR={ip} REMOTE_PORT={remote}"
    );
    if ip.contains(':') {
        all += &format!(
            " TCP6LOCALIP={ip} TCP6LOCALPORT={local} TCP6REMOTEIP={ip} TCP6REMOTEPORT={remote}"
        );
    }
    expected(&all)
}

#[test]
fn tcp_over_ipv4_has_the_variables_of_ucspi_tcp_whatever_the_listener_is() {
    if !need::ipv6() {
        return;
    }
    let table = [
        ("-t 127.0.0.1:0", "127.0.0.1", "TCP"),
        ("-4t 0", "127.0.0.2", "TCP"),
        ("-t 0", "127.0.0.1", "TCP"),
        ("-t *:0", "127.0.0.2", "TCP"),
        ("--tcp6 -t 0", "127.0.0.1", "TCP"),
        ("--proto SSL -t 127.0.0.1:0", "127.0.0.1", "SSL"),
    ];
    for (options, ip, proto) in table {
        let mut skd = hostile(&format!("-v -1 {options}"), "report", "").start();
        let port = skd.port();
        let (heard, remote) = hear_tcp(ip, port);
        assert_eq!(heard, of_tcp(proto, ip, port, remote), "{options}");
        skd.stop();
    }
}

#[test]
fn tcp_over_ipv6_has_the_variables_of_both_families() {
    if !need::ipv6() {
        return;
    }
    let table = [
        ("-t [::1]:0", "TCP"),
        ("-t 0", "TCP"),
        ("-6t 0", "TCP"),
        ("--tcp6 -t 0", "TCP6"),
        ("--proto SSL -t [::1]:0", "SSL"),
        ("--proto SSL --tcp6 -t [::1]:0", "SSL"),
    ];
    for (options, proto) in table {
        let mut skd = hostile(&format!("-v -1 {options}"), "report", "").start();
        let port = skd.port();
        let (heard, remote) = hear_tcp("::1", port);
        assert_eq!(heard, of_tcp(proto, "::1", port, remote), "{options}");
        skd.stop();
    }
}

#[test]
fn a_link_local_peer_has_its_interface() {
    if !need::own_network() || !need::ipv6() {
        return;
    }
    for address in ["0", "[fe80::1%lo]:0"] {
        let folder = Folder::new();
        let prog = probe();
        let skd =
            Skd::with_words(["-v", "-1t", address, &prog, "report"]).env("TCP6INTERFACE", "stale");
        let mut skd = in_own_network(skd, &folder, &["fe80::1"]).start();
        let port = skd.port();
        let to = format!("[fe80::1%1]:{port}");
        let (mut client, mut stdout) = client_inside(&skd, "[fe80::1%1]:0", &to);
        let mut heard = String::new();
        stdout.read_to_string(&mut heard).unwrap();
        assert!(client.wait().unwrap().success());
        let (remote, report) = heard.split_once('\n').unwrap();
        let own = environment(report);
        let own: Vec<_> = own
            .lines()
            .filter(|line| line.starts_with("TCP6"))
            .collect();
        let lines = format!(
            "TCP6INTERFACE=lo TCP6LOCALIP=fe80::1 TCP6LOCALPORT={port} TCP6REMOTEIP=fe80::1 TCP6REMOTEPORT={remote}"
        );
        assert_eq!(own.join(" "), lines, "{address}");
        skd.stop();
    }
}

#[test]
fn connections_of_one_ipv6_64_are_counted_together() {
    if !need::own_network() || !need::ipv6() {
        return;
    }
    let addresses = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"];
    let folder = Folder::new();
    let words = ["-v", "-1t", "0", "sh", "-c", "echo $TCPCONNNUM; exec cat"];
    let mut skd = in_own_network(Skd::with_words(words), &folder, &addresses).start();
    let port = skd.port();
    let mut clients = Vec::new();
    for (ip, number) in [(0, "1"), (1, "2"), (2, "1"), (0, "3")] {
        let (from, to) = (
            format!("[{}]:0", addresses[ip]),
            format!("[{}]:{port}", addresses[0]),
        );
        let (client, stdout) = client_inside(&skd, &from, &to);
        let mut lines = stdout.lines().skip(1);
        assert_eq!(lines.next().unwrap().unwrap(), number, "{from}");
        clients.push((client, lines));
    }
    for (mut client, _) in clients {
        drop(client.stdin.take());
        client.wait().unwrap();
    }
    skd.is_alone();
    skd.stop();
}

/// What a client of a unix socket hears.
fn hear_unix(style: SockType, from: Option<&UnixAddr>, to: &UnixAddr) -> String {
    let mut client = Client::of_unix(unix_from(style, from, to));
    let mut all = String::new();
    loop {
        match client.hears_message().as_str() {
            "" => return environment(&all),
            text => all += text,
        }
    }
}

/// The variables of a unix connection from this process; an empty path is none.
fn of_unix(proto: &str, local: &str, remote: &str) -> String {
    let (pid, uid, gid) = (std::process::id(), geteuid(), getegid());
    let mut all = format!(
        "PROTO={proto} UNIXLOCALPATH={local} UNIXREMOTEPID={pid} UNIXREMOTEEUID={uid} UNIXREMOTEEGID={gid} \
         UNIXCONNNUM=1 IPCLOCALPATH={local} IPCREMOTEEUID={uid} IPCREMOTEEGID={gid} IPCCONNNUM=1 PEERPID={pid} \
         PEERUID={uid} PEERGID={gid}"
    );
    if !remote.is_empty() {
        all += &format!(" UNIXREMOTEPATH={remote} IPCREMOTEPATH={remote}");
    }
    expected(&all)
}

/// An abstract name that no other test has. It is in use as long as anyone has its socket, if just until its exec a
/// process that another test starts: so each is taken once.
fn abstract_name(folder: &Folder, name: &str) -> (UnixAddr, String) {
    let name = folder.path(&name.replace(['/', '@'], "-"));
    (
        UnixAddr::new_abstract(name.as_bytes()).unwrap(),
        format!("@{name}"),
    )
}

#[test]
fn a_unix_connection_has_both_names_and_three_names_for_who_is_there() {
    for (options, style) in [
        ("", SockType::Stream),
        ("--seqpacket", SockType::SeqPacket),
        ("--proto LOCAL", SockType::Stream),
    ] {
        let proto = options.strip_prefix("--proto ").unwrap_or("UNIX");
        let folder = Folder::new();
        let path = folder.path("sock");
        let (to_abstract, shown) = abstract_name(&folder, "server");
        let words = format!("-v {options} -l {path} -l {shown}");
        let mut skd = hostile(&words, "report", "").start();
        skd.waits_for_nth("listen ", 2);
        let to_path = UnixAddr::new(path.as_str()).unwrap();
        let own_path = folder.path("client");
        let named = UnixAddr::new(own_path.as_str()).unwrap();
        for (to, local) in [(&to_path, &path), (&to_abstract, &shown)] {
            let _ = std::fs::remove_file(&own_path);
            let (hidden, own_hidden) = abstract_name(&folder, local);
            let table = [
                (None, ""),
                (Some(&named), own_path.as_str()),
                (Some(&hidden), own_hidden.as_str()),
            ];
            for (from, remote) in table {
                assert_eq!(
                    hear_unix(style, from, to),
                    of_unix(proto, local, remote),
                    "{words} {remote}"
                );
                skd.is_alone();
            }
        }
        skd.stop();
    }
}

#[test]
fn a_unix_path_is_told_as_typed() {
    let folder = Folder::new();
    let skd = Skd::new(&format!("-vl ./sock {} report", probe()));
    let skd = skd.under(&format!("env -C {}", folder.path(""))).start();
    let to = UnixAddr::new(folder.path("sock").as_str()).unwrap();
    let heard = hear_unix(SockType::Stream, None, &to);
    assert!(heard.contains("\nUNIXLOCALPATH=./sock\n"), "{heard}");
    skd.stop();
}

/// More connections of one kind than skd prepares at once, then as many of another.
#[test]
fn nothing_of_an_earlier_connection_is_left() {
    if !need::ipv6() {
        return;
    }
    let mut skd = hostile("-v -1t 0", "report", "").start();
    let port = skd.port();
    for ip in [["::1"; 20], ["127.0.0.1"; 20], ["::1"; 20]].concat() {
        let (heard, remote) = hear_tcp(ip, port);
        assert_eq!(heard, of_tcp("TCP", ip, port, remote));
        skd.is_alone();
    }
    skd.stop();
    let folder = Folder::new();
    let path = folder.path("sock");
    let skd = hostile(&format!("-vl {path}"), "report", "").start();
    let to = UnixAddr::new(path.as_str()).unwrap();
    for number in 0..40 {
        let (named, shown) = abstract_name(&folder, &format!("client-{number}"));
        let (from, remote) = (number < 20).then_some((&named, shown.as_str())).unzip();
        let heard = hear_unix(SockType::Stream, from, &to);
        assert_eq!(heard, of_unix("UNIX", &path, remote.unwrap_or("")));
        skd.is_alone();
    }
    skd.stop();
}

/// The environment that the probe has put into `file`, which is removed.
fn hear_file(file: &str) -> String {
    let report = eventually("the report", || std::fs::read_to_string(file).ok());
    std::fs::remove_file(file).unwrap();
    environment(&report)
}

#[test]
fn udp_has_the_destination_and_the_sender_of_the_first_datagram() {
    if !need::ipv6() {
        return;
    }
    let table = [
        ("-u 127.0.0.1:0", "127.0.0.1", "UDP"),
        ("-4u 0", "127.0.0.2", "UDP"),
        ("-u *:0", "127.0.0.2", "UDP"),
        ("-u 0", "::1", "UDP"),
        ("-6u 0", "::1", "UDP"),
        ("--tcp6 -u [::1]:0", "::1", "UDP"),
        ("--proto TFTP -u 127.0.0.1:0", "127.0.0.1", "TFTP"),
    ];
    for (options, ip, proto) in table {
        let folder = Folder::new();
        let file = folder.path("report");
        let mut skd = hostile(&format!("-v -1 {options}"), "report-to", &file).start();
        let port = skd.port();
        for text in ["one", ""] {
            let client = UdpSocket::bind((ip, 0)).unwrap();
            client.send_to(text.as_bytes(), loopback(ip, port)).unwrap();
            let remote = client.local_addr().unwrap().port();
            let own = format!(
                "PROTO={proto} UDPLOCALIP={ip} UDPLOCALPORT={port} UDPREMOTEIP={ip} UDPREMOTEPORT={remote} \
                 REMOTE_ADDR={ip} REMOTE_PORT={remote}"
            );
            assert_eq!(hear_file(&file), expected(&own), "{options}");
        }
        skd.stop();
    }
}

#[test]
fn a_unix_datagram_has_its_sender_if_that_has_a_name() {
    let folder = Folder::new();
    let (path, file) = (folder.path("sock"), folder.path("report"));
    let mut skd = hostile(&format!("-vdl {path}"), "report-to", &file).start();
    let own_path = folder.path("client");
    let named = unix_datagram(&own_path);
    let unnamed = UnixDatagram::unbound().unwrap();
    let own = format!("PROTO=UNIX UNIXLOCALPATH={path}");
    for turn in 0..10 {
        named.send_to(b"x", &path).unwrap();
        let whole = format!("{own} UNIXREMOTEPATH={own_path}");
        assert_eq!(hear_file(&file), expected(&whole));
        unnamed.send_to(b"x", &path).unwrap();
        assert_eq!(hear_file(&file), expected(&own), "{turn}");
    }
    skd.waits_for_nth("end ", 20);
    skd.stop();
}

#[test]
fn the_journal_stream_is_not_told_to_a_child_whose_stderr_is_the_client() {
    let mut skd = hostile("-v -1et 127.0.0.1:0", "report", "").start();
    let port = skd.port();
    let (heard, remote) = hear_tcp("127.0.0.1", port);
    let rest = of_tcp("TCP", "127.0.0.1", port, remote).replace("JOURNAL_STREAM=1:1\n", "");
    assert_eq!(heard, rest);
    skd.stop();
}

/// The variables that tell skd of its sockets are true here, and end with it.
#[test]
fn what_told_of_adopted_sockets_never_reaches_a_child() {
    let told = [
        ("", "LISTEN_FDS=1 LISTEN_FDNAMES=web"),
        ("--adopt s6", "S6_FD#=1 S6_FD_0=3 S6_FDID_0=web"),
    ];
    for (options, variables) in told {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let words = format!("-v {options} {} report", probe());
        let skd = Skd::new(&words)
            .under(&format!("env -i {variables} NOTIFY_SOCKET=/x {KEPT}"))
            .descriptor(3, listener)
            .start();
        let (heard, remote) = hear_tcp("127.0.0.1", port);
        assert_eq!(heard, of_tcp("TCP", "127.0.0.1", port, remote), "{options}");
        skd.stop();
    }
}

/// The child's environment begins with skd's own, byte for byte, also where a value is no UTF-8 or empty.
#[test]
fn other_variables_pass_unchanged() {
    let mut skd = Skd::new("-v -1t 127.0.0.1:0")
        .word(probe())
        .word("hold")
        .env("BYTES", OsString::from_vec(b"\xff\xfe\n=x".into()))
        .env("EMPTY", "")
        .env("INVOCATION_ID", "0123abcd")
        .env("SSL_CERT_FILE", "/etc/trusted.pem")
        .start();
    let port = skd.port();
    let mut client = Client::tcp(port);
    client.hears_line();
    let of = |pid: i32| std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let (own, theirs) = (of(skd.pid()), of(skd.children()[0]));
    let bytes = b"\0BYTES=\xff\xfe\n=x\0";
    assert!(own.windows(bytes.len()).any(|part| part == bytes));
    let (first, last) = theirs.split_at(own.len());
    assert_eq!(
        String::from_utf8_lossy(first),
        String::from_utf8_lossy(&own)
    );
    assert!(first == own && last.starts_with(b"PROTO=TCP\0TCPLOCALIP=127.0.0.1\0"));
    skd.stop();
}

/// A name is whole where the list of what is removed has no star.
#[test]
fn names_that_only_begin_like_those_of_the_manager_pass() {
    let kept = "FDSTORE_PATH=kept NOTIFY_SOCKETS=kept";
    let words = format!("-v -1t 127.0.0.1:0 {} report", probe());
    let mut skd = Skd::new(&words).under(&format!("env -i {kept}")).start();
    let port = skd.port();
    let (heard, _) = hear_tcp("127.0.0.1", port);
    assert!(heard.starts_with(&kept.replace(' ', "\n")), "{heard}");
    skd.stop();
}

#[test]
fn a_stale_variable_that_is_there_twice_is_gone_twice() {
    let prog = probe();
    let words = format!("-v -1t 127.0.0.1:0 {prog} report");
    let twice = format!("{prog} twice TCPREMOTEIP=stale");
    let mut skd = Skd::new(&words).under(&twice).start();
    let port = skd.port();
    let (heard, _) = hear_tcp("127.0.0.1", port);
    assert!(!heard.contains("stale"), "{heard}");
    assert!(heard.contains("TCPREMOTEIP=127.0.0.1"), "{heard}");
    skd.stop();
}
