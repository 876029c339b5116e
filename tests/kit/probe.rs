//! What the tests run as PROG: it reports what it was given, or behaves as a test needs it.

use nix::libc;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;

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
/// PGRP SID`, `nodelay 0|1`, `word TEXT`, `env NAME=VALUE` (sorted).
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
    let nodelay =
        nix::sys::socket::getsockopt(&std::io::stdin(), nix::sys::socket::sockopt::TcpNoDelay);
    lines.push(format!("nodelay {}", u8::from(nodelay.unwrap_or(false))));
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
