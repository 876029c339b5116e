//! Turns words from outside into text that is safe in a one-line message.

use std::fmt;

/// The longest piece of foreign text that a message shows, in characters.
const FOREIGN_CHARS: usize = 100;

/// Foreign text as a message shows it: control characters and bytes that are no UTF-8 become `?`, and what is longer
/// than 100 characters is cut there.
pub(crate) fn foreign(bytes: &[u8]) -> String {
    harmless(bytes).chars().take(FOREIGN_CHARS).collect()
}

/// The same without the cut, for whole lines and for names whose length is bounded elsewhere.
pub(crate) fn harmless(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.extend(
            chunk
                .valid()
                .chars()
                .map(|c| if breaks_lines(c) { '?' } else { c }),
        );
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
    }
    text
}

/// Control characters, the two separators that some viewers take for the end of a line, and those that turn the
/// direction of what follows.
fn breaks_lines(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A user's own word as a message quotes it: `"word"`, made harmless and cut.
pub(crate) struct Quoted<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", foreign(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_harmless_line() {
        let table: &[(&[u8], &str)] = &[
            (b"plain", "plain"),
            (b"a\nb\r\x1b[31mc\x7f\0", "a?b??[31mc??"),
            (b"caf\xc3\xa9", "caf\u{e9}"),
            (b"\xff\xfeab\xc3", "??ab?"),
            ("c1 \u{9b}2J".as_bytes(), "c1 ?2J"),
            ("line\u{2028}line".as_bytes(), "line?line"),
            ("\u{202e}drowssap".as_bytes(), "?drowssap"),
        ];
        for (bytes, text) in table {
            assert_eq!(&foreign(bytes), text);
        }
    }

    #[test]
    fn long_text_is_cut_at_a_hundred_characters() {
        assert_eq!(
            foreign("\u{e9}".repeat(300).as_bytes()),
            "\u{e9}".repeat(100)
        );
        assert_eq!(harmless(&[b'x'; 300]).len(), 300);
        assert_eq!(Quoted(b"a\"b").to_string(), "\"a\"b\"");
    }
}
