//! The source of rules: what is read decides on anybody, and each line of it that stands first decides on its own peer.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/admit/mod.rs"]
mod admit;
#[path = "../../../src/model/mod.rs"]
mod model;

use admit::rules::Rules;
use libfuzzer_sys::fuzz_target;
use model::peer::{Credentials, Peer, PeerFacts};

// The text of a file, and each behind a `%` the host and the ident of whom to decide on.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == b'%');
    let (text, host, ident) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let rules = match Rules::read(b"rules", text) {
        Ok(rules) => rules,
        Err(broken) => {
            let shown = broken.shown(b"rules");
            let mut numbers = shown.strip_prefix("rules:").unwrap().splitn(3, ':');
            let line: usize = numbers.next().unwrap().parse().unwrap();
            let column: usize = numbers.next().unwrap().parse().unwrap();
            let line = text
                .split(|byte| *byte == b'\n')
                .nth(line - 1)
                .expect("there is that line");
            assert!((1..=line.len() + 1).contains(&column), "{shown}");
            return;
        }
    };
    let unix = |uid, gid| Peer::Unix(Some(Credentials { pid: 1, uid, gid }));
    let peers = [
        Peer::Inet("192.0.2.7:1".parse().unwrap()),
        Peer::Inet("1.2.3.4:1".parse().unwrap()),
        Peer::Inet("[2001:db8::7]:1".parse().unwrap()),
        unix(5, 7),
        Peer::Unix(None),
        Peer::Vsock { cid: 3, port: 1 },
    ];
    for peer in &peers {
        let all = rules.judge(&PeerFacts { peer, host, ident });
        let none = rules.judge(&PeerFacts {
            peer,
            host: None,
            ident: None,
        });
        if !rules.asks_host() && !rules.asks_ident() {
            assert_eq!(all, none);
        }
        for found in [all, none].into_iter().flatten() {
            let shown = found.to_string();
            assert!(shown.ends_with(":allow") || shown.ends_with(":deny"));
            assert!(!shown.chars().any(char::is_control));
            for variable in found.variables {
                assert!(!variable.name.is_empty() && !variable.name.contains(&b'='));
                assert!(!variable.name.contains(&0) && !variable.value.contains(&0));
            }
        }
    }
});
