//! From a connection that waits to a running program.

use crate::listen::Origin;
use crate::listen::accept::{self, Arrival, Taken};
use crate::model::event::{Event, Trouble};
use crate::model::peer::Source;
use crate::serve::children::Child;
use crate::serve::{BATCH, PATIENCE, REST, Server, facts, index};
use crate::sys::errno::Errno;
use crate::sys::spawn::Handing;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

impl Server {
    /// Takes the connections that wait at a listener, as far as there are slots and the limit allows.
    pub(super) fn serve_connections(&mut self, place: usize) {
        let mut lasting = None;
        for _ in 0..BATCH {
            if self.is_full() {
                return;
            }
            // Only when there is a slot is a client taken out of the backlog.
            if !self.has_slot(place) {
                return;
            }
            let Some(listening) = self.listeners.get(place) else {
                return;
            };
            match accept::accept(&listening.listener) {
                Taken::Arrival(arrival) => {
                    lasting = None;
                    if !self.launch(place, &arrival) {
                        return self.rest(place, REST);
                    }
                }
                Taken::Gone(errno) => lasting = Some(errno).filter(|errno| errno.may_be_for_good()),
                Taken::Nothing => return,
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

    /// Whether a spawn slot is free. If all are in use the loop waits a moment, since most children need no longer; if
    /// they stay in use, the listener rests, and each time longer.
    pub(super) fn has_slot(&mut self, place: usize) -> bool {
        let patience = if self.stuck == 0 {
            PATIENCE
        } else {
            Duration::ZERO
        };
        if self.spawner.has_vacancy(patience) {
            self.stuck = 0;
            return true;
        }
        self.rest(place, (PATIENCE * 2u32.pow(self.stuck)).min(REST));
        self.stuck = (self.stuck + 1).min(8);
        false
    }

    /// Starts PROG for a connection. Returns whether there was a process to be had; the connection is closed in any
    /// case, the child having its own.
    fn launch(&mut self, place: usize, arrival: &Arrival) -> bool {
        let Some(listening) = self.listeners.get(place) else {
            return true;
        };
        self.accepted = self.accepted.saturating_add(1);
        self.notices.changed();
        let source = Source::of(&arrival.peer);
        let number = self.sources.enter(source);
        let is_adopted = listening.listener.origin != Origin::Ours;
        // A listener of ours has passed it on. That the kernel has it was tried at start.
        let keepalive = self.service.keepalive.filter(|_| is_adopted);
        let _ = arrival.set(self.service.nodelay, keepalive);
        let started = match self.spawner.vacancy() {
            None => Err(Errno::AGAIN),
            Some(mut vacancy) => {
                let listener_place = &listening.listener.place;
                let (proto, strings) = (&self.service.proto, vacancy.strings());
                facts::of_connection(arrival, listener_place, number, proto, strings);
                let handing = Handing {
                    stdio: true,
                    stderr: self.service.stderr_to_client,
                    third: false,
                };
                vacancy.spawn(&self.program, arrival.conn.as_fd(), handing)
            }
        };
        let pid = match started {
            Ok(pid) => pid,
            Err(errno) => return self.no_process(place, source, errno),
        };
        let (now, peer) = (Instant::now(), arrival.peer);
        self.generations.born(pid);
        self.children.insert(
            pid,
            Child {
                listener: index(place),
                peer: Some(peer),
                since: now,
            },
        );
        let count = self.count();
        if let Some(listening) = self.listeners.get(place) {
            let listener = &listening.listener.label;
            self.log.tell(
                &Event::Accept {
                    listener,
                    peer: Some(&peer),
                    pid,
                    count,
                },
                now,
            );
        }
        true
    }

    fn no_process(&mut self, place: usize, source: Source, errno: Errno) -> bool {
        self.sources.leave(source);
        self.failed = self.failed.saturating_add(1);
        let prog = self.service.quoted_prog();
        self.warn(
            Trouble::Process,
            Some(place),
            format!("unable to start {prog}: {errno}, closing the connection"),
        );
        false
    }
}
