//! Another user, other groups, another root: how skd gives up what it has, and proves it.

use crate::kit::net::Client;
use crate::kit::skd::{Outcome, Running, Skd, field};
use crate::kit::{Folder, eventually, need, probe};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn stdout(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What `words` end with, and the same with `--check`, which must say the same of what is wrong.
fn refused(skd: impl Fn(&str) -> Skd) -> (i32, String) {
    let plain = skd("").outcome();
    let check = skd("--check ").outcome();
    assert_eq!(plain.stdout, "");
    assert_eq!((plain.code, &plain.stderr), (check.code, &check.stderr));
    (plain.code, plain.stderr)
}

/// skd with `options` in an environment with these of `UID GID GIDLIST ROOT`, and no others.
fn with_ids(options: &str, ids: &[(&str, &str)]) -> Skd {
    let names = ["UID", "GID", "GIDLIST", "ROOT"];
    let is_given = |name: &str| ids.iter().any(|(other, _)| *other == name);
    let missing = names.into_iter().filter(|name| !is_given(name));
    let wrapper: String = missing.map(|name| format!(" -u {name}")).collect();
    let skd = Skd::new(options).under(&format!("env{wrapper}"));
    ids.iter()
        .fold(skd, |skd, (name, value)| skd.env(name, *value))
}

#[test]
fn ids_that_are_missing_or_wrong_are_an_error_and_never_root() {
    for missing in ["UID", "GID"] {
        let mut ids = vec![("UID", "1"), ("GID", "1"), ("GIDLIST", "1")];
        ids.retain(|(name, _)| *name != missing);
        let said = refused(|check| with_ids(&format!("{check}-U id"), &ids));
        let text = format!("skd: fatal: {missing} is not set, as --env-ids needs it\n");
        assert_eq!(said, (100, text));
    }
    let junk = [
        "",
        "abc",
        "-1",
        "+1",
        "4294967295",
        "4294967296",
        "99999999999999999999999",
        "0 ",
        " 0",
        "0x0",
        "1.0",
        "root",
        "1,",
        ",1",
        "1,,2",
        "1 2",
    ];
    for value in junk {
        for name in ["UID", "GID", "GIDLIST"] {
            if (name, value) == ("GIDLIST", "") {
                // s6-envuidgid says so of a user without supplementary groups.
                continue;
            }
            let mut ids = vec![("UID", "1"), ("GID", "1")];
            ids.retain(|(other, _)| *other != name);
            ids.push((name, value));
            let said = refused(|check| with_ids(&format!("{check}-U id"), &ids));
            let what = if name == "GIDLIST" {
                "no list of ids"
            } else {
                "no id"
            };
            assert_eq!(
                said,
                (100, format!("skd: fatal: {name} is \"{value}\", {what}\n"))
            );
        }
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let table = [
        (
            "-U --user nobody",
            "--env-ids and --user exclude each other",
        ),
        (
            "-U --groups mail",
            "--env-ids and --groups exclude each other",
        ),
        ("-U --chroot /", "--env-ids and --chroot exclude each other"),
        ("--user nosuch", "--user: there is no user \"nosuch\""),
        ("--user -1:1", "--user: there is no user \"-1\""),
        (
            "--user 4294967295:1",
            "--user: there is no user \"4294967295\"",
        ),
        (
            "--user 54321",
            "--user: 54321 is no user of the system, so :GROUP must follow",
        ),
        (
            "--user nobody:nosuch",
            "--user: there is no group \"nosuch\"",
        ),
        (
            "--user nobody:4294967295",
            "--user: there is no group \"4294967295\"",
        ),
        (
            "--user nobody:",
            "--user: \"nobody:\": USER[:GROUP] expected",
        ),
        ("--user :mail", "--user: \":mail\": USER[:GROUP] expected"),
        ("--user=", "--user: \"\": USER[:GROUP] expected"),
        (
            "--groups mail,nosuch",
            "--groups: there is no group \"nosuch\"",
        ),
        (
            "--groups mail,,8",
            "--groups: \"mail,,8\": GROUP[,GROUP]... expected",
        ),
        ("--groups=", "--groups: \"\": GROUP[,GROUP]... expected"),
        ("--chroot=", "--chroot: a path is missing"),
        ("--chdir=", "--chdir: a path is missing"),
        (
            "--umask 8",
            "--umask: \"8\" is no octal mode from 0 to 0777",
        ),
        (
            "--umask 1000",
            "--umask: \"1000\" is no octal mode from 0 to 0777",
        ),
        ("--umask=", "--umask: \"\" is no octal mode from 0 to 0777"),
    ];
    for (options, wrong) in table {
        let said = refused(|check| Skd::new(&format!("{check}{options} id")));
        assert_eq!(
            said,
            (100, format!("skd: usage: {wrong}; try \"skd --help\"\n"))
        );
    }
}

/// skd as root's child that is nobody, without supplementary groups; a copy of it, which nobody may read.
fn as_nobody(folder: &Folder, skd: Skd) -> Outcome {
    let copy = folder.path("skd");
    let body = format!(
        "umask 022; cp \"$1\" {copy}; shift\n\
         exec setpriv --reuid 65534 --regid 65534 --clear-groups {copy} \"$@\""
    );
    let script = folder.script("as-nobody", &body);
    skd.under(&script).outcome()
}

#[test]
fn who_is_not_root_cannot_become_another() {
    if !need::root() {
        return;
    }
    let folder = Folder::new();
    for options in [
        "--user daemon",
        "--user nobody:daemon",
        "--user root",
        "--user 0:0",
        "--groups daemon",
        "--groups nogroup,daemon",
        "--user nobody --groups daemon",
    ] {
        let said = refused_by_nobody(&folder, &format!("{options} id"), &[]);
        let text = "skd: fatal: unable to change user or groups: skd is not root\n";
        assert_eq!(said, (111, text.into()), "{options}");
    }
    let ids = [("UID", "1"), ("GID", "65534")];
    let said = refused_by_nobody(&folder, "-U id", &ids);
    let text = "skd: fatal: unable to change user or groups: skd is not root\n";
    assert_eq!(said, (111, text.into()));
    let said = refused_by_nobody(&folder, "--chroot / id", &[]);
    let text = "skd: fatal: unable to change the root folder: skd is not root\n";
    assert_eq!(said, (111, text.into()));
}

fn refused_by_nobody(folder: &Folder, words: &str, ids: &[(&str, &str)]) -> (i32, String) {
    let skd = |check: &str| {
        let skd = Skd::new(&format!("{check}{words}"));
        ids.iter()
            .fold(skd, |skd, (name, value)| skd.env(name, *value))
    };
    let (plain, check) = (
        as_nobody(folder, skd("")),
        as_nobody(folder, skd("--check ")),
    );
    assert_eq!((plain.code, &plain.stderr), (check.code, &check.stderr));
    assert_eq!(plain.stdout, "");
    (plain.code, plain.stderr)
}

#[test]
fn who_is_not_root_may_ask_for_what_it_is() {
    if !need::root() {
        return;
    }
    let folder = Folder::new();
    let table = [
        ("--user nobody id -u", "65534\n"),
        ("--user nobody:nogroup id -g", "65534\n"),
        ("--user 65534:65534 id -G", "65534\n"),
        ("--groups nogroup id -G", "65534\n"),
        ("--chdir / --umask 027 --no-new-privs pwd", "/\n"),
        ("-U id -u", "65534\n"),
    ];
    for (words, stdout) in table {
        let skd = Skd::new(words).env("UID", "65534").env("GID", "65534");
        let outcome = as_nobody(&folder, skd.env("GIDLIST", "65534").env("ROOT", ""));
        let heard = (outcome.code, &*outcome.stdout, &*outcome.stderr);
        assert_eq!(heard, (0, stdout, ""), "{words}");
    }
}

/// A line of /proc/PID/status that a program in skd's place shows of itself, blanks made one.
fn shown(status: &str, name: &str) -> String {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let value = lines.find(|(other, _)| *other == name).unwrap().1;
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Uid, Gid and Groups as they are in the end: all four ids must be the same.
fn becomes(skd: Skd) -> (String, String, String) {
    let outcome = skd.word("cat").word("/proc/self/status").outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let one = |name| {
        let all = shown(&outcome.stdout, name);
        let ids: BTreeSet<&str> = all.split(' ').collect();
        assert_eq!(ids.len(), 1, "{name} {all}");
        ids.first().unwrap().to_string()
    };
    (one("Uid"), one("Gid"), shown(&outcome.stdout, "Groups"))
}

#[test]
fn every_id_and_group_becomes_what_was_asked_for() {
    if !need::root() {
        return;
    }
    let table = [
        ("--user nobody", "65534 65534 65534"),
        ("--user 65534", "65534 65534 65534"),
        ("--user nobody:daemon", "65534 1 1"),
        ("--user 54321:54322", "54321 54322 54322"),
        ("--user nobody:54322 --groups mail", "65534 54322 8"),
        (
            "--user daemon --groups 54322,mail,nogroup",
            "1 1 8 54322 65534",
        ),
        ("--groups mail", "0 0 8"),
    ];
    for (options, expected) in table {
        let (uid, gid, groups) = becomes(Skd::new(options));
        assert_eq!(format!("{uid} {gid} {groups}"), expected, "{options}");
    }
    let (uid, gid) = (("UID", "54321"), ("GID", "54322"));
    let table = [
        (vec![uid, gid], "54321 54322 54322"),
        (vec![uid, gid, ("GIDLIST", "")], "54321 54322 54322"),
        (vec![uid, gid, ("GIDLIST", "8")], "54321 54322 8"),
        (
            vec![uid, gid, ("GIDLIST", "54323,8,54322")],
            "54321 54322 8 54322 54323",
        ),
    ];
    for (ids, expected) in table {
        let (uid, gid, groups) = becomes(with_ids("-U", &ids));
        assert_eq!(format!("{uid} {gid} {groups}"), expected);
    }
}

#[test]
fn a_user_alone_brings_the_groups_that_the_database_gives_it() {
    if !need::root() {
        return;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    for line in passwd.lines() {
        let [name, _, uid, gid, ..] = line.split(':').collect::<Vec<_>>()[..] else {
            continue;
        };
        let of_database = stdout("id", &["-G", name]);
        let numbers = |text: &str| -> BTreeSet<u32> {
            text.split_whitespace()
                .map(|word| word.parse().unwrap())
                .collect()
        };
        for user in [name, uid] {
            let (has_uid, has_gid, groups) = becomes(Skd::new("--user").word(user));
            assert_eq!((&*has_uid, &*has_gid), (uid, gid));
            assert_eq!(numbers(&groups), numbers(&of_database), "{name}");
        }
    }
}

/// Nothing of root is left in this process.
fn is_nobody(pid: i32, no_new_privs: &str) {
    let nobody = "65534\t65534\t65534\t65534";
    let none = "0000000000000000";
    for (name, value) in [
        ("Uid", nobody),
        ("Gid", nobody),
        ("Groups", "65534"),
        ("CapInh", none),
        ("CapPrm", none),
        ("CapEff", none),
        ("CapAmb", none),
        ("NoNewPrivs", no_new_privs),
    ] {
        assert_eq!(field(pid, name).unwrap(), value, "{name}");
    }
}

#[test]
fn nothing_of_root_is_left_in_skd_or_its_children() {
    if !need::root() {
        return;
    }
    for (options, no_new_privs) in [("", "0"), ("--no-new-privs", "1")] {
        let skd = Skd::new(&format!("-v -1t 127.0.0.1:0 --user nobody {options}"));
        let mut skd = skd.word("cat").start();
        let mut client = Client::tcp(skd.port());
        client.says("x").hears("x");
        is_nobody(skd.pid(), no_new_privs);
        is_nobody(*skd.children().first().unwrap(), no_new_privs);
        drop(client);
        skd.stop();
    }
}

#[test]
fn a_way_back_to_root_is_fatal() {
    if !need::root() {
        return;
    }
    let skd = Skd::new("--user nobody id").under("setpriv --securebits=+no_setuid_fixup");
    let outcome = skd.outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (111, ""));
    let expected = "skd: fatal: unable to drop privileges: root can still be had again\n";
    assert_eq!(outcome.stderr, expected);
}

/// skd on a port below 1024 that was free a moment ago.
fn on_a_low_port(options: &str) -> (Running, u16) {
    for port in (600..1024).rev() {
        let is_free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free {
            let skd = Skd::new(&format!("-v -1t 127.0.0.1:{port} {options}"));
            return (skd.start(), port);
        }
    }
    panic!("no port below 1024 is free");
}

#[test]
fn ports_sockets_and_pid_files_are_roots_and_what_cannot_be_removed_is_told() {
    if !need::root() {
        return;
    }
    let (mut skd, port) = on_a_low_port("--user nobody cat");
    assert_eq!(skd.port(), port);
    Client::tcp(port).says("x").hears("x");
    skd.stop();

    let folder = Folder::new();
    let closed = folder.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let (socket, pidfile) = (format!("{closed}/socket"), format!("{closed}/pid"));
    let skd = Skd::new("-v --user nobody")
        .word("-l")
        .word(&socket)
        .word("-P")
        .word(&pidfile);
    let skd = skd.word("cat").start();
    Client::unix(&socket).says("x").hears("x");
    skd.is_alone();
    let pid = skd.pid();
    let outcome = skd.stop();
    let told = [
        format!("skd: warning: unable to remove unix:{socket}: Permission denied\n"),
        "skd: warning: unable to remove the pid file: Permission denied\n".into(),
    ];
    assert!(
        outcome.stderr.ends_with(&told.concat()),
        "{}",
        outcome.stderr
    );
    assert!(std::fs::symlink_metadata(&socket).is_ok());
    assert_eq!(
        std::fs::read_to_string(&pidfile).unwrap(),
        format!("{pid}\n")
    );
    let supervised = format!("{closed}/supervised");
    let skd = Skd::new("-vS --user nobody -P").word(&supervised);
    let mut skd = skd.word("sleep").word("600").spawn();
    skd.waits_for("info: start ");
    let text = format!("unable to remove the pid file \"{supervised}\": Permission denied");
    let stderr = skd.stop().stderr;
    let line = format!("skd: warning: {text}\n");
    assert!(stderr.ends_with(&line), "{stderr}");
}

#[test]
fn umask_is_for_children_and_socket_files_follow_the_callers() {
    let folder = Folder::new();
    let wrapper = folder.script("umask", "umask 027\nexec \"$@\"");
    let socket = folder.path("socket");
    let (child, directory) = (folder.path("child"), folder.path("directory"));
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(&child, "").unwrap();
    let skd = Skd::new("-v --umask 0137 --chdir")
        .word(&directory)
        .word("-l")
        .word(&socket);
    let skd = skd.word(probe()).word("report").under(&wrapper).start();
    let mode = std::fs::symlink_metadata(&socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);
    let report = Client::unix(&socket).hears_all();
    assert!(report.contains("\numask 0137\n"), "{report}");
    assert!(report.contains(&format!("\ncwd {directory}\n")), "{report}");
    assert_eq!(skd.field("Umask"), "0137");
    skd.stop();
    eventually("the socket is gone", || {
        std::fs::symlink_metadata(&socket).is_err().then_some(())
    });
}

#[test]
fn a_folder_that_is_not_there_is_fatal() {
    let said = refused(|check| Skd::new(&format!("{check}--chdir /nonexistent id")));
    let text =
        "skd: fatal: unable to change the folder to \"/nonexistent\": No such file or directory\n";
    assert_eq!(said, (111, text.into()));
    if !need::root() {
        return;
    }
    let said = refused(|check| Skd::new(&format!("{check}--chroot /nonexistent id")));
    let text = "skd: fatal: unable to change the root folder to \"/nonexistent\": No such file or directory\n";
    assert_eq!(said, (111, text.into()));
}
