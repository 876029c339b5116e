//! A datagram in answer to another, from the address that the other was sent to.

use crate::sys::errno::{Errno, check_len, uninterrupted};
use crate::sys::sockaddr::SockAddr;
use crate::sys::socket::{AF_INET, AF_INET6, Domain};
use nix::sys::socket::getsockopt;
use std::ffi::c_int;
use std::mem::{offset_of, zeroed};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// One control message, as CMSG_DATA(3) has it: what it holds begins where the header ends, which is aligned for both.
#[repr(C)]
struct Control<T> {
    header: libc::cmsghdr,
    holds: T,
}

impl<T> Control<T> {
    /// The length that CMSG_LEN(3) computes.
    const LEN: usize = offset_of!(Self, holds) + size_of::<T>();

    fn new(level: c_int, kind: c_int, holds: T) -> Self {
        // SAFETY: cmsghdr is numbers, for which all zeros is a value.
        let mut header: libc::cmsghdr = unsafe { zeroed() };
        (header.cmsg_level, header.cmsg_type) = (level, kind);
        header.cmsg_len = Self::LEN;
        Self { header, holds }
    }

    fn put(&mut self, message: &mut libc::msghdr) {
        message.msg_control = (&raw mut *self).cast();
        // Without the padding behind it, which nobody has written.
        message.msg_controllen = Self::LEN;
    }
}

/// sendmsg(2): `bytes` to somebody, `from` being the address that he has sent to, if that is known. Never blocks.
///
/// # Errors
/// It cannot be sent there, from there or now.
pub(crate) fn send(
    socket: impl AsFd,
    to: &SockAddr,
    from: Option<IpAddr>,
    bytes: &[u8],
) -> Result<(), Errno> {
    let socket = socket.as_fd();
    let mut piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: msghdr is numbers and pointers, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    (message.msg_iov, message.msg_iovlen) = (&raw mut piece, 1);
    let (mut v4, mut v6);
    match (getsockopt(&socket, Domain)?, from) {
        (AF_INET, Some(IpAddr::V4(ip))) => {
            v4 = of_v4(ip);
            v4.put(&mut message);
        }
        (AF_INET6, Some(ip)) => {
            v6 = of_v6(match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            });
            v6.put(&mut message);
        }
        _ => {}
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    uninterrupted(|| {
        // SAFETY: the kernel reads the name, the one piece and the control message, which all outlive the call.
        check_len(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) })
    })
    .map(drop)
}

/// IP_PKTINFO of ip(7).
fn of_v4(ip: std::net::Ipv4Addr) -> Control<libc::in_pktinfo> {
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: ip.to_bits().to_be(),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    Control::new(libc::IPPROTO_IP, libc::IP_PKTINFO, info)
}

/// IPV6_PKTINFO of ipv6(7).
fn of_v6(ip: std::net::Ipv6Addr) -> Control<libc::in6_pktinfo> {
    let info = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr {
            s6_addr: ip.octets(),
        },
        ipi6_ifindex: 0,
    };
    Control::new(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};

    #[test]
    fn a_control_message_is_as_long_as_the_kernel_takes_it_to_be() {
        // SAFETY: the call only computes.
        let len = |bytes| unsafe { libc::CMSG_LEN(bytes) as usize };
        // SAFETY: msghdr is numbers and pointers, for which all zeros is a value.
        let mut message: libc::msghdr = unsafe { zeroed() };
        of_v4(std::net::Ipv4Addr::LOCALHOST).put(&mut message);
        assert_eq!(message.msg_controllen, len(12));
        of_v6(std::net::Ipv6Addr::LOCALHOST).put(&mut message);
        assert_eq!(message.msg_controllen, len(20));
    }

    #[test]
    fn an_answer_comes_from_the_address_that_is_named() {
        let ask = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = SockAddr::inet(ask.local_addr().unwrap());
        let answers = UdpSocket::bind("0.0.0.0:0").unwrap();
        let from: IpAddr = "127.0.0.7".parse().unwrap();
        let port = answers.local_addr().unwrap().port();
        for (named, expected) in [(Some(from), "127.0.0.7"), (None, "127.0.0.1")] {
            send(&answers, &to, named, b"x").unwrap();
            let (_, sender) = ask.recv_from(&mut [0; 9]).unwrap();
            assert_eq!(sender, SocketAddr::new(expected.parse().unwrap(), port));
        }
    }
}
