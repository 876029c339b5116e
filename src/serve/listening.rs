//! A listener while it is served: whether it is polled, and why not.

use crate::listen::{Listener, Origin};
use crate::model::address::Style;
use crate::model::manager::STORED_AS;
use crate::model::service::Mode;
use crate::serve::entrance::{Runs, Served};
use crate::serve::guard::Guard;
use crate::serve::lent::Lent;
use crate::sys::errno::Errno;
use crate::sys::poll::{Poll, Watch};
use crate::sys::{fd, sockdiag, socket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What skd does when a listener is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// Accepts connections, and starts a program for each.
    Accept,
    /// Starts a program with the socket, for the first datagram.
    Datagram,
    /// Answers datagrams itself.
    Answer,
    /// Starts a program with the listener, which accepts or reads by itself.
    Lend,
}

impl Way {
    fn of(listener: &Listener, served: &Served) -> Self {
        let lends = served.service.mode == Mode::Listeners;
        match listener.style {
            Style::Datagram if matches!(served.runs, Runs::Internal(_)) => Self::Answer,
            Style::Datagram => Self::Datagram,
            Style::Readable => Self::Lend,
            Style::Stream | Style::SeqPacket if lends => Self::Lend,
            Style::Stream | Style::SeqPacket => Self::Accept,
        }
    }

    fn prepare(self, listener: &Listener) -> Result<(), Errno> {
        match self {
            Self::Accept => fd::set_nonblocking(listener, true),
            Self::Datagram | Self::Answer | Self::Lend => Ok(()),
        }
    }
}

/// A listener and what becomes of it over time.
pub(crate) struct Listening {
    pub(crate) listener: Listener,
    pub(crate) way: Way,
    /// When somebody was last taken out of it, as a number that grows: the one with the least is first.
    pub(crate) turn: u64,
    /// Not looked at before this.
    pub(crate) rests_until: Option<Instant>,
    /// That is because `--rate` has no token.
    pub(crate) waits_for_token: bool,
    /// The program that has the listener now; until it ends nobody else looks at it.
    pub(crate) program: Option<i32>,
    pub(crate) guard: Guard,
    pub(crate) discarding: Option<Discarding>,
    /// How often in a row a datagram socket was ready and had nothing.
    pub(crate) woken_for_nothing: u32,
    /// Whether the last program that had the listener could be executed.
    pub(crate) was_executed: bool,
    /// What tells whether a program that the listener was lent to has taken anything.
    pub(crate) lent: Lent,
    /// A datagram socket that hears one sender alone, since before it was adopted.
    pub(crate) is_connected: bool,
    /// Somebody keeps the socket when skd ends.
    pub(crate) is_kept: bool,
    /// Nobody can connect any more; who has is served.
    pub(crate) is_shut: bool,
    /// It is not served any more.
    pub(crate) is_left: bool,
    is_polled: bool,
    /// Its flags are as its way wants them: they belong to the file, and so to a program that has it, too.
    pub(super) is_prepared: bool,
}

/// A thread that throws away the datagram of this stamp.
pub(crate) struct Discarding {
    pub(crate) stamp: Option<Duration>,
    pub(crate) thread: JoinHandle<()>,
}

/// All of them by place. A place stays empty when its listener is gone: children remember it.
#[derive(Default)]
pub(crate) struct Listenings(Vec<Option<Listening>>);

impl Listenings {
    pub(crate) fn get(&self, place: usize) -> Option<&Listening> {
        self.0.get(place)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut Listening> {
        self.0.get_mut(place)?.as_mut()
    }

    /// Every place, empty or not.
    pub(crate) fn places(&self) -> std::ops::Range<usize> {
        0..self.0.len()
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (usize, &Listening)> + Clone {
        let each = self.0.iter().enumerate();
        each.filter_map(|(place, it)| Some((place, it.as_ref()?)))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Listening> {
        self.0.iter().flatten()
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Listening> {
        self.0.iter_mut().flatten()
    }

    /// In an empty place, or behind all others.
    pub(crate) fn put(&mut self, place: usize, listening: Listening) {
        match self.0.get_mut(place) {
            Some(it) => *it = Some(listening),
            None => self.0.push(Some(listening)),
        }
    }

    /// One more place, whose listener is gone.
    pub(crate) fn leave_empty(&mut self, place: usize) {
        if place >= self.0.len() {
            self.0.push(None);
        }
    }

    pub(crate) fn take(&mut self, place: usize) -> Option<Listening> {
        self.0.get_mut(place)?.take()
    }
}

impl FromIterator<Listening> for Listenings {
    fn from_iter<T: IntoIterator<Item = Listening>>(all: T) -> Self {
        Self(all.into_iter().map(Some).collect())
    }
}

impl Listening {
    /// Where skd accepts, an adopted listener may be blocking, and a client that is gone again would then make accept4(2)
    /// wait. Any other descriptor stays as it is: skd never reads from it in a way that waits.
    ///
    /// # Errors
    /// fcntl(2) failed.
    pub(crate) fn new(listener: Listener, served: &Served) -> Result<Self, Errno> {
        let way = Way::of(&listener, served);
        way.prepare(&listener)?;
        Ok(Self {
            lent: Lent::new(&listener),
            is_connected: listener.origin != Origin::Ours
                && listener.style == Style::Datagram
                && socket::peer_address(&listener).is_ok(),
            listener,
            way,
            turn: 0,
            rests_until: None,
            waits_for_token: false,
            program: None,
            guard: Guard::default(),
            discarding: None,
            woken_for_nothing: 0,
            was_executed: true,
            is_kept: false,
            is_shut: false,
            is_left: false,
            is_polled: false,
            is_prepared: true,
        })
    }

    /// Whoever shares an adopted listener may have made it blocking, as service managers do with what they hand out. Then a
    /// client that is gone, or that another has taken, would make accept4(2) wait.
    ///
    /// # Errors
    /// fcntl(2) failed.
    pub(super) fn stay_nonblocking(&self) -> Result<(), Errno> {
        match self.listener.origin {
            Origin::Ours => Ok(()),
            Origin::Adopted { .. } => fd::set_nonblocking(&self.listener, true),
        }
    }

    /// Whether a thread is about to throw the first datagram away, which is the one of this stamp.
    pub(crate) fn is_discarding(&self, stamp: Option<Duration>) -> bool {
        let discarding = self.discarding.as_ref();
        discarding.is_some_and(|it| it.stamp == stamp && !it.thread.is_finished())
    }

    /// Something else is served at it. A program that has it keeps it until it ends.
    ///
    /// # Errors
    /// epoll_ctl(2) failed.
    pub(crate) fn change(&mut self, poll: &Poll, served: &Served) -> Result<(), Errno> {
        // Other limits may let somebody in at once.
        self.rests_until = None;
        let way = Way::of(&self.listener, served);
        if way == self.way {
            return Ok(());
        }
        self.ignore(poll)?;
        self.way = way;
        self.guard = Guard::default();
        self.is_prepared = false;
        Ok(())
    }

    /// Whether the service manager keeps it for the next skd.
    pub(crate) fn is_stored(&self) -> bool {
        self.listener.name_for_successor(self.is_kept) == STORED_AS
    }

    /// Whether somebody is about to connect who is not in the backlog yet, as far as the kernel tells.
    pub(crate) fn has_handshakes(&self) -> bool {
        let listener = &self.listener;
        let is_asked = self.way == Way::Accept && listener.style == Style::Stream && !self.is_left;
        let port = listener.place.inet_port().filter(|_| is_asked);
        port.is_some_and(|port| sockdiag::has_handshakes(listener, port).unwrap_or(false))
    }

    pub(crate) fn is_polled(&self) -> bool {
        self.is_polled
    }

    /// Does not poll it any more.
    ///
    /// # Errors
    /// epoll_ctl(2) failed, and it is polled as before.
    pub(crate) fn ignore(&mut self, poll: &Poll) -> Result<(), Errno> {
        if self.is_polled {
            poll.remove(&self.listener)?;
            self.is_polled = false;
        }
        Ok(())
    }

    /// A FIFO whose writers have gone is ready for ever, with nothing to read; only what comes is news.
    fn watch(&self) -> Watch {
        match self.listener.style {
            Style::Readable => Watch::News,
            Style::Stream | Style::Datagram | Style::SeqPacket => Watch::Shared,
        }
    }

    /// Polls the listener no more if it is not to be served now: a full service, a rest and a running program leave
    /// clients and datagrams where they are. Returns whether it is to be polled again.
    ///
    /// # Errors
    /// epoll_ctl(2) failed.
    pub(crate) fn settle(
        &mut self,
        poll: &Poll,
        is_full: bool,
        now: Instant,
    ) -> Result<bool, Errno> {
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
            self.waits_for_token = false;
        }
        let is_free = self.rests_until.is_none() && self.program.is_none();
        let is_served = is_free && !is_full && !self.is_left;
        if !is_served {
            self.ignore(poll)?;
        }
        Ok(is_served && !self.is_polled)
    }

    /// Polls it from now on.
    ///
    /// # Errors
    /// epoll_ctl(2) or fcntl(2) failed.
    pub(crate) fn heed(&mut self, poll: &Poll, token: u64) -> Result<(), Errno> {
        if !std::mem::replace(&mut self.is_prepared, true) {
            self.way.prepare(&self.listener)?;
        }
        poll.add(&self.listener, token, self.watch())?;
        self.is_polled = true;
        Ok(())
    }
}
