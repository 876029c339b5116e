//! Who may come in by lists and by rules, when rules are read again, and what is answered beforehand.

mod asked;
mod reread;

use crate::kit::net::{Client, tcp_from_loopback};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, facts, fails, need, reporting};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// Puts a file there as an editor does: never half of it.
fn put(path: &str, text: &str) {
    let new = format!("{path}.new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// Whether the one from 127.0.0.N is served by `greeting`, or closed without a word.
fn is_served(last: u8, port: u16) -> bool {
    let mut stream = tcp_from_loopback(last, port);
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert!(heard.is_empty() || heard == "in\n", "{heard}");
    heard == "in\n"
}

/// skd that says `in` to whom it lets in.
fn greeting(options: &str) -> Skd {
    Skd::new(&format!("-v -1 {options}"))
        .word("sh")
        .word("-c")
        .word("echo in")
}

/// Who of 127.0.0.1 to 127.0.0.N is served at the only port, and the reasons for those who are not, in order.
fn fare(skd: &mut Running, port: u16, last: u8) -> (Vec<u8>, Vec<String>) {
    let served = (1..=last).filter(|last| is_served(*last, port));
    let served: Vec<_> = served.collect();
    let denied = usize::from(last) - served.len();
    if denied > 0 {
        skd.waits_for_nth("info: deny ", denied);
    }
    let reasons = skd.seen.iter().filter_map(|line| {
        let (_, rest) = line.split_once("info: deny tcp:127.0.0.1:")?;
        let (_, reason) = rest.split_once(' ')?.1.split_once(' ')?;
        Some(reason.to_owned())
    });
    (served, reasons.collect())
}

#[test]
fn who_is_denied_is_closed_without_a_word_and_the_log_has_the_reason() {
    let table: [(&str, &[u8], &[&str]); 7] = [
        (
            "--deny 127.0.0.2,127.0.0.4/31",
            &[1, 3],
            &[
                "--deny 127.0.0.2",
                "--deny 127.0.0.4/31",
                "--deny 127.0.0.4/31",
            ],
        ),
        (
            "--allow 127.0.0.2 --allow 127.0.0.3,::1",
            &[2, 3],
            &["no --allow matches"; 3],
        ),
        // The most specific one decides, and to be on both lists is to be denied.
        (
            "--deny 127.0.0.0/8 --allow 127.0.0.0/29 --deny 127.0.0.5",
            &[1, 2, 3, 4],
            &["--deny 127.0.0.5"],
        ),
        (
            "--allow 127.0.0.0/29 --deny 127.0.0.0/29 --allow 127.0.0.1",
            &[1],
            &["--deny 127.0.0.0/29"; 4],
        ),
        (
            "--deny ::ffff:127.0.0.2/127",
            &[1, 4, 5],
            &["--deny 127.0.0.2/31"; 2],
        ),
        // No IPv4 peer is within an IPv6 network.
        ("--deny ::/0,uid:0,gid:0", &[1, 2, 3, 4, 5], &[]),
        ("--allow ::/0,uid:0,gid:0", &[], &["no --allow matches"; 5]),
    ];
    for (lists, served, reasons) in table {
        let words = format!("-v -1 {lists} -t 127.0.0.1:0 -C 99 -r no! sh -c");
        let mut skd = Skd::new(&words).word("echo in").start();
        let port = skd.port();
        let fared = fare(&mut skd, port, 5);
        assert_eq!(
            fared,
            (
                served.to_vec(),
                reasons.iter().map(|text| text.to_string()).collect()
            ),
            "{lists}"
        );
        skd.is_alone();
        let (accepted, denied) = (served.len(), reasons.len());
        assert_eq!(
            skd.status(),
            format!("0 accepted {accepted} denied {denied} failed 0")
        );
        skd.stop();
    }
}

#[test]
fn mapped_addresses_are_judged_as_the_ipv4_addresses_that_they_are() {
    if !need::ipv6() {
        return;
    }
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(&rules, "127.0.0.3:deny\n");
    for (options, reason) in [
        ("--deny 127.0.0.3".to_owned(), "--deny 127.0.0.3"),
        (format!("--rules {rules}"), "rule 127.0.0.3:deny"),
    ] {
        let mut skd = greeting(&format!("{options} -t 0")).start();
        let port = skd.port();
        assert!(is_served(2, port));
        assert!(!is_served(3, port));
        let line = skd.waits_for("info: deny ");
        assert!(
            line.starts_with(&format!("skd: info: deny tcp:[::]:{port} 127.0.0.3:")),
            "{line}"
        );
        assert!(line.ends_with(reason), "{line}");
        skd.stop();
    }
}

#[test]
fn unix_peers_are_judged_by_user_before_group() {
    let folder = Folder::new();
    let (path, rules) = (folder.path("sock"), folder.path("rules"));
    let (uid, gid) = (
        nix::unistd::getuid().as_raw(),
        nix::unistd::getgid().as_raw(),
    );
    let (other_uid, other_gid) = (uid + 1, gid + 1);
    let table = [
        (format!("--deny uid:{uid}"), false),
        (format!("--deny gid:{gid}"), false),
        (format!("--deny uid:{other_uid},gid:{other_gid}"), true),
        (format!("--allow gid:{gid}"), true),
        (format!("--allow gid:{other_gid}"), false),
        (format!("--allow uid:{uid} --deny gid:{gid}"), true),
        (format!("--allow gid:{gid} --deny uid:{uid}"), false),
        ("--allow 0.0.0.0/0,::/0".to_owned(), false),
        ("--deny 0.0.0.0/0,::/0".to_owned(), true),
    ];
    let judged = |options: &str, is_let_in: bool| {
        let skd = greeting(&format!("{options} -l {path}")).start();
        let heard = if is_let_in { "in\n" } else { "" };
        assert_eq!(Client::unix(&path).hears_rest(), heard, "{options}");
        skd.stop();
    };
    for (lists, is_let_in) in table {
        judged(&lists, is_let_in);
    }
    for (text, is_let_in) in [
        (format!("gid:{gid}:deny\nuid:{uid}:allow\n"), true),
        (format!("gid:{gid}:allow\nuid:{uid}:deny\n"), false),
        (format!("gid:{gid}:deny\n"), false),
        ("0.0.0.0/0:deny\n".to_owned(), true),
        (":deny\n".to_owned(), false),
    ] {
        put(&rules, &text);
        judged(&format!("--rules {rules}"), is_let_in);
    }
}

#[test]
fn both_lists_and_rules_must_allow() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(&rules, "127.0.0.2:deny\n127.0.0.3:allow\n127.0.0.4:allow\n");
    let options = format!("--rules {rules} --deny 127.0.0.3 --allow 127.0.0.0/30 -t 127.0.0.1:0");
    let mut skd = greeting(&options).start();
    let port = skd.port();
    let (served, reasons) = fare(&mut skd, port, 4);
    assert_eq!(served, [1]);
    assert_eq!(
        reasons,
        [
            "rule 127.0.0.2:deny",
            "--deny 127.0.0.3",
            "no --allow matches"
        ]
    );
    skd.stop();
}

/// Each name once, whatever skd and the connection had under it.
#[test]
fn variables_of_a_rule_come_last() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(
        &rules,
        "127.0.0.1:allow,RELAYCLIENT=\"\",PROTO=|MINE|,OWN='a \"b\"',TCPREMOTEHOST=/liar/,TCPCONNNUM=\"no\"\n\
         :allow,OTHER=\"x\"\n",
    );
    let mut skd = reporting(&format!("-v -1 --rules {rules} -t 127.0.0.1:0"))
        .envs("OWN=old OWNER=kept OTHER=kept PROTO=stale TCPREMOTEINFO=stale")
        .start();
    let port = skd.port();
    for last in [1, 2] {
        let report = Client::of_tcp(tcp_from_loopback(last, port)).hears_rest();
        let mut variables = facts(&report, "env");
        let names = [
            "OWN",
            "OTHER",
            "PROTO",
            "RELAY",
            "TCPREMOTEH",
            "TCPREMOTEIN",
            "TCPCONN",
            "TCPLOCALIP",
        ];
        variables.retain(|text| names.iter().any(|name| text.starts_with(name)));
        let expected: &[&str] = match last {
            1 => &[
                "OTHER=kept",
                "OWN=a \"b\"",
                "OWNER=kept",
                "PROTO=MINE",
                "RELAYCLIENT=",
                "TCPCONNNUM=no",
                "TCPLOCALIP=127.0.0.1",
                "TCPREMOTEHOST=liar",
            ],
            _ => &[
                "OTHER=x",
                "OWN=old",
                "OWNER=kept",
                "PROTO=TCP",
                "TCPCONNNUM=1",
                "TCPLOCALIP=127.0.0.1",
            ],
        };
        assert_eq!(variables, expected);
    }
    skd.stop();
}

/// Compiles rules by the real tcprules.
fn compile(text: &str, path: &str) {
    let mut tcprules = Command::new("tcprules")
        .args([path, &format!("{path}.tmp")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = tcprules.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    assert!(tcprules.wait().unwrap().success());
}

#[test]
fn what_tcprules_has_compiled_decides_and_is_read_again() {
    if !need::program("tcprules") {
        return;
    }
    let folder = Folder::new();
    let rules = folder.path("rules.cdb");
    compile("127.0.0.2-3:deny\n127.:allow,WORD=\"one\"\n:deny\n", &rules);
    let mut skd = Skd::new(&format!("-v -1 --rules {rules} -t 127.0.0.1:0 sh -c"));
    skd = skd.word("echo $WORD");
    let mut skd = skd.start();
    let port = skd.port();
    let heard = |last| Client::of_tcp(tcp_from_loopback(last, port)).hears_rest();
    assert_eq!([1, 2, 3, 4].map(heard), ["one\n", "", "", "one\n"]);
    assert!(
        skd.waits_for("info: deny ")
            .ends_with(" rule 127.0.0.2:deny")
    );
    compile("127.0.0.1:deny\n127.:allow,WORD=\"two\"\n", &rules);
    skd.signal(Signal::SIGHUP);
    skd.status();
    assert_eq!([1, 2].map(heard), ["", "two\n"]);
    skd.stop();
}

#[test]
fn at_start_rules_that_cannot_be_used_are_fatal() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(&rules, "10.:deny\n10.0.0.300:deny\n");
    let why = "a number of 0 to 255 without leading zeros is expected";
    for words in [
        "-t 127.0.0.1:0 cat",
        "--check -t 127.0.0.1:0 cat",
        "--check-peer ::1",
    ] {
        let skd = Skd::new(&format!("--rules {rules} {words}"));
        fails(skd, 100, &format!("fatal: {rules}:2:8: {why}"));
    }
    let cdb = folder.path("rules.cdb");
    put(&cdb, "10.:deny\n");
    let outcome = Skd::new(&format!("--rules {cdb} -t 127.0.0.1:0 cat")).outcome();
    assert_eq!(outcome.code, 100);
    let begin = format!("skd: fatal: {cdb}: tcprules did not make this: ");
    assert!(outcome.stderr.starts_with(&begin), "{}", outcome.stderr);
    let others = [folder.path("nonesuch"), folder.path("")];
    for path in others {
        let outcome = Skd::new(&format!("--rules {path} -t 127.0.0.1:0 cat")).outcome();
        assert_eq!(outcome.code, 100, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(&path), "{}", outcome.stderr);
    }
}

/// systemd's Accept=yes: skd becomes PROG, or ends well without it.
#[test]
fn a_connected_socket_is_judged_before_prog_is_executed() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(&rules, "127.0.0.2:deny\n:allow,WORD=\"set\"\n");
    for (options, last, heard) in [
        ("--deny 127.0.0.2".to_owned(), 1, "in\n"),
        ("--deny 127.0.0.2".to_owned(), 2, ""),
        (format!("--rules {rules}"), 1, "in set\n"),
        (format!("--rules {rules}"), 2, ""),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = tcp_from_loopback(last, listener.local_addr().unwrap().port());
        let (conn, peer) = listener.accept().unwrap();
        let skd = Skd::new(&format!("-v -0 {options} sh -c")).word("echo in $WORD");
        let outcome = skd.descriptor(0, conn).descriptor(1, dev_null()).outcome();
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(Client::of_tcp(client).hears_rest(), heard, "{options}");
        let is_told =
            outcome.stderr.contains("info: deny ") && outcome.stderr.contains(&peer.to_string());
        assert_eq!(is_told, heard.is_empty(), "{}", outcome.stderr);
    }
}

/// Most programs look at the first of a name, and some at the last.
#[test]
fn a_variable_of_a_rule_is_the_only_one_of_its_name_on_a_connected_socket() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(&rules, ":allow,VAR=\"x\",OTHER=\"\"\n");
    let (conn, client) = UnixStream::pair().unwrap();
    let words = format!("-0 --rules {rules} cat /proc/self/environ");
    let skd = Skd::new(&words).envs("VAR=old OTHER=old VARIED=old");
    let outcome = skd.descriptor(0, conn).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let environment = Client::of_unix(client).hears_rest();
    let mut found: Vec<_> = environment
        .split('\0')
        .filter(|text| text.starts_with("VAR") || text.starts_with("OTHER="))
        .collect();
    found.sort_unstable();
    assert_eq!(found, ["OTHER=", "VAR=x", "VARIED=old"]);
}

fn dev_null() -> fs::File {
    fs::File::open("/dev/null").unwrap()
}

#[test]
fn whom_rules_deny_starts_no_program_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(&rules, ":deny\n");
    let mark = folder.path("started");
    let words = format!("-1 --rules {rules} -t 127.0.0.1:0 touch {mark}");
    let mut skd = Skd::new(&words).spawn();
    let port = skd.port();
    let descriptors = skd.descriptors();
    let clients: Vec<TcpStream> = (0..200).map(|_| tcp_from_loopback(1, port)).collect();
    for client in clients {
        assert_eq!(Client::of_tcp(client).hears_rest(), "");
    }
    assert!(skd.status().contains(" denied 200 failed 0"));
    assert_eq!(skd.descriptors(), descriptors);
    assert!(!fs::exists(mark).unwrap() && skd.children().is_empty());
    skd.stop();
}

#[test]
fn rules_about_names_that_nobody_looks_up_are_told_of() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    for (text, options, warning) in [
        (
            "=localhost:deny\n",
            "",
            "rules with names of hosts match nobody without --resolve",
        ),
        (
            "root@127.0.0.1:deny\n",
            "--resolve",
            "rules with INFO@ match nobody without --ident",
        ),
    ] {
        fs::write(&rules, text).unwrap();
        let words = format!("-v {options} -t 127.0.0.1:0 --rules {rules} cat");
        let mut skd = Skd::new(&words).start();
        assert_eq!(
            skd.waits_for("warning: "),
            format!("skd: warning: {warning}")
        );
        skd.stop();
    }
}
