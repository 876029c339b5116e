//! From a datagram that waits to a running program, and what becomes of one that nobody reads.

use crate::listen::accept::{self, Waiting};
use crate::model::address::Place;
use crate::model::event::{Event, Trouble};
use crate::model::state::Stage;
use crate::serve::guard::Step;
use crate::serve::listening::{Discarding, Listening};
use crate::serve::starter::Telling;
use crate::serve::{REST, Server, facts};
use crate::sys::errno::Errno;
use crate::sys::{aside, datagram, fd};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A datagram socket that was ready so often in a row without a datagram rests.
const WOKEN: u32 = 16;
const LONGEST_REST: Duration = Duration::from_secs(2);

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
        // Only where the stamp does not tell it from the one before are those of one stamp counted.
        let is_inet = matches!(listening.listener.place, Place::Inet(_));
        let remaining = match is_inet && listening.guard.knows(waiting.stamp) {
            true => accept::count_of_first_stamp(&listening.listener).ok(),
            false => None,
        };
        match listening.guard.waiting(waiting.stamp, remaining, now) {
            Step::Start => self.launch_datagram(place, &waiting),
            Step::WaitUntil(until) => listening.rests_until = Some(until),
            // A second thread would throw the next one away.
            Step::Discard if listening.is_discarding(waiting.stamp) => {
                listening.rests_until = Some(now + REST);
            }
            Step::Discard => self.discard(place, &waiting),
        }
    }

    fn launch_datagram(&mut self, place: usize, waiting: &Waiting) {
        if !self.has_slot(place) {
            return;
        }
        let begun = Instant::now();
        let served = self.entrances.served(place);
        let (Some(listening), Some(served)) = (self.listeners.get_mut(place), served) else {
            return;
        };
        let listener = &listening.listener;
        // Another program may have changed it: it belongs to the socket, not to the descriptor.
        if let Err(errno) = fd::set_nonblocking(listener, false) {
            self.warn(Trouble::Look, Some(place), errno.to_string());
            return self.rest(place, REST);
        }
        let handing = served.handing_whole(served.service.stderr_to_client);
        let what = (listener.as_fd(), handing, None);
        let started = self.starter.start(&self.poll, &served, what, |strings| {
            facts::of_datagram(waiting, listener, &served.service.proto, strings);
            if handing.third {
                facts::of_passed(listener, strings);
            }
            Telling::Besides
        });
        let pid = match started {
            Ok(pid) => pid,
            Err(errno) => {
                let prog = self.entrances.quoted_prog(place);
                let text = format!("unable to start {prog}: {errno}, leaving the datagram");
                self.warn(Trouble::Process, Some(place), text);
                return self.rest(place, REST);
            }
        };
        if listening.guard.is_fresh() {
            self.tallies.accept(place);
        }
        self.notices.changed();
        listening.guard.started();
        listening.program = Some(pid);
        listening.was_executed = true;
        self.has_had_turn(place);
        let now = Instant::now();
        self.tallies
            .start(place, now.saturating_duration_since(begun));
        self.adopt_child(place, None, pid, Stage::Running);
        let peer = waiting.sender.as_ref().map(facts::shown);
        if let Some(listener) = self.entrances.label(place) {
            let event = Event::Datagram {
                listener,
                peer,
                pid,
            };
            self.log.tell(&event, now);
        }
    }

    /// Throws the first datagram away. What a sender on this machine passed along with it is let go of then, which may
    /// take as long as the sender likes: for a unix socket a thread waits for that.
    fn discard(&mut self, place: usize, waiting: &Waiting) {
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let starts = listening.guard.starts();
        let discarded = match &listening.listener.place {
            Place::Unix(_) => discard_aside(listening, waiting.stamp),
            Place::Inet(_) | Place::Vsock { .. } | Place::Readable { .. } => {
                datagram::discard(&listening.listener)
            }
        };
        let did = if listening.was_executed {
            "left it unread"
        } else {
            if discarded.is_ok() {
                self.tallies.fail(place);
            }
            "could not be run"
        };
        let prog = self.entrances.quoted_prog(place);
        let sender = waiting.sender.as_ref();
        let from = sender.map_or(String::new(), |place| {
            format!(" from {}", facts::shown(place))
        });
        let what = format!("a datagram of {} bytes{from}", waiting.len);
        let text = match discarded {
            Ok(()) => format!("{prog} {did} {starts} times: discarding {what}"),
            Err(errno) => format!("unable to discard {what}: {errno}"),
        };
        self.warn(Trouble::Discard, Some(place), text);
    }

    /// Throws the first datagram away, with which descriptors came.
    pub(super) fn discard_aside(&mut self, place: usize) {
        let listening = self.listeners.get_mut(place);
        if let Some(Err(errno)) = listening.map(|it| discard_aside(it, None)) {
            self.warn(Trouble::Look, Some(place), errno.to_string());
        }
    }

    /// Now and then epoll wakes us for nothing; if it does so again and again, the listener rests, and each time
    /// longer.
    fn rest_if_woken_again(&mut self, place: usize, now: Instant) {
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        listening.woken_for_nothing = (listening.woken_for_nothing + 1).min(WOKEN + 6);
        if let Some(again) = listening.woken_for_nothing.checked_sub(WOKEN) {
            listening.rests_until = Some(now + (REST * 2u32.pow(again)).min(LONGEST_REST));
            if again == 0 {
                let text = "it is ready, but has nothing to read";
                self.warn(Trouble::Look, Some(place), text.into());
            }
        }
    }
}

/// In a thread, which is given a moment.
fn discard_aside(listening: &mut Listening, stamp: Option<Duration>) -> Result<(), Errno> {
    listening.rests_until = Some(Instant::now() + REST);
    let thread = aside::discard(fd::duplicate(&listening.listener)?)?;
    listening.discarding = thread.map(|thread| Discarding { stamp, thread });
    Ok(())
}
