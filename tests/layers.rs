//! The law of the rooms: who may import whom, what is pure, how long files and functions are.

use std::fs;
use std::path::Path;

/// Each room and the rooms that it may import besides itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("model", &[]),
    ("config", &["model"]),
    ("admit", &["model"]),
    ("report", &["model"]),
    ("listen", &["model", "sys"]),
    ("launch", &["model", "sys"]),
    ("daemon", &["model", "sys"]),
    (
        "serve",
        &[
            "model", "sys", "admit", "report", "daemon", "listen", "launch",
        ],
    ),
    (
        "start",
        &[
            "model", "sys", "report", "daemon", "listen", "launch", "serve",
        ],
    ),
];

/// The room of skd-top, a program of its own: its files import each other, and these of skd's, which are pure.
const TOP: &str = "top";
const MAY_TOP_IMPORT: &[&str] = &["model", "config::addr"];

/// What only skd-top names.
const TOP_ALONE: &[&str] = &["ratatui", "crossterm", "src/top", "mod top"];

/// Rooms and files that name no environment, clock, file, descriptor or system call.
const PURE: &[&str] = &[
    "model/",
    "config/",
    "admit/",
    "launch/additions.rs",
    "launch/environ.rs",
    "launch/scrub.rs",
    "launch/plan.rs",
    "launch/told.rs",
    "launch/variables.rs",
    "listen/inherit.rs",
    "listen/promises.rs",
    "listen/s6dump.rs",
    "report/ending.rs",
    "report/form.rs",
    "report/http.rs",
    "report/json.rs",
    "report/line.rs",
    "report/metrics.rs",
    "report/repeats.rs",
    "daemon/lines.rs",
    "serve/guard.rs",
    "serve/internal/answers.rs",
    "top/arguments.rs",
    "top/draw.rs",
    "top/exposition.rs",
    "top/figures.rs",
    "top/histogram.rs",
    "top/reply.rs",
    "top/scrape.rs",
    "top/words.rs",
];

/// What a pure file would have to name in order not to be pure.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::process",
    "std::os::fd",
    "std::thread",
    "std::io::std",
    "Instant::now",
    "SystemTime",
    "libc",
    "nix::",
    "crate::sys",
    "OwnedFd",
    "BorrowedFd",
    "RawFd",
    "File::",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "unsafe {",
];

const FILE_LINES: usize = 450;
const FUNCTION_LINES: usize = 70;

/// Every source file with its path below src/ and its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                sources.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.len() > 20);
    sources
}

/// The part of a file that ships: without its unit tests and comments.
fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn rooms_import_only_those_below_them() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let Some((room, _)) = name.split_once('/').filter(|(room, _)| *room != TOP) else {
            continue;
        };
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(other, _)| *other == room)
            .unwrap_or_else(|| panic!("{room} is no room"));
        for path in shipped(&text).split("crate::").skip(1) {
            let target: String = path
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if target != room && !allowed.contains(&target.as_str()) {
                wrong.push(format!("{name} imports {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn skd_top_and_skd_have_nothing_of_each_other_but_what_is_pure() {
    let sources = sources();
    let of_top = |name: &str| name.starts_with(&format!("{TOP}/"));
    let modules: Vec<&str> = sources
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("top/")?.strip_suffix(".rs"))
        .collect();
    let mut wrong = Vec::new();
    for (name, text) in &sources {
        let code = shipped(text);
        if !of_top(name) {
            let found = TOP_ALONE.iter().filter(|word| code.contains(**word));
            wrong.extend(found.map(|word| format!("{name} names {word}")));
            continue;
        }
        for path in code.split("crate::").skip(1) {
            let is_shared = MAY_TOP_IMPORT.iter().any(|shared| path.starts_with(shared));
            let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
            let is_own = modules.contains(&&path[..end.unwrap_or(path.len())]);
            if !is_shared && !is_own {
                wrong.push(format!("{name} imports {path:.30}"));
            }
        }
        for path in code.split("#[path = \"").skip(1) {
            let path = path.split('"').next().unwrap();
            if name != "top/main.rs" || !["../model/mod.rs", "../config"].contains(&path) {
                wrong.push(format!("{name} includes {path}"));
            }
        }
    }
    assert!(modules.len() > 5);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_files_name_nothing_impure() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for (name, text) in sources() {
        if PURE.iter().any(|pure| name.starts_with(pure)) {
            found += 1;
            let code = shipped(&text).replace("std::os::unix::ffi", "");
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|word| code.contains(**word))
                    .map(|word| format!("{name} names {word}")),
            );
        }
    }
    assert!(found >= PURE.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    for (name, text) in sources() {
        if name.ends_with("/mod.rs") && !name.starts_with("sys/") {
            let room = name.split_once('/').unwrap().0;
            assert!(
                name.matches('/').count() > 1 || text.contains("#![forbid(unsafe_code)]"),
                "{room} does not forbid unsafe code"
            );
        }
        if name == "top/main.rs" {
            assert!(text.contains("#![forbid(unsafe_code)]"), "{name}");
        }
    }
}

#[test]
fn files_open_with_a_sentence_and_stay_short() {
    for (name, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "{name} does not say what it turns into what"
        );
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES, "{name} has {lines} lines");
    }
}

#[test]
fn functions_stay_short() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let code = shipped(&text);
        let lines: Vec<&str> = code.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_function = line
                .trim_start()
                .split(' ')
                .take(5)
                .any(|word| word == "fn")
                && !line.trim_end().ends_with(';');
            if !is_function || line.trim_start().starts_with("//") {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..]
                .iter()
                .position(|line| **line == *end)
                .unwrap_or(0);
            if length > FUNCTION_LINES {
                wrong.push(format!("{name} has {length} lines in {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
