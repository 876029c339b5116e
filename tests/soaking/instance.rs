//! A skd that serves all kinds of sockets, and everything that an administrator does to it.

use crate::ledger::{Ledger, Seen};
use crate::net;
use crate::{FOLDER, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What somebody beyond -C hears.
pub(crate) const REFUSAL: &str = "come back later\r\n";
/// -C: how many connections one source may have.
pub(crate) const PER_SOURCE: u64 = 4;

/// The ports are this far behind the first.
pub(crate) mod port {
    pub(crate) const TCP: u16 = 0;
    pub(crate) const UDP: u16 = 1;
    pub(crate) const NOWAIT: u16 = 10;
    pub(crate) const WAIT: u16 = 11;
    pub(crate) const ECHO: u16 = 12;
    pub(crate) const ECHO_UDP: u16 = 13;
    pub(crate) const MISSING: u16 = 14;
    /// Served in every other generation.
    pub(crate) const SOMETIMES: u16 = 15;
}

pub(crate) struct Instance {
    pub(crate) name: &'static str,
    pub(crate) base: u16,
    child: Mutex<Child>,
    pub(crate) pid: Pid,
    /// What clients met, and what is in the log.
    pub(crate) expected: Mutex<Ledger>,
    pub(crate) seen: Mutex<Seen>,
    /// The generation of rules and services, twice; odd while it changes.
    generation: AtomicU64,
    manager: UnixDatagram,
    /// Odd while an upgrade is on its way.
    pub(crate) replacing: AtomicU64,
    /// How often it was done.
    pub(crate) reloads: AtomicU64,
    pub(crate) upgrades: AtomicU64,
    pub(crate) rotations: AtomicU64,
}

/// What a moment costs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) dirty_kb: u64,
    pub(crate) rss_kb: u64,
    pub(crate) fds: usize,
    /// Descriptors of the thread that has a table of its own.
    pub(crate) reaper_fds: usize,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Instance {
    /// With its log there, which is a word for -L.
    pub(crate) fn start(name: &'static str, base: u16, log: &str) -> Self {
        let at = |what: &str| format!("{FOLDER}/{name}.{what}");
        fs::copy(format!("{FOLDER}/skd-0"), at("skd")).unwrap();
        write_files(name, base, 0);
        let manager = UnixDatagram::bind(at("notify")).unwrap();
        manager.set_read_timeout(Some(crate::DEADLINE)).unwrap();
        let mut command = Command::new(at("skd"));
        command.args([
            "-v",
            "-L",
            log,
            "-P",
            &at("pid"),
            "--metrics",
            &at("metrics"),
        ]);
        command.args(["-C", &PER_SOURCE.to_string(), "-r", r"come back later\r\n"]);
        command.args(["--rules", &at("rules"), "--inetd-conf", &at("inetd.conf")]);
        command.args(["--proxy-from", "127.9.0.0/16", "--proxy-timeout", "60"]);
        command.args(["-t", &base.to_string(), "-l", &at("sock"), "--mode", "0666"]);
        command.args(["-u", &format!("127.0.0.1:{}", base + port::UDP)]);
        command.arg(format!("{FOLDER}/handler"));
        command.env_remove("SOAK");
        command
            .env("NOTIFY_SOCKET", at("notify"))
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let instance = Self {
            name,
            base,
            pid: Pid::from_raw(child.id().cast_signed()),
            child: Mutex::new(child),
            expected: Mutex::default(),
            seen: Mutex::default(),
            generation: AtomicU64::new(0),
            manager,
            replacing: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            upgrades: AtomicU64::new(0),
            rotations: AtomicU64::new(0),
        };
        instance.is_ready("its start");
        instance
    }

    pub(crate) fn path(&self, what: &str) -> String {
        format!("{FOLDER}/{}.{what}", self.name)
    }

    pub(crate) fn port(&self, behind: u16) -> u16 {
        self.base + behind
    }

    /// What the log calls the listener of this port.
    pub(crate) fn label(&self, behind: u16) -> String {
        let number = self.port(behind);
        match behind {
            port::TCP => format!("tcp:[::]:{number}"),
            port::UDP | port::ECHO_UDP => format!("udp:127.0.0.1:{number}"),
            _ => format!("tcp:127.0.0.1:{number}"),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// Waits until skd has told its manager so, after what was asked of it.
    fn is_ready(&self, asked: &str) {
        let mut heard = [0; 4096];
        loop {
            let len = self.manager.recv(&mut heard).unwrap_or_else(|error| {
                panic!(
                    "{} does not tell that it is ready after {asked}: {error}",
                    self.name
                )
            });
            if heard[..len].starts_with(b"READY=1\n") {
                return;
            }
        }
    }

    /// Throws away what was told since, so that the buffer of the manager does not fill up.
    fn forget_notices(&self) {
        self.manager.set_nonblocking(true).unwrap();
        while self.manager.recv(&mut [0; 4096]).is_ok() {}
        self.manager.set_nonblocking(false).unwrap();
    }

    /// The generation, twice; what is asked of an odd one may get either answer.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// HUP with other rules, other services and, where that is a file, another log.
    pub(crate) fn reload(&self) {
        let next = self.generation.fetch_add(1, Ordering::SeqCst).div_ceil(2) + 1;
        write_files(self.name, self.base, next);
        let rotated = self.path(&format!("log.{}", self.rotations.load(Ordering::SeqCst)));
        if fs::rename(self.path("log"), rotated).is_ok() {
            self.rotations.fetch_add(1, Ordering::SeqCst);
        }
        self.forget_notices();
        self.signal(Signal::SIGHUP);
        self.is_ready("HUP");
        self.generation.store(2 * next, Ordering::SeqCst);
        self.reloads.fetch_add(1, Ordering::SeqCst);
    }

    /// USR2 with the other copy of the binary at its path.
    pub(crate) fn upgrade(&self) {
        let which = (self.upgrades.load(Ordering::SeqCst) + 1) % 2;
        fs::copy(format!("{FOLDER}/skd-{which}"), self.path("new")).unwrap();
        fs::rename(self.path("new"), self.path("skd")).unwrap();
        let inode = fs::metadata(self.path("skd")).unwrap().ino();
        self.forget_notices();
        self.replacing.fetch_add(1, Ordering::SeqCst);
        self.signal(Signal::SIGUSR2);
        self.is_ready("USR2");
        self.replacing.fetch_add(1, Ordering::SeqCst);
        let running = fs::metadata(format!("/proc/{}/exe", self.pid))
            .unwrap()
            .ino();
        assert_eq!(running, inode, "{} is the new binary", self.name);
        self.upgrades.fetch_add(1, Ordering::SeqCst);
    }

    /// What /metrics tells, by name and labels.
    pub(crate) fn scrape(&self) -> Result<HashMap<String, f64>, String> {
        let mut conn = net::unix(&self.path("metrics"), 0)?;
        conn.say(b"GET /metrics HTTP/1.1\r\nHost: soak\r\n\r\n")?;
        let answer = String::from_utf8_lossy(&conn.rest()?).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
        let length = format!("Content-Length: {}", body.len());
        if !head.starts_with("HTTP/1.1 200 OK") || !head.contains(&length) {
            return Err(format!("not the whole metrics: {head}"));
        }
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(body.lines().filter_map(sample).collect())
    }

    /// The sum over all listeners.
    pub(crate) fn total(metrics: &HashMap<String, f64>, name: &str) -> u64 {
        let some = metrics.iter().filter(|(key, _)| key.starts_with(name));
        some.map(|(_, value)| *value as u64).sum()
    }

    /// A status line, before which everything is in the log that was written there.
    pub(crate) fn status(&self, read_log: &mut dyn FnMut()) -> String {
        let before = locked(&self.seen).status.0;
        self.signal(Signal::SIGUSR1);
        eventually(&format!("{} tells its status", self.name), || {
            read_log();
            let (count, line) = locked(&self.seen).status.clone();
            (count > before).then_some(line)
        })
    }

    pub(crate) fn footprint(&self) -> Footprint {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap();
        let kb = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .unwrap()
        };
        let count = |path: String| fs::read_dir(path).map_or(0, Iterator::count);
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        let others = tasks
            .filter_map(|task| task.ok()?.file_name().into_string().ok())
            .filter(|task| *task != self.pid.to_string());
        // Whoever read the metrics last may not be let go of yet.
        let own = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            count(format!("/proc/{}/fd", self.pid))
        };
        Footprint {
            dirty_kb: kb("Private_Dirty:"),
            rss_kb: kb("Rss:"),
            fds: (0..5).map(|_| own()).min().unwrap_or_default(),
            reaper_fds: others
                .map(|task| count(format!("/proc/{}/task/{task}/fd", self.pid)))
                .sum(),
        }
    }

    /// TERM, and what it exits with.
    pub(crate) fn stop(&self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        eventually(&format!("{} ends", self.name), || {
            locked(&self.child).try_wait().unwrap()
        })
        .code()
    }
}

/// The rules and services of a generation.
fn write_files(name: &str, base: u16, generation: u64) {
    let at = |what: &str| format!("{FOLDER}/{name}.{what}");
    let (sometimes, user) = match generation % 2 {
        0 => ("deny", "nobody"),
        _ => ("allow", "root"),
    };
    let rules = format!(
        "127.2.:deny\n192.0.2.:deny\n127.3.:allow,SOAK=\"{generation}\"\n127.4.:{sometimes}\n:allow\n"
    );
    let mut services = String::new();
    let mut serve = |behind: u16, kind: &str, user: &str, program: &str| {
        services += &format!("127.0.0.1:{} {kind} {user} {program}\n", base + behind);
    };
    let handler = format!("{FOLDER}/handler");
    serve(
        port::NOWAIT,
        "stream tcp nowait",
        user,
        &format!("{handler} handler"),
    );
    serve(
        port::WAIT,
        "stream tcp wait",
        "root",
        &format!("{handler} handler accept"),
    );
    serve(port::ECHO, "stream tcp nowait", "root", "internal echo");
    serve(port::ECHO_UDP, "dgram udp wait", "root", "internal echo");
    serve(
        port::MISSING,
        "stream tcp nowait",
        "root",
        "/nowhere/at/all missing",
    );
    if generation % 2 == 1 {
        serve(
            port::SOMETIMES,
            "stream tcp nowait",
            "root",
            &format!("{handler} handler"),
        );
    }
    // Renamed, so that nobody reads a half of it.
    for (what, text) in [("rules", rules), ("inetd.conf", services)] {
        fs::write(at("half"), text).unwrap();
        fs::rename(at("half"), at(what)).unwrap();
    }
}

/// What a generation says: the value of SOAK, whether the doubtful are let in and the sometimes service is there, and
/// the user of the nowait service.
pub(crate) struct Says {
    pub(crate) soak: u64,
    pub(crate) allows: bool,
    pub(crate) uid: u32,
}

pub(crate) fn says(doubled: u64) -> Says {
    let soak = doubled / 2;
    let allows = soak % 2 == 1;
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten();
    let nobody = nobody.map_or(65534, |user| user.uid.as_raw());
    Says {
        soak,
        allows,
        uid: if allows { 0 } else { nobody },
    }
}
