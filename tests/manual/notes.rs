//! What NOTES says to write under each supervisor, run there; the README has the same lines.

use super::{README, blocks};
use crate::kit::daemon::children_of;
use crate::kit::net::{self, Client};
use crate::kit::s6::SvScan;
use crate::kit::skd::{BINARY, Skd};
use crate::kit::systemd::Systemd;
use crate::kit::{FdHolder, Folder, eventually, need};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

/// The block of NOTES that begins with these words.
fn block(words: &str) -> String {
    let blocks = blocks("NOTES");
    let block = blocks.iter().find(|block| block.starts_with(words));
    block
        .unwrap_or_else(|| panic!("{words}: {blocks:#?}"))
        .clone()
}

#[test]
fn the_unit_of_the_manual_is_started_reloaded_and_stopped() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    machine.units(&[("own.service", &block("[Service]\nType=notify\n"))]);
    machine.run("systemctl start own");
    machine.echoes(7000);
    machine.run("systemctl reload own && systemctl stop own");
    assert_eq!(machine.property("own", "Result"), "success");
}

/// Neither refused nor dropped. The run script is that of the README.
#[test]
fn everybody_is_answered_while_s6_restarts_skd() {
    let Some(mut scan) = SvScan::new() else {
        return;
    };
    let run = block("#!/bin/sh\nexec 2>&1\nexec s6-");
    let (_, lines) = run.split_once('\n').unwrap();
    assert!(README.contains(&format!("    {}\n\n", lines.replace('\n', "\n    "))));
    let holder = FdHolder::start();
    let listener = scan.path("held.sock");
    scan.start(&run, |folder| {
        holder.store("unix:held", UnixListener::bind(&listener).unwrap());
        symlink(&holder.path, folder.join("fdholder.sock")).unwrap();
    });
    scan.run("s6-svwait -U -t 30000");
    let client = || {
        Client::unix(&listener).says("hello\n").hears("hello\n");
    };
    let clients = net::while_clients_come(client, || {
        for _ in 0..3 {
            scan.run("s6-svc -wR -T 30000 -r");
        }
    });
    assert!(clients > 3, "{clients}");
}

/// In a network of its own, since a port is named.
#[test]
fn runit_runs_skd_and_ends_it() {
    if !need::program("runsv") || !need::own_network() {
        return;
    }
    let folder = Folder::new();
    let run = block("#!/bin/sh\nexec 2>&1\nexec skd");
    fs::create_dir(folder.path("it")).unwrap();
    crate::kit::executable(&folder.path("it/run"), &run);
    symlink(BINARY, folder.path("skd")).unwrap();
    let path = format!("{}:{}", folder.path(""), std::env::var("PATH").unwrap());
    // Ended with this thread, if it comes to that.
    let mut command = Command::new("setpriv");
    let command = command.args("--pdeathsig TERM unshare -n sh -c".split(' '));
    let command = command.arg("busybox ip link set lo up; exec runsv it");
    let command = command.current_dir(folder.path("")).env("PATH", path);
    let mut runsv = command.stdout(Stdio::null()).spawn().unwrap();
    let client = eventually("skd listens", || {
        net::inside(&runsv.id().to_string(), || {
            TcpStream::connect("127.0.0.1:7000").ok()
        })
    });
    let sv = |word: &str| {
        let done = Command::new("sv")
            .args(["-w", "30", word, &folder.path("it")])
            .output();
        let done = done.unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    sv("hup");
    sv("1");
    // runsv ends, too, when what it runs has; the child does not.
    sv("exit");
    assert!(runsv.wait().unwrap().success());
    Client::of_tcp(client).says("hello\n").hears("hello\n");
}

/// There is no OpenRC on a machine that has another init, but its script is one for sh.
#[test]
fn a_shell_reads_the_script_for_openrc() {
    let folder = Folder::new();
    let script = folder.path("skd");
    fs::write(&script, block("#!/sbin/openrc-run\n")).unwrap();
    let print = ". $1 && printf '%s\\n' \"$supervisor $command\" \"$command_args\" \"$retry\"";
    let done = Command::new("sh")
        .args(["-ec", print, "sh", &script])
        .output()
        .unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "supervise-daemon /usr/bin/skd");
    let words = format!("--check {}", lines[1]);
    assert_eq!(Skd::new(&words).outcome().code, 0);
    let drain = lines[1]
        .split_once("--drain ")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap();
    let kill = lines[2].split('/').nth(1).unwrap();
    assert!(drain.parse::<u32>().unwrap() < kill.parse().unwrap());
}

#[test]
fn the_entry_point_of_a_container_serves_reaps_and_ends() {
    if !need::root() || !need::own_network() {
        return;
    }
    let line = block("ENTRYPOINT ");
    assert!(README.contains(&format!("\n    {line}\n")));
    let words: Vec<_> = line.split('"').skip(1).step_by(2).collect();
    assert_eq!(words[0], "skd");
    let folder = Folder::new();
    let network = folder.script("network", "busybox ip link set lo up\nexec \"$@\"");
    folder.script("cat", "(sleep 0.05 &)\nexec busybox cat");
    let path = format!("{}:{}", folder.path(""), std::env::var("PATH").unwrap());
    let namespaces = "unshare --net --pid --fork --kill-child --mount-proc";
    let skd = Skd::with_words(&words[1..]).under(&format!("{namespaces} {network}"));
    let skd = skd.env("PATH", path).start();
    let first = skd.children()[0];
    let mut client = net::inside(&first.to_string(), || {
        net::echoes(7000);
        Client::tcp(7000)
    });
    client.says("hello\n").hears("hello\n");
    eventually("no orphan", || {
        (children_of(first).len() == 1).then_some(())
    });
    kill(Pid::from_raw(first), Signal::SIGTERM).unwrap();
    net::inside(&first.to_string(), || net::is_refused(7000));
    client.says("still\n").hears("still\n");
    drop(client);
    assert_eq!(skd.ends().code, 0);
}
