//! From a connection that waits to a running program.

use crate::admit::rules::Variable;
use crate::launch::additions;
use crate::listen::Origin;
use crate::listen::accept::{self, Arrival, Taken};
use crate::model::address::Place;
use crate::model::event::{Event, Trouble};
use crate::model::peer::{Peer, Source};
use crate::model::state::Stage;
use crate::serve::asker::pairs;
use crate::serve::guest::Guest;
use crate::serve::listening::Listening;
use crate::serve::starter::Telling;
use crate::serve::{BATCH, PATIENCE, REST, Server};
use crate::sys::aside;
use crate::sys::errno::Errno;
use crate::sys::spawn::SLOTS;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// When all spawn slots have been in use for so long it is told.
const LONG: Duration = Duration::from_secs(1);

/// All spawn slots are in use.
#[derive(Default)]
pub(crate) struct Stuck {
    /// When that was first seen, and when last.
    seen: Option<(Instant, Instant)>,
    /// How often somebody has rested for it.
    rests: u32,
    is_told: bool,
}

impl Stuck {
    fn see(&mut self, now: Instant) {
        // Nobody may have looked for long, and then it is another time.
        let is_old = |(_, last): &(Instant, Instant)| now.saturating_duration_since(*last) >= LONG;
        if self.seen.as_ref().is_some_and(is_old) {
            *self = Self::default();
        }
        self.seen = Some((self.seen.map_or(now, |(first, _)| first), now));
    }

    fn next_rest(&mut self) -> Duration {
        let rest = (PATIENCE * 2u32.pow(self.rests)).min(REST);
        self.rests = (self.rests + 1).min(8);
        rest
    }

    /// Once, when it has been so for long: most likely no file system answers, which is nobody's fault here.
    fn is_to_be_told(&mut self, now: Instant) -> bool {
        let is_long = self
            .seen
            .is_some_and(|(first, _)| now.saturating_duration_since(first) >= LONG);
        let is_new = is_long && !self.is_told;
        self.is_told |= is_new;
        is_new
    }
}

impl Server {
    /// Takes the connections that wait at a listener, as far as there are slots and the limit allows.
    pub(super) fn serve_connections(&mut self, place: usize) {
        let mut lasting = None;
        if let Some(Err(errno)) = self.listeners.get(place).map(Listening::stay_nonblocking) {
            self.warn(Trouble::Accept, Some(place), errno.to_string());
            return self.rest(place, REST);
        }
        for turn in 0..BATCH {
            if self.is_shut(place) {
                return;
            }
            // Only when there is a slot is a client taken out of the backlog.
            if !self.has_slot(place) {
                return;
            }
            let Some(listening) = self.listeners.get(place) else {
                return;
            };
            // Whoever is only told that there is no place takes nobody's.
            let has_place = !self.is_full();
            match accept::accept(&listening.listener) {
                Taken::Arrival(arrival) => {
                    lasting = None;
                    if has_place {
                        self.has_had_turn(place);
                    }
                    if !self.arrived(place, arrival) {
                        return self.rest(place, REST);
                    }
                }
                Taken::Gone(errno) => lasting = Some(errno).filter(|errno| errno.may_be_for_good()),
                Taken::Nothing => {
                    if turn == 0 {
                        self.mend_if_shut(place);
                    }
                    return self.has_taken_all(place);
                }
                Taken::Trouble(errno) => {
                    self.warn(Trouble::Accept, Some(place), errno.to_string());
                    return self.rest(place, REST);
                }
            }
        }
        if let Some(errno) = lasting {
            self.warn(Trouble::Accept, Some(place), errno.to_string());
            self.rest(place, REST);
        }
    }

    /// Nobody waits. Behind a door that is shut for good nobody ever will, and epoll would tell of it again and again.
    fn has_taken_all(&mut self, place: usize) {
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.is_left |= listening.is_shut;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.max_connections
            .is_some_and(|max| self.children.count() >= max.get())
    }

    /// Whether nobody more is to be taken out of a backlog for a program. Those whose header is awaited are counted; and
    /// with `-r` there is something to be said to those who are too many.
    pub(super) fn is_full_to_come(&self) -> bool {
        let is_for_program = |place| self.entrances.builtin(place).is_none();
        let is_full = |max: NonZeroU32| {
            let awaited = self.pendings.count_at(is_for_program);
            let awaited = u32::try_from(awaited).unwrap_or(u32::MAX);
            self.children.count().saturating_add(awaited) >= max.get()
        };
        !self.gate.has_refusal() && self.max_connections.is_some_and(is_full)
    }

    /// Whether a spawn slot is free. If all are in use the loop waits a moment, since most children need no longer; if
    /// they stay in use, the listener rests, and each time longer.
    pub(super) fn has_slot(&mut self, place: usize) -> bool {
        let patience = match self.stuck.rests {
            0 => PATIENCE,
            _ => Duration::ZERO,
        };
        let has_vacancy = self.has_vacancy(place, patience);
        if !has_vacancy {
            let rest = self.stuck.next_rest();
            self.rest(place, rest);
        }
        has_vacancy
    }

    /// Whether a spawn slot is free, or becomes so within `patience`. If none has been for long that is told.
    pub(super) fn has_vacancy(&mut self, place: usize, patience: Duration) -> bool {
        if self.starter.has_vacancy(patience) {
            self.stuck = Stuck::default();
            return true;
        }
        let now = Instant::now();
        self.stuck.see(now);
        if self.stuck.is_to_be_told(now) {
            let prog = self.entrances.quoted_prog(place);
            let text = format!(
                "unable to start {prog}: {SLOTS} children are on their way to execve, leaving what waits in the queue"
            );
            self.warn(Trouble::Process, Some(place), text);
        }
        false
    }

    /// Whether nobody is to be taken out of the backlog now: at the limit, or when there were too many of late.
    fn is_shut(&mut self, place: usize) -> bool {
        // What skd itself answers takes no program's place.
        let is_full = self.entrances.builtin(place).is_none() && self.is_full_to_come();
        if is_full || self.entrances.is_full(place) || self.has_many_visits(place) {
            return true;
        }
        let place_of = self.listeners.get(place).map(|it| &it.listener.place);
        if matches!(place_of, Some(Place::Unix(_))) && aside::is_burdened() {
            self.rest(place, REST);
            return true;
        }
        let now = Instant::now();
        let of_service = self.entrances.rests_until(place, now);
        let until = self.gate.shut_until(now);
        let all = until.into_iter().chain(of_service).max();
        if let (Some(until), Some(listening)) = (all, self.listeners.get_mut(place)) {
            listening.rests_until = Some(until);
            listening.waits_for_token = of_service.is_none();
        }
        all.is_some()
    }

    /// Somebody has been taken out of the backlog. Returns whether there was a process to be had.
    fn arrived(&mut self, place: usize, arrival: Arrival) -> bool {
        let origin = self.listeners.get(place).map(|it| &it.listener.origin);
        let is_adopted = origin.is_some_and(|origin| *origin != Origin::Ours);
        // A listener of ours has passed it on. That the kernel has it was tried at start.
        if let Some(served) = self.entrances.served(place) {
            let service = &served.service;
            let keepalive = service.keepalive.filter(|_| is_adopted);
            let _ = arrival.set(service.nodelay, keepalive);
        }
        if self.gate.is_proxy(&arrival.peer) {
            self.await_header(place, arrival)
        } else {
            self.judge(place, Guest::direct(arrival))
        }
    }

    /// Starts PROG for a connection that may come in, as the `number`th of its source; `variables` are those of a rule.
    /// Returns whether there was a process to be had; the connection is closed in any case, the child having its own.
    pub(super) fn launch(
        &mut self,
        place: usize,
        guest: Guest,
        number: u32,
        variables: &[Variable],
    ) -> bool {
        let (Some(listening), Some(served)) =
            (self.listeners.get(place), self.entrances.served(place))
        else {
            return true;
        };
        let begun = Instant::now();
        self.tallies.accept(place);
        self.notices.changed();
        let conn = &guest.arrival.conn;
        let turn = conn.may_bring_files().then(|| self.starter.hold.take());
        let what = (conn.as_fd(), served.handing(), turn);
        let started = self.starter.start(&self.poll, &served, what, |strings| {
            let listener_place = &listening.listener.place;
            guest.describe(listener_place, number, &served.service.proto, strings);
            if variables.is_empty() {
                return Telling::Besides;
            }
            additions::replace(pairs(variables), strings);
            Telling::Instead
        });
        let pid = match started {
            Ok(pid) => pid,
            // Nobody else has the connection.
            Err(errno) => return self.no_process(place, guest.source, errno),
        };
        // Soon, so that it is the child who is the last to close it and ends the connection.
        let who = guest.leave();
        self.starter.hold.release();
        let took = begun.elapsed();
        self.tallies.start(place, took);
        self.adopt_child(place, Some(who), pid, Stage::Running);
        self.tell_accept(place, &who.peer, pid);
        true
    }

    pub(super) fn tell_accept(&mut self, place: usize, peer: &Peer, pid: i32) {
        let count = self.count();
        if let Some(listener) = self.entrances.label(place) {
            let event = Event::Accept {
                listener,
                peer: Some(peer),
                pid,
                count,
            };
            self.log.tell(&event, Instant::now());
        }
    }

    pub(super) fn no_process(&mut self, place: usize, source: Source, errno: Errno) -> bool {
        self.sources.leave(source);
        self.tallies.fail(place);
        let prog = self.entrances.quoted_prog(place);
        self.warn(
            Trouble::Process,
            Some(place),
            format!("unable to start {prog}: {errno}, closing the connection"),
        );
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks so many milliseconds after the beginning; returns whether it is to be told each time.
    fn told(looks: &[u64]) -> Vec<bool> {
        let (mut stuck, begun) = (Stuck::default(), Instant::now());
        let look = |millis: &u64| {
            let now = begun + Duration::from_millis(*millis);
            stuck.see(now);
            stuck.is_to_be_told(now)
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn it_is_told_once_when_it_has_lasted() {
        assert_eq!(
            told(&[0, 500, 999, 1000, 1500, 2400]),
            [false, false, false, true, false, false]
        );
    }

    #[test]
    fn it_has_not_lasted_if_nobody_has_looked() {
        assert_eq!(told(&[0, 3000, 3900, 4000]), [false, false, false, true]);
    }
}
