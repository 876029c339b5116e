//! Turns the ADDRESS of a rule into the keys that it stands for.

use crate::model::admission::Id;
use crate::model::network::{self, Network};
use std::net::{IpAddr, Ipv4Addr};

/// What a rule is found by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Key {
    /// The empty address: everybody.
    Any,
    Whole(IpAddr),
    Network(Network),
    Id(Id),
    /// `=host`, `=.suffix`, `=`, `info@address` or `info@=host`, hosts in small letters, addresses as std shows them.
    Name(Box<[u8]>),
}

/// Where addresses come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spelling {
    /// Typed: ranges are written out.
    Source,
    /// Compiled: ranges are gone, and there are IPv6 prefixes `2001:db8:`, as Debian's tcprules makes them. In the
    /// source these would look like the address `2001:db8::`.
    Compiled,
}

/// What is wrong, and at which byte.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Wrong(pub(super) usize, pub(super) &'static str);

/// The keys of an address; a range has several.
///
/// # Errors
/// What cannot be an address. tcprules(1) would take it for one that nobody ever has.
pub(super) fn keys(text: &[u8], spelling: Spelling) -> Result<Vec<Key>, Wrong> {
    if text.is_empty() {
        return Ok(vec![Key::Any]);
    }
    if let Some(at) = text.iter().rposition(|byte| *byte == b'@') {
        return of_ident(text, at).map(|key| vec![key]);
    }
    if text.starts_with(b"=") {
        return Ok(vec![Key::Name(text.to_ascii_lowercase().into())]);
    }
    let text = str::from_utf8(text).map_err(|error| Wrong(error.valid_up_to(), EXPECTED))?;
    if let Some(id) = Id::parse(text) {
        let number = Wrong(4, "a number is expected behind \":\"");
        return id.map(|id| vec![Key::Id(id)]).ok_or(number);
    }
    if text.starts_with('[') {
        return Err(Wrong(0, network::BRACKETS));
    }
    if text.contains('/') {
        return match Network::parse(text) {
            Ok(network) => Ok(vec![Key::Network(network)]),
            Err((place, why)) => Err(Wrong(place, why)),
        };
    }
    if text.contains(':') {
        return of_ipv6(text, spelling).map(|key| vec![key]);
    }
    dotted(text, spelling)
}

const EXPECTED: &str = "an address, a prefix with a dot behind, a network, =HOST, =.SUFFIX, INFO@ADDRESS, uid:N, gid:N or \
                        cid:N is expected";

/// `info@address` and `info@=host`; `at` is the place of the `@`.
fn of_ident(text: &[u8], at: usize) -> Result<Key, Wrong> {
    let wrong = || Wrong(at + 1, "an address or =HOST is expected behind \"@\"");
    let (ident, host) = text.split_at_checked(at + 1).ok_or_else(wrong)?;
    let host = match host {
        [b'=', _, ..] => host.to_ascii_lowercase(),
        _ => {
            let ip = str::from_utf8(host).ok().and_then(network::address);
            ip.ok_or_else(wrong)?.to_string().into_bytes()
        }
    };
    Ok(Key::Name([ident, &host].concat().into()))
}

fn of_ipv6(text: &str, spelling: Spelling) -> Result<Key, Wrong> {
    let wrong = Wrong(
        0,
        "an IPv6 address, or an IPv6 network with a length behind \"/\", is expected",
    );
    match network::address(text) {
        Some(ip) => Ok(Key::Whole(ip)),
        None if spelling == Spelling::Compiled => ipv6_prefix(text).map(Key::Network).ok_or(wrong),
        None => Err(wrong),
    }
}

/// `2001:db8:`, one to seven groups that are whole.
fn ipv6_prefix(text: &str) -> Option<Network> {
    let text = Some(text).filter(|text| !text.contains("::"))?;
    let groups = text.strip_suffix(':')?.split(':').count();
    let zeros = "0:".repeat(7usize.checked_sub(groups)? + 1);
    let ip = network::address(format!("{text}{zeros}").strip_suffix(':')?)?;
    Network::new(ip, u8::try_from(groups * 16).ok()?)
}

/// `1.2.3.4`, `1.2.`, and with one range `1.2.3.4-5` or `1.2-3.`.
fn dotted(text: &str, spelling: Spelling) -> Result<Vec<Key>, Wrong> {
    let (numbers, is_prefix) = match text.strip_suffix('.') {
        Some(numbers) => (numbers, true),
        None => (text, false),
    };
    let mut octets = Vec::new();
    let mut place = 0;
    let mut has_range = false;
    for number in numbers.split('.') {
        let (from, to) = octet(number, spelling).map_err(|why| Wrong(place, why))?;
        if number.contains('-') && std::mem::replace(&mut has_range, true) {
            return Err(Wrong(place, "one range is all that an address can have"));
        }
        octets.push((from, to));
        place += number.len() + 1;
    }
    let len = match (octets.len(), is_prefix) {
        (4, false) => 32,
        (1..=3, true) => u8::try_from(octets.len() * 8).unwrap_or_default(),
        _ => {
            let why = "4 numbers, or 1 to 3 with a dot behind each, are expected";
            return Err(Wrong(0, why));
        }
    };
    let (from, to) = octets
        .iter()
        .find(|(from, to)| from != to)
        .copied()
        .unwrap_or((0, 0));
    let key = |number| {
        let mut bytes = [0; 4];
        for (byte, octet) in bytes.iter_mut().zip(&octets) {
            *byte = if octet.0 == octet.1 { octet.0 } else { number };
        }
        let ip = IpAddr::V4(Ipv4Addr::from(bytes));
        if len == 32 {
            Some(Key::Whole(ip))
        } else {
            Network::new(ip, len).map(Key::Network)
        }
    };
    Ok((from..=to).filter_map(key).collect())
}

/// A number of 0 to 255, or a range of them in which zeros may lead.
fn octet(text: &str, spelling: Spelling) -> Result<(u8, u8), &'static str> {
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_number)
    };
    match text
        .split_once('-')
        .filter(|_| spelling == Spelling::Source)
    {
        None => number(text)
            .filter(|_| text == "0" || !text.starts_with('0'))
            .map(|number| (number, number))
            .ok_or(if text.bytes().all(|byte| byte.is_ascii_digit()) {
                "a number of 0 to 255 without leading zeros is expected"
            } else {
                EXPECTED
            }),
        Some((from, to)) => number(from)
            .zip(number(to))
            .filter(|(from, to)| from <= to)
            .ok_or("a range within 0 to 255 is expected, the lower number first"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &[u8], spelling: Spelling) -> String {
        match keys(text, spelling) {
            Ok(keys) => keys.iter().map(|key| show(key) + " ").collect(),
            Err(Wrong(place, why)) => format!("{place}: {why}"),
        }
    }

    fn show(key: &Key) -> String {
        match key {
            Key::Any => "any".into(),
            Key::Whole(ip) => ip.to_string(),
            Key::Network(
                network @ (Network::V4 { len: 32, .. } | Network::V6 { len: 128, .. }),
            ) => {
                format!("net {network}")
            }
            Key::Network(network) => network.to_string(),
            Key::Id(id) => id.to_string(),
            Key::Name(name) => String::from_utf8_lossy(name).into_owned(),
        }
    }

    #[test]
    fn what_nobody_ever_has_is_no_address() {
        let number = "a number of 0 to 255 without leading zeros is expected";
        let numbers = "4 numbers, or 1 to 3 with a dot behind each, are expected";
        let range = "a range within 0 to 255 is expected, the lower number first";
        let v6 = "an IPv6 address, or an IPv6 network with a length behind \"/\", is expected";
        let ident = "an address or =HOST is expected behind \"@\"";
        let table = [
            ("localhost", 0, EXPECTED),
            (" 1.2.3.4", 0, EXPECTED),
            ("1.2.3.4 ", 6, EXPECTED),
            ("1.2.3.x", 6, EXPECTED),
            ("a=b", 0, EXPECTED),
            ("*", 0, EXPECTED),
            ("1.2.3", 0, numbers),
            ("1.2.3.4.", 0, numbers),
            ("1.2.3.4.5", 0, numbers),
            ("10", 0, numbers),
            (".", 0, number),
            ("1..", 2, number),
            ("1.2.3.256", 6, number),
            ("1.2.3.04", 6, number),
            ("01.", 0, number),
            ("1.2.3.5-3", 6, range),
            ("1.2.3.4-256", 6, range),
            ("1.2.3.-4", 6, range),
            ("1.2.3.4-", 6, range),
            ("1.2.3.4-5-6", 6, range),
            ("1.2.3.a-5", 6, range),
            ("1-2.3-4.", 4, "one range is all that an address can have"),
            ("5-5.3-4.", 4, "one range is all that an address can have"),
            ("2001:db8:", 0, v6),
            ("fe80::1%1", 0, v6),
            ("[::1]", 0, network::BRACKETS),
            ("host:80", 0, v6),
            ("uid:root", 4, "a number is expected behind \":\""),
            ("10.0.0.0/33", 9, "a length of 0 to 32 bits is expected"),
            ("10./8", 0, "an address is expected before \"/\""),
            ("joe@", 4, ident),
            ("joe@=", 4, ident),
            ("joe@10.", 4, ident),
            ("joe@1.2.3.4-5", 4, ident),
            ("joe@10.0.0.0/8", 4, ident),
        ];
        for (text, place, why) in table {
            assert_eq!(
                shown(text.as_bytes(), Spelling::Source),
                format!("{place}: {why}"),
                "{text}"
            );
        }
        assert_eq!(shown(b"1.\xff", Spelling::Source), format!("2: {EXPECTED}"));
        // Nothing of the kind is left in what tcprules has compiled.
        assert_eq!(
            shown(b"1.2.3.4-5", Spelling::Compiled),
            format!("6: {EXPECTED}")
        );
        for text in [
            "::",
            "1::",
            ":",
            "1:2:3:4:5:6:7:8:",
            "12345:",
            "x:",
            "1::2:",
        ] {
            let is_whole = text == "::" || text == "1::";
            assert_eq!(
                keys(text.as_bytes(), Spelling::Compiled).is_ok(),
                is_whole,
                "{text}"
            );
        }
    }

    #[test]
    fn an_address_stands_for_its_keys() {
        let table = [
            ("", "any "),
            ("1.2.3.4", "1.2.3.4 "),
            ("10.", "10.0.0.0/8 "),
            ("10.2.", "10.2.0.0/16 "),
            ("10.2.3.", "10.2.3.0/24 "),
            ("0.", "0.0.0.0/8 "),
            ("1.2.3.254-255", "1.2.3.254 1.2.3.255 "),
            ("1.2.3.7-7", "1.2.3.7 "),
            ("1.2.3.08-010", "1.2.3.8 1.2.3.9 1.2.3.10 "),
            ("10.2-3.", "10.2.0.0/16 10.3.0.0/16 "),
            ("10.2-3.4.", "10.2.4.0/24 10.3.4.0/24 "),
            ("9-10.2.3.4", "9.2.3.4 10.2.3.4 "),
            ("10.1.2.3/8", "10.0.0.0/8 "),
            ("1.2.3.4/32", "net 1.2.3.4 "),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8 "),
            ("::1", "::1 "),
            ("2001:DB8:0::1", "2001:db8::1 "),
            ("::ffff:1.2.3.4", "1.2.3.4 "),
            ("2001:db8::/32", "2001:db8::/32 "),
            ("::1/128", "net ::1 "),
            ("uid:5", "uid:5 "),
            ("gid:7", "gid:7 "),
            ("cid:3", "cid:3 "),
            ("=", "= "),
            ("=Host.Example", "=host.example "),
            ("=.Example", "=.example "),
            ("Joe@1.2.3.4", "Joe@1.2.3.4 "),
            ("joe@2001:DB8::01", "joe@2001:db8::1 "),
            ("joe@::ffff:1.2.3.4", "joe@1.2.3.4 "),
            ("Joe@=Host", "Joe@=host "),
            ("a@b@1.2.3.4", "a@b@1.2.3.4 "),
            ("@1.2.3.4", "@1.2.3.4 "),
            ("=x@1.2.3.4", "=x@1.2.3.4 "),
        ];
        for (text, keys) in table {
            assert_eq!(shown(text.as_bytes(), Spelling::Source), keys, "{text}");
        }
        for (text, keys) in [
            ("2001:db8:", "2001:db8::/32 "),
            ("fe80:", "fe80::/16 "),
            ("1:2:3:4:5:6:7:", "1:2:3:4:5:6:7:0/112 "),
            ("1.2.3.4", "1.2.3.4 "),
            ("10.", "10.0.0.0/8 "),
            ("::1", "::1 "),
        ] {
            assert_eq!(shown(text.as_bytes(), Spelling::Compiled), keys, "{text}");
        }
        assert_eq!(keys(b"0-255.", Spelling::Source).unwrap().len(), 256);
    }
}
