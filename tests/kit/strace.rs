//! strace(1) on a running skd.

use crate::kit::eventually;
use crate::kit::skd::Running;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Command};

/// Attached until it is dropped; then all go on as if it had not been.
pub(crate) struct Strace(Child);

impl Strace {
    /// With these options, which blanks divide.
    pub(crate) fn on(skd: &Running, options: &str) -> Self {
        let strace = Command::new("strace")
            .args(options.split(' '))
            .args(["-p", &skd.pid().to_string()])
            .spawn()
            .unwrap();
        eventually("a tracer", || (skd.field("TracerPid") != "0").then_some(()));
        Self(strace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
