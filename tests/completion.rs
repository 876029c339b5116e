//! What `--completion` prints, in the shells that it is for, and installed as packages have it.

use crate::kit::skd::{BINARY, Skd};
use crate::kit::tmux::Tmux;
use crate::kit::{Folder, need};
use crate::manual::{help, options_of_the_help};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FILES: [(&str, &str); 3] = [
    ("bash", include_str!("../completions/skd.bash")),
    ("zsh", include_str!("../completions/_skd")),
    ("fish", include_str!("../completions/skd.fish")),
];
const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";

/// A command line, and what is offered in place of its last word.
const OFFERS: &[(&str, &str)] = &[
    ("skd --pa", "--pass"),
    ("skd --pass ", "both listen-fds stdin"),
    ("skd --pass=l", "--pass=listen-fds"),
    ("skd -v --qui", "--quiet"),
    // Options that may stand once are offered once.
    ("skd --quiet --qui", ""),
    ("skd --backlog=5 --backl", ""),
    ("skd --allow ::1 --allo", "--allow"),
    ("skd --verbose --verb", "--verbose"),
    (
        "skd --no-adopt --log-format=",
        "--log-format=json --log-format=text",
    ),
    ("skd -vt 127.0.0.1:80 --completion ", "bash fish zsh"),
    ("skd --adopt l", "listen-fds listen-fds:"),
    ("skd -vt 127.0.0.1:gophe", "127.0.0.1:gopher"),
    ("skd -P rul", "rules"),
    ("skd -vBP rul", "rules"),
    ("skd --rules=rul", "--rules=rules"),
    ("skd --metrics rul", "rules"),
    ("skd --chdir ", "sub"),
    ("skd --user daemo", "daemon"),
    ("skd --owner root:daemo", "root:daemon"),
    ("skd --groups root,daemo", "root,daemon"),
    ("skd --bind-to-device l", "lo"),
    ("skd -L tag:local0", "tag:local0."),
    ("skd -vL tag:daemon.e", "tag:daemon.emerg tag:daemon.err"),
    // PROG is the first word that is neither an option nor a value, and what is behind it is its own.
    ("skd skdtes", "skdtest"),
    ("skd -vt 80 skdtes", "skdtest"),
    ("skd -vt80 -c 5 -- skdtes", "skdtest"),
    ("skd --keepalive skdtes", "skdtest"),
    ("skd --keepalive=60 skdtes", "skdtest"),
    ("skd -t 80 skdtest rul", "rules"),
    ("skd -t 80 skdtest --tc", ""),
    ("skd skdtest --pass ", "rules sub"),
    ("skd -- skdtest -", ""),
];

/// PROG has completions too, where bash can be asked for them.
const OF_PROG: &[(&str, &str)] = &[
    ("skd -vt 80 skd --chec", "--check --check-peer"),
    ("skd -v -- skd -v --pass s", "stdin"),
];

/// A folder with the skd of this test in `bin`, and `here`, in which there is a file and a folder.
fn installed() -> Folder {
    let folder = Folder::new();
    for name in ["bin", "here", "here/sub", "completions", "fish"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    fs::create_dir(folder.path("fish/completions")).unwrap();
    fs::write(folder.path("here/rules"), "").unwrap();
    folder.script("bin/skdtest", ":");
    symlink(BINARY, folder.path("bin/skd")).unwrap();
    for (file, place) in [
        ("skd.bash", "completions/skd"),
        ("skd.fish", "fish/completions/skd.fish"),
    ] {
        symlink(format!("{ROOT}/completions/{file}"), folder.path(place)).unwrap();
    }
    folder
}

/// A shell at a terminal, that puts all that it offers on its line.
struct Shell {
    tmux: Tmux,
    /// The keys for that.
    all: &'static [&'static str],
    typed: u32,
}

impl Shell {
    fn start(folder: &Folder, rc: &str, (command, all): (&str, &'static [&'static str])) -> Self {
        fs::write(folder.path(".zshrc"), rc).unwrap();
        let home = folder.path("");
        let script = format!(
            "cd {home}here && exec env -i TERM=\"$TERM\" LC_ALL=C.UTF-8 HOME={home} \
             BASH_COMPLETION_USER_DIR={home} PATH={home}bin:/usr/bin:/bin {command}"
        );
        let tmux = Tmux::run(&script, (1500, 100));
        tmux.shows("a prompt", |lines| lines.iter().any(|line| line == ">"));
        Self {
            tmux,
            all,
            typed: 0,
        }
    }

    fn bash(rc: &str) -> (Self, Folder) {
        let folder = installed();
        let command = "bash --noprofile --rcfile ../.zshrc -i";
        let shell = Self::start(&folder, &format!("PS1='> '\n{rc}"), (command, &["M-*"]));
        (shell, folder)
    }

    fn zsh(rc: &str) -> (Self, Folder) {
        let folder = installed();
        let rc = format!(
            "PS1='> '
            fpath=({ROOT}/completions $fpath)
            autoload -Uz compinit && compinit -u -D
            zle -C all-matches complete-word _generic
            bindkey '^Xa' all-matches
            zstyle ':completion:all-matches::::' completer _all_matches _complete
            zstyle ':completion:all-matches:*' insert true
            {rc}"
        );
        let shell = Self::start(&folder, &rc, ("zsh -d -i", &["C-x", "a"]));
        (shell, folder)
    }

    /// What is on the line when all that is offered has been put there.
    fn line(&mut self, line: &str) -> String {
        self.typed += 1;
        let mark = format!(" #{}", self.typed);
        self.tmux.types("C-u");
        self.tmux.does(&["send-keys", "-l", "--", line]);
        self.all.iter().for_each(|key| self.tmux.types(key));
        self.tmux.does(&["send-keys", "-l", "--", &mark]);
        let is_done = |line: &String| line.ends_with(&mark);
        let screen = self
            .tmux
            .shows(line, |lines| lines.iter().any(is_done))
            .concat();
        let (_, completed) = screen.rsplit_once("> skd").unwrap();
        format!("skd{}", completed.strip_suffix(&mark).unwrap())
    }

    /// The words in place of the last one of the line; none if that stayed.
    fn offers(&mut self, line: &str) -> BTreeSet<String> {
        let (before, last) = line.rsplit_once(' ').unwrap();
        let completed = self.line(line);
        let words = completed.strip_prefix(before).unwrap();
        let mut words = words_of(words);
        if words.len() == 1 {
            words.remove(last);
        }
        words
    }

    fn completes(&mut self, table: &[(&str, &str)], as_shown: fn(&str, &str) -> String) {
        for (line, offers) in table {
            let offers = words_of(&as_shown(line, offers));
            assert_eq!(self.offers(line), offers, "{line}");
        }
    }
}

fn words_of(text: &str) -> BTreeSet<String> {
    let words = text.split_whitespace();
    words
        .map(|word| word.trim_end_matches('/').to_owned())
        .collect()
}

/// To bash a word begins behind `:` and `=` too, and all words but the first are shown so.
fn as_in_bash(line: &str, offers: &str) -> String {
    let begun = line.rsplit_once([':', '=']);
    let Some((before, _)) = begun.filter(|(_, rest)| !rest.contains(' ')) else {
        return offers.to_owned();
    };
    let (_, before) = before.rsplit_once(' ').unwrap();
    let (first, rest) = offers.split_once(' ').unwrap_or((offers, ""));
    let rest = rest
        .split_whitespace()
        .map(|word| &word[before.len() + 1..]);
    format!("{first} {}", rest.collect::<Vec<_>>().join(" "))
}

/// `-t`, `--tcp` and so on, of every option of the help.
fn every_name() -> BTreeSet<String> {
    let options = options_of_the_help();
    let names = options
        .iter()
        .flat_map(|(_, names, _)| names.split(", "))
        .map(|name| name.split([' ', '[']).next().unwrap().to_owned());
    names.collect()
}

#[test]
fn the_completions_that_are_installed_are_those_that_are_printed() {
    for (shell, file) in FILES {
        for words in ["--completion ", "-vt 80 --completion="] {
            let outcome = Skd::new(&format!("{words}{shell}")).outcome();
            assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
            assert!(outcome.stdout == file, "skd --completion {shell} differs");
        }
    }
}

#[test]
fn no_name_of_a_completion_is_another_programs() {
    for (shell, file) in FILES {
        let functions: Vec<_> = file
            .lines()
            .filter_map(|line| match line.strip_prefix("function ") {
                Some(name) => Some(name),
                None => Some(line.split_once("() {")?.0),
            })
            .collect();
        assert!(functions.len() > 5, "{shell}");
        assert!(functions.iter().all(|name| name.starts_with("_skd")));
    }
    let names = format!(". {ROOT}/completions/skd.bash; compgen -v");
    let done = Command::new("bash").args(["-euc", &names]).output();
    let names = String::from_utf8(done.unwrap().stdout).unwrap();
    let own = [
        "typed", "line", "words", "cur", "val", "kind", "given", "pre",
    ];
    assert!(names.contains("BASH\n") && !names.lines().any(|name| own.contains(&name)));
}

#[test]
fn shellcheck_has_nothing_to_say_of_the_completions_of_bash() {
    if need::program("shellcheck") {
        let file = format!("{ROOT}/completions/skd.bash");
        let done = Command::new("shellcheck").arg(file).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout), "");
    }
}

#[test]
fn bash_completes_without_bash_completion() {
    if !need::program("tmux") {
        return;
    }
    let (mut bash, _folder) = Shell::bash("set -u\n. ../completions/skd");
    bash.completes(OFFERS, as_in_bash);
    assert_eq!(bash.offers("skd -"), every_name());
}

#[test]
fn bash_completes_with_bash_completion() {
    if !need::program("tmux") || !need::file("bash-completion", BASH_COMPLETION) {
        return;
    }
    let (mut bash, _folder) = Shell::bash(&format!(". {BASH_COMPLETION}"));
    bash.completes(OFFERS, as_in_bash);
    bash.completes(OF_PROG, as_in_bash);
    assert_eq!(bash.offers("skd -"), every_name());
}

#[test]
fn zsh_completes() {
    if !need::program("tmux") || !need::program("zsh") {
        return;
    }
    let (mut zsh, _folder) = Shell::zsh("");
    zsh.completes(OFFERS, |_, offers| offers.to_owned());
    zsh.completes(OF_PROG, |_, offers| offers.to_owned());
    let mut offered = zsh.offers("skd -");
    // Where zsh inserts all, what was typed stays in front.
    offered.remove("-");
    assert_eq!(offered, every_name());
}

/// As it is read by a zsh that knows nothing of it, and with what the help says of each option.
#[test]
fn zsh_completes_what_it_reads_and_tells_what_it_is() {
    if !need::program("tmux") || !need::program("zsh") {
        return;
    }
    let rc = "unfunction _skd; compdef -d skd; . <(skd --completion zsh)";
    let (zsh, _folder) = Shell::zsh(rc);
    zsh.tmux.does(&["send-keys", "-l", "--", "skd --p"]);
    zsh.tmux.types("Tab");
    zsh.tmux
        .shows_text("-- a listener is passed by stdin, listen-fds, both");
    zsh.tmux.shows_text("-- write and lock the pid there");
}

/// What fish offers for a line: names, each with what is said of it.
fn fish(folder: &Folder, lines: &[&str]) -> Vec<Vec<(String, String)>> {
    let home = folder.path("");
    let mut command = Command::new("fish");
    let command = command
        .args(["-c", "for line in $argv; complete -C $line; echo =; end"])
        .args(lines)
        .env_clear()
        .env("HOME", &home)
        .env("XDG_CONFIG_HOME", &home)
        .env("PATH", format!("{home}bin:/usr/bin:/bin"))
        .current_dir(folder.path("here"));
    let done = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    let text = String::from_utf8(done.stdout).unwrap();
    let offers = text.split_terminator("=\n").map(|offers| {
        let offers = offers.lines();
        offers
            .map(|line| line.split_once('\t').unwrap_or((line, "")))
            .map(|(name, said)| (name.to_owned(), said.to_owned()))
            .collect()
    });
    offers.collect()
}

#[test]
fn fish_completes() {
    if !need::program("fish") {
        return;
    }
    let folder = installed();
    let table: Vec<_> = OFFERS.iter().chain(OF_PROG).collect();
    let lines: Vec<_> = table.iter().map(|(line, _)| *line).collect();
    let offered = fish(&folder, &lines);
    assert_eq!(offered.len(), table.len());
    for ((line, offers), offered) in table.iter().zip(offered) {
        let names: Vec<_> = offered.into_iter().map(|(name, _)| name).collect();
        assert_eq!(words_of(&names.join(" ")), words_of(offers), "{line}");
    }
}

#[test]
fn fish_tells_of_each_option_what_the_help_says() {
    if !need::program("fish") {
        return;
    }
    let offered = fish(&installed(), &["skd -"]).remove(0);
    let names: BTreeSet<_> = offered.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, every_name());
    let help = help();
    for (name, said) in offered {
        let mut lines = help
            .lines()
            .filter(|line| line.trim_start().starts_with('-'));
        let line = lines.find(|line| {
            let names = line.trim_start().split("  ").next().unwrap();
            names.split([',', ' ', '[']).any(|it| it == name)
        });
        let is_said = |line: &str| line.trim_end_matches(" *").ends_with(&said);
        assert!(name == "-x" || line.is_some_and(is_said), "{name}: {said}");
    }
}
