//! `--chroot` and `$ROOT`: a root of skd's own, in which there is nothing but a program.

use crate::kit::net::Client;
use crate::kit::skd::Skd;
use crate::kit::{Folder, jail, need};
use std::os::unix::fs::PermissionsExt;

/// A jail below a folder that only root may enter, with a program in it that is nowhere else; with the path of it.
fn made() -> (Folder, String) {
    let folder = Folder::new();
    let closed = folder.path("closed");
    std::fs::create_dir(&closed).unwrap();
    let path = format!("{closed}/jail");
    jail(&path);
    std::fs::write(
        format!("{path}/bin/inside"),
        "#!/bin/sh\npwd\necho /* /tmp/*\n",
    )
    .unwrap();
    for (path, mode) in [(format!("{path}/bin/inside"), 0o755), (closed, 0o700)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    (folder, path)
}

fn is_there() -> bool {
    need::root() && need::program("busybox")
}

#[test]
fn a_program_outside_the_jail_is_not_found() {
    if !is_there() {
        return;
    }
    let (_folder, jail) = made();
    for check in ["", "--check"] {
        let skd = Skd::new(check).word("--chroot").word(&jail).word("true");
        let outcome = skd.outcome();
        let text = "skd: fatal: unable to run \"true\": No such file or directory\n";
        assert_eq!((outcome.code, outcome.stderr.as_str()), (111, text));
    }
}

/// What the program in the jail sees as its root.
fn seen(jail: &str) -> String {
    let mut names: Vec<String> = std::fs::read_dir(jail)
        .unwrap()
        .map(|entry| format!("/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort();
    names.join(" ")
}

#[test]
fn the_jail_is_entered_before_root_is_given_up_and_is_the_working_directory() {
    if !is_there() {
        return;
    }
    let (_folder, jail) = made();
    let plain = Skd::new("--user nobody --chroot")
        .word(&jail)
        .word("inside");
    let moved = Skd::new("--user nobody --chdir tmp --chroot")
        .word(&jail)
        .word("inside");
    let by_environment = Skd::new("-U inside")
        .env("UID", "65534")
        .env("GID", "65534")
        .env("ROOT", &jail);
    for (skd, folder) in [(plain, "/"), (moved, "/tmp"), (by_environment, "/")] {
        let outcome = skd.outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
        assert_eq!(
            outcome.stdout,
            format!("{folder}\n{} /tmp/*\n", seen(&jail))
        );
    }
    let outcome = Skd::new("--check --chroot")
        .word(&jail)
        .word("inside")
        .outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
}

#[test]
fn connections_are_served_from_a_jail_with_nothing_in_it_but_the_program() {
    if !is_there() {
        return;
    }
    let (folder, jail) = made();
    let socket = folder.path("socket");
    let skd = Skd::new("-v -1 --user nobody --chroot")
        .word(&jail)
        .word("-l")
        .word(&socket);
    let mut skd = skd.word("-t").word("127.0.0.1:0").word("cat").start();
    Client::tcp(skd.port()).says("one\n").hears("one\n");
    Client::unix(&socket).says("two\n").hears("two\n");
    skd.stop();
}

#[test]
fn a_daemon_in_a_jail_needs_no_dev_null_there() {
    if !is_there() {
        return;
    }
    let (folder, jail) = made();
    let (pidfile, log) = (folder.path("pid"), folder.path("log"));
    let skd = Skd::new("-1vB --user nobody --chroot")
        .word(&jail)
        .word("-P")
        .word(&pidfile);
    let skd = skd
        .word("-L")
        .word(format!(">{log}"))
        .word("-t")
        .word("127.0.0.1:0");
    let outcome = skd.word("cat").outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let daemon = crate::kit::daemon::Daemon::named_by(&pidfile);
    let port = outcome.stdout.trim_end().parse().unwrap();
    Client::tcp(port).says("one\n").hears("one\n");
    assert_eq!(daemon.descriptor(0), "/dev/null");
    daemon.stop();
}
