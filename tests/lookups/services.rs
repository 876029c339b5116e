//! Services of an inetd.conf(5) whose host has a name, while skd serves.

use super::{client, inside, silent};
use crate::kit::Folder;
use nix::sys::signal::Signal;
use std::fs;
use std::io::Write;

#[test]
fn a_name_server_that_never_answers_keeps_no_service_waiting() {
    let folder = Folder::new();
    let path = folder.path("inetd.conf");
    let stays = "10.77.0.1:7001 stream tcp nowait root internal echo\n";
    fs::write(&path, stays).unwrap();
    let Some(skd) = inside(&folder, "--inetd-conf") else {
        return;
    };
    let skd = skd.word(&path).word("cat").envs("RES_OPTIONS=timeout:1");
    let mut skd = skd.start();
    let name_server = silent(&skd);
    let named = "nowhere.test:7002 stream tcp nowait root internal echo\n";
    fs::write(&path, format!("{stays}{named}")).unwrap();
    let failed = format!("{path}:2:1: unable to find the host \"nowhere.test\": ");
    for round in 1..=2 {
        if round == 1 {
            skd.signal(Signal::SIGHUP);
        }
        for _ in 0..3 {
            client(&skd, "10.77.0.2").says("hello\n").hears("hello\n");
        }
        // All of them were served before it was known.
        skd.status();
        let told = skd.seen.iter().filter(|line| line.contains(&failed));
        assert!(told.count() < round, "{:#?}", skd.seen);
        let warning = skd.waits_for_nth(&failed, round);
        assert!(
            warning.ends_with(&format!("trying again in {round} s")),
            "{warning}"
        );
    }
    drop(name_server);
    let mut hosts = fs::OpenOptions::new()
        .append(true)
        .open(folder.path("hosts"))
        .unwrap();
    hosts.write_all(b"10.77.0.1 nowhere.test\n").unwrap();
    skd.waits_for("listen tcp:10.77.0.1:7002");
    // What is read meanwhile counts.
    let all = format!("{stays}{named}other.test:7003 stream tcp nowait root internal echo\n");
    fs::write(&path, all).unwrap();
    skd.signal(Signal::SIGHUP);
    fs::write(&path, stays).unwrap();
    skd.signal(Signal::SIGHUP);
    client(&skd, "10.77.0.2").says("hello\n").hears("hello\n");
    skd.stop();
}
