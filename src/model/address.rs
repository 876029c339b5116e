//! Where something listens: as it was asked for, and as the kernel has it.

use crate::model::text::harmless;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The type of a socket, as socket(2) has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    Stream,
    Datagram,
    SeqPacket,
    /// None that skd makes or talks through: a FIFO, a message queue, a netlink socket, handed over as it is.
    Readable,
}

/// An address that the user named, to be made into a listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Named {
    /// TCP or UDP, by style; never `SeqPacket`. `option` is what the user called it by: `--tcp`, or the words of another
    /// name.
    Inet {
        option: &'static str,
        style: Style,
        host: Host,
        port: Port,
    },
    Unix {
        style: Style,
        name: UnixName,
    },
    /// Always a stream listener.
    Vsock {
        cid: u32,
        port: u32,
    },
}

impl Named {
    pub(crate) fn style(&self) -> Style {
        match self {
            Self::Inet { style, .. } | Self::Unix { style, .. } => *style,
            Self::Vsock { .. } => Style::Stream,
        }
    }
}

/// The CID that is every CID of the machine, VMADDR_CID_ANY of vsock(7).
pub(crate) const EVERY_CID: u32 = u32::MAX;

/// What the log writes before an address, and the option that it goes behind without that.
pub(crate) const LOGGED_AS: [(&str, &str); 4] = [
    ("tcp", "--tcp"),
    ("udp", "--udp"),
    ("unix", "--unix"),
    ("vsock", "--vsock"),
];

/// The HOST of `[HOST:]PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    /// Left out, or `*`: every address of the machine.
    Every,
    V4(Ipv4Addr),
    /// In brackets, with its scope if one was given: always IPv6 only.
    V6(Ipv6Addr, Option<String>),
    /// To be looked up, and bound on all of its addresses.
    Name(String),
}

/// The PORT of `[HOST:]PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Port {
    Number(u16),
    /// A name of services(5).
    Service(String),
}

/// Which internet family may be used: `-4`, `-6`, or either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    Either,
    V4,
    V6,
}

/// The longest unix path or abstract name, in bytes: sun_path of unix(7) less its NUL.
pub(crate) const UNIX_NAME_BYTES: usize = 107;

/// The name of a unix socket: never empty, at most 107 bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum UnixName {
    Path(Box<[u8]>),
    /// Without its leading NUL, which is typed and shown as `@`; it may hold any bytes.
    Abstract(Box<[u8]>),
}

impl UnixName {
    /// From sun_path as the kernel fills it in, `None` for an unnamed socket.
    pub(crate) fn from_sun_path(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] | [0] => None,
            [0, name @ ..] => Some(Self::Abstract(name.into())),
            path => {
                let end = path
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(path.len());
                Some(Self::Path(path.get(..end).unwrap_or(path).into()))
            }
        }
    }

    /// As users type it and as the environment has it: the path, or `@name`. A NUL, which no environment can hold, is
    /// shown as `@`, the way /proc/net/unix does.
    pub(crate) fn shown(&self) -> Vec<u8> {
        let mut shown = Vec::new();
        self.show(&mut shown);
        shown
    }

    /// Appends the same to `out`.
    pub(crate) fn show(&self, out: &mut Vec<u8>) {
        match self {
            Self::Path(path) => out.extend_from_slice(path),
            Self::Abstract(name) => {
                let bytes = std::iter::once(&0).chain(name);
                out.extend(bytes.map(|byte| if *byte == 0 { b'@' } else { *byte }));
            }
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&harmless(&self.shown()))
    }
}

/// Where a listener is: its local address as getsockname(2) has it, IPv4-mapped addresses being IPv4.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Inet(SocketAddr),
    /// `None` for an unnamed socket, which only an adopted datagram socket can be.
    Unix(Option<UnixName>),
    Vsock {
        cid: u32,
        port: u32,
    },
    /// Something else that can be waited for: what it is, and its path, or what it was handed over as.
    Readable {
        kind: &'static str,
        name: Box<[u8]>,
    },
}

impl Place {
    /// The address of a listener that takes connections to every address.
    pub(crate) fn is_wildcard(&self) -> bool {
        match self {
            Self::Inet(address) => address.ip().is_unspecified(),
            Self::Vsock { cid, .. } => *cid == EVERY_CID,
            Self::Unix(_) | Self::Readable { .. } => false,
        }
    }

    /// The port of an internet socket.
    pub(crate) fn inet_port(&self) -> Option<u16> {
        match self {
            Self::Inet(address) => Some(address.port()),
            Self::Unix(_) | Self::Vsock { .. } | Self::Readable { .. } => None,
        }
    }
}

/// An IPv4-mapped IPv6 address is the IPv4 address everywhere in skd: in rules, counts, environment and log.
pub(crate) fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
            None => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// A listener's name in messages: `tcp:[::]:25`, `udp:127.0.0.1:69`, `unix:/run/echo`, `vsock:3:25`, `fifo:/run/x`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Label(String);

impl Label {
    pub(crate) fn new(style: Style, place: &Place) -> Self {
        Self(match (style, place) {
            (Style::Datagram, Place::Inet(address)) => format!("udp:{address}"),
            (_, Place::Inet(address)) => format!("tcp:{address}"),
            (_, Place::Unix(Some(name))) => format!("unix:{name}"),
            (_, Place::Unix(None)) => "unix:unnamed".into(),
            (
                _,
                Place::Vsock {
                    cid: EVERY_CID,
                    port,
                },
            ) => format!("vsock:*:{port}"),
            (_, Place::Vsock { cid, port }) => format!("vsock:{cid}:{port}"),
            (_, Place::Readable { kind, name }) => format!("{kind}:{}", harmless(name)),
        })
    }
}

impl Label {
    /// One that was written before.
    pub(crate) fn known(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_unix_names_are_read_whole() {
        let table: &[(&[u8], Option<&[u8]>)] = &[
            (b"", None),
            (b"\0", None),
            (b"/run/echo", Some(b"/run/echo")),
            (b"/run/echo\0\0\0", Some(b"/run/echo")),
            (b"\0name", Some(b"@name")),
            (b"\0a\0b", Some(b"@a@b")),
        ];
        for (sun_path, shown) in table {
            assert_eq!(
                UnixName::from_sun_path(sun_path)
                    .map(|name| name.shown())
                    .as_deref(),
                *shown
            );
        }
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let table = [
            ("[::ffff:192.0.2.7]:80", "192.0.2.7:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::192.0.2.7]:80", "[::c000:207]:80"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ];
        for (address, shown) in table {
            assert_eq!(unmapped(address.parse().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn labels_name_the_protocol_and_the_address() {
        let inet = |text: &str| Place::Inet(text.parse().unwrap());
        let table = [
            (Style::Stream, inet("[::]:25"), "tcp:[::]:25"),
            (Style::Datagram, inet("127.0.0.1:69"), "udp:127.0.0.1:69"),
            (
                Style::Stream,
                Place::Unix(UnixName::from_sun_path(b"/run/a\nb")),
                "unix:/run/a?b",
            ),
            (
                Style::SeqPacket,
                Place::Unix(UnixName::from_sun_path(b"\0name")),
                "unix:@name",
            ),
            (Style::Datagram, Place::Unix(None), "unix:unnamed"),
            (
                Style::Stream,
                Place::Vsock {
                    cid: EVERY_CID,
                    port: 25,
                },
                "vsock:*:25",
            ),
            (
                Style::Stream,
                Place::Vsock { cid: 3, port: 25 },
                "vsock:3:25",
            ),
            (
                Style::Readable,
                Place::Readable {
                    kind: "fifo",
                    name: (*b"/run/x\n").into(),
                },
                "fifo:/run/x?",
            ),
        ];
        for (style, place, shown) in table {
            assert_eq!(Label::new(style, &place).to_string(), shown);
        }
    }
}
