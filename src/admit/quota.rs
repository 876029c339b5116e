//! What a service of an inetd.conf(5) may start: its limits and what has been used of them; pure, given the time.

use crate::admit::rates::SourceRates;
use crate::admit::sources::Sources;
use crate::model::admission::Rate;
use crate::model::inetd::Limits;
use crate::model::peer::Source;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The span of `.MAX` and of `/PER-MINUTE`.
const MINUTE: Duration = Duration::from_secs(60);

/// The limits of one service, and how far they are reached.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    limits: Limits,
    /// Programs that run.
    running: u32,
    /// Connections whose PROXY header is awaited: each may become a program.
    awaited: u32,
    /// When the first start of this minute was, and how many there were.
    minute: Option<(Instant, u32)>,
    rates: Option<SourceRates>,
    sources: Sources,
}

impl Quota {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        let mut it = Self::default();
        it.change(limits, now);
        it
    }

    /// Goes on counting under other limits.
    pub(crate) fn change(&mut self, limits: Limits, now: Instant) {
        if limits.per_minute != self.limits.per_minute {
            let rate = limits.per_minute.map(|count| Rate {
                count,
                secs: NonZeroU32::MIN.saturating_add(59),
            });
            self.rates = rate.map(|rate| SourceRates::new(rate, now));
        }
        self.limits = limits;
    }

    /// Whether as many programs run, or may be started in this minute, as those that are awaited leave room for.
    pub(crate) fn is_full(&self) -> bool {
        let reaches = |count: u32, most: Option<NonZeroU32>| {
            let count = count.saturating_add(self.awaited);
            most.is_some_and(|most| count >= most.get())
        };
        let started = self.minute.map_or(0, |(_, starts)| starts);
        let may_start_too_many =
            self.awaited > 0 && reaches(started, self.limits.starts_per_minute);
        reaches(self.running, self.limits.at_once) || may_start_too_many
    }

    /// A PROXY header is awaited.
    pub(crate) fn await_one(&mut self) {
        self.awaited = self.awaited.saturating_add(1);
    }

    /// One is awaited no more.
    pub(crate) fn has_waited(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
    }

    /// Until when nothing is started, after as many starts as a minute may have.
    pub(crate) fn rests_until(&self, now: Instant) -> Option<Instant> {
        let (begun, starts) = self.minute?;
        let most = self.limits.starts_per_minute?;
        let until = begun + MINUTE;
        (starts >= most.get() && now < until).then_some(until)
    }

    /// Whether a connection of this source may have a program, of which it is told by `start`.
    ///
    /// # Errors
    /// The limit that keeps it out.
    pub(crate) fn admit(&mut self, source: Source, now: Instant) -> Result<(), String> {
        if let Some(most) = self.limits.per_source
            && self.sources.count(source) >= most.get()
        {
            return Err(format!("{most} at once of one source"));
        }
        if let Some(most) = self.limits.per_minute
            && let Some(rates) = &mut self.rates
            && !rates.take(source, now)
        {
            return Err(format!("{most} a minute of one source"));
        }
        Ok(())
    }

    /// A program is started; `source` is that of its connection.
    pub(crate) fn start(&mut self, source: Option<Source>, now: Instant) {
        let minute = self.minute.filter(|(begun, _)| now < *begun + MINUTE);
        let (begun, starts) = minute.unwrap_or((now, 0));
        self.minute = Some((begun, starts.saturating_add(1)));
        self.resume(source);
    }

    /// A program runs that was started before.
    pub(crate) fn resume(&mut self, source: Option<Source>) {
        self.running = self.running.saturating_add(1);
        if let Some(source) = source {
            self.sources.enter(source);
        }
    }

    /// A program has ended.
    pub(crate) fn end(&mut self, source: Option<Source>) {
        self.running = self.running.saturating_sub(1);
        if let Some(source) = source {
            self.sources.leave(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(number: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(number)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn those_whose_header_is_awaited_have_a_place_already() {
        let limits = Limits {
            at_once: some(2),
            starts_per_minute: some(3),
            ..Limits::default()
        };
        let now = Instant::now();
        let mut quota = Quota::new(limits, now);
        let start = |quota: &mut Quota| {
            quota.has_waited();
            quota.start(None, now);
        };
        quota.await_one();
        assert!(!quota.is_full());
        quota.await_one();
        assert!(quota.is_full());
        start(&mut quota);
        assert!(quota.is_full());
        quota.end(None);
        start(&mut quota);
        quota.end(None);
        assert!(!quota.is_full());
        // The third of this minute.
        quota.await_one();
        assert!(quota.is_full());
        quota.has_waited();
        assert!(!quota.is_full());
    }

    #[test]
    fn after_as_many_starts_as_a_minute_may_have_it_rests_until_that_is_over() {
        let limits = Limits {
            starts_per_minute: some(2),
            ..Limits::default()
        };
        let start = Instant::now();
        let mut quota = Quota::new(limits, start);
        let one = Some(Source::V4(1));
        assert_eq!(quota.rests_until(start), None);
        quota.start(one, start + secs(10));
        assert_eq!(quota.rests_until(start + secs(10)), None);
        quota.start(one, start + secs(69));
        let over = start + secs(70);
        assert_eq!(quota.rests_until(start + secs(69)), Some(over));
        quota.end(one);
        assert_eq!(quota.rests_until(start + secs(69)), Some(over));
        assert_eq!(quota.rests_until(over), None);
        // The next minute begins with the next start.
        quota.start(None, start + secs(500));
        assert_eq!(quota.rests_until(start + secs(500)), None);
        quota.start(None, start + secs(559));
        assert_eq!(
            quota.rests_until(start + secs(559)),
            Some(start + secs(560))
        );
    }

    #[test]
    fn a_service_is_full_until_a_program_ends() {
        let limits = Limits {
            at_once: some(2),
            ..Limits::default()
        };
        let now = Instant::now();
        let mut quota = Quota::new(limits, now);
        quota.start(None, now);
        assert!(!quota.is_full());
        quota.resume(None);
        assert!(quota.is_full());
        quota.change(
            Limits {
                at_once: some(3),
                ..limits
            },
            now,
        );
        assert!(!quota.is_full());
        quota.change(limits, now);
        quota.end(None);
        assert!(!quota.is_full());
    }

    #[test]
    fn one_source_has_its_own_limits_and_nobody_elses() {
        let limits = Limits {
            per_minute: some(3),
            per_source: some(2),
            ..Limits::default()
        };
        let now = Instant::now();
        let mut quota = Quota::new(limits, now);
        let (one, other) = (Source::V4(1), Source::V4(2));
        let enter = |quota: &mut Quota, source| {
            let admitted = quota.admit(source, now);
            if admitted.is_ok() {
                quota.start(Some(source), now);
            }
            admitted.err()
        };
        assert_eq!(enter(&mut quota, one), None);
        assert_eq!(enter(&mut quota, one), None);
        assert_eq!(
            enter(&mut quota, one).as_deref(),
            Some("2 at once of one source")
        );
        assert_eq!(enter(&mut quota, other), None);
        quota.end(Some(one));
        assert_eq!(enter(&mut quota, one), None);
        quota.end(Some(one));
        assert_eq!(
            enter(&mut quota, one).as_deref(),
            Some("3 a minute of one source")
        );
        // A changed limit of another kind forgets nothing.
        quota.change(
            Limits {
                at_once: some(9),
                ..limits
            },
            now,
        );
        assert_eq!(
            enter(&mut quota, one).as_deref(),
            Some("3 a minute of one source")
        );
        // A third of a minute is one more.
        assert_eq!(quota.admit(one, now + secs(20)), Ok(()));
    }
}
