//! Without sockets: one program that is started again whenever it ends, and signals passed on to it.

use crate::daemon::pidfile::PidFile;
use crate::daemon::words::Words;
use crate::listen::ReadyFd;
use crate::model::error::Fatal;
use crate::model::event::{Event, Trouble, Warning};
use crate::report::log::Log;
use crate::serve::REST;
use crate::serve::children::how_of;
use crate::serve::generations::SWEEP;
use crate::serve::listening::Listenings;
use crate::serve::notices::{self, Notices};
use crate::sys::errno::Errno;
use crate::sys::poll::{self, Poll, Watch};
use crate::sys::process::{self, Status};
use crate::sys::program::Program;
use crate::sys::signal::{self, Taken};
use crate::sys::spawn::Spawner;
use crate::sys::stderr::Stderr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A program that lived no longer than this has died young.
const YOUNG: Duration = Duration::from_secs(5);
/// The first pause after a young death; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the first start may take to become PROG. If it takes longer skd goes on, so that it hears signals again, and
/// a failure is told as it would be of a later start.
const FIRST_EXEC: Duration = Duration::from_secs(5);
/// How long a program may take to end when it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// The pauses between one end and the next start; pure, given how long the program lived.
#[derive(Debug, Default)]
struct Pauses {
    last: Duration,
}

impl Pauses {
    /// How long to wait before the next start.
    fn after(&mut self, lasted: Duration) -> Duration {
        self.last = if lasted >= YOUNG {
            Duration::ZERO
        } else {
            (self.last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
        };
        self.last
    }
}

/// What the program is doing.
enum State {
    Running { pid: i32, since: Instant },
    Resting { until: Instant },
}

/// skd while it supervises.
pub(crate) struct Supervisor {
    program: Rc<Program>,
    /// PROG as the user called it, in quotes.
    prog: String,
    spawner: Spawner,
    poll: Poll,
    signals: Taken,
    state: State,
    pauses: Pauses,
    /// When a program that was asked to end is killed; then skd ends too.
    kill_at: Option<Instant>,
    /// When whoever has ended is looked for again, because the kernel had no word.
    reap_at: Option<Instant>,
    log: Log,
    words: Words,
    notices: Notices,
    pidfile: Option<PidFile>,
}

impl Supervisor {
    /// Starts the program for the first time and waits for FIRST_EXEC at most until it runs. The signals must have been
    /// blocked before; `mask` is what the program is to have blocked.
    ///
    /// # Errors
    /// 111: no process could be had, or PROG cannot be executed.
    pub(crate) fn start(
        (program, prog): (Rc<Program>, String),
        mask: u64,
        (log, words, notices): (Log, Words, Notices),
        pidfile: Option<PidFile>,
    ) -> Result<Self, Fatal> {
        let unable = |errno: Errno| Fatal::unable("start supervising", errno);
        let poll = Poll::new().map_err(unable)?;
        let signals = Taken::new(signal::SUPERVISING).map_err(unable)?;
        poll.add(&signals, 0, Watch::Alone).map_err(unable)?;
        let spawner = Spawner::new(signal::Signals::as_before(mask), None).map_err(unable)?;
        let (state, pauses) = (
            State::Resting {
                until: Instant::now(),
            },
            Pauses::default(),
        );
        let mut it = Self {
            program,
            prog,
            spawner,
            poll,
            signals,
            state,
            pauses,
            kill_at: None,
            reap_at: None,
            log,
            words,
            notices,
            pidfile,
        };
        // The program's stderr is the log from its first word on, but trouble now is the caller's to hear of.
        let before = it.words.begin()?;
        let pid = it
            .spawn()
            .map_err(|errno| Fatal::unable(format!("start {}", it.prog), errno));
        let started = pid.and_then(|pid| match it.spawner.wait_for_exec(pid, FIRST_EXEC) {
            None => Ok(pid),
            Some(errno) => {
                let reason = it.program.reason(errno);
                Err(Fatal::unable(format!("run {}", it.prog), reason))
            }
        });
        match started {
            Ok(pid) => {
                if !it.words.are_inherited() {
                    it.log.redirect(false, Box::new(Stderr::new()));
                }
                it.started(pid);
            }
            Err(fatal) => {
                // What cannot be told there is told nowhere.
                let _ = crate::sys::fd::replace_standard(2, std::os::fd::AsFd::as_fd(&before));
                return Err(fatal);
            }
        }
        Ok(it)
    }

    /// The program runs, and so does skd; `is_other` says that a manager knows another process.
    pub(crate) fn tell_readiness(&mut self, is_other: bool, ready: Option<(ReadyFd, OwnedFd)>) {
        self.notices.ready(is_other.then(process::own_pid), None);
        self.notices.finish(&mut Listenings::default());
        if let Some(errno) = notices::tell_readiness(ready, &mut self.log) {
            self.warn(format!("unable to tell of readiness: {errno}"));
        }
    }

    fn spawn(&mut self) -> Result<i32, Errno> {
        let vacancy = self.spawner.vacancy().ok_or(Errno::AGAIN)?;
        vacancy.spawn_plain(&self.program)
    }

    fn started(&mut self, pid: i32) {
        let now = Instant::now();
        self.state = State::Running { pid, since: now };
        self.log.tell(
            &Event::Started {
                prog: &self.prog,
                pid,
            },
            now,
        );
    }

    /// Supervises until it is asked to end and the program has ended.
    pub(crate) fn run(mut self) {
        // Who had ended before skd listened for SIGCHLD has told nobody.
        let mut is_over = self.reap();
        while !is_over {
            is_over = self.turn();
        }
        self.notices.finish(&mut Listenings::default());
        if let Some(pidfile) = self.pidfile.take() {
            let deed = format!("unable to remove the pid file {}", pidfile.shown());
            if let Err(errno) = pidfile.remove() {
                let text = format!("{deed}: {errno}");
                self.log.tell(&Event::Loss(text), Instant::now());
            }
        }
        self.log.close();
    }

    /// One wake-up; returns whether it was the last.
    fn turn(&mut self) -> bool {
        let timeout = self
            .due()
            .map(|due| due.saturating_duration_since(Instant::now()));
        if let Err(errno) = self.poll.wait(timeout) {
            self.warn(format!("unable to wait for events: {errno}"));
            let _ = poll::wait_readable(&self.signals, None, Some(REST));
        }
        while let Some(number) = self.signals.next_number() {
            if self.obey(number) {
                return true;
            }
        }
        let now = Instant::now();
        if self.reap_at.is_some_and(|at| at <= now) && self.reap() {
            return true;
        }
        match self.state {
            State::Resting { until } if until <= now => self.start_again(now),
            State::Running { pid, .. } if self.kill_at.is_some_and(|at| at <= now) => {
                self.kill_at = Some(now + GRACE);
                process::send(pid, process::KILL);
            }
            State::Resting { .. } | State::Running { .. } => {}
        }
        if self.log.due().is_some_and(|due| due <= now) {
            self.log.catch_up(now);
        }
        if self.words.due().is_some_and(|due| due <= now) {
            let text = self.words.restart_logger();
            self.warn(text);
        }
        self.notices
            .catch_up(now, || None, &mut Listenings::default());
        false
    }

    fn due(&self) -> Option<Instant> {
        let own = match self.state {
            State::Resting { until } => Some(until),
            State::Running { .. } => self.kill_at,
        };
        own.into_iter()
            .chain(self.reap_at)
            .chain(self.log.due())
            .chain(self.words.due())
            .chain(self.notices.due())
            .min()
    }

    fn start_again(&mut self, now: Instant) {
        match self.spawn() {
            Ok(pid) => self.started(pid),
            Err(errno) => {
                let pause = self.pauses.after(Duration::ZERO);
                self.state = State::Resting { until: now + pause };
                self.warn(format!("unable to start {}: {errno}", self.prog));
            }
        }
    }

    /// Does what a signal asks for; returns whether skd is to end now.
    fn obey(&mut self, number: i32) -> bool {
        if number == process::CHILD {
            return self.reap();
        }
        if number == process::HANGUP {
            self.reopen_log();
        }
        let asks_to_end = process::ENDING.contains(&number);
        if asks_to_end && self.kill_at.is_none() {
            self.notices.stopping();
        }
        match self.state {
            State::Resting { .. } => asks_to_end,
            State::Running { pid, .. } => {
                process::send(pid, number);
                if asks_to_end && self.kill_at.is_none() {
                    self.kill_at = Some(Instant::now() + GRACE);
                }
                false
            }
        }
    }

    fn reopen_log(&mut self) {
        self.notices.reloading();
        match self.words.reopen() {
            Ok(()) if self.words.are_inherited() => {}
            Ok(()) => self.log.redirect(false, Box::new(Stderr::new())),
            Err(errno) => {
                let text = format!("unable to open the log again: {errno}, keeping the old one");
                self.warn(text);
            }
        }
        self.notices.reloaded();
    }

    /// Returns whether skd is to end now.
    fn reap(&mut self) -> bool {
        self.reap_at = None;
        loop {
            let (pid, status) = match process::reap_any() {
                Ok(Some(ended)) => ended,
                Err(_) if matches!(self.state, State::Running { .. }) => {
                    self.reap_at = Some(Instant::now() + SWEEP);
                    break;
                }
                Ok(None) | Err(_) => break,
            };
            if self.words.is_logger(pid) {
                continue;
            }
            match self.state {
                State::Running {
                    pid: running,
                    since,
                } if running == pid => self.ended(pid, since, status),
                State::Running { .. } | State::Resting { .. } => {}
            }
        }
        self.kill_at.is_some() && matches!(self.state, State::Resting { .. })
    }

    fn ended(&mut self, pid: i32, since: Instant, status: Status) {
        let now = Instant::now();
        if let Some(errno) = self.spawner.failure_of(pid, status) {
            let reason = self.program.reason(errno);
            self.warn(format!("unable to run {}: {reason}", self.prog));
        }
        let lasted = now.saturating_duration_since(since);
        let pause = self.pauses.after(lasted);
        self.state = State::Resting { until: now + pause };
        let how = how_of(status);
        let pause = self.kill_at.is_none().then_some(pause);
        self.log.tell(
            &Event::Stopped {
                prog: &self.prog,
                pid,
                how,
                lasted,
                pause,
            },
            now,
        );
    }

    fn warn(&mut self, reason: String) {
        let warning = Warning {
            kind: Trouble::Other,
            listener: None,
            reason,
        };
        self.log.tell(&Event::Warning(warning), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_deaths_are_followed_by_growing_pauses() {
        let mut pauses = Pauses::default();
        let young = Duration::from_millis(4999);
        let secs: Vec<u64> = (0..9).map(|_| pauses.after(young).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pauses.after(YOUNG), Duration::ZERO);
        assert_eq!(pauses.after(young).as_secs(), 1);
    }
}
