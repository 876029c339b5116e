//! The manual, the help, the README, the units and the code agree, both ways.

mod admission;
mod examples;
mod listeners;
mod machine;
mod notes;

use crate::kit::skd::{BINARY, Skd};
use crate::kit::{Folder, need};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MANUAL: &str = include_str!("../man/skd.8");
const INETD: &str = include_str!("../man/skd-inetd.conf.5");
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

/// A section's lines of source.
pub(crate) fn section(name: &str) -> Vec<&'static str> {
    let heads = [format!(".SH {name}"), format!(".SH \"{name}\"")];
    let lines = MANUAL
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

/// The value of a constant in the source, digits only.
pub(crate) fn constant(file: &str, name: &str) -> String {
    let source = std::fs::read_to_string(format!("{ROOT}/src/{file}")).unwrap();
    let value = source
        .split_once(&format!("const {name}: "))
        .map(|(_, rest)| rest);
    let value = value.and_then(|rest| rest.split_once(" = ")?.1.split_once(";\n"));
    let (value, _) = value.unwrap_or_else(|| panic!("{name} is not in {file}"));
    let digits = value.replace('_', "").replace("Duration::from", "");
    let words = digits.split(|c: char| !c.is_ascii_digit() && !c.is_ascii_alphabetic());
    let words = words
        .filter(|word| !word.is_empty())
        .map(|word| match word {
            "secs" => "s",
            "millis" => "ms",
            other => other,
        });
    words.collect::<Vec<_>>().join(" ")
}

/// The same for skd-inetd.conf(5).
const INETD_LIMITS: &str = "\
serve/inetd/mod.rs FILE_BYTES | 1 20 | at most 1 MiB and 10000 services
config/inetd/mod.rs MOST_SERVICES | 10000 | at most 1 MiB and 10000 services
config/inetd/words.rs MOST_WORDS | 1024 | a service at most 1024 words
config/inetd/fields.rs MOST_BUFFER | 1 30 | from 1 to 1073741824
serve/internal/mod.rs MOST | 64 | At most 64 connections are talked to at once
serve/internal/mod.rs PATIENCE | s 60 | for 60 s is closed
serve/internal/answers.rs DATAGRAM_BYTES | 512 | with more than 512 bytes
serve/internal/answers.rs LOWEST_PORT | 1024 | from a port below 1024
serve/inetd/change.rs FIRST_PAUSE | s 1 | after 1 s, 2 s and so on
serve/inetd/change.rs LONGEST_PAUSE | s 60 | up to 60 s.
admit/quota.rs MINUTE | s 60 | starts in a minute";

/// A constant, its value as `constant` has it, and how the manual says it.
const LIMITS: &str = "\
config/draft.rs BACKLOG | 4096 | Default: 4096.
config/draft.rs MOST_CONNECTIONS | 1000000 | from 1 to 1000000.
config/names/inetd.rs RATE | 256 | times in a minute, 256 if that is left out
config/logspec.rs TAG_BYTES | 64 | has 1 to 64 bytes
config/logspec.rs DEFAULT_FACILITY | 3 | Default: daemon.notice.
config/logspec.rs DEFAULT_SEVERITY | 5 | Default: daemon.notice.
listen/inherit.rs MOST | 4096 | a whole number from 1 to 4096
listen/inherit.rs MOST | 4096 | at most 4096 descriptors
config/addr.rs HIGHEST_VSOCK_PORT | 4294967294 | is a whole number from 0 to 4294967294.
config/sockopt.rs MOST_KEEPALIVE_SECS | 32767 | each from 1 to 32767
config/sockopt.rs MOST_PROBES | 127 | from 1 to 127.
config/sockopt.rs MOST_DEFER_SECS | 3600 | from 1 to 3600.
config/sockopt.rs DEVICE_BYTES | 15 | at most 15 bytes
model/address.rs UNIX_NAME_BYTES | 107 | has at most 107 bytes
model/text.rs FOREIGN_CHARS | 100 | at most 100 characters are shown
report/line.rs LINE_BYTES | 4096 | at most 4096 bytes each
report/repeats.rs TOLD | 10 | 10 are written in a minute
report/repeats.rs SPAN | s 60 | 10 are written in a minute
report/repeats.rs ENTRIES | 256 | At most 256 different warnings
daemon/lines.rs MESSAGE_BYTES | 8096 | no message has more than 8096 bytes
daemon/lines.rs KEPT_BYTES | 1024 1024 | keeps 1 MiB of messages
daemon/logger.rs RETRY | ms 200 | tries again every 0.2 s
daemon/logger.rs FAREWELL | s 5 | it waits 5 s for it at most
sys/aside.rs KEPT | s 2 | are let go of after 2 s
sys/aside.rs THREADS | 16 | at most 16 threads
sys/aside.rs WAITING | 64 | While 64 such connections
serve/mod.rs BATCH | 16 | Up to 16 connections are taken
serve/mod.rs REST | ms 100 | that listener rests for 100 ms
config/draft.rs MOST_SECS | 31536000 | from 1 to 31536000.
config/draft.rs MOST_SECS | 31536000 | from 0 to 31536000,
serve/stopping.rs GRACE | s 5 | and 5 s later KILL
serve/notices.rs STATUS_EVERY | s 1 | at most once a second
serve/notices.rs RETRY | ms 100 | is tried again every 0.1 s, at most 100 times
serve/notices.rs TRIES | 100 | is tried again every 0.1 s, at most 100 times
serve/upgrade.rs PATIENCE | s 2 | exits 0 within 2 s
serve/scrapes.rs MOST | 64 | At most 64 ask at once
serve/scrapes.rs PATIENCE | s 5 | whoever has not said all of it after 5 s is closed
report/http.rs REQUEST_BYTES | 8 1024 | A request has at most 8192 bytes
serve/lent.rs DOUBTS | 16 | up to 16 starts in a row
serve/guard.rs STARTS | 5 | at most 5 times
serve/guard.rs PAUSES | ms 100 ms 400 s 1 s 2 | with pauses of 0.1, 0.4, 1 and 2 seconds
serve/supervise.rs YOUNG | s 5 | lived for less than 5 s
serve/supervise.rs FIRST_PAUSE | s 1 | there is a pause of 1 s, which doubles
serve/supervise.rs LONGEST_PAUSE | s 60 | up to 60 s;
serve/supervise.rs FIRST_EXEC | s 5 | waits up to 5 s until PROG runs
serve/supervise.rs GRACE | s 5 | after 5 s PROG is killed by KILL
sys/spawn/mod.rs SLOTS | 8 | At most 8 children at once
sys/spawn/child.rs NOT_EXECUTED | 127 | exits 127
config/rate.rs COUNTS | 1 1000000 | is from 1 to 1000000, and SECS from 1 to 86400.
config/rate.rs SECS | 1 86400 | is from 1 to 1000000, and SECS from 1 to 86400.
config/admission.rs MOST_SECS | 3600 | seconds, from 1 to 3600, for a whole PROXY header. Default: 3.
config/admission.rs PROXY_SECS | s 3 | seconds, from 1 to 3600, for a whole PROXY header. Default: 3.
config/admission.rs LOOKUP_SECS | s 5 | is left out. Default: 5.
admit/rates.rs SOURCES | 65536 | At most 65536 sources are remembered
admit/rules/mod.rs FILE_BYTES | 16 20 | at most 16 MiB and 1000000 addresses
admit/rules/mod.rs ADDRESSES | 1000000 | at most 16 MiB and 1000000 addresses
admit/proxy/mod.rs HEADER_BYTES | 4096 | A header has at most 4096 bytes
admit/proxy/tls.rs VALUE_BYTES | 255 | One that has more than 255 bytes
serve/pending.rs MOST | 1024 | At most 1024 connections wait for the rest of a PROXY header
serve/farewell.rs MOST | 64 | At most 64 are seen off so at once
serve/farewell.rs PATIENCE | s 5 | has not closed the connection after 5 s
serve/rulesfile.rs LOOK_EVERY | s 1 | at most once a second, and at HUP
launch/lookup.rs NAME_BYTES | 255 | at most 255 bytes; others count as none.
launch/lookup.rs NAME_BYTES | 255 | 255 bytes of the user are taken
launch/lookup.rs ANSWER_BYTES | 1000 | 1000 bytes are read
admit/proxy/v1.rs LINE_BYTES | 107 | a line at most 107 of them.
launch/plan.rs DEFAULT_PATH | bin usr bin | Default: /bin:/usr/bin.
";

#[test]
fn the_manual_states_the_limits_that_the_code_has() {
    let manual = prose(&MANUAL.lines().collect::<Vec<_>>());
    let inetd = prose(&INETD.lines().collect::<Vec<_>>());
    for (limits, page) in [(LIMITS, &manual), (INETD_LIMITS, &inetd)] {
        for line in limits.lines() {
            let parts: Vec<&str> = line.split(" | ").collect();
            let (file, name) = parts[0].split_once(' ').unwrap();
            assert_eq!(constant(file, name), parts[1], "{name} of {file}");
            assert!(page.contains(parts[2]), "{}", parts[2]);
        }
    }
    let ranges = [
        ("-b 2147483648", "from 1 to 2147483647"),
        ("--mode 1000", "from 0 to 0777"),
        ("--umask 1000", "from 0 to 0777"),
    ];
    for (words, range) in ranges {
        let skd = Skd::new(&format!("-t 127.0.0.1:0 {words} cat"));
        assert!(skd.outcome().stderr.contains(range), "{words}");
        assert!(manual.contains(range), "{range}");
    }
    for (gid, code) in [("4294967294", 0), ("4294967295", 100)] {
        let skd = Skd::new("--check -U true").env("UID", "0").env("GID", gid);
        assert!(!need::root() || skd.outcome().code == code, "{gid}");
    }
    assert!(manual.contains("whole numbers from 0 to 4294967294."));
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

#[test]
fn every_sentence_begins_on_a_new_line() {
    let mut is_text = true;
    for line in MANUAL.lines().chain(TOP.lines()) {
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

/// Runs a command to its end: everything that it said, nothing if it succeeded silently.
fn complaints(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let mut said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    if !done.status.success() {
        said.push_str(&format!("{}\n", done.status));
    }
    said
}

#[test]
fn mandoc_and_groff_have_nothing_to_say() {
    let lints = ["mandoc -Tlint -Wwarning", "groff -t -man -ww -Tutf8 -z"];
    let pages = ["man/skd.8", "man/skd-inetd.conf.5", "man/skd-top.1"];
    for lint in lints {
        let mut words = lint.split(' ');
        let program = words.next().unwrap();
        if need::program(program) {
            let mut command = Command::new(program);
            let command = command.args(words).args(pages).current_dir(ROOT);
            assert_eq!(complaints(command), "", "{lint}");
        }
    }
}

/// A program of an example that is in no PATH.
const PROXYD: &str = "/lib/systemd/systemd-socket-proxyd";

fn examples() -> Vec<String> {
    blocks("EXAMPLES")
}

/// The blocks of a section that are to be typed, without escapes.
fn blocks(name: &str) -> Vec<String> {
    let text = section(name).join("\n");
    let blocks = text.split("\n.EX\n").skip(1);
    blocks
        .map(|block| unescaped(block.split_once("\n.EE").unwrap().0))
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
    folder.script("uscheduled", ":");
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
    assert_eq!(commands.len(), 35, "{commands:#?}");
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
    assert_eq!(left, 4, "--check leaves nothing behind");
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
