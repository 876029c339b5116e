//! Turns the samples of one answer into what skd says of itself and of each listener; pure.

use crate::exposition::samples;
use crate::histogram::Histogram;
use std::collections::HashMap;

/// More than these are left out: whoever answers could name as many as the answer has room for.
const MOST_LISTENERS: usize = 10_000;

/// What one answer told; `None` is what it did not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scrape {
    pub(crate) version: String,
    /// `-c`
    pub(crate) limit: Option<f64>,
    pub(crate) cpu_secs: Option<f64>,
    pub(crate) resident_bytes: Option<f64>,
    pub(crate) open_files: Option<f64>,
    pub(crate) most_files: Option<f64>,
    /// In the order in which skd tells of them.
    pub(crate) listeners: Vec<Listener>,
}

/// What it told of a listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listener {
    /// As skd's log has it; it may hold anything.
    pub(crate) name: String,
    pub(crate) accepted: f64,
    pub(crate) denied: f64,
    pub(crate) failed: f64,
    pub(crate) children: f64,
    pub(crate) spawn: Histogram,
    pub(crate) run: Histogram,
}

/// Reads an answer; `None` if it is none of skd. Samples of other names are left out, and values that are no count.
pub(crate) fn read(text: &str) -> Option<Scrape> {
    let mut scrape = Scrape::default();
    let mut places = HashMap::new();
    let mut is_skd = false;
    for sample in samples(text) {
        let value = sample.value;
        if !value.is_finite() || value < 0.0 {
            continue;
        }
        match (sample.name, sample.label("listener")) {
            ("skd_info", _) => {
                is_skd = true;
                scrape.version = sample.label("version").unwrap_or_default().to_owned();
            }
            ("skd_children_limit", _) => scrape.limit = Some(value),
            ("process_cpu_seconds_total", _) => scrape.cpu_secs = Some(value),
            ("process_resident_memory_bytes", _) => scrape.resident_bytes = Some(value),
            ("process_open_fds", _) => scrape.open_files = Some(value),
            ("process_max_fds", _) => scrape.most_files = Some(value),
            (name, Some(listener)) if name.starts_with("skd_") => {
                let next = scrape.listeners.len();
                if next == MOST_LISTENERS && !places.contains_key(listener) {
                    continue;
                }
                let place = *places.entry(listener.to_owned()).or_insert(next);
                if place == next {
                    scrape.listeners.push(Listener {
                        name: listener.to_owned(),
                        ..Listener::default()
                    });
                }
                if let Some(it) = scrape.listeners.get_mut(place) {
                    put(it, name, value, sample.label("le"));
                }
            }
            _ => {}
        }
    }
    is_skd.then_some(scrape)
}

fn put(listener: &mut Listener, name: &str, value: f64, bound: Option<&str>) {
    let bound = bound.and_then(|bound| bound.parse().ok());
    match (name, bound) {
        ("skd_accepted_total", _) => listener.accepted = value,
        ("skd_denied_total", _) => listener.denied = value,
        ("skd_failed_total", _) => listener.failed = value,
        ("skd_children", _) => listener.children = value,
        ("skd_spawn_seconds_bucket", Some(bound)) => listener.spawn.put(bound, value),
        ("skd_connection_seconds_bucket", Some(bound)) => listener.run.put(bound, value),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_listener_by_listener() {
        let text = r#"# HELP skd_info The version of skd.
skd_info{version="2.0.0"} 1
skd_accepted_total{listener="b"} 7
skd_accepted_total{listener="a\nb"} 5
skd_denied_total{listener="b"} 3
skd_failed_total{listener="b"} 2
skd_children{listener="b"} 1
skd_children_limit 40
skd_spawn_seconds_bucket{listener="b",le="0.1"} 4
skd_spawn_seconds_bucket{listener="b",le="+Inf"} 5
skd_spawn_seconds_sum{listener="b"} 1.5
skd_connection_seconds_bucket{listener="b",le="+Inf"} 6
process_cpu_seconds_total 1.5
process_open_fds 12
process_max_fds NaN
other{listener="c"} 9
"#;
        let scrape = read(text).unwrap();
        assert_eq!(
            (scrape.version.as_str(), scrape.limit),
            ("2.0.0", Some(40.0))
        );
        assert_eq!((scrape.cpu_secs, scrape.resident_bytes), (Some(1.5), None));
        assert_eq!((scrape.open_files, scrape.most_files), (Some(12.0), None));
        let [b, a] = &scrape.listeners[..] else {
            panic!("{scrape:?}");
        };
        assert_eq!((a.name.as_str(), a.accepted), ("a\nb", 5.0));
        let counts = [b.accepted, b.denied, b.failed, b.children];
        assert_eq!((b.name.as_str(), counts), ("b", [7.0, 3.0, 2.0, 1.0]));
        assert_eq!((b.spawn.total(), b.run.total()), (5.0, 6.0));
    }

    #[test]
    fn nobody_makes_listeners_without_end() {
        let line = |number| format!("skd_children{{listener=\"{number}\"}} 1\n");
        let once: String = (0..=MOST_LISTENERS).map(line).collect();
        let scrape = read(&format!("skd_info 1\n{once}{once}")).unwrap();
        assert_eq!(scrape.listeners.len(), MOST_LISTENERS);
        assert_eq!(scrape.listeners[MOST_LISTENERS - 1].name, "9999");
    }

    #[test]
    fn what_is_not_of_skd_is_none() {
        assert_eq!(read(""), None);
        assert_eq!(read("go_info 1\nskd_children{listener=\"a\"} 1\n"), None);
        assert!(read("skd_info 1\n").is_some());
    }
}
