//! Those who are kept out by a limit, while they hear why: nothing waits for them, and no reset takes the message away.

use crate::model::state::Farewell as Kept;
use crate::serve::succession::Now;
use crate::sys::conn::Conn;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::poll::{Poll, Watch};
use crate::sys::socket;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// So many at once are waited for until they have gone.
pub(super) const MOST: usize = 64;
/// How long one may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first token; each has its own.
pub(super) const TOKENS: u64 = 1 << 33;
pub(super) const LAST_TOKEN: u64 = 2 * TOKENS - 1;

/// Somebody who goes.
struct Farewell {
    token: u64,
    conn: Conn,
    message: Rc<[u8]>,
    /// How much of it has been sent.
    sent: usize,
    /// The client has said its last word; it may still read.
    is_heard_out: bool,
    until: Instant,
}

/// All who go, in the order in which their time is over.
pub(crate) struct Farewells {
    all: Vec<Farewell>,
    /// Tokens begin here, and there are as many.
    tokens: u64,
    next: u64,
    most: usize,
}

impl Farewells {
    /// At most so many go at once.
    pub(crate) fn new(tokens: u64, most: usize) -> Self {
        Self {
            all: Vec::new(),
            tokens,
            next: 0,
            most,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// How many bytes are still to be sent to all of them.
    pub(crate) fn unsent(&self) -> usize {
        let unsent = |it: &Farewell| it.message.len().saturating_sub(it.sent);
        self.all.iter().map(unsent).sum()
    }

    /// Begins to send `message`, and closes the connection when the client has gone or its time is over. Where there are
    /// too many already, the first that has had all of its own goes; if none has, this one, with what the kernel took.
    pub(crate) fn begin(&mut self, poll: &Poll, conn: Conn, message: Rc<[u8]>) {
        self.go(poll, conn, (message, 0), Instant::now() + PATIENCE);
    }

    /// What a new skd in our place needs in order to go on.
    pub(super) fn keep(&self, now: &Now, keeper: &mut Keeper) -> Result<Vec<Kept>, Errno> {
        let keep = |it: &Farewell| {
            Ok(Kept {
                conn: keeper.keep(&it.conn)?,
                sent: it.sent,
                until: now.number_of(it.until),
            })
        };
        self.all.iter().map(keep).collect()
    }

    /// Goes on with one of the skd before us.
    pub(super) fn resume(&mut self, poll: &Poll, kept: &Kept, message: Rc<[u8]>, until: Instant) {
        if let Ok(conn) = Conn::resume(kept.conn) {
            self.go(poll, conn, (message, kept.sent), until);
        }
    }

    /// Sends a message of which so much has been sent.
    fn go(&mut self, poll: &Poll, conn: Conn, (message, sent): (Rc<[u8]>, usize), until: Instant) {
        self.next = self.next.wrapping_add(1) % self.tokens;
        let mut farewell = Farewell {
            token: self.tokens + self.next,
            conn,
            message,
            sent,
            is_heard_out: false,
            until,
        };
        if farewell.talk().is_err() {
            return;
        }
        if let Some(watch) = farewell.watch()
            && self.has_room(poll)
            && poll.add(&farewell.conn, farewell.token, watch).is_ok()
        {
            self.all.push(farewell);
        }
    }

    /// Whether there is a place for one more, which may have been made by sending one away.
    fn has_room(&mut self, poll: &Poll) -> bool {
        if self.all.len() < self.most {
            return true;
        }
        let Some(place) = self.all.iter().position(Farewell::has_said_all) else {
            return false;
        };
        let mut gone = self.all.remove(place);
        // Words of the client that nobody has heard would make a reset of its end.
        let _ = gone.talk();
        gone.leave(poll);
        true
    }

    /// Goes on with one that is ready.
    pub(crate) fn go_on(&mut self, poll: &Poll, token: u64) {
        let Some(place) = self.all.iter().position(|farewell| farewell.token == token) else {
            return;
        };
        let goes_on = self.all.get_mut(place).is_some_and(|farewell| {
            let before = farewell.watch();
            let watch = farewell.talk().ok().and_then(|()| farewell.watch());
            if let Some(watch) = watch.filter(|watch| before != Some(*watch)) {
                // If it fails its time will end it.
                let _ = poll.remove(&farewell.conn);
                let _ = poll.add(&farewell.conn, token, watch);
            }
            watch.is_some()
        });
        if !goes_on {
            let gone = self.all.remove(place);
            gone.leave(poll);
        }
    }

    /// When the first has had its time.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.all.first().map(|farewell| farewell.until)
    }

    /// Closes those who have had their time.
    pub(crate) fn catch_up(&mut self, poll: &Poll, now: Instant) {
        let late = self.all.extract_if(.., |farewell| farewell.until <= now);
        late.for_each(|farewell| farewell.leave(poll));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Farewell {
    /// Sends what is left as far as it is taken, and hears what the client still says.
    ///
    /// # Errors
    /// The client is gone.
    fn talk(&mut self) -> Result<(), Errno> {
        while let Some(rest @ [_, ..]) = self.message.get(self.sent..) {
            match socket::send(&self.conn, rest) {
                Ok(len) => self.sent += len,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno),
            }
            if self.has_said_all() {
                // The client reads the message and then the end, whatever it still sends.
                let _ = socket::end_sending(&self.conn);
            }
        }
        self.is_heard_out = self.is_heard_out || !self.conn.hear_out();
        Ok(())
    }

    /// Closes it. A child on its way may have a copy, for which it would stay polled.
    fn leave(self, poll: &Poll) {
        let _ = poll.remove(&self.conn);
        self.conn.end();
    }

    fn has_said_all(&self) -> bool {
        self.sent >= self.message.len()
    }

    /// What is to be waited for; `None` when all is said on both sides.
    fn watch(&self) -> Option<Watch> {
        match (self.has_said_all(), self.is_heard_out) {
            (false, false) => Some(Watch::Talk),
            (false, true) => Some(Watch::Room),
            (true, false) => Some(Watch::Alone),
            (true, true) => None,
        }
    }
}
