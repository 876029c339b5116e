//! Who may come in, as it is asked for: the members of a list, and how fast.

use crate::model::network::Network;
use crate::model::number;
use crate::model::peer::{Peer, PeerFacts};
use std::ffi::OsStr;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Whose process a peer is, by number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Id {
    Uid(u32),
    Gid(u32),
    /// Of which virtual machine; vsock(7).
    Cid(u32),
}

impl Id {
    /// `uid:N`, `gid:N` or `cid:N`; `None` for text that begins with none of these, and `Some(None)` where N is no
    /// number that an id can have.
    pub(crate) fn parse(text: &str) -> Option<Option<Self>> {
        let (kind, digits) = text.split_once(':')?;
        let id: fn(u32) -> Self = match kind {
            "uid" => Self::Uid,
            "gid" => Self::Gid,
            "cid" => Self::Cid,
            _ => return None,
        };
        Some(number::id(digits).map(id))
    }

    /// The ids of a peer, the most specific first.
    pub(crate) fn of(peer: &Peer) -> impl Iterator<Item = Self> {
        let ids = match peer {
            Peer::Unix(Some(credentials)) => [
                Some(Self::Uid(credentials.uid)),
                Some(Self::Gid(credentials.gid)),
            ],
            Peer::Vsock { cid, .. } => [Some(Self::Cid(*cid)), None],
            Peer::Inet(_) | Peer::Unix(None) => [None, None],
        };
        ids.into_iter().flatten()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(number) => write!(out, "uid:{number}"),
            Self::Gid(number) => write!(out, "gid:{number}"),
            Self::Cid(number) => write!(out, "cid:{number}"),
        }
    }
}

/// A member of a list of peers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Member {
    Network(Network),
    Id(Id),
    /// Everybody on a unix socket.
    Unix,
}

impl fmt::Display for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(out),
            Self::Id(id) => id.fmt(out),
            Self::Unix => out.write_str("unix"),
        }
    }
}

/// A peer that `--check-peer` asks about.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Inquiry {
    /// As it was typed.
    pub(crate) word: Box<[u8]>,
    pub(crate) peer: Peer,
    pub(crate) host: Option<Box<[u8]>>,
    pub(crate) ident: Option<Box<[u8]>>,
}

impl Inquiry {
    pub(crate) fn facts(&self) -> PeerFacts<'_> {
        PeerFacts {
            peer: &self.peer,
            host: self.host.as_deref(),
            ident: self.ident.as_deref(),
        }
    }
}

/// `N/SECS`: N at once, and N more in each span of SECS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rate {
    pub(crate) count: NonZeroU32,
    pub(crate) secs: NonZeroU32,
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.count, self.secs)
    }
}

/// Who may come in, and how many, and how fast.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Admission {
    /// `-C`
    pub(crate) max_per_source: Option<NonZeroU32>,
    /// `-r`: what those hear whom a limit keeps out.
    pub(crate) refusal: Option<Box<[u8]>>,
    pub(crate) rate: Option<Rate>,
    pub(crate) rate_per_source: Option<Rate>,
    pub(crate) allow: Vec<Member>,
    pub(crate) deny: Vec<Member>,
    /// The file of `--rules`.
    pub(crate) rules: Option<Box<OsStr>>,
    /// `--proxy-from`: whose connections begin with a PROXY header.
    pub(crate) proxies: Option<Vec<Member>>,
    pub(crate) proxy_timeout: Duration,
    pub(crate) resolve: bool,
    pub(crate) ident: bool,
    /// For all look-ups of a connection together.
    pub(crate) lookup_timeout: Duration,
}

impl Admission {
    /// One of the options given that say anything of this.
    pub(crate) fn option(&self) -> Option<&'static str> {
        let all = [
            (self.max_per_source.is_some(), "--max-per-source"),
            (self.refusal.is_some(), "--refuse"),
            (self.rate.is_some(), "--rate"),
            (self.rate_per_source.is_some(), "--rate-per-source"),
            (!self.allow.is_empty(), "--allow"),
            (!self.deny.is_empty(), "--deny"),
            (self.rules.is_some(), "--rules"),
            (self.proxies.is_some(), "--proxy-from"),
            (self.resolve, "--resolve"),
            (self.ident, "--ident"),
        ];
        let mut given = all.into_iter().filter(|(is_given, _)| *is_given);
        given.next().map(|(_, option)| option)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::peer::Credentials;

    #[test]
    fn ids_are_a_kind_and_a_number() {
        let table = [
            ("uid:0", Some(Some(Id::Uid(0)))),
            ("gid:4294967294", Some(Some(Id::Gid(u32::MAX - 1)))),
            ("cid:3", Some(Some(Id::Cid(3)))),
            ("uid:", Some(None)),
            ("uid:root", Some(None)),
            ("uid:-1", Some(None)),
            ("uid:4294967295", Some(None)),
            ("uid: 1", Some(None)),
            ("pid:1", None),
            ("UID:1", None),
            ("1", None),
        ];
        for (text, id) in table {
            assert_eq!(Id::parse(text), id, "{text}");
            if let Some(Some(id)) = id {
                assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn a_unix_peer_is_its_user_before_its_group() {
        let credentials = Credentials {
            pid: 1,
            uid: 5,
            gid: 7,
        };
        let table: [(Peer, &[Id]); 4] = [
            (Peer::Unix(Some(credentials)), &[Id::Uid(5), Id::Gid(7)]),
            (Peer::Unix(None), &[]),
            (Peer::Vsock { cid: 3, port: 1 }, &[Id::Cid(3)]),
            (Peer::Inet("192.0.2.7:1".parse().unwrap()), &[]),
        ];
        for (peer, ids) in table {
            assert_eq!(Id::of(&peer).collect::<Vec<_>>(), ids);
        }
    }
}
