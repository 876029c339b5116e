//! An inetd.conf(5) as lines of words, each with its place.

use crate::model::inetd::{At, Wrong};

/// So many words one service may have: far more than any program of an inetd takes.
const MOST_WORDS: usize = 1024;

/// A word without its quotes, which are for blanks inside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Word {
    pub(super) at: At,
    pub(super) bytes: Vec<u8>,
}

/// A line with all that continues it.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) words: Vec<Word>,
    /// Behind the last word.
    pub(super) end: At,
}

/// The lines of a file. Empty ones and comments are left out: `#` at the beginning of a line, or behind the blanks that
/// it begins with. What cannot be told apart into words is wrong, and its line is left out.
pub(super) fn lines(text: &[u8]) -> (Vec<Line>, Vec<Wrong>) {
    let (mut lines, mut wrong) = (Vec::<Line>::new(), Vec::new());
    let unmarked = text.strip_prefix(b"\xef\xbb\xbf");
    if unmarked.is_some() {
        wrong.push(Wrong {
            at: At { line: 1, column: 1 },
            why: "a byte order mark; the file is expected to begin with the first service".into(),
        });
    }
    let text = unmarked.unwrap_or(text);
    // Whether the line before can be continued, and whether it is one of those that are wrong.
    let mut before = Before::Nothing;
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let first = line.iter().position(|byte| !is_blank(*byte));
        let Some(first) = first.filter(|first| line.get(*first) != Some(&b'#')) else {
            // A comment in the column of a service may be one that is switched off: what continues it is not the one's
            // before. One behind blanks stands in a line that goes on.
            if first.is_none() || line.starts_with(b"#") {
                before = Before::Nothing;
            }
            continue;
        };
        let read = words(line, number);
        match (first > 0, &before, read) {
            (true, Before::Wrong, _) => {}
            (true, Before::Nothing, _) => {
                let column = column(line, first);
                wrong.push(Wrong {
                    at: At { line: number, column },
                    why: "a line that begins with a blank continues the one before, and there is none".into(),
                });
                before = Before::Wrong;
            }
            (is_more, _, Ok(Line { words, end })) => {
                if !is_more {
                    lines.push(Line::default());
                }
                if let Some(line) = lines.last_mut() {
                    line.words.extend(words);
                    line.end = end;
                }
                before = Before::Line;
            }
            (is_more, _, Err(why)) => {
                wrong.push(why);
                if is_more {
                    lines.pop();
                }
                before = Before::Wrong;
            }
        }
    }
    lines.retain(|line| match line.words.get(MOST_WORDS) {
        Some(word) => {
            let why = format!("a service has at most {MOST_WORDS} words");
            wrong.push(Wrong { at: word.at, why });
            false
        }
        None => true,
    });
    (lines, wrong)
}

enum Before {
    Nothing,
    Line,
    Wrong,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The column of a byte: characters are counted, not bytes.
fn column(line: &[u8], place: usize) -> usize {
    let before = line.get(..place).unwrap_or(line);
    1 + before.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// A word begins with a quote and ends with the same, or ends at a blank.
fn words(line: &[u8], number: usize) -> Result<Line, Wrong> {
    let at = |place| At {
        line: number,
        column: column(line, place),
    };
    let wrong = |place, why: &str| Wrong {
        at: at(place),
        why: why.into(),
    };
    if let Some(place) = line.iter().position(|byte| *byte == 0) {
        return Err(wrong(place, "a NUL byte"));
    }
    let mut words = Vec::new();
    let mut place = 0;
    while let Some(byte) = line.get(place).copied() {
        if is_blank(byte) {
            place += 1;
            continue;
        }
        let rest = line.get(place..).unwrap_or_default();
        let (bytes, len) = match byte {
            b'"' | b'\'' => {
                let inside = rest.get(1..).unwrap_or_default();
                let end = inside.iter().position(|other| *other == byte);
                let end = end.ok_or_else(|| wrong(place, "the second quote is missing"))?;
                (inside.get(..end), end + 2)
            }
            _ => {
                let end = rest.iter().position(|byte| is_blank(*byte));
                let end = end.unwrap_or(rest.len());
                (rest.get(..end), end)
            }
        };
        if rest.get(len).is_some_and(|byte| !is_blank(*byte)) {
            return Err(wrong(place + len, "a blank is expected behind the quote"));
        }
        words.push(Word {
            at: at(place),
            bytes: bytes.unwrap_or_default().to_vec(),
        });
        place += len;
    }
    Ok(Line {
        end: at(line.trim_ascii_end().len()),
        words,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each word with its place, and each thing that is wrong.
    fn shown(text: &[u8]) -> String {
        let (lines, wrong) = lines(text);
        let word = |word: &Word| {
            let (At { line, column }, bytes) = (word.at, String::from_utf8_lossy(&word.bytes));
            format!("{line}:{column}[{bytes}]")
        };
        let line = |line: &Line| line.words.iter().map(word).collect::<Vec<_>>().join(" ");
        let lines = lines.iter().map(line);
        lines
            .chain(wrong.iter().map(|wrong| wrong.shown(b"f")))
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn lines_are_words_with_their_places() {
        let none = "a line that begins with a blank continues the one before, and there is none";
        let table: [(&[u8], String); 17] = [
            (b"", String::new()),
            (b"\n \n\t\n# a b\n  # c\n", String::new()),
            (b"a b", "1:1[a] 1:3[b]".into()),
            (b"a\tb \r\nc", "1:1[a] 1:3[b]; 2:1[c]".into()),
            (
                b"a b\n\tc d\ne",
                "1:1[a] 1:3[b] 2:2[c] 2:4[d]; 3:1[e]".into(),
            ),
            (b"a\n  # y\n b\n#x\nc\n d", "1:1[a] 3:2[b]; 5:1[c] 6:2[d]".into()),
            (
                b"a\n# x\n b\n",
                "1:1[a]; f:3:2: a line that begins with a blank continues the one before, and there is none".into(),
            ),
            (b"a # b", "1:1[a] 1:3[#] 1:5[b]".into()),
            (
                b"'a b' \"c'd\" \"\" e'f",
                "1:1[a b] 1:7[c'd] 1:13[] 1:16[e'f]".into(),
            ),
            (
                "\u{e9}\u{e9} b".as_bytes(),
                "1:1[\u{e9}\u{e9}] 1:4[b]".into(),
            ),
            (b" a\n b\nc", format!("3:1[c]; f:1:2: {none}")),
            (b"a\n\n b", format!("1:1[a]; f:3:2: {none}")),
            (
                b"a 'b c\n d\ne",
                "3:1[e]; f:1:3: the second quote is missing".into(),
            ),
            (
                b"a 'b'c",
                "f:1:6: a blank is expected behind the quote".into(),
            ),
            (
                b"\xef\xbb\xbfa b\nc",
                "1:1[a] 1:3[b]; 2:1[c]; f:1:1: a byte order mark; the file is expected to begin with the first service"
                    .into(),
            ),
            (b"a\n b\0\nc", "3:1[c]; f:2:3: a NUL byte".into()),
            (
                &[b"a ".repeat(1024), b"b\nc".to_vec()].concat(),
                "2:1[c]; f:1:2049: a service has at most 1024 words".into(),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{}", String::from_utf8_lossy(text));
        }
    }
}
