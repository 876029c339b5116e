//! How many live connections each source has.

use crate::model::peer::Source;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;

/// Counts by source. A source without a live connection takes no room, so there are never more entries than children;
/// the hash has a random key, so that nobody can choose addresses that collide.
#[derive(Debug, Default)]
pub(crate) struct Sources(HashMap<Source, u32>);

impl Sources {
    /// One more of this source; returns how many there are now, this one included.
    pub(crate) fn enter(&mut self, source: Source) -> u32 {
        let count = self.0.entry(source).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// One more of this source unless that were more than `max`: how many there are now, or `None` if it may not enter.
    pub(crate) fn enter_within(&mut self, source: Source, max: NonZeroU32) -> Option<u32> {
        (self.count(source) < max.get()).then(|| self.enter(source))
    }

    /// How many there are of this source.
    pub(crate) fn count(&self, source: Source) -> u32 {
        self.0.get(&source).copied().unwrap_or(0)
    }

    /// One less of this source.
    pub(crate) fn leave(&mut self, source: Source) {
        if let Entry::Occupied(mut entry) = self.0.entry(source) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_counted_apart_and_forgotten_at_zero() {
        let mut sources = Sources::default();
        let (one, other) = (Source::V4(1), Source::Uid(1));
        assert_eq!(
            [sources.enter(one), sources.enter(one), sources.enter(other)],
            [1, 2, 1]
        );
        sources.leave(one);
        assert_eq!(sources.enter(one), 2);
        sources.leave(one);
        sources.leave(one);
        sources.leave(one);
        assert_eq!(sources.0.len(), 1);
        assert_eq!(sources.enter(one), 1);
    }
    #[test]
    fn a_source_that_is_full_does_not_enter_and_takes_nobodys_place() {
        let mut sources = Sources::default();
        let max = NonZeroU32::new(2).unwrap();
        let (one, other) = (Source::Unknown, Source::Cid(1));
        let tried = [(); 4].map(|()| sources.enter_within(one, max));
        assert_eq!(tried, [Some(1), Some(2), None, None]);
        assert_eq!(sources.enter_within(other, max), Some(1));
        sources.leave(one);
        assert_eq!(sources.enter_within(one, max), Some(2));
        for source in [one, one, other] {
            sources.leave(source);
        }
        assert_eq!(sources.0.len(), 0);
    }
}
