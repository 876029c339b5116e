//! A control group of a test's own, of either version.

use crate::kit::{Folder, eventually};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the groups of this controller are.
fn root(controller: &str) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let mut all = fields.filter_map(|fields| match fields[..] {
        [_, path, "cgroup", options, ..] if options.split(',').any(|it| it == controller) => {
            Some(PathBuf::from(path))
        }
        [_, path, "cgroup2", ..] => {
            let path = PathBuf::from(path);
            let has = std::fs::read_to_string(path.join("cgroup.controllers")).ok()?;
            has.split_whitespace()
                .any(|it| it == controller)
                .then_some(path)
        }
        _ => None,
    });
    all.next()
}

/// Whether this controller is to be had, and groups can be made.
pub(crate) fn is_there(controller: &str) -> bool {
    let made = root(controller).and_then(|root| {
        let path = root.join(format!("skd-test-{}-tried", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        std::fs::remove_dir(&path).ok()
    });
    made.is_some()
}

/// Ended with all that is in it when it is dropped.
pub(crate) struct Group(PathBuf, Folder);

impl Group {
    pub(crate) fn new(controller: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = root(controller).unwrap();
        // It fails where it is so already, and where there is no such file.
        let _ = std::fs::write(
            root.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
        let path = root.join(format!("skd-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path, Folder::new())
    }

    fn procs(&self) -> String {
        self.0
            .join("cgroup.procs")
            .into_os_string()
            .into_string()
            .unwrap()
    }

    /// What enters it and becomes the command behind it.
    pub(crate) fn enter(&self) -> String {
        let body = format!("echo $$ >{} && exec \"$@\"", self.procs());
        self.1.script("enter", &body)
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        std::fs::write(self.0.join(name), value).unwrap();
    }

    /// So many bytes, swap included.
    pub(crate) fn limit_memory(&self, bytes: u64) {
        let bytes = bytes.to_string();
        if self.0.join("memory.max").exists() {
            self.set("memory.max", &bytes);
            let _ = std::fs::write(self.0.join("memory.swap.max"), "0");
        } else {
            self.set("memory.limit_in_bytes", &bytes);
            let _ = std::fs::write(self.0.join("memory.memsw.limit_in_bytes"), &bytes);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        eventually("an empty group", || {
            let pids = std::fs::read_to_string(self.procs()).unwrap_or_default();
            for pid in pids.lines().filter_map(|pid| pid.parse().ok()) {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
            std::fs::remove_dir(&self.0).ok()
        });
    }
}
