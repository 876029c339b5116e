//! Those who are kept out by a limit, while they hear why: nothing waits for them, and no reset takes the message away.

use crate::sys::errno::Errno;
use crate::sys::poll::{Poll, Watch};
use crate::sys::socket;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// So many hear it at once; the others are just closed.
const MOST: usize = 64;
/// How long one may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first token; each has its own.
pub(super) const TOKENS: u64 = 1 << 33;
pub(super) const LAST_TOKEN: u64 = 2 * TOKENS - 1;

/// Somebody who goes.
struct Farewell {
    token: u64,
    conn: OwnedFd,
    message: Rc<[u8]>,
    /// How much of it has been sent.
    sent: usize,
    /// The client has said its last word; it may still read.
    is_heard_out: bool,
    until: Instant,
}

/// All who go, in the order in which their time is over.
#[derive(Default)]
pub(crate) struct Farewells {
    all: Vec<Farewell>,
    next: u64,
}

impl Farewells {
    /// Begins to send `message`, and closes the connection when the client has gone or its time is over.
    pub(crate) fn begin(&mut self, poll: &Poll, conn: OwnedFd, message: Rc<[u8]>) {
        if self.all.len() >= MOST {
            return;
        }
        self.next = self.next.wrapping_add(1) % TOKENS;
        let mut farewell = Farewell {
            token: TOKENS + self.next,
            conn,
            message,
            sent: 0,
            is_heard_out: false,
            until: Instant::now() + PATIENCE,
        };
        if farewell.talk().is_err() {
            return;
        }
        if let Some(watch) = farewell.watch()
            && poll.add(&farewell.conn, farewell.token, watch).is_ok()
        {
            self.all.push(farewell);
        }
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
            self.all.remove(place);
        }
    }

    /// When the first has had its time.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.all.first().map(|farewell| farewell.until)
    }

    /// Closes those who have had their time.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        self.all.retain(|farewell| farewell.until > now);
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
        self.is_heard_out = self.is_heard_out || !socket::hear_out(&self.conn);
        Ok(())
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
