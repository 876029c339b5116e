//! Turns the table of options into the completions of bash, zsh and fish.

use crate::config::options::{Kind, Many, Maybe, More, Nothing, One, SECTIONS, Spec};
use crate::model::daemon::{FACILITIES, SEVERITIES};
use crate::model::error::Fatal;
use crate::model::text::Quoted;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What writes the line of an option; its names stand between blanks.
type Line = fn(&mut String, &Spec, &str);

/// The completions of a shell.
///
/// # Errors
/// A usage error where skd has none for it.
pub(super) fn script(shell: &OsStr) -> Result<String, Fatal> {
    let (template, line): (_, Line) = match shell.as_bytes() {
        b"bash" => (include_str!("completion/skd.bash"), bash),
        b"zsh" => (include_str!("completion/_skd"), zsh),
        b"fish" => (include_str!("completion/skd.fish"), fish),
        word => {
            return Err(Fatal::usage(format!(
                "--completion: {}: bash, zsh or fish expected",
                Quoted(word)
            )));
        }
    };
    let mut out = String::new();
    let mut parts = template.split("@{");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (what, text) = part.split_once('}').unwrap_or_default();
        fill(&mut out, what, line);
        out.push_str(text);
    }
    Ok(out)
}

/// What stands for `@{WHAT}` of a template.
fn fill(out: &mut String, what: &str, line: Line) {
    match what {
        "FACILITIES" => return first_names(out, &FACILITIES),
        "PRIORITIES" => return first_names(out, &SEVERITIES),
        _ => {}
    }
    for (_, specs) in SECTIONS {
        for spec in *specs {
            let names = names(spec);
            match (what, spec.takes) {
                ("OPTIONS", _) => line(out, spec, &names),
                ("NAMES", _) => add(out, &[&names, " "]),
                ("TAKING", One(..) | Many(..)) => add(out, &["--", spec.long, " "]),
                ("LETTERS", One(..) | Many(..)) => out.extend(spec.letters()),
                _ => {}
            }
        }
    }
}

/// Of each its name that is not an older one.
fn first_names(out: &mut String, names: &[&[&str]]) {
    for name in names.iter().filter_map(|names| names.first()) {
        add(out, &[name, " "]);
    }
}

fn add(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

/// Every name of an option, the long one last.
fn names(spec: &Spec) -> String {
    let mut names = String::new();
    for letter in spec.letters() {
        names.extend(['-', letter, ' ']);
    }
    if spec.long.is_empty() {
        names.pop();
    } else {
        add(&mut names, &["--", spec.long]);
    }
    names
}

/// The value that must stand: what the help calls it, what knows such names in each shell, and words it may be.
fn value(spec: &Spec) -> Option<(&'static str, &'static str, &'static str)> {
    let (One(shown, kind) | Many(shown, kind)) = spec.takes else {
        return None;
    };
    let name = match kind {
        Kind::Free => "free",
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Address => "address",
        Kind::AddressOrFile => "place",
        Kind::User => "user",
        Kind::Groups => "groups",
        Kind::Interface => "interface",
        Kind::Log => "log",
        Kind::Adopted | Kind::Pass | Kind::Format | Kind::Shell => "words",
    };
    Some((shown, name, kind.words().unwrap_or_default()))
}

/// Whether it may stand several times, and not in vain.
fn repeats(spec: &Spec) -> bool {
    matches!(spec.takes, Many(..) | More)
}

/// A case of `_skd_option`.
fn bash(out: &mut String, spec: &Spec, names: &str) {
    let (_, name) = names.rsplit_once(' ').unwrap_or(("", names));
    let again = if repeats(spec) { " again=1" } else { "" };
    let (_, kind, words) = value(spec).unwrap_or_default();
    let patterns = names.replace(' ', " | ");
    add(out, &["\t", &patterns, ") name=", name, " kind='", kind]);
    add(out, &["' few='", words, "'", again, " ;;\n"]);
}

/// A specification of `_arguments`.
fn zsh(out: &mut String, spec: &Spec, names: &str) {
    let (behind_letter, behind_long) = match spec.takes {
        Nothing | More => ("", ""),
        One(..) | Many(..) => ("+", "="),
        Maybe(_) => ("", "=-"),
    };
    let before = if repeats(spec) { "*" } else { names };
    let (open, close) = if repeats(spec) { ("", "") } else { ("(", ")") };
    for name in names.split(' ') {
        let behind = match name.starts_with("--") {
            true => behind_long,
            false => behind_letter,
        };
        add(out, &["\t\t'", open, before, close, name, behind, "["]);
        escaped(out, spec.help, "[]:");
        out.push(']');
        if let Maybe(shown) = spec.takes {
            add(out, &["::", shown, ": "]);
        }
        if let Some((shown, kind, words)) = value(spec) {
            out.push(':');
            escaped(out, shown, ":");
            match kind {
                "free" => out.push_str(": "),
                "words" => {
                    out.push_str(":(");
                    escaped(out, words, ":");
                    out.push(')');
                }
                _ => add(out, &[":_skd_", kind]),
            }
        }
        out.push_str("' \\\n");
    }
}

/// Text inside single quotes, where such characters would mean something to `_arguments`.
fn escaped(out: &mut String, text: &str, special: &str) {
    for c in text.chars() {
        if c == '\'' {
            out.push_str("'\\'");
        } else if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// A call of `complete`.
fn fish(out: &mut String, spec: &Spec, names: &str) {
    out.push_str("complete -c skd -n '_skd_may ");
    if !repeats(spec) {
        out.push_str(names);
    }
    out.push('\'');
    for letter in spec.letters() {
        out.extend([' ', '-', 's', ' ', letter]);
    }
    if !spec.long.is_empty() {
        add(out, &[" -l ", spec.long]);
    }
    match value(spec) {
        None => {}
        Some((_, "free", _)) => out.push_str(" -x"),
        Some((_, "file", _)) => out.push_str(" -rF"),
        Some((_, "place", _)) => out.push_str(" -rFa '(_skd_address)'"),
        Some((_, "words", words)) => add(out, &[" -xa '", words, "'"]),
        Some((_, kind, _)) => add(out, &[" -xa '(_skd_", kind, ")'"]),
    }
    add(out, &[" -d '", &spec.help.replace('\'', "\\'"), "'\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_every_option_is_in_every_completion() {
        for shell in ["bash", "zsh", "fish"] {
            let script = script(OsStr::new(shell)).unwrap();
            assert!(!script.contains("@{"), "{shell}");
            let specs = SECTIONS.iter().flat_map(|(_, specs)| specs.iter());
            for spec in specs {
                for name in names(spec).split(' ') {
                    let name = match (shell, name.strip_prefix("--")) {
                        ("fish", Some(long)) => format!(" -l {long} "),
                        ("fish", None) => format!(" -s {} ", name.trim_start_matches('-')),
                        ("bash", _) => format!(" {name} "),
                        _ => format!("{name}[").replace("=[", "["),
                    };
                    let script = script.replace("+[", "[").replace("=[", "[");
                    let script = script.replace("=-[", "[");
                    assert!(script.contains(&name), "{shell}: {name}");
                }
            }
        }
    }

    #[test]
    fn another_shell_is_a_usage_error() {
        for shell in ["", "csh", "Bash", "bash "] {
            let fatal = script(OsStr::new(shell)).unwrap_err();
            let text = format!("--completion: \"{shell}\": bash, zsh or fish expected");
            assert_eq!(
                (fatal.text.as_str(), fatal.exit_code()),
                (text.as_str(), 100)
            );
        }
    }
}
