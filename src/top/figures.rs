//! Turns what was told second by second into what is shown: rates, shares, quantiles; pure.

use crate::histogram::{Estimate, Histogram};
use crate::model::text::{foreign, harmless};
use crate::scrape::{Listener, Scrape};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// How many answers quantiles look back: 10, which are 10 s.
const LOOK_BACK: usize = 10;

/// The quantiles that are shown.
const PARTS: [f64; 3] = [0.5, 0.9, 0.99];

/// The last answers of one run of skd.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<(Instant, Scrape)>);

/// What is shown of skd.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) version: String,
    /// Of one processor.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) resident_bytes: Option<f64>,
    pub(crate) open_files: Option<f64>,
    pub(crate) most_files: Option<f64>,
    pub(crate) children: f64,
    pub(crate) limit: Option<f64>,
    pub(crate) rows: Vec<Row>,
}

/// What is shown of a listener.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Without anything that a terminal would obey.
    pub(crate) name: String,
    pub(crate) accepted: Flow,
    pub(crate) denied: Flow,
    pub(crate) failed: f64,
    pub(crate) children: f64,
    pub(crate) spawn: Quantiles,
    pub(crate) run: Quantiles,
}

/// A counter, and how much it gains a second; `None` where there is nothing before it to compare with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flow {
    pub(crate) per_sec: Option<f64>,
    pub(crate) total: f64,
}

/// p50, p90 and p99, and of which time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quantiles {
    /// Nothing was observed yet.
    Never,
    /// Of the last 10 s.
    Recent([Estimate; 3]),
    /// Since skd was started, for nothing was observed in the last 10 s.
    SinceStart([Estimate; 3]),
}

impl History {
    /// Takes an answer that came at `now`. Where a count is lower than before skd was started anew, and what was
    /// before is forgotten.
    pub(crate) fn add(&mut self, now: Instant, scrape: Scrape) {
        if self
            .0
            .back()
            .is_some_and(|(_, last)| is_anew(last, &scrape))
        {
            self.forget();
        }
        self.0.push_back((now, scrape));
        if self.0.len() > LOOK_BACK + 1 {
            self.0.pop_front();
        }
    }

    /// skd is away: what comes next may be another one.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// `None` before the first answer.
    pub(crate) fn figures(&self) -> Option<Figures> {
        let (now, scrape) = self.0.back()?;
        let last = self.0.len().checked_sub(2).and_then(|it| self.0.get(it));
        let seconds = last.map_or(0.0, |(last, _)| now.duration_since(*last).as_secs_f64());
        let gain = |now: f64, before: Option<f64>| {
            let gain = now - before?;
            (seconds > 0.0 && gain >= 0.0).then(|| gain / seconds)
        };
        let last = last.map(|(_, last)| last);
        let oldest = self.0.front().map(|(_, oldest)| oldest);
        let (of_last, of_oldest) = (by_name(last), by_name(oldest));
        let flow = |total, before| Flow {
            per_sec: gain(total, before),
            total,
        };
        let row = |it: &Listener| {
            let before = of_last.get(it.name.as_str());
            let oldest = of_oldest.get(it.name.as_str());
            Row {
                name: harmless(it.name.as_bytes()),
                accepted: flow(it.accepted, before.map(|before| before.accepted)),
                denied: flow(it.denied, before.map(|before| before.denied)),
                failed: it.failed,
                children: it.children,
                spawn: quantiles(&it.spawn, oldest.map(|oldest| &oldest.spawn)),
                run: quantiles(&it.run, oldest.map(|oldest| &oldest.run)),
            }
        };
        let cpu = scrape
            .cpu_secs
            .and_then(|cpu| gain(cpu, last.and_then(|last| last.cpu_secs)));
        Some(Figures {
            version: foreign(scrape.version.as_bytes()),
            cpu_percent: cpu.map(|share| share * 100.0),
            resident_bytes: scrape.resident_bytes,
            open_files: scrape.open_files,
            most_files: scrape.most_files,
            children: scrape.listeners.iter().map(|it| it.children).sum(),
            limit: scrape.limit,
            rows: scrape.listeners.iter().map(row).collect(),
        })
    }
}

fn by_name(scrape: Option<&Scrape>) -> HashMap<&str, &Listener> {
    let listeners = scrape.into_iter().flat_map(|scrape| &scrape.listeners);
    listeners.map(|it| (it.name.as_str(), it)).collect()
}

/// Whether something that can only grow has shrunk.
fn is_anew(before: &Scrape, now: &Scrape) -> bool {
    let known = by_name(Some(before));
    let shrank = |it: &Listener| {
        known.get(it.name.as_str()).is_some_and(|before| {
            it.accepted < before.accepted
                || it.denied < before.denied
                || it.failed < before.failed
                || it.spawn.total() < before.spawn.total()
                || it.run.total() < before.run.total()
        })
    };
    let ran_less = now.cpu_secs.zip(before.cpu_secs);
    ran_less.is_some_and(|(now, before)| now < before) || now.listeners.iter().any(shrank)
}

fn quantiles(now: &Histogram, oldest: Option<&Histogram>) -> Quantiles {
    let of = |histogram: &Histogram| {
        let [a, b, c] = PARTS.map(|part| histogram.quantile(part));
        Some([a?, b?, c?])
    };
    let recent = oldest.and_then(|oldest| of(&now.since(oldest)));
    match (recent, of(now)) {
        (Some(recent), _) => Quantiles::Recent(recent),
        (None, Some(all)) => Quantiles::SinceStart(all),
        (None, None) => Quantiles::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// After `secs`, with one listener that has accepted and started so many.
    fn at(history: &mut History, start: Instant, secs: u64, cpu: f64, accepted: f64) -> Figures {
        let mut spawn = Histogram::default();
        spawn.put(0.1, accepted);
        spawn.put(f64::INFINITY, accepted);
        let listener = Listener {
            name: "tcp:\x1b[2J".into(),
            accepted,
            spawn,
            ..Listener::default()
        };
        let scrape = Scrape {
            cpu_secs: Some(cpu),
            listeners: vec![listener],
            ..Scrape::default()
        };
        history.add(start + Duration::from_secs(secs), scrape);
        history.figures().unwrap()
    }

    #[test]
    fn rates_are_of_the_last_second_and_quantiles_of_the_last_ten() {
        let (mut history, start) = (History::default(), Instant::now());
        assert!(history.figures().is_none());
        let first = at(&mut history, start, 0, 1.0, 0.0);
        assert_eq!(
            (first.cpu_percent, first.rows[0].accepted.per_sec),
            (None, None)
        );
        assert_eq!(first.rows[0].name, "tcp:?[2J");
        assert_eq!(first.rows[0].spawn, Quantiles::Never);
        let next = at(&mut history, start, 2, 1.5, 8.0);
        assert_eq!(next.cpu_percent, Some(25.0));
        assert_eq!(
            next.rows[0].accepted,
            Flow {
                per_sec: Some(4.0),
                total: 8.0
            }
        );
        assert!(matches!(next.rows[0].spawn, Quantiles::Recent(_)));
        for secs in 3..=11 {
            let later = at(&mut history, start, secs, 1.5, 8.0);
            assert_eq!(later.rows[0].accepted.per_sec, Some(0.0));
            assert!(matches!(later.rows[0].spawn, Quantiles::Recent(_)));
        }
        let later = at(&mut history, start, 12, 1.5, 8.0);
        assert!(matches!(later.rows[0].spawn, Quantiles::SinceStart(_)));
    }

    #[test]
    fn another_run_of_skd_is_never_compared_with_the_one_before() {
        let (mut history, start) = (History::default(), Instant::now());
        at(&mut history, start, 0, 1.0, 9.0);
        let anew = at(&mut history, start, 1, 1.5, 3.0);
        assert_eq!(anew.rows[0].accepted.per_sec, None);
        assert!(matches!(anew.rows[0].spawn, Quantiles::SinceStart(_)));
        // A busy one, whose counts are higher already.
        let anew = at(&mut history, start, 2, 0.1, 30.0);
        assert_eq!(
            (anew.cpu_percent, anew.rows[0].accepted.per_sec),
            (None, None)
        );
        history.forget();
        let back = at(&mut history, start, 9, 0.2, 31.0);
        assert_eq!(back.rows[0].accepted.per_sec, None);
    }
}
