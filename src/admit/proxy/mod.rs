//! Turns the first bytes of a proxy's connection into what its PROXY header says: PROXY protocol, versions 1 and 2.

mod checksum;
mod tls;
mod v1;
mod v2;

use crate::model::address::Place;
use crate::model::peer::Peer;
pub(crate) use tls::Tls;

/// The longest header, in bytes.
pub(crate) const HEADER_BYTES: usize = 4096;
/// The shortest, which is `PROXY UNKNOWN` and the end of its line.
const SHORTEST: usize = 15;

/// What the bytes so far are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reading {
    /// All of them are a header's, and it is not whole: they may be consumed, and so may the next `at_least` bytes,
    /// whatever they are.
    More { at_least: usize },
    /// The first `bytes` are the header, and may be consumed; what is behind them is the client's.
    Whole { bytes: usize, header: Header },
    /// They are no header, and will not become one, for this reason.
    Wrong(&'static str),
}

/// What a header says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Header {
    /// `None` where the connection is the proxy's own, or the proxy does not say whose: LOCAL, UNKNOWN, UNSPEC.
    pub(crate) ends: Option<Ends>,
    pub(crate) tls: Tls,
}

/// Who is connected to whom: the client, and what the client connected to. Those of UDP are as those of TCP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ends {
    pub(crate) remote: Place,
    pub(crate) local: Place,
}

impl Ends {
    /// The client, as rules and lists are to see it.
    pub(crate) fn peer(&self) -> Peer {
        match self.remote {
            Place::Inet(address) => Peer::Inet(address),
            Place::Unix(_) | Place::Readable { .. } => Peer::Unix(None),
            Place::Vsock { cid, port } => Peer::Vsock { cid, port },
        }
    }
}

/// Reads a header at the start of `bytes`, which are all that have come so far. It is wrong as soon as it cannot become
/// right any more.
pub(crate) fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() {
        Reading::More { at_least: SHORTEST }
    } else if agree(v2::SIGNATURE, bytes) {
        v2::read(bytes)
    } else if v1::BEGINNINGS.iter().any(|line| agree(line, bytes)) {
        v1::read(bytes)
    } else {
        Reading::Wrong("no PROXY header")
    }
}

/// Whether two pieces are the same as far as both go.
fn agree(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::UnixName;
    use proptest::prelude::*;
    use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader, Tlv};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    /// A header of version 2.
    fn v2(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::SIGNATURE, &[command, kind], &len, rest].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 25];

    fn ends(header: &Header) -> String {
        match &header.ends {
            None => "own".into(),
            Some(Ends { remote, local }) => {
                let [remote, local] = [remote, local].map(|place| match place {
                    Place::Inet(address) => address.to_string(),
                    Place::Unix(Some(name)) => name.to_string(),
                    Place::Unix(None) => "unnamed".into(),
                    Place::Vsock { .. } | Place::Readable { .. } => panic!("no header has it"),
                });
                format!("{remote} {local}")
            }
        }
    }

    /// Reads a header torn at every byte: each part of it wants more, but never a byte of the payload behind it.
    fn torn(header: &[u8]) -> String {
        let whole = [header, b"PROXY payload\r\n"].concat();
        for len in 0..header.len() {
            match read(&whole[..len]) {
                Reading::More { at_least } => {
                    assert!(
                        (1..=header.len() - len).contains(&at_least),
                        "{len} {at_least}"
                    );
                }
                reading => panic!("{len}: {reading:?}"),
            }
        }
        let (with, without) = (read(&whole), read(header));
        assert_eq!(with, without);
        match with {
            Reading::Whole {
                bytes,
                header: said,
            } => {
                assert_eq!(bytes, header.len());
                ends(&said)
            }
            reading => panic!("{reading:?}"),
        }
    }

    #[test]
    fn lines_are_read_whole_and_nothing_behind_them() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(long.len(), 107);
        let table = [
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n",
                "192.0.2.7:4711 198.51.100.1:25",
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                "255.255.255.255:65535 255.255.255.255:65535",
            ),
            (
                "PROXY TCP6 ::1 2001:DB8::1 0 1\r\n",
                "[::1]:0 [2001:db8::1]:1",
            ),
            (
                "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n",
                "192.0.2.7:1 [::1]:2",
            ),
            ("PROXY UNKNOWN\r\n", "own"),
            ("PROXY UNKNOWN ::1 ::2 1 2 and more \x01\u{ff}\r\n", "own"),
            (&long, "own"),
        ];
        for (line, said) in table {
            assert_eq!(torn(line.as_bytes()), said, "{line}");
        }
    }

    #[test]
    fn what_is_no_line_is_wrong_as_soon_as_it_can_be_seen() {
        let (no, malformed) = ("no PROXY header", "a malformed PROXY line");
        let (long, end) = (
            "a PROXY line of more than 107 bytes",
            "a PROXY line without CR LF at its end",
        );
        let table = [
            ("G", no),
            ("\n", no),
            ("\r\n\r\nX", no),
            ("PROXX", no),
            ("PROXY\r", no),
            ("PROXY  ", no),
            ("PROXY tcp4", no),
            ("PROXY TCP5", no),
            ("PROXY TCP4\r", no),
            ("PROXY TCP46", no),
            ("PROXY UDP4", no),
            ("PROXY UNKNOWNX", no),
            ("proxy UNKNOWN\r\n", no),
            ("PROXY TCP4 \n", end),
            ("PROXY UNKNOWN\rX", end),
            ("PROXY UNKNOWN \r\r\n", end),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", end),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r2\r\n", end),
            ("PROXY TCP4 \r\n", malformed),
            ("PROXY TCP4 1.2.3.4\r\n", malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", malformed),
            ("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", malformed),
            ("PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n", malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7 1 2\r\n", malformed),
            ("PROXY TCP4 ::1 ::2 1 2\r\n", malformed),
            ("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", malformed),
            ("PROXY TCP6 ::1%1 ::2 1 2\r\n", malformed),
            ("PROXY TCP6 [::1] ::2 1 2\r\n", malformed),
        ];
        for (bytes, why) in table {
            assert_eq!(read(bytes.as_bytes()), Reading::Wrong(why), "{bytes:?}");
        }
        let line = "PROXY UNKNOWN ".to_owned() + &"x".repeat(100);
        assert_eq!(read(&line.as_bytes()[..105]), Reading::More { at_least: 2 });
        assert_eq!(read(&line.as_bytes()[..106]), Reading::Wrong(long));
        let late = "PROXY UNKNOWN ".to_owned() + &"x".repeat(92) + "\r\n";
        assert_eq!(read(late.as_bytes()), Reading::Wrong(long));
    }

    #[test]
    fn binary_headers_are_read_whole_and_nothing_behind_them() {
        let v6 = [
            Ipv6Addr::LOCALHOST.octets(),
            "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets(),
        ]
        .concat();
        let v6 = [&v6[..], &[0, 1, 0xff, 0xff]].concat();
        let mapped = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets();
        let mapped = [mapped, mapped, [0; 16]].concat();
        let mut unix = [0; 216];
        unix[..4].copy_from_slice(b"/a\nb");
        unix[108..112].copy_from_slice(b"\0x\0y");
        let fields = [V4, &[4, 0, 2, 7, 7, 0xe0, 0, 0, 5, 0, 1, 9]].concat();
        let longest = [V4, &[4, 0x0f, 0xe1], &[0; 0x0fe1]].concat();
        assert_eq!(longest.len() + 16, HEADER_BYTES);
        let table: [(u8, u8, &[u8], &str); 19] = [
            (0x21, 0x11, V4, "192.0.2.7:4711 198.51.100.1:25"),
            (0x21, 0x12, V4, "192.0.2.7:4711 198.51.100.1:25"),
            (0x21, 0x11, &fields, "192.0.2.7:4711 198.51.100.1:25"),
            (0x21, 0x11, &longest, "192.0.2.7:4711 198.51.100.1:25"),
            (0x21, 0x21, &v6, "[::1]:1 [2001:db8::7]:65535"),
            (0x21, 0x22, &v6, "[::1]:1 [2001:db8::7]:65535"),
            (0x21, 0x21, &mapped[..36], "192.0.2.7:0 192.0.2.7:0"),
            (0x21, 0x31, &unix, "/a?b @x@y"),
            (0x21, 0x32, &unix, "/a?b @x@y"),
            (0x21, 0x31, &[0; 216], "unnamed unnamed"),
            (0x21, 0x00, &[], "own"),
            (0x21, 0x00, V4, "own"),
            (0x21, 0x10, V4, "own"),
            (0x21, 0x01, &[], "own"),
            (0x20, 0x00, &[], "own"),
            (0x20, 0x11, &[], "own"),
            (0x20, 0x11, V4, "own"),
            (0x20, 0x31, &[1, 2, 3], "own"),
            (0x20, 0xff, &[9, 0xff, 0xff], "own"),
        ];
        for (command, kind, rest, said) in table {
            assert_eq!(torn(&v2(command, kind, rest)), said, "{command:x} {kind:x}");
        }
        let Reading::Whole { header, .. } = read(&v2(0x21, 0x31, &unix)) else {
            panic!("it is whole");
        };
        let Ends { remote, local } = header.ends.unwrap();
        let named = |bytes: &[u8]| Place::Unix(UnixName::from_sun_path(bytes));
        assert_eq!((remote, local), (named(b"/a\nb"), named(b"\0x\0y")));
    }

    #[test]
    fn binary_headers_are_wrong_as_soon_as_it_can_be_seen() {
        let short = "a PROXY header that is too short for its addresses";
        let kind = "a PROXY header of an unknown address family or protocol";
        let command = "a PROXY header of an unknown version or command";
        let field = "a malformed field in a PROXY header";
        let cut = |header: Vec<u8>, len: usize| header[..len].to_vec();
        let table = [
            (cut(v2(0x11, 0x11, V4), 13), command),
            (cut(v2(0x22, 0x11, V4), 13), command),
            (cut(v2(0x31, 0x11, V4), 13), command),
            (cut(v2(0x21, 0x13, V4), 14), kind),
            (cut(v2(0x21, 0x41, V4), 14), kind),
            (cut(v2(0x21, 0xf0, V4), 14), kind),
            (cut(v2(0x21, 0x11, &V4[..11]), 16), short),
            (cut(v2(0x21, 0x21, &[0; 35]), 16), short),
            (cut(v2(0x21, 0x31, &[0; 215]), 16), short),
            (
                cut(v2(0x21, 0x11, &[0; 4081]), 16),
                "a PROXY header of more than 4096 bytes",
            ),
            (
                cut(v2(0x20, 0x00, &[0; 4081]), 16),
                "a PROXY header of more than 4096 bytes",
            ),
            (v2(0x21, 0x11, &[V4, &[4]].concat()), field),
            (v2(0x21, 0x11, &[V4, &[4, 0]].concat()), field),
            (v2(0x21, 0x11, &[V4, &[4, 0, 1]].concat()), field),
            (
                v2(0x21, 0x11, &[V4, &[4, 0, 0, 4, 0xff, 0xff, 1]].concat()),
                field,
            ),
            (v2(0x21, 0x11, &[V4, &[3, 0, 3, 0, 0, 0]].concat()), field),
            (
                v2(0x21, 0x11, &[V4, &[0x20, 0, 4, 1, 0, 0, 0]].concat()),
                field,
            ),
            (
                v2(
                    0x21,
                    0x11,
                    &[V4, &[0x20, 0, 6, 1, 0, 0, 0, 0, 0x21]].concat(),
                ),
                field,
            ),
        ];
        for (bytes, why) in table {
            assert_eq!(
                read(&bytes),
                Reading::Wrong(why),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    fn address() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let v4 = any::<[(u32, u16); 2]>().prop_map(|ends| {
            ends.map(|(ip, port)| SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(ip)), port))
        });
        let v6 = any::<[(u128, u16); 2]>().prop_map(|ends| {
            ends.map(|(ip, port)| SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(ip)), port))
        });
        prop_oneof![v4, v6].prop_map(|[remote, local]| (remote, local))
    }

    fn header() -> impl Strategy<Value = Vec<u8>> {
        let noop = prop::collection::vec(0..300usize, 0..3);
        (prop::option::of(address()), 1..=3u8, noop).prop_map(|(ends, version, noops)| {
            let protocol = if version == 3 {
                Protocol::Datagram
            } else {
                Protocol::Stream
            };
            let mut header = match ends {
                Some((source, destination)) => ProxyHeader::with_address(ProxiedAddress {
                    protocol,
                    source,
                    destination,
                }),
                None => ProxyHeader::with_local(),
            };
            let mut bytes = [0; 2000];
            let len = if version == 1 {
                header.encode_to_slice_v1(&mut bytes).unwrap()
            } else {
                noops
                    .into_iter()
                    .for_each(|len| header.append_tlv(Tlv::Noop(len)));
                header.encode_to_slice_v2(&mut bytes).unwrap()
            };
            bytes[..len].to_vec()
        })
    }

    /// What another parser makes of the same bytes: how long the header is, and the addresses.
    fn theirs(bytes: &[u8]) -> Option<(usize, Option<(SocketAddr, SocketAddr)>)> {
        let (header, len) = ProxyHeader::parse(bytes, ParseConfig::default()).ok()?;
        let ends = header.proxied_address();
        Some((len, ends.map(|ends| (ends.source, ends.destination))))
    }

    fn ours(bytes: &[u8]) -> Option<(usize, Option<(SocketAddr, SocketAddr)>)> {
        match read(bytes) {
            Reading::Whole { bytes, header } => match header.ends {
                Some(Ends {
                    remote: Place::Inet(remote),
                    local: Place::Inet(local),
                }) => Some((bytes, Some((remote, local)))),
                _ => Some((bytes, None)),
            },
            Reading::More { .. } | Reading::Wrong(_) => None,
        }
    }

    /// Where the other parser is stricter: families that are ignored, and pairs with one half unspecified.
    fn is_lax(bytes: &[u8]) -> bool {
        let kind = bytes.get(13).copied().unwrap_or(0);
        bytes.starts_with(v2::SIGNATURE)
            && (bytes.get(12) == Some(&0x20) || kind & 15 == 0 || kind >> 4 == 0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_another_library_writes_is_read(header in header(), payload in any::<Vec<u8>>()) {
            let bytes = [&header[..], &payload].concat();
            let unmapped = |address| crate::model::address::unmapped(address);
            let (len, ends) = theirs(&bytes).unwrap();
            let ends = ends.map(|(remote, local)| (unmapped(remote), unmapped(local)));
            prop_assert_eq!(len, header.len());
            prop_assert_eq!(ours(&bytes), Some((len, ends)));
        }

        #[test]
        fn what_is_taken_for_a_header_another_library_takes_for_the_same(
            mut bytes in header(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..4),
        ) {
            for (place, byte, near) in changes {
                let place = place.index(if near { bytes.len().min(20) } else { bytes.len() });
                // Bytes that mean something in a line come up more often than others.
                bytes[place] = *b" \r\n+0:.PROXY".get(usize::from(byte)).unwrap_or(&byte);
            }
            if let Some((len, ends)) = ours(&bytes) && !is_lax(&bytes) {
                let unmapped = |address| crate::model::address::unmapped(address);
                let theirs = theirs(&bytes);
                let theirs = theirs.map(|(len, ends)| (len, ends.map(|(one, other)| (unmapped(one), unmapped(other)))));
                prop_assert_eq!(theirs, Some((len, ends)), "{}", bytes.escape_ascii());
            }
            // What is said of a part stays true of the whole.
            for len in 0..bytes.len() {
                match read(&bytes[..len]) {
                    Reading::More { at_least } => prop_assert!(at_least > 0),
                    reading => prop_assert_eq!(read(&bytes), reading),
                }
            }
        }
    }
}
