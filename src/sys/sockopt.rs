//! The options of sockets, each under its own name.

use crate::sys::errno::{Errno, check};
use crate::sys::socket::AF_INET6;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::ffi::{OsStr, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// TCP_NODELAY of tcp(7).
pub(crate) fn set_nodelay(socket: impl AsFd) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::TcpNoDelay, &true)?)
}

/// SO_REUSEADDR of socket(7).
pub(crate) fn set_reuse_address(socket: impl AsFd) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::ReuseAddr, &true)?)
}

/// SO_REUSEPORT of socket(7).
pub(crate) fn set_reuse_port(socket: impl AsFd) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::ReusePort, &true)?)
}

/// IP_FREEBIND of ip(7), or IPV6_FREEBIND, for an internet socket of this family.
pub(crate) fn set_freebind(socket: impl AsFd, domain: c_int) -> Result<(), Errno> {
    match domain {
        AF_INET6 => set_int(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_FREEBIND, 1),
        _ => Ok(setsockopt(&socket, sockopt::IpFreebind, &true)?),
    }
}

/// SO_BINDTODEVICE of socket(7). The kernel cuts a name of more than 15 bytes.
pub(crate) fn bind_to_device(socket: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    Ok(setsockopt(
        &socket,
        sockopt::BindToDevice,
        &name.to_owned(),
    )?)
}

/// SO_KEEPALIVE of socket(7).
pub(crate) fn set_keepalive(socket: impl AsFd) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::KeepAlive, &true)?)
}

/// TCP_KEEPIDLE of tcp(7).
pub(crate) fn set_keepalive_idle(socket: impl AsFd, secs: u16) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::TcpKeepIdle, &secs.into())?)
}

/// TCP_KEEPINTVL of tcp(7).
pub(crate) fn set_keepalive_interval(socket: impl AsFd, secs: u16) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::TcpKeepInterval, &secs.into())?)
}

/// TCP_KEEPCNT of tcp(7).
pub(crate) fn set_keepalive_count(socket: impl AsFd, count: u16) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::TcpKeepCount, &count.into())?)
}

/// SO_SNDBUF of socket(7), in bytes; the kernel doubles it, and caps it at net.core.wmem_max.
pub(crate) fn set_send_buffer(socket: impl AsFd, bytes: u32) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::SndBuf, &(bytes as usize))?)
}

/// SO_RCVBUF of socket(7), in the same way.
pub(crate) fn set_receive_buffer(socket: impl AsFd, bytes: u32) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::RcvBuf, &(bytes as usize))?)
}

/// TCP_DEFER_ACCEPT of tcp(7). The kernel keeps it as a number of retransmissions, and rounds up.
pub(crate) fn set_defer_accept(socket: impl AsFd, secs: u16) -> Result<(), Errno> {
    set_int(
        socket.as_fd(),
        libc::IPPROTO_TCP,
        libc::TCP_DEFER_ACCEPT,
        secs.into(),
    )
}

/// IPV6_V6ONLY of ipv6(7).
pub(crate) fn set_v6_only(socket: impl AsFd, on: bool) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::Ipv6V6Only, &on)?)
}

/// IPV6_V6ONLY of ipv6(7).
pub(crate) fn is_v6_only(socket: impl AsFd) -> bool {
    getsockopt(&socket, sockopt::Ipv6V6Only).unwrap_or(false)
}

/// getsockopt(2) of an option that nix does not know.
pub(super) fn get_int(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    let mut len = INT_BYTES;
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes into `value`, which has that many.
    let done =
        unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut len) };
    check(done).map(|_| value)
}

/// setsockopt(2) of an option that nix does not know.
pub(super) fn set_int(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: c_int,
) -> Result<(), Errno> {
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel reads INT_BYTES bytes of `value`, which is an int.
    let done = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), INT_BYTES) };
    check(done).map(drop)
}

#[expect(clippy::cast_possible_truncation, reason = "an int has four bytes")]
const INT_BYTES: libc::socklen_t = size_of::<c_int>() as libc::socklen_t;
