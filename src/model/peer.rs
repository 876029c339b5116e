//! Who is at the other end of a connection, and the key by which that one is counted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Whose process connected to a unix socket, SO_PEERCRED of unix(7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Credentials {
    /// 0 when the process is in a pid namespace that we cannot see.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Who is at the other end. Small, since one is kept for every live child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    /// Never an IPv4-mapped address.
    Inet(SocketAddr),
    /// `None` where the kernel would not say.
    Unix(Option<Credentials>),
    Vsock {
        cid: u32,
        port: u32,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(out, "{address}"),
            Self::Unix(Some(Credentials { pid, uid, gid })) => {
                write!(out, "uid {uid} gid {gid} peer-pid {pid}")
            }
            Self::Unix(None) => out.write_str("uid unknown"),
            Self::Vsock { cid, port } => write!(out, "cid {cid} port {port}"),
        }
    }
}

/// What is known of a peer when rules are to decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerFacts<'a> {
    pub(crate) peer: &'a Peer,
    /// The name of its address, which its forward lookup has confirmed: TCPREMOTEHOST.
    pub(crate) host: Option<&'a [u8]>,
    /// What its ident server calls its user: TCPREMOTEINFO.
    pub(crate) ident: Option<&'a [u8]>,
}

/// The key by which connections are counted: an IPv4 address, an IPv6 /64, a uid, a vsock CID. Peers without any of
/// these are one source together, never exempt.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Source {
    V4(u32),
    /// The upper half of an IPv6 address: what one site or host gets as a whole.
    V6([u8; 8]),
    Uid(u32),
    Cid(u32),
    Unknown,
}

impl Source {
    pub(crate) fn of(peer: &Peer) -> Self {
        match peer {
            Peer::Inet(address) => match address.ip() {
                IpAddr::V4(ip) => Self::V4(ip.to_bits()),
                IpAddr::V6(ip) => {
                    let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                    Self::V6([a, b, c, d, e, f, g, h])
                }
            },
            Peer::Unix(Some(credentials)) => Self::Uid(credentials.uid),
            Peer::Unix(None) => Self::Unknown,
            Peer::Vsock { cid, .. } => Self::Cid(*cid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(text: &str) -> Peer {
        Peer::Inet(text.parse().unwrap())
    }

    #[test]
    fn one_source_is_an_ipv4_address_or_an_ipv6_64() {
        let same = [
            ("192.0.2.7:1", "192.0.2.7:2", true),
            ("192.0.2.7:1", "192.0.2.8:1", false),
            ("[2001:db8::1]:1", "[2001:db8::ffff:1]:1", true),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false),
        ];
        for (one, other, is_same) in same {
            assert_eq!(
                Source::of(&inet(one)) == Source::of(&inet(other)),
                is_same,
                "{one} {other}"
            );
        }
        let uid = |uid, pid| Peer::Unix(Some(Credentials { pid, uid, gid: 7 }));
        assert_eq!(Source::of(&uid(5, 1)), Source::of(&uid(5, 2)));
        assert_ne!(Source::of(&uid(5, 1)), Source::of(&uid(6, 1)));
        assert_ne!(
            Source::of(&uid(5, 1)),
            Source::of(&Peer::Vsock { cid: 5, port: 1 })
        );
        assert_eq!(Source::of(&Peer::Unix(None)), Source::Unknown);
    }

    #[test]
    fn peers_are_shown_as_the_log_has_them() {
        assert_eq!(inet("192.0.2.7:4711").to_string(), "192.0.2.7:4711");
        assert_eq!(inet("[::1]:4711").to_string(), "[::1]:4711");
        let unix = Peer::Unix(Some(Credentials {
            pid: 77,
            uid: 1000,
            gid: 100,
        }));
        assert_eq!(unix.to_string(), "uid 1000 gid 100 peer-pid 77");
        assert_eq!(Peer::Vsock { cid: 3, port: 9 }.to_string(), "cid 3 port 9");
    }

    #[test]
    fn a_peer_takes_little_room() {
        assert!(size_of::<Peer>() <= 32, "{}", size_of::<Peer>());
    }
}
