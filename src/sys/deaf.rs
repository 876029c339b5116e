//! A socket that is to hear nothing new, while what has come already is still there.

use crate::sys::errno::{Errno, check};
use std::os::fd::{AsFd, AsRawFd};

/// SO_ATTACH_FILTER of socket(7) with a program that drops every packet: nobody new connects to a TCP listener, and who
/// has connected can still be accepted.
pub(crate) fn hear_nothing(socket: impl AsFd) -> Result<(), Errno> {
    let mut program = [libc::sock_filter {
        code: BPF_RET_CONSTANT,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let filter = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    let fd = socket.as_fd().as_raw_fd();
    let (pointer, len) = ((&raw const filter).cast(), FILTER_BYTES);
    // SAFETY: the kernel reads one sock_fprog and the one instruction that it points to, which both outlive the call.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, pointer, len) })
        .map(drop)
}

/// BPF_RET | BPF_K of linux/bpf_common.h: return the number k, how many bytes of the packet are kept.
const BPF_RET_CONSTANT: u16 = 0x06;
#[expect(clippy::cast_possible_truncation, reason = "it has sixteen bytes")]
const FILTER_BYTES: libc::socklen_t = size_of::<libc::sock_fprog>() as libc::socklen_t;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn nobody_new_connects_and_who_has_connected_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _before = TcpStream::connect(address).unwrap();
        hear_nothing(&listener).unwrap();
        let after = TcpStream::connect_timeout(&address, Duration::from_millis(50));
        assert_eq!(after.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        listener.accept().unwrap();
    }
}
