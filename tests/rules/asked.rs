//! `--check-peer`: what it answers, and that the real tcprulescheck answers the same.

use super::{compile, put};
use crate::kit::skd::{Outcome, Skd};
use crate::kit::{Folder, need};
use std::collections::BTreeMap;
use std::process::Command;

/// What skd answers to this peer.
fn asked(options: &str, peer: &str) -> (i32, String) {
    let words = options.split_whitespace().chain(["--check-peer", peer]);
    let Outcome {
        code,
        stdout,
        stderr,
    } = Skd::with_words(words).outcome();
    assert_eq!(stderr, "", "{options} {peer}");
    (code, stdout)
}

#[test]
fn what_would_be_decided_is_told_with_the_reason_and_nothing_is_started() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(
        &rules,
        "# a comment\n\
         10.1.:deny\n\
         10.2-3.:allow,A=\"1\",B='x y'\n\
         10.0.0.0/8:allow\n\
         =.example.org:allow,C=\"2\"\n\
         joe@10.9.9.9:deny\n\
         2001:db8::/32:deny\n\
         uid:5:deny\n\
         gid:7:deny\n\
         cid:3:deny\n\
         :deny\n",
    );
    let by_rules = [
        ("10.1.2.3", 1, "rule 10.1.:deny\n"),
        ("10.2.0.1", 0, "rule 10.2-3.:allow\nset A=1\nset B=x y\n"),
        ("10.9.9.9", 0, "rule 10.0.0.0/8:allow\n"),
        ("joe@10.9.9.9", 1, "rule joe@10.9.9.9:deny\n"),
        ("eve@10.9.9.9=a.example.org", 0, "rule 10.0.0.0/8:allow\n"),
        (
            "192.0.2.7=A.Example.org",
            0,
            "rule =.example.org:allow\nset C=2\n",
        ),
        ("192.0.2.7", 1, "rule :deny\n"),
        (
            "::ffff:10.2.0.1",
            0,
            "rule 10.2-3.:allow\nset A=1\nset B=x y\n",
        ),
        ("2001:db8::7", 1, "rule 2001:db8::/32:deny\n"),
        ("uid:5", 1, "rule uid:5:deny\n"),
        ("gid:7", 1, "rule gid:7:deny\n"),
        ("cid:3", 1, "rule cid:3:deny\n"),
        ("uid:6", 1, "rule :deny\n"),
    ];
    for (peer, code, why) in by_rules {
        let deed = if code == 0 { "allow" } else { "deny" };
        let answer = (code, format!("{deed} {peer} {why}"));
        assert_eq!(asked(&format!("--rules {rules}"), peer), answer);
        // Sockets and PROG change nothing, and a port that is taken is none of its business.
        let socket = folder.path("sock");
        let all = format!("--rules {rules} -v -l {socket} -t 127.0.0.1:0");
        let words = all.split(' ').chain(["--check-peer", peer, "nonesuch"]);
        let outcome = Skd::with_words(words).outcome();
        assert_eq!((outcome.code, outcome.stdout), answer);
        assert!(!std::fs::exists(&socket).unwrap());
    }
    let table = [
        ("", "::1", 0, "nothing denies it"),
        ("--deny 10.0.0.0/8", "10.0.0.1", 1, "--deny 10.0.0.0/8"),
        ("--deny 10.0.0.0/8", "11.0.0.1", 0, "no --deny matches"),
        ("--allow 10.0.0.0/8", "10.0.0.1", 0, "--allow 10.0.0.0/8"),
        ("--allow 10.0.0.0/8", "11.0.0.1", 1, "no --allow matches"),
        ("--allow uid:5", "uid:5", 0, "--allow uid:5"),
    ];
    for (options, peer, code, why) in table {
        let deed = if code == 0 { "allow" } else { "deny" };
        assert_eq!(
            asked(options, peer),
            (code, format!("{deed} {peer} {why}\n"))
        );
    }
}

/// Numbers that look random and are the same in every run: xorshift64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

/// Few, so that rules and peers meet.
const IPS: &[&str] = &[
    "1.1.1.1",
    "1.1.1.2",
    "1.1.2.1",
    "1.2.1.1",
    "2.1.1.1",
    "::1",
    "2001:db8::1",
];
const HOSTS: &[&str] = &["a", "b.a", "c.b.a", "c.a"];
const IDENTS: &[&str] = &["u", "v"];
const DOTTED: &[&str] = &[
    "1.",
    "1.1.",
    "1.1.1.",
    "1.2.",
    "2.",
    "0-2.",
    "1.1.1-2.",
    "1.1.1.1-2",
    "1.0-9.1.1",
];

fn address(numbers: &mut Numbers) -> String {
    let (ip, host, ident) = (numbers.of(IPS), numbers.of(HOSTS), numbers.of(IDENTS));
    match numbers.below(9) {
        0 => ip.to_owned(),
        1..=3 => numbers.of(DOTTED).to_owned(),
        4 => format!("={host}"),
        5 => format!("=.{host}"),
        6 => format!("{ident}@{ip}"),
        7 => format!("{ident}@={host}"),
        _ => numbers.of(&["", "="]).to_owned(),
    }
}

/// Up to twelve rules, each with its number and perhaps more to be set.
fn source(numbers: &mut Numbers) -> String {
    let count = numbers.below(13);
    let line = |rule| {
        let address = address(numbers);
        let deed = numbers.of(&["allow", "deny"]);
        let more = numbers.of(&["", ",A=\"b c\"", ",A='',B=|x:deny|", "\n# next"]);
        format!("{address}:{deed},RULE=\"{rule}\"{more}\n")
    };
    (0..count).map(line).collect()
}

/// Whether the peer is let in, the rule that says so as it is written, the variables in the order of their names.
type Decision = (bool, Option<String>, BTreeMap<String, String>);

fn ours(rules: &str, peer: &str) -> Decision {
    let outcome = Skd::with_words(["--rules", rules, "--check-peer", peer]).outcome();
    let (allows, deed) = match outcome.code {
        0 => (true, "allow"),
        1 => (false, "deny"),
        _ => panic!("{}", outcome.stderr),
    };
    let mut lines = outcome.stdout.lines();
    let why = lines
        .next()
        .unwrap()
        .strip_prefix(&format!("{deed} {peer} "));
    let rule = match why.unwrap() {
        "no rule matches" => None,
        why => {
            let rule = why.strip_prefix("rule ").unwrap();
            Some(rule.strip_suffix(&format!(":{deed}")).unwrap().to_owned())
        }
    };
    let variables = lines.map(|line| {
        let (name, value) = line.strip_prefix("set ").unwrap().split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    (allows, rule, variables.collect())
}

fn theirs(cdb: &str, ip: &str, host: Option<&str>, ident: Option<&str>) -> Decision {
    let mut check = Command::new("tcprulescheck");
    check.arg(cdb).env("TCPREMOTEIP", ip);
    check
        .env_remove("TCPREMOTEHOST")
        .env_remove("TCPREMOTEINFO");
    for (name, value) in [("TCPREMOTEHOST", host), ("TCPREMOTEINFO", ident)] {
        if let Some(value) = value {
            check.env(name, value);
        }
    }
    let said = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let (mut rule, mut variables) = (None, BTreeMap::new());
    for line in said.lines() {
        if let Some(key) = line.strip_prefix("rule ") {
            rule = Some(key.strip_suffix(':').unwrap().to_owned());
        } else if let Some(variable) = line.strip_prefix("set environment variable ") {
            let (name, value) = variable.split_once('=').unwrap();
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    let allows = said.ends_with("allow connection\n");
    assert!(allows || said.ends_with("deny connection\n"), "{said}");
    (allows, rule, variables)
}

#[test]
fn random_peers_fare_by_random_rules_as_with_the_real_tcprulescheck() {
    const SETS: usize = 300;
    if !need::program("tcprulescheck") {
        return;
    }
    let folder = Folder::new();
    let (rules, cdb) = (folder.path("rules"), folder.path("rules.cdb"));
    let mut numbers = Numbers(0x5eed_0f5e_ed0f_5eed);
    for _ in 0..SETS {
        let source = source(&mut numbers);
        put(&rules, &source);
        compile(&source, &cdb);
        for _ in 0..3 {
            let ip = numbers.of(IPS);
            let host = (numbers.below(2) > 0).then(|| numbers.of(HOSTS));
            let ident = (numbers.below(2) > 0).then(|| numbers.of(IDENTS));
            let mut peer = ident.map_or_else(String::new, |ident| format!("{ident}@")) + ip;
            peer += &host.map_or_else(String::new, |host| format!("={host}"));
            let theirs = theirs(&cdb, ip, host, ident);
            for file in [&rules, &cdb] {
                let (allows, rule, variables) = ours(file, &peer);
                assert_eq!(
                    (allows, &variables),
                    (theirs.0, &theirs.2),
                    "{peer}\n{source}"
                );
                // A range has become the one of its addresses that matches.
                let is_range = rule.as_ref().is_some_and(|rule| rule.contains('-'));
                assert!(
                    is_range || rule == theirs.1,
                    "{peer} {rule:?} {theirs:?}\n{source}"
                );
            }
        }
    }
}

#[test]
fn a_word_that_is_no_peer_is_a_usage_error() {
    for word in [
        "",
        "10.",
        "localhost",
        "1.2.3.4:80",
        "uid:root",
        "1.2.3.4=",
        "joe@",
    ] {
        let outcome = Skd::with_words(["--check-peer", word]).outcome();
        let text = format!(
            "skd: usage: --check-peer: \"{word}\": [INFO@]ADDRESS[=HOST], uid:N, gid:N or cid:N is expected; \
             try \"skd --help\"\n"
        );
        assert_eq!(
            (outcome.code, outcome.stdout.as_str(), outcome.stderr),
            (100, "", text)
        );
    }
    let outcome = Skd::with_words(["--check-peer", "[2001:db8::1]"]).outcome();
    let text = "skd: usage: --check-peer: \"[2001:db8::1]\": an IPv6 address is expected without brackets; \
                try \"skd --help\"\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (100, text));
}
