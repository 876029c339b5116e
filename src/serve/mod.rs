//! When: the one event loop, and everything that changes over time.
#![forbid(unsafe_code)]

#[cfg(test)]
mod allocation;
mod children;
pub(crate) mod connected;
mod connections;
mod datagram;
mod facts;
mod generations;
mod guard;
mod listening;
pub(crate) mod notices;
pub(crate) mod supervise;

use crate::admit::sources::Sources;
use crate::daemon::pidfile::PidFile;
use crate::daemon::words::Words;
use crate::listen::{Listener, Origin, ReadyFd, SocketFile};
use crate::model::error::Fatal;
use crate::model::event::{Count, Event, Status, Trouble, Warning};
use crate::model::service::Service;
use crate::report::log::Log;
use crate::sys::errno::Errno;
use crate::sys::limits;
use crate::sys::poll::Poll;
use crate::sys::process;
use crate::sys::program::Program;
use crate::sys::signal::{self, Request, Taken};
use crate::sys::spawn::Spawner;
use crate::sys::stderr::Stderr;
use children::Children;
use generations::Generations;
use listening::Listening;
use notices::Notices;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How many connections of one listener are taken before the others have their turn.
const BATCH: usize = 16;
/// How long a listener rests that cannot have what it needs.
const REST: Duration = Duration::from_millis(100);
/// How long to wait for a spawn slot before looking at everything else again.
const PATIENCE: Duration = Duration::from_millis(10);
/// The token of the signals; listeners have their place.
const SIGNALS: u64 = u64::MAX;
const REAPER: u64 = u64::MAX - 1;

/// skd while it serves.
pub(crate) struct Server {
    service: Service,
    program: Rc<Program>,
    listeners: Vec<Listening>,
    poll: Poll,
    signals: Taken,
    spawner: Spawner,
    children: Children,
    generations: Generations,
    /// Those whose end is being dealt with; kept for its room.
    ended: Vec<(i32, process::Status)>,
    sources: Sources,
    accepted: u64,
    failed: u64,
    /// How often in a row no spawn slot was free.
    stuck: u32,
    log: Log,
    words: Words,
    notices: Notices,
    pidfile: Option<PidFile>,
}

/// What skd serves with once everything has been made ready.
pub(crate) struct Made {
    pub(crate) service: Service,
    /// What every child is started by.
    pub(crate) program: Rc<Program>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) log: Log,
    pub(crate) words: Words,
    pub(crate) notices: Notices,
    pub(crate) pidfile: Option<PidFile>,
    /// Children may be ours that skd did not start.
    pub(crate) may_have_strangers: bool,
}

/// Why the loop ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Stop,
    StopAll,
}

impl Server {
    /// The signals must have been blocked before.
    ///
    /// # Errors
    /// No descriptor or no memory could be had.
    pub(crate) fn new(made: Made) -> Result<Self, Errno> {
        let Made {
            service,
            program,
            listeners,
            log,
            words,
            notices,
            pidfile,
            may_have_strangers,
        } = made;
        let poll = Poll::new()?;
        let signals = Taken::new(signal::SERVING)?;
        poll.add(&signals, SIGNALS, false)?;
        let mut generations = Generations::new(REAPER, may_have_strangers);
        words
            .logger()
            .into_iter()
            .for_each(|pid| generations.born(pid));
        Ok(Self {
            service,
            program,
            listeners: listeners
                .into_iter()
                .map(Listening::new)
                .collect::<Result<_, _>>()?,
            poll,
            signals,
            spawner: Spawner::new(signal::Signals::clean(), limits::raise_files()?)?,
            children: Children::default(),
            generations,
            ended: Vec::new(),
            sources: Sources::default(),
            accepted: 0,
            failed: 0,
            stuck: 0,
            log,
            words,
            notices,
            pidfile,
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
    pub(crate) fn tell_readiness(&mut self, is_other: bool, stores: bool, ready: Option<ReadyFd>) {
        if stores {
            let listeners = self.listeners.iter().enumerate();
            let ours = listeners.filter(|(_, it)| it.listener.origin == Origin::Ours);
            self.notices.store(ours.map(|(place, _)| place));
        }
        let status = self.status();
        self.notices
            .ready(is_other.then(process::own_pid), Some(&status));
        self.notices.finish(&mut self.listeners);
        if let Some(Err(errno)) = ready.map(ReadyFd::tell) {
            let text = format!("unable to tell of readiness: {errno}");
            self.warn(Trouble::Other, None, text);
        }
    }

    /// Serves until a signal ends it; removes the socket files then. Children live on.
    pub(crate) fn run(mut self) {
        // Children that are not ours may have ended before anyone heard of it.
        self.sweep();
        self.poll_listeners();
        let ending = loop {
            if let Some(ending) = self.turn() {
                break ending;
            }
        };
        self.stop(ending);
    }

    /// One wake-up: signals first, then each ready listener, then whatever is due.
    fn turn(&mut self) -> Option<Ending> {
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
                if let Some(ending) = self.obey(request) {
                    return Some(ending);
                }
            }
        }
        for place in 0..count {
            match self.poll.ready(place).map(usize::try_from) {
                Some(Ok(listener)) if listener < self.listeners.len() => self.serve(listener),
                _ if self.poll.ready(place) == Some(REAPER) => self.hear_reaper(),
                _ => {}
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
        let status = self.status();
        self.notices
            .catch_up(now, || Some(status), &mut self.listeners);
        self.poll_listeners();
        None
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
        ];
        rests.chain(others.into_iter().flatten()).min()
    }

    fn obey(&mut self, request: Request) -> Option<Ending> {
        match request {
            Request::Stop => return self.ending(Ending::Stop, "asked to stop"),
            Request::StopAll => {
                return self.ending(Ending::StopAll, "asked to stop with all children");
            }
            Request::Reap => self.reap(),
            Request::Tell => self.log.tell(&Event::Status(self.status()), Instant::now()),
            Request::Reread => self.reread(),
        }
        None
    }

    /// HUP: opens the log again.
    fn reread(&mut self) {
        self.notices.reloading();
        match self.words.reopen() {
            Ok(()) => {
                if !self.words.are_inherited() {
                    self.log.redirect(false, Box::new(Stderr::new()));
                }
                self.log.note(|| "asked to open files again".into());
            }
            Err(errno) => {
                let text = format!("unable to open the log again: {errno}, keeping the old one");
                self.warn(Trouble::Other, None, text);
            }
        }
        self.notices.reloaded();
    }

    /// A child whose end is known by now has its line before skd ends.
    fn ending(&mut self, ending: Ending, note: &str) -> Option<Ending> {
        self.reap();
        self.hear_reaper();
        self.log.note(|| note.into());
        Some(ending)
    }

    /// Polls the listeners that are to be served now, and no others.
    fn poll_listeners(&mut self) {
        let now = Instant::now();
        let is_full = self.is_full();
        for place in 0..self.listeners.len() {
            let Some(listening) = self.listeners.get_mut(place) else {
                continue;
            };
            if let Err(errno) = listening.settle(&self.poll, place as u64, is_full, now) {
                listening.rests_until = Some(now + REST);
                self.warn(Trouble::Look, Some(place), errno.to_string());
            }
        }
    }

    fn is_full(&self) -> bool {
        self.service
            .max_connections
            .is_some_and(|max| self.children.count() >= max.get())
    }

    fn count(&self) -> Count {
        Count {
            now: self.children.count(),
            max: self.service.max_connections,
        }
    }

    fn status(&self) -> Status {
        Status {
            count: self.count(),
            accepted: self.accepted,
            denied: 0,
            failed: self.failed,
        }
    }

    fn serve(&mut self, place: usize) {
        match self.listeners.get(place) {
            Some(listening) if listening.is_polled() && listening.is_datagram() => {
                self.serve_datagram(place)
            }
            Some(listening) if listening.is_polled() => self.serve_connections(place),
            _ => {}
        }
    }

    fn rest(&mut self, place: usize, span: Duration) {
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.rests_until = Some(Instant::now() + span);
        }
    }

    /// Stops listening, removes the socket files, and on QUIT ends the children.
    fn stop(mut self, ending: Ending) {
        self.notices.stopping();
        self.notices.finish(&mut self.listeners);
        if ending == Ending::StopAll {
            for pid in self.children.pids() {
                process::terminate(pid);
            }
        }
        for listening in &mut self.listeners {
            let listener = &mut listening.listener;
            if let Some(Err(errno)) = listener.file.take().map(SocketFile::remove) {
                let label = &listener.label;
                self.log.tell(
                    &Event::Loss(format!("unable to remove {label}: {errno}")),
                    Instant::now(),
                );
            }
        }
        if let Some(Err(errno)) = self.pidfile.take().map(PidFile::remove) {
            let text = format!("unable to remove the pid file: {errno}");
            self.log.tell(&Event::Loss(text), Instant::now());
        }
        self.log.close();
    }

    fn warn(&mut self, kind: Trouble, place: Option<usize>, reason: String) {
        let listening = place.and_then(|place| self.listeners.get(place));
        let listener = listening.map(|listening| &listening.listener.label);
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
