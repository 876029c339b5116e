//! The manual, the help, the README, the units and the code agree, both ways.

mod admission;
mod examples;
mod exclusions;
mod limits;
mod listeners;
mod machine;
mod notes;
mod pages;
mod services;

#[cfg(feature = "top")]
pub(crate) use limits::constant;

use crate::kit::skd::{BINARY, Skd};
use crate::kit::{Folder, need};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MANUAL: &str = include_str!("../man/skd.8");
const INETD: &str = include_str!("../man/skd-inetd.conf.5");
const RULES: &str = include_str!("../man/skd-rules.5");
const TOP: &str = include_str!("../man/skd-top.1");
const README: &str = include_str!("../README.md");

/// A line of man(7) source as it is read: without macro, fonts and escapes.
pub(crate) fn plain(line: &str) -> String {
    let (is_alternating, rest) = match line.strip_prefix('.').map(|line| line.split_once(' ')) {
        Some(Some((name, rest))) => (
            matches!(name, "BR" | "RB" | "BI" | "IB" | "RI" | "IR"),
            rest,
        ),
        Some(None) => return String::new(),
        None => return unescaped(line),
    };
    let mut text = String::new();
    let mut is_quoted = false;
    for c in rest.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ' ' if is_alternating && !is_quoted => {}
            _ => text.push(c),
        }
    }
    unescaped(&text)
}

fn unescaped(text: &str) -> String {
    let escapes = [
        ("\\ ", " "),
        ("\\fI", ""),
        ("\\fB", ""),
        ("\\fR", ""),
        ("\\c", ""),
        ("\\|", ""),
        ("\\(aq", "'"),
        ("\\-", "-"),
        ("\\e", "\\"),
    ];
    escapes
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A section's lines of source, of skd(8).
pub(crate) fn section(name: &str) -> Vec<&'static str> {
    section_of(MANUAL, name)
}

fn section_of(page: &'static str, name: &str) -> Vec<&'static str> {
    let heads = [format!(".SH {name}"), format!(".SH \"{name}\"")];
    let lines = page
        .lines()
        .skip_while(|line| !heads.iter().any(|head| head == line));
    let lines: Vec<_> = lines
        .skip(1)
        .take_while(|line| !line.starts_with(".SH "))
        .collect();
    assert!(!lines.is_empty(), "{name}");
    lines
}

/// What is read, on one line.
pub(crate) fn prose(lines: &[&str]) -> String {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| plain(line))
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(" ")
}

/// An option: its section, its names and value as `-l, -x, --unix PATH`, whether it may be given several times.
pub(crate) type Entry = (String, String, bool);

pub(crate) fn help() -> String {
    let outcome = Skd::new("--help").outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    outcome.stdout
}

pub(crate) fn options_of_the_help() -> Vec<Entry> {
    let mut title = "";
    let mut entries = Vec::new();
    let help = help();
    for line in help.lines() {
        if let Some(head) = line.strip_suffix(':').filter(|head| !head.contains(' ')) {
            title = head;
        } else if line.starts_with("  ") && !title.is_empty() {
            let (names, text) = line.trim_start().split_once("  ").unwrap();
            let mut names = names.to_owned();
            if let Some((_, alias)) = text.split_once("(also ") {
                let alias = alias.split(')').next().unwrap();
                names = names.replacen(", ", &format!(", {alias}, "), 1);
            }
            entries.push((title.to_owned(), names, text.ends_with(" *")));
        }
    }
    entries
}

/// The entries of OPTIONS and the prose below each.
fn options_of_the_manual() -> Vec<(Entry, String)> {
    let (mut title, mut depth) = ("", 0);
    let mut entries: Vec<(String, String, Vec<&str>)> = Vec::new();
    let mut lines = section("OPTIONS").into_iter();
    while let Some(line) = lines.next() {
        match line {
            ".RS" => depth += 1,
            ".RE" => depth -= 1,
            ".TP" if depth == 0 => {
                entries.push((title.to_owned(), plain(lines.next().unwrap()), Vec::new()));
            }
            _ if line.starts_with(".SS ") => title = line.strip_prefix(".SS ").unwrap(),
            _ => entries
                .iter_mut()
                .last()
                .into_iter()
                .for_each(|entry| entry.2.push(line)),
        }
    }
    let entries = entries.into_iter().map(|(title, names, body)| {
        let body = prose(&body);
        (
            (title, names, body.contains("May be given several times.")),
            body,
        )
    });
    entries.collect()
}

#[test]
fn help_and_manual_have_the_same_options_in_the_same_order() {
    let help = options_of_the_help();
    assert!(help.len() > 20, "{help:?}");
    let manual: Vec<_> = options_of_the_manual()
        .into_iter()
        .map(|(entry, _)| entry)
        .collect();
    assert_eq!(manual, help);
}

#[test]
fn every_option_has_its_default_in_the_manual() {
    for ((_, names, _), body) in options_of_the_manual() {
        let needs_none = names.starts_with("-h") || names.starts_with("-V");
        assert!(needs_none || body.contains("efault"), "{names}: {body}");
    }
}

/// The words in quotes of a table of the source.
fn names(file: &str, name: &str) -> Vec<String> {
    let source = std::fs::read_to_string(format!("{ROOT}/src/{file}")).unwrap();
    let (_, table) = source.split_once(&format!("const {name}: ")).unwrap();
    let (table, _) = table.split_once("];\n").unwrap();
    let words = table.split('"').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

#[test]
fn the_manual_names_every_facility_and_priority() {
    let options = options_of_the_manual();
    let mut options = options.iter();
    let (_, body) = options
        .find(|((_, names, _), _)| names.starts_with("-L, "))
        .unwrap();
    let (_, rest) = body.split_once("a number from 0 to 23 or one of ").unwrap();
    let (facilities, rest) = rest
        .split_once(". PRIORITY is a number from 0 to 7 or one of ")
        .unwrap();
    let (priorities, _) = rest.split_once(". Upper and lower case").unwrap();
    for (told, name) in [(facilities, "FACILITIES"), (priorities, "SEVERITIES")] {
        let told: Vec<&str> = told
            .split([',', ' ', '(', ')'])
            .filter(|word| !word.is_empty())
            .collect();
        assert_eq!(told, names("model/daemon.rs", name));
    }
}

/// The words of `text` that look like variables that speak of a connection.
fn variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
    let families = ["TCP", "UDP", "UNIX", "IPC", "VSOCK"];
    let speaks = |word: &&str| {
        let parts = ["LOCAL", "REMOTE", "CONNNUM", "INTERFACE"];
        let of_family = |family: &&str| word.starts_with(family) && word.len() > family.len() + 1;
        word.starts_with("PEER")
            || word.starts_with("REMOTE_")
            || (families.iter().any(of_family) && parts.iter().any(|part| word.contains(part)))
    };
    words.filter(speaks).collect()
}

#[test]
fn the_manual_lists_the_variables_that_the_code_sets() {
    let sources = [
        include_str!("../src/launch/environ.rs"),
        include_str!("../src/launch/additions.rs"),
    ];
    let code = sources.map(|source| source.split_once("mod tests").unwrap().0);
    let code = code.join("\n");
    let manual = section("ENVIRONMENT OF THE PROGRAM");
    let (_, set) = manual.split_at(manual.iter().position(|line| *line == "Added are").unwrap());
    let set = prose(set);
    assert!(variables(&code).len() > 30);
    assert_eq!(variables(&set), variables(&code));
}

/// Runs a command to its end: everything that it said, nothing if it succeeded silently.
fn complaints(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let mut said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    if !done.status.success() {
        said.push_str(&format!("{}\n", done.status));
    }
    said
}

/// A program of an example that is in no PATH.
const PROXYD: &str = "/lib/systemd/systemd-socket-proxyd";

fn examples() -> Vec<String> {
    blocks("EXAMPLES")
}

fn blocks(name: &str) -> Vec<String> {
    blocks_of(MANUAL, name)
}

/// The blocks of a section that are to be typed, without escapes; what a backslash continues is one line.
fn blocks_of(page: &'static str, name: &str) -> Vec<String> {
    let text = section_of(page, name).join("\n");
    let blocks = text.split("\n.EX\n").skip(1);
    blocks
        .map(|block| unescaped(block.split_once("\n.EE").unwrap().0).replace(" \\\n    ", " "))
        .collect()
}

/// Every command line passes `--check` as it stands, ports and paths included.
fn passes_check(line: &str, folder: &Folder) {
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("sh");
    let command = command.args(["-c", line]).current_dir(folder.path(""));
    let command = command.env("PATH", format!("{}:{path}", folder.path("")));
    assert_eq!(complaints(command), "", "{line}");
}

#[test]
fn the_command_lines_of_manual_and_readme_pass_check() {
    if !need::program("busybox") || !need::program("git") {
        return;
    }
    let folder = Folder::new();
    std::fs::write(folder.path("rules"), ":allow\n").unwrap();
    let service = "127.0.0.1:7 stream tcp nowait root internal echo\n";
    std::fs::write(folder.path("inetd.conf"), service).unwrap();
    folder.script("skd", &format!("exec {BINARY} --check \"$@\""));
    // An empty one: 256 tables of no slot, each said to be where the file ends.
    let cdb = [2048_u32, 0].map(u32::to_le_bytes).concat().repeat(256);
    std::fs::write(folder.path("rules.cdb"), cdb).unwrap();
    for program in ["uscheduled", "prog", "in.tftpd"] {
        folder.script(program, ":");
    }
    let of_readme = README.lines().filter_map(|line| line.strip_prefix("    "));
    let examples = examples();
    let lines = of_readme.chain(examples.iter().flat_map(|block| block.lines()));
    let commands = lines.filter_map(|line| {
        let line = line
            .strip_prefix("cargo run --release -- ")
            .map(|rest| format!("skd {rest}"))
            .unwrap_or_else(|| line.to_owned());
        // One that asks about a peer has an answer, and is run with the examples.
        let serves = line.starts_with("skd -") && !line.contains(" --check-peer ");
        serves.then_some(line)
    });
    let commands: Vec<_> = commands.collect();
    assert_eq!(commands.len(), 46, "{commands:#?}");
    for line in commands {
        let is_able = (!line.contains(" --user ") || need::root())
            && (!line.contains(" --vsock ") || need::vsock())
            && (!line.contains(" s6-ipcserverd ") || need::program("s6-ipcserverd"))
            && (!line.contains(PROXYD) || need::program(PROXYD));
        if is_able {
            passes_check(&line, &folder);
        }
    }
    let left = std::fs::read_dir(folder.path("")).unwrap().count();
    assert_eq!(left, 7, "--check leaves nothing behind");
}

#[test]
fn the_readme_names_options_and_the_version_as_they_are() {
    let options: Vec<_> = options_of_the_help()
        .into_iter()
        .map(|(_, names, _)| names)
        .collect();
    let names: BTreeSet<&str> = options
        .iter()
        .flat_map(|names| names.split([',', ' ', '[']))
        .collect();
    let quoted = README
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let words = quoted.filter_map(|text| text.split(' ').next());
    let told: Vec<_> = words.filter(|word| word.starts_with('-')).collect();
    assert!(told.len() > 30, "{told:?}");
    for option in told {
        assert!(names.contains(option), "{option}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let (_, changes) = README.split_once("\n## Changes\n\n").unwrap();
    assert!(changes.starts_with(&format!("### {version}\n")));
    assert!(MANUAL.contains(&format!(" \"skd {version}\" ")));
}
