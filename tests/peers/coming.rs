//! The section "Coming from another" of the README: each command line and file of another launcher beside skd's.

use super::{Launcher, Place, README, READY, Visit, fate, have_all};
use crate::kit::net::{hear_udp, udp};
use crate::kit::systemd::Systemd;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

/// How a pair begins, what to look at, and the variables that skd does not set.
type Run = (&'static str, fn(&Launcher) -> Vec<String>, &'static str);

const RUNS: &[Run] = &[
    (
        "tcpserver -v -c 5 0 25 prog",
        five_at_once,
        "TCP6… TCPREMOTEHOST",
    ),
    ("tcpserver -HRl0 -x ", obeys_rules, "TCP6… TCPLOCALHOST"),
    (
        "s6-envuidgid nobody tcpserver ",
        tells,
        "TCP6… TCPLOCALHOST",
    ),
    (
        "tcpsvd ",
        two_of_a_source,
        "TCPLOCALHOST TCPCONCURRENCY TCPREMOTEHOST",
    ),
    ("udpsvd ", answers, ""),
    ("127.0.0.1:7000 stream ", tells, ""),
    ("79 stream ", tells, ""),
    ("service prog", two_of_a_source, "REMOTE_HOST"),
    ("s6-ipcserver -c 40 ", two_of_a_source, "IPCREMOTEPATH"),
    ("s6-ipcserver-socketbinder ", tells, "IPCREMOTEPATH"),
    (
        "socat TCP4-LISTEN:",
        two_at_once,
        "SOCAT_PEERADDR SOCAT_PEERPORT nodelay",
    ),
    ("socat UNIX-LISTEN:", tells, "SOCAT_PEERADDR"),
    ("[Socket]", two_of_a_source, ""),
];

/// The pairs: what is another's, and what is skd's.
fn pairs() -> Vec<(String, String)> {
    let (_, section) = README.split_once("\n## Coming from another\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section
        .split("\n\n")
        .filter(|text| text.starts_with("    "));
    let pair = |text: &str| {
        let lines = text.lines().map(|line| line.strip_prefix("    ").unwrap());
        let mut lines: Vec<_> = lines.collect();
        let ours = lines.pop().unwrap();
        (lines.join("\n"), ours.to_owned())
    };
    blocks.map(pair).collect()
}

/// What a client is told, but for what a launcher leaves as it was and the client's own port and pid.
fn facts(visit: &mut Visit) -> Vec<String> {
    let heard = visit.hears();
    assert!(heard.ends_with(READY) && visit.is_echoed(), "{heard}");
    let port = visit.0.local_addr().map_or(0, |address| address.port());
    let own = [port.into(), std::process::id()].map(|number: u32| number.to_string());
    let shown = |line: &str| match line.split_once('=') {
        Some((name, value)) if own.iter().any(|it| it == value) => format!("{name}=its own"),
        _ => line.to_owned(),
    };
    let told = |line: &&str| {
        let is_of_the_machine = ["fd ", "stdin ", "stderr ", "cgroup ", "SigIgn:"];
        !is_of_the_machine.iter().any(|word| line.starts_with(word)) && !line.ends_with("=a.liar")
    };
    let mut facts: Vec<_> = heard.lines().filter(told).map(shown).collect();
    let file = |word: &str| heard.lines().find_map(|line| line.strip_prefix(word));
    let is_client = file("stdin ") == file("stderr ");
    facts.push(format!("stderr goes to the client: {is_client}"));
    facts
}

/// Clients from these addresses, and what the last of them is told.
fn served(launcher: &Launcher, from: &[u8]) -> (Vec<Visit>, Vec<String>) {
    let mut told = Vec::new();
    let each = |last: &u8| {
        let mut visit = launcher.client(*last).unwrap();
        told = facts(&mut visit);
        visit
    };
    (from.iter().map(each).collect(), told)
}

fn tells(launcher: &Launcher) -> Vec<String> {
    let (_visits, mut told) = served(launcher, &[1]);
    told.push(match &launcher.place {
        Place::Unix(path) => {
            let path = std::path::Path::new(&launcher.folder.path("")).join(path);
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            format!("mode {mode:o}")
        }
        _ => format!("IPv6 is served: {}", launcher.serves_ipv6()),
    });
    told
}

fn at_once(launcher: &Launcher, served: &[u8], next: u8) -> Vec<String> {
    let mut told = tells(launcher);
    let (visits, _) = self::served(launcher, served);
    told.push(fate(launcher, visits, next));
    told
}

fn five_at_once(launcher: &Launcher) -> Vec<String> {
    at_once(launcher, &[1, 1, 1, 1, 1], 1)
}

fn two_at_once(launcher: &Launcher) -> Vec<String> {
    at_once(launcher, &[1, 2], 3)
}

/// Two of one address are served, one of another too; what the third of the first hears.
fn two_of_a_source(launcher: &Launcher) -> Vec<String> {
    if matches!(launcher.place, Place::Unix(_)) {
        return at_once(launcher, &[1, 1], 1);
    }
    let mut told = at_once(launcher, &[3, 1, 1], 1);
    let heard = launcher.client(66).unwrap().hears();
    told.push(format!("66 is served: {}", heard.ends_with(READY)));
    told
}

fn obeys_rules(launcher: &Launcher) -> Vec<String> {
    let mut told = tells(launcher);
    let heard = launcher.client(66).unwrap().hears();
    assert!(told.contains(&"RELAYCLIENT=yes".into()) && heard.is_empty());
    told.push("66 is sent away".into());
    told
}

fn answers(launcher: &Launcher) -> Vec<String> {
    let Place::Udp(port) = launcher.place else {
        panic!("{:?}", launcher.place);
    };
    let client = launcher.inside(|| udp(port));
    let ask = |text: &str| {
        client.send(text.as_bytes()).unwrap();
        hear_udp(&client)
    };
    vec![ask("one"), ask("two")]
}

#[test]
fn skd_does_in_the_place_of_another_what_that_one_did() {
    if !have_all() {
        return;
    }
    let pairs = pairs();
    assert_eq!(pairs.len(), RUNS.len(), "{pairs:#?}");
    let machine = Rc::new(Systemd::boot().unwrap());
    for ((theirs, ours), (words, look, lost)) in pairs.iter().zip(RUNS) {
        assert!(theirs.starts_with(words), "{theirs}: {words} expected");
        let expected = look(&if theirs.starts_with("[Socket]") {
            Launcher::units(&machine, theirs)
        } else {
            Launcher::start(theirs)
        });
        let found = look(&Launcher::beside(ours, theirs).unwrap());
        let is_lost = |line: &str| {
            let name = line.split(['=', ' ']).next().unwrap();
            let is_it = |lost: &str| match lost.strip_suffix('…') {
                Some(prefix) => name.starts_with(prefix),
                None => name == lost,
            };
            lost.split(' ').any(is_it)
        };
        let (gone, kept): (Vec<&String>, Vec<&String>) =
            expected.iter().partition(|line| is_lost(line));
        for line in kept {
            assert!(
                found.contains(line),
                "{ours}: {line} expected of {found:#?}"
            );
        }
        assert_eq!(gone.is_empty(), lost.is_empty(), "{theirs}: {expected:#?}");
    }
}
