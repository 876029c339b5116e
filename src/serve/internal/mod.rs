//! The services that skd itself answers: echo, discard, chargen, daytime and time, inside the loop, without a process.
//! None can make the loop wait, and of all of them there are never more than a few.

mod answers;
mod talk;

use crate::listen::accept;
use crate::model::event::{Ended, Event, Trouble};
use crate::model::inetd::Builtin;
use crate::model::peer::{Peer, Source};
use crate::model::state::Visit as Kept;
use crate::serve::entrance::Runs;
use crate::serve::farewell::Farewells;
use crate::serve::guest::{Guest, Who};
use crate::serve::listening::Way;
use crate::serve::succession::Now;
use crate::serve::{BATCH, REST, Server};
use crate::sys::conn::Conn;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::poll::Poll;
use crate::sys::{clock, process};
use std::time::{Duration, Instant};
use talk::Talk;

/// So many connections there are at once; others wait in the backlog.
const MOST: usize = 64;
/// How long one may last in which nothing is said and nothing taken.
const PATIENCE: Duration = Duration::from_secs(60);
/// The tokens of those who are talked to, and of those who are told one thing.
pub(super) const TOKENS: u64 = 1 << 37;
pub(super) const LAST_TOKEN: u64 = 2 * TOKENS - 1;
pub(super) const TOLD: u64 = 1 << 38;
pub(super) const LAST_TOLD: u64 = 2 * TOLD - 1;

/// Somebody who is talked to, and what is given back at the end.
struct Visit {
    token: u64,
    talk: Talk,
    place: usize,
    peer: Peer,
    source: Source,
    since: Instant,
    until: Instant,
}

/// All of them.
pub(crate) struct Internal {
    visits: Vec<Visit>,
    next: u64,
    told: Farewells,
}

impl Default for Internal {
    fn default() -> Self {
        Self {
            visits: Vec::new(),
            next: 0,
            told: Farewells::new(TOLD, MOST),
        }
    }
}

impl Internal {
    /// How many there are.
    fn count(&self) -> usize {
        self.visits.len() + self.told.count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.visits.is_empty() && self.told.is_empty()
    }

    /// Whether somebody has come in there who is still talked to.
    pub(super) fn remembers(&self, place: usize) -> bool {
        self.visits.iter().any(|visit| visit.place == place)
    }

    /// When the first has had its time.
    pub(super) fn due(&self) -> Option<Instant> {
        let visits = self.visits.iter().map(|visit| visit.until);
        visits.chain(self.told.due()).min()
    }

    /// What a new skd in our place needs in order to go on.
    pub(super) fn keep(
        &self,
        now: &Now,
        keeper: &mut Keeper,
        place_of: impl Fn(usize) -> u32,
    ) -> Result<Vec<Kept>, Errno> {
        let keep = |it: &Visit| {
            let (builtin, line, unsent) = it.talk.rest();
            Ok(Kept {
                conn: keeper.keep(it.talk.conn())?,
                listener: place_of(it.place),
                builtin,
                since: now.number_of(it.since),
                until: now.number_of(it.until),
                line,
                unsent: unsent.to_vec(),
                source: it.source,
                peer: it.peer,
            })
        };
        self.visits.iter().map(keep).collect()
    }

    fn enter(&mut self, poll: &Poll, visit: Visit) -> Result<(), Errno> {
        poll.add(visit.talk.conn(), visit.token, visit.talk.watch())?;
        self.visits.push(visit);
        Ok(())
    }
}

impl Server {
    /// Whether nobody more is taken out of a backlog for what skd itself answers there.
    pub(super) fn has_many_visits(&self, place: usize) -> bool {
        let is_one = |place| self.entrances.builtin(place).is_some();
        is_one(place) && self.internal.count() + self.pendings.count_at(is_one) >= MOST
    }

    /// Talks to somebody who may come in.
    pub(super) fn visit(&mut self, place: usize, guest: Guest, builtin: Builtin) {
        let now = Instant::now();
        self.tallies.accept(place);
        self.notices.changed();
        let Guest {
            arrival, source, ..
        } = guest;
        let peer = arrival.peer;
        self.count_start(place, Some(source), now);
        self.tell_accept(place, &peer, process::own_pid());
        let who = Who { peer, source };
        match answers::once(builtin, clock::wall(), clock::local_date) {
            Some(answer) => {
                let told = &mut self.internal.told;
                told.begin(&self.poll, arrival.conn, answer.into());
                self.end_visit(place, who, now);
            }
            None => {
                let talk = Talk::new(arrival.conn, builtin);
                self.go_on_visiting(place, talk, who, (now, now + PATIENCE));
            }
        }
    }

    /// One of the skd before us.
    pub(super) fn resume_visit(&mut self, kept: &Kept, since: Instant, until: Instant) {
        let Ok(conn) = Conn::resume(kept.conn) else {
            return;
        };
        let place = kept.listener as usize;
        let (peer, source) = (kept.peer, kept.source);
        self.sources.enter(source);
        self.entrances
            .with_quota(place, |quota| quota.resume(Some(source)));
        let talk = Talk::resume(conn, kept.builtin, kept.line, &kept.unsent);
        self.go_on_visiting(place, talk, Who { peer, source }, (since, until));
    }

    fn go_on_visiting(
        &mut self,
        place: usize,
        talk: Talk,
        who: Who,
        (since, until): (Instant, Instant),
    ) {
        let internal = &mut self.internal;
        internal.next = internal.next.wrapping_add(1) % TOKENS;
        let visit = Visit {
            token: TOKENS + internal.next,
            talk,
            place,
            peer: who.peer,
            source: who.source,
            since,
            until,
        };
        if let Err(errno) = internal.enter(&self.poll, visit) {
            let text = format!("unable to wait for a client: {errno}, closing the connection");
            self.warn(Trouble::Process, Some(place), text);
            self.end_visit(place, who, since);
        }
    }

    /// Gives back what a visitor had, whose connection is closed.
    fn end_visit(&mut self, place: usize, who: Who, since: Instant) {
        let now = Instant::now();
        self.sources.leave(who.source);
        let source = Some(who.source);
        self.entrances.with_quota(place, |quota| quota.end(source));
        let count = self.count();
        let Some(listener) = self.entrances.label(place) else {
            return;
        };
        let event = Event::End {
            listener,
            peer: &who.peer,
            pid: process::own_pid(),
            how: Ended::Exit(0),
            lasted: now.saturating_duration_since(since),
            count,
        };
        self.log.tell(&event, now);
    }

    /// A visitor has something to say, or can hear more.
    pub(super) fn go_on_with_visit(&mut self, token: u64) {
        let visits = &mut self.internal.visits;
        let Some(index) = visits.iter().position(|visit| visit.token == token) else {
            return;
        };
        let Some(visit) = visits.get_mut(index) else {
            return;
        };
        let before = visit.talk.watch();
        let goes_on = visit.talk.go_on();
        if goes_on {
            visit.until = Instant::now() + PATIENCE;
            let watch = visit.talk.watch();
            if watch != before {
                // If it fails its time will end it.
                let _ = self.poll.remove(visit.talk.conn());
                let _ = self.poll.add(visit.talk.conn(), token, watch);
            }
            return;
        }
        self.close_visit(index);
    }

    fn close_visit(&mut self, index: usize) {
        let Visit {
            talk,
            place,
            peer,
            source,
            since,
            ..
        } = self.internal.visits.swap_remove(index);
        // A child on its way may have a copy, for which it would stay polled.
        let _ = self.poll.remove(talk.conn());
        drop(talk);
        self.end_visit(place, Who { peer, source }, since);
    }

    pub(super) fn go_on_telling(&mut self, token: u64) {
        self.internal.told.go_on(&self.poll, token);
    }

    /// Closes those who have had their time.
    pub(super) fn end_visits(&mut self, now: Instant) {
        self.internal.told.catch_up(&self.poll, now);
        self.close_visits(|visit| visit.until <= now);
    }

    /// Closes all of them.
    pub(super) fn end_all_visits(&mut self) {
        self.close_visits(|_| true);
    }

    fn close_visits(&mut self, is_meant: impl Fn(&Visit) -> bool) {
        while let Some(index) = self.internal.visits.iter().position(&is_meant) {
            self.close_visit(index);
        }
    }

    /// Answers the datagrams that wait.
    pub(super) fn answer_datagrams(&mut self, place: usize) {
        let served = self.entrances.served(place);
        let Some(Runs::Internal(builtin)) = served.as_ref().map(|it| &it.runs) else {
            return;
        };
        let answering = self.listeners.all().filter(|it| it.way == Way::Answer);
        let own: Vec<u16> = answering
            .filter_map(|it| it.listener.place.inet_port())
            .collect();
        for _ in 0..BATCH {
            let Some(listening) = self.listeners.get(place) else {
                return;
            };
            let mut bytes = [0; answers::DATAGRAM_BYTES];
            let taken = match accept::take_datagram(&listening.listener, &mut bytes) {
                Ok(Some(taken)) => taken,
                Ok(None) => return,
                Err(Errno::NOT_PERMITTED) => return self.discard_aside(place),
                Err(errno) => {
                    self.warn(Trouble::Look, Some(place), errno.to_string());
                    return self.rest(place, REST);
                }
            };
            self.tallies.accept(place);
            let said = bytes.get(..taken.len.min(bytes.len())).unwrap_or_default();
            let (wall, date) = (clock::wall(), clock::local_date);
            if let Some(port) = taken.port()
                && let Some(answer) = answers::to_datagram(*builtin, said, (port, &own), wall, date)
            {
                // Who does not get it may ask again.
                let _ = taken.answer(&listening.listener, &answer);
            }
        }
        self.notices.changed();
    }
}
