//! What the manuals show of who may come in: the rules of skd-rules(5), and the examples about them.

use super::examples::started;
use super::machine::shell;
use super::{README, RULES, blocks_of};
use crate::kit::net::Client;
use crate::kit::skd::Skd;
use crate::kit::{Folder, need};
use std::fs;
use std::process::{Command, Stdio};

/// What is answered by `rules`, peer by peer.
fn answers(rules: &str, table: &[(&str, &str)]) {
    let folder = Folder::new();
    let file = folder.path("rules");
    fs::write(&file, format!("{rules}\n")).unwrap();
    for (peer, answer) in table {
        let outcome = Skd::with_words(["--rules", &file, "--check-peer", peer]).outcome();
        assert_eq!(
            (outcome.stdout.as_str(), outcome.stderr.as_str()),
            (*answer, "")
        );
    }
}

#[test]
fn the_rules_of_the_manual_mean_what_their_comments_say() {
    let [mail, unix, ..] = &blocks_of(RULES, "EXAMPLES")[..] else {
        panic!("two files of rules are expected");
    };
    let table = [
        (
            "192.0.2.7",
            "allow 192.0.2.7 rule 192.0.2.0/24:allow\nset RELAYCLIENT=\n",
        ),
        (
            "2001:db8::7",
            "allow 2001:db8::7 rule 2001:db8::/32:allow\nset RELAYCLIENT=\n",
        ),
        ("192.0.2.67", "deny 192.0.2.67 rule 192.0.2.66-69:deny\n"),
        (
            "203.0.113.9=a.example",
            "allow 203.0.113.9=a.example rule =:allow\n",
        ),
        ("203.0.113.9", "deny 203.0.113.9 rule :deny\n"),
    ];
    answers(mail, &table);
    let table = [
        ("uid:0", "allow uid:0 rule uid:0:allow\nset ROLE=admin\n"),
        (
            "gid:100",
            "allow gid:100 rule gid:100:allow\nset ROLE=user\n",
        ),
        ("uid:100", "deny uid:100 rule :deny\n"),
    ];
    answers(unix, &table);
}

/// Its addresses, each with one who has it and one who has not.
#[test]
fn the_addresses_of_the_manual_mean_what_is_said_of_them() {
    let table = [
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("2001:db8::7", "2001:db8::7", "2001:db8::8"),
        ("192.0.2.", "192.0.2.255", "192.0.3.0"),
        ("10.", "10.9.9.9", "11.0.0.0"),
        ("192.0.2.30-39", "192.0.2.39", "192.0.2.40"),
        ("10.2-3.", "10.3.0.1", "10.4.0.1"),
        ("192.0.2.0/24", "::ffff:192.0.2.7", "192.0.1.255"),
        ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
        ("0.0.0.0/0", "255.0.0.1", "::1"),
        ("::/0", "::1", "255.0.0.1"),
        ("2001:db8::", "2001:db8::", "2001:db8::1"),
        ("=.example.org", "::1=a.b.example.org", "::1=example.org"),
    ];
    let page = super::unescaped(RULES);
    for (address, has, has_not) in table {
        assert!(page.contains(address), "{address}");
        let allowed = format!("allow {has} no rule matches\n");
        let denied = format!("deny {has} rule {address}:deny\n");
        let other = allowed.replace(has, has_not);
        answers(
            &format!("{address}:deny"),
            &[(has, &denied), (has_not, &other)],
        );
    }
}

/// Each place of the list decides as long as it is there, and then the next one does.
#[test]
fn the_manual_has_the_order_in_which_rules_decide() {
    let (_, list) = RULES.split_once(".TS\ntab(|);\nl l.\n").unwrap();
    let (list, _) = list.split_once(".TE\n").unwrap();
    let table: [(&str, &[&str]); 8] = [
        ("INFO@ADDRESS", &["joe@192.0.2.7"]),
        ("INFO@=HOST", &["joe@=www.example.org"]),
        ("the whole address", &["192.0.2.7"]),
        ("=HOST", &["=www.example.org"]),
        (
            "networks and beginnings of addresses, the longest first",
            &["192.0.2.7/32", "192.0.2.0/25", "192.0.2.", "192.0.0.0/16"],
        ),
        ("=.SUFFIX, the longest first", &["=.example.org", "=.org"]),
        ("=", &["="]),
        ("the empty ADDRESS", &[""]),
    ];
    let said: Vec<_> = list.lines().map(super::unescaped).collect();
    let expected: Vec<_> = (1..)
        .zip(&table)
        .map(|(place, (kind, _))| format!("{place}.|{kind}"))
        .collect();
    assert_eq!(said, expected);
    let mut rules: Vec<_> = table.iter().flat_map(|(_, rules)| *rules).collect();
    let peer = "joe@192.0.2.7=www.example.org";
    while let Some(first) = rules.first() {
        // From the last to the first: the order of the lines is of no account.
        let lines = rules.iter().rev().map(|rule| format!("{rule}:deny\n"));
        let answer = format!("deny {peer} rule {first}:deny\n");
        answers(&lines.collect::<String>(), &[(peer, &answer)]);
        rules.remove(0);
    }
}

/// The examples that are command lines, on the rules before them.
#[test]
fn the_command_lines_about_rules_do_what_is_said_of_them() {
    let [mail, _, ask, serve] = &blocks_of(RULES, "EXAMPLES")[..] else {
        panic!("two files of rules and two blocks of commands are expected");
    };
    let folder = Folder::new();
    let rules = folder.path("rules");
    fs::write(&rules, format!("{mail}\n")).unwrap();
    fs::write(folder.path("rules.new"), "127.:allow\n:deny\n").unwrap();
    let peer = "203.0.113.9=mail.example.org";
    assert_eq!(
        shell("", ask, &folder),
        format!("allow {peer} rule =:allow\n")
    );
    let moved = fs::read_to_string(&rules).unwrap();
    assert_eq!(moved, "127.:allow\n:deny\n");
    if need::program("tcprules") {
        let (compile, serve) = serve.split_once('\n').unwrap();
        assert_eq!(shell("", compile, &folder), "");
        let mut skd = started(serve, &folder);
        Client::tcp(skd.port()).says("hello\n").hears("hello\n");
        skd.stop();
    }
}

/// The README has the same lines.
pub(super) fn judges(block: &str) {
    assert!(README.contains(&format!("    {}\n\n", block.replace('\n', "\n    "))));
    let lines: Vec<_> = block.lines().collect();
    let folder = Folder::new();
    assert_eq!(shell("", lines[0], &folder), "");
    let mut skd = started(lines[1], &folder);
    let port = skd.port();
    let mut held = [(); 4].map(|()| Client::tcp(port));
    for client in &mut held {
        client.says("hello\n").hears("hello\n");
    }
    assert_eq!(Client::tcp(port).hears_rest(), "try again later\r\n");
    skd.waits_for(" --max-per-source 4");
    skd.stop();
    let answer = shell("", lines[2], &folder);
    let rule = "rule 192.0.2.0/24:allow";
    assert_eq!(answer, format!("allow 192.0.2.7 {rule}\nset FROM=office\n"));
}

pub(super) fn tells_client(block: &str) {
    if need::program("curl") {
        let mut skd = started(block, &Folder::new());
        let url = format!("telnet://127.0.0.1:{}", skd.port());
        let mut curl = Command::new("curl");
        let curl = curl.args(["-s", "--haproxy-protocol", &url]);
        let done = curl.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        let port = said.strip_prefix("127.0.0.1 port ").unwrap().trim_end();
        assert!(
            skd.waits_for("info: end ")
                .contains(&format!(" 127.0.0.1:{port} pid "))
        );
        skd.stop();
    }
}
