//! Socket addresses as the kernel has them, in and out.

use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A socket address of any family, and how much of it counts.
#[derive(Clone, Copy)]
pub(crate) struct SockAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

/// What a socket address says.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Meaning<'a> {
    Inet(SocketAddr),
    /// sun_path, as far as it was filled in; empty for an unnamed socket.
    Unix(&'a [u8]),
    Vsock {
        cid: u32,
        port: u32,
    },
    /// Nothing, or of a family that skd does not know.
    Unknown,
}

/// The size of an address structure, for the kernel.
#[expect(
    clippy::cast_possible_truncation,
    reason = "address structures have at most 128 bytes"
)]
const fn size<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// A family as address structures hold it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "families are small numbers"
)]
const fn family(number: libc::c_int) -> libc::sa_family_t {
    number.cast_unsigned() as libc::sa_family_t
}

const PATH_OFFSET: usize = offset_of!(libc::sockaddr_un, sun_path);

impl SockAddr {
    /// Room for the kernel to fill in.
    pub(crate) fn empty() -> Self {
        // SAFETY: sockaddr_storage is plain numbers, for which all zeros is a value.
        let storage = unsafe { std::mem::zeroed() };
        Self {
            storage,
            len: size::<libc::sockaddr_storage>(),
        }
    }

    /// An internet address.
    pub(crate) fn inet(address: SocketAddr) -> Self {
        let mut it = Self::empty();
        match address {
            SocketAddr::V4(address) => it.put(libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: address.ip().to_bits().to_be(),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(address) => it.put(libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            }),
        }
        it
    }

    /// A unix address: a path with its NUL, or an abstract name that begins with its own. `None` if it does not fit.
    pub(crate) fn unix(sun_path: &[u8]) -> Option<Self> {
        let mut address = libc::sockaddr_un {
            sun_family: family(libc::AF_UNIX),
            sun_path: [0; 108],
        };
        if sun_path.len() > address.sun_path.len() {
            return None;
        }
        for (to, from) in address.sun_path.iter_mut().zip(sun_path) {
            *to = from.cast_signed() as libc::c_char;
        }
        let mut it = Self::empty();
        it.put(address);
        it.len = libc::socklen_t::try_from(PATH_OFFSET + sun_path.len()).ok()?;
        Some(it)
    }

    /// An address of vsock(7).
    pub(crate) fn vsock(cid: u32, port: u32) -> Self {
        let mut it = Self::empty();
        it.put(libc::sockaddr_vm {
            svm_family: family(libc::AF_VSOCK),
            svm_reserved1: 0,
            svm_port: port,
            svm_cid: cid,
            svm_zero: [0; 4],
        });
        it
    }

    /// Stores one of the address structures, which are all smaller than sockaddr_storage.
    fn put<T: Copy>(&mut self, address: T) {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>() && align_of::<T>() <= 8) };
        // SAFETY: storage is as large as T and aligned for it, as just asserted, and T is plain numbers.
        unsafe { (&raw mut self.storage).cast::<T>().write(address) };
        self.len = size::<T>();
    }

    fn view<T: Copy>(&self) -> T {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>() && align_of::<T>() <= 8) };
        // SAFETY: storage is as large as T and aligned for it, as just asserted, it is initialised throughout, and T is
        // plain numbers, for which any bytes are a value.
        unsafe { (&raw const self.storage).cast::<T>().read() }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }

    pub(crate) fn len(&self) -> libc::socklen_t {
        self.len
    }

    pub(crate) fn len_mut(&mut self) -> &mut libc::socklen_t {
        &mut self.len
    }

    /// What it says. A length that the family does not allow makes it unknown.
    pub(crate) fn meaning(&self) -> Meaning<'_> {
        let filled = self.len as usize;
        if filled < size_of::<libc::sa_family_t>() {
            return Meaning::Unknown;
        }
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET if filled >= size_of::<libc::sockaddr_in>() => {
                let address: libc::sockaddr_in = self.view();
                let ip = Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr));
                Meaning::Inet(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
            }
            libc::AF_INET6 if filled >= size_of::<libc::sockaddr_in6>() => {
                let address: libc::sockaddr_in6 = self.view();
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                // The flow label is no part of who is at the other end.
                let port = u16::from_be(address.sin6_port);
                Meaning::Inet(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into())
            }
            libc::AF_UNIX => Meaning::Unix(self.sun_path(filled)),
            libc::AF_VSOCK if filled >= size_of::<libc::sockaddr_vm>() => {
                let address: libc::sockaddr_vm = self.view();
                Meaning::Vsock {
                    cid: address.svm_cid,
                    port: address.svm_port,
                }
            }
            _ => Meaning::Unknown,
        }
    }

    fn sun_path(&self, filled: usize) -> &[u8] {
        let end = filled.min(size_of::<libc::sockaddr_un>());
        let len = end.saturating_sub(PATH_OFFSET);
        let start = (&raw const self.storage)
            .cast::<u8>()
            .wrapping_add(PATH_OFFSET);
        // SAFETY: PATH_OFFSET + len <= size_of sockaddr_un, which lies inside storage; it is initialised throughout and
        // borrowed as long as the slice.
        unsafe { std::slice::from_raw_parts(start, len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for text in ["192.0.2.7:4711", "[::1]:80", "[fe80::1%5]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SockAddr::inet(address).meaning(), Meaning::Inet(address));
        }
        for (cid, port) in [(3, 25), (u32::MAX, 0), (0, u32::MAX - 1)] {
            let meaning = Meaning::Vsock { cid, port };
            assert_eq!(SockAddr::vsock(cid, port).meaning(), meaning);
        }
        for path in [&b""[..], b"/run/echo\0", b"\0abstract", &[b'x'; 108]] {
            assert_eq!(SockAddr::unix(path).unwrap().meaning(), Meaning::Unix(path));
        }
        assert!(SockAddr::unix(&[b'x'; 109]).is_none());
    }

    #[test]
    fn short_or_strange_addresses_say_nothing() {
        let mut address = SockAddr::inet("192.0.2.7:4711".parse().unwrap());
        for len in [0, 1, 2, 15] {
            *address.len_mut() = len;
            assert_eq!(address.meaning(), Meaning::Unknown);
        }
        assert_eq!(SockAddr::empty().meaning(), Meaning::Unknown);
    }
}
