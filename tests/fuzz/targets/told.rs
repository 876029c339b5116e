//! What a name server and an ident server tell: whatever it is, what is taken of it can stand in an environment, and no
//! name is an address.
#![no_main]
#![allow(dead_code, reason = "it needs a part of this room")]

#[path = "../../../src/launch"]
mod launch {
    pub(crate) mod told;
}

use launch::told::{NAME_BYTES, host_name, user};
use libfuzzer_sys::fuzz_target;
use std::net::Ipv4Addr;

fuzz_target!(|bytes: &[u8]| {
    if let Some(name) = host_name(bytes) {
        assert!(bytes.starts_with(&name) && bytes.len() <= name.len() + 1);
        assert!((1..=NAME_BYTES).contains(&name.len()));
        let text = String::from_utf8(name).expect("it is ASCII");
        assert!(text.parse::<Ipv4Addr>().is_err());
        // What inet_aton(3) takes has no other letters than these, in four parts at most.
        let of_address = |byte: u8| byte.is_ascii_hexdigit() || b"xX.".contains(&byte);
        if text.bytes().all(of_address) {
            assert!(!is_taken_by_inet_aton(&text), "{text}");
        }
        assert_eq!(host_name(text.as_bytes()), Some(text.into_bytes()));
    }
    // The question was of the ports in front; of the rest each line is an answer.
    let Some((&[a, b, c, d], answer)) = bytes.split_first_chunk() else {
        return;
    };
    let ports = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let found = user(answer, ports);
    if let Some(found) = &found {
        assert!((1..=NAME_BYTES).contains(&found.len()));
        assert!(found.iter().all(|byte| (b' '..=b'~').contains(byte)));
        assert!(found.first() != Some(&b' '));
        // Told again by a server that says just that, it is the same, but for blanks at a cut.
        let again = format!("{}, {} : USERID : UNIX : ", ports.0, ports.1);
        let again = [again.as_bytes(), found].concat();
        let again = user(&again, ports);
        assert_eq!(again.as_deref(), Some(found.trim_ascii_end()));
    }
    // Nobody answers to another question.
    let other = (ports.0, ports.1.wrapping_add(1));
    assert!(found.is_none() || user(answer, other).is_none());
});

/// As inet_aton(3) has it: one to four parts, each decimal, octal or hexadecimal and whole.
fn is_taken_by_inet_aton(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let is_part = |part: &&str| {
        let lower = part.to_ascii_lowercase();
        let (digits, radix) = match lower.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None if lower.starts_with('0') && lower.len() > 1 => (&lower[1..], 8),
            None => (lower.as_str(), 10),
        };
        u32::from_str_radix(digits, radix).is_ok()
    };
    parts.len() <= 4 && parts.iter().all(is_part)
}
