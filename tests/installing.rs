//! The lines of the README that install skd, and what a package says of it.

use crate::kit::Folder;
use crate::kit::skd::BINARY;
use crate::kit::systemd::readme;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// In a root folder of its own. Every manual that there is comes along, and what shells complete.
#[test]
fn the_lines_of_the_readme_install_every_program_manual_and_completion() {
    let folder = Folder::new();
    let script = "cd \"$1\" && mkdir -p target/release && cp \"$2\" target/release/skd
        cp target/release/skd target/release/skd-top && ln -s \"$3/man\" \"$3/completions\" .";
    let mut script = format!("umask 077\n{script}\n");
    for words in [
        "install -D -t /usr/bin ",
        "install -D -m 644 -t /usr/share/man/man1 ",
        "install -D -m 644 -t /usr/share/man/man5 ",
        "install -D -m 644 -t /usr/share/man/man8 ",
        "install -D -m 644 completions/skd.bash ",
        "install -D -m 644 completions/_skd ",
        "install -D -m 644 completions/skd.fish ",
    ] {
        script += &readme(words).replace(" /usr/", " ./usr/");
        script += "\n";
    }
    let mut shell = Command::new("sh");
    let words = ["-ec", &script, "sh", &folder.path(""), BINARY, ROOT];
    assert!(shell.args(words).status().unwrap().success());
    let mut files = vec![
        ("usr/bin/skd".to_owned(), 0o755),
        ("usr/bin/skd-top".to_owned(), 0o755),
    ];
    for manual in fs::read_dir(format!("{ROOT}/man")).unwrap() {
        let name = manual.unwrap().file_name().into_string().unwrap();
        let (_, section) = name.rsplit_once('.').unwrap();
        files.push((format!("usr/share/man/man{section}/{name}"), 0o644));
    }
    for completion in [
        "bash-completion/completions/skd",
        "zsh/vendor-completions/_skd",
        "fish/vendor_completions.d/skd.fish",
    ] {
        files.push((format!("usr/share/{completion}"), 0o644));
    }
    for (file, mode) in files {
        let found = fs::metadata(folder.path(&file));
        let found = found.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(found.permissions().mode() & 0o777, mode, "{file}");
    }
}

/// The words of a text, without the marks that the formats of copyright files put between them.
fn words(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| *word != ".");
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_package_has_the_version_and_the_licence_of_the_source() {
    let changelog = include_str!("../package/changelog");
    let version = concat!("skd (", env!("CARGO_PKG_VERSION"), ") ");
    assert!(changelog.starts_with(version), "{changelog}");
    let licence = words(include_str!("../LICENSE"));
    let (_, licence) = licence.split_once("maintainers ").unwrap();
    let copyright = words(include_str!("../package/copyright"));
    assert!(copyright.ends_with(licence), "{copyright}");
}
