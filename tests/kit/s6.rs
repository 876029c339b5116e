//! A real s6-svscan with services of a test's own.

use crate::kit::skd::BINARY;
use crate::kit::{Folder, eventually, need};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// s6-svscan with a service, and the skd under test in PATH; ended, with the service, when dropped.
pub(crate) struct SvScan {
    scan: Option<Child>,
    folder: Folder,
}

impl SvScan {
    /// With nothing running yet; `None` without s6.
    pub(crate) fn new() -> Option<Self> {
        let folder = need::program("s6-svscan").then(Folder::new);
        folder.map(|folder| Self { scan: None, folder })
    }

    /// The path of a file in the folder of the service.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path(&format!("it/{name}"))
    }

    /// Starts the service by this run script, whose descriptor 3 tells of readiness. `prepare` gets its folder first.
    pub(crate) fn start(&mut self, run: &str, prepare: impl FnOnce(&Path)) {
        let folder = self.folder.path("it");
        fs::create_dir(&folder).unwrap();
        fs::write(self.path("notification-fd"), "3\n").unwrap();
        prepare(Path::new(&folder));
        super::executable(&self.path("run"), run);
        let bin = self.folder.path(".bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(BINARY, format!("{bin}/skd")).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("s6-svscan");
        let command = command.arg(self.folder.path(""));
        let command = command.env("PATH", format!("{bin}:{path}"));
        self.scan = Some(command.stdin(Stdio::null()).spawn().unwrap());
        eventually("a supervisor", || {
            let done = Command::new("s6-svok").arg(&folder).output();
            done.unwrap().status.success().then_some(())
        });
    }

    /// Runs a command of s6, given by its words but for the service's folder; it must succeed. Returns what it printed.
    pub(crate) fn run(&self, words: &str) -> String {
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().unwrap());
        let command = command.args(words).arg(self.folder.path("it"));
        let done = command.stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{command:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for SvScan {
    fn drop(&mut self) {
        if let Some(mut scan) = self.scan.take() {
            let mut command = Command::new("s6-svscanctl");
            let _ = command.args(["-t", &self.folder.path("")]).output();
            let _ = scan.wait();
        }
    }
}
