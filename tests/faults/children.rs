//! What fails in a child on its way to PROG: it never becomes PROG with what it should not have.

use super::{hears, hears_at, is_served, warnings};
use crate::kit::skd::Skd;
use crate::kit::strace::{Fault, Faults, starting};
use crate::kit::{Folder, ended, need};

const EXECVE: &str = "E2BIG EACCES EAGAIN EIO ELOOP EMFILE ENAMETOOLONG ENFILE ENOENT ENOEXEC ENOMEM ENOTDIR EPERM ETXTBSY";

#[test]
fn a_child_that_cannot_become_the_program_costs_its_connection_and_is_told_of() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let errnos = EXECVE.split(' ');
    let faults = errnos.map(|errno| format!("execve:error={errno}"));
    let others = ["dup3:error=EBUSY:when=1", "dup3:error=EMFILE:when=2"];
    let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 cat").start();
    let port = skd.port();
    let before = skd.descriptors();
    let all: Vec<_> = faults.chain(others.map(str::to_owned)).collect();
    for fault in &all {
        let faults = Faults::of_all(&folder, skd.pid(), Fault(fault));
        assert_eq!(hears(port), "", "{fault}");
        skd.is_alone();
        faults.end();
        assert!(is_served(port), "{fault}");
    }
    skd.is_alone();
    let failed = all.len();
    let status = format!("0 accepted {} denied 0 failed {failed}", 2 * failed);
    assert_eq!((skd.status(), skd.descriptors()), (status, before));
    let stderr = skd.stop().stderr;
    let told = stderr
        .lines()
        .filter(|line| line.contains("unable to run \"cat\": "));
    // Ten a minute, and how many were left out.
    assert_eq!(told.count(), 11, "{stderr}");
    assert!(
        stderr.contains(&format!("left out {} more: ", failed - 10)),
        "{stderr}"
    );
}

/// What cannot be given up, and what is said to be given up and is not.
const PRIVILEGES: [(&str, &str); 7] = [
    (
        "setgroups:error=EPERM",
        "unable to set the groups: Operation not permitted",
    ),
    (
        "setresgid:error=EPERM",
        "unable to set the group: Operation not permitted",
    ),
    (
        "setresuid:error=EAGAIN",
        "unable to set the user: Resource temporarily unavailable",
    ),
    (
        "setresuid:retval=0",
        "unable to drop privileges: the ids are not what was asked for",
    ),
    (
        "setresgid:retval=0",
        "unable to drop privileges: the ids are not what was asked for",
    ),
    (
        "setgroups:retval=0",
        "unable to drop privileges: the groups are not what was asked for",
    ),
    (
        "capget:error=EPERM",
        "unable to drop privileges: the capabilities cannot be read",
    ),
];

/// Where the test has no other groups itself, none are left that should not be there.
fn privileges() -> impl Iterator<Item = (&'static str, &'static str)> {
    let has_groups = nix::unistd::getgroups().is_ok_and(|groups| !groups.is_empty());
    let all = PRIVILEGES.into_iter();
    all.filter(move |(fault, _)| has_groups || *fault != "setgroups:retval=0")
}

/// A folder with an inetd.conf of one service, which echoes as somebody else, at the path that is returned.
fn echo_as_daemon(folder: &Folder) -> (Skd, String) {
    let (conf, path) = (folder.path("inetd.conf"), folder.path("socket"));
    let line = format!("{path} stream unix nowait daemon /bin/cat cat\n");
    std::fs::write(&conf, line).unwrap();
    (Skd::new("-v --inetd-conf").word(&conf), path)
}

#[test]
fn no_program_of_an_inetd_conf_runs_as_somebody_else_than_it_should() {
    if !need::root() || !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let (skd, path) = echo_as_daemon(&folder);
    let mut skd = skd.start();
    assert_eq!(hears_at(&path), "hello\n");
    skd.is_alone();
    let before = skd.descriptors();
    for (fault, reason) in privileges() {
        let faults = Faults::of_all(&folder, skd.pid(), Fault(fault));
        assert_eq!(hears_at(&path), "", "{fault}");
        faults.end();
        skd.waits_for(&format!(
            "skd: warning: unable to run \"/bin/cat\": {reason}, closing the connection of unix:{path}"
        ));
        assert_eq!(hears_at(&path), "hello\n", "{fault}");
    }
    skd.is_alone();
    skd.comes_to_have(before);
    skd.stop();
}

#[test]
fn skd_itself_does_not_begin_to_serve_as_somebody_else_than_it_should() {
    if !need::root() || !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    for (fault, reason) in privileges() {
        let skd = Skd::new("-v --user daemon -t 127.0.0.1:0 cat");
        let outcome = starting(&folder, skd, Fault(fault), Skd::outcome);
        ended(&outcome, 111, &format!("fatal: {reason}"));
    }
}

/// No process, and no way by which it could tell.
#[test]
fn a_program_of_somebody_that_cannot_be_started_costs_its_connection() {
    if !need::root() || !need::program("strace") {
        return;
    }
    for fault in [
        "clone:error=EAGAIN:when=1",
        "socketpair:error=EMFILE:when=1",
        "epoll_ctl:error=ENOSPC:when=1",
    ] {
        let folder = Folder::new();
        let (skd, path) = echo_as_daemon(&folder);
        let mut skd = skd.start();
        let before = skd.descriptors();
        let faults = Faults::of(&folder, skd.pid(), Fault(fault));
        assert_eq!(hears_at(&path), "", "{fault}");
        assert_eq!(faults.end(), 1);
        assert_eq!(hears_at(&path), "hello\n", "{fault}");
        skd.is_alone();
        skd.comes_to_have(before + 2);
        assert_eq!(skd.status(), "0 accepted 2 denied 0 failed 1");
        let stderr = skd.stop().stderr;
        let [warning] = warnings(&stderr)[..] else {
            panic!("{fault}: {stderr}");
        };
        let begin = "unable to start \"/bin/cat\": ";
        assert!(warning.starts_with(begin), "{warning}");
    }
}
