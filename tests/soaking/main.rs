//! The run of tests/soak: two skds, clients of all kinds, and everything that can happen to the skds meanwhile; then
//! every count must be exact.
//!
//!     soak SECONDS SKD HANDLER
//!
//! It is PID 1 of namespaces of its own: what it leaves behind ends with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that fails ends, and one that does not is printed"
)]

mod account;
mod clients;
mod held;
mod instance;
mod ledger;
mod logs;
mod net;
mod round;
mod services;
mod talk;
mod troubles;

use account::Account;
use round::Run;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A file system of this run alone.
pub(crate) const FOLDER: &str = "/mnt";
/// No event that is waited for takes longer, however busy the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How much there is in a run of this many seconds.
const FULL_SECS: u64 = 600;
const CONNECTIONS: u64 = 500_000;
const LIVE: u64 = 10_000;
const ROUNDS: u64 = 20;

/// Looks again and again until `look` has an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (Some(secs), Some(skd), Some(handler)) = (
        words.first().and_then(|word| word.parse::<u64>().ok()),
        words.get(1),
        words.get(2),
    ) else {
        eprintln!("usage: soak SECONDS SKD HANDLER");
        return ExitCode::from(100);
    };
    for (from, to) in [(skd, "skd-0"), (skd, "skd-1"), (handler, "handler")] {
        std::fs::copy(from, format!("{FOLDER}/{to}")).unwrap();
    }
    let start = Instant::now();
    let wanted = CONNECTIONS * secs / FULL_SECS;
    let mut run = Run::start((LIVE * secs / FULL_SECS) as usize);
    let mut account = Account::default();
    let time = Duration::from_secs(secs) / ROUNDS as u32;
    let mut number = 0;
    // What the machine does not do in the time takes longer, but not for ever.
    while number < ROUNDS || run.connections() < wanted && number < 3 * ROUNDS {
        number += 1;
        if let Err(wrong) = run.round(number, number <= ROUNDS / 2, time, &mut account) {
            return fails(number, &wrong);
        }
    }
    if run.connections() < wanted {
        return fails(
            number,
            &[format!(
                "{} connections only, of {wanted}",
                run.connections()
            )],
        );
    }
    match run.end(&mut account) {
        Ok(()) => account.print(start.elapsed()),
        Err(wrong) => return fails(number, &wrong),
    }
    match account.is_flat() {
        wrong if wrong.is_empty() => ExitCode::SUCCESS,
        wrong => fails(number, &wrong),
    }
}

fn fails(round: u64, wrong: &[String]) -> ExitCode {
    println!("tests/soak: not exact in round {round}:");
    wrong.iter().take(30).for_each(|text| println!("  {text}"));
    println!("  {} in all", wrong.len());
    ExitCode::FAILURE
}
