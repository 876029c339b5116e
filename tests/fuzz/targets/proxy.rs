//! PROXY headers: what is said of a part stays true of the whole, and another parser makes the same of it.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/admit/mod.rs"]
mod admit;
#[path = "../../../src/model/mod.rs"]
mod model;

use admit::proxy::{Ends, HEADER_BYTES, Reading, read};
use libfuzzer_sys::fuzz_target;
use model::address::{Place, unmapped};
use proxy_header::{ParseConfig, ProxyHeader};

fuzz_target!(|bytes: &[u8]| {
    let reading = read(bytes);
    for len in 0..bytes.len() {
        match read(&bytes[..len]) {
            // The next bytes are a header's whatever they are, so that the answer to them is never a shorter header.
            Reading::More { at_least } => {
                assert!(at_least > 0);
                if let Reading::Whole { bytes, .. } = &reading {
                    assert!(len + at_least <= *bytes);
                }
            }
            early => {
                assert_eq!(early, reading);
                break;
            }
        }
    }
    let Reading::Whole { bytes: len, header } = reading else {
        return;
    };
    assert!((15..=HEADER_BYTES.min(bytes.len())).contains(&len));
    for (name, value) in header.tls.variables() {
        assert!(name.starts_with("SSL_"));
        assert!((1..=255).contains(&value.len()) && !value.chars().any(char::is_control));
    }
    // The other parser knows neither families that are ignored nor halves that are unspecified.
    let kind = bytes.get(13).copied().unwrap_or(0);
    let is_lax = bytes[0] == b'\r' && (bytes[12] == 0x20 || kind & 15 == 0 || kind >> 4 == 0);
    if is_lax {
        return;
    }
    let (theirs, their_len) =
        ProxyHeader::parse(bytes, ParseConfig::default()).expect("they take it too");
    assert_eq!(len, their_len);
    let theirs = theirs.proxied_address();
    let theirs = theirs.map(|ends| (unmapped(ends.source), unmapped(ends.destination)));
    match header.ends {
        Some(Ends {
            remote: Place::Inet(remote),
            local: Place::Inet(local),
        }) => {
            assert_eq!(theirs, Some((remote, local)));
        }
        _ => assert_eq!(theirs, None),
    }
});
