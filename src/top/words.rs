//! Turns numbers into the short words that a table has room for; pure.

use crate::histogram::Estimate;

/// Powers of a thousand.
const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];

/// A count, whole while it has at most `digits` digits, else as `1.2M`; at least 6.
pub(crate) fn count(count: f64, digits: usize) -> String {
    let whole = format!("{count:.0}");
    if whole.len() <= digits {
        whole
    } else {
        scaled(count, 1000.0)
    }
}

/// How many a second, in at most 8 characters; `-` where it is not known.
pub(crate) fn rate(per_sec: Option<f64>) -> String {
    match per_sec {
        None => "-".into(),
        Some(rate) if rate < 9_999.95 => format!("{rate:.1}"),
        Some(rate) => count(rate, 6),
    }
}

/// Seconds as `62us`, `1.2ms`, `480ms`, `3.4s`, `12m`; `>` before it where it is more.
pub(crate) fn span(estimate: Estimate) -> String {
    match estimate {
        Estimate::About(secs) => about(secs),
        Estimate::Above(secs) => format!(">{}", about(secs)),
    }
}

fn about(secs: f64) -> String {
    let (factor, decimals, unit) = match secs {
        _ if secs < 0.000_999_5 => (1e6, 0, "us"),
        _ if secs < 0.009_95 => (1e3, 1, "ms"),
        _ if secs < 0.999_5 => (1e3, 0, "ms"),
        _ if secs < 9.95 => (1.0, 1, "s"),
        _ if secs < 119.5 => (1.0, 0, "s"),
        _ if secs < 119.5 * 60.0 => (1.0 / 60.0, 0, "m"),
        _ if secs < 47.5 * 3600.0 => (1.0 / 3600.0, 0, "h"),
        _ if secs < 9_999.5 * 86400.0 => (1.0 / 86400.0, 0, "d"),
        _ => return "ages".into(),
    };
    format!("{:.decimals$}{unit}", secs * factor)
}

/// Bytes as `2.3 MiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    let text = scaled(bytes, 1024.0);
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    match text.strip_prefix(number).unwrap_or_default() {
        "" => format!("{number} B"),
        unit if number.is_empty() => unit.to_owned(),
        unit => format!("{number} {}iB", unit.to_ascii_uppercase()),
    }
}

fn scaled(number: f64, step: f64) -> String {
    let (mut number, mut units) = (number, UNITS.iter());
    let mut unit = units.next().unwrap_or(&"");
    let mut decimals = 0;
    while number >= step * 0.99995 {
        let Some(next) = units.next() else {
            return "lots".into();
        };
        (number, unit, decimals) = (number / step, next, 1);
    }
    format!("{number:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_room() {
        let table = [
            (0.0, "0"),
            (123_456.0, "123456"),
            (999_999.4, "999999"),
            (1_000_000.0, "1.0M"),
            (12_345_678.0, "12.3M"),
            (999_990_000.0, "1.0G"),
            (1e17, "100.0P"),
            (1e300, "lots"),
        ];
        for (number, text) in table {
            assert_eq!(count(number, 6), text);
        }
        let rates = [
            (Some(0.0), "0.0"),
            (Some(9999.94), "9999.9"),
            (Some(9999.95), "10000"),
            (Some(2e6), "2.0M"),
            (Some(f64::MAX), "lots"),
            (None, "-"),
        ];
        for (number, text) in rates {
            assert_eq!(rate(number), text);
        }
        let sizes = [
            (100.0, "100 B"),
            (2048.0, "2.0 KiB"),
            (2_411_725.0, "2.3 MiB"),
            (1e30, "lots"),
        ];
        for (number, text) in sizes {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn spans_have_the_unit_that_fits() {
        let table = [
            (0.0, "0us"),
            (0.000_062_4, "62us"),
            (0.000_999_6, "1.0ms"),
            (0.001_24, "1.2ms"),
            (0.009_96, "10ms"),
            (0.48, "480ms"),
            (0.9996, "1.0s"),
            (9.96, "10s"),
            (119.0, "119s"),
            (120.0, "2m"),
            (3600.0, "60m"),
            (86400.0, "24h"),
            (900_000.0, "10d"),
            (1e300, "ages"),
        ];
        for (secs, text) in table {
            assert_eq!(span(Estimate::About(secs)), text);
            assert_eq!(span(Estimate::Above(secs)), format!(">{text}"));
        }
    }
}
