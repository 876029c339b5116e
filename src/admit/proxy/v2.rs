//! Turns a binary header into what it says: PROXY protocol §2.2.

use super::{Ends, HEADER_BYTES, Header, Reading, Tls, checksum};
use crate::model::address::{Place, UnixName, unmapped};
use ppp::v2::{Addresses, TypeLengthValues};
use std::net::SocketAddr;

/// How every header begins.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What comes before the addresses: signature, version and command, family and protocol, and how much follows.
const FIXED_BYTES: usize = 16;
/// The version and the command.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// PP2_TYPE_CRC32C
const CHECKSUM: u8 = 3;

pub(super) const MALFORMED: &str = "a malformed field in a PROXY header";

/// Reads a header that begins with the signature, as far as it goes.
pub(super) fn read(bytes: &[u8]) -> Reading {
    let fixed = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let (command, kind) = (fixed.first().copied(), fixed.get(1).copied());
    if !matches!(command, None | Some(LOCAL | PROXY)) {
        return Reading::Wrong("a PROXY header of an unknown version or command");
    }
    // A family of 0 to 3, a protocol of 0 to 2. The family of a local connection is ignored.
    let is_local = command == Some(LOCAL);
    let is_known = |kind: u8| kind >> 4 <= 3 && kind & 15 <= 2;
    if !is_local && kind.is_some_and(|kind| !is_known(kind)) {
        return Reading::Wrong("a PROXY header of an unknown address family or protocol");
    }
    let (Some(kind), Some(high), Some(low)) = (kind, fixed.get(2), fixed.get(3)) else {
        return Reading::More {
            at_least: FIXED_BYTES.saturating_sub(bytes.len()),
        };
    };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if FIXED_BYTES + len > HEADER_BYTES {
        return Reading::Wrong("a PROXY header of more than 4096 bytes");
    }
    let says_who = !is_local && kind >> 4 != 0 && kind & 15 != 0;
    let address_bytes = match kind >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    if says_who && len < address_bytes {
        return Reading::Wrong("a PROXY header that is too short for its addresses");
    }
    let Some(header) = bytes.get(..FIXED_BYTES + len) else {
        return Reading::More {
            at_least: FIXED_BYTES + len - bytes.len(),
        };
    };
    let fields = FIXED_BYTES
        + if len < address_bytes {
            0
        } else {
            address_bytes
        };
    let verified = verify(header, fields);
    let said = match verified {
        // What fills a header that says nothing need not make sense.
        Ok(()) | Err(MALFORMED) if !says_who => Ok(Header::default()),
        verified => verified.and_then(|()| said(header, fields)),
    };
    match said {
        Ok(said) => Reading::Whole {
            bytes: header.len(),
            header: said,
        },
        Err(why) => Reading::Wrong(why),
    }
}

/// Whether the fields, which start at `place`, are whole, and the checksum is right if there is one.
fn verify(header: &[u8], mut place: usize) -> Result<(), &'static str> {
    for field in TypeLengthValues::from(header.get(place..).unwrap_or_default()) {
        let field = field.map_err(|_| MALFORMED)?;
        let (start, end) = (place + 3, place + 3 + field.value.len());
        if field.kind == CHECKSUM {
            let sum = field.value.as_ref().try_into().map_err(|_| MALFORMED)?;
            let parts = [header.get(..start), Some(&[0; 4]), header.get(end..)];
            let bytes = parts.into_iter().flatten().flatten();
            if checksum::of(bytes) != u32::from_be_bytes(sum) {
                return Err("a wrong checksum in a PROXY header");
            }
        }
        place = end;
    }
    Ok(())
}

fn said(header: &[u8], fields: usize) -> Result<Header, &'static str> {
    let tls = Tls::read(header.get(fields..).unwrap_or_default())?;
    let header = ppp::v2::Header::try_from(header).map_err(|_| MALFORMED)?;
    let inet = |address: SocketAddr| Place::Inet(unmapped(address));
    let (remote, local) = match header.addresses {
        Addresses::IPv4(ends) => (
            inet((ends.source_address, ends.source_port).into()),
            inet((ends.destination_address, ends.destination_port).into()),
        ),
        Addresses::IPv6(ends) => (
            inet((ends.source_address, ends.source_port).into()),
            inet((ends.destination_address, ends.destination_port).into()),
        ),
        Addresses::Unix(ends) => (unix(&ends.source), unix(&ends.destination)),
        Addresses::Unspecified => return Err(MALFORMED),
    };
    Ok(Header {
        ends: Some(Ends { remote, local }),
        tls,
    })
}

/// A unix address as it stands in a field that NULs fill up.
fn unix(field: &[u8]) -> Place {
    let end = field.iter().rposition(|byte| *byte != 0);
    let name = field.get(..end.map_or(0, |end| end + 1));
    Place::Unix(UnixName::from_sun_path(name.unwrap_or_default()))
}
