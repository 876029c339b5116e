//! What happens to the skds while clients come and go.

use crate::eventually;
use crate::instance::Instance;
use crate::logs::{Syslogd, taker};
use crate::round::{File, Syslog};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What one round has in store for the skd that logs to syslog.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Syslogs {
    /// Restarts of syslogd.
    Restarts,
    /// No syslogd from the beginning of the round to its end.
    Away,
    /// Restarts, and loggers killed with lines in their hands.
    Killed,
}

impl Syslogs {
    pub(crate) fn of(round: u64) -> Self {
        match round % 10 {
            3 => Self::Away,
            7 => Self::Killed,
            _ => Self::Restarts,
        }
    }
}

/// Between one trouble and the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Reloads, upgrades and kills until the round is over.
pub(crate) fn of_file(
    file: &mut File,
    with_upgrades: bool,
    over: &AtomicBool,
    mut chance: u64,
) -> Result<(), String> {
    for step in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        match step % 4 {
            0 => file.skd.reload(),
            2 if with_upgrades => file.skd.upgrade(),
            _ => {
                for signal in [Signal::SIGKILL, Signal::SIGTERM] {
                    chance = crate::round::next(chance);
                    file.held
                        .kill_one(&file.skd, &file.clients, chance, signal)?;
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Reloads, upgrades, and trouble with the log until the round is over.
pub(crate) fn of_syslog(
    syslog: &mut Syslog,
    with_upgrades: bool,
    kind: Syslogs,
    over: &AtomicBool,
) -> Result<(), String> {
    if kind == Syslogs::Away {
        syslog.stop();
    }
    for step in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        match step % 4 {
            0 => syslog.skd.reload(),
            2 if with_upgrades => syslog.skd.upgrade(),
            1 if kind != Syslogs::Away => {
                syslog.stop();
                std::thread::sleep(PAUSE);
                syslog.start();
                syslog.restarts += 1;
            }
            3 if kind == Syslogs::Killed && step % 40 == 3 => syslog.kill_logger()?,
            _ => {}
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

impl Syslog {
    pub(crate) fn start(&mut self) {
        if self.syslogd.is_none() {
            self.syslogd = Some(Syslogd::start(taker(&self.skd)));
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(syslogd) = self.syslogd.take() {
            syslogd.stop();
        }
    }

    /// By KILL, since it heeds nothing else; waits until there is another.
    pub(crate) fn kill_logger(&mut self) -> Result<(), String> {
        let [old] = loggers(&self.skd)[..] else {
            return Err(format!("there is one logger: {:?}", loggers(&self.skd)));
        };
        kill(Pid::from_raw(old), Signal::SIGKILL).map_err(|errno| format!("kill: {errno}"))?;
        self.killed += 1;
        eventually("another logger", || {
            let now = loggers(&self.skd);
            (now.len() == 1 && now != [old]).then_some(())
        });
        Ok(())
    }
}

/// The loggers of an skd.
fn loggers(skd: &Arc<Instance>) -> Vec<i32> {
    let processes = processes();
    let ours = processes
        .into_iter()
        .filter(|process| process.parent == skd.pid.as_raw());
    ours.filter(|process| process.name == "skd-logger")
        .map(|process| process.pid)
        .collect()
}

/// A process of this namespace.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) parent: i32,
}

/// All processes there are.
pub(crate) fn processes() -> Vec<Process> {
    let all = std::fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        // PID (NAME) STATE PARENT ...
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (front, back) = stat.rsplit_once(") ")?;
        let mut words = back.split(' ');
        Some(Process {
            pid,
            name: front.split_once('(')?.1.to_owned(),
            state: words.next()?.to_owned(),
            parent: words.next()?.parse().ok()?,
        })
    })
    .collect()
}
