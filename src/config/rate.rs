//! Turns `N/SECS` into a rate.

use crate::config::number;
use crate::model::admission::Rate;
use crate::model::error::Fatal;
use crate::model::text::Quoted;
use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;

/// How many connections a rate may count, and over how many seconds.
const COUNTS: RangeInclusive<u64> = 1..=1_000_000;
const SECS: RangeInclusive<u64> = 1..=86_400;

/// The `N/SECS` of the option `name`.
///
/// # Errors
/// A usage error that names the word and the ranges.
pub(crate) fn rate(name: &str, word: &OsStr) -> Result<Rate, Fatal> {
    let text = word.as_bytes();
    let slash = text.iter().position(|byte| *byte == b'/');
    let parts = slash.and_then(|slash| text.split_at_checked(slash));
    let number = |text, range| {
        let number = number::decimal(text, range)?;
        NonZeroU32::new(u32::try_from(number).ok()?)
    };
    parts
        .and_then(|(count, rest)| {
            Some(Rate {
                count: number(count, &COUNTS)?,
                secs: number(rest.get(1..)?, &SECS)?,
            })
        })
        .ok_or_else(|| {
            let (counts, secs) = (COUNTS.end(), SECS.end());
            Fatal::usage(format!(
                "{name}: {} is no N/SECS with N from 1 to {counts} and SECS from 1 to {secs}",
                Quoted(text)
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_rate_is_a_usage_error() {
        for junk in [
            "",
            "/",
            "10",
            "10/",
            "/60",
            "0/60",
            "10/0",
            "-1/60",
            "10/60s",
            "10/60/1",
            "10 /60",
            "1000001/1",
            "1/86401",
            "a/b",
            "+1/1",
            "1.5/1",
        ] {
            let fatal = rate("--rate", OsStr::new(junk)).unwrap_err();
            assert_eq!(fatal.exit_code(), 100);
            assert_eq!(
                fatal.text,
                format!(
                    "--rate: \"{junk}\" is no N/SECS with N from 1 to 1000000 and SECS from 1 to 86400"
                )
            );
        }
    }

    #[test]
    fn a_rate_is_a_number_of_connections_in_a_span_of_seconds() {
        for (word, count, secs) in [
            ("10/60", 10, 60),
            ("1/1", 1, 1),
            ("1000000/86400", 1_000_000, 86_400),
        ] {
            let rate = rate("--rate", OsStr::new(word)).unwrap();
            assert_eq!((rate.count.get(), rate.secs.get()), (count, secs));
        }
    }
}
