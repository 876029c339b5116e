//! From a datagram that waits to a running program, and what becomes of one that nobody reads.

use crate::listen::accept::{self, Waiting};
use crate::model::event::{Event, Trouble};
use crate::serve::children::Child;
use crate::serve::guard::Step;
use crate::serve::{BATCH, PATIENCE, REST, Server, facts, index};
use crate::sys::fd;
use std::os::fd::AsFd;
use std::time::Instant;

impl Server {
    /// Looks at the first datagram and starts PROG for it, unless it must wait or has been left unread too often.
    pub(super) fn serve_datagram(&mut self, place: usize) {
        if self.is_full() {
            return;
        }
        let now = Instant::now();
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let waiting = match accept::look(&listening.listener) {
            Ok(Some(waiting)) => waiting,
            // What epoll saw was no datagram: one with a wrong checksum, or an error that stays.
            Ok(None) => return self.rest_if_woken_again(place, now),
            Err(errno) => {
                self.warn(Trouble::Look, Some(place), errno.to_string());
                return self.rest(place, REST);
            }
        };
        listening.woken_for_nothing = 0;
        match listening.guard.waiting(waiting.stamp, now) {
            Step::Start => self.launch_datagram(place, &waiting),
            Step::WaitUntil(until) => listening.rests_until = Some(until),
            Step::Discard => self.discard(place),
        }
    }

    fn launch_datagram(&mut self, place: usize, waiting: &Waiting) {
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let listener = &listening.listener;
        // Another program may have changed it: it belongs to the socket, not to the descriptor.
        if let Err(errno) = fd::set_nonblocking(listener, false) {
            self.warn(Trouble::Look, Some(place), errno.to_string());
            return self.rest(place, REST);
        }
        if !self.spawner.has_vacancy(PATIENCE) {
            return self.rest(place, PATIENCE);
        }
        let Some(mut vacancy) = self.spawner.vacancy() else {
            return self.rest(place, PATIENCE);
        };
        facts::of_datagram(waiting, listener, &self.service.proto, vacancy.strings());
        let pid = match vacancy.spawn(
            &self.program,
            listener.as_fd(),
            self.service.stderr_to_client,
        ) {
            Ok(pid) => pid,
            Err(errno) => {
                let prog = self.prog();
                let text = format!("unable to start {prog}: {errno}, leaving the datagram");
                self.warn(Trouble::Process, Some(place), text);
                return self.rest(place, REST);
            }
        };
        listening.guard.started();
        listening.program = Some(pid);
        self.accepted = self.accepted.saturating_add(1);
        let now = Instant::now();
        self.children.insert(
            pid,
            Child {
                listener: index(place),
                peer: None,
                since: now,
            },
        );
        let peer = waiting.sender.as_ref().map(facts::shown);
        self.log.tell(
            &Event::Datagram {
                listener: &listener.label,
                peer,
                pid,
            },
            now,
        );
    }

    fn discard(&mut self, place: usize) {
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let starts = listening.guard.starts();
        let discarded = accept::discard(&listening.listener);
        let prog = self.prog();
        let text = match discarded {
            Ok(Some(waiting)) => {
                let from = waiting.sender.as_ref().map_or(String::new(), |place| {
                    format!(" from {}", facts::shown(place))
                });
                let len = waiting.len;
                format!(
                    "{prog} left it unread {starts} times: discarding a datagram of {len} bytes{from}"
                )
            }
            Ok(None) => return,
            Err(errno) => format!("unable to discard a datagram: {errno}"),
        };
        self.warn(Trouble::Discard, Some(place), text);
    }

    /// Now and then epoll wakes us for nothing; if it does so again and again, the listener rests.
    fn rest_if_woken_again(&mut self, place: usize, now: Instant) {
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.woken_for_nothing = listening.woken_for_nothing.saturating_add(1);
            if listening.woken_for_nothing > BATCH {
                listening.rests_until = Some(now + REST);
            }
        }
    }
}
