//! A turn of the loop: from what is ready to whoever deals with it, and what is due.

use crate::model::event::Trouble;
use crate::serve::listening::Way;
use crate::serve::stopping::Stopping;
use crate::serve::{LOOKUP, REAPER, REST, SIGNALS, Server, VERDICTS};
use crate::serve::{farewell, internal, pending, scrapes};
use crate::sys::errno::Errno;
use crate::sys::poll;
use std::time::Instant;

impl Server {
    /// Serves until there is a reason to end.
    pub(crate) fn run(mut self) {
        // Children that are not ours may have ended before anyone heard of it.
        self.sweep();
        self.poll_listeners();
        self.settle_scrapes(Instant::now());
        // Idleness begins now.
        self.is_over(Instant::now());
        while !self.turn() {}
        let left = self.children.count();
        self.log.note(|| format!("stopped, children left: {left}"));
        self.end();
    }

    /// One wake-up: signals first, then each ready listener, then whatever is due. Returns whether it was the last.
    pub(super) fn turn(&mut self) -> bool {
        let timeout = self
            .due()
            .map(|due| due.saturating_duration_since(Instant::now()));
        let waited = self.poll.wait(timeout);
        if let Err(errno) = waited {
            // It would be a bug of ours; then nothing is ready but signals, and the log says so.
            let text = format!("unable to wait for events: {errno}");
            self.warn(Trouble::Other, None, text);
            let _ = poll::wait_readable(&self.signals, None, Some(REST));
        }
        // Who has come by now is heard before any time is up.
        let now = Instant::now();
        let count = waited.unwrap_or(0);
        if waited.is_err() || (0..count).any(|place| self.poll.ready(place) == Some(SIGNALS)) {
            while let Some(request) = self.signals.next() {
                if self.obey(request) {
                    return true;
                }
            }
        }
        self.serve_ready(count);
        if self.log.due().is_some_and(|due| due <= now) {
            self.log.catch_up(now);
        }
        if self.generations.due().is_some_and(|due| due <= now) {
            self.sweep();
        }
        if self.words.due().is_some_and(|due| due <= now) {
            let text = self.words.restart_logger();
            if let Some(pid) = self.words.logger() {
                self.generations.born(pid);
            }
            self.warn(Trouble::Other, None, text);
        }
        self.farewells.catch_up(&self.poll, now);
        self.end_visits(now);
        self.bind_services_again(now);
        self.end_pending(now);
        self.settle_scrapes(now);
        let status = self.status();
        self.notices
            .catch_up(now, || Some(status), &mut self.listeners);
        self.upgrade.catch_up(now);
        self.upgrade();
        if self.is_over(now) {
            return true;
        }
        self.poll_listeners();
        false
    }

    /// Whatever epoll has told of.
    fn serve_ready(&mut self, count: usize) {
        let mut in_order = Vec::new();
        let mut has_slots = true;
        for place in 0..count {
            let token = self.poll.ready(place).unwrap_or(REAPER);
            let turn = self.refuses_at_limit().then(|| self.turn_of(token));
            match turn.flatten() {
                Some(turn) => in_order.push((turn, token)),
                None => self.go_on_with(token, &mut has_slots),
            }
        }
        in_order.sort_unstable();
        for (_, token) in in_order {
            self.go_on_with(token, &mut has_slots);
        }
    }

    /// The listener of this token, if it is one of a listener.
    fn listener_of(&self, token: u64) -> Option<usize> {
        let place = usize::try_from(token).ok();
        place.filter(|place| self.listeners.places().contains(place))
    }

    /// When the listener of this token, or of the header that is awaited, has last had a place.
    fn turn_of(&self, token: u64) -> Option<u64> {
        let place = self.listener_of(token);
        let place = place.or_else(|| self.pendings.place_of(token))?;
        self.listeners.get(place).map(|listening| listening.turn)
    }

    /// `has_slots` is false when a header has waited for a slot in vain in this turn, as the next one would.
    fn go_on_with(&mut self, token: u64, has_slots: &mut bool) {
        if let Some(place) = self.listener_of(token) {
            return self.serve(place);
        }
        match token {
            pending::TOKENS..=pending::LAST_TOKEN => {
                // It is told of again as long as it is ready.
                if *has_slots && !self.is_for_all_to_ask() {
                    *has_slots = self.hear_header(token);
                }
            }
            _ => self.hear(token),
        }
    }

    /// Clients are told that there is no place: their listeners are polled when the others are not.
    fn refuses_at_limit(&self) -> bool {
        self.max_connections.is_some() && self.gate.has_refusal()
    }

    /// A place has become free in this turn, and listeners that are not polled at the limit have not been asked yet
    /// whether they wait for it.
    fn is_for_all_to_ask(&self) -> bool {
        let waits = |way: Way| matches!(way, Way::Datagram | Way::Lend);
        self.was_full
            && !self.is_full()
            && self.refuses_at_limit()
            && self.listeners.all().any(|listening| waits(listening.way))
    }

    /// When something is to be done without anyone asking.
    fn due(&self) -> Option<Instant> {
        let rests = self
            .listeners
            .all()
            .filter_map(|listening| listening.rests_until);
        let others = [
            self.log.due(),
            self.words.due(),
            self.generations.due(),
            self.notices.due(),
            self.stopping.as_ref().and_then(Stopping::due),
            self.idleness.due(&self.lifetime),
            self.upgrade.due(),
            self.farewells.due(),
            self.internal.due(),
            self.services_due(),
            self.scrapes.due(),
            self.pendings.due(),
        ];
        rests.chain(others.into_iter().flatten()).min()
    }

    /// Polls the listeners that are to be served now, and no others.
    pub(super) fn poll_listeners(&mut self) {
        let now = Instant::now();
        let (is_full, is_full_to_come) = (self.is_full(), self.is_full_to_come());
        if is_full && !self.was_full {
            let count = self.children.count();
            let text = || format!("the limit of --max-connections is reached, children: {count}");
            self.log.note(text);
        }
        self.was_full = is_full;
        let mut eager = Vec::new();
        for place in self.listeners.places() {
            let has_many = self.has_many_visits(place);
            let Some(listening) = self.listeners.get_mut(place) else {
                continue;
            };
            let is_full = match listening.way {
                Way::Accept if self.entrances.builtin(place).is_some() => has_many,
                Way::Accept => is_full_to_come,
                Way::Datagram | Way::Lend => is_full,
                Way::Answer => false,
            };
            let is_full = is_full || self.entrances.is_full(place);
            match listening.settle(&self.poll, is_full, now) {
                Ok(false) => {}
                Ok(true) => eager.push((listening.turn, place)),
                Err(errno) => self.cannot_poll(place, errno, now),
            }
        }
        // epoll tells of them in this order: whoever was served last must not have what is free again before the others.
        eager.sort_unstable();
        for (_, place) in eager {
            let listening = self.listeners.get_mut(place);
            let heeded = listening.map(|it| it.heed(&self.poll, place as u64));
            if let Some(Err(errno)) = heeded {
                self.cannot_poll(place, errno, now);
            }
        }
    }

    /// Somebody or something has been taken out of this listener: the others are first now.
    pub(super) fn has_had_turn(&mut self, place: usize) {
        self.turns += 1;
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.turn = self.turns;
        }
    }

    fn cannot_poll(&mut self, place: usize, errno: Errno, now: Instant) {
        if let Some(listening) = self.listeners.get_mut(place) {
            listening.rests_until = Some(now + REST);
        }
        self.warn(Trouble::Look, Some(place), errno.to_string());
    }

    pub(super) fn serve(&mut self, place: usize) {
        let Some(listening) = self.listeners.get(place) else {
            return;
        };
        if !listening.is_polled() || listening.program.is_some() || listening.is_left {
            return;
        }
        let way = listening.way;
        if let Some(until) = self.entrances.rests_until(place, Instant::now()) {
            return self.rest_until(place, until);
        }
        match way {
            Way::Accept if self.is_for_all_to_ask() => {}
            Way::Accept => self.serve_connections(place),
            Way::Datagram => self.serve_datagram(place),
            Way::Answer => self.answer_datagrams(place),
            Way::Lend => self.serve_lent(place),
        }
    }

    /// Whoever is no listener has something to say.
    fn hear(&mut self, token: u64) {
        match token {
            REAPER => self.hear_reaper(),
            VERDICTS => self.hear_verdicts(),
            LOOKUP => self.hear_lookup(),
            internal::TOKENS..=internal::LAST_TOKEN => self.go_on_with_visit(token),
            internal::TOLD..=internal::LAST_TOLD => self.go_on_telling(token),
            farewell::TOKENS..=farewell::LAST_TOKEN => self.farewells.go_on(&self.poll, token),
            scrapes::ASKING..=scrapes::LAST_ASKING => self.hear_scrape(token),
            scrapes::ANSWERED..=scrapes::LAST_ANSWERED => self.answer_scrape(token),
            scrapes::LISTENERS..=scrapes::LAST_LISTENER => self.serve_scrapes(token),
            _ => {}
        }
    }
}
