//! What is to be in a log, by what clients met, and what is in it: both as sums that can be compared.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many lines of a kind, and the sum of their peers' hashes: the same sum is the same peers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    peers: u64,
}

/// Sums by the kind of line, such as `accept tcp:[::]:7000` or `end tcp:[::]:7000 exit 0`.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<String, Sum>);

impl Ledger {
    pub(crate) fn add(&mut self, kind: &str, peer: &str) {
        let mut hasher = DefaultHasher::new();
        peer.hash(&mut hasher);
        let sum = self.0.entry(kind.to_owned()).or_default();
        sum.count += 1;
        sum.peers = sum.peers.wrapping_add(hasher.finish());
    }

    /// What of it is in a log, where an answer of skd's own to a datagram is not, nor, by itself, a start that failed.
    pub(crate) fn logged(&self) -> Self {
        let some = self
            .0
            .iter()
            .filter(|(kind, _)| !kind.starts_with("failed ") && !kind.starts_with("answered "));
        Self(some.map(|(kind, sum)| (kind.clone(), *sum)).collect())
    }

    /// How many lines there are whose kind this is true of.
    pub(crate) fn count(&self, is_it: impl Fn(&str) -> bool) -> u64 {
        let some = self.0.iter().filter(|(kind, _)| is_it(kind));
        some.map(|(_, sum)| sum.count).sum()
    }

    /// What this has and the other has not, or not so.
    pub(crate) fn differs_from(&self, other: &Self) -> Vec<String> {
        let mut kinds: Vec<_> = self.0.keys().chain(other.0.keys()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let sum = |ledger: &Self, kind: &String| ledger.0.get(kind).copied().unwrap_or_default();
        kinds
            .into_iter()
            .filter(|kind| sum(self, kind) != sum(other, kind))
            .map(|kind| {
                let (ours, theirs) = (sum(self, kind), sum(other, kind));
                format!(
                    "{kind}: {} and not {}, or of others",
                    ours.count, theirs.count
                )
            })
            .collect()
    }

    /// From here on this has what the other has, and a fraction of it only was seen: returns how many were not, or the
    /// kind of which there were too many.
    pub(crate) fn catch_up(&mut self, other: &Self) -> Result<u64, String> {
        let mut missing = 0;
        for (kind, sum) in &self.0 {
            let there = other.0.get(kind).map_or(0, |sum| sum.count);
            if sum.count > there {
                return Err(format!("{kind}: {} and not {there}", sum.count));
            }
        }
        for (kind, sum) in &other.0 {
            let ours = self.0.entry(kind.clone()).or_default();
            missing += sum.count - ours.count;
            *ours = *sum;
        }
        Ok(missing)
    }
}

/// What a log has said so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) events: Ledger,
    /// The last line of status, and how many there were.
    pub(crate) status: (u64, String),
    /// Lines that were told to be lost.
    pub(crate) lost: u64,
    /// Of the other lines that are expected now and then, how many.
    pub(crate) warnings: BTreeMap<&'static str, u64>,
    /// Lines that nobody expects.
    pub(crate) strange: Vec<String>,
    pub(crate) lines: u64,
}

/// What skd may say beside events, by a piece of it.
const EXPECTED: [&str; 5] = [
    "info: listen ",
    "the logger has died, started it again",
    "left out ",
    "unable to run ",
    "--max-per-source is not for ",
];

impl Seen {
    /// Takes one line, from `skd: ` on.
    pub(crate) fn line(&mut self, line: &str) {
        self.lines += 1;
        if let Some((kind, peer)) = line.strip_prefix("skd: info: ").and_then(event) {
            self.events.add(&kind, peer);
        } else if let Some(status) = line.strip_prefix("skd: info: status ") {
            self.status = (self.status.0 + 1, status.to_owned());
        } else if let Some(lost) = lost(line) {
            self.lost += lost;
        } else if let Some(piece) = EXPECTED.iter().find(|piece| line.contains(**piece)) {
            *self.warnings.entry(piece).or_default() += 1;
        } else {
            self.strange.push(line.to_owned());
        }
    }
}

/// How many lines this line says are lost.
fn lost(line: &str) -> Option<u64> {
    let text = line.strip_prefix("skd: warning: ")?;
    let count = text
        .strip_suffix(" lines were lost")
        .or_else(|| text.strip_suffix(" lines could not be written"))?;
    count.parse().ok()
}

/// The kind of an event's line and its peer, which may be empty.
fn event(text: &str) -> Option<(String, &str)> {
    let (word, rest) = text.split_once(' ')?;
    let (listener, rest) = rest.split_once(' ')?;
    match word {
        "accept" | "datagram" => {
            let (peer, _) = before_pid(rest)?;
            Some((format!("{word} {listener}"), peer))
        }
        "end" => {
            let (peer, rest) = before_pid(rest)?;
            let mut words = rest.split(' ').skip(1);
            let (how, what) = (words.next()?, words.next()?);
            Some((format!("end {listener} {how} {what}"), peer))
        }
        "deny" => {
            let (peer, reason) = rest.split_once(' ')?;
            Some((format!("deny {listener} {reason}"), peer))
        }
        _ => None,
    }
}

/// `PEER pid N ...` or `pid N ...`: the peer, and what stands behind `pid `.
fn before_pid(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("pid ")
        .map(|rest| ("", rest))
        .or_else(|| text.split_once(" pid "))
}
