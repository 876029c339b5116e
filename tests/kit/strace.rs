//! strace(1) on a process that runs, and around one that starts: what its system calls say is made up.

use crate::kit::Folder;
use crate::kit::skd::{Running, Skd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Attached until it is dropped; then all go on as if it had not been.
pub(crate) struct Strace(Child);

impl Strace {
    /// With these options, which blanks divide; none is -q. Every call that skd begins from now on is seen.
    pub(crate) fn on(skd: &Running, options: &str) -> Self {
        Self::attached(skd.pid(), options)
    }

    /// The same to another process, or a thread.
    fn attached(pid: i32, options: &str) -> Self {
        let mut strace = Command::new("strace")
            .args(["-e", "quiet=exit,personality,thread-execve"])
            .args(options.split(' '))
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains(" attached"), "{line}");
        // It tells of every other process, too, and must not wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self(strace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// A call that says something made up, as strace(1) has it: `accept4:error=EMFILE:when=1..3`. More of its options may
/// follow.
#[derive(Clone, Copy)]
pub(crate) struct Fault<'a>(pub(crate) &'a str);

impl Fault<'_> {
    fn options(self, trace: &str) -> String {
        let (call, _) = self.0.split_once(':').unwrap();
        format!("-o {trace} -e trace={call} -e inject={}", self.0)
    }
}

/// Faults of a process that runs.
pub(crate) struct Faults {
    strace: Strace,
    trace: String,
    fault: String,
}

impl Faults {
    /// In this thread; its children and other threads are left alone.
    pub(crate) fn of(folder: &Folder, thread: i32, fault: Fault<'_>) -> Self {
        Self::with(folder, thread, "", fault)
    }

    /// In this process and all that it starts from now on; each counts for itself.
    pub(crate) fn of_all(folder: &Folder, pid: i32, fault: Fault<'_>) -> Self {
        Self::with(folder, pid, "-f ", fault)
    }

    fn with(folder: &Folder, thread: i32, follow: &str, fault: Fault<'_>) -> Self {
        let trace = folder.path("trace");
        let options = format!("{follow}{}", fault.options(&trace));
        let strace = Strace::attached(thread, &options);
        let fault = fault.0.to_owned();
        Self {
            strace,
            trace,
            fault,
        }
    }

    /// From now on there are none. How many there were: one at least.
    pub(crate) fn end(self) -> usize {
        drop(self.strace);
        let trace = std::fs::read_to_string(self.trace).unwrap();
        let count = trace.matches("(INJECTED)").count();
        assert!(count > 0, "{} was not met: {trace}", self.fault);
        count
    }
}

/// skd that meets the fault as it starts, and what is done with it; the fault must have been met.
pub(crate) fn starting<T>(
    folder: &Folder,
    skd: Skd,
    fault: Fault<'_>,
    run: impl FnOnce(Skd) -> T,
) -> T {
    let trace = folder.path("trace");
    let under = format!("strace -D -qq {}", fault.options(&trace));
    let done = run(skd.under(&under));
    crate::kit::eventually("a trace", || {
        let trace = std::fs::read_to_string(&trace).ok()?;
        trace.contains("(INJECTED)").then_some(())
    });
    done
}
