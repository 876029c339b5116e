//! What skd-top is answered: no answer of a stranger's is shown wider than its room, and skd's own are read as they were
//! meant.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/top/exposition.rs"]
mod exposition;
#[path = "../../../src/top/figures.rs"]
mod figures;
#[path = "../../../src/top/histogram.rs"]
mod histogram;
#[path = "../../../src/model/mod.rs"]
mod model;
#[path = "../../../src/top/reply.rs"]
mod reply;
#[path = "../../../src/report"]
mod report {
    pub(crate) mod http;
    pub(crate) mod metrics;
}
#[path = "../../../src/top/scrape.rs"]
mod scrape;
#[path = "../../../src/top/words.rs"]
mod words;

use exposition::{Sample, samples};
use figures::{Figures, Flow, History, Quantiles};
use libfuzzer_sys::fuzz_target;
use model::address::Label;
use model::tally::{Counts, Histogram, Tally};
use model::text::harmless;
use report::metrics::{Snapshot, Usage};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

// An answer; or behind a first byte of 0 what skd's own tells of.
fuzz_target!(|bytes: &[u8]| {
    if let [0, count, bytes @ ..] = bytes {
        return own(*count, &String::from_utf8_lossy(bytes));
    }
    let body = reply::body(bytes);
    for len in 1..bytes.len() {
        let part = reply::body(&bytes[..len]);
        match (&part, &body) {
            (Ok(part), Ok(body)) => assert!(body.starts_with(part)),
            (Err(why), _) if why == "the answer is cut off" => {}
            (part, body) => assert_eq!(part, body),
        }
    }
    let text = String::from_utf8_lossy(body.unwrap_or(bytes));
    for sample in samples(&text) {
        written_and_read(&sample);
    }
    let (first, second) = text.split_at(text.find("\n\n").unwrap_or(text.len()));
    let mut history = History::default();
    let start = Instant::now();
    for (secs, text) in [(0, first), (1, second), (2, &text)] {
        let Some(scrape) = scrape::read(text) else {
            continue;
        };
        history.add(start + Duration::from_secs(secs), scrape);
        fits(&history.figures().expect("there is an answer"));
    }
});

fn written_and_read(sample: &Sample<'_>) {
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_plain(sample.name) || !sample.labels.iter().all(|(name, _)| is_plain(name)) {
        return;
    }
    let escaped = |value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        value.replace('\n', "\\n")
    };
    let labels = sample.labels.iter();
    let labels: String = labels
        .map(|(name, value)| format!("{name}=\"{}\",", escaped(value)))
        .collect();
    let line = format!("{}{{{labels}}} {}", sample.name, sample.value);
    let again: Vec<Sample<'_>> = samples(&line).collect();
    let [again] = &again[..] else {
        panic!("{line}: {again:?}")
    };
    let is_same = again.value == sample.value || again.value.is_nan() && sample.value.is_nan();
    assert!(is_same && again.name == sample.name && again.labels == sample.labels);
}

/// What is shown has its room, and nothing that a terminal would obey.
fn fits(figures: &Figures) {
    assert_eq!(harmless(figures.version.as_bytes()), figures.version);
    let sizes = [figures.resident_bytes, figures.limit];
    for number in sizes.into_iter().flatten().chain([figures.children]) {
        assert!(words::bytes(number).len() <= 10 && words::count(number, 6).len() <= 6);
    }
    for row in &figures.rows {
        assert_eq!(harmless(row.name.as_bytes()), row.name);
        for Flow { per_sec, total } in [row.accepted, row.denied] {
            assert!(per_sec.is_none_or(|rate| rate >= 0.0) && total >= 0.0);
            assert!(words::rate(per_sec).len() <= 8 && words::count(total, 6).len() <= 6);
        }
        for quantiles in [row.spawn, row.run] {
            if let Quantiles::Recent(all) | Quantiles::SinceStart(all) = quantiles {
                for estimate in all {
                    let text = words::span(estimate);
                    assert!(text.len() <= 6, "{text}");
                }
            }
        }
    }
}

/// Two listeners and what was counted for them, from the metrics of skd to what skd-top knows.
fn own(count: u8, text: &str) {
    let (one, other) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let labels = [one, other].map(|name| Label::known(name.to_owned()));
    let histogram = |step: u64| Histogram {
        counts: std::array::from_fn(|place| step * place as u64),
        sum: Duration::from_millis(step),
    };
    let tally = |step: u8| Tally {
        counts: Counts {
            accepted: step.into(),
            denied: 2 * u64::from(step),
            failed: 3 * u64::from(step),
        },
        children: step.into(),
        spawn: histogram(step.into()),
        run: histogram(2 * u64::from(step)),
    };
    let tallies = [tally(count), tally(count / 2)];
    let limit = NonZeroU32::new(count.into());
    let snapshot = Snapshot::new(labels.iter().zip(&tallies), limit, Usage::default());
    let answer = report::http::answer(&report::metrics::text(&snapshot));
    let body = reply::body(&answer).expect("it is a whole answer");
    let scrape = scrape::read(str::from_utf8(body).unwrap()).expect("it is skd's");
    assert_eq!(scrape.limit, limit.map(|limit| limit.get().into()));
    let [one, other] = labels.map(|label| label.to_string());
    let expected = if one == other {
        let mut sum = tallies[0];
        sum.add(&tallies[1]);
        vec![(one, sum)]
    } else {
        vec![(one, tallies[0]), (other, tallies[1])]
    };
    assert_eq!(scrape.listeners.len(), expected.len());
    for (listener, (name, tally)) in scrape.listeners.iter().zip(expected) {
        let Counts {
            accepted,
            denied,
            failed,
        } = tally.counts;
        let told = [listener.accepted, listener.denied, listener.failed];
        assert_eq!(told, [accepted, denied, failed].map(|it| it as f64));
        assert_eq!(listener.children, f64::from(tally.children));
        for (told, counted) in [(&listener.spawn, tally.spawn), (&listener.run, tally.run)] {
            assert_eq!(told.total(), counted.counts.iter().sum::<u64>() as f64);
        }
        assert_eq!(listener.name, name);
    }
}
