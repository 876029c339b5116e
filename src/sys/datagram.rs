//! The first datagram of a socket: looked at where it is, or discarded.

use crate::sys::conn::look_for_files;
use crate::sys::errno::{Errno, check_len, uninterrupted};
use crate::sys::sockaddr::SockAddr;
use crate::sys::socket::{AF_INET, AF_INET6, AF_UNIX, Domain};
use crate::sys::sockopt::{get_int, set_int};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::ffi::c_int;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// The options that make a datagram socket tell what skd wants to know; those that were on before are kept, so that a
/// program is given the socket as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeekOptions {
    domain: c_int,
    stamps_before: Stamps,
    destination_before: bool,
}

/// How a socket was set to tell when a datagram came. It is one thing in several formats: switching on one switches off
/// the others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stamps {
    Off,
    /// SO_TIMESTAMPNS, the one that skd reads.
    Nanoseconds,
    /// SO_TIMESTAMP, or a format of another size; the number of the option.
    Other(c_int),
}

/// SO_TIMESTAMPNS_NEW and SO_TIMESTAMP_NEW of asm-generic/socket.h; the latter reads as on when the former is.
const OTHER_STAMPS: [c_int; 3] = [libc::SO_TIMESTAMP, 64, 63];

impl Stamps {
    fn of(socket: BorrowedFd<'_>) -> Self {
        let is_on = |option: &c_int| get_int(socket, libc::SOL_SOCKET, *option) == Ok(1);
        if is_on(&libc::SO_TIMESTAMPNS) {
            return Self::Nanoseconds;
        }
        let other = OTHER_STAMPS.into_iter().find(is_on);
        other.map_or(Self::Off, Self::Other)
    }
}

/// Whether a socket is set to tell when a datagram came.
pub(super) fn is_stamped(socket: BorrowedFd<'_>) -> bool {
    Stamps::of(socket) != Stamps::Off
}

impl PeekOptions {
    pub(crate) fn of(socket: impl AsFd, domain: c_int) -> Self {
        let socket = socket.as_fd();
        let destination_before = match domain {
            AF_INET => getsockopt(&socket, sockopt::Ipv4PacketInfo).unwrap_or(false),
            AF_INET6 => getsockopt(&socket, sockopt::Ipv6RecvPacketInfo).unwrap_or(false),
            _ => false,
        };
        Self {
            domain,
            stamps_before: Stamps::of(socket),
            destination_before,
        }
    }

    /// SO_TIMESTAMPNS, and IP_PKTINFO or IPV6_RECVPKTINFO: on for looking, back to how they were for a program.
    pub(crate) fn set(self, socket: impl AsFd, on: bool) -> Result<(), Errno> {
        let socket = socket.as_fd();
        match (self.stamps_before, on) {
            (Stamps::Nanoseconds, _) => {}
            (Stamps::Other(option), false) => set_int(socket, libc::SOL_SOCKET, option, 1)?,
            (Stamps::Off | Stamps::Other(_), _) => {
                setsockopt(&socket, sockopt::ReceiveTimestampns, &on)?;
            }
        }
        match self.domain {
            AF_INET if !self.destination_before => {
                setsockopt(&socket, sockopt::Ipv4PacketInfo, &on)?;
            }
            AF_INET6 if !self.destination_before => {
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &on)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The most datagrams that one segmented send makes of one stamp: UDP_MAX_SEGMENTS of the kernel.
const SEGMENTS: usize = 128;

/// How many datagrams at the head of a UDP socket have the stamp of the first: a sender that leaves the cutting to the
/// kernel (UDP_SEGMENT) makes several. SO_PEEK_OFF of socket(7) looks past each.
///
/// # Errors
/// The socket's own trouble.
pub(crate) fn count_of_first_stamp(socket: impl AsFd) -> Result<usize, Errno> {
    let socket = socket.as_fd();
    let before = get_int(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF)?;
    set_int(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF, 0)?;
    let mut first = None;
    let mut count = 0;
    while count < SEGMENTS {
        let Ok(datagram) = peek(socket) else { break };
        if *first.get_or_insert(datagram.stamp) != datagram.stamp {
            break;
        }
        count += 1;
    }
    set_int(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF, before)?;
    Ok(count)
}

/// SO_PEEK_OFF of socket(7), as a socket has it at first: who looks sees the first datagram, whole.
///
/// # Errors
/// There is no such option.
pub(crate) fn look_at_the_front(socket: impl AsFd) -> Result<(), Errno> {
    set_int(socket.as_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, -1)
}

/// The first datagram of a socket, as far as skd wants to know.
pub(crate) struct Datagram {
    pub(crate) sender: SockAddr,
    /// Its length in bytes.
    pub(crate) len: usize,
    /// When the kernel received it.
    pub(crate) stamp: Option<Duration>,
    /// Where it was sent to.
    pub(crate) destination: Option<IpAddr>,
}

/// recvmsg(2) with MSG_PEEK: the first datagram, which stays where it is. Never blocks, whatever O_NONBLOCK says.
pub(crate) fn peek(socket: impl AsFd) -> Result<Datagram, Errno> {
    let domain = getsockopt(&socket.as_fd(), Domain)?;
    receive(socket, libc::MSG_PEEK, control_len(domain), &mut [])
}

/// recvmsg(2): the first datagram, which is gone thereafter. Never blocks, but for what a sender on this machine passed
/// along with it: the last to let go of a file may have to wait for it.
pub(crate) fn discard(socket: impl AsFd) -> Result<(), Errno> {
    // Without any room for control messages no descriptor is made for us.
    receive(socket, 0, 0, &mut []).map(drop)
}

/// recvmsg(2): the first datagram, as much of it as there is room for in `into`. Never blocks.
///
/// # Errors
/// NOT_PERMITTED if descriptors were passed along with it; then it stays where it is.
pub(crate) fn take(socket: impl AsFd, into: &mut [u8]) -> Result<Datagram, Errno> {
    let control = match getsockopt(&socket.as_fd(), Domain)? {
        AF_UNIX => {
            look_for_files(socket.as_fd(), &mut [])?;
            0
        }
        domain => control_len(domain),
    };
    receive(socket, 0, control, into)
}

/// Room for the control messages that `PeekOptions` asks for.
const CONTROL_BYTES: usize = 128;

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// How much of it the kernel is shown when the first datagram is looked at. For a unix socket it is just a timestamp,
/// which comes first: there is no room for descriptors that a sender passes along, so that none is ever made for us.
fn control_len(domain: c_int) -> usize {
    match domain {
        AF_UNIX => control_space::<libc::timespec>(),
        _ => CONTROL_BYTES,
    }
}

/// CMSG_SPACE(3) of a control message that holds this.
pub(super) fn control_space<T>() -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
    let bytes = size_of::<T>() as libc::c_uint;
    // SAFETY: the call only computes.
    unsafe { libc::CMSG_SPACE(bytes) as usize }
}

fn receive(
    socket: impl AsFd,
    flags: c_int,
    control_len: usize,
    into: &mut [u8],
) -> Result<Datagram, Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let mut sender = SockAddr::empty();
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: msghdr is numbers and pointers, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    let mut piece = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    (message.msg_iov, message.msg_iovlen) = (&raw mut piece, 1);
    message.msg_name = sender.as_mut_ptr().cast();
    message.msg_namelen = sender.len();
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control_len;
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC;
    let len = uninterrupted(|| {
        // SAFETY: name, control and the one piece for data point to that many bytes of our own.
        check_len(unsafe { libc::recvmsg(fd, &raw mut message, flags) })
    })?;
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

/// Takes timestamp and destination out of the control messages.
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
                let stamp = unsafe { body.cast::<libc::timespec>().read_unaligned() };
                let secs = u64::try_from(stamp.tv_sec).unwrap_or(0);
                let nanos = u32::try_from(stamp.tv_nsec).unwrap_or(0);
                datagram.stamp = Some(Duration::new(secs, nanos));
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: this kind of message holds an in_pktinfo, perhaps unaligned.
                let info = unsafe { body.cast::<libc::in_pktinfo>().read_unaligned() };
                datagram.destination = Some(IpAddr::V4(u32::from_be(info.ipi_addr.s_addr).into()));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: this kind of message holds an in6_pktinfo, perhaps unaligned.
                let info = unsafe { body.cast::<libc::in6_pktinfo>().read_unaligned() };
                datagram.destination = Some(IpAddr::V6(info.ipi6_addr.s6_addr.into()));
            }
            _ => {}
        }
        // SAFETY: `next` is a header inside the control buffer of `message`.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_peeked_datagram_stays_and_keeps_its_stamp() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let options = PeekOptions::of(&receiver, AF_UNIX);
        options.set(&receiver, true).unwrap();
        sender.send(b"same").unwrap();
        sender.send(b"same").unwrap();
        let first = peek(&receiver).unwrap();
        options.set(&receiver, false).unwrap();
        assert!(peek(&receiver).unwrap().stamp.is_none());
        options.set(&receiver, true).unwrap();
        assert_eq!(
            (peek(&receiver).unwrap().stamp, first.len),
            (first.stamp, 4)
        );
        assert!(first.stamp.is_some());
        discard(&receiver).unwrap();
        assert_ne!(peek(&receiver).unwrap().stamp, first.stamp);
        discard(&receiver).unwrap();
        assert_eq!(peek(&receiver).err(), Some(Errno(libc::EAGAIN)));
    }

    #[test]
    fn descriptors_that_come_along_are_never_made() {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let options = PeekOptions::of(&receiver, AF_UNIX);
        options.set(&receiver, true).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let passed = [file.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&passed)];
        let bytes = [std::io::IoSlice::new(b"x")];
        sendmsg::<()>(
            sender.as_raw_fd(),
            &bytes,
            &message,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        // The number that the next descriptor of this thread would have may be anyone's; the stamp shows that the
        // control messages were read.
        assert!(peek(&receiver).unwrap().stamp.is_some());
        assert!(control_len(AF_UNIX) < 16 + 2 * size_of::<libc::timespec>());
        discard(&receiver).unwrap();
    }

    #[test]
    fn a_socket_keeps_the_format_of_its_stamps() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for option in [libc::SO_TIMESTAMP, libc::SO_TIMESTAMPNS, 63, 64] {
            set_int(socket.as_fd(), libc::SOL_SOCKET, option, 1).unwrap();
            let options = PeekOptions::of(&socket, AF_INET);
            for on in [true, false, true, false] {
                options.set(&socket, on).unwrap();
            }
            assert_eq!(
                get_int(socket.as_fd(), libc::SOL_SOCKET, option),
                Ok(1),
                "{option}"
            );
            set_int(socket.as_fd(), libc::SOL_SOCKET, option, 0).unwrap();
        }
    }
}
