//! Decides by `--allow` and `--deny`: who is on which list.

use crate::admit::networks::Networks;
use crate::model::admission::{Id, Member};
use crate::model::network::unmapped;
use crate::model::peer::Peer;
use std::collections::HashMap;
use std::fmt;

/// Which of the two lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Allow,
    Deny,
}

/// What the lists say of a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Listed {
    /// It is, or is within, this member of that list.
    On(Side, Member),
    /// It is on neither, and that is all that is asked.
    OnNone,
    /// It is on neither, but there is a list of those that are allowed.
    NotAllowed,
    /// There are no lists.
    NoLists,
}

impl Listed {
    pub(crate) fn allows(self) -> bool {
        match self {
            Self::On(side, _) => side == Side::Allow,
            Self::OnNone | Self::NoLists => true,
            Self::NotAllowed => false,
        }
    }
}

/// `--deny 10.0.0.0/8`
impl fmt::Display for Listed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(Side::Allow, member) => write!(out, "--allow {member}"),
            Self::On(Side::Deny, member) => write!(out, "--deny {member}"),
            Self::OnNone => out.write_str("no --deny matches"),
            Self::NotAllowed => out.write_str("no --allow matches"),
            Self::NoLists => out.write_str("nothing denies it"),
        }
    }
}

/// Both lists. The most specific member decides: the smallest network, the user before the group before every unix
/// peer; on both lists means denied.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    networks: Networks<Side>,
    ids: HashMap<Id, Side>,
    unix: Option<Side>,
    allows_some: bool,
    denies_some: bool,
}

impl Lists {
    pub(crate) fn new(allow: &[Member], deny: &[Member]) -> Self {
        let mut lists = Self {
            allows_some: !allow.is_empty(),
            denies_some: !deny.is_empty(),
            ..Self::default()
        };
        // The first of equals stands, so those who are denied come first.
        for (side, members) in [(Side::Deny, deny), (Side::Allow, allow)] {
            for member in members {
                match *member {
                    Member::Network(network) => lists.networks.add(network, side),
                    Member::Id(id) => {
                        lists.ids.entry(id).or_insert(side);
                    }
                    Member::Unix => {
                        lists.unix.get_or_insert(side);
                    }
                }
            }
        }
        lists
    }

    /// Whether a peer is on either list: `--proxy-from` is a list of those who are believed.
    pub(crate) fn have(&self, peer: &Peer) -> bool {
        matches!(self.judge(peer), Listed::On(..))
    }

    /// What the lists say of a peer.
    pub(crate) fn judge(&self, peer: &Peer) -> Listed {
        let found = match peer {
            Peer::Inet(address) => {
                let found = self.networks.smallest(unmapped(address.ip()));
                found.map(|(network, side)| (side, Member::Network(network)))
            }
            Peer::Unix(_) | Peer::Vsock { .. } => {
                Id::of(peer).find_map(|id| Some((*self.ids.get(&id)?, Member::Id(id))))
            }
        };
        let of_unix = || {
            let is_unix = matches!(peer, Peer::Unix(_));
            self.unix
                .filter(|_| is_unix)
                .map(|side| (side, Member::Unix))
        };
        match found.or_else(of_unix) {
            Some((side, member)) => Listed::On(side, member),
            None if self.allows_some => Listed::NotAllowed,
            None if self.denies_some => Listed::OnNone,
            None => Listed::NoLists,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::network::{Network, address};
    use crate::model::peer::Credentials;

    fn members(list: &str) -> Vec<Member> {
        let member = |text: &str| match (Id::parse(text), address(text)) {
            (Some(id), _) => Member::Id(id.unwrap()),
            (None, Some(ip)) => Member::Network(Network::of(ip)),
            (None, None) if text == "unix" => Member::Unix,
            (None, None) => Member::Network(Network::parse(text).unwrap()),
        };
        list.split(' ')
            .filter(|text| !text.is_empty())
            .map(member)
            .collect()
    }

    fn inet(ip: &str) -> Peer {
        Peer::Inet(std::net::SocketAddr::new(ip.parse().unwrap(), 4711))
    }

    fn unix(uid: u32, gid: u32) -> Peer {
        Peer::Unix(Some(Credentials { pid: 1, uid, gid }))
    }

    /// Lists, a peer, and what is said of it.
    type Row = (&'static str, &'static str, Peer, &'static str);

    fn holds(table: &[Row]) {
        for (allow, deny, peer, said) in table {
            let lists = Lists::new(&members(allow), &members(deny));
            let listed = lists.judge(peer);
            let is_denied = said.starts_with("--deny ") || *said == "no --allow matches";
            assert_eq!(
                (listed.to_string().as_str(), listed.allows()),
                (*said, !is_denied),
                "{allow} | {deny} | {peer}"
            );
        }
    }

    #[test]
    fn the_smallest_network_decides_and_deny_wins_a_tie() {
        let (ten, eleven, v6) = (inet("10.1.2.3"), inet("11.0.0.1"), inet("2001:db8::1"));
        holds(&[
            ("", "", ten, "nothing denies it"),
            ("", "11.0.0.0/8", ten, "no --deny matches"),
            ("", "10.0.0.0/8", ten, "--deny 10.0.0.0/8"),
            ("11.0.0.0/8", "", ten, "no --allow matches"),
            ("11.0.0.0/8", "", eleven, "--allow 11.0.0.0/8"),
            ("10.0.0.0/8", "10.1.0.0/16", ten, "--deny 10.1.0.0/16"),
            ("10.1.0.0/16", "10.0.0.0/8", ten, "--allow 10.1.0.0/16"),
            ("10.1.2.3", "10.1.2.3/31", ten, "--allow 10.1.2.3"),
            ("10.1.2.3", "10.1.2.3/32", ten, "--deny 10.1.2.3"),
            ("0.0.0.0/0", "10.0.0.0/8", eleven, "--allow 0.0.0.0/0"),
            ("::/0", "", ten, "no --allow matches"),
            ("", "::/0", ten, "no --deny matches"),
            ("", "::/0", v6, "--deny ::/0"),
            ("0.0.0.0/0", "", v6, "no --allow matches"),
            ("::ffff:10.0.0.0/104", "", ten, "--allow 10.0.0.0/8"),
            (
                "10.0.0.0/8",
                "",
                inet("::ffff:10.1.2.3"),
                "--allow 10.0.0.0/8",
            ),
            ("uid:10", "", ten, "no --allow matches"),
            ("unix", "", ten, "no --allow matches"),
        ]);
    }

    #[test]
    fn only_those_on_a_list_are_had() {
        let proxies = Lists::new(&members("10.0.0.0/8 unix"), &[]);
        let had = [inet("10.1.2.3"), unix(5, 7), Peer::Unix(None)];
        assert!(had.iter().all(|peer| proxies.have(peer)));
        let others = [
            inet("11.0.0.1"),
            inet("::1"),
            Peer::Vsock { cid: 3, port: 5 },
        ];
        assert!(!others.iter().any(|peer| proxies.have(peer)));
        assert!(!Lists::default().have(&inet("10.1.2.3")));
    }

    #[test]
    fn a_user_decides_before_a_group_and_a_group_before_all_of_unix() {
        let vsock = Peer::Vsock { cid: 5, port: 5 };
        holds(&[
            ("gid:7", "uid:5", unix(5, 7), "--deny uid:5"),
            ("uid:5", "gid:7", unix(5, 7), "--allow uid:5"),
            ("uid:5", "gid:7", unix(6, 7), "--deny gid:7"),
            ("uid:5", "uid:5", unix(5, 7), "--deny uid:5"),
            ("uid:5", "", unix(7, 5), "no --allow matches"),
            ("", "gid:7", unix(7, 5), "no --deny matches"),
            ("unix", "gid:7", unix(6, 8), "--allow unix"),
            ("unix", "gid:7", unix(6, 7), "--deny gid:7"),
            ("unix", "", Peer::Unix(None), "--allow unix"),
            ("uid:5 gid:5", "", Peer::Unix(None), "no --allow matches"),
            ("cid:5", "", vsock, "--allow cid:5"),
            ("uid:5", "", vsock, "no --allow matches"),
            ("", "cid:5", vsock, "--deny cid:5"),
            ("unix 0.0.0.0/0 ::/0", "", vsock, "no --allow matches"),
        ]);
    }
}
