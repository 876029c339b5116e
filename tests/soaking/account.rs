//! The figures of the run, as a table.

use crate::clients::Clients;
use crate::instance::{Footprint, Instance, locked};
use crate::round::{File, Syslog};
use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Memory at the end is at most a tenth more than at the beginning, and this: a few pages are no growth.
const SLACK_KB: u64 = 64;

/// The first and the last that can be compared: the first round after an upgrade fills what is kept, and the reaper, which
/// has descriptors and memory of its own, is begun when it is first needed.
fn compared(samples: &[Footprint]) -> Option<(Footprint, Footprint)> {
    let last = samples.last()?;
    let has_reaper = |it: &Footprint| it.reaper_fds > 0;
    let mut settled = samples.iter().skip(1);
    let first = settled.find(|it| has_reaper(it) == has_reaper(last))?;
    Some((*first, *last))
}

/// Footprints of the two, in the rounds without upgrades of theirs, in which nothing is begun anew.
#[derive(Default)]
pub(crate) struct Account {
    samples: [Vec<Footprint>; 2],
    rows: Vec<(String, String)>,
}

impl Account {
    /// One line of progress, and what is to be compared.
    pub(crate) fn sample(
        &mut self,
        round: u64,
        is_first_half: bool,
        connections: u64,
        live: usize,
        skds: [&Instance; 2],
    ) {
        let now = skds.map(Instance::footprint);
        let shown = now.map(|it| format!("{} kB, {}+{} fds", it.dirty_kb, it.fds, it.reaper_fds));
        println!(
            "round {round}: {connections} connections, {live} live; file {}; syslog {}",
            shown[0], shown[1]
        );
        self.samples[usize::from(is_first_half)].push(now[usize::from(is_first_half)]);
    }

    /// What has grown.
    pub(crate) fn is_flat(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, samples) in ["file", "syslog"].iter().zip(&self.samples) {
            let Some((first, last)) = compared(samples) else {
                continue;
            };
            for (what, before, after) in [
                ("dirty", first.dirty_kb, last.dirty_kb),
                ("rss", first.rss_kb, last.rss_kb),
            ] {
                if after > before + before / 10 + SLACK_KB {
                    wrong.push(format!(
                        "{name}: {what} memory was {before} kB and is {after} kB"
                    ));
                }
            }
            if first.fds != last.fds {
                wrong.push(format!(
                    "{name}: {} descriptors, and now {}",
                    first.fds, last.fds
                ));
            }
        }
        wrong
    }

    fn row(&mut self, what: &str, figure: impl Display) {
        self.rows.push((what.to_owned(), figure.to_string()));
    }

    pub(crate) fn totals(&mut self, file: &File, syslog: &Syslog, clients: &Clients) {
        let skds = [&file.skd, &syslog.skd];
        let count = |word: &'static str| {
            let one = |skd: &&std::sync::Arc<Instance>| {
                locked(&skd.expected).count(|kind| kind.starts_with(word))
            };
            skds.iter().map(one).sum::<u64>()
        };
        let done = |what: fn(&Instance) -> u64| skds.iter().map(|skd| what(skd)).sum::<u64>();
        let [accepted, datagrams, answered, denied, failed] =
            ["accept ", "datagram ", "answered ", "deny ", "failed "].map(count);
        self.row(
            "connections and datagrams",
            accepted + datagrams + answered + denied,
        );
        self.row("connections served", accepted - failed);
        self.row("datagrams answered", datagrams + answered);
        self.row("denied or refused", denied);
        self.row("without a program", failed);
        self.row("live programs killed", file.held.killed);
        self.row("reloads", done(|skd| skd.reloads.load(Ordering::SeqCst)));
        self.row(
            "log files rotated",
            done(|skd| skd.rotations.load(Ordering::SeqCst)),
        );
        self.row(
            "upgrades in place",
            done(|skd| skd.upgrades.load(Ordering::SeqCst)),
        );
        self.row("restarts of syslogd", syslog.restarts);
        self.row("loggers killed", syslog.killed);
        let (whole, cut) = (&clients.scrapes, &clients.cut_off);
        self.row("metrics read whole", whole.load(Ordering::SeqCst));
        self.row(
            "readers of metrics cut off by an upgrade",
            cut.load(Ordering::SeqCst),
        );
        self.row(
            "lines of the logs",
            skds.iter().map(|skd| locked(&skd.seen).lines).sum::<u64>(),
        );
        self.row(
            "lines lost and told",
            skds.iter().map(|skd| locked(&skd.seen).lost).sum::<u64>(),
        );
        self.row("lines that killed loggers had read", syslog.taken_along);
        self.row(
            "connections, lines, zombies and children not accounted for",
            0,
        );
        for (place, name) in ["log in a file, live connections", "log to syslog"]
            .into_iter()
            .enumerate()
        {
            let samples = &self.samples[place];
            if let Some((first, last)) = compared(samples) {
                self.row(
                    &format!("{name}: private memory, first and last"),
                    format!("{} and {} kB", first.dirty_kb, last.dirty_kb),
                );
                self.row(
                    &format!("{name}: resident memory"),
                    format!("{} and {} kB", first.rss_kb, last.rss_kb),
                );
                self.row(
                    &format!("{name}: descriptors"),
                    format!("{} and {}", first.fds, last.fds),
                );
            }
        }
    }

    pub(crate) fn print(&self, took: Duration) {
        println!("\n| | in {} s |\n|---|---|", took.as_secs());
        self.rows
            .iter()
            .for_each(|(what, figure)| println!("| {what} | {figure} |"));
    }
}
