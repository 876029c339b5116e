//! Decides by the rules of tcprules(1): the first that matches, from the most specific address to the empty one.

mod address;
#[cfg(test)]
#[path = "../../../tests/kit/cdb.rs"]
mod cdb;
mod compiled;
#[cfg(test)]
mod oracle;
mod source;

use crate::admit::networks::Networks;
use crate::model::admission::Id;
use crate::model::network::unmapped;
use crate::model::peer::{Peer, PeerFacts};
use crate::model::text::{foreign, harmless};
use address::Key;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

/// The largest file of rules, in bytes; a larger one is broken.
pub(crate) const FILE_BYTES: usize = 16 << 20;
/// The most addresses in one, each of a range counted.
const ADDRESSES: usize = 1_000_000;

/// Why a file of rules cannot be used.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Broken {
    /// Line and column in bytes, both from 1; a compiled file has none.
    place: Option<(usize, usize)>,
    why: String,
}

impl Broken {
    fn whole(why: impl Into<String>) -> Self {
        Self {
            place: None,
            why: why.into(),
        }
    }

    /// `FILE:LINE:COLUMN: WHY`
    pub(crate) fn shown(&self, file: &[u8]) -> String {
        let (file, why) = (harmless(file), &self.why);
        match self.place {
            Some((line, column)) => format!("{file}:{line}:{column}: {why}"),
            None => format!("{file}: {why}"),
        }
    }
}

/// A variable that a rule sets; neither half has a NUL, and the name is not empty and has no `=`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Variable {
    pub(crate) name: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
}

/// What a rule says; of variables of one name the last stands.
#[derive(Debug, Default, Eq, PartialEq)]
struct Instructions {
    denies: bool,
    variables: Vec<Variable>,
}

impl Instructions {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        let (name, value) = (name.into(), value.into());
        self.variables.push(Variable { name, value });
    }

    /// The variables that stand, in the order in which they were set last. A line may set millions.
    fn standing(mut self) -> Vec<Variable> {
        if self.variables.len() > 1 {
            let mut known = HashSet::new();
            self.variables.reverse();
            self.variables.retain(|it| known.insert(it.name.clone()));
            self.variables.reverse();
        }
        self.variables
    }
}

/// A rule; its address and variables are ranges of those of all.
#[derive(Debug)]
struct Rule {
    address: (u32, u32),
    variables: (u32, u32),
    denies: bool,
}

/// A file of rules.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    /// The addresses of all rules as they are written, one behind the other.
    addresses: Vec<u8>,
    variables: Vec<Variable>,
    /// The place of the rule that belongs to each key.
    any: Option<u32>,
    whole: HashMap<IpAddr, u32>,
    networks: Networks<u32>,
    ids: HashMap<Id, u32>,
    /// `=host`, `=.suffix`, `=`, `info@address`, `info@=host`, hosts in small letters.
    names: HashMap<Box<[u8]>, u32>,
    asks_host: bool,
    asks_ident: bool,
    count: usize,
}

/// A rule that matches a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found<'a> {
    /// As it is written in the file.
    pub(crate) address: &'a [u8],
    pub(crate) allows: bool,
    /// To be set in the child's environment after everything else.
    pub(crate) variables: &'a [Variable],
}

/// `10.:deny`
impl fmt::Display for Found<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instruction = if self.allows { "allow" } else { "deny" };
        write!(out, "{}:{instruction}", foreign(self.address))
    }
}

impl Rules {
    /// The rules in the contents of a file: compiled ones where its name ends in `.cdb`, else source.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub(crate) fn read(file: &[u8], contents: &[u8]) -> Result<Self, Broken> {
        if contents.len() > FILE_BYTES {
            return Err(Broken::whole("more than 16 MiB of rules"));
        }
        if file.ends_with(b".cdb") {
            compiled::read(contents)
        } else {
            source::read(contents)
        }
    }

    /// Whether the name of a peer's host can make a difference.
    pub(crate) fn asks_host(&self) -> bool {
        self.asks_host
    }

    /// Whether what ident says of a peer can make a difference.
    pub(crate) fn asks_ident(&self) -> bool {
        self.asks_ident
    }

    /// The rule that decides on a peer; where there is none it is allowed.
    pub(crate) fn judge(&self, facts: &PeerFacts<'_>) -> Option<Found<'_>> {
        let place = match facts.peer {
            Peer::Inet(address) => self.of_address(unmapped(address.ip()), facts),
            peer => Id::of(peer).find_map(|id| self.ids.get(&id).copied()),
        };
        place.or(self.any).map(|place| self.found(place))
    }

    /// The search of tcpserver(1): the user at the address or host, the address, the host, networks from the smallest
    /// to the largest, suffixes of the host from the longest to the shortest.
    fn of_address(&self, ip: IpAddr, facts: &PeerFacts<'_>) -> Option<u32> {
        let has_names = !self.names.is_empty();
        let host = facts
            .host
            .filter(|_| has_names)
            .map(<[u8]>::to_ascii_lowercase);
        let host = host.as_deref();
        let ident = facts.ident.filter(|_| has_names);
        let of_ident = ident.and_then(|ident| {
            self.named(&[ident, b"@", ip.to_string().as_bytes()])
                .or_else(|| self.named(&[ident, b"@=", host?]))
        });
        of_ident
            .or_else(|| self.whole.get(&ip).copied())
            .or_else(|| self.named(&[b"=", host?]))
            .or_else(|| self.networks.smallest(ip).map(|(_, place)| place))
            .or_else(|| self.of_suffix(host?))
    }

    fn of_suffix(&self, host: &[u8]) -> Option<u32> {
        let dots = (0..host.len()).filter(|place| host.get(*place) == Some(&b'.'));
        let mut suffixes = dots.filter_map(|dot| host.get(dot..));
        suffixes
            .find_map(|suffix| self.named(&[b"=", suffix]))
            .or_else(|| self.named(&[b"="]))
    }

    fn named(&self, parts: &[&[u8]]) -> Option<u32> {
        self.names.get(parts.concat().as_slice()).copied()
    }

    fn found(&self, place: u32) -> Found<'_> {
        let rule = self.rules.get(place as usize);
        let range = |(start, end)| start as usize..end as usize;
        let address = rule.and_then(|rule| self.addresses.get(range(rule.address)));
        let variables = rule.and_then(|rule| self.variables.get(range(rule.variables)));
        Found {
            address: address.unwrap_or_default(),
            allows: rule.is_some_and(|rule| !rule.denies),
            variables: variables.unwrap_or_default(),
        }
    }

    /// Adds a rule; where another has one of its keys already, that one stands. An error says what is too much.
    fn add(
        &mut self,
        address: &[u8],
        keys: Vec<Key>,
        instructions: Instructions,
    ) -> Result<(), &'static str> {
        self.count += keys.len();
        if self.count > ADDRESSES {
            return Err("this is more than a million addresses");
        }
        let place = small(self.rules.len());
        let starts = (small(self.addresses.len()), small(self.variables.len()));
        self.addresses.extend_from_slice(address);
        let denies = instructions.denies;
        self.variables.extend(instructions.standing());
        self.rules.push(Rule {
            address: (starts.0, small(self.addresses.len())),
            variables: (starts.1, small(self.variables.len())),
            denies,
        });
        for key in keys {
            match key {
                Key::Any => {
                    self.any.get_or_insert(place);
                }
                Key::Whole(ip) => {
                    self.whole.entry(ip).or_insert(place);
                }
                Key::Network(network) => self.networks.add(network, place),
                Key::Id(id) => {
                    self.ids.entry(id).or_insert(place);
                }
                Key::Name(name) => {
                    let ident = name.iter().rposition(|byte| *byte == b'@');
                    self.asks_ident |= ident.is_some();
                    let host = ident.map_or(0, |at| at + 1);
                    self.asks_host |= name.get(host) == Some(&b'=');
                    self.names.entry(name).or_insert(place);
                }
            }
        }
        Ok(())
    }
}

/// A place within what one file holds, which is 16 MiB at most.
fn small(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
