//! A listener to which nobody new connects, while who has connected is still there.

use crate::sys::errno::{Errno, check};
use crate::sys::sockopt;
use std::os::fd::{AsFd, AsRawFd};

/// SO_ATTACH_FILTER of socket(7) on a TCP listener, with a program that drops whatever begins a connection; handshakes
/// that have begun go on. Who has connected and not spoken is not waited for any more by TCP_DEFER_ACCEPT.
pub(crate) fn refuse_tcp(listener: impl AsFd) -> Result<(), Errno> {
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    // It sees a packet from its TCP header on.
    let mut program = [
        step(LOAD_BYTE, 0, FLAGS_OFFSET),
        step(AND, 0, SYN | ACK),
        step(JUMP_UNLESS_EQUAL, 1, SYN),
        step(RETURN, 0, 0),
        step(RETURN, 0, u32::MAX),
    ];
    let filter = libc::sock_fprog {
        len: 5,
        filter: program.as_mut_ptr(),
    };
    let fd = listener.as_fd().as_raw_fd();
    let (pointer, len) = ((&raw const filter).cast(), FILTER_BYTES);
    // SAFETY: the kernel reads one sock_fprog and the five instructions that it points to, which both outlive the call.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, pointer, len) })?;
    sockopt::set_defer_accept(listener, 0)
}

/// shutdown(2) of a unix listener: who connects now is refused, and who has can still be accepted.
pub(crate) fn refuse_unix(listener: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::shutdown(listener.as_fd().as_raw_fd(), libc::SHUT_RD) }).map(drop)
}

/// Codes of linux/bpf_common.h: `BPF_LD | BPF_B | BPF_ABS`, `BPF_ALU | BPF_AND | BPF_K`, `BPF_JMP | BPF_JEQ | BPF_K`,
/// `BPF_RET | BPF_K`, which returns how many bytes of the packet are kept.
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_UNLESS_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// The flags of a TCP header, RFC 9293.
const FLAGS_OFFSET: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;
#[expect(clippy::cast_possible_truncation, reason = "it has sixteen bytes")]
const FILTER_BYTES: libc::socklen_t = size_of::<libc::sock_fprog>() as libc::socklen_t;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::time::Duration;

    #[test]
    fn nobody_new_connects_by_tcp_and_who_has_connected_is_there() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let address = listener.local_addr().unwrap();
            sockopt::set_defer_accept(&listener, 30).unwrap();
            // It has not spoken, and so is in no backlog yet.
            let mut before = TcpStream::connect(address).unwrap();
            refuse_tcp(&listener).unwrap();
            let after = TcpStream::connect_timeout(&address, Duration::from_millis(50));
            assert_eq!(after.unwrap_err().kind(), ErrorKind::TimedOut);
            before.write_all(b"x").unwrap();
            let (mut conn, _) = listener.accept().unwrap();
            conn.read_exact(&mut [0]).unwrap();
            conn.write_all(b"y").unwrap();
            before.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn nobody_new_connects_to_a_unix_socket_and_who_has_connected_is_there() {
        let name = format!("skd-deaf-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let mut before = UnixStream::connect_addr(&address).unwrap();
        refuse_unix(&listener).unwrap();
        let after = UnixStream::connect_addr(&address);
        assert_eq!(after.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let (mut conn, _) = listener.accept().unwrap();
        conn.write_all(b"x").unwrap();
        before.read_exact(&mut [0]).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
