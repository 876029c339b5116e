//! What is counted, for each listener and over all; pure.

use std::time::Duration;

/// How many buckets a histogram has, the last one without a bound.
const BUCKETS: usize = 12;

/// The bounds of a histogram's buckets in microseconds, each included.
pub(crate) type Bounds = [u64; BUCKETS - 1];

/// How long it takes to start a program.
pub(crate) const SPAWN_BOUNDS: Bounds = [
    20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 20_000, 100_000, 1_000_000,
];

/// How long a program runs.
pub(crate) const RUN_BOUNDS: Bounds = [
    1_000,
    5_000,
    20_000,
    100_000,
    500_000,
    2_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    86_400_000_000,
];

/// How many spans fell into each bucket, and their sum.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) counts: [u64; BUCKETS],
    pub(crate) sum: Duration,
}

impl Histogram {
    pub(crate) fn observe(&mut self, span: Duration, bounds: &Bounds) {
        let place = bounds.partition_point(|bound| Duration::from_micros(*bound) < span);
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_add(1);
        }
        self.sum = self.sum.saturating_add(span);
    }
}

/// Connections and datagrams: let in, kept out, and those of the first for which no program could be started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) denied: u64,
    pub(crate) failed: u64,
}

impl Histogram {
    fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.denied = self.denied.saturating_add(other.denied);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

/// What is counted for one listener.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// How many programs run now.
    pub(crate) children: u32,
    pub(crate) spawn: Histogram,
    pub(crate) run: Histogram,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(other.counts);
        self.children = self.children.saturating_add(other.children);
        self.spawn.add(&other.spawn);
        self.run.add(&other.run);
    }
}

/// The tallies of all listeners, and the sum of their counts.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    each: Vec<Tally>,
    sum: Counts,
}

impl Tallies {
    pub(crate) fn new(listeners: usize) -> Self {
        Self {
            each: vec![Tally::default(); listeners],
            sum: Counts::default(),
        }
    }

    /// Goes on with what was counted for a listener before.
    pub(crate) fn resume(&mut self, place: usize, tally: Tally) {
        if let Some(it) = self.each.get_mut(place) {
            *it = tally;
        }
    }

    /// Goes on with what was counted over all before: there may be listeners in it that are gone.
    pub(crate) fn resume_sum(&mut self, sum: Counts) {
        self.sum = sum;
    }

    /// Counts for another listener in the place of one that is gone, or behind all others.
    pub(crate) fn put(&mut self, place: usize) {
        match self.each.get_mut(place) {
            Some(it) => *it = Tally::default(),
            None => self.each.push(Tally::default()),
        }
    }

    /// How many programs of a listener run.
    pub(crate) fn children(&self, place: usize) -> u32 {
        self.each.get(place).map_or(0, |it| it.children)
    }

    pub(crate) fn get(&self, place: usize) -> Tally {
        self.each.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn each(&self) -> &[Tally] {
        &self.each
    }

    pub(crate) fn sum(&self) -> Counts {
        self.sum
    }

    pub(crate) fn accept(&mut self, place: usize) {
        self.count(place, |counts| &mut counts.accepted);
    }

    pub(crate) fn deny(&mut self, place: usize) {
        self.count(place, |counts| &mut counts.denied);
    }

    pub(crate) fn fail(&mut self, place: usize) {
        self.count(place, |counts| &mut counts.failed);
    }

    fn count(&mut self, place: usize, which: impl Fn(&mut Counts) -> &mut u64) {
        let one = self.each.get_mut(place).map(|it| &mut it.counts);
        for counts in one.into_iter().chain([&mut self.sum]) {
            let count = which(counts);
            *count = count.saturating_add(1);
        }
    }

    /// A program was started, which took so long.
    pub(crate) fn start(&mut self, place: usize, took: Duration) {
        if let Some(tally) = self.each.get_mut(place) {
            tally.spawn.observe(took, &SPAWN_BOUNDS);
        }
    }

    /// A program runs.
    pub(crate) fn enter(&mut self, place: usize) {
        if let Some(tally) = self.each.get_mut(place) {
            tally.children = tally.children.saturating_add(1);
        }
    }

    /// One has ended.
    pub(crate) fn leave(&mut self, place: usize) {
        if let Some(tally) = self.each.get_mut(place) {
            tally.children = tally.children.saturating_sub(1);
        }
    }

    /// It has run so long.
    pub(crate) fn end(&mut self, place: usize, ran: Duration) {
        if let Some(tally) = self.each.get_mut(place) {
            tally.run.observe(ran, &RUN_BOUNDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        let micros = [0, 20, 21, 50, 1_000_000, 1_000_001, u64::MAX];
        for span in micros {
            histogram.observe(Duration::from_micros(span), &SPAWN_BOUNDS);
        }
        assert_eq!(histogram.counts, [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert!(SPAWN_BOUNDS.is_sorted() && RUN_BOUNDS.is_sorted());
    }

    #[test]
    fn each_listener_is_counted_for_itself_and_in_the_sum() {
        let mut tallies = Tallies::new(2);
        let before = Counts {
            accepted: 5,
            denied: u64::MAX,
            failed: 7,
        };
        let tally = Tally {
            counts: before,
            ..Tally::default()
        };
        tallies.resume(1, tally);
        tallies.resume_sum(before);
        tallies.accept(0);
        tallies.accept(1);
        tallies.deny(1);
        tallies.fail(0);
        // A place that there is not.
        tallies.accept(2);
        let (sum, each) = (tallies.sum(), tallies.each());
        assert_eq!((sum.accepted, sum.denied, sum.failed), (8, u64::MAX, 8));
        assert_eq!(each[0].counts.accepted, 1);
        assert_eq!(each[1].counts.accepted, 6);
    }
}
