//! Reaping: every child is counted once, whoever waits for it, and however many live.

use crate::kit::net::Client;
use crate::kit::skd::{Running, Skd, field};
use crate::kit::{Folder, eventually, facts, need, probe};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpStream;
use std::process::Command;

/// More children than skd asks one by one: the older ones go to the reaper.
const MANY: usize = 200;

/// `sleep`, whose end a test decides by signals.
fn sleeping(words: &str) -> Skd {
    Skd::new(words).word("sleep").word("1000")
}

/// So many clients, all of whose programs run.
fn connect(skd: &mut Running, port: u16, count: usize) -> Vec<TcpStream> {
    let clients = (0..count)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    skd.waits_for_nth(" accept ", count);
    clients
}

/// The threads' ids, the reaper's last.
fn threads(skd: &Running) -> Vec<i32> {
    let all = std::fs::read_dir(format!("/proc/{}/task", skd.pid())).unwrap();
    let name = |thread: std::fs::DirEntry| thread.file_name().into_string().unwrap();
    let mut all: Vec<i32> = all
        .map(|entry| name(entry.unwrap()).parse().unwrap())
        .collect();
    all.sort_by_key(|thread| *thread != skd.pid());
    all
}

/// What the descriptors of a thread are.
fn descriptors(skd: &Running, thread: i32) -> Vec<String> {
    let all = std::fs::read_dir(format!("/proc/{}/task/{thread}/fd", skd.pid())).unwrap();
    all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.into_os_string().into_string().unwrap())
        .collect()
}

/// So many children have a descriptor in the reaper's table.
fn watches(skd: &Running, count: usize) {
    eventually("pidfds", || {
        let [_, reaper] = threads(skd)[..] else {
            return None;
        };
        let mut all = descriptors(skd, reaper);
        all.retain(|target| target.contains("pidfd"));
        (all.len() >= count).then_some(())
    });
}

fn kill_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        kill(Pid::from_raw(*pid), signal).unwrap();
    }
}

#[test]
fn a_few_children_need_no_reaper() {
    let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    let mut clients: Vec<_> = (0..10).map(|_| Client::tcp(port)).collect();
    for client in &mut clients {
        client.says("hello").hears("hello");
    }
    assert_eq!(skd.field("Threads"), "1");
    drop(clients);
    skd.is_alone();
    assert_eq!(skd.field("Threads"), "1");
    skd.stop();
}

/// One of many ends, and then the others, all at once.
#[test]
fn every_end_is_counted_however_many_come_at_once() {
    const HELD: usize = 3000;
    let mut skd = Skd::new("-1 -v -b 4096 -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    Client::tcp(port).says("hello").hears("hello");
    skd.is_alone();
    let few = skd.descriptors();
    let mut clients = connect(&mut skd, port, HELD);
    // Somebody has to end for the older ones to go to the reaper.
    drop(clients.pop());
    watches(&skd, HELD - 65);
    let [server, reaper] = threads(&skd)[..] else {
        panic!("{:?}", threads(&skd));
    };
    // The reaper's two bells are all that is new.
    let ours = descriptors(&skd, server);
    assert_eq!(ours.len(), few + 2, "{ours:#?}");
    assert!(!ours.iter().any(|target| target.contains("pidfd")));
    // Its own epoll and the two bells: no listener, no connection, and no log that might be rotated.
    let mut its = descriptors(&skd, reaper);
    its.retain(|target| !target.contains("pidfd"));
    assert_eq!(its.len(), 3, "{its:#?}");
    let status = format!("{} accepted {} denied 0 failed 0", HELD - 1, HELD + 1);
    assert_eq!(skd.status(), status);
    drop(clients);
    skd.is_alone();
    let status = format!("0 accepted {} denied 0 failed 0", HELD + 1);
    assert_eq!(skd.status(), status);
    assert_eq!(skd.descriptors(), few + 2);
    // A log that is not read fast enough loses lines, and says how many.
    let stderr = skd.stop().stderr;
    let lost = stderr.lines().filter_map(|line| {
        let line = line.strip_prefix("skd: warning: ")?;
        line.strip_suffix(" lines could not be written")
    });
    let lost: usize = lost.map(|count| count.parse::<usize>().unwrap()).sum();
    let told = stderr.matches(" end ").count();
    assert_eq!(
        (told + lost, stderr.matches(" exit 0 ").count()),
        (HELD + 1, told)
    );
}

#[test]
fn old_children_killed_by_a_real_time_signal_are_counted() {
    let mut skd = sleeping("-1 -v -t 127.0.0.1:0").start();
    let port = skd.port();
    let _clients = connect(&mut skd, port, MANY);
    let children = skd.children();
    let (first, others) = children.split_first().unwrap();
    kill_all(&[*first], Signal::SIGTERM);
    watches(&skd, MANY - 65);
    let words = others.iter().map(i32::to_string);
    let done = Command::new("kill").arg("-37").args(words).status();
    assert!(done.unwrap().success());
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 200 denied 0 failed 0");
    let stderr = skd.stop().stderr;
    assert_eq!(
        stderr.matches(" signal RTMIN+3 ").count(),
        MANY - 1,
        "{stderr}"
    );
    assert_eq!(stderr.matches(" signal TERM ").count(), 1);
}

#[test]
fn quit_ends_old_children() {
    const HELD: usize = 1000;
    let mut skd = sleeping("-1 -v -t 127.0.0.1:0").start();
    let port = skd.port();
    let _clients = connect(&mut skd, port, HELD);
    let children = skd.children();
    assert_eq!(children.len(), HELD);
    kill_all(&children[..1], Signal::SIGTERM);
    watches(&skd, HELD - 65);
    skd.signal(Signal::SIGQUIT);
    assert_eq!(skd.ends().code, 0);
    for child in children {
        eventually("the end of an old child", || {
            field(child, "State")
                .is_none_or(|state| state.starts_with('Z'))
                .then_some(())
        });
    }
}

/// The reaper cannot watch them all: those that it cannot are asked, and none is forgotten.
#[test]
fn without_descriptors_for_the_reaper_every_end_is_counted() {
    if !need::program("prlimit") {
        return;
    }
    let skd = sleeping("-1 -v -t 127.0.0.1:0").under("prlimit --nofile=40:64");
    let mut skd = skd.start();
    let port = skd.port();
    let _clients = connect(&mut skd, port, MANY);
    let children = skd.children();
    kill_all(&children[..1], Signal::SIGTERM);
    watches(&skd, 30);
    assert_eq!(skd.status(), "199 accepted 200 denied 0 failed 0");
    // Young and old, watched and not.
    for pair in children[1..].chunks(33) {
        kill_all(pair, Signal::SIGTERM);
        eventually("the end of some", || {
            let left = skd.children();
            pair.iter().all(|child| !left.contains(child)).then_some(())
        });
    }
    assert_eq!(skd.status(), "0 accepted 200 denied 0 failed 0");
    assert_eq!(skd.stop().stderr.matches(" signal TERM ").count(), MANY);
}

#[test]
fn a_child_has_the_limit_of_descriptors_that_skd_was_started_with() {
    if !need::program("prlimit") {
        return;
    }
    let skd = Skd::new("-1 -v -t 127.0.0.1:0")
        .word(probe())
        .word("report");
    let mut skd = skd.under("prlimit --nofile=77:99").start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", skd.pid())).unwrap();
    let ours = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let ours: Vec<_> = ours.unwrap().split_whitespace().skip(3).take(2).collect();
    assert_eq!(ours, ["99", "99"]);
    let report = Client::tcp(skd.port()).hears_all();
    assert_eq!(facts(&report, "limit"), ["77 99"]);
    skd.stop();
}

/// Orphans of its children become skd's own there.
#[test]
fn as_the_first_process_of_a_pid_namespace_skd_reaps_orphans() {
    if !need::root() || !need::program("unshare") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("socket");
    // It leaves an orphan behind, which ends when its client is gone. In the background 0 would be /dev/null.
    let script = "exec 3<&0; cat >/dev/null <&3 & echo $!";
    let skd = Skd::new("-v -l")
        .word(&path)
        .word("sh")
        .word("-c")
        .word(script);
    let mut skd = skd
        .under("unshare --fork --kill-child --pid --mount-proc")
        .start();
    let first = skd.children()[0];
    let mut client = Client::unix(&path);
    client.hears_line();
    skd.waits_for(" end ");
    let orphans = || crate::kit::daemon::children_of(first);
    eventually("an orphan", || (orphans().len() == 1).then_some(()));
    drop(client);
    eventually("a reaped orphan", || orphans().is_empty().then_some(()));
    kill_all(&[first], Signal::SIGTERM);
    let stderr = skd.ends().stderr;
    assert_eq!(stderr.matches(" end ").count(), 1, "{stderr}");
}
