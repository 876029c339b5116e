//! The children: whose each is, since when, and what is given back when it ends.

use crate::model::event::{Ended, Event, Trouble};
use crate::model::peer::{Peer, Source};
use crate::model::state::Stage;
use crate::serve::guest::Who;
use crate::serve::listening::Way;
use crate::serve::{REST, Server, index};
use crate::sys::errno::Errno;
use crate::sys::process;
use std::collections::HashMap;
use std::time::Instant;

/// A running program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    /// The place of the listener that it was started for.
    pub(crate) listener: u32,
    /// `None` for the program of a datagram, or of a listener.
    pub(crate) peer: Option<Peer>,
    /// By whom its connection is counted.
    pub(crate) source: Source,
    pub(crate) stage: Stage,
    pub(crate) since: Instant,
}

impl Child {
    /// By whom its connection is counted, if it has one.
    pub(super) fn counted(&self) -> Option<Source> {
        self.peer.map(|_| self.source)
    }
}

/// Children by pid; only those that skd started itself, whoever else it may have to reap.
#[derive(Debug, Default)]
pub(crate) struct Children(HashMap<i32, Child>);

impl Children {
    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn insert(&mut self, pid: i32, child: Child) {
        self.0.insert(pid, child);
    }

    /// The child that has ended; `None` if it is none of ours.
    pub(crate) fn remove(&mut self, pid: i32) -> Option<Child> {
        self.0.remove(&pid)
    }

    pub(crate) fn get(&self, pid: i32) -> Option<Child> {
        self.0.get(&pid).copied()
    }

    pub(crate) fn set_stage(&mut self, pid: i32, stage: Stage) {
        if let Some(child) = self.0.get_mut(&pid) {
            child.stage = stage;
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (i32, &Child)> + '_ {
        self.0.iter().map(|(pid, child)| (*pid, child))
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.keys().copied()
    }
}

/// How a process ended, for the log.
pub(super) fn how_of(status: process::Status) -> Ended {
    match status {
        process::Status::Exit(code) => Ended::Exit(code),
        process::Status::Signal(number) => Ended::Signal(number),
    }
}

impl Server {
    /// SIGCHLD: somebody has ended.
    pub(super) fn reap(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        self.generations
            .signalled(&self.poll, Instant::now(), &mut ended);
        self.bury(ended);
    }

    /// The reaper has something to say.
    pub(super) fn hear_reaper(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        self.generations.told(Instant::now(), &mut ended);
        self.bury(ended);
    }

    /// Reaps whoever has ended, also those that are not ours; they count for nothing.
    pub(super) fn sweep(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        let has_children = self.children.count() > 0;
        self.generations
            .sweep(Instant::now(), has_children, &mut ended);
        self.bury(ended);
    }

    /// Gives back what each child had. The list is kept for the next time.
    fn bury(&mut self, mut ended: Vec<(i32, process::Status)>) {
        if !ended.is_empty() {
            self.hear_verdicts();
        }
        for (pid, status) in ended.drain(..) {
            if self.words.is_logger(pid) || self.is_answer(pid, status) {
                continue;
            }
            let failure = self.starter.spawner.failure_of(pid, status);
            if let Some(child) = self.children.remove(pid) {
                self.account(pid, &child, status, failure);
            }
        }
        self.ended = ended;
    }

    /// A child has been started; `who` is its client, if it is not one of a listener or a datagram.
    pub(super) fn adopt_child(&mut self, place: usize, who: Option<Who>, pid: i32, stage: Stage) {
        let child = Child {
            listener: index(place),
            peer: who.map(|who| who.peer),
            source: who.map_or(Source::Unknown, |who| who.source),
            stage,
            since: Instant::now(),
        };
        self.enter_child(pid, child);
        let source = child.counted();
        self.count_start(place, source, child.since);
    }

    /// A program is started, of which the quota of its service knows.
    pub(super) fn count_start(&mut self, place: usize, source: Option<Source>, now: Instant) {
        let rests = self.entrances.with_quota(place, |quota| {
            quota.start(source, now);
            quota.rests_until(now).is_some()
        });
        if rests == Some(true) {
            let label = self.entrances.label(place).map(ToString::to_string);
            let text = format!(
                "{} was started as often as it may be in a minute, resting until that is over",
                label.unwrap_or_default()
            );
            self.warn(Trouble::Other, None, text);
        }
    }

    pub(super) fn enter_child(&mut self, pid: i32, child: Child) {
        self.generations.born(pid);
        self.tallies.enter(child.listener as usize);
        self.children.insert(pid, child);
    }

    fn account(
        &mut self,
        pid: i32,
        child: &Child,
        status: process::Status,
        failure: Option<Errno>,
    ) {
        let now = Instant::now();
        self.notices.changed();
        let place = child.listener as usize;
        self.tallies.leave(place);
        if let Some(errno) = failure {
            let reason = self.entrances.why_not(place, errno);
            self.tell_failure(place, child, (&reason, errno.is_want_of_process()));
        }
        let source = child.counted();
        source
            .into_iter()
            .for_each(|source| self.sources.leave(source));
        self.entrances.with_quota(place, |quota| quota.end(source));
        if !self.has_started(place, child, status) {
            return;
        }
        let count = self.count();
        let Some(listener) = self.entrances.label(place) else {
            return;
        };
        let how = how_of(status);
        let lasted = now.saturating_duration_since(child.since);
        self.tallies.end(place, lasted);
        let event = match &child.peer {
            Some(peer) => Event::End {
                listener,
                peer,
                pid,
                how,
                lasted,
                count,
            },
            None => Event::EndAlone {
                listener,
                pid,
                how,
                lasted,
            },
        };
        self.log.tell(&event, now);
        if child.peer.is_none() {
            self.take_back(place, now);
        }
    }

    /// PROG could not be executed. What that costs a datagram, or who waits at a listener, is seen at its end. For want of
    /// a process, which the user may have whom the child had become, neither counts as a start or as failed.
    pub(super) fn tell_failure(
        &mut self,
        place: usize,
        child: &Child,
        (reason, is_for_want): (&str, bool),
    ) {
        let way = self.listeners.get(place).map(|listening| listening.way);
        let lost = match way {
            _ if child.peer.is_some() => "closing the connection",
            Some(Way::Datagram) => "leaving the datagram",
            _ => "leaving who waits",
        };
        let is_first = match self
            .listeners
            .get_mut(place)
            .filter(|_| child.peer.is_none())
        {
            None => true,
            Some(listening) => {
                listening.was_executed = false;
                if is_for_want {
                    listening.guard.has_not_started();
                }
                way == Some(Way::Lend) && !listening.lent.is_again && !is_for_want
            }
        };
        if is_first {
            self.tallies.fail(place);
        }
        let prog = self.entrances.quoted_prog(place);
        let text = format!("unable to run {prog}: {reason}, {lost}");
        self.warn(Trouble::Execute, Some(place), text);
        if is_for_want {
            self.rest(place, REST);
        }
    }
}
