//! Which options the manual says cannot stand together, and which skd takes apart.

use super::{MANUAL, options_of_the_manual, prose};
use crate::kit::Folder;
use crate::kit::skd::Skd;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;

/// Values that are right, by what the manual calls them; options with other values say where or what to serve.
const VALUES: [(&str, &str); 8] = [
    ("N", "1"),
    ("SECS", "1"),
    ("N/SECS", "1/1"),
    ("HOW", "stdin"),
    ("LIST", "::1"),
    ("SPEC", "tag"),
    ("ADDR|PATH", "127.0.0.1:0"),
    ("NAME", "name"),
];

/// An option, by its first name, and the words that make it.
fn words(names: &str, folder: &Folder) -> Option<(String, Vec<String>)> {
    let name = names.split([',', ' ', '[']).next()?.to_owned();
    let value = match names
        .rsplit_once(' ')
        .filter(|(_, value)| !value.starts_with('-'))
    {
        None => None,
        Some((_, "FILE")) if name == "--rules" => Some(folder.path("rules")),
        Some((_, "FILE")) => Some(folder.path("services")),
        Some((_, "MESSAGE")) => Some("x".to_owned()),
        Some((_, value)) => {
            let value = VALUES.iter().find(|(known, _)| *known == value)?.1;
            Some(value.to_owned())
        }
    };
    Some((name.clone(), [name].into_iter().chain(value).collect()))
}

/// The options that have this said of them beside `base`, each by its first name.
fn refused(base: &[&str], why: &str) -> BTreeSet<String> {
    let folder = Folder::new();
    fs::write(folder.path("rules"), ":allow\n").unwrap();
    let service = "127.0.0.1:7 stream tcp nowait root internal echo\n";
    fs::write(folder.path("services"), service).unwrap();
    let mut refused = BTreeSet::new();
    for ((_, names, _), _) in options_of_the_manual() {
        let ends_it = ["-h", "-V", "--check", "-0"]
            .iter()
            .any(|it| names.starts_with(it));
        let Some((name, mut words)) = words(&names, &folder).filter(|_| !ends_it) else {
            continue;
        };
        if name == "-r" && base == ["-0"] {
            words.extend(["-c", "1"].map(str::to_owned));
        }
        let (conn, _client) = UnixStream::pair().unwrap();
        let all = ["--check"]
            .iter()
            .chain(base)
            .map(|word| (*word).to_owned());
        let skd = Skd::with_words(all.chain(words).chain(["true".to_owned()]));
        if skd.descriptor(0, conn).outcome().stderr.contains(why) {
            refused.insert(name);
        }
    }
    refused
}

/// The options that are named in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split([' ', ',', '.', ':', ';']);
    let options = words.filter(|word| word.len() > 1 && word.starts_with('-'));
    options.map(str::to_owned).collect()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

#[test]
fn the_manual_names_what_a_connected_socket_excludes() {
    let manual = prose(&MANUAL.lines().collect::<Vec<_>>());
    let text = between(&manual, " or of a process that stays: ", ". ");
    assert_eq!(
        refused(&["-0"], "a connected socket is adopted"),
        named(text)
    );
}

/// `--proxy-timeout` is not told of: it needs another that is excluded itself.
#[test]
fn the_manual_names_what_wait_and_exec_exclude() {
    let manual = prose(&MANUAL.lines().collect::<Vec<_>>());
    let text = between(
        &manual,
        "with the connection. A usage error together with ",
        "; and where",
    );
    let mut excluded = named(text);
    assert!(text.ends_with(" and the options of Admission"));
    let admission = options_of_the_manual().into_iter().map(|(entry, _)| entry);
    let admission = admission.filter(|(title, names, _)| {
        title == "Admission"
            && !names.contains("--proxy-timeout")
            && !names.contains("--check-peer")
    });
    let admission = admission.map(|(_, names, _)| names.split(' ').next().unwrap().to_owned());
    excluded.extend(admission);
    let socket = ["-t", "127.0.0.1:0"];
    let wait = refused(&[&["-w"], &socket[..]].concat(), "--wait and ");
    assert_eq!(wait, excluded);
    let text = between(&manual, " or about the end of skd: ", " and those that");
    excluded.extend(named(text));
    excluded.remove("-E");
    excluded.insert("-w".to_owned());
    let exec = refused(&[&["-E"], &socket[..]].concat(), "--exec");
    assert_eq!(exec, excluded);
}
