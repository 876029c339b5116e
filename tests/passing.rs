//! Clients that pass descriptors along which take long to close: a TCP connection that lingers. Whoever is the last to
//! close one waits, which must never be skd's loop.

use crate::kit::net::{Client, raw_socket, tcp_from_loopback};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockType, UnixAddr, connect, sendmsg, setsockopt,
    sockopt,
};
use std::fs;
use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Longer than any test waits, in seconds.
const LINGERS: libc::c_int = 600;

/// A connection with so much unsent that closing it takes its time, and the other end, which keeps it so.
fn lingering() -> (TcpStream, (TcpListener, TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut conn = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: LINGERS,
    };
    setsockopt(&conn, sockopt::Linger, &linger).unwrap();
    conn.set_nonblocking(true).unwrap();
    while conn.write(&[0; 65536]).is_ok() {}
    (conn, (listener, other))
}

/// Passes a lingering connection to whoever hears at this path, and keeps no copy; it lingers as long as the result is
/// there.
fn brings_trouble(path: &str, style: SockType) -> impl Sized {
    let socket: OwnedFd = raw_socket(AddressFamily::Unix, style);
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    let (conn, kept) = lingering();
    let passed = [conn.as_raw_fd()];
    let bytes = [IoSlice::new(b"x")];
    let parts = [ControlMessage::ScmRights(&passed)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    if sendmsg::<()>(socket.as_raw_fd(), &bytes, &parts, flags, None).is_err() {
        // It has been shown the door already, and is not to wait itself.
        setsockopt(
            &conn,
            sockopt::Linger,
            &libc::linger {
                l_onoff: 0,
                l_linger: 0,
            },
        )
        .unwrap();
    }
    kept
}

/// What each thread but the first has open.
fn closers(skd: &Running) -> Vec<PathBuf> {
    let tasks = format!("/proc/{}/task", skd.pid());
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let threads = entries(tasks.into()).filter(|it| it.file_name() != *skd.pid().to_string());
    let open = threads.flat_map(|thread| entries(thread.path().join("fd")));
    open.filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect()
}

#[test]
fn descriptors_that_take_long_to_close_keep_nobody_waiting() {
    let folder = Folder::new();
    let (unix, metrics, conf) = (
        folder.path("s"),
        folder.path("m"),
        folder.path("inetd.conf"),
    );
    let service = |rest: &str| format!("--inetd-conf {conf}\n{unix} {rest}\n");
    let listens = |options: &str| format!("{options} -l {unix}\n");
    let table = [
        (
            service("stream unix nowait root internal echo"),
            SockType::Stream,
        ),
        (
            service("stream unix nowait root internal discard"),
            SockType::Stream,
        ),
        (
            service("stream unix nowait root internal daytime"),
            SockType::Stream,
        ),
        (
            service("dgram unix wait root internal echo"),
            SockType::Datagram,
        ),
        (
            listens("--allow 127.0.0.0/8 --seqpacket"),
            SockType::SeqPacket,
        ),
        (listens("--allow 127.0.0.0/8"), SockType::Stream),
        (listens("-C 1 -r no"), SockType::Stream),
        (listens("-C 1"), SockType::Stream),
        (
            listens("--proxy-from unix --proxy-timeout 1"),
            SockType::Stream,
        ),
        (format!("--metrics {metrics}\n"), SockType::Stream),
    ];
    for (case, style) in table {
        let (options, file) = case.split_once('\n').unwrap();
        fs::write(&conf, file).unwrap();
        let words = format!("-1 -v -t 127.0.0.1:0 {options} cat");
        let mut skd = Skd::new(&words).start();
        let port = skd.port();
        let path = if options.contains("--metrics") {
            &metrics
        } else {
            &unix
        };
        eventually("a socket", || fs::exists(path).unwrap().then_some(()));
        let mut kept = Vec::new();
        for source in 1..=4 {
            kept.push(brings_trouble(path, style));
            // Each is another source.
            let client = tcp_from_loopback(source, port);
            Client::of_tcp(client).says("hello\n").hears("hello\n");
        }
        skd.status();
        // A log that is rotated is not to be held open by those who close; who discards a datagram has skd's own table.
        let log = fs::read_link(format!("/proc/{}/fd/2", skd.pid())).unwrap();
        eventually("threads without a log", || {
            let is_held = style != SockType::Datagram && closers(&skd).contains(&log);
            (!is_held).then_some(())
        });
        drop(kept);
        skd.stop();
    }
}
