//! Inherited sockets beside named ones, sockets from systemd and s6, connected sockets.

use crate::kit::net::{
    Client, echoes, raw_socket, seqpacket_listener, set_nonblocking, tcp_listener, unix_datagram,
};
use crate::kit::skd::Skd;
use crate::kit::{
    FdHolder, Folder, ended, eventually, facts, fails, file_of, holds_one_socket, listened,
    listens, need, reporting, told,
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socketpair, sockopt,
};
use nix::unistd::pipe;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

/// TCP listeners with the words that name them: the words, the socket, its label.
fn named_tcp() -> Vec<(String, OwnedFd, String)> {
    const TABLE: &str = "127.0.0.1:0|-t 127.0.0.1:PORT|-si 127.0.0.1:PORT|-t 127.0.0.1:PORT -t 127.0.0.1:PORT\n\
        0.0.0.0:0|-t 0.0.0.0:PORT|-4 -t PORT|-4 -t *:PORT\n\
        [::1]:0|-t [::1]:PORT\n\
        [::]:0|-t PORT|-t *:PORT|-6 -t PORT";
    let mut all = Vec::new();
    let has_ipv6 = need::ipv6();
    for row in TABLE
        .lines()
        .filter(|row| has_ipv6 || !row.starts_with('['))
    {
        let (address, options) = row.split_once('|').unwrap();
        for option in options.split('|') {
            let listener = TcpListener::bind(address).unwrap();
            let local = listener.local_addr().unwrap();
            let words = option.replace("PORT", &local.port().to_string());
            all.push((words, listener.into(), format!("tcp:{local}")));
        }
    }
    all
}

/// The same for other sockets.
fn named_others(folder: &Folder) -> Vec<(String, OwnedFd, String)> {
    let path = |name: &str| folder.path(name);
    let packets = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = packets.local_addr().unwrap().to_string();
    let hidden = format!("skd-test-{}-inherited", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&hidden).unwrap();
    let stream = UnixListener::bind(path("stream")).unwrap();
    let datagram = UnixDatagram::bind(path("datagram")).unwrap();
    let seqpacket = seqpacket_listener(&path("seqpacket"));
    let hidden_stream = UnixListener::bind_addr(&address).unwrap();
    let all: [(&str, OwnedFd, &str, String); 6] = [
        (
            "-u",
            packets.try_clone().unwrap().into(),
            "udp",
            udp.clone(),
        ),
        ("-di", packets.into(), "udp", udp),
        ("-l", stream.into(), "unix", path("stream")),
        ("-dl", datagram.into(), "unix", path("datagram")),
        ("--seqpacket -l", seqpacket, "unix", path("seqpacket")),
        ("-x", hidden_stream.into(), "unix", format!("@{hidden}")),
    ];
    let row = |(option, fd, kind, name)| (format!("{option} {name}"), fd, format!("{kind}:{name}"));
    all.into_iter().map(row).collect()
}

#[test]
fn an_inherited_socket_satisfies_the_name_of_its_address() {
    let folder = Folder::new();
    for (words, fd, label) in named_tcp().into_iter().chain(named_others(&folder)) {
        let skd = Skd::new(&format!("-v {words} cat")).listen_fds(vec![fd]);
        assert_eq!(listens(&skd.start().stop().stderr), [label], "{words}");
    }
    for name in ["stream", "datagram", "seqpacket"] {
        assert!(Path::new(&folder.path(name)).exists(), "{name}");
    }
}

/// Nothing is bound, so nothing is in the way.
#[test]
fn an_inherited_socket_satisfies_its_name_whatever_lies_at_the_path() {
    for what in ["nothing", "a file", "no folder"] {
        let folder = Folder::new();
        let (deep, path) = (folder.path("deep"), folder.path("deep/socket"));
        std::fs::create_dir(&deep).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        match what {
            "a file" => std::fs::write(&path, "precious").unwrap(),
            "no folder" => std::fs::remove_dir(&deep).unwrap(),
            _ => {}
        }
        let skd = Skd::new(&format!("-v -l {path} cat")).listen_fds(vec![listener.into()]);
        let mut skd = skd.spawn();
        assert_eq!(
            skd.waits_for("skd: "),
            format!("skd: info: listen unix:{path}"),
            "{what}"
        );
        skd.stop();
        let left = std::fs::read_to_string(&path).ok();
        assert_eq!(left.as_deref(), (what == "a file").then_some("precious"));
    }
}

/// A port of 127.0.0.1 that is kept from everybody but those who reuse addresses, as systemd and skd do for TCP: the
/// socket is bound, but does not listen.
fn reserved() -> (TcpListener, u16) {
    let socket = raw_socket(AddressFamily::Inet, SockType::Stream);
    setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let socket = TcpListener::from(socket);
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn a_socket_of_another_type_or_address_satisfies_no_name() {
    let (_reserved, packets) = eventually("a port of both kinds", || {
        let (reserved, port) = reserved();
        Some((reserved, UdpSocket::bind(("127.0.0.1", port)).ok()?))
    });
    let inherited = packets.local_addr().unwrap();
    let port = inherited.port();
    for (option, made) in [("-t", "tcp:127.0.0.1"), ("-u", "udp:127.0.0.2")] {
        let words = format!("-v {option} {}:{port} cat", &made[4..]);
        let fd = packets.try_clone().unwrap().into();
        let mut skd = Skd::new(&words).listen_fds(vec![fd]).start();
        skd.waits_for_nth("listen ", 2);
        let labels = [format!("udp:{inherited}"), format!("{made}:{port}")];
        assert_eq!(listens(&skd.stop().stderr), labels);
    }
}

/// No other test has these addresses, so that the port is free at both.
#[test]
fn of_a_name_with_two_addresses_only_the_one_not_inherited_is_bound() {
    if !need::mounts() {
        return;
    }
    let folder = Folder::new();
    let hosts = folder.path("hosts");
    std::fs::write(&hosts, "127.66.0.1 two.test\n127.66.0.2 two.test\n").unwrap();
    let mount = format!("mount --bind {hosts} /etc/hosts && exec \"$@\"");
    let wrapper = format!("unshare --mount {}", folder.script("mount", &mount));
    for (inherited, made) in [("127.66.0.1", "127.66.0.2"), ("127.66.0.2", "127.66.0.1")] {
        let listener = TcpListener::bind((inherited, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let skd = Skd::new(&format!("-v -1 -t two.test:{port} cat")).under(&wrapper);
        let mut skd = skd.listen_fds(vec![listener.into()]).start();
        skd.waits_for_nth("listen ", 2);
        for ip in [inherited, made] {
            let client = TcpStream::connect((ip, port)).unwrap();
            Client::of_tcp(client).says("x").hears("x");
        }
        let labels = [inherited, made].map(|ip| format!("tcp:{ip}:{port}"));
        assert_eq!(listens(&skd.seen.join("\n")), labels);
        assert_eq!(skd.stop_and_read_stdout(), format!("{port}\n"));
    }
}

/// Ports stand in the order of the command line. Of the inherited ones only the second satisfies a name.
#[test]
fn an_inherited_port_is_printed_where_it_satisfies_a_name_and_never_satisfies_port_0() {
    let ((one, first), (other, second)) = (tcp_listener(), tcp_listener());
    let words = format!("-v -1 -t 127.0.0.1:0 -t 127.0.0.1:{second} cat");
    let mut skd = Skd::new(&words).listen_fds(vec![one, other]).start();
    let made = skd.port();
    assert_eq!(skd.port(), second);
    skd.waits_for_nth("listen ", 3);
    let ports = [first, second, made];
    for port in ports {
        echoes(port);
    }
    let labels = ports.map(|port| format!("tcp:127.0.0.1:{port}"));
    assert_eq!(listens(&skd.seen.join("\n")), labels);
    assert_eq!(skd.stop_and_read_stdout(), "");
}

/// Those that skd made are; and it starts, fails and stops without harm to the adopted.
#[test]
fn the_file_of_an_adopted_socket_is_never_removed() {
    let folder = Folder::new();
    let paths = ["adopted", "named", "made"].map(|name| folder.path(name));
    let [adopted, named, made] = &paths;
    let listeners = [adopted, named].map(|path| UnixListener::bind(path).unwrap());
    let start = |words: &str| {
        let copies = listeners.iter().map(|one| one.try_clone().unwrap().into());
        Skd::new(&format!("-v -l {named} -l {made} {words}")).listen_fds(copies.collect())
    };
    let there = || paths.each_ref().map(|path| Path::new(path).exists());
    let (_taken, port) = tcp_listener();
    let line = format!("fatal: unable to bind tcp:127.0.0.1:{port}: Address already in use");
    fails(start(&format!("-t 127.0.0.1:{port} cat")), 111, &line);
    assert_eq!(there(), [true, true, false]);
    for _ in 0..2 {
        let mut skd = start("cat").start();
        skd.waits_for_nth("listen ", 3);
        for path in &paths {
            Client::unix(path).says("x").hears("x");
        }
        skd.stop();
        assert_eq!(there(), [true, true, false]);
    }
}

/// systemd-socket-activate becomes skd at the first connection.
#[test]
fn a_socket_of_systemd_is_served() {
    if !need::program("systemd-socket-activate") {
        return;
    }
    let (_reserved, port) = reserved();
    let activate = format!("systemd-socket-activate -l 127.0.0.1:{port}");
    let mut skd = Skd::new("-v cat").under(&activate).spawn();
    skd.waits_for("Listening on ");
    let (mut one, mut other) = (Client::tcp(port), Client::tcp(port));
    one.says("one").hears("one");
    other.says("other").hears("other");
    one.says("again").hears("again");
    assert_eq!(skd.status(), "2 accepted 2 denied 0 failed 0");
    listened(skd, &[port]);
}

/// The daemon keeps what it holds: one skd after the other has it.
#[test]
fn sockets_that_s6_holds_are_served() {
    if !need::program("s6-fdholder-daemon") {
        return;
    }
    let holder = FdHolder::start();
    let ((one, first), (other, second)) = (tcp_listener(), tcp_listener());
    set_nonblocking(&other, true);
    holder.store("tcp:web", one);
    holder.store("odd name/x", other);
    let retrieve = format!("s6-fdholder-retrieve {} tcp:web", holder.path);
    let skd = Skd::new("-v -0 cat").under(&retrieve).start();
    echoes(first);
    listened(skd, &[first]);
    let dump = format!("s6-fdholder-getdump {}", holder.path);
    let mut skd = reporting("-v --adopt s6").under(&dump).start();
    skd.waits_for_nth("listen ", 2);
    for port in [first, second] {
        let report = Client::tcp(port).hears_all();
        holds_one_socket(&report);
        assert!(!told(&report).contains("S6_"), "{report}");
    }
    skd.stop();
    holder.store("pipe", pipe().unwrap().0);
    let skd = Skd::new("-v --adopt").word("s6:odd name/x").word("cat");
    let skd = skd.under(&dump).start();
    echoes(second);
    listened(skd, &[second]);
    let mut skd = Skd::new("-v --adopt s6 cat").under(&dump).start();
    let warning = skd.waits_for("skd: warning: descriptor ");
    assert!(
        warning.ends_with(" \"pipe\" is a FIFO, skipping"),
        "{warning}"
    );
    skd.waits_for_nth("listen ", 2);
    [first, second].into_iter().for_each(echoes);
    skd.stop();
}

/// A connection and its client's end.
fn connected() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0.into(), client)
}

/// As systemd's Accept=yes and tcp-env have it. The manager's variables are PROG's, and skd sends nothing.
#[test]
fn with_a_connected_socket_skd_becomes_prog() {
    let folder = Folder::new();
    let manager = unix_datagram(&folder.path("manager"));
    let notify = format!("NOTIFY_SOCKET={}", folder.path("manager"));
    for (words, numbers) in [
        ("-v -0", [0].as_slice()),
        ("-v -0", &[0, 1]),
        ("-v --adopt fd:5", &[5]),
        ("-v", &[3]),
        ("-v -0", &[0, 1, 3]),
    ] {
        let (conn, client) = connected();
        let (own, peer) = (client.peer_addr().unwrap(), client.local_addr().unwrap());
        let (port, remote) = (own.port(), peer.port());
        set_nonblocking(&conn, true);
        let mut skd =
            reporting(words).envs("WATCHDOG_USEC=9 WATCHDOG_PID=1 FDSTORE=3 TCPLOCALHOST=x");
        for number in numbers {
            skd = skd.descriptor(*number, conn.try_clone().unwrap());
        }
        if numbers.contains(&3) {
            skd = skd.envs("LISTEN_FDS=1 LISTEN_FDNAMES=connection");
        }
        let file = file_of(&conn);
        drop(conn);
        let skd = skd.envs(&notify).spawn();
        let pid = skd.pid();
        let report = Client::of_tcp(client).hears_all();
        let line = format!("skd: info: accept tcp:{own} {peer} pid {pid} count 1\n");
        let outcome = skd.ends();
        assert_eq!((outcome.code, outcome.stderr), (0, line));
        assert_eq!(holds_one_socket(&report), file);
        assert!(facts(&report, "pid")[0].starts_with(&format!("{pid} ")));
        let wanted = format!(
            "{notify} PROTO=TCP REMOTE_ADDR=127.0.0.1 REMOTE_PORT={remote} TCPCONNNUM=1 \
            TCPLOCALIP=127.0.0.1 TCPLOCALPORT={port} TCPREMOTEIP=127.0.0.1 TCPREMOTEPORT={remote} \
            WATCHDOG_PID=1 WATCHDOG_USEC=9"
        );
        assert_eq!(told(&report), wanted);
    }
    manager.set_nonblocking(true).unwrap();
    let sent = manager.recv(&mut [0]).unwrap_err();
    assert_eq!(sent.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn prog_has_clean_signals_on_a_connected_socket() {
    let (conn, client) = connected();
    // Not probe: Rust's runtime ignores SIGPIPE before main.
    let skd = Skd::new("-0 grep -E ^Sig(Blk|Ign): /proc/self/status").descriptor(0, conn);
    let skd = skd.under("env --ignore-signal=HUP,PIPE,TERM --block-signal=USR1,TERM");
    let outcome = skd.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let none = "0000000000000000";
    let heard = Client::of_tcp(client).hears_all();
    assert_eq!(heard, format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"));
}

#[test]
fn a_connected_unix_socket_is_a_connection_too() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let stream = OwnedFd::from(listener.accept().unwrap().0);
    let (family, close) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    let (packet, other) = socketpair(family, SockType::SeqPacket, None, close).unwrap();
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let pid = std::process::id();
    let ipc = format!(" IPCLOCALPATH={path}");
    let unix = format!(" UNIXLOCALPATH={path}");
    for (conn, client, ipc, unix) in [
        (stream, client, ipc.as_str(), unix.as_str()),
        (packet, other.into(), "", ""),
    ] {
        let skd = reporting("-q").listen_fds(vec![conn]).spawn();
        let report = Client::of_unix(client).hears_message();
        holds_one_socket(&report);
        let wanted = format!(
            "IPCCONNNUM=1{ipc} IPCREMOTEEGID={gid} IPCREMOTEEUID={uid} PEERGID={gid} \
            PEERPID={pid} PEERUID={uid} PROTO=UNIX UNIXCONNNUM=1{unix} \
            UNIXREMOTEEGID={gid} UNIXREMOTEEUID={uid} UNIXREMOTEPID={pid}"
        );
        assert_eq!(told(&report), wanted);
        assert_eq!(skd.ends().code, 0);
    }
}

/// With `--check` PROG does not run.
#[test]
fn options_of_connections_hold_for_a_connected_socket() {
    let (conn, client) = connected();
    let skd = reporting("-ne --proto MINE -0").descriptor(0, conn);
    let outcome = skd.envs("JOURNAL_STREAM=1:2").outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let report = Client::of_tcp(client).hears_all();
    let fds = facts(&report, "fd").into_iter().map(|fd| &fd[2..]);
    let fds: Vec<_> = fds.collect();
    assert_eq!(fds, [fds[0]; 3]);
    assert_eq!(facts(&report, "nodelay"), ["1"]);
    assert!(
        told(&report).starts_with("PROTO=MINE REMOTE_ADDR="),
        "{report}"
    );
    let (conn, client) = connected();
    let outcome = reporting("--check -0").descriptor(0, conn).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(Client::of_tcp(client).hears_all(), "");
}

/// What skd says is for its own stderr, even where 2 was to be the connection.
#[test]
fn the_client_never_hears_why_prog_does_not_run() {
    let folder = Folder::new();
    let junk = folder.script("junk", "");
    std::fs::write(&junk, "junk").unwrap();
    let missing = ("skd-no-such-program", "No such file or directory");
    for (prog, reason) in [missing, (&junk, "Exec format error")] {
        for options in ["-0", "-e0"] {
            let (conn, client) = connected();
            let line = format!("fatal: unable to run \"{prog}\": {reason}");
            fails(Skd::new(options).word(prog).descriptor(0, conn), 111, &line);
            assert_eq!(Client::of_tcp(client).hears_all(), "");
        }
    }
}

#[test]
fn a_connected_socket_beside_any_other_is_a_usage_error() {
    const NAMED: &str = "a connected socket is adopted";
    const THIRD: &str = "descriptor 3 is a connected socket";
    let folder = Folder::new();
    let unix = format!("-l {}", folder.path("named"));
    for (words, count, text) in [
        ("-t 127.0.0.1:0", "1", NAMED),
        (&unix, "1", NAMED),
        ("--adopt fd:9", "1", THIRD),
        ("-0", "1", THIRD),
        ("", "2", THIRD),
    ] {
        let ((conn, client), (other, second)) = (connected(), connected());
        let skd = Skd::new(words).word("cat").descriptor(0, tcp_listener().0);
        let skd = skd
            .descriptor(9, tcp_listener().0)
            .listen_fds(vec![conn, other]);
        let line = format!("usage: {text}, which goes with no other; try \"skd --help\"");
        let mut outcome = skd.env("LISTEN_FDS", count).outcome();
        // Either of two may be named.
        outcome.stderr = outcome.stderr.replace("descriptor 4", "descriptor 3");
        ended(&outcome, 100, &line);
        for client in [client, second] {
            assert_eq!(Client::of_tcp(client).hears_all(), "");
        }
    }
    assert!(!Path::new(&folder.path("named")).exists());
}

#[test]
fn what_is_skipped_in_a_dump_of_s6_is_no_socket_beside_a_connected_one() {
    let ((conn, client), (fifo, _writer)) = (connected(), pipe().unwrap());
    let skd = Skd::new("-q --adopt s6 echo hello")
        .descriptor(8, conn)
        .descriptor(9, fifo);
    let skd = skd.envs("S6_FD#=2 S6_FD_0=8 S6_FDID_0=web S6_FD_1=9 S6_FDID_1=pipe");
    let outcome = skd.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(Client::of_tcp(client).hears_all(), "hello\n");
}
