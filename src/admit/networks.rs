//! Which of many networks an address is in: the smallest one, in a time that does not grow with their number.

use crate::model::network::{Network, head32, head128};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// Networks, and what belongs to each. There is a table for each length that occurs, so that at most 33 are looked at
/// for an IPv4 address and 129 for an IPv6 address, whatever is in them.
#[derive(Debug)]
pub(crate) struct Networks<T> {
    v4: Vec<Table<u32, T>>,
    v6: Vec<Table<u128, T>>,
}

/// The networks of one length; the longest table comes first.
#[derive(Debug)]
struct Table<K, T> {
    len: u8,
    networks: HashMap<K, T>,
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }
}

impl<T: Copy> Networks<T> {
    /// Adds a network; of equal ones the first stands.
    pub(crate) fn add(&mut self, network: Network, what: T) {
        match network {
            Network::V4 { bits, len } => add(&mut self.v4, len, bits, what),
            Network::V6 { bits, len } => add(&mut self.v6, len, bits, what),
        }
    }

    /// The smallest network that an address is in.
    pub(crate) fn smallest(&self, ip: IpAddr) -> Option<(Network, T)> {
        match ip {
            IpAddr::V4(ip) => self.v4.iter().find_map(|Table { len, networks }| {
                let (bits, len) = (head32(ip.to_bits(), *len), *len);
                Some((Network::V4 { bits, len }, *networks.get(&bits)?))
            }),
            IpAddr::V6(ip) => self.v6.iter().find_map(|Table { len, networks }| {
                let (bits, len) = (head128(ip.to_bits(), *len), *len);
                Some((Network::V6 { bits, len }, *networks.get(&bits)?))
            }),
        }
    }
}

fn add<K: Eq + Hash, T>(tables: &mut Vec<Table<K, T>>, len: u8, bits: K, what: T) {
    let place = tables.partition_point(|table| table.len > len);
    if tables.get(place).is_none_or(|table| table.len != len) {
        let networks = HashMap::new();
        tables.insert(place, Table { len, networks });
    }
    if let Some(table) = tables.get_mut(place) {
        table.networks.entry(bits).or_insert(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn networks(texts: &[&str]) -> Networks<usize> {
        let mut networks = Networks::default();
        for (place, text) in texts.iter().enumerate() {
            networks.add(Network::parse(text).unwrap(), place);
        }
        networks
    }

    #[test]
    fn the_smallest_network_is_found_and_of_equal_ones_the_first() {
        let networks = networks(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.9.9.9/8",
            "10.1.2.3/32",
            "0.0.0.0/0",
            "2001:db8::/32",
            "2001:db8:1::/48",
        ]);
        let table = [
            ("10.2.0.1", Some(("10.0.0.0/8", 0))),
            ("10.1.2.4", Some(("10.1.0.0/16", 1))),
            ("10.1.2.3", Some(("10.1.2.3", 3))),
            ("11.0.0.0", Some(("0.0.0.0/0", 4))),
            ("2001:db8::1", Some(("2001:db8::/32", 5))),
            ("2001:db8:1:2::", Some(("2001:db8:1::/48", 6))),
            ("2001:db9::1", None),
        ];
        for (ip, expected) in table {
            let found = networks.smallest(ip.parse().unwrap());
            let found = found.map(|(network, what)| (network.to_string(), what));
            let expected = expected.map(|(network, what)| (network.to_owned(), what));
            assert_eq!(found, expected, "{ip}");
        }
    }

    /// Addresses that have their first bits in common more often than chance would have it.
    fn near() -> impl Strategy<Value = IpAddr> {
        let bits = (0..4u32, any::<u32>(), 0..33u32);
        bits.prop_flat_map(|(head, tail, shift)| {
            let v4 = (head << 30) ^ tail.checked_shr(shift).unwrap_or(0);
            let v6 = (u128::from(head) << 126) ^ u128::from(tail).rotate_right(shift * 3);
            prop_oneof![
                Just(IpAddr::V4(Ipv4Addr::from_bits(v4))),
                Just(IpAddr::V6(Ipv6Addr::from_bits(v6)))
            ]
        })
    }

    /// Whether an address is in a network, bit by bit.
    fn is_in(ip: IpAddr, network: Network) -> bool {
        match (ip, network) {
            (IpAddr::V4(ip), Network::V4 { bits, len }) => {
                (0..u32::from(len)).all(|place| (ip.to_bits() ^ bits) >> (31 - place) & 1 == 0)
            }
            (IpAddr::V6(ip), Network::V6 { bits, len }) => {
                (0..u32::from(len)).all(|place| (ip.to_bits() ^ bits) >> (127 - place) & 1 == 0)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_looking_at_each_finds(
            named in prop::collection::vec((near(), 0..129u8), 0..60),
            ips in prop::collection::vec(near(), 1..20),
        ) {
            let named: Vec<Network> =
                named.into_iter().filter_map(|(ip, len)| Network::new(ip, len)).collect();
            let mut networks = Networks::default();
            for (place, network) in named.iter().enumerate() {
                networks.add(*network, place);
            }
            let len = |network: &Network| match network {
                Network::V4 { len, .. } | Network::V6 { len, .. } => *len,
            };
            for ip in ips {
                let holding = named.iter().enumerate().filter(|(_, network)| is_in(ip, **network));
                // Of several greatest ones max_by_key takes the last.
                let smallest = holding.rev().max_by_key(|(_, network)| len(network));
                let found = networks.smallest(ip);
                prop_assert_eq!(found, smallest.map(|(place, network)| (*network, place)));
            }
        }
    }
}
