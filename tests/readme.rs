//! What README says of the tests, held against the tests.

use std::fs;
use std::path::Path;

const README: &str = include_str!("../README.md");

/// The rows of the tables of a section: their cells.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let (_, text) = README.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// A test by its path, `module::name` or `module::part::name`.
fn is_there(test: &str) -> bool {
    let Some((module, name)) = test.rsplit_once("::") else {
        return false;
    };
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let path = tests.join(format!("{}.rs", module.replace("::", "/")));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.contains(&format!("#[test]\nfn {name}() {{"))
}

#[test]
fn every_line_of_the_threat_model_names_tests_that_are_there() {
    let (heads, lines): (Vec<_>, Vec<_>) = rows("Security")
        .into_iter()
        .partition(|row| row[2] == "seen by");
    assert!(heads.len() >= 5 && lines.len() >= 20, "{heads:?}");
    for line in lines {
        let named: Vec<&str> = line[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{line:?}");
        for test in named {
            assert!(is_there(test), "{test}");
        }
    }
}
