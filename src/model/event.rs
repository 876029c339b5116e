//! What happened while serving: the one thing that report/ sees.

use crate::model::address::Label;
use crate::model::peer::Peer;
use std::num::NonZeroU32;
use std::time::Duration;

/// One thing that happened. `listener` says where, `peer` with whom.
#[derive(Clone, Debug)]
pub(crate) enum Event<'a> {
    Listen {
        listener: &'a Label,
    },
    /// A program was started: for a connection that was taken, or, without a peer, for a listener that it has to itself.
    Accept {
        listener: &'a Label,
        peer: Option<&'a Peer>,
        pid: i32,
        count: Count,
    },
    /// A program was started for a waiting datagram; `peer` is its sender, if it has an address.
    Datagram {
        listener: &'a Label,
        peer: Option<String>,
        pid: i32,
    },
    /// A connection was taken and not let in.
    Deny {
        listener: &'a Label,
        peer: &'a Peer,
        reason: &'a str,
    },
    /// The program of a connection has ended.
    End {
        listener: &'a Label,
        peer: &'a Peer,
        pid: i32,
        how: Ended,
        lasted: Duration,
        count: Count,
    },
    /// The program of a datagram, or of a listener, has ended.
    EndAlone {
        listener: &'a Label,
        pid: i32,
        how: Ended,
        lasted: Duration,
    },
    /// A supervised program was started.
    Started {
        prog: &'a str,
        pid: i32,
    },
    /// A supervised program has ended; it is started again after `pause`, or not at all.
    Stopped {
        prog: &'a str,
        pid: i32,
        how: Ended,
        lasted: Duration,
        pause: Option<Duration>,
    },
    Status(Status),
    /// Something failed and skd goes on.
    Warning(Warning<'a>),
    /// Something small failed that nobody needs to act on at once.
    Loss(String),
}

/// How many children there are, and may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Count {
    pub(crate) now: u32,
    pub(crate) max: Option<NonZeroU32>,
}

/// The counters since the start; `failed` are those of the accepted for which no program could be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Status {
    pub(crate) count: Count,
    pub(crate) accepted: u64,
    pub(crate) denied: u64,
    pub(crate) failed: u64,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Exit(i32),
    Signal(i32),
}

/// Trouble that skd lives with. Two warnings of one `kind` at one listener are repetitions of each other.
#[derive(Clone, Debug)]
pub(crate) struct Warning<'a> {
    pub(crate) kind: Trouble,
    /// `None` where it is no listener's own trouble.
    pub(crate) listener: Option<&'a Label>,
    /// The reason in words, or what went on, to be cleaned by whoever made it.
    pub(crate) reason: String,
}

/// What the trouble is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// accept(2) failed for want of something.
    Accept,
    /// A datagram could not be looked at.
    Look,
    /// No process could be had.
    Process,
    /// The program could not be executed.
    Execute,
    /// A datagram was thrown away.
    Discard,
    /// Something else; the reason is the whole text.
    Other,
}
