//! Turns a file that tcprules(1) has compiled into rules. It is a constant database, cdb(5): 256 pointers to hash
//! tables, the records, the tables.

use super::address::{Spelling, Wrong, keys};
use super::{Broken, Instructions, Rules};
use crate::model::text::Quoted;

/// The pointers at the start of a file, in bytes: for each table where it is and how many slots it has.
const POINTERS: usize = 2048;
/// A pointer, a slot, and what precedes each record: two numbers of 32 bits.
const PAIR: usize = 8;

/// Reads every record, and checks that the tables have each of them and nothing else. All that it takes from the file
/// is compared with the file's size before it is believed.
///
/// # Errors
/// The first thing that tcprules(1) would not have written.
pub(super) fn read(file: &[u8]) -> Result<Rules, Broken> {
    let (slots, end) = slots(file).ok_or_else(|| broken("its tables are not within it"))?;
    let mut slots = slots.into_iter();
    let mut rules = Rules::default();
    let mut place = POINTERS;
    while place < end {
        let (record, next) = record(file, place, end)
            .ok_or_else(|| broken("a record of it reaches beyond its end"))?;
        if slots.next() != Some((place, hash(record.key))) {
            return Err(broken("its tables and its records disagree"));
        }
        add(&mut rules, &record)?;
        place = next;
    }
    match slots.next() {
        None => Ok(rules),
        Some(_) => Err(broken("its tables and its records disagree")),
    }
}

fn broken(why: &str) -> Broken {
    Broken::whole(format!("tcprules did not make this: {why}"))
}

/// Where each record is according to the tables, with the hash of its key, in the order of the file; and where the
/// records end.
fn slots(file: &[u8]) -> Option<(Vec<(usize, u32)>, usize)> {
    let mut slots = Vec::new();
    let mut end = file.len();
    // Tables do not overlap, so that there cannot be more slots than this.
    let mut room = file.len().checked_sub(POINTERS)? / PAIR;
    for (table, pointer) in (0..=255).zip(file.get(..POINTERS)?.chunks_exact(PAIR)) {
        let (place, count) = pair(pointer)?;
        let (place, count) = (place as usize, count as usize);
        if count == 0 {
            continue;
        }
        room = room.checked_sub(count)?;
        end = end.min(place);
        let bytes = file.get(place..)?.get(..count * PAIR)?;
        for slot in bytes.chunks_exact(PAIR) {
            let (hash, record) = pair(slot)?;
            if record == 0 {
                continue;
            }
            if hash & 255 != table {
                return None;
            }
            slots.push((record as usize, hash));
        }
    }
    slots.sort_unstable();
    (end >= POINTERS).then_some((slots, end))
}

struct Record<'a> {
    key: &'a [u8],
    data: &'a [u8],
}

/// The record at a place, and where the next one is.
fn record(file: &[u8], place: usize, end: usize) -> Option<(Record<'_>, usize)> {
    let bytes = file.get(place..end)?;
    let (key_len, data_len) = pair(bytes)?;
    let bytes = bytes.get(PAIR..)?;
    let (key, bytes) = bytes.split_at_checked(key_len as usize)?;
    let (data, rest) = bytes.split_at_checked(data_len as usize)?;
    Some((Record { key, data }, end - rest.len()))
}

/// Two numbers, their lowest bytes first.
fn pair(bytes: &[u8]) -> Option<(u32, u32)> {
    let (first, rest) = bytes.split_first_chunk()?;
    let second = rest.first_chunk()?;
    Some((u32::from_le_bytes(*first), u32::from_le_bytes(*second)))
}

/// The hash of cdb(5).
fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, byte| {
        hash.wrapping_mul(33) ^ u32::from(*byte)
    })
}

fn add(rules: &mut Rules, record: &Record<'_>) -> Result<(), Broken> {
    let of_rule = |why: &str| Broken::whole(format!("rule {}: {why}", Quoted(record.key)));
    let instructions =
        instructions(record.data).ok_or_else(|| of_rule("these are no instructions"))?;
    let keys = keys(record.key, Spelling::Compiled).map_err(|Wrong(_, why)| of_rule(why))?;
    rules.add(record.key, keys, instructions).map_err(of_rule)
}

/// What tcprules(1) writes: `D` for deny, then `+VAR=value` any number of times, each with a NUL behind.
fn instructions(data: &[u8]) -> Option<Instructions> {
    let mut instructions = Instructions::default();
    if data.is_empty() {
        return Some(instructions);
    }
    for part in data.strip_suffix(b"\0")?.split(|byte| *byte == 0) {
        if part == b"D" {
            instructions.denies = true;
            continue;
        }
        let variable = part.strip_prefix(b"+")?;
        let equals = variable.iter().position(|byte| *byte == b'=')?;
        let (name, value) = variable.split_at_checked(equals)?;
        if name.is_empty() {
            return None;
        }
        instructions.set(name, value.get(1..)?);
    }
    Some(instructions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::rules::cdb::made;
    use crate::model::peer::{Peer, PeerFacts};
    use proptest::prelude::*;

    fn shown(file: &[u8]) -> String {
        read(file).unwrap_err().shown(b"x.cdb")
    }

    #[test]
    fn what_tcprules_does_not_make_is_refused() {
        let not = |why: &str| format!("x.cdb: tcprules did not make this: {why}");
        let good = made(&[(b"10.", b"D\0"), (b"", b"+A=b\0+C=\0")]);
        assert!(read(&good).is_ok());
        for len in 0..good.len() {
            assert!(read(&good[..len]).is_err(), "{len}");
        }
        assert_eq!(shown(b""), not("its tables are not within it"));
        assert_eq!(shown(b"10.:deny\n"), not("its tables are not within it"));
        let disagree = not("its tables and its records disagree");
        let mut other_key = good.clone();
        other_key[POINTERS + PAIR] = b'2';
        assert_eq!(shown(&other_key), disagree);
        let mut longer = good.clone();
        longer[POINTERS] = 200;
        assert_eq!(shown(&longer), not("a record of it reaches beyond its end"));
        let mut huge = good.clone();
        huge[POINTERS..POINTERS + 8].fill(0xff);
        assert_eq!(shown(&huge), not("a record of it reaches beyond its end"));
        assert_eq!(shown(&[0xff; 4096]), not("its tables are not within it"));
        // Tables that share their slots would be many times as much work as the file has bytes.
        let shared = [[0, 8, 0, 0, 9, 0, 0, 0].repeat(256), vec![0; 72]].concat();
        assert_eq!(shown(&shared), not("its tables are not within it"));
        let mut no_tables = good;
        no_tables[..POINTERS].fill(0);
        assert_eq!(shown(&no_tables), disagree);
    }

    #[test]
    fn records_that_are_no_rules_are_named() {
        let table: [(&[u8], &[u8], &str); 9] = [
            (b"10.", b"D", "rule \"10.\": these are no instructions"),
            (b"10.", b"deny\0", "rule \"10.\": these are no instructions"),
            (
                b"10.",
                b"C30:busy\0",
                "rule \"10.\": these are no instructions",
            ),
            (b"10.", b"+A\0", "rule \"10.\": these are no instructions"),
            (b"10.", b"+=b\0", "rule \"10.\": these are no instructions"),
            (b"10.", b"\0", "rule \"10.\": these are no instructions"),
            (b"10.", b"D\0\0", "rule \"10.\": these are no instructions"),
            (
                b"1.2.3",
                b"D\0",
                "rule \"1.2.3\": 4 numbers, or 1 to 3 with a dot behind each, are expected",
            ),
            (
                b"uid:\n",
                b"D\0",
                "rule \"uid:?\": a number is expected behind \":\"",
            ),
        ];
        for (key, data, why) in table {
            assert_eq!(shown(&made(&[(key, data)])), format!("x.cdb: {why}"));
        }
    }

    #[test]
    fn compiled_rules_decide_as_their_source_does() {
        let file = made(&[
            (b"10.", b"D\0"),
            (b"10.", b""),
            (b"2001:db8:", b"D\0+A=b\0"),
            (b"10.1.0.0/16", b"+A=1\0+B=\0+A=2\0"),
            (b"", b""),
        ]);
        let rules = read(&file).unwrap();
        for (ip, decision) in [
            ("10.2.0.1", "10.:deny"),
            ("10.1.0.1", "10.1.0.0/16:allow B= A=2"),
            ("2001:db8::1", "2001:db8::deny A=b"),
            ("2001:db9::1", ":allow"),
        ] {
            let peer = Peer::Inet(std::net::SocketAddr::new(ip.parse().unwrap(), 1));
            let (host, ident) = (None, None);
            let found = rules
                .judge(&PeerFacts {
                    peer: &peer,
                    host,
                    ident,
                })
                .unwrap();
            let variables = found.variables.iter().map(|variable| {
                let (name, value) = (&variable.name, &variable.value);
                format!(" {}={}", name.escape_ascii(), value.escape_ascii())
            });
            assert_eq!(
                format!("{found}{}", variables.collect::<String>()),
                decision
            );
        }
        assert!(read(&made(&[])).unwrap().rules.is_empty());
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_refused_or_has_the_rules_that_it_had(
            records in prop::collection::vec((0..200u8, "(D\0)?(\\+A=b\0)?"), 0..20),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let records: Vec<_> = records
                .into_iter()
                .map(|(number, data)| (format!("{number}."), data))
                .collect();
            let slices: Vec<_> = records.iter().map(|(key, data)| (key.as_bytes(), data.as_bytes())).collect();
            let mut file = made(&slices);
            let whole = read(&file).unwrap();
            prop_assert_eq!(whole.rules.len(), records.len());
            let place = place.index(file.len());
            file[place] = byte;
            if let Ok(rules) = read(&file) {
                prop_assert_eq!(rules.addresses, whole.addresses);
            }
        }
    }
}
