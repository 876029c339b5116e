//! HUP while a file cannot be opened or read, or a new service not bound: what was before stays, and the next HUP finds
//! everything as it should be.

use super::{hears, hears_at, is_served, warnings};
use crate::kit::skd::Skd;
use crate::kit::strace::{Fault, Faults};
use crate::kit::{Folder, eventually, need};
use nix::sys::signal::Signal;
use std::path::Path;

const OPEN: &str = "EACCES EINTR EMFILE ENFILE ENOENT ENOMEM ENOSPC EROFS ELOOP EIO";

#[test]
fn a_log_that_cannot_be_opened_again_stays_as_it_is() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let log = folder.path("log");
    let words = format!("-1 -v -L >>{log} -t 127.0.0.1:0 cat");
    let mut skd = Skd::new(&words).spawn();
    let port = skd.port();
    let read = |name| std::fs::read_to_string(folder.path(name)).unwrap_or_default();
    eventually("a log", || read("log").contains("listen ").then_some(()));
    let before = skd.descriptors();
    let opens = OPEN.split(' ').map(|errno| format!("openat:error={errno}"));
    let others = ["dup2:error=EBUSY", "fcntl:error=EINVAL:when=1"];
    for (count, fault) in (1..).zip(opens.chain(others.map(str::to_owned))) {
        std::fs::rename(&log, folder.path("old")).unwrap();
        let faults = Faults::of(&folder, skd.pid(), Fault(&fault));
        skd.signal(Signal::SIGHUP);
        eventually("a warning", || {
            let warning = "skd: warning: unable to open the log again: ";
            let told = read("old").matches(warning).count();
            (told >= count.min(10)).then_some(())
        });
        assert!(is_served(port), "{fault}");
        eventually("an end", || {
            read("old").trim_end().ends_with(" count 0").then_some(())
        });
        faults.end();
        // As if nothing had been.
        std::fs::rename(folder.path("old"), &log).unwrap();
        skd.signal(Signal::SIGHUP);
        skd.signal(Signal::SIGUSR1);
        eventually("a status", || {
            read("log").trim_end().ends_with(" failed 0").then_some(())
        });
        skd.comes_to_have(before);
    }
    skd.stop();
}

#[test]
fn rules_that_cannot_be_read_again_are_in_force_as_they_were() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let rules = folder.path("rules");
    let put = |text: &str| {
        std::fs::write(folder.path("new"), text).unwrap();
        std::fs::rename(folder.path("new"), &rules).unwrap();
    };
    put("127.:allow,GEN=\"0\"\n");
    let words = format!("-1 -v --rules {rules} -t 127.0.0.1:0 sh -c");
    let mut skd = Skd::new(&words).word("cat >&2; echo $GEN").start();
    let port = skd.port();
    let mut gen_now = "0\n".to_owned();
    assert_eq!(hears(port), gen_now);
    skd.is_alone();
    let before = skd.descriptors();
    let opens = OPEN
        .split(' ')
        .map(|errno| format!("openat:error={errno}:when=2+"));
    let others = ["read:error=EIO:when=2", "statx:error=ENOMEM"];
    let mut count = 0;
    for (number, fault) in (1..).zip(opens.chain(others.map(str::to_owned))) {
        put(&format!("127.:allow,GEN=\"{number}\"\n"));
        let faults = Faults::of(&folder, skd.pid(), Fault(&fault));
        skd.signal(Signal::SIGHUP);
        assert_eq!(hears(port), gen_now, "{fault}");
        faults.end();
        count += 1;
        skd.waits_for_nth("warning: unable to read the rules ", usize::min(count, 10));
        skd.signal(Signal::SIGHUP);
        // It has been obeyed when there is an answer to the next signal.
        skd.status();
        gen_now = format!("{number}\n");
        assert_eq!(hears(port), gen_now, "{fault}");
        skd.is_alone();
        skd.comes_to_have(before);
    }
    skd.stop();
}

/// The others are served, and it is tried again.
#[test]
fn a_new_service_that_cannot_be_bound_comes_later() {
    if !need::root() || !need::program("strace") {
        return;
    }
    for fault in [
        // The first asks whether there is IPv6.
        "socket:error=EMFILE:when=2",
        "socket:error=ENOBUFS:when=2",
        "bind:error=ENOSPC:when=1",
        "bind:error=EROFS:when=1",
        "listen:error=EOPNOTSUPP:when=1",
    ] {
        let folder = Folder::new();
        let conf = folder.path("inetd.conf");
        let [first, second] = ["first", "second"].map(|name| folder.path(name));
        let line = |path: &str| format!("{path} stream unix nowait root internal echo\n");
        std::fs::write(&conf, line(&first)).unwrap();
        let mut skd = Skd::new("-v --inetd-conf").word(&conf).start();
        let before = skd.descriptors();
        std::fs::write(&conf, line(&first) + &line(&second)).unwrap();
        let faults = Faults::of(&folder, skd.pid(), Fault(fault));
        skd.signal(Signal::SIGHUP);
        let warning = skd.waits_for("warning: ");
        assert!(warning.ends_with(", trying again in 1 s"), "{warning}");
        assert!(!Path::new(&second).exists(), "{fault}");
        assert_eq!(hears_at(&first), "hello\n", "{fault}");
        skd.comes_to_have(before);
        skd.waits_for(&format!("listen unix:{second}"));
        faults.end();
        assert_eq!(hears_at(&second), "hello\n", "{fault}");
        let stderr = skd.stop().stderr;
        assert_eq!(warnings(&stderr).len(), 1, "{stderr}");
    }
}
