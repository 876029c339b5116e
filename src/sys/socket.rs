//! Sockets: made, looked at, accepted from.

use crate::sys::errno::{Errno, check, check_len, uninterrupted};
use crate::sys::sockaddr::SockAddr;
use nix::sys::socket::{GetSockOpt, SetSockOpt, getsockopt, setsockopt, sockopt};
use nix::{getsockopt_impl, sockopt_impl};
use std::ffi::c_int;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub(crate) use libc::{
    AF_INET, AF_INET6, AF_UNIX, AF_VSOCK, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM,
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

/// socket(2), close-on-exec and non-blocking.
pub(crate) fn make(domain: c_int, style: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe {
        libc::socket(domain, style | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
    })?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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

/// listen(2). The kernel caps the backlog at net.core.somaxconn; nix would refuse more than 4096.
pub(crate) fn listen(socket: impl AsFd, backlog: i32) -> Result<(), Errno> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::listen(socket.as_fd().as_raw_fd(), backlog) }).map(drop)
}

/// accept4(2): the connection, close-on-exec and blocking, and the peer's address. The address comes from the same
/// call, because getpeername(2) has none any more once the client has reset the connection.
pub(crate) fn accept(listener: impl AsFd) -> Result<(OwnedFd, SockAddr), Errno> {
    let mut peer = SockAddr::empty();
    let len = &raw mut *peer.len_mut();
    let address = peer.as_mut_ptr();
    // SAFETY: the kernel writes at most *len bytes to `address`, which has that many, and the true length to *len.
    let fd = unsafe {
        libc::accept4(
            listener.as_fd().as_raw_fd(),
            address,
            len,
            libc::SOCK_CLOEXEC,
        )
    };
    let fd = check(fd)?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, peer))
}

/// getsockname(2).
pub(crate) fn local_address(socket: impl AsFd) -> Result<SockAddr, Errno> {
    let mut local = SockAddr::empty();
    let len = &raw mut *local.len_mut();
    let address = local.as_mut_ptr();
    // SAFETY: the kernel writes at most *len bytes to `address`, which has that many, and the true length to *len.
    check(unsafe { libc::getsockname(socket.as_fd().as_raw_fd(), address, len) })?;
    Ok(local)
}

/// getpeername(2).
pub(crate) fn peer_address(socket: impl AsFd) -> Result<SockAddr, Errno> {
    let mut peer = SockAddr::empty();
    let len = &raw mut *peer.len_mut();
    let address = peer.as_mut_ptr();
    // SAFETY: the kernel writes at most *len bytes to `address`, which has that many, and the true length to *len.
    check(unsafe { libc::getpeername(socket.as_fd().as_raw_fd(), address, len) })?;
    Ok(peer)
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

/// IP_TRANSPARENT of ip(7): connections may have any local address.
pub(crate) fn is_transparent(socket: impl AsFd) -> bool {
    getsockopt(&socket, sockopt::IpTransparent).unwrap_or(false)
}

/// What a datagram socket says about its first datagram when asked; which of it was switched on before is kept, so
/// that a program is given the socket as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling {
    domain: c_int,
    stamps_before: bool,
    destination_before: bool,
}

impl Telling {
    pub(crate) fn of(socket: impl AsFd, domain: c_int) -> Self {
        let socket = socket.as_fd();
        let destination_before = match domain {
            AF_INET => getsockopt(&socket, sockopt::Ipv4PacketInfo).unwrap_or(false),
            AF_INET6 => getsockopt(&socket, sockopt::Ipv6RecvPacketInfo).unwrap_or(false),
            _ => false,
        };
        let stamps_before = getsockopt(&socket, sockopt::ReceiveTimestampns).unwrap_or(false);
        Self {
            domain,
            stamps_before,
            destination_before,
        }
    }

    /// SO_TIMESTAMPNS, and IP_PKTINFO or IPV6_RECVPKTINFO: on for looking, back to how they were for a program.
    pub(crate) fn set(self, socket: impl AsFd, on: bool) -> Result<(), Errno> {
        let socket = socket.as_fd();
        set_unless(socket, sockopt::ReceiveTimestampns, on, self.stamps_before)?;
        match self.domain {
            AF_INET => set_unless(socket, sockopt::Ipv4PacketInfo, on, self.destination_before),
            AF_INET6 => set_unless(
                socket,
                sockopt::Ipv6RecvPacketInfo,
                on,
                self.destination_before,
            ),
            _ => Ok(()),
        }
    }
}

fn set_unless<O>(socket: BorrowedFd<'_>, option: O, on: bool, was_on: bool) -> Result<(), Errno>
where
    O: SetSockOpt<Val = bool> + GetSockOpt,
{
    if was_on {
        Ok(())
    } else {
        Ok(setsockopt(&socket, option, &on)?)
    }
}

/// The first datagram of a socket, as far as skd wants to know.
pub(crate) struct Datagram {
    pub(crate) sender: SockAddr,
    /// Its length in bytes.
    pub(crate) len: usize,
    /// When the kernel received it: what tells one datagram from an equal one.
    pub(crate) stamp: Option<Duration>,
    /// Where it was sent to.
    pub(crate) destination: Option<IpAddr>,
}

/// recvmsg(2) with MSG_PEEK: the first datagram, which stays where it is. Never blocks, whatever O_NONBLOCK says.
pub(crate) fn peek(socket: impl AsFd) -> Result<Datagram, Errno> {
    receive(socket, libc::MSG_PEEK)
}

/// recvmsg(2): the first datagram, which is gone thereafter. Never blocks.
pub(crate) fn discard(socket: impl AsFd) -> Result<Datagram, Errno> {
    receive(socket, 0)
}

/// Room for the control messages that `Telling` asks for and for a few that an adopted socket may be set to send.
const CONTROL_BYTES: usize = 512;

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

fn receive(socket: impl AsFd, flags: c_int) -> Result<Datagram, Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let mut sender = SockAddr::empty();
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: msghdr is numbers and pointers, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = sender.as_mut_ptr().cast();
    message.msg_namelen = sender.len();
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_BYTES as _;
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: name and control point to that many bytes of our own, and there is no buffer for data (msg_iovlen is 0).
    let len = uninterrupted(|| check_len(unsafe { libc::recvmsg(fd, &raw mut message, flags) }))?;
    *sender.len_mut() = message.msg_namelen;
    let mut datagram = Datagram {
        sender,
        len,
        stamp: None,
        destination: None,
    };
    // SAFETY: the kernel has filled `message` in, and its control buffer is still there.
    unsafe { read_control(&message, &mut datagram) };
    Ok(datagram)
}

/// Takes timestamp and destination out of the control messages, and closes descriptors that a sender passed along.
///
/// # Safety
/// `message` must be as recvmsg(2) left it, its control buffer alive.
unsafe fn read_control(message: &libc::msghdr, datagram: &mut Datagram) {
    // SAFETY: by the caller's promise.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole header inside the control buffer.
    while let Some(header) = unsafe { next.as_ref() } {
        // SAFETY: the data of a header begins behind it, inside the buffer.
        let body = unsafe { libc::CMSG_DATA(next) };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: this kind of message holds a timespec, perhaps unaligned.
                let stamp: libc::timespec =
                    unsafe { body.cast::<libc::timespec>().read_unaligned() };
                let secs = u64::try_from(stamp.tv_sec).unwrap_or(0);
                datagram.stamp = Some(Duration::new(
                    secs,
                    u32::try_from(stamp.tv_nsec).unwrap_or(0),
                ));
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: this kind of message holds an in_pktinfo, perhaps unaligned.
                let info: libc::in_pktinfo =
                    unsafe { body.cast::<libc::in_pktinfo>().read_unaligned() };
                datagram.destination = Some(IpAddr::V4(u32::from_be(info.ipi_addr.s_addr).into()));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: this kind of message holds an in6_pktinfo, perhaps unaligned.
                let info: libc::in6_pktinfo =
                    unsafe { body.cast::<libc::in6_pktinfo>().read_unaligned() };
                datagram.destination = Some(IpAddr::V6(info.ipi6_addr.s6_addr.into()));
            }
            // SAFETY: this kind of message holds descriptors that the kernel has just made for us.
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => unsafe { close_passed(body, header.cmsg_len) },
            _ => {}
        }
        // SAFETY: `next` is a header inside the control buffer of `message`.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}

/// Closes the descriptors of a control message, which a peek receives as copies each time.
///
/// # Safety
/// `body` must be the data of an SCM_RIGHTS message whose header says `cmsg_len`.
unsafe fn close_passed(body: *const u8, cmsg_len: usize) {
    // SAFETY: the call only computes.
    let head = unsafe { libc::CMSG_LEN(0) } as usize;
    for place in 0..cmsg_len.saturating_sub(head) / size_of::<c_int>() {
        // SAFETY: `place` is below the number of descriptors in the message.
        let number = unsafe { body.cast::<c_int>().wrapping_add(place).read_unaligned() };
        // SAFETY: the kernel has just made this descriptor for us; nothing else knows of it.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_peeked_datagram_stays_and_keeps_its_stamp() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let telling = Telling::of(&receiver, AF_UNIX);
        telling.set(&receiver, true).unwrap();
        sender.send(b"same").unwrap();
        sender.send(b"same").unwrap();
        let first = peek(&receiver).unwrap();
        telling.set(&receiver, false).unwrap();
        assert!(peek(&receiver).unwrap().stamp.is_none());
        telling.set(&receiver, true).unwrap();
        assert_eq!(
            (peek(&receiver).unwrap().stamp, first.len),
            (first.stamp, 4)
        );
        assert!(first.stamp.is_some());
        assert_eq!(discard(&receiver).unwrap().stamp, first.stamp);
        assert_ne!(peek(&receiver).unwrap().stamp, first.stamp);
        discard(&receiver).unwrap();
        assert_eq!(peek(&receiver).err(), Some(Errno(libc::EAGAIN)));
    }
}
