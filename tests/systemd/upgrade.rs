//! USR2 under systemd: the service stays what it is to its manager.

use super::{SERVICE, drop_in, instance, lives};
use crate::kit::systemd::{Systemd, readme};
use crate::kit::{eventually, net};

/// skd is executed from a file of its own, which can be replaced.
const BINARY: &str = "install -D /usr/bin/skd /opt/skd";
const START: &str = "ExecStart=\nExecStart=/opt/skd $SKD\nWatchdogSec=1";

/// Puts another file there, and waits until the main process executes it.
fn upgrade(machine: &Systemd) {
    machine.run(&format!(
        "cp /opt/skd /opt/new && mv /opt/new /opt/skd
        systemctl kill -s USR2 --kill-whom=main {SERVICE}"
    ));
    let pid = machine.property(SERVICE, "MainPID");
    eventually("the new file", || {
        let (_, files) = machine.tried(&format!("stat -Lc %i /opt/skd /proc/{pid}/exe"));
        let files: Vec<_> = files.lines().collect();
        (files.len() == 2 && files[0] == files[1]).then_some(())
    });
}

/// The pid, the counts, the sockets that are kept and the signs of life go on, and a restart finds all as before.
#[test]
fn everybody_is_answered_while_another_skd_takes_its_place() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    instance(&machine, "--drain 20 -t 127.0.0.1:7 -t 127.0.0.1:8 cat");
    machine.run(BINARY);
    drop_in(&machine, START);
    machine.run(&format!("systemctl start {SERVICE}"));
    let kept = |names: [&str; 4]| names.map(|name| machine.property(SERVICE, name));
    let facts = || {
        kept([
            "MainPID",
            "NRestarts",
            "NFileDescriptorStore",
            "ActiveState",
        ])
    };
    let before = facts();
    assert_eq!(before[2], "2");
    let clients = machine.while_clients_come(
        || net::echoes(7),
        || {
            for _ in 0..5 {
                upgrade(&machine);
            }
            lives(&machine);
        },
    );
    assert!(clients > 5, "{clients}");
    assert_eq!(facts(), before);
    let text = format!("0 connections, {clients} accepted, 0 refused");
    machine.waits_for(SERVICE, "StatusText", &text);
    machine.while_clients_come(
        || net::echoes(8),
        || drop(machine.run(&format!("systemctl restart {SERVICE}"))),
    );
    assert_eq!(facts()[2], "2");
}

#[test]
fn another_skd_takes_its_place_in_the_strict_sandbox() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    instance(&machine, "cat");
    machine.run(BINARY);
    machine.run(&readme("install -D -m 644 units/strict.conf ").replace("skd@git", "skd@it"));
    drop_in(&machine, START);
    machine.run("systemctl start skd@it.socket");
    let path = machine.path("/run/skd/it.sock");
    let answers = || {
        net::Client::unix(&path).says("hello\n").hears("hello\n");
    };
    answers();
    upgrade(&machine);
    answers();
    lives(&machine);
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0");
}
