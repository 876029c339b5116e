//! What the tests run as PROG: it reports what it was given, or behaves as a test needs it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::exit,
    unsafe_code,
    reason = "a probe that fails ends by panicking, and says so"
)]

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, sockopt,
};
use nix::{getsockopt_impl, sockopt_impl};
use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

sockopt_impl!(
    /// SO_PROTOCOL of socket(7).
    Protocol,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_PROTOCOL,
    libc::c_int
);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map_or("", String::as_str) {
        // The report on stdout, then end.
        "report" => answer(&report()),
        // The report as an answer to the first datagram, which is taken.
        "report-datagram" => report_datagram(),
        // One line, `ready PID`, then wait for the end of stdin, then `bye`.
        "hold" => {
            answer(&format!("ready {}\n", std::process::id()));
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            answer("bye\n");
        }
        // Takes one datagram and sends it back.
        "echo-datagram" => echo_datagram(),
        // `ready` on stderr, then `got NAME` for each signal; ends with 7 at those that the further words name.
        "told" => be_told(words.get(1..).unwrap_or_default()),

        // Takes one datagram and puts the report into the file named.
        "report-to" => report_to(&words[1]),
        // Answers each datagram with `PID TEXT`, and ends behind the one that says `end`.
        "talk-datagram" => talk_datagram(),
        // Echoes the first datagram, unless it begins with `bad`: then it is left where it is.
        "picky-datagram" => picky_datagram(),
        // The same, and leaves the socket such that whoever looks sees what is behind the first byte.
        "peek-further" => {
            picky_datagram();
            let one = 1i32;
            // SAFETY: the kernel reads one int.
            let set = unsafe {
                let value = (&raw const one).cast();
                libc::setsockopt(0, libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, 4)
            };
            assert_eq!(set, 0);
        }
        // Takes one datagram, answers with the socket's settings, and leaves the socket non-blocking.
        "inspect-datagram" => inspect_datagram(),
        // Has a listener on the descriptor named; accepts once, sends its report, and ends.
        "accept-report" => drop(accept(&words[1]).write_all(report().as_bytes())),
        // Accepts and says bye, and shuts the listener as shutdown(2) does.
        "accept-and-shut" => {
            let mut conn = accept(&words[1]);
            socket::shutdown(0, socket::Shutdown::Both).unwrap();
            let _ = conn.write_all(b"bye\n");
        }
        // Takes one datagram and sends it back, and leaves the socket connected to the sender.
        "echo-and-connect" => {
            let socket = datagram_socket();
            let mut heard = [0; 99];
            let (len, sender) = socket.recv_from(&mut heard).unwrap();
            socket.connect(sender).unwrap();
            socket.send(&heard[..len]).unwrap();
        }
        // Accepts once, and sends back what it hears until the end.
        "accept-echo" => {
            let mut conn = accept(&words[1]);
            let mut text = Vec::new();
            let _ = conn.read_to_end(&mut text);
            let _ = conn.write_all(&text);
        }
        // Accepts once, and says its pid.
        "accept-once" => drop(accept(&words[1]).write_all(own_pid().as_bytes())),
        // Accepts and answers each first line with its pid and the line, until one says `end`.
        "accept-until-end" => accept_until_end(&words[1]),
        // Takes one message from a queue on descriptor 0, and tells it.
        "read-message" => read_message(),
        // A client: connects from one address to another and prints what it hears, until it hears or is told no more.
        "client" => client(&words[1], &words[2]),
        // A crowd: so many connections to an address, until stdin ends.
        "crowd" => crowd(&words[1], &words[2]),
        // Becomes the program named behind it, with its first word, NAME=VALUE, twice in the environment.
        "twice" => twice(&words[1..]),
        // Becomes the program behind it, with LISTEN_PIDFDID being right, or wrong by the number named.
        "pidfd-id" => with_pidfd_id(&words[1], &words[2..]),
        // Becomes the program named behind it, with every signal ignored, those that libc keeps for itself too.
        "deaf" => become_deaf(&words[1..]),
        other => {
            eprintln!("probe: unknown word {other:?}");
            std::process::exit(99);
        }
    }
}

fn answer(text: &str) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// One fact a line: `fd N WHAT FLAGS`, `signals FIELD HEX`, `limit SOFT HARD`, `cwd PATH`, `umask OCTAL`, `pid PID PPID
/// PGRP SID`, `nodelay 0|1`, `keepalive off|IDLE,INTERVAL,COUNT`, `protocol NUMBER`, `word TEXT`, `env NAME=VALUE`
/// (sorted).
fn report() -> String {
    let mut lines = Vec::new();
    for number in 0..1024 {
        if let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{number}")) {
            let info =
                std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
            let flags = info
                .lines()
                .find_map(|line| line.strip_prefix("flags:"))
                .unwrap_or("?")
                .trim();
            let flags = i32::from_str_radix(flags, 8).unwrap_or(-1);
            let blocking = if flags & libc::O_NONBLOCK == 0 {
                "blocking"
            } else {
                "nonblocking"
            };
            lines.push(format!("fd {number} {} {blocking}", target.display()));
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for name in ["SigBlk", "SigIgn"] {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}:")));
        lines.push(format!("signals {name} {}", value.unwrap().trim()));
    }
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .unwrap();
    lines.push(format!("umask {}", umask.trim()));
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let open = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    lines.push(format!(
        "limit {}",
        open.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    ));
    lines.push(format!(
        "cwd {}",
        std::env::current_dir().unwrap().display()
    ));
    let (pgrp, sid) = (nix::unistd::getpgrp(), nix::unistd::getsid(None).unwrap());
    lines.push(format!(
        "pid {} {} {pgrp} {sid}",
        std::process::id(),
        nix::unistd::getppid()
    ));
    let nodelay = socket::getsockopt(&std::io::stdin(), sockopt::TcpNoDelay);
    lines.push(format!("nodelay {}", u8::from(nodelay.unwrap_or(false))));
    lines.push(format!("keepalive {}", keepalive()));
    let protocol = socket::getsockopt(&std::io::stdin(), Protocol);
    lines.push(format!("protocol {}", protocol.unwrap_or(-1)));
    lines.extend(std::env::args().map(|word| format!("word {word}")));
    let mut environment: Vec<_> = std::env::vars_os().collect();
    environment.sort();
    for (name, value) in environment {
        let (name, value) = (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        );
        lines.push(format!("env {name}={value}"));
    }
    lines.join("\n") + "\n"
}

/// SO_KEEPALIVE of descriptor 0, and the times and the count of it: `off`, or `IDLE,INTERVAL,COUNT`.
fn keepalive() -> String {
    let stdin = std::io::stdin();
    if socket::getsockopt(&stdin, sockopt::KeepAlive) != Ok(true) {
        return "off".into();
    }
    let numbers = [
        socket::getsockopt(&stdin, sockopt::TcpKeepIdle),
        socket::getsockopt(&stdin, sockopt::TcpKeepInterval),
        socket::getsockopt(&stdin, sockopt::TcpKeepCount),
    ];
    numbers.map(|number| number.unwrap().to_string()).join(",")
}

/// Descriptor 0 as a datagram socket of any family: the calls used here do not depend on it.
fn datagram_socket() -> std::net::UdpSocket {
    let stdin = std::io::stdin();
    let copy = std::os::fd::AsFd::as_fd(&stdin)
        .try_clone_to_owned()
        .unwrap();
    std::net::UdpSocket::from(copy)
}

fn report_datagram() {
    let text = report();
    if std::env::var("PROTO").as_deref() == Ok("UNIX") {
        let socket = UnixDatagram::from(std::os::fd::OwnedFd::from(datagram_socket()));
        let (_, sender) = socket.recv_from(&mut [0; 65536]).unwrap();
        match sender.as_pathname() {
            Some(path) => drop(socket.send_to(text.as_bytes(), path).unwrap()),
            None => eprint!("{text}"),
        }
    } else {
        let socket = datagram_socket();
        let (_, sender) = socket.recv_from(&mut [0; 65536]).unwrap();
        socket.send_to(text.as_bytes(), sender).unwrap();
    }
}

fn echo_datagram() {
    let socket = datagram_socket();
    let mut heard = [0; 65536];
    let (len, sender) = socket.recv_from(&mut heard).unwrap();
    socket.send_to(&heard[..len], sender).unwrap();
}

fn be_told(ends: &[String]) {
    let all = nix::sys::signal::SigSet::all();
    all.thread_block().unwrap();
    eprintln!("ready");
    loop {
        let name = all.wait().unwrap().as_str();
        let name = name.strip_prefix("SIG").unwrap_or(name);
        eprintln!("got {name}");
        if ends.iter().any(|end| end == name) {
            std::process::exit(7);
        }
    }
}

/// Takes one datagram from descriptor 0, a socket of any family; its sender is `None` if it cannot be answered.
fn take_datagram() -> (Vec<u8>, Option<SockaddrStorage>) {
    let mut heard = vec![0; 65536];
    let (len, sender) = socket::recvfrom::<SockaddrStorage>(0, &mut heard).unwrap();
    heard.truncate(len);
    (heard, sender)
}

fn send_datagram(text: &[u8], to: Option<SockaddrStorage>) {
    socket::sendto(0, text, &to.unwrap(), MsgFlags::empty()).unwrap();
}

fn report_to(path: &str) {
    let text = report();
    take_datagram();
    let whole = format!("{path}.whole");
    std::fs::write(&whole, text).unwrap();
    std::fs::rename(whole, path).unwrap();
}

fn talk_datagram() {
    loop {
        let (heard, sender) = take_datagram();
        let text = String::from_utf8_lossy(&heard);
        send_datagram(format!("{} {text}", std::process::id()).as_bytes(), sender);
        if text == "end" {
            return;
        }
    }
}

fn picky_datagram() {
    let mut first = [0; 3];
    let len = socket::recv(0, &mut first, MsgFlags::MSG_PEEK).unwrap();
    if &first[..len] != b"bad" {
        let (heard, sender) = take_datagram();
        send_datagram(&heard, sender);
    }
}

fn inspect_datagram() {
    let stdin = std::io::stdin();
    let flags = OFlag::from_bits_retain(fcntl(&stdin, FcntlArg::F_GETFL).unwrap());
    let blocking = if flags.contains(OFlag::O_NONBLOCK) {
        "nonblocking"
    } else {
        "blocking"
    };
    let told = [
        socket::getsockopt(&stdin, sockopt::ReceiveTimestampns),
        socket::getsockopt(&stdin, sockopt::ReceiveTimestamp),
        socket::getsockopt(&stdin, sockopt::Ipv4PacketInfo),
        socket::getsockopt(&stdin, sockopt::Ipv6RecvPacketInfo),
    ];
    let told = told.iter().filter(|told| **told == Ok(true)).count();
    let (_, sender) = take_datagram();
    fcntl(&stdin, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    send_datagram(format!("{blocking}, {told} told").as_bytes(), sender);
}

fn own_pid() -> String {
    format!("{}\n", std::process::id())
}

/// The next connection of a listener of any family on this descriptor.
fn accept(number: &str) -> TcpStream {
    let conn = socket::accept(number.parse().unwrap()).unwrap();
    #[allow(unsafe_code, reason = "nix gives a number")]
    // SAFETY: the kernel has just made it; nothing else knows of it.
    let conn: TcpStream = unsafe { std::os::fd::FromRawFd::from_raw_fd(conn) };
    conn
}

fn accept_until_end(number: &str) {
    loop {
        let mut conn = accept(number);
        let mut line = String::new();
        let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(&conn), &mut line);
        read.unwrap();
        let _ = conn.write_all(format!("{} {line}", std::process::id()).as_bytes());
        if line == "end\n" {
            return;
        }
    }
}

fn read_message() {
    let mut text = [0u8; 8192];
    let (pointer, len) = (text.as_mut_ptr().cast(), text.len());
    #[allow(unsafe_code, reason = "nix has it behind a feature")]
    // SAFETY: the call writes at most `len` bytes into `text`, which has that many.
    let len = unsafe { libc::mq_receive(0, pointer, len, std::ptr::null_mut()) };
    let text = &text[..usize::try_from(len).unwrap()];
    eprintln!(
        "{} took {}",
        std::process::id(),
        String::from_utf8_lossy(text)
    );
}

fn client(from: &str, to: &str) {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let family = if to.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let conn = socket::socket(family, SockType::Stream, SockFlag::empty(), None).unwrap();
    socket::bind(conn.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
    socket::connect(conn.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut conn = TcpStream::from(conn);
    answer(&format!("{}\n", conn.local_addr().unwrap().port()));
    let _ = std::io::copy(&mut conn, &mut std::io::stdout());
}

fn crowd(count: &str, to: &str) {
    let count: u32 = count.parse().unwrap();
    let conns = (0..count).map(|_| TcpStream::connect(to).unwrap());
    let conns: Vec<_> = conns.collect();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(conns);
}

fn c_strings(words: &[String]) -> Vec<CString> {
    let word = |word: &String| CString::new(word.as_str()).unwrap();
    words.iter().map(word).collect()
}

fn become_deaf(words: &[String]) {
    // The kernel's struct sigaction of most machines has the handler first.
    let mut ignored = [0usize; 8];
    ignored[0] = libc::SIG_IGN;
    for number in 1..=64 {
        // SAFETY: the kernel reads one sigaction, which is shorter than `ignored`; 8 is the size of its signal set.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, ignored.as_ptr(), 0, 8) };
    }
    let words = c_strings(words);
    let failed = nix::unistd::execvp(&words[0], &words);
    eprintln!("probe: {failed:?}");
}

fn with_pidfd_id(more: &str, words: &[String]) {
    #[allow(unsafe_code, reason = "nix has no such call")]
    // SAFETY: the call takes no pointer.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    let link = format!("/proc/self/fd/{pidfd}");
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(link).unwrap());
    let wrong: u64 = more.parse().unwrap();
    let mut program = std::process::Command::new(&words[0]);
    let program = program
        .args(&words[1..])
        .env("LISTEN_PIDFDID", (inode + wrong).to_string());
    eprintln!(
        "probe: {}",
        std::os::unix::process::CommandExt::exec(program)
    );
}

fn twice(words: &[String]) {
    let words = c_strings(words);
    let failed = nix::unistd::execve(&words[1], &words[1..], &[&words[0], &words[0]]);
    eprintln!("probe: {failed:?}");
}
