//! A network of internet addresses, as lists and rules name it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 network. The bits behind its length are zero. What lies within ::ffff:0:0/96 is IPv4, so that no
/// IPv6 network has an IPv4 peer in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Network {
    /// `len` is at most 32.
    V4 { bits: u32, len: u8 },
    /// `len` is at most 128.
    V6 { bits: u128, len: u8 },
}

/// What may precede the last 32 bits of an IPv4-mapped address, in bits.
const MAPPED_BITS: u8 = 96;

/// What is wrong with `[::1]`, which only a port needs.
pub(crate) const BRACKETS: &str = "an IPv6 address is expected without brackets";

/// An IPv4-mapped address is the IPv4 address.
pub(crate) fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// An address in the one spelling of std's: no leading zeros, no brackets, no scope; IPv4-mapped ones are IPv4.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(unmapped)
}

/// The first `len` of 32 bits.
pub(crate) fn head32(bits: u32, len: u8) -> u32 {
    bits & u32::MAX
        .checked_shl(32 - u32::from(len.min(32)))
        .unwrap_or(0)
}

/// The first `len` of 128 bits.
pub(crate) fn head128(bits: u128, len: u8) -> u128 {
    bits & u128::MAX
        .checked_shl(128 - u32::from(len.min(128)))
        .unwrap_or(0)
}

impl Network {
    /// The network of `len` bits that an address is in; `None` where it has fewer bits than that.
    pub(crate) fn new(ip: IpAddr, len: u8) -> Option<Self> {
        match ip {
            IpAddr::V6(ip) if len >= MAPPED_BITS && ip.to_ipv4_mapped().is_some() => {
                Self::new(unmapped(IpAddr::V6(ip)), len - MAPPED_BITS)
            }
            IpAddr::V4(ip) if len <= 32 => Some(Self::V4 {
                bits: head32(ip.to_bits(), len),
                len,
            }),
            IpAddr::V6(ip) if len <= 128 => Some(Self::V6 {
                bits: head128(ip.to_bits(), len),
                len,
            }),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// The network that has one address only.
    pub(crate) fn of(ip: IpAddr) -> Self {
        match unmapped(ip) {
            IpAddr::V4(ip) => Self::V4 {
                bits: ip.to_bits(),
                len: 32,
            },
            IpAddr::V6(ip) => Self::V6 {
                bits: ip.to_bits(),
                len: 128,
            },
        }
    }

    /// `ADDRESS/LENGTH`. Bits behind the length are dropped, since 127.0.0.1/8 is how many write 127.0.0.0/8.
    ///
    /// # Errors
    /// What was expected, and at which byte.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let (ip, len) = text
            .split_once('/')
            .ok_or((text.len(), "a \"/\" is missing behind the address"))?;
        if ip.starts_with('[') {
            return Err((0, BRACKETS));
        }
        let place = ip.len() + 1;
        let ip = ip
            .parse()
            .map_err(|_| (0, "an address is expected before \"/\""))?;
        let is_number =
            len.bytes().all(|byte| byte.is_ascii_digit()) && (len == "0" || !len.starts_with('0'));
        let network = len
            .parse()
            .ok()
            .filter(|_| is_number)
            .and_then(|len| Self::new(ip, len));
        network.ok_or(match ip {
            IpAddr::V4(_) => (place, "a length of 0 to 32 bits is expected"),
            IpAddr::V6(_) => (place, "a length of 0 to 128 bits is expected"),
        })
    }
}

/// `10.0.0.0/8`; an address alone where the network has no other.
impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4 { bits, len: 32 } => write!(out, "{}", Ipv4Addr::from_bits(bits)),
            Self::V4 { bits, len } => write!(out, "{}/{len}", Ipv4Addr::from_bits(bits)),
            Self::V6 { bits, len: 128 } => write!(out, "{}", Ipv6Addr::from_bits(bits)),
            Self::V6 { bits, len } => write!(out, "{}/{len}", Ipv6Addr::from_bits(bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_networks_are_refused_at_the_byte_that_is_wrong() {
        let no_address = (0, "an address is expected before \"/\"");
        let v4 = |place| (place, "a length of 0 to 32 bits is expected");
        let v6 = |place| (place, "a length of 0 to 128 bits is expected");
        let table = [
            ("", (0, "a \"/\" is missing behind the address")),
            ("10.0.0.0", (8, "a \"/\" is missing behind the address")),
            ("/8", no_address),
            ("10/8", no_address),
            ("10.0.0/8", no_address),
            ("010.0.0.0/8", no_address),
            (" 10.0.0.0/8", no_address),
            ("[::1]/64", (0, BRACKETS)),
            ("fe80::1%1/64", no_address),
            ("10.0.0.0/", v4(9)),
            ("10.0.0.0/33", v4(9)),
            ("10.0.0.0/256", v4(9)),
            ("10.0.0.0/08", v4(9)),
            ("10.0.0.0/+8", v4(9)),
            ("10.0.0.0/-8", v4(9)),
            ("10.0.0.0/8 ", v4(9)),
            ("10.0.0.0/8/8", v4(9)),
            ("10.0.0.0/255.0.0.0", v4(9)),
            ("::/129", v6(3)),
            ("::/", v6(3)),
        ];
        for (text, wrong) in table {
            assert_eq!(Network::parse(text), Err(wrong), "{text:?}");
        }
    }

    #[test]
    fn networks_are_shown_without_what_is_behind_their_length() {
        let table = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("127.0.0.1/8", "127.0.0.0/8"),
            ("255.255.255.255/0", "0.0.0.0/0"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.7/31", "192.0.2.6/31"),
            ("2001:DB8:0:0::7/32", "2001:db8::/32"),
            ("ffff:ffff:ffff::/0", "::/0"),
            ("::1/128", "::1"),
            ("::1/127", "::/127"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/128", "10.1.2.3"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("::10.1.2.3/104", "::a00:0/104"),
        ];
        for (text, shown) in table {
            assert_eq!(Network::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let table = [
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("::192.0.2.7", "::c000:207"),
        ];
        for (text, shown) in table {
            let ip = address(text).unwrap();
            assert_eq!(ip.to_string(), shown);
            assert_eq!(Network::of(ip).to_string(), shown);
        }
        for junk in ["", "192.0.2", "192.0.2.07", "[::1]", "::1%1", "192.0.2.7 "] {
            assert_eq!(address(junk), None, "{junk}");
        }
    }
}
