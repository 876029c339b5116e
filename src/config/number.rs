//! Turns digits into numbers, strictly.

use crate::model::error::Fatal;
use crate::model::number;
use crate::model::text::Quoted;
use std::ops::RangeInclusive;

/// A whole decimal number inside `range`.
pub(crate) fn decimal(text: &[u8], range: &RangeInclusive<u64>) -> Option<u64> {
    number::decimal(text).filter(|number| range.contains(number))
}

/// The number that an option was given.
///
/// # Errors
/// A usage error that names the option, the word and the range.
pub(crate) fn option(name: &str, text: &[u8], range: &RangeInclusive<u64>) -> Result<u64, Fatal> {
    decimal(text, range).ok_or_else(|| {
        let (low, high) = (range.start(), range.end());
        Fatal::usage(format!(
            "{name}: {} is no whole number from {low} to {high}",
            Quoted(text)
        ))
    })
}

/// Permission bits in octal: digits 0 to 7 only, at most 0777.
///
/// # Errors
/// A usage error that names the option and the word.
pub(crate) fn mode(name: &str, text: &[u8]) -> Result<u32, Fatal> {
    str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| {
            Fatal::usage(format!(
                "{name}: {} is no octal mode from 0 to 0777",
                Quoted(text)
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_decimal_numbers_inside_the_range_are_numbers() {
        for junk in [
            "",
            " 5",
            "5 ",
            "+5",
            "-5",
            "5x",
            "0x5",
            "5.0",
            "\u{665}",
            "4",
            "11",
            "99999999999999999999999",
        ] {
            assert_eq!(decimal(junk.as_bytes(), &(5..=10)), None, "{junk:?}");
        }
        assert_eq!(decimal(b"\xff", &(5..=10)), None);
        for (text, number) in [("5", 5), ("10", 10), ("0007", 7)] {
            assert_eq!(decimal(text.as_bytes(), &(5..=10)), Some(number));
        }
    }

    #[test]
    fn a_wrong_number_is_named_with_its_range() {
        let error = option("--backlog", b"ten\n", &(1..=99)).unwrap_err();
        assert_eq!(
            error.text,
            "--backlog: \"ten?\" is no whole number from 1 to 99"
        );
        assert_eq!(error.exit_code(), 100);
    }

    #[test]
    fn modes_are_octal_permission_bits() {
        for junk in [
            "",
            "8",
            "1000",
            "-1",
            "+7",
            "0o7",
            "rw",
            "77777777777777777777",
        ] {
            assert!(mode("--mode", junk.as_bytes()).is_err(), "{junk:?}");
        }
        for (text, bits) in [("0", 0), ("600", 0o600), ("0777", 0o777), ("00660", 0o660)] {
            assert_eq!(mode("--mode", text.as_bytes()).unwrap(), bits);
        }
    }
}
