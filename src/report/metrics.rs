//! Turns counts into the text format of Prometheus, version 0.0.4; pure.

use crate::model::address::Label;
use crate::model::tally::{Bounds, Histogram, RUN_BOUNDS, SPAWN_BOUNDS, Tally};
use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::num::NonZeroU32;
use std::time::Duration;

/// What is told.
pub(crate) struct Snapshot {
    /// By what each is called, which is escaped already.
    listeners: Vec<(String, Tally)>,
    /// `-c`
    limit: Option<NonZeroU32>,
    usage: Usage,
}

impl Snapshot {
    /// Listeners that are called the same, as `--reuse-port` allows, are told as one.
    pub(crate) fn new<'a>(
        listeners: impl Iterator<Item = (&'a Label, &'a Tally)>,
        limit: Option<NonZeroU32>,
        usage: Usage,
    ) -> Self {
        let mut places = HashMap::new();
        let mut all: Vec<(String, Tally)> = Vec::new();
        for (label, tally) in listeners {
            let name = escaped(&label.to_string());
            let place = *places.entry(name.clone()).or_insert(all.len());
            match all.get_mut(place) {
                Some((_, known)) => known.add(tally),
                None => all.push((name, *tally)),
            }
        }
        Self {
            listeners: all,
            limit,
            usage,
        }
    }
}

/// What the process itself has used; `None` where that cannot be known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Option<Duration>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) most_files: Option<u64>,
}

/// What is told of a listener.
type Value = fn(&Tally) -> u64;

/// The whole text.
pub(crate) fn text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    family(&mut out, "skd_info", "gauge", "The version of skd.");
    sample(
        &mut out,
        "skd_info",
        Some(("version", env!("CARGO_PKG_VERSION"))),
        1,
    );
    let by_listener: [(&str, &str, &str, Value); 4] = [
        (
            "skd_accepted_total",
            "counter",
            "Connections that were let in, and datagrams for which the program was started.",
            |tally| tally.counts.accepted,
        ),
        (
            "skd_denied_total",
            "counter",
            "Connections that were not let in.",
            |tally| tally.counts.denied,
        ),
        (
            "skd_failed_total",
            "counter",
            "Of the accepted, those for which no program could be started.",
            |tally| tally.counts.failed,
        ),
        ("skd_children", "gauge", "Programs that run now.", |tally| {
            u64::from(tally.children)
        }),
    ];
    for (name, kind, help, value) in by_listener {
        family(&mut out, name, kind, help);
        for (listener, tally) in &snapshot.listeners {
            sample(&mut out, name, Some(("listener", listener)), value(tally));
        }
    }
    if let Some(limit) = snapshot.limit {
        let help = "How many programs may run at once, over all listeners.";
        family(&mut out, "skd_children_limit", "gauge", help);
        sample(&mut out, "skd_children_limit", None, limit);
    }
    let help = "How long it took to start a program.";
    histograms(&mut out, "skd_spawn_seconds", help, snapshot, |tally| {
        (&tally.spawn, &SPAWN_BOUNDS)
    });
    let help = "How long a program ran.";
    histograms(
        &mut out,
        "skd_connection_seconds",
        help,
        snapshot,
        |tally| (&tally.run, &RUN_BOUNDS),
    );
    process(&mut out, &snapshot.usage);
    out
}

fn process(out: &mut String, usage: &Usage) {
    let cpu = usage.cpu.map(seconds);
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let all = [
        (
            "process_cpu_seconds_total",
            "counter",
            "User and system time of skd itself.",
            cpu,
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory of skd itself.",
            number(usage.resident_bytes),
        ),
        (
            "process_open_fds",
            "gauge",
            "Open descriptors of skd itself.",
            number(usage.open_files),
        ),
        (
            "process_max_fds",
            "gauge",
            "How many descriptors skd may have.",
            number(usage.most_files),
        ),
    ];
    for (name, kind, help, value) in all {
        if let Some(value) = value {
            family(out, name, kind, help);
            sample(out, name, None, value);
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail, here and below.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(out: &mut String, name: &str, label: Option<(&str, &str)>, value: impl Display) {
    let _ = match label {
        Some((label, text)) => writeln!(out, "{name}{{{label}=\"{text}\"}} {value}"),
        None => writeln!(out, "{name} {value}"),
    };
}

fn histograms(
    out: &mut String,
    name: &str,
    help: &str,
    snapshot: &Snapshot,
    of: impl Fn(&Tally) -> (&Histogram, &'static Bounds),
) {
    family(out, name, "histogram", help);
    for (listener, tally) in &snapshot.listeners {
        let (histogram, bounds) = of(tally);
        let bounds = bounds
            .iter()
            .map(|micros| seconds(Duration::from_micros(*micros)));
        let mut total: u64 = 0;
        for (count, bound) in histogram.counts.iter().zip(bounds.chain(["+Inf".into()])) {
            total = total.saturating_add(*count);
            let _ = writeln!(
                out,
                "{name}_bucket{{listener=\"{listener}\",le=\"{bound}\"}} {total}"
            );
        }
        let sum = seconds(histogram.sum);
        let _ = writeln!(out, "{name}_sum{{listener=\"{listener}\"}} {sum}");
        let _ = writeln!(out, "{name}_count{{listener=\"{listener}\"}} {total}");
    }
}

/// Seconds, with as many decimals as it takes, down to the nanosecond. Exact, where a float would not be.
fn seconds(span: Duration) -> String {
    let text = format!("{}.{:09}", span.as_secs(), span.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A label's value: backslashes, quotes and newlines behind a backslash.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::{Place, Style, UnixName};
    use crate::model::tally::Tallies;

    #[test]
    fn every_family_has_its_help_its_type_and_its_samples() {
        let tcp = Label::new(Style::Stream, &Place::Inet("[::]:25".parse().unwrap()));
        let name = UnixName::Path((*b"/a\"b\\c\nd").into());
        let unix = Label::new(Style::Stream, &Place::Unix(Some(name)));
        let mut tallies = Tallies::new(3);
        tallies.accept(0);
        tallies.accept(2);
        tallies.deny(1);
        tallies.enter(0);
        tallies.start(0, Duration::from_micros(60));
        tallies.start(0, Duration::from_secs(2));
        let usage = Usage {
            cpu: Some(Duration::from_millis(1500)),
            most_files: Some(1024),
            ..Usage::default()
        };
        // Two of one name are told as one.
        let listeners = [&tcp, &unix, &tcp].into_iter().zip(tallies.each());
        let snapshot = Snapshot::new(listeners, NonZeroU32::new(40), usage);
        let text = text(&snapshot);
        for line in [
            "# TYPE skd_accepted_total counter",
            "skd_accepted_total{listener=\"tcp:[::]:25\"} 2",
            "skd_accepted_total{listener=\"unix:/a\\\"b\\\\c?d\"} 0",
            "skd_denied_total{listener=\"unix:/a\\\"b\\\\c?d\"} 1",
            "skd_children{listener=\"tcp:[::]:25\"} 1",
            "skd_children_limit 40",
            "skd_spawn_seconds_bucket{listener=\"tcp:[::]:25\",le=\"0.00005\"} 0",
            "skd_spawn_seconds_bucket{listener=\"tcp:[::]:25\",le=\"0.0001\"} 1",
            "skd_spawn_seconds_bucket{listener=\"tcp:[::]:25\",le=\"1\"} 1",
            "skd_spawn_seconds_bucket{listener=\"tcp:[::]:25\",le=\"+Inf\"} 2",
            "skd_spawn_seconds_sum{listener=\"tcp:[::]:25\"} 2.00006",
            "skd_spawn_seconds_count{listener=\"tcp:[::]:25\"} 2",
            "skd_connection_seconds_count{listener=\"tcp:[::]:25\"} 0",
            "process_cpu_seconds_total 1.5",
            "process_max_fds 1024",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(!text.contains("process_open_fds"));
        assert_eq!(text.matches("skd_children{").count(), 2);
        let families = text
            .lines()
            .filter(|line| line.starts_with("# TYPE "))
            .count();
        assert_eq!(families, 10);
    }
}
