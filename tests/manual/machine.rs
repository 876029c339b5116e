//! Runs an example as a shell does, if need be where there is a syslogd and every port is free.

use crate::kit::skd::BINARY;
use crate::kit::{Folder, eventually, need};
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

/// A mount and a network namespace with busybox's syslogd; ended when dropped.
pub(super) struct Machine {
    syslogd: Child,
    /// Its working folder.
    pub(super) folder: Folder,
}

const MACHINE: &str = "set -e
busybox ip link set lo up
mount -t tmpfs run /run
dev=$(mktemp -d)
mount -t tmpfs dev $dev
for node in null zero urandom; do : >$dev/$node; mount --bind /dev/$node $dev/$node; done
mount --move $dev /dev
rmdir $dev
exec busybox syslogd -n -O $1";

impl Machine {
    /// `None` without root or busybox.
    pub(super) fn new() -> Option<Self> {
        if !need::root() || !need::program("busybox") {
            return None;
        }
        let folder = Folder::new();
        let words = "--mount --net --propagation private sh -c".split(' ');
        let mut command = Command::new("unshare");
        let command = command.args(words).args([MACHINE, "sh"]);
        let syslogd = command.arg(folder.path("syslog")).spawn().unwrap();
        let machine = Self { syslogd, folder };
        machine.logged("syslogd started");
        Some(machine)
    }

    /// The command that runs another one in it.
    pub(super) fn inside(&self) -> String {
        let folder = self.folder.path("");
        format!("nsenter -t {} -m -n env -C {folder}", self.syslogd.id())
    }

    /// A file of it, seen from outside.
    pub(super) fn path(&self, name: &str) -> String {
        format!("/proc/{}/root/{name}", self.syslogd.id())
    }

    /// Waits for a line of the system log that holds `text`, and returns it.
    pub(super) fn logged(&self, text: &str) -> String {
        has_line(&self.folder.path("syslog"), text)
    }

    pub(super) fn shell(&self, script: &str) -> String {
        shell(&self.inside(), script, &self.folder)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.syslogd.kill();
        let _ = self.syslogd.wait();
    }
}

/// Waits for a line of a file that holds `text`, and returns it.
pub(super) fn has_line(path: &str, text: &str) -> String {
    eventually(text, || {
        let all = fs::read_to_string(path).unwrap_or_default();
        let line = all.lines().find(|line| line.contains(text));
        line.map(str::to_owned)
    })
}

/// Runs a script in `folder` under a command, `skd` being the one under test; it must succeed and say nothing on
/// stderr. Returns what it printed. Files take both, since a daemon that is no server keeps its stdout.
pub(super) fn shell(under: &str, script: &str, folder: &Folder) -> String {
    let _ = std::os::unix::fs::symlink(BINARY, folder.path("skd"));
    let path = std::env::var("PATH").unwrap();
    let words = format!("env PATH={}:{path} {under} sh -c", folder.path(""));
    let mut words = words.split_whitespace();
    let file = |name| File::create(folder.path(name)).unwrap();
    let mut command = Command::new(words.next().unwrap());
    let command = command.args(words).arg(script).stdin(Stdio::null());
    let command = command.stdout(file("stdout")).stderr(file("stderr"));
    let status = command.current_dir(folder.path("")).status().unwrap();
    let said = |name| fs::read_to_string(folder.path(name)).unwrap();
    assert_eq!((status.code(), said("stderr").as_str()), (Some(0), ""));
    said("stdout")
}
