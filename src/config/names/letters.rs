//! Options of one letter each, as getopt(3) reads them that stops at the first word which is none.

use crate::model::error::Fatal;
use crate::model::text::Quoted;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Options in their order, and the words behind them.
#[derive(Debug)]
pub(super) struct Letters {
    pub(super) options: Vec<(u8, OsString)>,
    pub(super) rest: Vec<OsString>,
}

impl Letters {
    /// `known` are the letters, each that takes a value followed by a colon.
    ///
    /// # Errors
    /// A usage error that names the option.
    pub(super) fn read(known: &str, words: Vec<OsString>) -> Result<Self, Fatal> {
        let mut options = Vec::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) =
            words.next_if(|word| word.len() > 1 && word.as_bytes().starts_with(b"-"))
        {
            if word == "--" {
                break;
            }
            let mut letters = word.as_bytes().get(1..).unwrap_or_default();
            while let [letter, rest @ ..] = letters {
                letters = rest;
                let shown = || match *letter {
                    b'-' => Quoted(word.as_bytes()).to_string(),
                    letter => Quoted(&[b'-', letter]).to_string(),
                };
                let place = known.bytes().position(|it| it == *letter && it != b':');
                let place =
                    place.ok_or_else(|| Fatal::usage(format!("there is no option {}", shown())))?;
                if known.as_bytes().get(place + 1) != Some(&b':') {
                    options.push((*letter, OsString::new()));
                    continue;
                }
                let value = match rest {
                    [] => words.next(),
                    value => Some(OsString::from_vec(value.to_vec())),
                };
                let missing =
                    || Fatal::usage(format!("-{}: a value is missing", char::from(*letter)));
                options.push((*letter, value.ok_or_else(missing)?));
                break;
            }
        }
        Ok(Self {
            options,
            rest: words.collect(),
        })
    }

    pub(super) fn has(&self, letter: u8) -> bool {
        self.options.iter().any(|(other, _)| *other == letter)
    }

    /// The value of an option; of several the last.
    pub(super) fn value(&self, letter: u8) -> Option<&OsStr> {
        let mut options = self.options.iter().rev();
        let found = options.find(|(other, _)| *other == letter);
        found.map(|(_, value)| value.as_os_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_together_or_alone_up_to_the_first_word_that_is_none() {
        let table = [
            ("", "", ""),
            ("-ab -c 5 x -a", "a b c=5", "x -a"),
            ("-abc5", "a b c=5", ""),
            ("-c -a -a", "c=-a a", ""),
            ("-a -- -b", "a", "-b"),
            ("- -a", "", "- -a"),
            ("-c= x", "c==", "x"),
        ];
        for (words, options, rest) in table {
            let words = words.split(' ').filter(|it| !it.is_empty());
            let read = Letters::read("abc:", words.map(OsString::from).collect()).unwrap();
            let shown = read.options.iter().map(|(letter, value)| {
                let letter = char::from(*letter);
                match value.to_str().unwrap() {
                    "" => letter.to_string(),
                    value => format!("{letter}={value}"),
                }
            });
            assert_eq!(shown.collect::<Vec<_>>().join(" "), options);
            assert_eq!(read.rest.join(OsStr::new(" ")), rest);
        }
    }

    #[test]
    fn what_is_no_option_is_named() {
        for (words, text) in [
            ("-x", "there is no option \"-x\""),
            ("-a:", "there is no option \"-:\""),
            ("--help", "there is no option \"--help\""),
            ("-ac", "-c: a value is missing"),
        ] {
            let words = words.split(' ').map(OsString::from).collect();
            assert_eq!(Letters::read("abc:", words).unwrap_err().text, text);
        }
    }
}
