//! Limits of setrlimit(2). Those of descriptors and processes are in `troubles`.

use super::is_served;
use crate::kit::skd::Skd;
use crate::kit::{Folder, ended, eventually, need};
use nix::sys::signal::Signal;
use std::process::Command;

/// Neither SIGXFSZ nor EFBIG ends anything; what is lost is counted.
#[test]
fn a_log_that_may_not_grow_costs_its_lines_alone() {
    const CLIENTS: usize = 40;
    if !need::program("prlimit") {
        return;
    }
    let folder = Folder::new();
    let log = folder.path("log");
    let words = format!("-1 -v -L >>{log} -t 127.0.0.1:0 cat");
    let mut skd = Skd::new(&words).under("prlimit --fsize=2000:").spawn();
    let port = skd.port();
    assert!((0..CLIENTS).all(|_| is_served(port)));
    skd.is_alone();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 2000);
    let pid = skd.pid().to_string();
    let words = ["--pid", &pid, "--fsize=unlimited:"];
    assert!(
        Command::new("prlimit")
            .args(words)
            .status()
            .unwrap()
            .success()
    );
    skd.signal(Signal::SIGUSR1);
    let text = eventually("a status", || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.ends_with(" failed 0\n").then_some(text)
    });
    let lost = text.lines().find_map(|line| {
        let count = line.split_once("warning: ")?.1;
        count
            .strip_suffix(" lines could not be written")?
            .parse::<usize>()
            .ok()
    });
    let whole = text.lines().filter(|line| line.contains(" count ")).count();
    // The line that found the end may lack no more than its newline.
    let sum = whole + lost.unwrap_or_else(|| panic!("{text}"));
    assert!(
        (2 * CLIENTS..=2 * CLIENTS + 1).contains(&sum),
        "{sum}: {text}"
    );
    skd.stop();
}

#[test]
fn files_that_may_have_no_bytes_stop_a_pid_file_and_an_upgrade_and_no_service() {
    if !need::program("prlimit") {
        return;
    }
    let folder = Folder::new();
    let pidfile = folder.path("pid");
    let skd = Skd::new(&format!("-P {pidfile} -t 127.0.0.1:0 cat"));
    let outcome = skd.under("prlimit --fsize=0").outcome();
    let fatal = format!("fatal: unable to write the pid file \"{pidfile}\": File too large");
    ended(&outcome, 111, &fatal);
    assert_eq!(std::fs::read_dir(folder.path("")).unwrap().count(), 0);
    let skd = Skd::new("-1 -v -t 127.0.0.1:0 cat");
    let mut skd = skd.under("prlimit --fsize=0").start();
    let port = skd.port();
    skd.signal(Signal::SIGUSR2);
    let warning = skd.waits_for("warning: unable to upgrade to ");
    assert!(
        warning.ends_with(": File too large, going on as before"),
        "{warning}"
    );
    assert!(is_served(port));
    skd.stop();
}

/// With old children, and so with the reaper's stack, too.
#[test]
fn odd_limits_of_memory_are_no_trouble() {
    const CHILDREN: usize = 70;
    if !need::program("prlimit") {
        return;
    }
    for limit in [
        "stack=131072",
        "stack=unlimited",
        "as=134217728",
        "data=33554432",
        "memlock=0",
        "sigpending=0",
    ] {
        let skd = Skd::new("-1 -v -t 127.0.0.1:0 cat");
        let mut skd = skd.under(&format!("prlimit --{limit}")).start();
        let port = skd.port();
        let connect = |_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let clients: Vec<_> = (0..CHILDREN).map(connect).collect();
        eventually("children", || {
            (skd.children().len() == CHILDREN).then_some(())
        });
        assert!(is_served(port), "{limit}");
        eventually("a reaper", || (skd.field("Threads") == "2").then_some(()));
        drop(clients);
        skd.is_alone();
        let status = format!("0 accepted {} denied 0 failed 0", CHILDREN + 1);
        assert_eq!(skd.status(), status, "{limit}");
        skd.stop();
    }
}
