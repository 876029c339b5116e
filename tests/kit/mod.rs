//! Starts the real skd, talks to it over real sockets, and reads what it says.

pub(crate) mod daemon;
pub(crate) mod group;
pub(crate) mod haproxy;
pub(crate) mod need;
pub(crate) mod net;
pub(crate) mod s6;
pub(crate) mod seccomp;
pub(crate) mod skd;
pub(crate) mod sockets;
pub(crate) mod strace;
pub(crate) mod syslog;
pub(crate) mod systemd;
#[cfg_attr(
    not(feature = "top"),
    allow(dead_code, reason = "skd-top's tests use more of it")
)]
pub(crate) mod tmux;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// No event that a test waits for takes longer, however busy the machine is; under a tool that makes skd slow, which
/// tests/sanitize builds the tests for, more is allowed.
pub(crate) const DEADLINE: Duration = match option_env!("SKD_TEST_SLOW") {
    None => Duration::from_secs(30),
    Some(_) => Duration::from_secs(300),
};

/// The program that tests run as PROG: tests/kit/probe.rs.
pub(crate) fn probe() -> String {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/probe");
    assert!(path.exists(), "{path:?} is built by cargo test");
    path.into_os_string().into_string().unwrap()
}

/// A folder of its own for one test, removed when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skd-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().unwrap()
    }

    /// Writes an executable shell script and returns its path.
    pub(crate) fn script(&self, name: &str, body: &str) -> String {
        let path = self.path(name);
        executable(&path, &format!("#!/bin/sh\n{body}\n"));
        path
    }

    /// Copies a program there and returns its path: others may run it, wherever the project lies. By a process of its
    /// own, as `executable` does.
    pub(crate) fn copy(&self, program: &str, name: &str) -> String {
        let path = self.path(name);
        let copied = std::process::Command::new("cp")
            .args([program, &path])
            .status();
        assert!(copied.unwrap().success(), "{path}");
        path
    }
}

/// Writes an executable file, by a process of its own: one that this process has open for writing could not be executed
/// (ETXTBSY) as long as a process that another test is just starting has a copy of the descriptor.
pub(crate) fn executable(path: &str, text: &str) {
    let script = "printf %s \"$2\" > \"$1\" && chmod 755 \"$1\"";
    let written = std::process::Command::new("sh")
        .args(["-c", script, "sh", path, text])
        .status();
    assert!(written.unwrap().success(), "{path}");
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Looks again and again until `look` has an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        // There is no event to wait for: what is looked at is the kernel's or another process's state.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Makes a folder to be used as a root, in which there is busybox as `/bin/sh` and `/bin/cat`, with what it needs, and
/// nothing else.
pub(crate) fn jail(path: &str) {
    std::fs::create_dir_all(format!("{path}/tmp")).unwrap();
    for name in ["/bin/sh", "/bin/cat"] {
        put_in_jail(path, "busybox", name);
    }
}

/// Puts a program into such a folder, under this path there, with the libraries that it needs.
pub(crate) fn put_in_jail(path: &str, program: &str, name: &str) {
    let script = r#"
        program=$(command -v "$2")
        mkdir -p "$1${3%/*}"
        cp "$program" "$1$3"
        for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
            mkdir -p "$1${library%/*}"
            cp "$library" "$1$library"
        done
        chmod -R go+rX "$1""#;
    let mut shell = std::process::Command::new("sh");
    let words = ["-ec", script, "sh", path, program, name];
    assert!(shell.args(words).status().unwrap().success());
}

/// A wrapper that gives skd files of its own in /etc: `FILE` is what becomes /etc/FILE.
pub(crate) fn own_etc(folder: &Folder, files: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, text) in files {
        let path = folder.path(name);
        std::fs::write(&path, text).unwrap();
        body += &format!("mount --bind {path} /etc/{name} || exit 99\n");
    }
    let script = folder.script("own-etc", &format!("{body}exec \"$@\""));
    format!("unshare --mount {script}")
}

/// The lines of probe's report that begin with this word, without it.
pub(crate) fn facts<'a>(report: &'a str, word: &str) -> Vec<&'a str> {
    report
        .lines()
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
        .collect()
}

/// The variables of a report that speak of sockets, connections or managers, one a word.
pub(crate) fn told(report: &str) -> String {
    const ABOUT: &str = "PROTO TCP UDP UNIX IPC PEER REMOTE PROXY SSL_ \
                         LISTEN S6_ FDSTORE NOTIFY WATCHDOG JOURNAL_STREAM";
    let mut variables = facts(report, "env");
    // What a machine says of the certificates that it trusts is no such variable.
    variables.retain(|text| {
        let is_about = ABOUT.split(' ').any(|name| text.starts_with(name));
        is_about && !text.starts_with("SSL_CERT_")
    });
    variables.join(" ")
}

/// The report has descriptors 0 and 1, one blocking socket; 2, another file; and no more. Returns that socket.
pub(crate) fn holds_one_socket(report: &str) -> String {
    let fds = facts(report, "fd");
    let numbered: Vec<_> = fds.iter().filter_map(|fd| fd.split_once(' ')).collect();
    let [("0", stdin), ("1", stdout), ("2", stderr)] = numbered[..] else {
        panic!("{fds:#?}");
    };
    assert!(stdin == stdout && stdin != stderr, "{fds:#?}");
    let socket = stdin.strip_suffix(" blocking").unwrap();
    assert!(socket.starts_with("socket:["), "{socket}");
    socket.to_owned()
}

/// Which file a descriptor of ours is, as a report shows it.
pub(crate) fn file_of(fd: &impl std::os::fd::AsRawFd) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    link.into_os_string().into_string().unwrap()
}

/// The labels of the listeners that the log tells of, in its order.
pub(crate) fn listens(stderr: &str) -> Vec<&str> {
    stderr
        .lines()
        .filter_map(|line| line.strip_prefix("skd: info: listen "))
        .collect()
}

/// skd ended so: with nothing on stdout, and this one line on stderr.
pub(crate) fn ended(outcome: &skd::Outcome, code: i32, line: &str) {
    let (stdout, stderr) = (outcome.stdout.as_str(), outcome.stderr.as_str());
    assert_eq!(
        (outcome.code, stdout, stderr),
        (code, "", format!("skd: {line}\n").as_str())
    );
}

/// skd starts and ends so.
pub(crate) fn fails(skd: skd::Skd, code: i32, line: &str) {
    ended(&skd.outcome(), code, line);
}

/// skd is stopped, and these ports of 127.0.0.1 are all that it ever listened on.
pub(crate) fn listened(skd: skd::Running, ports: &[u16]) {
    let stderr = skd.stop().stderr;
    let labels = ports.iter().map(|port| format!("tcp:127.0.0.1:{port}"));
    assert_eq!(listens(&stderr), labels.collect::<Vec<_>>(), "{stderr}");
}

/// skd that answers each connection with probe's report.
pub(crate) fn reporting(words: &str) -> skd::Skd {
    skd::Skd::new(words).word(probe()).word("report")
}

/// skd whose PROG is the probe with these words.
pub(crate) fn probing(options: &str, words: &str) -> skd::Skd {
    let skd = skd::Skd::new(options).word(probe());
    words.split(' ').fold(skd, skd::Skd::word)
}

/// A real s6-fdholder-daemon, ended when dropped.
pub(crate) struct FdHolder {
    daemon: std::process::Child,
    pub(crate) path: String,
    _folder: Folder,
}

impl FdHolder {
    /// Ready, and with every right for us.
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let user = folder.path(&format!("rules/uid/{}", nix::unistd::geteuid()));
        std::fs::create_dir_all(format!("{user}/env")).unwrap();
        std::fs::create_dir(folder.path("rules/gid")).unwrap();
        std::fs::write(format!("{user}/allow"), "").unwrap();
        for right in ["STORE_REGEX", "RETRIEVE_REGEX", "GETDUMP"] {
            std::fs::write(format!("{user}/env/S6_FDHOLDER_{right}"), ".\n").unwrap();
        }
        let path = folder.path("holder");
        let mut daemon = std::process::Command::new("s6-fdholder-daemon")
            .args(["-1", "-i", &folder.path("rules"), &path])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut newline = [0];
        std::io::Read::read_exact(daemon.stdout.as_mut().unwrap(), &mut newline).unwrap();
        Self {
            daemon,
            path,
            _folder: folder,
        }
    }

    pub(crate) fn store(&self, id: &str, fd: impl Into<std::os::fd::OwnedFd>) {
        let mut store = std::process::Command::new("s6-fdholder-store");
        let store = store.args([&self.path, id]).stdin(fd.into()).status();
        assert!(store.unwrap().success(), "{id}");
    }
}

impl Drop for FdHolder {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
