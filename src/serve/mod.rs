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
mod lent;
mod listening;
pub(crate) mod notices;
mod pending;
mod requests;
mod rulesfile;
mod scrapes;
mod stopping;
mod succession;
pub(crate) mod supervise;
pub(crate) mod upgrade;

use crate::admit::sources::Sources;
use crate::daemon::pidfile::PidFile;
use crate::daemon::words::Words;
use crate::listen::{Listener, Origin, ReadyFd};
use crate::model::error::Fatal;
use crate::model::event::{Count, Event, Status, Trouble, Warning};
use crate::model::service::{Lifetime, Mode};
use crate::model::tally::{Counts, Tallies};
use crate::report::log::Log;
use crate::sys::errno::Errno;
use crate::sys::limits;
use crate::sys::poll::{Poll, Watch};
use crate::sys::process;
use crate::sys::signal::{self, Taken};
use crate::sys::spawn::Spawner;
use crate::sys::stderr::Stderr;
use asker::Verdicts;
use children::Children;
use entrance::{Entrances, Served};
use farewell::Farewells;
use gate::Gate;
use generations::Generations;
use lent::News;
use listening::{Listening, Way};
use notices::Notices;
use pending::Pendings;
use scrapes::Scrapes;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::rc::Rc;
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

/// skd while it serves.
pub(crate) struct Server {
    /// `-c`: at most this many children at once.
    max_connections: Option<NonZeroU32>,
    /// None while skd stops.
    listeners: Vec<Listening>,
    /// One for each listener, for children that outlive it.
    entrances: Entrances,
    news: News,
    poll: Poll,
    signals: Taken,
    spawner: Spawner,
    children: Children,
    generations: Generations,
    /// Those whose end is being dealt with; kept for its room.
    ended: Vec<(i32, process::Status)>,
    sources: Sources,
    gate: Gate,
    pendings: Pendings,
    farewells: Farewells,
    scrapes: Scrapes,
    verdicts: Verdicts,
    tallies: Tallies,
    /// The limit of `-c` was reached, which has been told.
    was_full: bool,
    /// How often in a row no spawn slot was free.
    stuck: u32,
    log: Log,
    words: Words,
    notices: Notices,
    pidfile: Option<PidFile>,
    lifetime: Lifetime,
    idleness: Idleness,
    /// skd serves nobody any more, and waits for children.
    stopping: Option<Stopping>,
    upgrade: Upgrade,
}

/// What skd serves with once everything has been made ready.
pub(crate) struct Made {
    /// What is served at every listener.
    pub(crate) served: Served,
    pub(crate) max_connections: Option<NonZeroU32>,
    pub(crate) gate: Gate,
    pub(crate) listeners: Vec<Listener>,
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
}

impl Server {
    /// The signals must have been blocked before.
    ///
    /// # Errors
    /// No descriptor or no memory could be had.
    pub(crate) fn new(made: Made) -> Result<Self, Errno> {
        let files = limits::raise_files()?;
        let served = Rc::new(made.served);
        let mut entrances = Entrances::default();
        made.listeners
            .iter()
            .for_each(|it| entrances.add(it, &served));
        let lends = served.service.mode == Mode::Listeners;
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
            tallies: Tallies::new(made.listeners.len()),
            entrances,
            listeners: made
                .listeners
                .into_iter()
                .map(|listener| Listening::new(listener, lends))
                .collect::<Result<_, _>>()?,
            news: News::default(),
            poll,
            signals,
            spawner: Spawner::new(signal::Signals::clean(), files)?,
            children: Children::default(),
            generations,
            ended: Vec::new(),
            sources: Sources::default(),
            gate: made.gate,
            pendings: Pendings::default(),
            farewells: Farewells::new(farewell::TOKENS, farewell::MOST),
            scrapes: Scrapes::new(made.metrics),
            verdicts: Verdicts::default(),
            was_full: false,
            stuck: 0,
            log: made.log,
            words: made.words,
            notices: made.notices,
            pidfile: made.pidfile,
            lifetime: made.lifetime,
            idleness: Idleness::default(),
            stopping: None,
            upgrade: Upgrade::new(made.call, files),
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
        for listening in &self.listeners {
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
        if stores {
            let listeners = self.listeners.iter().enumerate();
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

    /// Serves until there is a reason to end.
    pub(crate) fn run(mut self) {
        // Children that are not ours may have ended before anyone heard of it.
        self.sweep();
        self.poll_listeners();
        self.settle_scrapes(Instant::now());
        // Idleness begins now.
        self.is_over(Instant::now());
        while !self.turn() {}
        let left = self.children.count();
        self.log.note(|| format!("stopped, children left: {left}"));
        self.end();
    }

    /// One wake-up: signals first, then each ready listener, then whatever is due. Returns whether it was the last.
    fn turn(&mut self) -> bool {
        let timeout = self
            .due()
            .map(|due| due.saturating_duration_since(Instant::now()));
        let count = match self.poll.wait(timeout) {
            Ok(count) => count,
            // It would be a bug of ours; then nothing is ready, and the log says so.
            Err(errno) => {
                self.warn(
                    Trouble::Other,
                    None,
                    format!("unable to wait for events: {errno}"),
                );
                0
            }
        };
        if (0..count).any(|place| self.poll.ready(place) == Some(SIGNALS)) {
            while let Some(request) = self.signals.next() {
                if self.obey(request) {
                    return true;
                }
            }
        }
        for place in 0..count {
            match self.poll.ready(place).map(usize::try_from) {
                Some(Ok(listener)) if listener < self.listeners.len() => self.serve(listener),
                _ => self.hear(self.poll.ready(place).unwrap_or(REAPER)),
            }
        }
        let now = Instant::now();
        if self.log.due().is_some_and(|due| due <= now) {
            self.log.catch_up(now);
        }
        if self.generations.due().is_some_and(|due| due <= now) {
            self.sweep();
        }
        if self.words.due().is_some_and(|due| due <= now) {
            let text = self.words.restart_logger();
            if let Some(pid) = self.words.logger() {
                self.generations.born(pid);
            }
            self.warn(Trouble::Other, None, text);
        }
        self.farewells.catch_up(&self.poll, now);
        self.end_pending(now);
        self.settle_scrapes(now);
        let status = self.status();
        self.notices
            .catch_up(now, || Some(status), &mut self.listeners);
        self.upgrade.catch_up(now);
        self.upgrade();
        if self.is_over(now) {
            return true;
        }
        self.poll_listeners();
        false
    }

    /// When something is to be done without anyone asking.
    fn due(&self) -> Option<Instant> {
        let rests = self
            .listeners
            .iter()
            .filter_map(|listening| listening.rests_until);
        let others = [
            self.log.due(),
            self.words.due(),
            self.generations.due(),
            self.notices.due(),
            self.stopping.as_ref().and_then(Stopping::due),
            self.idleness.due(&self.lifetime),
            self.upgrade.due(),
            self.farewells.due(),
            self.scrapes.due(),
            self.pendings.due(),
        ];
        rests.chain(others.into_iter().flatten()).min()
    }

    /// Polls the listeners that are to be served now, and no others.
    fn poll_listeners(&mut self) {
        let now = Instant::now();
        let (is_full, is_full_to_come) = (self.is_full(), self.is_full_to_come());
        if is_full && !self.was_full {
            let count = self.children.count();
            let text = || format!("the limit of --max-connections is reached, children: {count}");
            self.log.note(text);
        }
        self.was_full = is_full;
        for place in 0..self.listeners.len() {
            let Some(listening) = self.listeners.get_mut(place) else {
                continue;
            };
            let is_full = match listening.way {
                Way::Accept => is_full_to_come,
                Way::Datagram | Way::Lend => is_full,
            };
            if let Err(errno) = listening.settle(&self.poll, place as u64, is_full, now) {
                listening.rests_until = Some(now + REST);
                self.warn(Trouble::Look, Some(place), errno.to_string());
            }
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

    fn serve(&mut self, place: usize) {
        let Some(listening) = self.listeners.get(place) else {
            return;
        };
        if !listening.is_polled() || listening.program.is_some() || listening.is_left {
            return;
        }
        match listening.way {
            Way::Accept => self.serve_connections(place),
            Way::Datagram => self.serve_datagram(place),
            Way::Lend => self.serve_lent(place),
        }
    }

    /// Whoever is no listener has something to say.
    fn hear(&mut self, token: u64) {
        match token {
            REAPER => self.hear_reaper(),
            VERDICTS => self.hear_verdicts(),
            pending::TOKENS..=pending::LAST_TOKEN => self.hear_header(token),
            farewell::TOKENS..=farewell::LAST_TOKEN => self.farewells.go_on(&self.poll, token),
            scrapes::ASKING..=scrapes::LAST_ASKING => self.hear_scrape(token),
            scrapes::ANSWERED..=scrapes::LAST_ANSWERED => self.answer_scrape(token),
            scrapes::LISTENERS..=scrapes::LAST_LISTENER => self.serve_scrapes(token),
            _ => {}
        }
    }

    fn rest(&mut self, place: usize, span: Duration) {
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.rests_until = Some(Instant::now() + span);
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
