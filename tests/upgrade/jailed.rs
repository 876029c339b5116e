//! USR2 of an skd that has gone into a chroot: the file at its path there takes its place.

use super::{Copy, upgrade};
use crate::kit::net::{Client, echoes, tcp_listener};
use crate::kit::skd::{BINARY, Skd};
use crate::kit::{DEADLINE, Folder, eventually, jail, need, put_in_jail};
use nix::sys::signal::Signal;
use nix::unistd::pipe;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

/// The copy of skd in a jail, where it has the path that skd has outside; and the jail's. The jail knows root alone, and
/// has no /dev.
fn jailed() -> (Copy, String) {
    let folder = Folder::new();
    let root = folder.path("jail");
    jail(&root);
    put_in_jail(&root, BINARY, BINARY);
    std::fs::create_dir(format!("{root}/etc")).unwrap();
    std::fs::write(format!("{root}/etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    let path = format!("{root}{BINARY}");
    (Copy { folder, path }, root)
}

/// What only the first of them could look up or open, none of the others needs.
#[test]
fn in_a_chroot_without_devices_and_users_another_takes_its_place() {
    if !need::root() || !need::program("busybox") {
        return;
    }
    for options in ["", "--user nobody", "--user nobody --ready-fd 9"] {
        let (copy, root) = jailed();
        let words = format!("-v --chroot {root} {options} -t 127.0.0.1:0 cat");
        let (_read, write) = pipe().unwrap();
        let mut skd = Skd::new(&words).descriptor(9, write).start();
        let (port, ids) = (skd.port(), skd.field("Uid"));
        let mut held = Client::tcp(port);
        held.says("one\n").hears("one\n");
        for round in 1..3 {
            upgrade(&mut skd, &copy);
            assert_eq!(skd.field("Uid"), ids, "{options}");
            held.says("two\n").hears("two\n");
            echoes(port);
            skd.waits_for_nth("info: end ", round);
            let status = format!("1 accepted {} denied 0 failed 0", round + 1);
            assert_eq!(skd.status(), status, "{options}");
        }
        assert_eq!(held.hears_all(), "");
        skd.waits_for_nth("info: end ", 3);
        let stderr = skd.stop().stderr;
        assert!(!stderr.contains("warning"), "{stderr}");
    }
}

/// The manager goes on hearing of it on the socket that was connected before the chroot. One that somebody has put at the
/// same path in there hears nothing, not even when the manager's is gone.
#[test]
fn in_a_chroot_the_manager_is_heard_by_and_nobody_else() {
    if !need::root() || !need::program("busybox") {
        return;
    }
    let (copy, root) = jailed();
    let folder = Folder::new();
    let name = folder.path("notify");
    let manager = UnixDatagram::bind(&name).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    std::fs::create_dir_all(format!("{root}{}", folder.path(""))).unwrap();
    let planted = UnixDatagram::bind(format!("{root}{name}")).unwrap();
    planted.set_nonblocking(true).unwrap();
    let waits_for = |text: &str| {
        let mut heard = [0; 4096];
        loop {
            let len = manager.recv(&mut heard).unwrap();
            if heard[..len].starts_with(text.as_bytes()) {
                return;
            }
        }
    };
    let words = format!("-v --chroot {root} -t 127.0.0.1:0 cat");
    let skd = Skd::new(&words).env("NOTIFY_SOCKET", &name);
    let mut skd = skd.env("WATCHDOG_USEC", "300000").start();
    let port = skd.port();
    waits_for("READY=1\n");
    for round in 1..3 {
        upgrade(&mut skd, &copy);
        waits_for("READY=1\n");
        echoes(port);
        waits_for(&format!(
            "STATUS=0 connections, {round} accepted, 0 refused\n"
        ));
        waits_for("WATCHDOG=1\n");
    }
    drop(manager);
    upgrade(&mut skd, &copy);
    echoes(port);
    skd.waits_for_nth("info: end ", 3);
    skd.stop();
    let heard = planted.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
}

/// What names of users, ports and hosts meant before the chroot they mean in it, for HUP and for each that takes skd's place;
/// a name that has never been found is wrong.
#[test]
fn in_a_chroot_names_of_services_mean_what_they_meant_outside() {
    if !need::root() || !need::program("busybox") || !need::file("services", "/etc/services") {
        return;
    }
    let (copy, root) = jailed();
    std::fs::remove_file(format!("{root}/etc/passwd")).unwrap();
    // For root alone.
    let secret = format!("{root}/secret");
    std::fs::write(&secret, "").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let folder = Folder::new();
    let (conf, socket) = (folder.path("conf"), folder.path("socket"));
    let free = tcp_listener().1;
    let write = |user: &str, text: &str| {
        let lines = [
            format!(
                "{socket} stream unix nowait {user} /bin/sh sh -c '[ -r /secret ] || echo {text}'"
            ),
            format!("localhost:{free} stream tcp4 nowait root /bin/cat cat"),
            "127.77.3.5:tftp dgram udp wait daemon:daemon /bin/cat cat\n".to_owned(),
        ];
        std::fs::write(&conf, lines.join("\n")).unwrap();
    };
    write("daemon", "0");
    let words = ["-vv", "-1", "--chroot", &root, "--inetd-conf", &conf];
    let skd = Skd::with_words(words).word("-t").word("127.0.0.1:0");
    let mut skd = skd.word("cat").start();
    skd.port();
    // A file that is refused, and users of the jail's own, make no difference.
    std::fs::write(format!("{root}/etc/passwd"), "daemon:x:0:0::/:/bin/sh\n").unwrap();
    std::fs::write(&conf, "broken\n").unwrap();
    skd.signal(Signal::SIGHUP);
    skd.waits_for("keeping the services as they were");
    for round in 1..=3 {
        let text = round.to_string();
        let answers = || Client::unix(&socket).hears_all() == format!("{text}\n");
        write("daemon", &text);
        skd.signal(Signal::SIGHUP);
        eventually("the file as it is now", || answers().then_some(()));
        upgrade(&mut skd, &copy);
        assert!(answers());
        echoes(free);
        write("nobody-here", "never");
        skd.signal(Signal::SIGUSR2);
        let warning = skd.waits_for_nth("warning: unable to upgrade ", round);
        let reason = "\"nobody-here\": there is no user \"nobody-here\"";
        assert!(warning.contains(reason), "{warning}");
        assert!(answers());
    }
    skd.stop();
}

/// The folder is held open, but a link may lead out of it, to where nothing is in the jail.
#[test]
fn in_a_chroot_rules_behind_a_link_stay_in_force() {
    if !need::root() || !need::program("busybox") {
        return;
    }
    let (copy, root) = jailed();
    let folder = Folder::new();
    let (rules, link) = (folder.path("rules"), folder.path("link"));
    std::fs::write(&rules, "127.0.0.1:allow\n:deny\n").unwrap();
    std::os::unix::fs::symlink(&rules, &link).unwrap();
    let words = [
        "-1",
        "-v",
        "--rules",
        &link,
        "--chroot",
        &root,
        "-t",
        "127.0.0.1:0",
        "cat",
    ];
    let mut skd = Skd::with_words(words).start();
    let port = skd.port();
    upgrade(&mut skd, &copy);
    echoes(port);
    skd.stop();
}
