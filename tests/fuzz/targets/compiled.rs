//! Compiled rules: no file, however damaged, is more than refused.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/admit/mod.rs"]
mod admit;
#[path = "../../kit/cdb.rs"]
mod cdb;
#[path = "../../../src/model/mod.rs"]
mod model;

use admit::rules::Rules;
use cdb::made;
use libfuzzer_sys::fuzz_target;
use model::peer::{Peer, PeerFacts};

// Most of a file is pointers that chance does not get right. So the input is the records, a line each, key and data
// with a `%` between, and behind a `%` on a line of its own changes: three bytes for the place, one for the byte there.
fuzz_target!(|bytes: &[u8]| {
    let changes_at = bytes
        .windows(2)
        .position(|pair| pair == b"\n%")
        .unwrap_or(bytes.len());
    let (records, changes) = bytes.split_at(changes_at);
    let records: Vec<(&[u8], &[u8])> = records
        .split(|byte| *byte == b'\n')
        .filter_map(|line| Some(line.split_at(line.iter().position(|byte| *byte == b'%')?)))
        .map(|(key, data)| (key, &data[1..]))
        .collect();
    let mut file = made(&records);
    let whole = Rules::read(b"x.cdb", &file);
    for change in changes.get(2..).unwrap_or_default().chunks_exact(4) {
        let place =
            usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
        let place = place % (file.len() + 1);
        match file.get_mut(place) {
            Some(byte) => *byte = change[3],
            None => file.truncate(file.len() - usize::from(change[3]).min(file.len())),
        }
    }
    let read = [
        whole,
        Rules::read(b"x.cdb", &file),
        Rules::read(b"x.cdb", bytes),
    ];
    for result in read {
        let rules = match result {
            Ok(rules) => rules,
            Err(broken) => {
                assert!(!broken.shown(b"x.cdb").chars().any(char::is_control));
                continue;
            }
        };
        for ip in ["192.0.2.7", "1.2.3.4", "2001:db8::7"] {
            let peer = Peer::Inet(std::net::SocketAddr::new(ip.parse().unwrap(), 1));
            let (host, ident) = (Some(&b"a.b"[..]), Some(&b"u"[..]));
            if let Some(found) = rules.judge(&PeerFacts {
                peer: &peer,
                host,
                ident,
            }) {
                assert!(
                    found
                        .variables
                        .iter()
                        .all(|variable| !variable.name.is_empty())
                );
            }
        }
    }
});
