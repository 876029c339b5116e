//! Turns the PEER of `--check-peer` into what is asked.

use crate::model::admission::{Id, Inquiry};
use crate::model::error::Fatal;
use crate::model::network;
use crate::model::peer::{Credentials, Peer};
use crate::model::text::Quoted;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

/// The id of nobody: a process that is asked about by its user alone has no group that a rule could name.
const NOBODY: u32 = u32::MAX;

/// `[INFO@]ADDRESS[=HOST]`, `uid:N`, `gid:N` or `cid:N`, of the option `name`.
///
/// # Errors
/// A usage error that names the word and what was expected.
pub(crate) fn inquiry(name: &str, word: &OsStr) -> Result<Inquiry, Fatal> {
    let text = word.as_bytes();
    let wrong = || {
        let expected = match text.starts_with(b"[") {
            true => network::BRACKETS,
            false => "[INFO@]ADDRESS[=HOST], uid:N, gid:N or cid:N is expected",
        };
        Fatal::usage(format!("{name}: {}: {expected}", Quoted(text)))
    };
    if let Some(id) = str::from_utf8(text).ok().and_then(Id::parse) {
        return Ok(Inquiry {
            word: text.into(),
            peer: somebody(id.ok_or_else(wrong)?),
            host: None,
            ident: None,
        });
    }
    let (ident, rest) = match text.iter().rposition(|byte| *byte == b'@') {
        Some(at) => (text.get(..at), text.get(at + 1..).unwrap_or_default()),
        None => (None, text),
    };
    let (address, host) = match rest.iter().position(|byte| *byte == b'=') {
        Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
        None => (rest, None),
    };
    let ip = str::from_utf8(address).ok().and_then(network::address);
    let ip = ip.filter(|_| host != Some(b"")).ok_or_else(wrong)?;
    Ok(Inquiry {
        word: text.into(),
        peer: Peer::Inet(SocketAddr::new(ip, 0)),
        host: host.map(Box::from),
        ident: ident.map(Box::from),
    })
}

/// A peer of which nothing is known but this.
fn somebody(id: Id) -> Peer {
    let unix = |uid, gid| Peer::Unix(Some(Credentials { pid: 0, uid, gid }));
    match id {
        Id::Uid(uid) => unix(uid, NOBODY),
        Id::Gid(gid) => unix(NOBODY, gid),
        Id::Cid(cid) => Peer::Vsock { cid, port: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_peer_is_a_usage_error() {
        for junk in [
            "",
            "10.",
            "10.0.0.0/8",
            "localhost",
            "1.2.3.4:80",
            "1.2.3.4=",
            "=host",
            "joe@",
            "joe@=host",
            "uid:",
            "uid:root",
            "gid:-1",
            "cid:4294967295",
            " 1.2.3.4",
        ] {
            let fatal = inquiry("--check-peer", OsStr::new(junk)).unwrap_err();
            let expected = "[INFO@]ADDRESS[=HOST], uid:N, gid:N or cid:N is expected";
            assert_eq!(fatal.text, format!("--check-peer: \"{junk}\": {expected}"));
            assert_eq!(fatal.exit_code(), 100);
        }
        let fatal = inquiry("--check-peer", OsStr::new("[::1]=host")).unwrap_err();
        assert_eq!(
            fatal.text,
            format!("--check-peer: \"[::1]=host\": {}", network::BRACKETS)
        );
    }

    #[test]
    fn a_peer_is_an_address_with_names_or_an_id() {
        let table = [
            ("1.2.3.4", "1.2.3.4:0", None, None),
            ("::ffff:1.2.3.4", "1.2.3.4:0", None, None),
            ("2001:db8::1=a.b", "[2001:db8::1]:0", Some("a.b"), None),
            ("joe@1.2.3.4", "1.2.3.4:0", None, Some("joe")),
            ("joe@1.2.3.4=a.b", "1.2.3.4:0", Some("a.b"), Some("joe")),
            ("a=b@c@::1=d=e", "[::1]:0", Some("d=e"), Some("a=b@c")),
            ("@::1", "[::1]:0", None, Some("")),
            ("uid:0", "uid 0 gid 4294967295 peer-pid 0", None, None),
            ("gid:7", "uid 4294967295 gid 7 peer-pid 0", None, None),
            ("cid:3", "cid 3 port 0", None, None),
        ];
        for (word, peer, host, ident) in table {
            let inquiry = inquiry("--check-peer", OsStr::new(word)).unwrap();
            let facts = inquiry.facts();
            assert_eq!(facts.peer.to_string(), peer, "{word}");
            assert_eq!(facts.host, host.map(str::as_bytes), "{word}");
            assert_eq!(facts.ident, ident.map(str::as_bytes), "{word}");
            assert_eq!(*inquiry.word, *word.as_bytes());
        }
    }
}
