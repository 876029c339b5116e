//! Datagrams that no program takes: started for again, discarded in the end, never in place of others.

use super::{asks, discard, plain_udp, port_of, serving, starts, ticks, unix_datagram};
use crate::kit::net::{hear_udp, udp};
use crate::kit::skd::{BINARY, Skd};
use crate::kit::strace::Strace;
use crate::kit::{Folder, eventually, need, probe};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn a_datagram_that_nobody_reads_starts_five_programs_and_is_discarded_and_others_are_served() {
    let (mut skd, port) = serving("", "picky-datagram");
    let (bad, good) = (udp(port), udp(port));
    bad.send(b"bad").unwrap();
    skd.waits_for("datagram ");
    for text in ["one", "two", "one"] {
        good.send(text.as_bytes()).unwrap();
    }
    assert_eq!(
        ["one", "two", "one"].map(|_| hear_udp(&good)),
        ["one", "two", "one"]
    );
    skd.waits_for_nth("end ", 8);
    let log = skd.stop().stderr;
    let head = "skd: info: listen HERE\n";
    let last = discard(&probe(), 3, " from CLIENT1");
    let (bads, goods) = (
        starts(1..=5, " CLIENT1", "exit 0"),
        starts(6..=8, " CLIENT2", "exit 0"),
    );
    let ports = [port_of(&bad), port_of(&good)];
    assert_eq!(
        plain_udp(&log, port, &ports),
        format!("{head}{bads}{last}{goods}")
    );
}

#[test]
fn two_equal_datagrams_that_nobody_reads_are_two() {
    let mut skd = Skd::new("-v -1u 127.0.0.1:0 sh -c").word("exit 3").start();
    let port = skd.port();
    let client = udp(port);
    client.send(b"same").unwrap();
    client.send(b"same").unwrap();
    skd.waits_for_nth("warning", 2);
    let used = ticks(skd.pid());
    assert!(used < 50, "{used} ticks");
    let log = skd.stop().stderr;
    let last = discard("sh", 4, " from CLIENT1");
    let [first, second] =
        [1..=5, 6..=10].map(|numbers| starts(numbers, " CLIENT1", "exit 3") + &last);
    let log = plain_udp(&log, port, &[port_of(&client)]);
    assert_eq!(log, format!("skd: info: listen HERE\n{first}{second}"));
}

/// The thread that throws a datagram of a unix socket away is held up: skd looks at the socket again before it is gone.
#[test]
fn a_datagram_behind_one_that_is_being_discarded_is_served() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("sock");
    let skd = Skd::new(&format!("-vdl {path}")).word(probe());
    let skd = skd.word("picky-datagram").start();
    // The first look of each thread is late.
    let late = "-f -o /dev/null -e trace=recvmsg -e inject=recvmsg:delay_enter=1000000:when=1";
    let strace = Strace::on(&skd, late);
    let client = unix_datagram(&folder.path("client"));
    client.send_to(b"bad", &path).unwrap();
    client.send_to(b"good", &path).unwrap();
    let mut heard = [0; 100];
    let len = client.recv(&mut heard).unwrap();
    assert_eq!(&heard[..len], b"good");
    drop(strace);
    let log = skd.stop().stderr;
    assert_eq!(log.matches("discarding").count(), 1, "{log}");
}

#[test]
fn a_program_that_takes_a_datagram_begins_the_count_anew() {
    let folder = Folder::new();
    let list = folder.path("starts");
    let script = format!(
        "echo >> {list}\n[ $(wc -l < {list}) = 3 ] && exec {} echo-datagram",
        probe()
    );
    let mut skd = Skd::new("-v -1u 127.0.0.1:0")
        .word(folder.script("prog", &script))
        .start();
    let port = skd.port();
    let client = udp(port);
    client.send(b"one").unwrap();
    client.send(b"other").unwrap();
    assert_eq!(hear_udp(&client), "one");
    let warning = skd.waits_for("warning");
    assert!(
        warning.contains("discarding a datagram of 5 bytes"),
        "{warning}"
    );
    assert_eq!(fs::read_to_string(&list).unwrap().len(), 8);
    skd.stop();
}

#[test]
fn a_program_that_cannot_be_executed_counts_as_a_start() {
    let folder = Folder::new();
    let prog = folder.script("prog", &format!("exec {} echo-datagram", probe()));
    let mut skd = Skd::new("-v -1u 127.0.0.1:0").word(&prog).start();
    let port = skd.port();
    let client = udp(port);
    assert_eq!(asks(&client, "one"), "one");
    skd.waits_for("end ");
    fs::remove_file(&prog).unwrap();
    client.send(b"").unwrap();
    skd.waits_for("discarding");
    folder.script("prog", &format!("exec {} echo-datagram", probe()));
    assert_eq!(asks(&client, "two"), "two");
    skd.waits_for_nth("end ", 7);
    assert_eq!(skd.status(), "0 accepted 3 denied 0 failed 1");
    let log = plain_udp(&skd.stop().stderr, port, &[port_of(&client)]).replace(&prog, "PROG");
    let failed = "skd: warning: unable to run \"PROG\": No such file or directory, leaving the datagram of HERE\n";
    let mut expected = format!(
        "skd: info: listen HERE\n{}",
        starts(1..=1, " CLIENT1", "exit 0")
    );
    for number in 2..=6 {
        let start = starts(number..=number, " CLIENT1", "exit 127");
        expected += &start.replace("skd: info: end", &format!("{failed}skd: info: end"));
    }
    expected += &discard("PROG", 0, " from CLIENT1").replace("left it unread", "could not be run");
    expected += &starts(7..=7, " CLIENT1", "exit 0");
    expected += "skd: info: status 0 accepted 3 denied 0 failed 1\n";
    assert_eq!(log, expected);
}

#[test]
fn a_datagram_that_cannot_be_discarded_has_not_failed_yet() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let (path, prog) = (folder.path("s"), folder.script("prog", "cat"));
    let mut skd = Skd::new(&format!("-v -d -l {path}")).word(&prog).start();
    let client = unix_datagram(&folder.path("client"));
    fs::remove_file(&prog).unwrap();
    let no_thread = Strace::on(&skd, "-e inject=clone3:error=EAGAIN -o /dev/null");
    client.send_to(b"", &path).unwrap();
    skd.waits_for_nth("unable to discard", 3);
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 0");
    drop(no_thread);
    eventually("its failure", || {
        (skd.status() == "0 accepted 1 denied 0 failed 1").then_some(())
    });
    skd.stop();
}

#[test]
fn a_datagram_waits_for_a_program_that_comes_back() {
    let folder = Folder::new();
    let script = format!("exec {} echo-datagram", probe());
    let prog = folder.script("prog", &script);
    let mut skd = Skd::new("-v -1u 127.0.0.1:0").word(&prog).start();
    let client = udp(skd.port());
    fs::set_permissions(&prog, Permissions::from_mode(0o644)).unwrap();
    client.send(b"kept").unwrap();
    skd.waits_for("Permission denied, leaving the datagram");
    folder.script("prog", &script);
    assert_eq!(hear_udp(&client), "kept");
    skd.stop();
}

#[test]
fn without_a_process_the_datagram_waits_and_no_start_is_counted() {
    if !need::root() || !need::program("prlimit") {
        return;
    }
    let folder = Folder::new();
    let own = folder.copy(BINARY, "skd");
    let prog = folder.copy(&probe(), "probe");
    let ids = "setpriv --reuid=54322 --regid=54322 --clear-groups";
    let script = format!("shift; exec {ids} prlimit --nproc=1:99 {own} \"$@\"");
    let mut skd = Skd::new("-v -1u 127.0.0.1:0")
        .word(prog)
        .word("echo-datagram");
    skd = skd.under(&folder.script("few", &script));
    let mut skd = skd.start();
    let client = udp(skd.port());
    client.send(b"kept").unwrap();
    let warning = skd.waits_for_nth("warning", 7);
    assert!(
        warning.contains("Resource temporarily unavailable, leaving the datagram"),
        "{warning}"
    );
    let raise = format!("{ids} prlimit --nproc=99 --pid {}", skd.pid());
    let mut raise = raise.split(' ');
    let raised = Command::new(raise.next().unwrap()).args(raise).status();
    assert!(raised.unwrap().success());
    assert_eq!(hear_udp(&client), "kept");
    skd.waits_for("end ");
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 0");
    skd.stop();
}

#[test]
fn a_program_that_is_killed_leaves_its_datagram_to_the_next() {
    let mut skd = Skd::new("-v -1u 127.0.0.1:0 sleep 1000").start();
    let port = skd.port();
    let client = udp(port);
    client.send(b"x").unwrap();
    skd.waits_for("datagram ");
    kill(Pid::from_raw(skd.children()[0]), Signal::SIGKILL).unwrap();
    skd.waits_for_nth("datagram ", 2);
    let log = plain_udp(&(skd.seen.join("\n") + "\n"), port, &[port_of(&client)]);
    let first = starts(1..=1, " CLIENT1", "signal KILL");
    let second = "skd: info: datagram HERE CLIENT1 pid P2\n";
    assert_eq!(log, format!("skd: info: listen HERE\n{first}{second}"));
}
