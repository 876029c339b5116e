//! Turns the buckets of a histogram into quantiles; pure.

/// skd's have 12; what has more is cut off.
const MOST_BUCKETS: usize = 64;

/// Buckets by their upper bound: how many observations were at most that, smaller bounds included.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram(Vec<(f64, f64)>);

/// A quantile, as well as buckets tell it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Estimate {
    About(f64),
    /// It is in the bucket without a bound, behind this one.
    Above(f64),
}

impl Histogram {
    /// Takes one more bucket, at its place by its bound. No span of time is negative, so that no bound is.
    pub(crate) fn put(&mut self, bound: f64, count: f64) {
        if bound >= 0.0 && self.0.len() < MOST_BUCKETS {
            let place = self.0.partition_point(|(other, _)| *other < bound);
            self.0.insert(place, (bound, count));
        }
    }

    pub(crate) fn total(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// What was observed since `before`, which has the same bounds; nothing if it has others.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let pairs = self.0.iter().zip(&before.0);
        let is_same = self.0.len() == before.0.len()
            && pairs.clone().all(|((one, _), (other, _))| one == other);
        if !is_same {
            return Self::default();
        }
        Self(
            pairs
                .map(|((bound, now), (_, before))| (*bound, (now - before).max(0.0)))
                .collect(),
        )
    }

    /// The quantile `part` of all, 0 to 1, as PromQL's histogram_quantile has it: values are taken to lie evenly between
    /// the bounds of their bucket. `None` if nothing was observed.
    pub(crate) fn quantile(&self, part: f64) -> Option<Estimate> {
        let rank = part * self.total();
        if rank <= 0.0 {
            return None;
        }
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= rank {
                return Some(if bound.is_infinite() {
                    Estimate::Above(low)
                } else {
                    Estimate::About(low + (bound - low) * (rank - below) / (count - below))
                });
            }
            (low, below) = (*bound, count.max(below));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(buckets: &[(f64, f64)]) -> Histogram {
        let mut histogram = Histogram::default();
        for (bound, count) in buckets {
            histogram.put(*bound, *count);
        }
        histogram
    }

    #[test]
    fn quantiles_are_those_of_histogram_quantile() {
        use Estimate::{About, Above};
        let buckets = of(&[(f64::INFINITY, 10.0), (2.0, 8.0), (1.0, 4.0)]);
        for (part, wanted) in [
            (0.2, About(0.5)),
            (0.4, About(1.0)),
            (0.5, About(1.25)),
            (0.8, About(2.0)),
            (0.99, Above(2.0)),
        ] {
            assert_eq!(buckets.quantile(part), Some(wanted), "{part}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(of(&[(1.0, 0.0), (2.0, 0.0)]).quantile(0.5), None);
        // What no histogram holds gives no answer rather than a wrong one, or one that can be shown.
        assert_eq!(
            of(&[(1.0, 9.0), (2.0, 4.0)]).quantile(0.5),
            Some(About(2.0 / 9.0))
        );
        for bound in [f64::NAN, -1e300, f64::NEG_INFINITY] {
            assert_eq!(of(&[(bound, 9.0)]).quantile(0.5), None);
        }
    }

    #[test]
    fn a_span_of_time_is_what_was_added() {
        let before = of(&[(1.0, 3.0), (2.0, 5.0)]);
        let now = of(&[(1.0, 3.0), (2.0, 9.0)]);
        assert_eq!(now.since(&before), of(&[(1.0, 0.0), (2.0, 4.0)]));
        assert_eq!(before.since(&now).quantile(0.5), None);
        assert_eq!(now.since(&of(&[(1.0, 3.0)])).quantile(0.5), None);
    }
}
