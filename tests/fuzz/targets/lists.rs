//! Lists, peers and rates as they stand on a command line: what is read is shown in a way that is read as the same.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/admit/mod.rs"]
mod admit;
#[path = "../../../src/model/mod.rs"]
mod model;
#[path = "../../../src/config"]
mod config {
    pub(crate) mod inquiry;
    pub(crate) mod lists;
    mod number;
    pub(crate) mod rate;
    pub(crate) mod refusal;
}

use admit::policy::Policy;
use config::{inquiry, lists, rate, refusal};
use libfuzzer_sys::fuzz_target;
use model::admission::Member;
use model::text::harmless;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

fuzz_target!(|bytes: &[u8]| {
    let word = OsStr::from_bytes(bytes);
    if let Ok(message) = refusal::message("-r", word) {
        assert!(!message.is_empty() && message.len() <= bytes.len());
    }
    if let Ok(rate) = rate::rate("--rate", word) {
        let (count, secs) = (rate.count.get(), rate.secs.get());
        assert_eq!(
            rate::rate("--rate", OsStr::new(&format!("{count}/{secs}"))).unwrap(),
            rate
        );
    }
    // A list, and behind a blank whom to decide on.
    let mut words = bytes.splitn(2, |byte| *byte == b' ').map(OsStr::from_bytes);
    let (list, peer) = (words.next().unwrap_or_default(), words.next());
    let members = match lists::proxies("--deny", list) {
        Ok(members) => members,
        Err(fatal) => {
            assert_eq!(fatal.exit_code(), 100);
            assert_eq!(harmless(fatal.text.as_bytes()), fatal.text);
            return;
        }
    };
    let shown: Vec<String> = members.iter().map(Member::to_string).collect();
    let again = lists::proxies("--deny", OsStr::new(&shown.join(","))).unwrap();
    assert_eq!(again, members);
    if let Some(Ok(inquiry)) = peer.map(|peer| inquiry::inquiry("--check-peer", peer)) {
        let (text, allows) = Policy::new(&[], &members, None).answer(&inquiry);
        assert_eq!(text.lines().count(), 1);
        // Whoever is denied by a list is not let in by another that is the same.
        let (_, both) = Policy::new(&members, &members, None).answer(&inquiry);
        let (_, only) = Policy::new(&members, &[], None).answer(&inquiry);
        assert!(!both && only != allows);
    }
});
