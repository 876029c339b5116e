//! Turns the SPEC of `-L` into where lines go.

use crate::model::daemon::{FACILITIES, LogTo, SEVERITIES, SyslogTo};
use crate::model::error::Fatal;
use crate::model::text::Quoted;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// daemon.notice
const DEFAULT_FACILITY: u8 = 3;
const DEFAULT_SEVERITY: u8 = 5;
/// RFC 3164 allows 32 characters; rsyslog and busybox keep more.
const TAG_BYTES: usize = 64;

/// `TAG[:FACILITY.PRIORITY]`, `>FILE` or `>>FILE`; names in any case, or numbers.
///
/// # Errors
/// A usage error that names the part that is wrong.
pub(super) fn parse(word: &OsStr) -> Result<LogTo, Fatal> {
    let bytes = word.as_bytes();
    if let Some(rest) = bytes.strip_prefix(b">") {
        let (truncate, rest) = rest
            .strip_prefix(b">")
            .map_or((true, rest), |rest| (false, rest));
        let path = rest.trim_ascii_start();
        if path.is_empty() {
            return Err(Fatal::usage(format!(
                "--log: {}: a file name is missing",
                Quoted(bytes)
            )));
        }
        return Ok(LogTo::File {
            path: OsStr::from_bytes(path).to_owned(),
            truncate,
        });
    }
    let wrong = |what: &str, part: &str| {
        let (part, word) = (Quoted(part.as_bytes()), Quoted(bytes));
        Fatal::usage(format!("--log: {word}: {part} is no {what}"))
    };
    let text = word
        .to_str()
        .ok_or_else(|| wrong("tag", &String::from_utf8_lossy(bytes)))?;
    if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
        let text = format!(
            "--log: {}: a file is given as >FILE or >>FILE",
            Quoted(bytes)
        );
        return Err(Fatal::usage(text));
    }
    let (tag, priority) = text
        .split_once(':')
        .map_or((text, None), |(tag, rest)| (tag, Some(rest)));
    if tag.is_empty()
        || tag.len() > TAG_BYTES
        || tag.contains(|c: char| c.is_control() || c.is_whitespace())
    {
        return Err(wrong("tag of 1 to 64 bytes without blanks", tag));
    }
    let (facility, severity) = match priority {
        None => (DEFAULT_FACILITY, DEFAULT_SEVERITY),
        Some(pair) => {
            let (facility, severity) = pair
                .split_once('.')
                .ok_or_else(|| wrong("FACILITY.PRIORITY", pair))?;
            let facility =
                number_of(&FACILITIES, facility).ok_or_else(|| wrong("facility", facility))?;
            (
                facility,
                number_of(&SEVERITIES, severity).ok_or_else(|| wrong("priority", severity))?,
            )
        }
    };
    Ok(LogTo::Syslog(SyslogTo {
        tag: tag.to_owned(),
        facility,
        severity,
    }))
}

/// The number of a name of the table, or the number itself if it has a place there.
fn number_of(table: &[&[&str]], word: &str) -> Option<u8> {
    let is_called = |names: &&[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(word));
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let place = if is_number {
        word.parse().ok()
    } else {
        table.iter().position(is_called)
    };
    place
        .filter(|place| *place < table.len())
        .and_then(|place| u8::try_from(place).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(word: &str) -> String {
        match parse(OsStr::new(word)) {
            Ok(LogTo::Syslog(SyslogTo {
                tag,
                facility,
                severity,
            })) => format!("{tag} {facility} {severity}"),
            Ok(LogTo::File { path, truncate }) => format!("{} {truncate}", path.display()),
            Err(fatal) => fatal.text,
        }
    }

    #[test]
    fn a_bad_part_is_named() {
        let table = [
            (
                "/x:a.b",
                "--log: \"/x:a.b\": a file is given as >FILE or >>FILE",
            ),
            ("./x", "--log: \"./x\": a file is given as >FILE or >>FILE"),
            (
                "",
                "--log: \"\": \"\" is no tag of 1 to 64 bytes without blanks",
            ),
            (
                ":daemon.info",
                "--log: \":daemon.info\": \"\" is no tag of 1 to 64 bytes without blanks",
            ),
            (
                "a b",
                "--log: \"a b\": \"a b\" is no tag of 1 to 64 bytes without blanks",
            ),
            (
                "x:daemon",
                "--log: \"x:daemon\": \"daemon\" is no FACILITY.PRIORITY",
            ),
            ("x:", "--log: \"x:\": \"\" is no FACILITY.PRIORITY"),
            (
                "x:foo.info",
                "--log: \"x:foo.info\": \"foo\" is no facility",
            ),
            ("x:24.info", "--log: \"x:24.info\": \"24\" is no facility"),
            (
                "x:daemon.loud",
                "--log: \"x:daemon.loud\": \"loud\" is no priority",
            ),
            ("x:daemon.8", "--log: \"x:daemon.8\": \"8\" is no priority"),
            ("x:daemon.", "--log: \"x:daemon.\": \"\" is no priority"),
            ("x:+3.info", "--log: \"x:+3.info\": \"+3\" is no facility"),
            (">", "--log: \">\": a file name is missing"),
            (">>  ", "--log: \">>  \": a file name is missing"),
        ];
        for (word, shown) in table {
            assert_eq!(text(word), shown);
        }
        assert!(parse(OsStr::new(&"x".repeat(65))).is_err());
        assert!(parse(OsStr::from_bytes(b"\xff")).is_err());
    }

    #[test]
    fn facilities_and_priorities_go_by_name_and_number() {
        let table = [
            ("x", "x 3 5"),
            ("testsrv:daemon.info", "testsrv 3 6"),
            ("x:LOCAL7.Debug", "x 23 7"),
            ("x:security.panic", "x 4 0"),
            ("x:0.0", "x 0 0"),
            ("x:23.7", "x 23 7"),
            ("x:user.warn", "x 1 4"),
            (">/var/log/x", "/var/log/x true"),
            ("> x", "x true"),
            (">>x", "x false"),
            (">>  x y", "x y false"),
        ];
        for (word, shown) in table {
            assert_eq!(text(word), shown);
        }
        for (number, names) in FACILITIES.iter().enumerate() {
            names.iter().for_each(|name| {
                assert_eq!(text(&format!("x:{name}.err")), format!("x {number} 3"))
            });
        }
        for (number, names) in SEVERITIES.iter().enumerate() {
            names.iter().for_each(|name| {
                assert_eq!(text(&format!("x:cron.{name}")), format!("x 9 {number}"))
            });
        }
    }
}
