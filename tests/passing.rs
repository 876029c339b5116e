//! Clients that pass descriptors along which take long to close: a TCP connection that lingers. Whoever is the last to
//! close one waits, which must never be skd's loop.

use crate::kit::net::{Client, raw_socket, set_nonblocking, tcp_from_loopback, unix_datagram};
use crate::kit::skd::{Running, Skd};
use crate::kit::strace::Strace;
use crate::kit::{DEADLINE, Folder, eventually, need, seccomp};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockType, UnixAddr, connect, recv, sendmsg,
    setsockopt, sockopt,
};
use std::fs;
use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Longer than any test waits, in seconds.
const LINGERS: libc::c_int = 600;

/// More clients than may bring what takes long to close, and than a backlog holds.
const MANY: usize = 400;

/// More than there are threads that close, and than there are of those that discard.
const SOME: usize = 20;

/// Whoever connects to it is not taken much from.
fn stingy() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    setsockopt(&listener, sockopt::RcvBuf, &1).unwrap();
    listener
}

/// A connection with more unsent than the other end takes, so that closing it takes its time, and that other end, which
/// keeps it so.
fn lingering(stingy: &TcpListener) -> (TcpStream, TcpStream) {
    let mut conn = TcpStream::connect(stingy.local_addr().unwrap()).unwrap();
    let (other, _) = stingy.accept().unwrap();
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: LINGERS,
    };
    setsockopt(&conn, sockopt::Linger, &linger).unwrap();
    conn.set_nonblocking(true).unwrap();
    while conn.write(&[0; 65536]).is_ok() {}
    (conn, other)
}

/// Passes a descriptor to whoever hears at this path. `None` if nobody is taken out of the backlog, which is full; false
/// if the client has been shown the door already.
fn passes(passed: &impl AsRawFd, path: &str, style: SockType) -> Option<bool> {
    let socket: OwnedFd = raw_socket(AddressFamily::Unix, style);
    set_nonblocking(&socket, true);
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).ok()?;
    Some(pass(&socket, passed))
}

/// Whether the client could still pass it.
fn pass(socket: &OwnedFd, passed: &impl AsRawFd) -> bool {
    let passed = [passed.as_raw_fd()];
    let bytes = [IoSlice::new(b"x")];
    let parts = [ControlMessage::ScmRights(&passed)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &bytes, &parts, flags, None).is_ok()
}

/// Passes a lingering connection on, and keeps no copy; it lingers as long as the result is there. `None` as `passes`.
fn brings_trouble(listener: &TcpListener, path: &str, style: SockType) -> Option<TcpStream> {
    let (conn, kept) = lingering(listener);
    let passed = passes(&conn, path, style);
    if passed != Some(true) {
        // Then it is not to wait itself.
        let at_once = libc::linger {
            l_onoff: 0,
            l_linger: 0,
        };
        setsockopt(&conn, sockopt::Linger, &at_once).unwrap();
    }
    // It may be skd that has let go of it first.
    std::thread::spawn(move || drop(conn));
    passed.map(|_| kept)
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
    let listener = stingy();
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
            kept.push(brings_trouble(&listener, path, style).unwrap());
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

/// As if the threads that close took nothing any more: who brings something then stays in the backlog, until that is full.
#[test]
fn what_takes_long_to_close_has_a_bound() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("s");
    let listener = stingy();
    for options in [
        format!("--metrics {path}"),
        format!("-b 64 --proxy-from unix --proxy-timeout 60 -l {path}"),
    ] {
        let mut skd = Skd::new(&format!("-1 -v -t 127.0.0.1:0 {options} cat")).start();
        let port = skd.port();
        let strace = Strace::on(&skd, "-e inject=sendmsg:error=EAGAIN -o /dev/null");
        let mut kept = Vec::new();
        let mut full = 0;
        // A turn of the loop, of which there is one between two answers, takes some out of a backlog that is served.
        while kept.len() < MANY && full < 30 {
            match brings_trouble(&listener, &path, SockType::Stream) {
                Some(conn) => {
                    kept.push(conn);
                    full = 0;
                }
                None => full += 1,
            }
            skd.status();
        }
        assert!(kept.len() < MANY, "{options}");
        Client::tcp(port).says("hello\n").hears("hello\n");
        drop(strace);
        eventually("room in the backlog", || {
            kept.push(brings_trouble(&listener, &path, SockType::Stream)?);
            Some(())
        });
        drop(kept);
        skd.stop();
    }
}

/// Each of the pipes ends when skd lets go of the connection through which its other end was passed.
#[test]
fn what_takes_long_to_close_keeps_nothing_behind_it_open() {
    let folder = Folder::new();
    let path = folder.path("s");
    let mut skd = Skd::new(&format!("-1 -v -t 127.0.0.1:0 --metrics {path} cat")).start();
    let port = skd.port();
    let listener = stingy();
    let mut kept = Vec::new();
    let mut pipes = Vec::new();
    for _ in 0..SOME {
        kept.push(brings_trouble(&listener, &path, SockType::Stream).unwrap());
        let (ours, passed) = std::io::pipe().unwrap();
        assert_eq!(passes(&passed, &path, SockType::Stream), Some(true));
        pipes.push(ours);
        // Whoever closes has time to take it.
        Client::tcp(port).says("hello\n").hears("hello\n");
    }
    for pipe in &mut pipes {
        let mut asked = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        let waits = PollTimeout::try_from(DEADLINE).unwrap();
        assert_eq!(poll(&mut asked, waits), Ok(1));
    }
    drop(kept);
    skd.stop();
}

/// The first datagram of each service has to be thrown away before the next can be answered.
#[test]
fn what_lingers_in_a_datagram_keeps_no_datagram_behind_it_waiting() {
    let folder = Folder::new();
    let conf = folder.path("inetd.conf");
    let paths: Vec<String> = (0..SOME).map(|it| folder.path(&it.to_string())).collect();
    let service = |path: &String| format!("{path} dgram unix wait root internal echo\n");
    fs::write(&conf, paths.iter().map(service).collect::<String>()).unwrap();
    let skd = Skd::new(&format!("-v --inetd-conf {conf}")).start();
    let listener = stingy();
    let client = unix_datagram(&folder.path("client"));
    // So that it is skd that lets go of them last.
    let trouble = |path: &String| {
        let (conn, kept) = lingering(&listener);
        assert_eq!(passes(&conn, path, SockType::Datagram), Some(true));
        kept
    };
    let kept: Vec<_> = skd.while_stopped(|| paths.iter().map(trouble).collect());
    for path in &paths {
        client.send_to(path.as_bytes(), path).unwrap();
        let mut heard = [0; 256];
        let len = client.recv(&mut heard).unwrap();
        assert_eq!(&heard[..len], path.as_bytes());
    }
    drop(kept);
    skd.stop();
}

/// The connection is kept for a while; as long as that may be, its client hears of the end.
#[test]
fn who_is_not_let_in_hears_of_the_end_at_once_whatever_was_passed() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("s");
    let uid = nix::unistd::getuid();
    for (options, style) in [
        (
            format!("--seqpacket --deny uid:{uid} -l {path}"),
            SockType::SeqPacket,
        ),
        (format!("--metrics {path} -t 127.0.0.1:0"), SockType::Stream),
    ] {
        let skd = Skd::new(&format!("-v {options} true")).start();
        // As if the threads that close took nothing any more.
        let strace = Strace::on(&skd, "-e inject=sendmsg:error=EAGAIN -o /dev/null");
        let socket: OwnedFd = raw_socket(AddressFamily::Unix, style);
        connect(socket.as_raw_fd(), &UnixAddr::new(path.as_str()).unwrap()).unwrap();
        pass(&socket, &std::io::stdin());
        eventually("the end", || {
            let heard = recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT);
            (heard == Ok(0)).then_some(())
        });
        drop(strace);
        skd.stop();
    }
}

/// unshare(2) fails so in many a container.
#[test]
fn where_threads_may_have_no_table_of_their_own_what_was_passed_is_closed_too() {
    let folder = Folder::new();
    let path = folder.path("s");
    let start = || {
        seccomp::forbid(libc::SYS_unshare.try_into().unwrap(), libc::EPERM);
        Skd::new(&format!("-v --metrics {path} -t 127.0.0.1:0 true")).start()
    };
    let skd = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
    let (ours, passed) = std::io::pipe().unwrap();
    assert_eq!(passes(&passed, &path, SockType::Stream), Some(true));
    drop(passed);
    let mut asked = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
    let waits = PollTimeout::try_from(DEADLINE).unwrap();
    assert_eq!(poll(&mut asked, waits), Ok(1));
    skd.stop();
}

/// Every place is taken, and the next one who brings something waits in the backlog.
#[test]
fn what_waits_in_a_backlog_keeps_skd_from_ending_no_more_than_what_does_not() {
    let folder = Folder::new();
    let path = folder.path("s");
    let listener = stingy();
    for (options, places) in [
        (format!("--metrics {path}"), 64),
        (format!("-c 1 -l {path}"), 1),
    ] {
        let skd = Skd::new(&format!("-1 -v -t 127.0.0.1:0 {options} cat")).start();
        let places = (0..places).map(|_| UnixStream::connect(&path).unwrap());
        let places: Vec<UnixStream> = places.collect();
        let kept = brings_trouble(&listener, &path, SockType::Stream).unwrap();
        skd.stop();
        drop((places, kept));
    }
}

#[test]
fn an_upgrade_waits_for_nothing_that_is_still_to_be_closed() {
    let folder = Folder::new();
    let path = folder.path("s");
    let listener = stingy();
    let mut skd = Skd::new(&format!("-1 -vv -t 127.0.0.1:0 --metrics {path} cat")).start();
    let port = skd.port();
    let kept: Vec<_> = (0..3)
        .map(|_| brings_trouble(&listener, &path, SockType::Stream).unwrap())
        .collect();
    skd.signal(Signal::SIGUSR2);
    skd.waits_for("in the place of the skd before");
    Client::tcp(port).says("hello\n").hears("hello\n");
    drop(kept);
    skd.stop();
}

/// Then nobody but skd has the connection.
#[test]
fn a_connection_for_which_there_is_no_process_is_closed_without_waiting() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("s");
    let listener = stingy();
    let mut skd = Skd::new(&format!("-v -l {path} cat")).start();
    let none = "-e inject=clone,?fork,?vfork:error=EAGAIN -o /dev/null";
    let strace = Strace::on(&skd, none);
    let kept = brings_trouble(&listener, &path, SockType::Stream).unwrap();
    skd.waits_for("closing the connection");
    skd.status();
    drop((strace, kept));
    skd.stop();
}

/// The program has ended long before skd comes to close what it had given to it.
#[test]
fn a_program_that_ends_at_once_leaves_nothing_to_skd_that_takes_long_to_close() {
    if !need::program("strace") || !need::root() {
        return;
    }
    let folder = Folder::new();
    let (path, conf) = (folder.path("s"), folder.path("inetd.conf"));
    let service = format!("{path} stream unix nowait nobody /bin/true\n");
    fs::write(&conf, service).unwrap();
    let listener = stingy();
    for options in [format!("-l {path}"), format!("--inetd-conf {conf}")] {
        let mut skd = Skd::new(&format!("-1 -v -t 127.0.0.1:0 {options} true")).start();
        let port = skd.port();
        let late = "-e trace=close -e inject=close:delay_enter=300000 -o /dev/null";
        let strace = Strace::on(&skd, late);
        let kept = brings_trouble(&listener, &path, SockType::Stream).unwrap();
        skd.waits_for(&format!("accept unix:{path}"));
        assert_eq!(Client::tcp(port).hears_all(), "", "{options}");
        skd.status();
        drop((strace, kept));
        skd.stop();
    }
}

/// The client brings it when skd has looked and not closed yet, which skd is made to take long for.
#[test]
fn what_comes_while_skd_lets_go_of_a_connection_keeps_it_for_a_moment_at_most() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("s");
    let listener = stingy();
    let mut skd = Skd::new(&format!("-1 -v -t 127.0.0.1:0 -l {path} true")).start();
    let port = skd.port();
    let late = "-e trace=close -e inject=close:delay_enter=300000 -o /dev/null";
    let strace = Strace::on(&skd, late);
    let (conn, kept) = lingering(&listener);
    let client = UnixStream::connect(&path).unwrap();
    eventually("a child", || (!skd.children().is_empty()).then_some(()));
    pass(&client.into(), &conn);
    std::thread::spawn(move || drop(conn));
    skd.waits_for(&format!("accept unix:{path}"));
    assert_eq!(Client::tcp(port).hears_all(), "");
    skd.status();
    drop((strace, kept));
    skd.stop();
}
