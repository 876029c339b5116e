//! Which of many equal warnings are told: ten a minute of each, and how many were left out; pure, given the time.

use crate::model::event::Trouble;
use std::time::{Duration, Instant};

/// So many equal warnings are told in one span.
const TOLD: u32 = 10;
const SPAN: Duration = Duration::from_secs(60);
/// So many different warnings are kept apart; what comes beyond them shares one entry.
const ENTRIES: usize = 256;

/// What makes two warnings equal: the trouble, and what it is about, which is the listener's name or a text.
type Key = (Trouble, Option<String>);

#[derive(Debug)]
struct Entry {
    key: Key,
    since: Instant,
    told: u32,
    left_out: u32,
    /// The last text that was left out.
    text: String,
}

/// Counts of the warnings of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Vec<Entry>);

impl Repeats {
    /// Whether this warning is to be told now; if not, it is counted.
    pub(crate) fn is_told(
        &mut self,
        trouble: Trouble,
        about: Option<String>,
        text: &str,
        now: Instant,
    ) -> bool {
        let mut key = (trouble, about);
        if self.0.len() >= ENTRIES && self.0.iter().all(|entry| entry.key != key) {
            key = (Trouble::Other, None);
        }
        let place = match self.0.iter().position(|entry| entry.key == key) {
            Some(place) => place,
            None => {
                self.0.push(Entry {
                    key,
                    since: now,
                    told: 0,
                    left_out: 0,
                    text: String::new(),
                });
                self.0.len() - 1
            }
        };
        let Some(entry) = self.0.get_mut(place) else {
            return true;
        };
        if entry.left_out == 0 && now.saturating_duration_since(entry.since) >= SPAN {
            (entry.since, entry.told) = (now, 0);
        }
        if entry.told < TOLD {
            entry.told += 1;
            return true;
        }
        entry.left_out = entry.left_out.saturating_add(1);
        text.clone_into(&mut entry.text);
        false
    }

    /// When something that was left out is to be told.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0
            .iter()
            .filter(|entry| entry.left_out > 0)
            .map(|entry| entry.since + SPAN)
            .min()
    }

    /// Forgets what is a minute old; returns how many were left out of each warning, and its last text.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<(u32, String)> {
        let old = self.0.extract_if(.., |entry| {
            now.saturating_duration_since(entry.since) >= SPAN
        });
        old.filter(|entry| entry.left_out > 0)
            .map(|entry| (entry.left_out, entry.text))
            .collect()
    }

    /// Everything that was left out until now, when skd stops.
    pub(crate) fn all(&mut self) -> Vec<(u32, String)> {
        let all = self.0.drain(..);
        all.filter(|entry| entry.left_out > 0)
            .map(|entry| (entry.left_out, entry.text))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(repeats: &mut Repeats, listener: &str, times: u32, now: Instant) -> u32 {
        let tell = |number: &u32| {
            repeats.is_told(
                Trouble::Accept,
                Some(listener.into()),
                &format!("x{number}"),
                now,
            )
        };
        (0..times).filter(tell).count().try_into().unwrap()
    }

    #[test]
    fn ten_a_minute_of_each_are_told_and_the_rest_counted() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        assert_eq!(told(&mut repeats, "a", 9, start), 9);
        assert_eq!(repeats.due(), None);
        assert_eq!(
            told(&mut repeats, "a", 40, start + Duration::from_secs(30)),
            1
        );
        assert_eq!(told(&mut repeats, "b", 3, start), 3);
        assert_eq!(repeats.due(), Some(start + SPAN));
        assert!(repeats.overdue(start + Duration::from_secs(59)).is_empty());
        assert_eq!(repeats.overdue(start + SPAN), [(39, "x39".to_owned())]);
        assert_eq!((repeats.due(), repeats.0.len()), (None, 0));
        assert_eq!(told(&mut repeats, "a", 12, start + SPAN), 10);
        assert_eq!(repeats.all(), [(2, "x11".to_owned())]);
        assert_eq!(told(&mut repeats, "c", 8, start), 8);
        assert_eq!(told(&mut repeats, "c", 8, start + SPAN), 8);
    }

    #[test]
    fn the_table_is_bounded() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        for number in 0..1000 {
            told(&mut repeats, &number.to_string(), 2, start);
        }
        assert_eq!(repeats.0.len(), ENTRIES + 1);
        assert_eq!(told(&mut repeats, "0", 20, start), 8);
        assert_eq!(repeats.overdue(start + SPAN).len(), 2);
    }
}
