//! Those who ask for the metrics. They are answered inside the loop, in no service's counts, and none can make it wait.

use crate::listen::accept::{self, Taken};
use crate::listen::{Listener, SocketFile};
use crate::model::address::Place;
use crate::model::event::Trouble;
use crate::model::state::Scraped;
use crate::report::http::{self, REQUEST_BYTES, Refusal, Request};
use crate::report::metrics::{self, Snapshot, Usage};
use crate::serve::farewell::Farewells;
use crate::serve::stopping::let_go;
use crate::serve::{REST, Server};
use crate::sys::aside;
use crate::sys::conn::Conn;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::poll::{Poll, Watch};
use crate::sys::usage;
use std::time::{Duration, Instant};

/// So many are there at once; others wait in the backlog.
const MOST: usize = 64;
/// While so many bytes of answers are still to be heard nobody else is answered with metrics.
const UNSENT_BYTES: usize = 8 << 20;
/// How long one may take for its request, and then for hearing the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The tokens of those who ask, of those who are being answered, and of the listeners.
pub(super) const ASKING: u64 = 1 << 34;
pub(super) const LAST_ASKING: u64 = 2 * ASKING - 1;
pub(super) const ANSWERED: u64 = 1 << 35;
pub(super) const LAST_ANSWERED: u64 = 2 * ANSWERED - 1;
pub(super) const LISTENERS: u64 = 1 << 36;
pub(super) const LAST_LISTENER: u64 = 2 * LISTENERS - 1;

/// Somebody whose request is not whole.
struct Asking {
    token: u64,
    conn: Conn,
    said: Vec<u8>,
    until: Instant,
}

/// All of them, and where they come.
pub(crate) struct Scrapes {
    listeners: Vec<Listener>,
    are_polled: bool,
    rests_until: Option<Instant>,
    /// In the order in which their time is over.
    asking: Vec<Asking>,
    answered: Farewells,
    next: u64,
}

impl Scrapes {
    pub(crate) fn new(listeners: Vec<Listener>) -> Self {
        Self {
            listeners,
            are_polled: false,
            rests_until: None,
            asking: Vec::new(),
            answered: Farewells::new(ANSWERED, MOST),
            next: 0,
        }
    }

    /// When there is something to do without anyone asking.
    pub(crate) fn due(&self) -> Option<Instant> {
        let asking = self.asking.first().map(|asking| asking.until);
        let others = [self.rests_until, self.answered.due()];
        others.into_iter().flatten().chain(asking).min()
    }

    /// What a new skd in our place needs in order to go on. Those who are asking just now have to ask again.
    pub(super) fn keep(&self, keeper: &mut Keeper) -> Result<Vec<Scraped>, Errno> {
        let keep = |listener: &Listener| {
            let file = listener.file.as_ref();
            Ok(Scraped {
                socket: keeper.keep(listener)?,
                file: file
                    .map(|file| SocketFile::keep(file, keeper))
                    .transpose()?,
            })
        };
        self.listeners.iter().map(keep).collect()
    }

    /// Closes those whose time is over, and polls the listeners if somebody may come.
    fn catch_up(&mut self, poll: &Poll, now: Instant) -> Result<(), Errno> {
        self.answered.catch_up(poll, now);
        for late in self.asking.extract_if(.., |asking| asking.until <= now) {
            // A child on its way may have a copy, for which it would stay polled.
            let _ = poll.remove(&late.conn);
        }
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
        }
        let has_room = self.count() < MOST && self.rests_until.is_none();
        if has_room == self.are_polled {
            return Ok(());
        }
        self.are_polled = has_room;
        for (listener, token) in self.listeners.iter().zip(LISTENERS..) {
            match has_room {
                true => poll.add(listener, token, Watch::Shared)?,
                false => poll.remove(listener)?,
            }
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.asking.len() + self.answered.count()
    }

    fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + REST);
    }

    /// Waits for a request; one that cannot be waited for is closed.
    fn begin(&mut self, poll: &Poll, conn: Conn) -> Result<(), Errno> {
        self.next = self.next.wrapping_add(1) % ASKING;
        let token = ASKING + self.next;
        poll.add(&conn, token, Watch::Alone)?;
        self.asking.push(Asking {
            token,
            conn,
            said: Vec::new(),
            until: Instant::now() + PATIENCE,
        });
        Ok(())
    }

    /// What somebody has said now: the connection and what there is to answer, if that is known.
    fn hear(&mut self, poll: &Poll, token: u64) -> Option<(Conn, Request)> {
        let place = self.asking.iter().position(|it| it.token == token)?;
        let request = self.asking.get_mut(place)?.hear();
        if request == Some(Request::More) {
            return None;
        }
        let Asking { conn, .. } = self.asking.remove(place);
        let _ = poll.remove(&conn);
        Some((conn, request?))
    }
}

impl Asking {
    /// `None` if the client has gone.
    fn hear(&mut self) -> Option<Request> {
        let mut bytes = [0; REQUEST_BYTES];
        let room = bytes.get_mut(self.said.len()..).unwrap_or_default();
        match self.conn.hear(room) {
            Ok(0) => None,
            Ok(len) => {
                self.said.extend(room.iter().take(len));
                Some(http::read(&self.said))
            }
            Err(Errno::AGAIN) => Some(Request::More),
            Err(_) => None,
        }
    }
}

impl Server {
    /// Somebody wants the metrics.
    pub(super) fn serve_scrapes(&mut self, token: u64) {
        let place = usize::try_from(token - LISTENERS).unwrap_or(usize::MAX);
        while self.scrapes.count() < MOST
            && let Some(listener) = self.scrapes.listeners.get(place)
        {
            if matches!(listener.place, Place::Unix(_)) && aside::is_burdened() {
                return self.scrapes.rest();
            }
            let begun = match accept::accept(listener) {
                Taken::Arrival(arrival) => self.scrapes.begin(&self.poll, arrival.conn),
                Taken::Gone(_) | Taken::Nothing => return,
                Taken::Trouble(errno) => Err(errno),
            };
            if let Err(errno) = begun {
                self.scrapes.rest();
                let text = format!("unable to accept a client of the metrics: {errno}, resting");
                return self.warn(Trouble::Other, None, text);
            }
        }
    }

    /// Somebody who wants them has said something.
    pub(super) fn hear_scrape(&mut self, token: u64) {
        let Some((conn, request)) = self.scrapes.hear(&self.poll, token) else {
            return;
        };
        let answer = match request {
            Request::More => return,
            Request::Metrics if self.scrapes.answered.unsent() >= UNSENT_BYTES => {
                http::refuse(Refusal::Unavailable)
            }
            Request::Metrics => http::answer(&metrics::text(&self.snapshot())),
            Request::Wrong(refusal) => http::refuse(refusal),
        };
        self.scrapes.answered.begin(&self.poll, conn, answer.into());
    }

    fn snapshot(&self) -> Snapshot {
        let usage = Usage {
            cpu: usage::cpu(),
            resident_bytes: usage::resident_bytes(),
            open_files: usage::open_files(),
            most_files: usage::most_files(),
        };
        let listeners = self.entrances.labels().zip(self.tallies.each());
        Snapshot::new(listeners, self.max_connections, usage)
    }

    pub(super) fn answer_scrape(&mut self, token: u64) {
        self.scrapes.answered.go_on(&self.poll, token);
    }

    pub(super) fn settle_scrapes(&mut self, now: Instant) {
        if let Err(errno) = self.scrapes.catch_up(&self.poll, now) {
            self.scrapes.are_polled = false;
            self.scrapes.rest();
            let text = format!("unable to wait for clients of the metrics: {errno}, resting");
            self.warn(Trouble::Other, None, text);
        }
    }

    /// Closes their sockets, and removes the files.
    pub(super) fn end_scrapes(&mut self) {
        for mut listener in std::mem::take(&mut self.scrapes.listeners) {
            self.remove_file_of(&listener.label, listener.file.take());
            let_go(&listener);
        }
    }
}
