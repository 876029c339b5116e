//! How the pages are written: their source, their width and what they refer to.

use super::{INETD, MANUAL, ROOT, RULES, TOP, complaints, section_of, unescaped};
use crate::kit::need;
use std::fs;
use std::process::Command;

/// Every page, by its file in man/.
const PAGES: [(&str, &str); 4] = [
    ("skd-inetd.conf.5", INETD),
    ("skd-rules.5", RULES),
    ("skd-top.1", TOP),
    ("skd.8", MANUAL),
];

#[test]
fn no_page_is_forgotten() {
    let files = fs::read_dir(format!("{ROOT}/man")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    assert_eq!(names, PAGES.map(|(name, _)| name));
}

#[test]
fn every_sentence_begins_on_a_new_line() {
    let mut is_text = true;
    for line in PAGES.iter().flat_map(|(_, page)| page.lines()) {
        match line {
            ".nf" | ".EX" => is_text = false,
            ".fi" | ".EE" => is_text = true,
            _ => {}
        }
        let begins = |pair: &[char]| pair[0] == '.' && pair[1] == ' ' && pair[2].is_uppercase();
        let chars: Vec<_> = line.chars().collect();
        let is_wrong = is_text && !line.starts_with('.') && chars.windows(3).any(begins);
        assert!(!is_wrong, "{line}");
    }
}

/// A block is eleven columns from the left. Lines of the log cannot be broken.
#[test]
fn what_is_shown_as_it_is_typed_fits_80_columns() {
    for (name, page) in PAGES {
        let mut is_typed = false;
        for line in page.lines() {
            match line {
                ".nf" | ".EX" => is_typed = true,
                ".fi" | ".EE" => is_typed = false,
                _ => {}
            }
            let line = unescaped(line);
            let fits = line.chars().count() + 11 <= 80;
            assert!(
                !is_typed || fits || line.starts_with("skd: "),
                "{name}: {line}"
            );
        }
    }
}

/// By section, then by name; and each page leads to every other about skd that it has to do with.
#[test]
fn see_also_is_in_order_and_leads_from_page_to_page() {
    for (name, page) in PAGES {
        let lines = section_of(page, "SEE ALSO");
        let entries = lines.iter().map(|line| {
            let entry = line.strip_prefix(".BR ").unwrap().trim_end_matches(',');
            let (name, section) = entry.split_once(" (").unwrap();
            (section.trim_end_matches(')').to_owned(), unescaped(name))
        });
        let entries: Vec<_> = entries.collect();
        assert!(entries.is_sorted(), "{name}: {entries:?}");
        let has =
            |section: &str, name: &str| entries.contains(&(section.to_owned(), name.to_owned()));
        if name == "skd.8" {
            assert!(has("5", "skd-rules") && has("5", "skd-inetd.conf") && has("1", "skd-top"));
        } else {
            assert!(has("8", "skd"), "{name}");
        }
    }
}

#[test]
fn mandoc_and_groff_have_nothing_to_say() {
    let lints = ["mandoc -Tlint", "groff -t -man -ww -Tutf8 -z"];
    let pages = PAGES.map(|(name, _)| format!("man/{name}"));
    for lint in lints {
        let mut words = lint.split(' ');
        let program = words.next().unwrap();
        if need::program(program) {
            let mut command = Command::new(program);
            let command = command.args(words).args(&pages).current_dir(ROOT);
            assert_eq!(complaints(command), "", "{lint}");
        }
    }
}
