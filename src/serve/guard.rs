//! When a program may be started again for a datagram that it left unread; pure, given the time.

use std::time::{Duration, Instant};

/// So often a program is started for one datagram.
const STARTS: u32 = 5;
/// The pauses between those starts.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// What is known of the datagram for which a program was last started. A datagram is told from an equal one by the
/// time at which the kernel received it. Several have one stamp if a sender had the kernel cut them out of one send;
/// then it tells how many of the stamp are left.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    stamp: Option<Duration>,
    /// How many of this stamp there were when they were last counted.
    remaining: Option<usize>,
    starts: u32,
    rests_until: Option<Instant>,
}

/// What to do about the first datagram that waits.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Start,
    WaitUntil(Instant),
    Discard,
}

impl Guard {
    /// Whether the stamp is that of the datagram before.
    pub(crate) fn knows(&self, stamp: Option<Duration>) -> bool {
        stamp.is_some() && stamp == self.stamp
    }

    /// A datagram of this stamp waits; `remaining` is how many of the stamp there are, if it is known already. If the
    /// kernel did not stamp it, it cannot be told from the one before, and is never thrown away.
    pub(crate) fn waiting(
        &mut self,
        stamp: Option<Duration>,
        remaining: Option<usize>,
        now: Instant,
    ) -> Step {
        let are_fewer = remaining < self.remaining && remaining.is_some();
        if (stamp.is_some() && stamp != self.stamp) || are_fewer {
            *self = Self {
                stamp,
                ..Self::default()
            };
        }
        self.remaining = remaining;
        match self.rests_until {
            _ if self.starts >= STARTS && stamp.is_some() => Step::Discard,
            Some(until) if now < until => Step::WaitUntil(until),
            _ => Step::Start,
        }
    }

    /// A program was started for it.
    pub(crate) fn started(&mut self) {
        self.starts = self.starts.saturating_add(1);
    }

    /// It has not become a program, for want of a process: that is no start, and the datagram waits.
    pub(crate) fn has_not_started(&mut self) {
        self.starts = self.starts.saturating_sub(1);
    }

    /// Whether none has been started yet, nor was to be.
    pub(crate) fn is_fresh(&self) -> bool {
        self.starts == 0 && self.rests_until.is_none()
    }

    /// That program has ended.
    pub(crate) fn ended(&mut self, now: Instant) {
        let last = PAUSES.last().copied();
        let place = usize::try_from(self.starts.saturating_sub(1)).ok();
        self.rests_until = place
            .and_then(|place| PAUSES.get(place).copied().or(last))
            .map(|pause| now + pause);
    }

    /// The stamp of the datagram, how often a program was started for it, and until when none is, for another skd to go on
    /// with.
    pub(crate) fn unread(&self) -> (Option<Duration>, u32, Option<Instant>) {
        (self.stamp, self.starts, self.rests_until)
    }

    /// The same as another skd knew it.
    pub(crate) fn resume(
        &mut self,
        (stamp, starts): (Option<Duration>, u32),
        rests_until: Option<Instant>,
    ) {
        (self.stamp, self.starts) = (stamp, starts);
        self.rests_until = rests_until;
    }

    /// How often a program was started for it.
    pub(crate) fn starts(&self) -> u32 {
        self.starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(number: u64) -> Option<Duration> {
        Some(Duration::from_nanos(number))
    }

    /// Starts for the datagram until told otherwise; returns the pauses and the last step.
    fn run(guard: &mut Guard, stamp: Option<Duration>, most: usize) -> (Vec<Duration>, Step) {
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        loop {
            match guard.waiting(stamp, Some(1), now) {
                Step::Start if pauses.len() == most => return (pauses, Step::Start),
                Step::Start => {
                    guard.started();
                    guard.ended(now);
                }
                Step::WaitUntil(until) => {
                    pauses.push(until - now);
                    now = until;
                }
                Step::Discard => return (pauses, Step::Discard),
            }
        }
    }

    #[test]
    fn the_same_datagram_starts_five_programs_with_growing_pauses() {
        let mut guard = Guard::default();
        assert_eq!(
            run(&mut guard, stamp(1), 99),
            (PAUSES.to_vec(), Step::Discard)
        );
        assert!(PAUSES.is_sorted() && PAUSES.iter().all(|pause| *pause <= Duration::from_secs(2)));
        assert_eq!(guard.starts(), 5);
    }

    #[test]
    fn another_datagram_begins_anew_at_once() {
        let mut guard = Guard::default();
        assert_eq!(run(&mut guard, stamp(1), 3).0.len(), 3);
        assert_eq!(guard.waiting(stamp(2), None, Instant::now()), Step::Start);
        assert_eq!(
            run(&mut guard, stamp(2), 99),
            (PAUSES.to_vec(), Step::Discard)
        );
        assert_eq!(guard.waiting(stamp(1), None, Instant::now()), Step::Start);
    }

    /// One send that the kernel cut into three: each is read, and none is taken for the one before.
    #[test]
    fn datagrams_of_one_stamp_are_told_apart_by_how_many_are_left() {
        let mut guard = Guard::default();
        let now = Instant::now();
        for (remaining, starts) in [
            (None, 1),
            (Some(20), 2),
            (Some(19), 1),
            (Some(18), 1),
            (Some(18), 2),
        ] {
            let step = guard.waiting(stamp(1), remaining, now + Duration::from_secs(60));
            assert_eq!(step, Step::Start);
            guard.started();
            guard.ended(now);
            assert_eq!(guard.starts(), starts, "{remaining:?}");
        }
    }

    #[test]
    fn a_datagram_without_a_stamp_is_never_discarded() {
        let (pauses, step) = run(&mut Guard::default(), None, 20);
        assert_eq!((pauses.len(), step), (20, Step::Start));
        assert_eq!(pauses.last(), PAUSES.last());
    }
}
