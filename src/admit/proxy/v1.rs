//! Turns a line of text into a header: PROXY protocol §2.1.

use super::{Ends, Header, Reading, SHORTEST};
use crate::model::address::{Place, unmapped};
use ppp::v1::Addresses;
use std::net::SocketAddr;

/// How every line begins.
pub(super) const BEGINNINGS: [&[u8]; 4] = [
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"PROXY UNKNOWN ",
    b"PROXY UNKNOWN\r",
];
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";
/// The longest line, its end included.
const LINE_BYTES: usize = 107;

/// Reads a line that begins as one of these, as far as it goes.
pub(super) fn read(bytes: &[u8]) -> Reading {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let end = end.unwrap_or(bytes.len());
    if end > LINE_BYTES - 2 {
        return Reading::Wrong("a PROXY line of more than 107 bytes");
    }
    match (bytes.get(end), bytes.get(end + 1)) {
        (None, _) => Reading::More {
            at_least: SHORTEST.saturating_sub(end).max(2),
        },
        (Some(b'\r'), None) => Reading::More { at_least: 1 },
        (Some(b'\r'), Some(b'\n')) => {
            let bytes = bytes.get(..end + 2).unwrap_or(bytes);
            match header(bytes) {
                Some(header) => Reading::Whole {
                    bytes: bytes.len(),
                    header,
                },
                None => Reading::Wrong("a malformed PROXY line"),
            }
        }
        _ => Reading::Wrong("a PROXY line without CR LF at its end"),
    }
}

/// What a line says, its end included. Left to itself ppp takes a plus before a port, and an UNKNOWN with few words only.
fn header(line: &[u8]) -> Option<Header> {
    if line.starts_with(UNKNOWN) {
        return Some(Header::default());
    }
    if line.contains(&b'+') {
        return None;
    }
    let header = ppp::v1::Header::try_from(line).ok()?;
    let (remote, local): (SocketAddr, SocketAddr) = match header.addresses {
        Addresses::Tcp4(ends) => (
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
        ),
        Addresses::Tcp6(ends) => (
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
        ),
        Addresses::Unknown => return None,
    };
    Some(Header {
        ends: Some(Ends {
            remote: Place::Inet(unmapped(remote)),
            local: Place::Inet(unmapped(local)),
        }),
        ..Header::default()
    })
}
