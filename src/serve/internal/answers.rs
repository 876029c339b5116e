//! What the services that skd itself has say; pure, given the time.

use crate::model::inetd::Builtin;
use std::time::Duration;

/// No answer to a datagram is longer, in bytes.
pub(super) const DATAGRAM_BYTES: usize = 512;
/// A datagram from a port below this one is never answered: it may be a service that would answer in turn.
const LOWEST_PORT: u16 = 1024;

/// Seconds from 1900 to 1970, RFC 868.
const SECS_1900: u64 = 2_208_988_800;

/// The 95 characters of ASCII that can be seen, and the blank: RFC 864.
const FIRST: u8 = b' ';
const COUNT: usize = 95;
const LINE: usize = 72;

/// A line of chargen: 72 characters, the first of which is another in each line.
pub(super) fn line(number: usize) -> [u8; LINE + 2] {
    let mut line = [b'\r'; LINE + 2];
    for (place, byte) in line.iter_mut().take(LINE).enumerate() {
        let character = (number % COUNT + place) % COUNT;
        *byte = u8::try_from(character).map_or(FIRST, |character| FIRST + character);
    }
    if let Some(last) = line.last_mut() {
        *last = b'\n';
    }
    line
}

/// The whole answer of a service that says one thing and no more: daytime and time.
pub(super) fn once(
    builtin: Builtin,
    wall: Duration,
    date: impl FnOnce() -> String,
) -> Option<Vec<u8>> {
    match builtin {
        Builtin::Daytime => Some(format!("{}\r\n", date()).into_bytes()),
        Builtin::Time => {
            // The number begins anew every 136 years, as in the protocol.
            let secs = wall.as_secs().wrapping_add(SECS_1900) & u64::from(u32::MAX);
            let [.., a, b, c, d] = secs.to_be_bytes();
            Some(vec![a, b, c, d])
        }
        Builtin::Echo | Builtin::Discard | Builtin::Chargen => None,
    }
}

/// The answer to a datagram, if there is one. `port` is the sender's, unless it is of a unix socket; one of `own`, where
/// skd itself answers, gets none, since it would answer in turn, and so for ever.
pub(super) fn to_datagram(
    builtin: Builtin,
    said: &[u8],
    (port, own): (Option<u16>, &[u16]),
    wall: Duration,
    date: impl FnOnce() -> String,
) -> Option<Vec<u8>> {
    if port.is_some_and(|port| port < LOWEST_PORT || own.contains(&port)) {
        return None;
    }
    let mut answer = match builtin {
        Builtin::Echo => said.to_vec(),
        Builtin::Discard => return None,
        Builtin::Chargen => line(0).to_vec(),
        Builtin::Daytime | Builtin::Time => once(builtin, wall, date)?,
    };
    answer.truncate(DATAGRAM_BYTES);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_turn_through_all_characters() {
        let text = |number| String::from_utf8(line(number).to_vec()).unwrap();
        assert_eq!(
            text(0),
            " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n"
        );
        assert!(text(94).starts_with("~ !\""));
        assert_eq!(text(95), text(0));
        assert_eq!(text(usize::MAX).len(), 74);
    }

    #[test]
    fn datagrams_are_answered_once_and_shortly() {
        let day = Duration::from_secs(1_795_624_000);
        type Row<'a> = (Builtin, &'a [u8], Option<u16>, Option<&'a [u8]>);
        let table: [Row<'_>; 12] = [
            (Builtin::Echo, b"x", Some(1024), Some(b"x")),
            (Builtin::Echo, b"", None, Some(b"")),
            (Builtin::Echo, b"x", Some(1023), None),
            (Builtin::Echo, b"x", Some(0), None),
            (Builtin::Echo, b"x", Some(7007), None),
            (Builtin::Time, b"x", Some(7008), None),
            (Builtin::Echo, &[7; 600], Some(2000), Some(&[7; 512])),
            (Builtin::Discard, b"x", Some(2000), None),
            (Builtin::Daytime, b"x", Some(2000), Some(b"date\r\n")),
            (Builtin::Daytime, b"x", Some(13), None),
            (
                Builtin::Time,
                b"",
                Some(2000),
                Some(&[0xee, 0xb1, 0x8a, 0xc0]),
            ),
            (Builtin::Chargen, b"", None, Some(&line(0))),
        ];
        for (builtin, said, port, expected) in table {
            let answer = to_datagram(builtin, said, (port, &[7007, 7008]), day, || "date".into());
            assert_eq!(answer.as_deref(), expected, "{builtin:?} {port:?}");
        }
    }
}
