//! When: the one event loop, and everything that changes over time.
#![forbid(unsafe_code)]

#[cfg(test)]
mod allocation;
mod asker;
pub(crate) mod binder;
mod children;
pub(crate) mod connected;
mod connections;
mod datagram;
pub(crate) mod entrance;
mod facts;
mod farewell;
pub(crate) mod gate;
mod generations;
mod guard;
mod guest;
mod heldfile;
pub(crate) mod inetd;
mod internal;
mod lent;
mod listening;
mod mending;
pub(crate) mod notices;
mod pending;
mod requests;
mod rulesfile;
mod scrapes;
mod starter;
mod stopping;
mod succession;
pub(crate) mod supervise;
mod turn;
pub(crate) mod upgrade;

use crate::admit::sources::Sources;
use crate::daemon::pidfile::PidFile;
use crate::daemon::words::Words;
use crate::listen::{Listener, Origin, ReadyFd};
use crate::model::error::Fatal;
use crate::model::event::{Count, Event, Status, Trouble, Warning};
use crate::model::service::Lifetime;
use crate::model::tally::{Counts, Tallies};
use crate::report::log::Log;
use crate::sys::errno::Errno;
use crate::sys::limits::FileLimit;
use crate::sys::poll::{Poll, Watch};
use crate::sys::process;
use crate::sys::signal::{self, Taken};
use crate::sys::stderr::Stderr;
use children::Children;
use connections::Stuck;
use entrance::{Entrances, Hosted};
use farewell::Farewells;
use gate::Gate;
use generations::Generations;
use inetd::InetdConf;
use internal::Internal;
use lent::News;
use listening::{Listening, Listenings};
use notices::Notices;
use pending::Pendings;
use scrapes::Scrapes;
use starter::Starter;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use stopping::{Idleness, Stopping};
use upgrade::{Call, Upgrade};

/// How many connections of one listener are taken before the others have their turn.
const BATCH: usize = 16;
/// How long a listener rests that cannot have what it needs.
const REST: Duration = Duration::from_millis(100);
/// How long to wait for a spawn slot before looking at everything else again.
const PATIENCE: Duration = Duration::from_millis(10);
/// The token of the signals; listeners have their place.
const SIGNALS: u64 = u64::MAX;
const REAPER: u64 = u64::MAX - 1;
const VERDICTS: u64 = u64::MAX - 2;
const LOOKUP: u64 = u64::MAX - 3;

/// skd while it serves.
pub(crate) struct Server {
    /// `-c`: at most this many children at once.
    max_connections: Option<NonZeroU32>,
    /// Every place is empty once skd was told to stop.
    listeners: Listenings,
    /// One for each listener, for children that outlive it.
    entrances: Entrances,
    inetd: Option<InetdConf>,
    news: News,
    poll: Poll,
    signals: Taken,
    starter: Starter,
    children: Children,
    generations: Generations,
    /// Those whose end is being dealt with; kept for its room.
    ended: Vec<(i32, process::Status)>,
    sources: Sources,
    gate: Gate,
    pendings: Pendings,
    farewells: Farewells,
    internal: Internal,
    scrapes: Scrapes,
    tallies: Tallies,
    /// The limit of `-c` was reached, which has been told.
    was_full: bool,
    /// How often somebody has been taken out of a listener.
    turns: u64,
    /// For how long no spawn slot has been free.
    stuck: Stuck,
    log: Log,
    words: Words,
    notices: Notices,
    /// The manager keeps the sockets that skd bound.
    stores: bool,
    pidfile: Option<PidFile>,
    lifetime: Lifetime,
    idleness: Idleness,
    /// skd serves nobody any more, and waits for children.
    stopping: Option<Stopping>,
    upgrade: Upgrade,
}

/// What skd serves with once everything has been made ready.
pub(crate) struct Made {
    pub(crate) max_connections: Option<NonZeroU32>,
    pub(crate) gate: Gate,
    pub(crate) listeners: Vec<Hosted>,
    pub(crate) inetd: Option<InetdConf>,
    /// Where the metrics are told.
    pub(crate) metrics: Vec<Listener>,
    pub(crate) log: Log,
    pub(crate) words: Words,
    pub(crate) notices: Notices,
    pub(crate) pidfile: Option<PidFile>,
    pub(crate) lifetime: Lifetime,
    /// How we were called.
    pub(crate) call: Call,
    /// Children may be ours that skd did not start.
    pub(crate) may_have_strangers: bool,
    /// The limit of descriptors that children are given, if skd's own is another.
    pub(crate) files: Option<FileLimit>,
}

impl Server {
    /// The signals must have been blocked before.
    ///
    /// # Errors
    /// No descriptor or no memory could be had.
    pub(crate) fn new(made: Made) -> Result<Self, Errno> {
        let mut entrances = Entrances::default();
        let listeners = made.listeners.into_iter();
        let listeners: Listenings = listeners
            .map(|Hosted { listener, served }| {
                entrances.add(&listener.label, &served);
                Listening::new(listener, &served)
            })
            .collect::<Result<_, _>>()?;
        let poll = Poll::new()?;
        let signals = Taken::new(signal::SERVING)?;
        poll.add(&signals, SIGNALS, Watch::Alone)?;
        let mut generations = Generations::new(REAPER, made.may_have_strangers);
        made.words
            .logger()
            .into_iter()
            .for_each(|pid| generations.born(pid));
        Ok(Self {
            max_connections: made.max_connections,
            tallies: Tallies::new(listeners.places().len()),
            entrances,
            inetd: made.inetd,
            listeners,
            news: News::default(),
            poll,
            signals,
            starter: Starter::new(made.files)?,
            children: Children::default(),
            generations,
            ended: Vec::new(),
            sources: Sources::default(),
            gate: made.gate,
            pendings: Pendings::default(),
            farewells: Farewells::new(farewell::TOKENS, farewell::MOST),
            internal: Internal::default(),
            scrapes: Scrapes::new(made.metrics),
            was_full: false,
            turns: 0,
            stuck: Stuck::default(),
            log: made.log,
            words: made.words,
            notices: made.notices,
            stores: false,
            pidfile: made.pidfile,
            lifetime: made.lifetime,
            idleness: Idleness::default(),
            stopping: None,
            upgrade: Upgrade::new(made.call, made.files),
        })
    }

    /// From here on stderr, ours and the children's, is the log that was asked for.
    ///
    /// # Errors
    /// 111.
    pub(crate) fn begin_log(&mut self) -> Result<(), Fatal> {
        if !self.words.are_inherited() {
            self.words.begin()?;
            self.log.redirect(false, Box::new(Stderr::new()));
        }
        Ok(())
    }

    /// Tells where it listens.
    pub(crate) fn announce(&mut self) {
        for listening in self.listeners.all() {
            self.log.tell(
                &Event::Listen {
                    listener: &listening.listener.label,
                },
                Instant::now(),
            );
        }
    }

    /// Everything is ready. `is_other` says that a manager knows another process, `stores` that it keeps the sockets that
    /// skd bound.
    pub(crate) fn tell_readiness(
        &mut self,
        is_other: bool,
        stores: bool,
        ready: Option<(ReadyFd, OwnedFd)>,
    ) {
        self.stores = stores;
        if stores {
            let listeners = self.listeners.each();
            let ours =
                listeners.filter(|(_, it)| it.listener.origin == Origin::Ours && !it.is_kept);
            self.notices.store(ours.map(|(place, _)| place));
        }
        let status = self.status();
        self.notices
            .ready(is_other.then(process::own_pid), Some(&status));
        self.notices.finish(&mut self.listeners);
        if let Some(errno) = notices::tell_readiness(ready, &mut self.log) {
            let text = format!("unable to tell of readiness: {errno}");
            self.warn(Trouble::Other, None, text);
        }
    }

    fn count(&self) -> Count {
        Count {
            now: self.children.count(),
            max: self.max_connections,
        }
    }

    fn status(&self) -> Status {
        let Counts {
            accepted,
            denied,
            failed,
        } = self.tallies.sum();
        Status {
            count: self.count(),
            accepted,
            denied,
            failed,
        }
    }

    fn rest(&mut self, place: usize, span: Duration) {
        self.rest_until(place, Instant::now() + span);
    }

    fn rest_until(&mut self, place: usize, until: Instant) {
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.rests_until = Some(until);
        }
    }

    fn warn(&mut self, kind: Trouble, place: Option<usize>, reason: String) {
        let listener = place.and_then(|place| self.entrances.label(place));
        self.log.tell(
            &Event::Warning(Warning {
                kind,
                listener,
                reason,
            }),
            Instant::now(),
        );
    }
}

/// A listener's place as a child remembers it. There are never more listeners than descriptors.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
