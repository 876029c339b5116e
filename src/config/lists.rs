//! Turns the LIST of `--allow`, `--deny` and `--proxy-from` into its members.

use crate::model::admission::{Id, Member};
use crate::model::error::Fatal;
use crate::model::network::{self, Network};
use crate::model::text::Quoted;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What the members of a list can be, in the words of an error.
const PEERS: &str = "an address, ADDRESS/LENGTH, uid:N, gid:N or cid:N is expected";
const PROXIES: &str = "an address, ADDRESS/LENGTH, uid:N, gid:N, cid:N or unix is expected";

/// The LIST of the option `name`: members separated by commas, at least one.
///
/// # Errors
/// A usage error that names the member and what was expected.
pub(crate) fn peers(name: &str, word: &OsStr) -> Result<Vec<Member>, Fatal> {
    list(name, word, PEERS)
}

/// The LIST of `--proxy-from`, which may have `unix` in it too.
///
/// # Errors
/// A usage error that names the member and what was expected.
pub(crate) fn proxies(name: &str, word: &OsStr) -> Result<Vec<Member>, Fatal> {
    list(name, word, PROXIES)
}

fn list(name: &str, word: &OsStr, expected: &'static str) -> Result<Vec<Member>, Fatal> {
    let members = word.as_bytes().split(|byte| *byte == b',');
    members
        .map(|text| {
            member(text, expected)
                .map_err(|why| Fatal::usage(format!("{name}: {}: {why}", Quoted(text))))
        })
        .collect()
}

/// One member; an error says what was expected.
fn member(text: &[u8], expected: &'static str) -> Result<Member, &'static str> {
    let text = str::from_utf8(text).map_err(|_| expected)?;
    if text == "unix" && expected == PROXIES {
        return Ok(Member::Unix);
    }
    if let Some(id) = Id::parse(text) {
        return id
            .map(Member::Id)
            .ok_or("a number is expected behind \":\"");
    }
    if let Some(ip) = network::address(text) {
        return Ok(Member::Network(Network::of(ip)));
    }
    if text.contains('/') {
        return Network::parse(text)
            .map(Member::Network)
            .map_err(|(_, why)| why);
    }
    if text.starts_with('[') {
        return Err(network::BRACKETS);
    }
    Err(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(members: &[Member]) -> String {
        let texts: Vec<String> = members.iter().map(Member::to_string).collect();
        texts.join(",")
    }

    #[test]
    fn what_is_no_list_is_a_usage_error() {
        let table = [
            ("", "--allow: \"\": ", PEERS),
            (",", "--allow: \"\": ", PEERS),
            ("10.0.0.0/8,", "--allow: \"\": ", PEERS),
            (",10.0.0.0/8", "--allow: \"\": ", PEERS),
            ("10.0.0.0/8, ::1", "--allow: \" ::1\": ", PEERS),
            ("10.", "--allow: \"10.\": ", PEERS),
            ("1.2.3.4-5", "--allow: \"1.2.3.4-5\": ", PEERS),
            ("1.2.3.04", "--allow: \"1.2.3.04\": ", PEERS),
            ("[::1]", "--allow: \"[::1]\": ", network::BRACKETS),
            ("[::1]/8", "--allow: \"[::1]/8\": ", network::BRACKETS),
            ("fe80::1%1", "--allow: \"fe80::1%1\": ", PEERS),
            ("localhost", "--allow: \"localhost\": ", PEERS),
            ("unix", "--allow: \"unix\": ", PEERS),
            (
                "uid:root",
                "--allow: \"uid:root\": ",
                "a number is expected behind \":\"",
            ),
            (
                "10.0.0.0/33",
                "--allow: \"10.0.0.0/33\": ",
                "a length of 0 to 32 bits is expected",
            ),
            (
                "10/8",
                "--allow: \"10/8\": ",
                "an address is expected before \"/\"",
            ),
        ];
        for (word, named, why) in table {
            let fatal = peers("--allow", OsStr::new(word)).unwrap_err();
            assert_eq!(fatal.text, format!("{named}{why}"), "{word}");
            assert_eq!(fatal.exit_code(), 100);
        }
        let fatal = proxies("--proxy-from", OsStr::from_bytes(b"\xff\n")).unwrap_err();
        assert_eq!(fatal.text, format!("--proxy-from: \"??\": {PROXIES}"));
    }

    #[test]
    fn lists_are_addresses_networks_and_ids() {
        let table = [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            (
                "::1,10.0.0.1/8,uid:0,gid:7,cid:3",
                "::1,10.0.0.0/8,uid:0,gid:7,cid:3",
            ),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ];
        for (word, members) in table {
            assert_eq!(shown(&peers("--deny", OsStr::new(word)).unwrap()), members);
        }
        let with_unix = OsStr::new("unix,::1");
        assert_eq!(
            shown(&proxies("--proxy-from", with_unix).unwrap()),
            "unix,::1"
        );
    }
}
