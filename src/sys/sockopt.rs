//! The options of sockets, each under its own name.

use crate::sys::errno::{Errno, check};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// TCP_NODELAY of tcp(7).
pub(crate) fn set_nodelay(socket: impl AsFd) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::TcpNoDelay, &true)?)
}

/// SO_REUSEADDR of socket(7).
pub(crate) fn set_reuse_address(socket: impl AsFd) -> Result<(), Errno> {
    Ok(setsockopt(&socket, sockopt::ReuseAddr, &true)?)
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
