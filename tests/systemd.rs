//! skd as a service of a real systemd: readiness, counts, signs of life, reloads, restarts, and its sockets.

mod sockets;
mod upgrade;

use crate::kit::daemon::is_gone;
use crate::kit::net::{self, Client};
use crate::kit::systemd::{SCRIPT, Systemd};
use crate::kit::{Folder, eventually, need};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Writes the file of an instance of skd@.service, here and below `/etc/skd/it`.
fn instance(machine: &Systemd, words: &str) {
    machine.install();
    machine.write("/etc/skd/it", &format!("SKD={words}\n"));
}

const SERVICE: &str = "skd@it.service";

/// A machine on which the instance has been started.
fn serving(words: &str) -> Option<Systemd> {
    let machine = Systemd::boot()?;
    instance(&machine, words);
    machine.run(&format!("systemctl start {SERVICE}"));
    Some(machine)
}

/// A drop-in for it.
fn drop_in(machine: &Systemd, lines: &str) {
    machine.units(&[(
        "skd@it.service.d/test.conf",
        &format!("[Service]\n{lines}\n"),
    )]);
}

/// What PID 1 says of the messages that it got from the service.
fn messages(machine: &Systemd) -> Vec<String> {
    let journal = machine.journal("init.scope");
    let lines = journal.lines().filter(|line| line.contains(SERVICE));
    let lines = lines.filter_map(|line| line.split_once("Got notification message from PID "));
    lines.map(|(_, message)| message.to_owned()).collect()
}

/// Whether its command ends or it is told to: processes, cgroups and files are gone, and it exits as the command did.
#[test]
fn with_systemd_leaves_nothing_behind() {
    if !need::systemd() {
        return;
    }
    for (is_told, code) in [(false, 7), (true, 143)] {
        let folder = Folder::new();
        let mut command = Command::new(SCRIPT);
        let command = command.args(["sh", "-c", "echo $SYSTEMD; read line; exit 7"]);
        let command = command.env("TMPDIR", folder.path(""));
        let mut script = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(script.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let pid: i32 = line.trim_end().parse().unwrap();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let group = group.unwrap().split('/').next().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" cgroup2 "));
        let path = format!("{}/{group}", mount.unwrap().split(' ').nth(1).unwrap());
        assert!(std::fs::exists(&path).unwrap(), "{path}");
        let stdin = script.stdin.take();
        if is_told {
            kill(Pid::from_raw(script.id().cast_signed()), Signal::SIGTERM).unwrap();
        } else {
            drop(stdin);
        }
        assert_eq!(script.wait().unwrap().code(), Some(code));
        assert!(is_gone(pid) && !std::fs::exists(&path).unwrap());
        let left = std::fs::read_dir(folder.path("")).unwrap().count();
        assert_eq!(left, 0);
    }
}

/// Each listen(2) takes half a second: whoever came too early would be refused.
#[test]
fn start_returns_when_clients_are_answered() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    instance(&machine, "-t 127.0.0.1:7 -t 127.0.0.1:8 cat");
    let slow = "strace -D -qq -o /dev/null -e trace=listen -e inject=listen:delay_enter=500000";
    drop_in(
        &machine,
        &format!("ExecStart=\nExecStart=/usr/bin/{slow} skd $SKD"),
    );
    machine.run(&format!("systemctl start {SERVICE}"));
    machine.echoes(7);
    machine.echoes(8);
    assert_eq!(machine.property(SERVICE, "ActiveState"), "active");
}

#[test]
fn status_shows_the_counts() {
    let Some(machine) = serving("-c 40 -t 127.0.0.1:7 cat") else {
        return;
    };
    let text = |text: &str| machine.waits_for(SERVICE, "StatusText", text);
    text("0/40 connections, 0 accepted, 0 refused");
    let clients = machine.network(|| [Client::tcp(7), Client::tcp(7)]);
    text("2/40 connections, 2 accepted, 0 refused");
    drop(clients);
    text("0/40 connections, 2 accepted, 0 refused");
}

/// Waits until PID 1 has heard signs of life for three times as long as it would wait for one.
fn lives(machine: &Systemd) {
    let heard = || -> u64 {
        let value = machine.property(SERVICE, "WatchdogTimestampMonotonic");
        value.parse().unwrap()
    };
    let first = heard();
    eventually("signs of life", || {
        (heard() >= first + 3_000_000).then_some(())
    });
}

#[test]
fn the_watchdog_hears_skd_at_rest_and_under_load_and_notices_when_it_is_stuck() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    instance(&machine, "-t 127.0.0.1:7 true");
    drop_in(&machine, "WatchdogSec=1");
    machine.run(&format!("systemctl start {SERVICE}"));
    lives(&machine);
    let client = || drop(Client::tcp(7).hears_rest());
    machine.while_clients_come(client, || lives(&machine));
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0");
    machine.run(&format!(
        "systemctl kill -s STOP --kill-whom=main {SERVICE}"
    ));
    machine.waits_for(SERVICE, "NRestarts", "1");
    machine.logged(
        "init.scope",
        &format!("{SERVICE}: Failed with result 'watchdog'."),
    );
    machine.waits_for(SERVICE, "ActiveState", "active");
    machine.network(|| Client::tcp(7).hears_rest());
}

#[test]
fn reload_and_stop_are_told() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let log = machine.folder.path("log");
    instance(&machine, &format!("-v -L >>{log} -t 127.0.0.1:7 cat"));
    machine.run(&format!(
        "systemctl start {SERVICE} && systemctl log-level debug"
    ));
    let before = messages(&machine).len();
    machine.run(&format!("mv {log} {log}.1 && systemctl reload {SERVICE}"));
    eventually("a new log", || std::fs::exists(&log).unwrap().then_some(()));
    machine.waits_for(SERVICE, "ActiveState", "active");
    machine.run(&format!("systemctl stop {SERVICE}"));
    let told = messages(&machine).split_off(before);
    let told: Vec<_> = told
        .iter()
        .filter_map(|message| message.split(['(', ',', ')']).nth(1))
        .collect();
    assert_eq!(told, ["RELOADING=1", "READY=1", "STOPPING=1"]);
}

/// Without a drain a restart kills who is being served, but takes nobody's place in the backlog. The socket that came
/// back is not stored again. The unix socket's file stays, too.
#[test]
fn nobody_is_refused_while_skd_is_restarted() {
    let words = "-t 127.0.0.1:7 -u 127.0.0.1:7 -l /run/skd/it/socket true";
    let Some(machine) = serving(words) else {
        return;
    };
    let socket = machine.path("/run/skd/it/socket");
    let client = || {
        TcpStream::connect("127.0.0.1:7").unwrap();
        UnixStream::connect(&socket).unwrap();
    };
    let clients = machine.while_clients_come(client, || {
        for _ in 0..5 {
            machine.run(&format!("systemctl restart {SERVICE}"));
            assert_eq!(machine.property(SERVICE, "NFileDescriptorStore"), "3");
        }
    });
    assert!(clients > 5, "{clients}");
    machine.run(&format!("systemctl stop {SERVICE}"));
    machine.network(|| net::is_refused(7));
}

/// skd stops to accept and waits for the children that it has; the others wait for the next one.
#[test]
fn everybody_is_answered_while_skd_drains_and_is_restarted() {
    let Some(machine) = serving("--drain 20 -t 127.0.0.1:7 cat") else {
        return;
    };
    let clients = machine.while_clients_come(
        || net::echoes(7),
        || {
            for _ in 0..5 {
                machine.run(&format!("systemctl restart {SERVICE}"));
            }
        },
    );
    assert!(clients > 5, "{clients}");
}

#[test]
fn a_stop_waits_for_those_that_are_drained() {
    let Some(machine) = serving("--drain 20 -t 127.0.0.1:7 cat") else {
        return;
    };
    let mut client = machine.network(|| Client::tcp(7));
    client.says("hello\n").hears("hello\n");
    machine.run(&format!("systemctl stop --no-block {SERVICE}"));
    machine.waits_for(SERVICE, "SubState", "stop-sigterm");
    client.says("still\n").hears("still\n");
    assert_eq!(client.hears_all(), "");
    machine.waits_for(SERVICE, "ActiveState", "inactive");
    assert_eq!(machine.property(SERVICE, "Result"), "success");
}

/// Clients come again and again at the moment of its end, and when it has ended.
#[test]
fn systemd_starts_skd_again_that_ended_since_nobody_came() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    instance(&machine, "--idle-exit 1 cat");
    machine.run("systemctl start skd@it.socket");
    let starts = |count| {
        let journal = machine.journal("init.scope");
        journal.matches("Started skd@it.service").count() >= count
    };
    let path = machine.path("/run/skd/it.sock");
    let served = |path: &str| {
        Client::unix(path).says("hello\n").hears("hello\n");
    };
    for round in 0..4u64 {
        served(&path);
        std::thread::sleep(Duration::from_micros(997_000 + 1_000 * round));
        for _ in 0..8 {
            served(&path);
        }
    }
    for _ in 0..2 {
        machine.waits_for(SERVICE, "ActiveState", "inactive");
        served(&path);
    }
    assert!(starts(3), "{}", machine.journal("init.scope"));
    assert_eq!(machine.property(SERVICE, "NRestarts"), "0");
}

/// systemd hears the daemon, which is no child of the process that it started, with NotifyAccess=all alone; or it reads
/// the pid file.
#[test]
fn skd_in_the_background_is_the_main_process() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let words = "-BP /run/skd/it/pid -t 127.0.0.1:7 cat";
    for kind in [
        "Type=notify\nNotifyAccess=all",
        "Type=forking\nPIDFile=/run/skd/it/pid",
    ] {
        instance(&machine, words);
        drop_in(&machine, &format!("{kind}\nRestart=no"));
        machine.run(&format!("systemctl start {SERVICE}"));
        machine.echoes(7);
        let pid = machine.run("cat /run/skd/it/pid");
        assert_eq!(
            machine.property(SERVICE, "MainPID"),
            pid.trim_end(),
            "{kind}"
        );
        machine.run(&format!("systemctl stop {SERVICE}"));
        assert_eq!(machine.property(SERVICE, "Result"), "success");
    }
}

#[test]
fn the_journal_has_the_priorities_of_the_lines() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let prog = machine.folder.script("prog", "echo words of its own >&2");
    instance(&machine, &format!("-v -t 127.0.0.1:7 {prog}"));
    machine.run(&format!("systemctl start {SERVICE}"));
    machine.network(|| Client::tcp(7).hears_rest());
    machine.logged(SERVICE, "<6>skd: info: accept tcp:127.0.0.1:7 127.0.0.1:");
    machine.logged(SERVICE, "<6>words of its own");
    std::fs::remove_file(&prog).unwrap();
    machine.network(|| Client::tcp(7).hears_rest());
    machine.logged(SERVICE, "<4>skd: warning: unable to run ");
    machine.run(&format!("systemctl stop {SERVICE}"));
    machine.tried(&format!("systemctl start {SERVICE}"));
    machine.logged(SERVICE, "<3>skd: fatal: unable to run ");
}

/// A taken port may become free; a wrong command line does not mend itself.
#[test]
fn what_the_system_refused_is_tried_again_and_what_is_wrong_is_not() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let other = machine.network(|| std::net::TcpListener::bind("127.0.0.1:7").unwrap());
    instance(&machine, "-t 127.0.0.1:7 cat");
    machine.write("/etc/skd/wrong", "SKD=-t 127.0.0.1:8 -c 0 cat\n");
    let (code, _) = machine.tried("systemctl start skd@wrong.service");
    assert_ne!(code, 0);
    let wrong = |name| machine.property("skd@wrong.service", name);
    assert_eq!(
        (wrong("ActiveState"), wrong("ExecMainStatus")),
        ("failed".into(), "100".into())
    );
    machine.tried(&format!("systemctl start {SERVICE}"));
    machine.waits_for(SERVICE, "NRestarts", "1");
    machine.logged(
        SERVICE,
        "<3>skd: fatal: unable to bind tcp:127.0.0.1:7: Address already in use",
    );
    drop(other);
    machine.waits_for(SERVICE, "ActiveState", "active");
    machine.echoes(7);
    assert_eq!(wrong("NRestarts"), "0");
}

/// It is not told where systemd listens, and if it knows it is not believed.
#[test]
fn a_program_does_not_speak_for_skd() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let script = "echo \"${NOTIFY_SOCKET-}${WATCHDOG_USEC-}${FDSTORE-}${LISTEN_FDS-}.\"
        NOTIFY_SOCKET=/run/systemd/notify systemd-notify --status=forged STOPPING=1";
    let prog = machine.folder.script("prog", script);
    instance(&machine, &format!("-t 127.0.0.1:7 {prog}"));
    machine.run(&format!("systemctl start {SERVICE}"));
    assert_eq!(machine.network(|| Client::tcp(7).hears_rest()), ".\n");
    machine.logged("init.scope", "but reception only permitted for main PID");
    machine.waits_for(
        SERVICE,
        "StatusText",
        "0 connections, 1 accepted, 0 refused",
    );
    assert_eq!(machine.property(SERVICE, "ActiveState"), "active");
}
