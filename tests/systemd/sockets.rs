//! What systemd hands over: sockets of all kinds, by name, on stdin, one connection each.

use crate::kit::net::{Client, echoes, hear_udp, seqpacket, udp, unix_datagram};
use crate::kit::systemd::Systemd;
use crate::kit::{facts, told};
use crate::readable::send_message;

/// What a client says comes back to it, whatever the socket is.
const ECHO: &str = "[ -z \"${TCPCONNNUM-}${UNIXCONNNUM-}\" ] || exec cat
exec probe picky-datagram";

fn units(machine: &Systemd, socket: &str, service: &str) {
    let socket = format!("[Socket]\n{socket}\n");
    let service = format!("[Service]\n{service}\n");
    machine.units(&[("it.socket", &socket), ("it.service", &service)]);
    machine.run("systemctl start it.socket");
}

#[test]
fn one_service_serves_sockets_of_every_kind() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let folder = machine.folder.path("");
    let socket = format!(
        "ListenStream=127.0.0.1:7
        ListenStream=[::1]:8
        ListenStream={folder}stream
        ListenSequentialPacket={folder}packet
        ListenDatagram=127.0.0.1:7
        ListenDatagram={folder}datagram"
    );
    let echo = machine.folder.script("echo", ECHO);
    units(
        &machine,
        &socket,
        &format!("ExecStart=/usr/bin/skd -v {echo}"),
    );
    let path = |name| machine.folder.path(name);
    machine.network(|| {
        echoes(7);
        let mut client = Client::tcp_to("[::1]:8".parse().unwrap());
        client.says("hello\n").hears("hello\n");
        let client = udp(7);
        client.send(b"hello").unwrap();
        assert_eq!(hear_udp(&client), "hello");
    });
    Client::unix(&path("stream"))
        .says("hello\n")
        .hears("hello\n");
    let mut client = seqpacket(&path("packet"));
    assert_eq!(client.says("hello").hears_message(), "hello");
    let client = unix_datagram(&path("client"));
    client.send_to(b"hello", path("datagram")).unwrap();
    let mut heard = [0; 9];
    assert_eq!(client.recv(&mut heard).unwrap(), 5);
    let journal = machine.journal("it.service");
    let listens = journal
        .lines()
        .filter_map(|line| line.split_once("skd: info: listen "));
    let listens: Vec<_> = listens.map(|(_, label)| label.to_owned()).collect();
    let unix = |name| format!("unix:{}", path(name));
    let all = [
        "tcp:127.0.0.1:7".into(),
        "tcp:[::1]:8".into(),
        unix("stream"),
        unix("packet"),
    ];
    assert_eq!(
        listens,
        [
            all.as_slice(),
            &["udp:127.0.0.1:7".into(), unix("datagram")]
        ]
        .concat()
    );
}

/// The other one stays with systemd, and its clients in the backlog.
#[test]
fn a_service_takes_the_sockets_of_one_name() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let socket = |name: &str, port: u16| {
        format!(
            "[Socket]\nListenStream=127.0.0.1:{port}\nFileDescriptorName={name}\nService=it.service\n"
        )
    };
    machine.units(&[
        ("web.socket", &socket("web", 7)),
        ("admin.socket", &socket("admin", 8)),
        (
            "it.service",
            "[Service]\nExecStart=/usr/bin/skd -v --adopt listen-fds:web cat\n",
        ),
    ]);
    machine.run("systemctl start web.socket admin.socket");
    machine.echoes(7);
    let journal = machine.journal("it.service");
    assert!(
        journal.contains("listen tcp:127.0.0.1:7") && !journal.contains("127.0.0.1:8"),
        "{journal}"
    );
}

#[test]
fn a_listener_on_stdin_is_served() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let service = "StandardInput=socket\nStandardOutput=journal\nExecStart=/usr/bin/skd -v0 cat";
    units(&machine, "ListenStream=127.0.0.1:7", service);
    machine.echoes(7);
    machine.echoes(7);
    machine.logged("it.service", "skd: info: listen tcp:127.0.0.1:7");
}

/// systemd starts a service for each; with or without StandardInput=socket.
#[test]
fn with_one_connection_skd_becomes_prog() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    for (port, service) in [
        (
            7,
            "StandardInput=socket\nStandardError=journal\nExecStart=/usr/bin/skd -v0 probe report",
        ),
        (8, "ExecStart=/usr/bin/skd -v probe report"),
    ] {
        let socket = format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n");
        let service = format!("[Service]\n{service}\n");
        machine.units(&[("one.socket", &socket), ("one@.service", &service)]);
        machine.run("systemctl start one.socket");
        let report = machine.network(|| Client::tcp(port).hears_rest());
        let told = told(&report);
        let local = format!("TCPLOCALIP=127.0.0.1 TCPLOCALPORT={port} TCPREMOTEIP=127.0.0.1 ");
        assert!(
            told.contains("PROTO=TCP REMOTE_ADDR=127.0.0.1 REMOTE_PORT=") && told.contains(&local),
            "{told}"
        );
        assert!(!told.contains("LISTEN_"), "{told}");
        let fds = facts(&report, "fd");
        assert_eq!(fds.len(), 3, "{fds:?}");
        assert!(
            fds[0][2..] == fds[1][2..] && fds[0][2..] != fds[2][2..],
            "{fds:?}"
        );
        machine.run("systemctl stop one.socket");
    }
}

/// With `-w`: a listener for a program that accepts by itself, a FIFO, and a message queue.
#[test]
fn what_is_no_connection_is_lent_to_a_program() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let path = |name| machine.folder.path(name);
    let socket = format!(
        "ListenStream={}\nListenFIFO={}\nListenMessageQueue=/queue",
        path("stream"),
        path("fifo")
    );
    let script = "case $(readlink /proc/self/fd/0) in
        socket:*) exec probe accept-once 0 ;;
        */fifo) read line; echo \"$$ took $line\" >&2 ;;
        *) exec probe read-message ;;
        esac";
    let lent = machine.folder.script("lent", script);
    units(
        &machine,
        &socket,
        &format!("ExecStart=/usr/bin/skd -vw {lent}"),
    );
    std::fs::write(path("fifo"), "a job\n").unwrap();
    machine.logged("it.service", " took a job");
    let queue = std::fs::File::options()
        .write(true)
        .open(machine.path("/dev/mqueue/queue"));
    send_message(&queue.unwrap(), "a message");
    machine.logged("it.service", " took a message");
    let pids = [Client::unix(&path("stream")), Client::unix(&path("stream"))];
    let pids = pids.map(|mut client| client.hears_line());
    assert_ne!(pids[0], pids[1]);
    let labels = [
        format!("unix:{}", path("stream")),
        format!("fifo:{}", path("fifo")),
        "mqueue:/queue".into(),
    ];
    for label in labels {
        machine.logged("it.service", &format!("skd: info: listen {label}"));
    }
}
