//! skd as a test starts it, and skd while it runs.

use crate::kit::daemon::children_of;
use crate::kit::{DEADLINE, eventually};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_skd");

/// skd about to be started.
pub(crate) struct Skd {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    descriptors: Vec<(i32, OwnedFd)>,
    closed: Vec<i32>,
    listen_pid: bool,
    wrapper: Vec<OsString>,
    binary: OsString,
}

/// What a run that ended by itself left.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code, or 128 and the signal's number.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Skd {
    /// `words` is the command line, split at blanks.
    pub(crate) fn new(words: &str) -> Self {
        Self::with_words(words.split_whitespace())
    }

    pub(crate) fn with_words<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            descriptors: Vec::new(),
            closed: Vec::new(),
            listen_pid: false,
            wrapper: Vec::new(),
            binary: BINARY.into(),
        }
    }

    /// One more word.
    pub(crate) fn word(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Variables as NAME=VALUE, split at blanks.
    pub(crate) fn envs(mut self, variables: &str) -> Self {
        let words = variables.split_whitespace();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            self = self.env(name, value);
        }
        self
    }

    /// skd has `fd` as descriptor `number`, open across exec.
    pub(crate) fn descriptor(mut self, number: i32, fd: impl Into<OwnedFd>) -> Self {
        self.descriptors.push((number, fd.into()));
        self
    }

    /// skd is started with descriptor `number` closed.
    pub(crate) fn closed(mut self, number: i32) -> Self {
        self.closed.push(number);
        self
    }

    /// LISTEN_FDS for these sockets from descriptor 3 on, LISTEN_PID being skd's own pid.
    pub(crate) fn listen_fds(mut self, fds: Vec<OwnedFd>) -> Self {
        self.listen_pid = true;
        self = self.env("LISTEN_FDS", fds.len().to_string());
        for (number, fd) in (3..).zip(fds) {
            self.descriptors.push((number, fd));
        }
        self
    }

    /// skd is started by this command, which gets skd's own words behind its own and must exec them.
    pub(crate) fn under(mut self, words: &str) -> Self {
        self.wrapper = words.split_whitespace().map(OsString::from).collect();
        self
    }

    /// skd is this file, a copy of the one under test.
    pub(crate) fn binary(mut self, path: &str) -> Self {
        self.binary = path.into();
        self
    }

    /// Started, with its stderr being read; it may not be ready yet.
    pub(crate) fn spawn(self) -> Running {
        let mut child = self.command().spawn().unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        let stdout = lines_of(child.stdout.take().unwrap());
        Running {
            child: Some(child),
            stdout,
            lines,
            seen: Vec::new(),
        }
    }

    /// Started and ready: with `-v` on its command line it has said where it listens.
    pub(crate) fn start(self) -> Running {
        let words = self.words.iter();
        let is_verbose = words.take_while(|word| *word != "--").any(|word| {
            let word = word.to_string_lossy();
            word.starts_with("-v") || word == "--verbose"
        });
        assert!(is_verbose, "start() waits for a line that only -v shows");
        let mut running = self.spawn();
        running.waits_for("listen ");
        running
    }

    /// Runs until it ends by itself.
    pub(crate) fn outcome(self) -> Outcome {
        let mut child = self.command().spawn().unwrap();
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let err = std::thread::spawn(move || read_all(&mut stderr));
        let out = std::thread::spawn(move || read_all(&mut stdout));
        let code = code(wait(&mut child));
        Outcome {
            code,
            stdout: out.join().unwrap(),
            stderr: err.join().unwrap(),
        }
    }

    fn command(self) -> Command {
        let mut words = self.wrapper;
        if self.listen_pid {
            // Only a process that then becomes skd knows skd's pid beforehand.
            let shell = ["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"];
            words.extend(shell.map(OsString::from));
        }
        words.push(self.binary);
        words.extend(self.words);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in [
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
            "JOURNAL_STREAM",
        ] {
            command.env_remove(name);
        }
        command.envs(self.environment);
        let (descriptors, closed) = (self.descriptors, self.closed);
        let place = move || {
            // From high numbers down to the wanted ones, so that none is overwritten before it is moved.
            let mut moved = Vec::new();
            for (number, fd) in &descriptors {
                moved.push((*number, duplicate_above(fd.as_raw_fd(), 100)?));
            }
            for (number, fd) in moved {
                replace(fd, number)?;
            }
            for number in &closed {
                let _ = nix::unistd::close(*number);
            }
            Ok(())
        };
        #[allow(
            unsafe_code,
            reason = "a test has to place descriptors under given numbers"
        )]
        // SAFETY: between fork and exec it calls only fcntl, dup2 and close, and pushes to a vector that is this
        // process's own copy; no other thread of this process holds the allocator's lock for good in a copy of glibc's,
        // which resets it at fork.
        unsafe {
            command.pre_exec(place)
        };
        command
    }
}

fn duplicate_above(fd: i32, least: i32) -> std::io::Result<i32> {
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: the call takes no pointer.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) };
    if copy < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(copy)
    }
}

fn replace(from: i32, to: i32) -> std::io::Result<()> {
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: the call takes no pointer.
    let done = unsafe { libc::dup2(from, to) };
    if done < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The lines of a stream as they come, without their newlines.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender.send(text.trim_end_matches('\n').to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    lines
}

fn read_all(from: &mut impl Read) -> String {
    let mut all = Vec::new();
    let _ = from.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("skd did not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap())
}

/// skd while it runs; killed when dropped.
pub(crate) struct Running {
    child: Option<Child>,
    stdout: Receiver<String>,
    lines: Receiver<String>,
    /// Every line of stderr that was read so far, without its newline.
    pub(crate) seen: Vec<String>,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.child.as_ref().unwrap().id().cast_signed()
    }

    /// Waits for a line of stderr that holds `text`, and returns it.
    pub(crate) fn waits_for(&mut self, text: &str) -> String {
        self.waits_for_nth(text, 1)
    }

    /// Waits until `count` lines of all that stderr has had hold `text`; returns the last of them.
    pub(crate) fn waits_for_nth(&mut self, text: &str, count: usize) -> String {
        let start = Instant::now();
        loop {
            let mut found = self.seen.iter().filter(|line| line.contains(text));
            if let Some(line) = found.nth(count - 1) {
                return line.clone();
            }
            match self
                .lines
                .recv_timeout(DEADLINE.saturating_sub(start.elapsed()))
            {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!(
                        "waited in vain for {count} of {text:?} among {:#?}",
                        self.seen
                    )
                }
            }
        }
    }

    /// The next line of stdout as a port.
    pub(crate) fn port(&mut self) -> u16 {
        let line = self.stdout.recv_timeout(DEADLINE).unwrap_or_default();
        line.parse()
            .unwrap_or_else(|_| panic!("no port: {line:?}, {:#?}", self.seen))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Stops it as a debugger does, has `work` done, and lets it go on: what came meanwhile is all there at once.
    pub(crate) fn while_stopped<T>(&self, work: impl FnOnce() -> T) -> T {
        self.signal(Signal::SIGSTOP);
        eventually("a stop", || {
            self.field("State").starts_with('T').then_some(())
        });
        let done = work();
        self.signal(Signal::SIGCONT);
        done
    }

    /// The status line, asked for with USR1: `2/40 accepted 3 denied 0 failed 0`.
    pub(crate) fn status(&mut self) -> String {
        let already = self
            .seen
            .iter()
            .filter(|line| line.contains("info: status "))
            .count();
        // Lines that were sent but not read yet are no answers to this request.
        while let Ok(line) = self.lines.try_recv() {
            self.seen.push(line);
        }
        self.signal(Signal::SIGUSR1);
        let line = self.waits_for_nth("info: status ", already + 1);
        line.split_once("info: status ").unwrap().1.to_owned()
    }

    /// The pids of its children, from /proc.
    pub(crate) fn children(&self) -> Vec<i32> {
        children_of(self.pid())
    }

    /// A field of /proc/PID/status.
    pub(crate) fn field(&self, name: &str) -> String {
        field(self.pid(), name).unwrap_or_default()
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Waits until it has so many descriptors. A client hears of the end before its connection is closed, and at the end of
    /// a program, or at HUP, skd has one more for a moment.
    pub(crate) fn comes_to_have(&self, descriptors: usize) {
        eventually("so many descriptors", || {
            (self.descriptors() == descriptors).then_some(())
        });
    }

    /// Waits until it has no child.
    pub(crate) fn is_alone(&self) {
        eventually("no child", || self.children().is_empty().then_some(()));
    }

    /// TERM, and what it left: the exit code must be 0.
    pub(crate) fn stop(self) -> Outcome {
        self.signal(Signal::SIGTERM);
        let outcome = self.ends();
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        outcome
    }

    /// TERM; the exit code must be 0. Returns what is left on stdout.
    pub(crate) fn stop_and_read_stdout(self) -> String {
        self.signal(Signal::SIGTERM);
        let rest: String = self.stdout.iter().map(|line| line + "\n").collect();
        let outcome = self.ends();
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        rest
    }

    /// Waits for its end; `stderr` is everything it ever said.
    pub(crate) fn ends(mut self) -> Outcome {
        let mut child = self.child.take().unwrap();
        let code = code(wait(&mut child));
        let mut seen = std::mem::take(&mut self.seen);
        // Children that live on may hold stderr open; what skd itself wrote is there already.
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(50)) {
            seen.push(line);
        }
        let mut stderr = seen.join("\n");
        stderr.push('\n');
        Outcome {
            code,
            stdout: String::new(),
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            for pid in children_of(child.id().cast_signed()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A field of /proc/PID/status, `None` if the process is gone.
pub(crate) fn field(pid: i32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(other, _)| *other == name)
        .map(|(_, value)| value.trim().to_owned())
}
