//! What the manual shows of who may come in: its rules, and its examples about them.

use super::examples::started;
use super::machine::shell;
use super::{README, blocks};
use crate::kit::net::Client;
use crate::kit::skd::Skd;
use crate::kit::{Folder, need};
use std::fs;
use std::process::{Command, Stdio};

#[test]
fn the_rules_of_the_manual_mean_what_their_comments_say() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    let [text] = &blocks("RULES FILE")[..] else {
        panic!("one block is expected");
    };
    fs::write(&rules, format!("{text}\n")).unwrap();
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
    for (peer, answer) in table {
        let outcome = Skd::with_words(["--rules", &rules, "--check-peer", peer]).outcome();
        assert_eq!(
            (outcome.stdout.as_str(), outcome.stderr.as_str()),
            (answer, "")
        );
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
