//! Turns the MESSAGE of `-r` into the bytes that a refused client gets.

use crate::model::error::Fatal;
use crate::model::text::Quoted;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// MESSAGE of the option `name`, its escapes `\r \n \t \\` resolved.
///
/// # Errors
/// A usage error for another escape, and for an empty message.
pub(crate) fn message(name: &str, word: &OsStr) -> Result<Box<[u8]>, Fatal> {
    let text = word.as_bytes();
    let wrong = |why: &str| Err(Fatal::usage(format!("{name}: {}: {why}", Quoted(text))));
    if text.is_empty() {
        return wrong("a message is missing");
    }
    let mut message = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let meant = match byte {
            b'\\' => match bytes.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'\\') => b'\\',
                _ => return wrong(r"\r, \n, \t or \\ is expected at a backslash"),
            },
            byte => *byte,
        };
        message.push(meant);
    }
    Ok(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_escape_is_a_usage_error() {
        for (word, why) in [
            ("", "a message is missing"),
            (r"\", r"\r, \n, \t or \\ is expected at a backslash"),
            (r"a\0", r"\r, \n, \t or \\ is expected at a backslash"),
            (r"a\x41", r"\r, \n, \t or \\ is expected at a backslash"),
            (r"\\\", r"\r, \n, \t or \\ is expected at a backslash"),
            (r"\N", r"\r, \n, \t or \\ is expected at a backslash"),
        ] {
            let fatal = message("--refuse", OsStr::new(word)).unwrap_err();
            assert_eq!(fatal.text, format!("--refuse: \"{word}\": {why}"));
            assert_eq!(fatal.exit_code(), 100);
        }
    }

    #[test]
    fn escapes_are_resolved_and_all_else_stays() {
        let table: [(&[u8], &[u8]); 5] = [
            (
                br"421 too many connections\r\n",
                b"421 too many connections\r\n",
            ),
            (br"\t\\n\\", b"\t\\n\\"),
            (b"plain", b"plain"),
            (b"\xff\n\"", b"\xff\n\""),
            (br"%s", b"%s"),
        ];
        for (word, bytes) in table {
            assert_eq!(
                *message("--refuse", OsStr::from_bytes(word)).unwrap(),
                *bytes
            );
        }
    }
}
