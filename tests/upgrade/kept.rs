//! What an skd that takes the place of another is left: rules, services and PROG as they were when they were last right,
//! and what buckets had spent.

use super::{Copy, upgrade};
use crate::kit::net::{Client, tcp_from_loopback};
use crate::kit::skd::{BINARY, Running, Skd};
use crate::kit::{DEADLINE, Folder, eventually, need};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

impl Copy {
    /// A new binary that agrees, and when it is executed for good does this first.
    fn meddles(&self, deed: &str) {
        self.spoil(&format!(
            "#!/bin/sh\n[ \"$1\" = --check ] || {{ {deed}; }}\nexec {BINARY} \"$@\"\n"
        ));
    }
}

/// USR2, and the new one is there.
fn upgraded(skd: &mut Running, count: usize) {
    skd.signal(Signal::SIGUSR2);
    skd.waits_for_nth("in the place of the skd before", count);
}

fn heard(last: u8, port: u16) -> String {
    let mut heard = String::new();
    // Who is closed at once may be reset.
    let _ = tcp_from_loopback(last, port).read_to_string(&mut heard);
    heard
}

#[test]
fn rules_that_broke_after_the_new_binary_agreed_stay_in_force() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    for deed in [format!("echo nonsense > {rules}"), format!("rm {rules}")] {
        fs::write(&rules, "127.0.0.1:allow\n:deny\n").unwrap();
        let copy = Copy::new();
        let skd = Skd::new("-vv -1 -t 127.0.0.1:0 --rules").word(&rules);
        let mut skd = skd.word("echo").word("in").binary(&copy.path).start();
        let port = skd.port();
        let both = || [heard(1, port), heard(2, port)];
        assert_eq!(both(), ["in\n", ""]);
        copy.meddles(&deed);
        upgraded(&mut skd, 1);
        assert_eq!(both(), ["in\n", ""]);
        skd.waits_for("keeping the rules as they were");
        // As soon as they are right again they hold.
        fs::write(&rules, "127.0.0.2:allow\n:deny\n").unwrap();
        skd.signal(Signal::SIGHUP);
        skd.waits_for("read the rules again");
        assert_eq!(both(), ["", "in\n"]);
        skd.stop();
    }
}

/// As with `skd --check`, a file that is broken already stops the upgrade, and nothing else.
#[test]
fn files_that_are_broken_when_the_new_binary_is_asked_stop_the_upgrade() {
    let folder = Folder::new();
    let (rules, conf) = (folder.path("rules"), folder.path("conf"));
    let socket = folder.path("socket");
    let line = format!("{socket} stream unix nowait root /bin/echo echo in\n");
    let broken = [
        (&rules, "nonsense\n", format!("{rules}:1:9: ")),
        (&conf, "nonsense\n", format!("{conf}:1:9: TYPE is missing")),
        (
            &rules,
            "",
            format!("unable to read the rules \"{rules}\": No such "),
        ),
        (
            &conf,
            "",
            format!("unable to read the services \"{conf}\": No such "),
        ),
    ];
    for (path, text, reason) in &broken {
        fs::write(&rules, ":allow\n").unwrap();
        fs::write(&conf, &line).unwrap();
        let copy = Copy::new();
        let skd = Skd::with_words(["-vv", "-1", "-t", "127.0.0.1:0", "--rules", &rules]);
        let skd = skd.word("--inetd-conf").word(&conf).word("echo").word("in");
        let mut skd = skd.binary(&copy.path).start();
        match *text {
            "" => fs::remove_file(path).unwrap(),
            text => fs::write(path, text).unwrap(),
        }
        skd.signal(Signal::SIGUSR2);
        let warning = skd.waits_for("warning: unable to upgrade ");
        assert!(
            warning.contains(&format!("--check exits 100: {reason}")),
            "{warning}"
        );
        assert!(warning.ends_with(", going on as before"), "{warning}");
        assert_eq!(Client::unix(&socket).hears_all(), "in\n");
        skd.stop();
    }
}

/// HUP could not read it either, and what it said is still known.
#[test]
fn a_file_that_skd_may_no_longer_read_does_not_stop_the_upgrade() {
    if !need::root() {
        return;
    }
    let (copy, folder) = (Copy::new(), Folder::new());
    let rules = folder.path("rules");
    fs::write(&rules, "127.0.0.1:allow\n:deny\n").unwrap();
    fs::set_permissions(&rules, PermissionsExt::from_mode(0o600)).unwrap();
    for shared in [&copy.folder, &folder] {
        fs::set_permissions(shared.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let skd = Skd::with_words(["-vv", "-1", "-t", "127.0.0.1:0", "--rules", &rules]);
    let skd = skd.word("--user").word("nobody").word("echo").word("in");
    let mut skd = skd.binary(&copy.path).start();
    let port = skd.port();
    upgraded(&mut skd, 1);
    assert_eq!([heard(1, port), heard(2, port)], ["in\n", ""]);
    skd.stop();
}

#[test]
fn a_program_that_is_gone_by_then_is_no_end() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let prog = folder.script("prog", "echo here");
    let skd = Skd::new("-vv -1 -t 127.0.0.1:0").word(&prog);
    let mut skd = skd.binary(&copy.path).start();
    let port = skd.port();
    copy.meddles(&format!("mv {prog} {prog}.away"));
    upgraded(&mut skd, 1);
    assert_eq!(Client::tcp(port).hears_all(), "");
    skd.waits_for("No such file or directory, closing the connection of ");
    fs::rename(format!("{prog}.away"), &prog).unwrap();
    assert_eq!(Client::tcp(port).hears_all(), "here\n");
    skd.stop();
}

#[test]
fn services_of_a_file_that_broke_meanwhile_are_served_as_they_were() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let (conf, socket) = (folder.path("conf"), folder.path("socket"));
    fs::write(
        &conf,
        format!("{socket} stream unix nowait root /bin/echo echo in\n"),
    )
    .unwrap();
    let skd = Skd::new("-vv --inetd-conf").word(&conf);
    let mut skd = skd.binary(&copy.path).start();
    copy.meddles(&format!("echo nonsense > {conf}"));
    upgraded(&mut skd, 1);
    skd.waits_for("TYPE is missing, keeping the services as they were");
    assert_eq!(Client::unix(&socket).hears_all(), "in\n");
    skd.stop();
    assert!(!fs::exists(&socket).unwrap());
}

#[test]
fn what_a_bucket_has_spent_stays_spent() {
    let copy = Copy::new();
    let skd = Skd::new("-vv -1 --rate-per-source 1/3600 -t 127.0.0.1:0 echo in");
    let mut skd = skd.binary(&copy.path).start();
    let port = skd.port();
    assert_eq!(
        (heard(1, port).as_str(), heard(1, port).as_str()),
        ("in\n", "")
    );
    upgraded(&mut skd, 1);
    assert_eq!(
        (heard(1, port).as_str(), heard(2, port).as_str()),
        ("", "in\n")
    );
    skd.stop();
    let skd = Skd::new("-vv -1 --rate 1/3600 -t 127.0.0.1:0 echo in");
    let mut skd = skd.binary(&copy.path).start();
    let port = skd.port();
    assert_eq!(heard(1, port), "in\n");
    let _waits = Client::tcp(port);
    upgraded(&mut skd, 1);
    skd.is_alone();
    let status = skd.status();
    assert!(status.starts_with("0 accepted 1 "), "{status}");
    skd.stop();
}

#[test]
fn a_program_that_takes_nothing_is_not_started_sooner() {
    let copy = Copy::new();
    let skd = Skd::new("-vv -1 -w -t 127.0.0.1:0 true");
    let mut skd = skd.binary(&copy.path).start();
    let port = skd.port();
    let _waits = Client::tcp(port);
    // The pause behind the fourth is 2 s.
    skd.waits_for_nth("info: end ", 4);
    upgraded(&mut skd, 1);
    let status = skd.status();
    assert!(status.starts_with("0 accepted 1 "), "{status}");
    let starts = skd
        .seen
        .iter()
        .filter(|line| line.contains(" accept "))
        .count();
    assert_eq!(starts, 4, "{:#?}", skd.seen);
    skd.stop();
}

#[test]
fn rules_by_a_relative_path_are_found_after_another_folder_was_entered() {
    let (copy, folder) = (Copy::new(), Folder::new());
    fs::write(folder.path("rules"), ":allow,MINE=\"1\"\n").unwrap();
    let enter = folder.script("enter", &format!("cd {} && exec \"$@\"", folder.path("")));
    let words = [
        "-vv",
        "-1",
        "-t",
        "127.0.0.1:0",
        "--rules",
        "rules",
        "--chdir",
        "/",
    ];
    let skd = Skd::with_words(words)
        .word("sh")
        .word("-c")
        .word("echo $MINE");
    let mut skd = skd.binary(&copy.path).under(&enter).start();
    let port = skd.port();
    upgraded(&mut skd, 1);
    assert_eq!(Client::tcp(port).hears_all(), "1\n");
    fs::write(folder.path("rules"), ":allow,MINE=\"2\"\n").unwrap();
    skd.signal(Signal::SIGHUP);
    eventually("the new rules", || {
        (Client::tcp(port).hears_all() == "2\n").then_some(())
    });
    skd.stop();
}

/// A service that is gone, and all of whose programs have ended, is no longer told of by itself; what it did counts.
#[test]
fn what_a_service_did_that_is_gone_stays_counted() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let (conf, socket) = (folder.path("conf"), folder.path("socket"));
    fs::write(
        &conf,
        format!("{socket} stream unix nowait root /bin/echo echo in\n"),
    )
    .unwrap();
    let skd = Skd::new("-vv -1 -t 127.0.0.1:0 --inetd-conf").word(&conf);
    let mut skd = skd.word("true").binary(&copy.path).start();
    assert_eq!(Client::unix(&socket).hears_all(), "in\n");
    skd.is_alone();
    fs::write(&conf, "").unwrap();
    skd.signal(Signal::SIGHUP);
    eventually("it is gone", || {
        (!fs::exists(&socket).unwrap()).then_some(())
    });
    for count in 1..=2 {
        let status = skd.status();
        assert!(status.starts_with("0 accepted 1 "), "{status}");
        upgraded(&mut skd, count);
    }
    let status = skd.status();
    assert!(status.starts_with("0 accepted 1 "), "{status}");
    skd.stop();
}

/// Programs that cannot be executed while another binary takes skd's place count as failed like any others.
#[test]
fn starts_that_fail_meanwhile_are_counted() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let (conf, socket) = (folder.path("conf"), folder.path("socket"));
    fs::write(
        &conf,
        format!("{socket} stream unix nowait root /nowhere/at/all\n"),
    )
    .unwrap();
    // With a line for each, the log would be what is waited for.
    let skd = Skd::new("-t 127.0.0.1:0 --inetd-conf").word(&conf);
    let mut skd = skd.word("true").binary(&copy.path).spawn();
    skd.port();
    let is_over = AtomicBool::new(false);
    let asks = || {
        let (start, mut count) = (Instant::now(), 0_u64);
        while !is_over.load(Ordering::Relaxed) && start.elapsed() < DEADLINE {
            assert_eq!(Client::unix(&socket).hears_all(), "");
            count += 1;
        }
        count
    };
    let asked: u64 = std::thread::scope(|scope| {
        let clients = [(); 4].map(|()| scope.spawn(asks));
        (0..10).for_each(|_| upgrade(&mut skd, &copy));
        is_over.store(true, Ordering::Relaxed);
        clients.map(|client| client.join().unwrap()).iter().sum()
    });
    skd.is_alone();
    assert_eq!(
        skd.status(),
        format!("0 accepted {asked} denied 0 failed {asked}")
    );
    skd.stop();
}
