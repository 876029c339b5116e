//! skd under the names of other programs: what it takes and promises then.

mod binder;
mod inetd;
mod onenetd;

use crate::kit::Folder;
use crate::kit::skd::{BINARY, Skd};
use crate::manual::section;
use std::collections::BTreeSet;

/// A folder with a link to skd of this name in it.
struct Called {
    folder: Folder,
    path: String,
}

impl Called {
    fn new(name: &str) -> Self {
        let folder = Folder::new();
        let path = folder.path(name);
        std::os::unix::fs::symlink(BINARY, &path).unwrap();
        Self { folder, path }
    }

    fn with(&self, words: &str) -> Skd {
        Skd::new(words).binary(&self.path)
    }
}

/// The letters behind each `\-` of a synopsis.
fn letters(synopsis: &str) -> BTreeSet<char> {
    let words = synopsis.split("\\-").skip(1);
    let letters = words.flat_map(|word| word.chars().take_while(char::is_ascii_alphanumeric));
    letters.collect()
}

#[test]
fn the_manual_names_every_letter_that_is_taken_and_no_other() {
    let manual = section("DESCRIPTION");
    // What is served nowhere, whatever the letter: a word too few, or too many.
    for (name, rest) in [
        ("onenetd", ""),
        ("s6-ipcserver-socketbinder", ""),
        ("inetd", "a b c"),
    ] {
        let called = Called::new(name);
        let is_taken = |letter: &char| {
            let stderr = called.with(&format!("-{letter} {rest}")).outcome().stderr;
            !stderr.contains("there is no option")
        };
        let all = ('0'..='9').chain('A'..='Z').chain('a'..='z');
        let taken: BTreeSet<char> = all.filter(is_taken).collect();
        let head = format!(".BR {} \" [", name.replace('-', "\\-"));
        let synopsis = manual.iter().find(|line| line.starts_with(&head));
        let synopsis = synopsis.unwrap().replace(&name.replace('-', "\\-"), "");
        assert_eq!(letters(&synopsis), taken, "{name}");
    }
    let help = Called::new("onenetd").with("-h").outcome().stdout;
    for letter in letters(
        manual
            .iter()
            .find(|line| line.starts_with(".BR onenetd"))
            .unwrap(),
    ) {
        assert!(help.contains(&format!("-{letter}")), "-{letter}: {help}");
    }
}
