//! A listener while it is served: whether it is polled, and why not.

use crate::listen::Listener;
use crate::model::address::Style;
use crate::serve::guard::Guard;
use crate::sys::errno::Errno;
use crate::sys::fd;
use crate::sys::poll::Poll;
use std::time::Instant;

/// A listener and what becomes of it over time.
pub(crate) struct Listening {
    pub(crate) listener: Listener,
    /// Not looked at before this.
    pub(crate) rests_until: Option<Instant>,
    /// The program that has a datagram socket now; until it ends nobody else looks at it.
    pub(crate) program: Option<i32>,
    pub(crate) guard: Guard,
    /// How often in a row a datagram socket was ready and had nothing.
    pub(crate) woken_for_nothing: u32,
    /// Whether the last program for a datagram could be executed.
    pub(crate) was_executed: bool,
    /// Somebody keeps the socket when skd ends.
    pub(crate) is_kept: bool,
    /// It is not served any more.
    pub(crate) is_left: bool,
    is_polled: bool,
}

impl Listening {
    /// An adopted listener may be blocking, and a client that is gone again would then make accept4(2) wait. A
    /// datagram socket stays as it is: skd never reads from it in a way that waits.
    ///
    /// # Errors
    /// fcntl(2) failed.
    pub(crate) fn new(listener: Listener) -> Result<Self, Errno> {
        if listener.style != Style::Datagram {
            fd::set_nonblocking(&listener, true)?;
        }
        Ok(Self {
            listener,
            rests_until: None,
            program: None,
            guard: Guard::default(),
            woken_for_nothing: 0,
            was_executed: true,
            is_kept: false,
            is_left: false,
            is_polled: false,
        })
    }

    pub(crate) fn is_polled(&self) -> bool {
        self.is_polled
    }

    pub(crate) fn is_datagram(&self) -> bool {
        self.listener.style == Style::Datagram
    }

    /// Does not poll it any more.
    ///
    /// # Errors
    /// epoll_ctl(2) failed.
    pub(crate) fn ignore(&mut self, poll: &Poll) -> Result<(), Errno> {
        if std::mem::take(&mut self.is_polled) {
            poll.remove(&self.listener)?;
        }
        Ok(())
    }

    /// Polls the listener if it is to be served now, and not otherwise: a full service, a rest and a running program
    /// leave clients and datagrams where they are.
    ///
    /// # Errors
    /// epoll_ctl(2) failed.
    pub(crate) fn settle(
        &mut self,
        poll: &Poll,
        token: u64,
        is_full: bool,
        now: Instant,
    ) -> Result<(), Errno> {
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
        }
        let is_free = self.rests_until.is_none() && self.program.is_none();
        let is_served = is_free && !is_full && !self.is_left;
        if is_served != self.is_polled {
            if is_served {
                poll.add(&self.listener, token, true)?
            } else {
                poll.remove(&self.listener)?
            };
            self.is_polled = is_served;
        }
        Ok(())
    }
}
