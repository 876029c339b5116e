//! Disks that are full, or that can no longer be written to. Logs on a full disk are in `logfile`.

use super::is_served;
use crate::kit::skd::{Outcome, Skd};
use crate::kit::{Folder, ended, need};
use std::process::Command;

/// skd with a disk of its own at `disk`, on which these commands are run first; behind skd it is told on stdout what is
/// on it.
fn on_disk(folder: &Folder, options: &str, before: &str, skd: Skd) -> Outcome {
    let script = format!(
        "mount -t tmpfs -o {options} none \"$1\" && cd \"$1\" && {{ {before} }} 2>/dev/null
        shift; \"$@\"; code=$?; ls -A; exit $code"
    );
    let script = folder.script("on-disk", &script);
    let disk = folder.path("disk");
    std::fs::create_dir_all(&disk).unwrap();
    let under = format!("unshare --mount --propagation private {script} {disk}");
    skd.under(&under).outcome()
}

/// A file that takes all the room there is.
const FILL: &str = "head -c 1M /dev/zero >filler;";

#[test]
fn a_start_on_a_full_disk_is_fatal_and_leaves_nothing() {
    if !need::root() || !need::mounts() {
        return;
    }
    let folder = Folder::new();
    let pid = "unable to write the pid file \"pid\"";
    for (options, before, words, deed, reason) in [
        ("size=64k", FILL, "-P pid", pid, "No space left on device"),
        (
            "nr_inodes=2",
            ">filler;",
            "-P pid",
            pid,
            "No space left on device",
        ),
        (
            "nr_inodes=2",
            ">filler;",
            "-l socket",
            "unable to bind unix:socket",
            "No space left on device",
        ),
        (
            "nr_inodes=2",
            ">filler;",
            "-L >log",
            "unable to open the log \"log\"",
            "No space left on device",
        ),
        ("ro", ":;", "-P pid", pid, "Read-only file system"),
        (
            "ro",
            ":;",
            "-l socket",
            "unable to bind unix:socket",
            "Read-only file system",
        ),
        (
            "ro",
            ":;",
            "-L >>log",
            "unable to open the log \"log\"",
            "Read-only file system",
        ),
    ] {
        let skd = Skd::new(&format!("{words} -t 127.0.0.1:0 cat"));
        let mut outcome = on_disk(&folder, options, before, skd);
        let left = std::mem::take(&mut outcome.stdout);
        ended(&outcome, 111, &format!("fatal: {deed}: {reason}"));
        let filler = if options == "ro" { "" } else { "filler\n" };
        assert_eq!(left, filler, "{options} {words}");
    }
}

/// It serves on, and stops in order; what it cannot remove it tells of.
#[test]
fn a_disk_that_has_become_read_only_costs_nothing_but_what_cannot_be_removed() {
    if !need::root() || !need::mounts() {
        return;
    }
    let folder = Folder::new();
    let script = "mount -t tmpfs none \"$1\" && cd \"$1\" && shift && exec \"$@\"";
    let script = folder.script("on-disk", script);
    let disk = folder.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let skd = Skd::new("-1 -v -P pid -l socket -t 127.0.0.1:0 cat");
    let under = format!("unshare --mount --propagation private {script} {disk}");
    let mut skd = skd.under(&under).start();
    skd.waits_for("listen tcp:");
    let port = skd.port();
    let inside = format!(
        "nsenter --mount --target {} mount -o remount,ro {disk}",
        skd.pid()
    );
    let done = Command::new("sh").args(["-c", &inside]).status();
    assert!(done.unwrap().success());
    assert!(is_served(port));
    skd.is_alone();
    let stderr = skd.stop().stderr;
    for what in ["the pid file", "unix:socket"] {
        let line = format!("skd: warning: unable to remove {what}: Read-only file system");
        assert_eq!(stderr.matches(&line).count(), 1, "{stderr}");
    }
}
