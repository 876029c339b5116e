//! Connections of trusted proxies whose PROXY header is not whole yet.

use crate::admit::proxy::{self, HEADER_BYTES, Header, Reading};
use crate::admit::quota::Quota;
use crate::listen::accept::Arrival;
use crate::model::event::Trouble;
use crate::model::state::Pending as Kept;
use crate::serve::guest::Guest;
use crate::serve::succession::Now;
use crate::serve::{PATIENCE, Server};
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::poll::Watch;
use crate::sys::{fd, socket};
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// So many wait at once; what comes beyond them is dropped.
const MOST: usize = 1024;
/// The first token; each has its own.
pub(super) const TOKENS: u64 = 1 << 32;
pub(super) const LAST_TOKEN: u64 = TOKENS + u32::MAX as u64;

/// Why those are denied who have not said in time who they are.
pub(crate) const TOO_LATE: &str = "no PROXY header in time";
const STOPPING: &str = "stopping";
const GONE: &str = "gone before the PROXY header";

/// One of them.
struct Pending {
    place: usize,
    arrival: Arrival,
    /// What of the header has been taken from the connection.
    taken: Vec<u8>,
    /// When it has had its time.
    until: Instant,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Pendings {
    all: HashMap<u64, Pending>,
    /// When each has had its time, the first first.
    order: BTreeSet<(Instant, u64)>,
    next: u32,
}

/// What has come of a header.
pub(crate) enum Heard {
    Header(Box<Header>),
    /// It is not whole.
    More,
    Wrong(&'static str),
}

/// Takes what there is of a header from a connection, and not a byte of what follows it.
pub(crate) fn hear(arrival: &Arrival, taken: &mut Vec<u8>) -> Heard {
    let before = taken.len();
    let mut bytes = [0; HEADER_BYTES + 1];
    let room = bytes.get_mut(..=HEADER_BYTES - before.min(HEADER_BYTES));
    let peeked = match arrival.conn.look_ahead(room.unwrap_or_default()) {
        Ok(0) => return Heard::Wrong("the end before the PROXY header"),
        Ok(len) => bytes.get(..len).unwrap_or_default(),
        Err(Errno::AGAIN) => return Heard::More,
        Err(_) => return Heard::Wrong(GONE),
    };
    taken.extend_from_slice(peeked);
    let (len, heard) = match proxy::read(taken) {
        Reading::Whole { bytes, header } => (bytes, Heard::Header(Box::new(header))),
        Reading::More { .. } => (taken.len(), Heard::More),
        Reading::Wrong(why) => return Heard::Wrong(why),
    };
    if taken.len() > len && socket::keeps_records(&arrival.conn) {
        // What follows it in its record would be lost.
        return Heard::Wrong("more than the PROXY header in one record");
    }
    taken.truncate(len);
    match socket::take(&arrival.conn, len - before) {
        Ok(()) => heard,
        Err(_) => Heard::Wrong(GONE),
    }
}

impl Pendings {
    /// What a new skd in our place needs in order to go on waiting.
    pub(super) fn keep(
        &self,
        now: &Now,
        keeper: &mut Keeper,
        place_of: impl Fn(usize) -> u32,
    ) -> Result<Vec<Kept>, Errno> {
        let keep = |it: &Pending| {
            Ok(Kept {
                conn: keeper.keep(&it.arrival.conn)?,
                listener: place_of(it.place),
                until: now.number_of(it.until),
                taken: it.taken.clone(),
                peer: it.arrival.peer,
            })
        };
        self.all.values().map(keep).collect()
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// At which listener it has come in.
    pub(super) fn place_of(&self, token: u64) -> Option<usize> {
        self.all.get(&token).map(|it| it.place)
    }

    /// How many have come in at such places.
    pub(super) fn count_at(&self, is_meant: impl Fn(usize) -> bool) -> usize {
        self.all.values().filter(|it| is_meant(it.place)).count()
    }

    /// When the first has had its time.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.order.first().map(|(until, _)| *until)
    }
}

impl Server {
    /// A connection begins with a PROXY header. Returns whether there was a process to be had, if it was whole already.
    pub(super) fn await_header(&mut self, place: usize, arrival: Arrival) -> bool {
        let mut taken = Vec::new();
        match hear(&arrival, &mut taken) {
            Heard::Header(header) => return self.judge(place, Guest::announced(arrival, *header)),
            Heard::Wrong(why) => self.deny(place, &arrival.peer, || why.into()),
            Heard::More if self.pendings.all.len() >= MOST => {
                self.deny(place, &arrival.peer, || {
                    "too many PROXY headers to wait for".into()
                });
            }
            Heard::More => {
                let until = Instant::now() + self.gate.proxy_timeout;
                self.wait_for_header(Pending {
                    place,
                    arrival,
                    taken,
                    until,
                });
            }
        }
        true
    }

    fn wait_for_header(&mut self, pending: Pending) {
        let pendings = &mut self.pendings;
        pendings.next = pendings.next.wrapping_add(1);
        let token = TOKENS + u64::from(pendings.next);
        let place = pending.place;
        if let Err(errno) = self.poll.add(&pending.arrival.conn, token, Watch::Alone) {
            self.tallies.deny(place);
            self.notices.changed();
            let text = format!("unable to wait for a header: {errno}, closing the connection");
            return self.warn(Trouble::Process, Some(place), text);
        }
        // So that no more come than may be let in.
        self.gate.take_token(Instant::now());
        self.entrances.with_quota(place, Quota::await_one);
        pendings.order.insert((pending.until, token));
        pendings.all.insert(token, pending);
    }

    /// Goes on with one that the skd before us has waited for.
    pub(super) fn resume_pending(&mut self, kept: &Kept, until: Instant) {
        let place = kept.listener as usize;
        match fd::resume(kept.conn).and_then(|conn| Arrival::of(conn, true)) {
            Ok(arrival) => self.wait_for_header(Pending {
                place,
                arrival,
                taken: kept.taken.clone(),
                until,
            }),
            // Nobody's address is known whose connection has been reset.
            Err(_) => self.deny(place, &kept.peer, || GONE.into()),
        }
    }

    /// One of them has something to say. Returns whether there was a slot for it.
    pub(super) fn hear_header(&mut self, token: u64) -> bool {
        let Some(place) = self.pendings.place_of(token) else {
            return true;
        };
        if !self.has_vacancy(place, PATIENCE) {
            return false;
        }
        let Some(mut pending) = self.pendings.all.remove(&token) else {
            return true;
        };
        let heard = hear(&pending.arrival, &mut pending.taken);
        if let Heard::More = heard {
            self.pendings.all.insert(token, pending);
            return true;
        }
        // It is closed, or goes to a child, and is nothing to wait for any more.
        let _ = self.poll.remove(&pending.arrival.conn);
        let Pending { arrival, until, .. } = pending;
        self.pendings.order.remove(&(until, token));
        self.entrances.with_quota(place, Quota::has_waited);
        self.give_token_back();
        match heard {
            Heard::Header(header) => {
                if !self.is_full() {
                    self.has_had_turn(place);
                }
                // Whether there is a process: the warning has been told, and there is nobody to rest for.
                self.judge(place, Guest::announced(arrival, *header));
            }
            Heard::Wrong(why) => self.deny(place, &arrival.peer, || why.into()),
            Heard::More => {}
        }
        true
    }

    /// Drops those whose time is over.
    pub(super) fn end_pending(&mut self, now: Instant) {
        self.drop_pending(TOO_LATE, |until| until <= now);
    }

    /// Drops all of them, where nobody can wait any longer.
    pub(super) fn deny_pending(&mut self) {
        self.drop_pending(STOPPING, |_| true);
    }

    /// Drops those of a listener that is no longer there.
    pub(super) fn deny_pending_of(&mut self, place: usize) {
        let all = self.pendings.all.iter();
        let of_it = all.filter(|(_, it)| it.place == place);
        let of_it: Vec<u64> = of_it.map(|(token, _)| *token).collect();
        for token in of_it {
            self.drop_one(token, STOPPING);
        }
    }

    /// Drops those who have had their time, the first first, as long as it is one that is meant.
    fn drop_pending(&mut self, reason: &str, is_meant: impl Fn(Instant) -> bool) {
        while let Some((until, token)) = self.pendings.order.first().copied()
            && is_meant(until)
        {
            self.pendings.order.remove(&(until, token));
            self.drop_one(token, reason);
        }
    }

    fn drop_one(&mut self, token: u64, reason: &str) {
        if let Some(pending) = self.pendings.all.remove(&token) {
            self.pendings.order.remove(&(pending.until, token));
            // A child on its way may have a copy, for which it would stay polled.
            let _ = self.poll.remove(&pending.arrival.conn);
            self.entrances.with_quota(pending.place, Quota::has_waited);
            self.give_token_back();
            self.deny(pending.place, &pending.arrival.peer, || reason.into());
        }
    }
}
