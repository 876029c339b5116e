//! A real s6-svscan with services of a test's own.

use crate::kit::skd::BINARY;
use crate::kit::{Folder, eventually, need};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// s6-svscan on a folder, with the skd under test in PATH; ended, with its services, when dropped.
pub(crate) struct SvScan {
    scan: Child,
    folder: Folder,
}

impl SvScan {
    /// `None` without s6.
    pub(crate) fn start() -> Option<Self> {
        if !need::program("s6-svscan") {
            return None;
        }
        let folder = Folder::new();
        std::os::unix::fs::symlink(BINARY, folder.path("skd")).unwrap();
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", folder.path(""));
        let mut command = Command::new("s6-svscan");
        let command = command.arg(folder.path("")).env("PATH", path);
        let scan = command.stdin(Stdio::null()).spawn().unwrap();
        Some(Self { scan, folder })
    }

    /// The path of a file in the folder of a service.
    pub(crate) fn path(&self, service: &str, name: &str) -> String {
        self.folder.path(&format!("{service}/{name}"))
    }

    /// Starts a service by this run script, whose descriptor 3 tells of readiness. `prepare` gets its folder first.
    pub(crate) fn add(&self, service: &str, run: &str, prepare: impl FnOnce(&Path)) {
        let folder = self.folder.path(service);
        fs::create_dir(&folder).unwrap();
        fs::write(self.path(service, "notification-fd"), "3\n").unwrap();
        prepare(Path::new(&folder));
        super::executable(&self.path(service, "run"), run);
        eventually("a scan", || {
            let done = Command::new("s6-svscanctl")
                .args(["-a", &self.folder.path("")])
                .output();
            done.unwrap().status.success().then_some(())
        });
        eventually("a supervisor", || {
            let done = Command::new("s6-svok").arg(&folder).output();
            done.unwrap().status.success().then_some(())
        });
    }

    /// Runs a command of s6, named by its words but for the service's folder; it must succeed. Returns what it printed.
    pub(crate) fn run(&self, words: &str, service: &str) -> String {
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().unwrap());
        let command = command.args(words).arg(self.folder.path(service));
        let done = command.stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{command:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for SvScan {
    fn drop(&mut self) {
        let mut command = Command::new("s6-svscanctl");
        let _ = command.args(["-t", &self.folder.path("")]).output();
        let _ = self.scan.wait();
    }
}
