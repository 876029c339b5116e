//! skd in the background: started as `-B`, known by its pid file, ended by its pid.

use crate::kit::skd::{Outcome, Skd, field};
use crate::kit::{Folder, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `skd -1vB` with pid file `pid` and log `log` in this folder; the rest is the test's.
pub(crate) fn skd(folder: &Folder) -> Skd {
    let log = format!(">{}", folder.path("log"));
    Skd::with_words(["-1vBP".into(), folder.path("pid"), "-L".into(), log])
}

/// The process that a pid file names; it and its children are killed when this is dropped.
pub(crate) struct Daemon(i32);

impl Daemon {
    /// Starts what `skd` began; its caller must end well and say nothing on stderr. Returns its stdout, too.
    pub(crate) fn start(skd: Skd, folder: &Folder) -> (Self, String) {
        let Outcome {
            code,
            stdout,
            stderr,
        } = skd.outcome();
        assert_eq!((code, stderr.as_str()), (0, ""));
        (Self::named_by(&folder.path("pid")), stdout)
    }

    pub(crate) fn named_by(pidfile: &str) -> Self {
        let text = std::fs::read_to_string(pidfile).unwrap();
        let pid = text
            .strip_suffix('\n')
            .and_then(|digits| digits.parse().ok());
        Self(pid.unwrap_or_else(|| panic!("no pid: {text:?}")))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0), signal).unwrap();
    }

    /// TERM, and waits for its end.
    pub(crate) fn stop(self) {
        self.signal(Signal::SIGTERM);
        self.ends();
    }

    /// Waits for its end.
    pub(crate) fn ends(self) {
        eventually("the daemon's end", || is_gone(self.0).then_some(()));
    }

    /// A field of /proc/PID/status.
    pub(crate) fn field(&self, name: &str) -> String {
        field(self.0, name).unwrap_or_default()
    }

    /// The pids of its children.
    pub(crate) fn children(&self) -> Vec<i32> {
        children_of(self.0)
    }

    /// What a descriptor of it refers to.
    pub(crate) fn descriptor(&self, number: i32) -> String {
        let link = std::fs::read_link(format!("/proc/{}/fd/{number}", self.0)).unwrap();
        link.into_os_string().into_string().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !is_gone(self.0) {
            for pid in self.children().into_iter().chain([self.0]) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// Whether a process has ended; its parent may not have looked yet.
pub(crate) fn is_gone(pid: i32) -> bool {
    field(pid, "State").is_none_or(|state| state.starts_with('Z'))
}

/// The pids of a process's children.
pub(crate) fn children_of(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
