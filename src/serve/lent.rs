//! From a listener that is ready to a program that has it to itself, until it ends.

use crate::listen::Listener;
use crate::model::event::{Event, Trouble};
use crate::model::state::Stage;
use crate::serve::guard::{Guard, Step};
use crate::serve::listening::Way;
use crate::serve::starter::Telling;
use crate::serve::{REST, Server, facts};
use crate::sys::errno::Errno;
use crate::sys::fd;
use crate::sys::poll::{Poll, Watch, can_read};
use crate::sys::queue::Queue;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What a program has done with the listener that it had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Deed {
    Taken,
    /// Neither a client nor a message nor a byte.
    Nothing,
    /// More came than can be told from what was taken.
    Unknown,
}

/// A program may so often in a row have done what cannot be known before it is taken for one that takes nothing.
const DOUBTS: u32 = 16;

/// So much later than it counts a client the kernel may tell of it: in between it goes on with the client's handshake.
const MOMENT: Duration = Duration::from_micros(50);

/// What waited in a listener when a program got it, and whether more has come since.
#[derive(Debug)]
pub(crate) struct Lent {
    queue: Queue,
    before: Option<u64>,
    has_news: bool,
    /// How often in a row the deed was unknown.
    doubts: u32,
    /// The program that had it last took nothing: the next is started for the same.
    pub(crate) is_again: bool,
    /// Another skd has taken our place since: who came just then has not been heard of.
    is_resumed: bool,
}

impl Lent {
    pub(crate) fn new(listener: &Listener) -> Self {
        Self {
            queue: Queue::of(listener),
            before: None,
            has_news: false,
            doubts: 0,
            is_again: false,
            is_resumed: false,
        }
    }

    /// What waited when the program got the listener.
    pub(crate) fn waited(&self) -> Option<u64> {
        self.before
    }

    /// Whether more has come since.
    pub(crate) fn has_news(&self) -> bool {
        self.has_news
    }

    /// The same as another skd knew it.
    pub(crate) fn resume(&mut self, waited: Option<u64>, has_news: bool) {
        (self.before, self.has_news) = (waited, has_news);
    }

    /// What was done, if so much waits now.
    fn deed(&self, after: Option<u64>) -> Deed {
        let (Some(before), Some(after)) = (self.before, after) else {
            return if self.has_news || self.is_resumed {
                Deed::Unknown
            } else {
                Deed::Nothing
            };
        };
        // What has come since is one client or message at least.
        let least = before.saturating_add(u64::from(self.has_news && self.queue.counts_items()));
        match after < least {
            true => Deed::Taken,
            false if self.has_news || self.is_resumed => Deed::Unknown,
            false => Deed::Nothing,
        }
    }
}

/// What has come to the listeners that programs have, for which the loop itself does not wake up.
#[derive(Default)]
pub(crate) struct News(Option<Poll>);

impl News {
    /// From here on what comes to this listener is news. That it cannot be watched is no trouble.
    fn watch(&mut self, listener: &Listener, token: u64) -> Result<(), Errno> {
        if self.0.is_none() {
            self.0 = Some(Poll::new()?);
        }
        match &self.0 {
            Some(poll) => poll.add(listener, token, Watch::News),
            None => Ok(()),
        }
    }

    pub(super) fn forget(&mut self, listener: &Listener) {
        // It fails for one that could not be watched.
        let _ = self.0.as_ref().map(|poll| poll.remove(listener));
    }

    /// The listeners to which something has come since the last call.
    fn each(&mut self, mut tell: impl FnMut(usize)) {
        let Some(poll) = &mut self.0 else { return };
        while let Ok(count @ 1..) = poll.wait(Some(Duration::ZERO)) {
            for place in (0..count).filter_map(|place| poll.ready(place)) {
                tell(usize::try_from(place).unwrap_or(usize::MAX));
            }
        }
    }
}

impl Server {
    /// Starts PROG with the listener, unless it was left as it was too often.
    pub(super) fn serve_lent(&mut self, place: usize) {
        if self.is_full() || !self.has_slot(place) {
            return;
        }
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let queue = listening.lent.queue;
        if queue == Queue::Fifo && queue.len(&listening.listener) == Some(0) {
            // Its writers have gone, and there is nothing to read.
            return;
        }
        match listening.guard.waiting(None, None, Instant::now()) {
            Step::WaitUntil(until) => listening.rests_until = Some(until),
            Step::Start | Step::Discard => self.lend(place),
        }
    }

    fn lend(&mut self, place: usize) {
        let begun = Instant::now();
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let listener = &listening.listener;
        // Another program may have changed it: it belongs to the file, not to the descriptor.
        if let Err(errno) = fd::set_nonblocking(listener, false) {
            self.warn(Trouble::Look, Some(place), errno.to_string());
            return self.rest(place, REST);
        }
        self.look_before(place);
        let (Some(listening), Some(served)) =
            (self.listeners.get(place), self.entrances.served(place))
        else {
            return;
        };
        let listener = &listening.listener;
        let handing = served.handing_whole(false);
        let what = (listener.as_fd(), handing, None);
        let started = self.starter.start(&self.poll, &served, what, |strings| {
            facts::of_listener(listener, &served.service.proto, strings);
            if handing.third {
                facts::of_passed(listener, strings);
            }
            Telling::Besides
        });
        let pid = match started {
            Ok(pid) => pid,
            Err(errno) => {
                let prog = self.entrances.quoted_prog(place);
                let text = format!("unable to start {prog}: {errno}, leaving who waits");
                self.warn(Trouble::Process, Some(place), text);
                return self.rest(place, REST);
            }
        };
        self.has_lent(place, pid, begun);
    }

    /// Remembers what waits. What comes from now on is news; who comes just now may be counted as both, so that in doubt
    /// a program is started once too often, and not too late.
    fn look_before(&mut self, place: usize) {
        let Some(listening) = self.listeners.get(place) else {
            return;
        };
        self.news.forget(&listening.listener);
        // Without it what cannot be known is taken for nothing.
        let _ = self.news.watch(&listening.listener, place as u64);
        self.hear_news();
        if let Some(listening) = self.listeners.get_mut(place) {
            let lent = &mut listening.lent;
            (lent.has_news, lent.is_resumed) = (false, false);
            lent.before = lent.queue.len(&listening.listener);
        }
    }

    fn has_lent(&mut self, place: usize, pid: i32, begun: Instant) {
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        if !listening.lent.is_again {
            self.tallies.accept(place);
        }
        listening.guard.started();
        listening.program = Some(pid);
        listening.was_executed = true;
        self.has_had_turn(place);
        let now = Instant::now();
        self.tallies
            .start(place, now.saturating_duration_since(begun));
        self.adopt_child(place, None, pid, Stage::Running);
        self.notices.changed();
        let count = self.count();
        if let Some(listener) = self.entrances.label(place) {
            let event = Event::Accept {
                listener,
                peer: None,
                pid,
                count,
            };
            self.log.tell(&event, now);
        }
    }

    /// A program has had the listener since before we were there.
    pub(super) fn resume_lent(&mut self, place: usize, pid: i32) {
        self.look_before(place);
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.program = Some(pid);
            listening.lent.is_resumed = true;
        }
    }

    pub(super) fn hear_news(&mut self) {
        let listeners = &mut self.listeners;
        self.news.each(|place| {
            if let Some(listening) = listeners.get_mut(place) {
                listening.lent.has_news = true;
            }
        });
    }

    /// Whether all who wait seem to have waited before.
    fn seems_left(&self, place: usize, after: Option<u64>) -> bool {
        let listening = self.listeners.get(place);
        listening.is_some_and(|it| {
            it.was_executed && after > Some(0) && it.lent.deed(after) == Deed::Nothing
        })
    }

    /// The program that had the listener has ended. One that has taken nothing is started again, if somebody waits, with
    /// growing pauses.
    pub(super) fn take_back(&mut self, place: usize, now: Instant) {
        self.mend(place);
        let Some(listening) = self.listeners.get(place) else {
            return;
        };
        let after = listening.lent.queue.len(&listening.listener);
        // Behind the count: whoever is counted has been heard of, and is not taken for one who has waited all the time.
        self.hear_news();
        let begun = Instant::now();
        while self.seems_left(place, after) && begun.elapsed() < MOMENT {
            self.hear_news();
        }
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        self.news.forget(&listening.listener);
        listening.program = None;
        let lent = &mut listening.lent;
        let deed = match listening.was_executed {
            // Somebody waited, and nobody does any more.
            true if after.is_none() && !can_read(&listening.listener) => Deed::Taken,
            true => lent.deed(after),
            false => Deed::Nothing,
        };
        lent.doubts = if deed == Deed::Unknown {
            lent.doubts + 1
        } else {
            0
        };
        lent.is_again = listening.way == Way::Lend && deed == Deed::Nothing;
        match deed {
            Deed::Taken if listening.way == Way::Lend => listening.guard = Guard::default(),
            Deed::Unknown if listening.way == Way::Lend && lent.doubts <= DOUBTS => {}
            Deed::Taken | Deed::Unknown | Deed::Nothing => listening.guard.ended(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_before_or_no_more_although_somebody_came_is_taken() {
        use Deed::{Nothing, Taken, Unknown};
        let table = [
            (Queue::Tcp, Some(1), false, Some(0), Taken),
            (Queue::Tcp, Some(1), false, Some(1), Nothing),
            (Queue::Tcp, Some(3), false, Some(2), Taken),
            (Queue::Tcp, Some(1), true, Some(1), Taken),
            (Queue::Tcp, Some(1), true, Some(2), Unknown),
            (Queue::Tcp, Some(1), true, Some(0), Taken),
            (Queue::Fifo, Some(4), true, Some(4), Unknown),
            (Queue::Fifo, Some(4), true, Some(3), Taken),
            (Queue::Fifo, Some(4), false, Some(4), Nothing),
            (Queue::Unknown, None, false, None, Nothing),
            (Queue::Unknown, None, true, None, Unknown),
        ];
        for (queue, before, has_news, after, expected) in table {
            let lent = Lent {
                queue,
                before,
                has_news,
                doubts: 0,
                is_again: false,
                is_resumed: false,
            };
            assert_eq!(lent.deed(after), expected, "{lent:?} {after:?}");
            let lent = Lent {
                is_resumed: true,
                ..lent
            };
            let expected = match expected {
                Nothing => Unknown,
                known => known,
            };
            assert_eq!(lent.deed(after), expected, "{lent:?} {after:?}");
        }
    }
}
