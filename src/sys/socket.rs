//! Sockets: made, looked at, accepted from.

use crate::sys::errno::{Errno, check, check_len, uninterrupted};
use crate::sys::sockaddr::SockAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, sockopt};
use nix::{getsockopt_impl, sockopt_impl};
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub(crate) use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, IPPROTO_MPTCP as MPTCP,
    SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM,
};

sockopt_impl!(
    /// SO_DOMAIN of socket(7): the family a socket was made with.
    Domain,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_DOMAIN,
    c_int
);
sockopt_impl!(
    /// SO_TYPE of socket(7), as a number: nix knows not all of them.
    Type,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_TYPE,
    c_int
);

sockopt_impl!(
    /// SO_PROTOCOL of socket(7): which protocol of its family.
    Protocol,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_PROTOCOL,
    c_int
);

/// socket(2), close-on-exec and non-blocking, of the usual protocol.
pub(crate) fn make(domain: c_int, style: c_int) -> Result<OwnedFd, Errno> {
    make_of(domain, style, 0)
}

/// The same of another protocol, such as `MPTCP`.
pub(crate) fn make_of(domain: c_int, style: c_int, protocol: c_int) -> Result<OwnedFd, Errno> {
    let style = style | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { libc::socket(domain, style, protocol) })?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new socket of the family, type and protocol of this one.
pub(crate) fn make_like(socket: impl AsFd) -> Result<OwnedFd, Errno> {
    let socket = socket.as_fd();
    let (domain, style, _) = nature(socket)?;
    make_of(domain, style, getsockopt(&socket, Protocol)?)
}

/// bind(2).
pub(crate) fn bind(socket: impl AsFd, address: &SockAddr) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the address has as many bytes as it says and outlives the call.
    check(unsafe { libc::bind(fd, address.as_ptr(), address.len()) }).map(drop)
}

/// connect(2) of a non-blocking socket.
pub(crate) fn connect(socket: impl AsFd, address: &SockAddr) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the address has as many bytes as it says and outlives the call.
    uninterrupted(|| check(unsafe { libc::connect(fd, address.as_ptr(), address.len()) })).map(drop)
}

/// send(2) without waiting and without SIGPIPE: how many bytes were taken.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    uninterrupted(|| {
        // SAFETY: the kernel reads `bytes.len()` bytes of `bytes`, which outlives the call.
        check_len(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
    })
}

/// recv(2) with MSG_PEEK, without waiting: the first bytes that have come, which stay where they are; 0 at the end.
pub(crate) fn look_ahead(socket: impl AsFd, into: &mut [u8]) -> Result<usize, Errno> {
    receive(socket.as_fd(), into, libc::MSG_PEEK)
}

/// recv(2): takes so many bytes that have come, which `look_ahead` has seen.
///
/// # Errors
/// EAGAIN if there are fewer.
pub(crate) fn take(socket: impl AsFd, mut count: usize) -> Result<(), Errno> {
    let mut bytes = [0; 4096];
    while count > 0 {
        let end = count.min(bytes.len());
        let into = bytes.get_mut(..end).unwrap_or_default();
        match receive(socket.as_fd(), into, 0)? {
            0 => return Err(Errno::AGAIN),
            len => count -= len.min(count),
        }
    }
    Ok(())
}

fn receive(socket: BorrowedFd<'_>, into: &mut [u8], flags: c_int) -> Result<usize, Errno> {
    let (fd, flags) = (socket.as_raw_fd(), flags | libc::MSG_DONTWAIT);
    uninterrupted(|| {
        let (pointer, len) = (into.as_mut_ptr().cast(), into.len());
        // SAFETY: the kernel writes at most `len` bytes into `into`, which has that many.
        check_len(unsafe { libc::recv(fd, pointer, len, flags) })
    })
}

/// shutdown(2) of the sending half: the other end reads what was sent, and then the end.
pub(crate) fn end_sending(socket: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::shutdown(socket.as_fd().as_raw_fd(), libc::SHUT_WR) }).map(drop)
}

/// socketpair(2): two ends of a way for messages. Close-on-exec, and blocking: whoever must not wait says so each time.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
    Ok(nix::sys::socket::socketpair(
        family,
        kind,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// send(2) of a message, as soon as there is room for it.
pub(crate) fn send_whole(socket: impl AsFd, message: &[u8]) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let (pointer, len) = (message.as_ptr().cast(), message.len());
    // SAFETY: the kernel reads `len` bytes of `message`, which outlives the call.
    let send = || check_len(unsafe { libc::send(fd, pointer, len, libc::MSG_NOSIGNAL) });
    uninterrupted(send).map(drop)
}

/// recv(2) of a message, without waiting.
///
/// # Errors
/// EAGAIN if there is none.
pub(crate) fn hear(socket: impl AsFd, into: &mut [u8]) -> Result<usize, Errno> {
    receive(socket.as_fd(), into, 0)
}

/// listen(2). The kernel caps the backlog at net.core.somaxconn; nix would refuse more than 4096.
pub(crate) fn listen(socket: impl AsFd, backlog: i32) -> Result<(), Errno> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::listen(socket.as_fd().as_raw_fd(), backlog) }).map(drop)
}

/// accept4(2): the connection, close-on-exec and blocking, and the peer's address. The address comes from the same
/// call, because getpeername(2) has none any more once the client has reset the connection.
pub(crate) fn accept(listener: impl AsFd) -> Result<(OwnedFd, SockAddr), Errno> {
    let listener = listener.as_fd().as_raw_fd();
    let (fd, peer) = with_address(|address, len| {
        // SAFETY: the kernel writes at most *len bytes to `address`, which has that many, and the true length to *len.
        unsafe { libc::accept4(listener, address, len, libc::SOCK_CLOEXEC) }
    })?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, peer))
}

/// getsockname(2).
pub(crate) fn local_address(socket: impl AsFd) -> Result<SockAddr, Errno> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most *len bytes to `address`, which has that many, and the true length to *len.
    let local = with_address(|address, len| unsafe { libc::getsockname(fd, address, len) })?;
    Ok(local.1)
}

/// getpeername(2).
pub(crate) fn peer_address(socket: impl AsFd) -> Result<SockAddr, Errno> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most *len bytes to `address`, which has that many, and the true length to *len.
    let peer = with_address(|address, len| unsafe { libc::getpeername(fd, address, len) })?;
    Ok(peer.1)
}

/// connect(2) to nobody: a datagram socket hears everybody again.
pub(crate) fn disconnect(socket: impl AsFd) -> Result<(), Errno> {
    // SAFETY: an address of this kind is plain old data, for which all zeroes are a value: that of AF_UNSPEC.
    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    const LEN: libc::socklen_t = 16;
    const { assert!(size_of::<libc::sockaddr>() == LEN as usize) };
    // SAFETY: the kernel reads LEN bytes of `nobody`, which has that many.
    check(unsafe { libc::connect(socket.as_fd().as_raw_fd(), &raw const nobody, LEN) }).map(drop)
}

/// What a call returned, and the address that it filled in.
fn with_address(
    call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> c_int,
) -> Result<(c_int, SockAddr), Errno> {
    let mut address = SockAddr::empty();
    let len = &raw mut *address.len_mut();
    let returned = check(call(address.as_mut_ptr(), len))?;
    Ok((returned, address))
}

/// Whether what is not taken of a record is lost: SOCK_SEQPACKET.
pub(crate) fn keeps_records(socket: impl AsFd) -> bool {
    getsockopt(&socket, Type) == Ok(SOCK_SEQPACKET)
}

/// getsockopt(2): family, type, and whether it listens.
pub(crate) fn nature(socket: impl AsFd) -> Result<(c_int, c_int, bool), Errno> {
    let socket = socket.as_fd();
    Ok((
        getsockopt(&socket, Domain)?,
        getsockopt(&socket, Type)?,
        getsockopt(&socket, sockopt::AcceptConn)?,
    ))
}

/// SO_PEERCRED of unix(7): pid, uid and gid of who connected.
pub(crate) fn peer_credentials(socket: impl AsFd) -> Result<(i32, u32, u32), Errno> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok((credentials.pid(), credentials.uid(), credentials.gid()))
}
