//! How fast connections may come, over all and by source: token buckets that are given the time.

use crate::model::admission::Rate;
use crate::model::peer::Source;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// So many sources are remembered at once; each takes some 80 bytes.
const SOURCES: usize = 65_536;

/// What a bucket gains and holds. All that it remembers is the moment at which it will be full, in units so small that
/// neither a token nor its price is ever rounded: milliseconds since `start`, times the tokens of one span.
#[derive(Clone, Copy, Debug)]
struct Pace {
    start: Instant,
    /// Tokens that a bucket holds, and gains in one span; at most 1,000,000.
    count: u64,
    /// One span in milliseconds, which is what a token costs in these units.
    price: u64,
}

impl Pace {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            start: now,
            count: u64::from(rate.count.get()),
            price: u64::from(rate.secs.get()) * 1000,
        }
    }

    /// A moment, in the units of this pace. They last for 500 years.
    fn moment(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(millis)
            .unwrap_or(u64::MAX)
            .saturating_mul(self.count)
    }

    /// How long an empty bucket takes to be full.
    fn whole(&self) -> u64 {
        self.count * self.price
    }

    /// When a bucket will be full from which one more token is taken; `None` if there is none.
    fn taken(&self, full_at: u64, now: u64) -> Option<u64> {
        let after = self.spent(full_at, now);
        (after - now <= self.whole()).then_some(after)
    }

    /// The same whether there is one or not.
    fn spent(&self, full_at: u64, now: u64) -> u64 {
        full_at.max(now).saturating_add(self.price)
    }

    /// How long until there is a token.
    fn wait(&self, full_at: u64, now: u64) -> Duration {
        let after = self.spent(full_at, now);
        let wait = (after - now).saturating_sub(self.whole());
        Duration::from_millis(wait.div_ceil(self.count))
    }
}

/// The bucket of `--rate`: it holds N tokens, starts full and gains N per SECS.
#[derive(Debug)]
pub(crate) struct Bucket {
    pace: Pace,
    full_at: u64,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            pace: Pace::new(rate, now),
            full_at: 0,
        }
    }

    /// Takes a token for a connection that was accepted; false if there was none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let taken = self.pace.taken(self.full_at, self.pace.moment(now));
        self.full_at = taken.unwrap_or(self.full_at);
        taken.is_some()
    }

    /// Gives back a token that was taken, for a connection that was not let in, or not yet.
    pub(crate) fn give_back(&mut self) {
        self.full_at = self.full_at.saturating_sub(self.pace.price);
    }

    /// What is missing until it is full, in the units of its pace.
    pub(crate) fn spent(&self, now: Instant) -> u64 {
        self.full_at.saturating_sub(self.pace.moment(now))
    }

    /// Goes on with one in which so much was missing.
    pub(crate) fn resume(&mut self, units: u64, now: Instant) {
        self.full_at = self.pace.moment(now).saturating_add(units);
    }

    /// Until when there is no token; `None` if there is one now.
    pub(crate) fn empty_until(&self, now: Instant) -> Option<Instant> {
        let wait = self.pace.wait(self.full_at, self.pace.moment(now));
        (!wait.is_zero()).then(|| now + wait)
    }
}

/// The buckets of `--rate-per-source`. One that is full again is forgotten.
///
/// At most 65,536 sources are remembered. When another comes, the one whose bucket is nearest to full gives up its
/// place, and what it had spent passes to the newcomer, who is let in once in any case. So nobody has more tokens for
/// being unknown, however many sources somebody else has, and nobody is shut out by them.
#[derive(Debug)]
pub(crate) struct SourceRates {
    pace: Pace,
    /// When each bucket will be full; the hash has a random key.
    full_at: HashMap<Source, u64>,
    /// The same, the one nearest to full first.
    order: BTreeSet<(u64, Source)>,
    most: usize,
}

impl SourceRates {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            pace: Pace::new(rate, now),
            full_at: HashMap::new(),
            order: BTreeSet::new(),
            most: SOURCES,
        }
    }

    /// Takes a token of this source; false if it has none, which takes nothing.
    pub(crate) fn take(&mut self, source: Source, now: Instant) -> bool {
        let now = self.pace.moment(now);
        self.forget(now);
        let full_at = match self.full_at.get(&source) {
            Some(full_at) => *full_at,
            None if self.full_at.len() >= self.most => self.inherit(now),
            None => now,
        };
        let Some(after) = self.pace.taken(full_at, now) else {
            return false;
        };
        if let Some(before) = self.full_at.insert(source, after) {
            self.order.remove(&(before, source));
        }
        self.order.insert((after, source));
        true
    }

    /// What is missing in each bucket that is not full.
    pub(crate) fn spent(&self, now: Instant) -> impl Iterator<Item = (Source, u64)> {
        let now = self.pace.moment(now);
        let all = self.full_at.iter();
        let all = all.map(move |(source, full_at)| (*source, full_at.saturating_sub(now)));
        all.filter(|(_, units)| *units > 0)
    }

    /// Goes on with a bucket in which so much was missing.
    pub(crate) fn resume(&mut self, source: Source, units: u64, now: Instant) {
        let full_at = self.pace.moment(now).saturating_add(units);
        if self.full_at.len() < self.most && self.full_at.insert(source, full_at).is_none() {
            self.order.insert((full_at, source));
        }
    }

    /// Forgets the buckets that are full.
    fn forget(&mut self, now: u64) {
        while let Some((full_at, source)) = self.order.first().copied()
            && full_at <= now
        {
            self.order.remove(&(full_at, source));
            self.full_at.remove(&source);
        }
    }

    /// Takes the place of the bucket that is nearest to full: when the newcomer's is, before its first token is taken.
    fn inherit(&mut self, now: u64) -> u64 {
        let Some((full_at, source)) = self.order.pop_first() else {
            return now;
        };
        self.full_at.remove(&source);
        full_at.min(now.saturating_add(self.pace.whole() - self.pace.price))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    fn rate(count: u32, secs: u32) -> Rate {
        Rate {
            count: NonZeroU32::new(count).unwrap(),
            secs: NonZeroU32::new(secs).unwrap(),
        }
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_spent_stays_spent_in_another_process() {
        let (before, after) = (Instant::now(), Instant::now() + millis(5000));
        let mut bucket = Bucket::new(rate(1, 60), before);
        assert!(bucket.take(before));
        let mut other = Bucket::new(rate(1, 60), after);
        other.resume(bucket.spent(before + millis(20_000)), after);
        assert_eq!(other.empty_until(after), Some(after + millis(40_000)));
        let mut sources = SourceRates::new(rate(2, 60), before);
        let (one, full) = (Source::V4(1), Source::V4(2));
        assert!(sources.take(one, before) && sources.take(one, before));
        assert!(sources.take(full, before));
        let mut others = SourceRates::new(rate(2, 60), after);
        for (source, units) in sources.spent(before + millis(30_000)) {
            assert_eq!(source, one);
            others.resume(source, units, after);
        }
        let tried = [(); 2].map(|()| others.take(one, after));
        assert_eq!(tried, [true, false]);
    }

    #[test]
    fn a_bucket_starts_full_and_gains_its_tokens_one_by_one() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(3, 10), start);
        assert_eq!(bucket.empty_until(start), None);
        let tried = [(); 5].map(|()| bucket.take(start));
        assert_eq!(tried, [true, true, true, false, false]);
        // A third of ten seconds, and no millisecond earlier.
        let next = start + millis(3334);
        assert_eq!(bucket.empty_until(start), Some(next));
        assert!(!bucket.take(next - millis(1)));
        assert_eq!(bucket.empty_until(next - millis(1)), Some(next));
        assert_eq!(bucket.empty_until(next), None);
        assert!(bucket.take(next));
        assert!(!bucket.take(next));
        // However long nobody comes, it holds three.
        let late = start + Duration::from_secs(1_000_000_000);
        let tried = [(); 5].map(|()| bucket.take(late));
        assert_eq!(tried, [true, true, true, false, false]);
    }

    #[test]
    fn a_token_given_back_is_as_if_never_taken() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(2, 10), start);
        assert!(bucket.take(start) && bucket.take(start));
        bucket.give_back();
        assert_eq!(bucket.empty_until(start), None);
        assert!(bucket.take(start) && !bucket.take(start));
        // Much later it holds no more than two, whatever is given back.
        let late = start + Duration::from_secs(60);
        bucket.give_back();
        bucket.give_back();
        let tried = [(); 3].map(|()| bucket.take(late));
        assert_eq!(tried, [true, true, false]);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_no_token() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = Bucket::new(rate(1, 60), start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start - Duration::from_secs(50)));
        assert!(!bucket.take(start));
        assert!(bucket.take(start + Duration::from_secs(60)));
    }

    #[test]
    fn sources_have_buckets_of_their_own_and_are_forgotten_when_full() {
        let start = Instant::now();
        let mut rates = SourceRates::new(rate(2, 10), start);
        let (one, other) = (Source::V4(1), Source::Unknown);
        let tried = [one, one, one, other, other, other].map(|source| rates.take(source, start));
        assert_eq!(tried, [true, true, false, true, true, false]);
        assert_eq!((rates.full_at.len(), rates.order.len()), (2, 2));
        let later = start + millis(5000);
        assert!(rates.take(one, later) && !rates.take(one, later));
        // The other is full again after ten seconds, the one after fifteen.
        assert!(rates.take(Source::Uid(0), start + millis(10_000)));
        assert!(!rates.full_at.contains_key(&other) && rates.full_at.contains_key(&one));
        assert!(rates.take(Source::Uid(0), start + millis(15_000)));
        assert_eq!((rates.full_at.len(), rates.order.len()), (1, 1));
    }

    #[test]
    fn a_full_table_shuts_nobody_out_and_exempts_nobody() {
        let start = Instant::now();
        let mut rates = SourceRates::new(rate(3, 60), start);
        rates.most = 4;
        let busy = Source::Uid(0);
        assert!([(); 3].iter().all(|()| rates.take(busy, start)));
        // Strangers come and go; each is let in, and the busy one stays known.
        for number in 0..1000 {
            assert!(rates.take(Source::V4(number), start), "{number}");
            assert!(!rates.take(busy, start));
            assert!(rates.full_at.len() <= 4 && rates.full_at.len() == rates.order.len());
        }
        // By now every newcomer inherits an empty bucket: one token each, no more.
        assert!(rates.take(Source::Cid(1), start));
        assert!(!rates.take(Source::Cid(1), start));
        let later = start + millis(20_000);
        assert!(rates.take(Source::Cid(1), later) && !rates.take(Source::Cid(1), later));
    }

    /// What a bucket is in so many words: tokens times price, which grow with time up to a full bucket.
    struct Plain {
        level: u64,
        since: u64,
    }

    impl Plain {
        fn take(&mut self, rate: Rate, now: u64) -> bool {
            let (count, price) = (
                u64::from(rate.count.get()),
                u64::from(rate.secs.get()) * 1000,
            );
            self.level = (count * price).min(self.level + (now - self.since) * count);
            self.since = now;
            let is_there = self.level >= price;
            self.level -= if is_there { price } else { 0 };
            is_there
        }
    }

    proptest! {
        #[test]
        fn every_source_gets_exactly_what_a_plain_bucket_holds(
            count in 1..30u32,
            secs in 1..20u32,
            steps in prop::collection::vec((0..4u32, 0..3000u64), 1..300),
        ) {
            let rate = rate(count, secs);
            let start = Instant::now();
            let mut rates = SourceRates::new(rate, start);
            let mut one = Bucket::new(rate, start);
            let full = || Plain { level: u64::from(count) * u64::from(secs) * 1000, since: 0 };
            let mut plain: Vec<Plain> = (0..5).map(|_| full()).collect();
            let mut now = 0;
            for (source, span) in steps {
                now += span;
                let moment = start + millis(now);
                let there = plain[source as usize].take(rate, now);
                prop_assert_eq!(rates.take(Source::V4(source), moment), there);
                if let Some(until) = one.empty_until(moment) {
                    let mut before = Bucket { full_at: one.full_at, pace: one.pace };
                    prop_assert!(!before.take(until - millis(1)) && before.take(until));
                }
                prop_assert_eq!(one.take(moment), plain[4].take(rate, now));
                prop_assert_eq!(rates.full_at.len(), rates.order.len());
            }
        }

        #[test]
        fn a_table_never_grows_past_its_bound_and_lets_every_stranger_in(
            count in 1..5u32,
            steps in prop::collection::vec((0..40u32, 0..2000u64), 1..400),
        ) {
            let start = Instant::now();
            let mut rates = SourceRates::new(rate(count, 10), start);
            rates.most = 8;
            let mut now = start;
            for (source, span) in steps {
                now += millis(span);
                let is_known = rates.full_at.contains_key(&Source::V4(source));
                let is_let_in = rates.take(Source::V4(source), now);
                prop_assert!(is_known || is_let_in);
                prop_assert!(rates.full_at.len() <= 8);
                prop_assert!(rates.full_at.iter().all(|(source, at)| rates.order.contains(&(*at, *source))));
                prop_assert_eq!(rates.full_at.len(), rates.order.len());
            }
        }
    }
}
