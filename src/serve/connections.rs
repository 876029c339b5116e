//! From a connection that waits to a running program.

use crate::listen::accept::{self, Arrival, Taken};
use crate::model::event::{Event, Trouble};
use crate::model::peer::{Peer, Source};
use crate::serve::children::Child;
use crate::serve::{BATCH, PATIENCE, REST, Server, facts, index};
use crate::sys::errno::Errno;
use crate::sys::socket;
use std::os::fd::AsFd;
use std::time::Instant;

/// What came of trying to start a program.
enum Started {
    Pid(i32),
    /// Every spawn slot is in use.
    NoSlot,
    NoProcess(Errno),
}

impl Server {
    /// Takes the connections that wait at a listener, as far as there are slots and the limit allows.
    pub(super) fn serve_connections(&mut self, place: usize) {
        for _ in 0..BATCH {
            if self.is_full() {
                return;
            }
            // Only with a slot in hand is a client taken out of the backlog.
            if !self.spawner.has_vacancy(PATIENCE) {
                return self.rest(place, PATIENCE);
            }
            let Some(listening) = self.listeners.get(place) else {
                return;
            };
            match accept::accept(&listening.listener) {
                Taken::Arrival(arrival) => {
                    if !self.launch(place, &arrival) {
                        return self.rest(place, REST);
                    }
                }
                Taken::Gone => {}
                Taken::Nothing => return,
                Taken::Trouble(errno) => {
                    self.warn(Trouble::Accept, Some(place), errno.to_string());
                    return self.rest(place, REST);
                }
            }
        }
    }

    /// Starts PROG for a connection. Returns whether there was a process to be had; the connection is closed in any
    /// case, the child having its own.
    fn launch(&mut self, place: usize, arrival: &Arrival) -> bool {
        let Some(listening) = self.listeners.get(place) else {
            return true;
        };
        self.accepted = self.accepted.saturating_add(1);
        let source = Source::of(&arrival.peer);
        let number = self.sources.enter(source);
        if self.service.nodelay && matches!(arrival.peer, Peer::Inet(_)) {
            // It fails only for a client that has gone already.
            let _ = socket::set_nodelay(&arrival.conn);
        }
        let started = match self.spawner.vacancy() {
            None => Started::NoSlot,
            Some(mut vacancy) => {
                let proto = &self.service.proto;
                facts::of_connection(
                    arrival,
                    &listening.listener.place,
                    number,
                    proto,
                    vacancy.strings(),
                );
                match vacancy.spawn(
                    &self.program,
                    arrival.conn.as_fd(),
                    self.service.stderr_to_client,
                ) {
                    Ok(pid) => Started::Pid(pid),
                    Err(errno) => Started::NoProcess(errno),
                }
            }
        };
        let pid = match started {
            Started::Pid(pid) => pid,
            Started::NoSlot => return self.no_process(place, source, Errno::AGAIN),
            Started::NoProcess(errno) => return self.no_process(place, source, errno),
        };
        let (now, peer) = (Instant::now(), arrival.peer);
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
                    peer: &peer,
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
        let prog = self.prog();
        self.warn(
            Trouble::Process,
            Some(place),
            format!("unable to start {prog}: {errno}, closing the connection"),
        );
        false
    }
}
