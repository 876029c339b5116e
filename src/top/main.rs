//! skd-top: reads argv once, wires what fetches, counts and draws the metrics of a running skd, and is the only exit.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that fails ends by panicking"
    )
)]

mod arguments;
mod ask;
mod clock;
mod draw;
mod exposition;
mod fetch;
mod figures;
mod histogram;
mod print;
mod reply;
mod scrape;
mod screen;
mod words;

/// The nouns that skd-top has in common with skd.
#[path = "../model/mod.rs"]
#[allow(
    dead_code,
    reason = "most of them are skd's alone, where dead code shows"
)]
mod model;

/// How skd reads an address.
#[path = "../config"]
#[allow(dead_code, reason = "other options of skd are read by the same files")]
mod config {
    pub(crate) mod addr;
    pub(crate) mod number;
}

use arguments::Asked;
use model::error::{Fatal, Kind};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            let line = match fatal.kind {
                Kind::Usage => format!("skd-top: usage: {}; try \"skd-top --help\"", fatal.text),
                _ => format!("skd-top: fatal: {}", fatal.text),
            };
            // Nobody is left to tell if this fails.
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::from(fatal.exit_code())
        }
    }
}

fn run() -> Result<(), Fatal> {
    // The system tells it to a process of one thread only, so that this comes first.
    let clock = clock::Clock::local();
    match arguments::read(std::env::args_os().skip(1).collect())? {
        Asked::Text(text) => print::out(&text),
        Asked::Watch(target) => {
            let look = draw::Look::of(|name| std::env::var(name).ok());
            if std::io::stdout().is_terminal() {
                screen::watch(target, look, clock)
            } else {
                print::once(&target, look, clock)
            }
        }
    }
}
