//! A /dev of a test's own, and what listens on its /dev/log; tests/real/with-syslog makes both.

use crate::kit::{DEADLINE, Folder, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/with-syslog");

/// A mount namespace with its own /dev. Every process that is still in it is killed when this is dropped.
pub(crate) struct Dev {
    holder: Child,
    folder: Folder,
}

/// A real syslogd that runs there.
pub(crate) struct Syslogd<'a> {
    dev: &'a Dev,
    kind: &'static str,
    child: Child,
}

impl Dev {
    pub(crate) fn new() -> Self {
        let mut command = Command::new(SCRIPT);
        command.args(["dev", "sh", "-c", "echo; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let stdout = holder.stdout.as_mut().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        let folder = Folder::new();
        // Who is not root may go through it, to files that it knows by name.
        std::fs::set_permissions(folder.path(""), Permissions::from_mode(0o711)).unwrap();
        Self { holder, folder }
    }

    /// The words that enter the namespace and become the command behind them.
    pub(crate) fn enter(&self) -> String {
        format!("nsenter --mount --target {}", self.holder.id())
    }

    /// The path of a file in a folder that is removed with this.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    /// The path of its /dev/log as the test sees it.
    fn log(&self) -> String {
        format!("/proc/{}/root/dev/log", self.holder.id())
    }

    /// The test itself in place of syslogd.
    pub(crate) fn datagrams(&self) -> UnixDatagram {
        let socket = UnixDatagram::bind(self.log()).unwrap();
        std::fs::set_permissions(self.log(), Permissions::from_mode(0o666)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    /// The same where one has been left behind.
    pub(crate) fn datagrams_again(&self) -> UnixDatagram {
        std::fs::remove_file(self.log()).unwrap();
        self.datagrams()
    }

    /// The same with a stream socket.
    pub(crate) fn streams(&self) -> UnixListener {
        let socket = UnixListener::bind(self.log()).unwrap();
        std::fs::set_permissions(self.log(), Permissions::from_mode(0o666)).unwrap();
        socket
    }

    /// A syslogd, `rsyslog` or `busybox`, that has begun to listen.
    pub(crate) fn syslogd(&self, kind: &'static str) -> Syslogd<'_> {
        let enter = self.enter();
        let mut words = enter.split(' ').chain([SCRIPT, kind]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(self.path(kind));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).env_remove("LISTEN_FDS");
        let child = command.spawn().unwrap();
        eventually("syslogd listens", || {
            let socket = UnixDatagram::unbound().unwrap();
            socket.connect(self.log()).ok()
        });
        Syslogd {
            dev: self,
            kind,
            child,
        }
    }

    /// The pids of all processes in it.
    fn processes(&self) -> Vec<i32> {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let ours = namespace(&self.holder.id().to_string());
        let all = std::fs::read_dir("/proc").unwrap();
        all.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|pid| ours.is_some() && namespace(pid) == ours)
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// The pids of the loggers in it.
    pub(crate) fn loggers(&self) -> Vec<i32> {
        let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
        let mut all = self.processes();
        all.retain(|pid| name(pid).is_ok_and(|name| name == "skd-logger\n"));
        all
    }

    /// The pid of the only logger in it, once it has settled.
    pub(crate) fn logger(&self) -> i32 {
        eventually("one logger", || match self.loggers()[..] {
            [pid] => Some(pid),
            _ => None,
        })
    }

    /// Waits until no logger is left.
    pub(crate) fn has_no_logger(&self) {
        eventually("no logger", || self.loggers().is_empty().then_some(()));
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.holder.wait();
    }
}

/// The next message that the test gets in place of syslogd.
pub(crate) fn hear(socket: &UnixDatagram) -> String {
    let mut heard = [0; 65536];
    let len = socket.recv(&mut heard).unwrap();
    String::from_utf8(heard[..len].to_vec()).unwrap()
}

impl Syslogd<'_> {
    /// What it has logged so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read(self.dev.path(self.kind)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for a line that ends so, and returns it.
    pub(crate) fn logs(&self, end: &str) -> String {
        self.logs_some(end, |line| line.ends_with(end))
    }

    /// Waits for a line of which this is true, and returns it.
    pub(crate) fn logs_some(&self, what: &str, is_it: impl Fn(&String) -> bool) -> String {
        eventually(&format!("{} logs {what:?}", self.kind), || {
            let mut lines = self.lines();
            // The last line may not be whole yet.
            let is_whole = std::fs::read(self.dev.path(self.kind)).ok()?.last() == Some(&b'\n');
            if !is_whole {
                lines.pop();
            }
            lines.into_iter().find(&is_it)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Ends it in this way, and waits until it has ended.
    pub(crate) fn ends_by(mut self, signal: Signal) {
        self.signal(signal);
        let _ = self.child.wait();
    }
}

impl Drop for Syslogd<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
