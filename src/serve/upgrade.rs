//! USR2: the binary now at skd's path takes our place, with our pid, our sockets, our children and our counts.
//!
//! It is asked first, as a child, whether it takes our command line (`--check`). Only one that does is executed; until
//! then, and if that fails, nothing has changed.

use crate::launch::environ;
use crate::launch::prog::Prog;
use crate::launch::scrub::{Scrub, scrubbed};
use crate::listen::{Origin, SocketFile};
use crate::model::event::Trouble;
use crate::model::state::{self, State};
use crate::model::text::Quoted;
use crate::serve::children::{Child, Stage};
use crate::serve::{Server, index};
use crate::sys::errno::Errno;
use crate::sys::fork::{self, Side};
use crate::sys::handover::{self, Keeper};
use crate::sys::limits::{self, FileLimit};
use crate::sys::process::{self, Status};
use crate::sys::{clock, env};
use std::ffi::{CString, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// How long the new binary may take for `--check`.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long children that are on their way to PROG are waited for, before their slots are left to them.
const SETTLING: Duration = Duration::from_millis(100);

/// How long those are waited for of whom it is not decided yet whether they may come in.
const DECIDING: Duration = Duration::from_secs(10);

/// How skd was called, to be called so again.
#[derive(Default)]
pub(crate) struct Call {
    /// `None` if the kernel would not say.
    file: Option<CString>,
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Call {
    /// To be made before the working directory or the root folder changes.
    pub(crate) fn of_us(environment: &[(OsString, OsString)]) -> Self {
        Self {
            file: env::executed_file(),
            words: env::words(),
            environment: scrubbed(environment, Scrub::Successor, true),
        }
    }

    /// The binary now at our path, called as we were, `--check` being the first word if so asked.
    fn again(&self, check: bool) -> Option<Prog> {
        let check = check.then(|| OsString::from("--check"));
        let (name, rest) = self.words.split_first()?;
        let words = std::iter::once(name.clone()).chain(check);
        Some(Prog::at(
            self.file.clone()?,
            words.chain(rest.iter().cloned()),
        ))
    }
}

/// A new binary that is being asked.
struct Asked {
    pid: i32,
    /// When it has taken too long.
    until: Instant,
    is_late: bool,
}

/// What is to be known for a replacement, and how far one has come.
pub(crate) struct Upgrade {
    call: Call,
    /// The limit of descriptors that we were started with, if ours is another.
    files: Option<FileLimit>,
    asked: Option<Asked>,
    /// It has said yes, and takes our place when all is decided, or then.
    granted_until: Option<Instant>,
}

impl Upgrade {
    pub(crate) fn new(call: Call, files: Option<FileLimit>) -> Self {
        Self {
            call,
            files,
            asked: None,
            granted_until: None,
        }
    }

    /// When the one that is asked has taken too long, or those who are waited for.
    pub(crate) fn due(&self) -> Option<Instant> {
        let asked = self.asked.as_ref().filter(|asked| !asked.is_late);
        asked.map(|asked| asked.until).or(self.granted_until)
    }

    /// A child's limit of descriptors, where ours is another.
    pub(crate) fn files(&self) -> Option<FileLimit> {
        self.files
    }

    /// Whether one is about to take our place, and will serve who comes now.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted_until.is_some()
    }

    /// What there is to be done when it is due: it is ended, and then its end is dealt with like any other.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.until <= now) {
            asked.is_late = true;
            process::send_group(asked.pid, process::KILL);
        }
    }

    /// Nobody is to outlive skd who holds its sockets.
    pub(crate) fn give_up(&mut self) {
        if let Some(asked) = self.asked.take() {
            process::send_group(asked.pid, process::KILL);
        }
    }
}

impl Server {
    /// Asks the binary now at our path whether it takes our command line.
    pub(super) fn begin_upgrade(&mut self) {
        let is_busy = self.upgrade.asked.is_some() || self.upgrade.is_granted();
        if is_busy || self.stopping.is_some() {
            return self
                .log
                .note(|| "asked to upgrade, but busy with that or with stopping".into());
        }
        let file = self.upgrade.call.file.as_deref();
        if let Err(errno) = file.map_or(Err(Errno::NOT_FOUND), process::check_executable) {
            return self.stay(&errno.to_string());
        }
        match fork::fork() {
            Ok(Side::Parent { pid }) => {
                self.generations.born(pid);
                self.upgrade.asked = Some(Asked {
                    pid,
                    until: Instant::now() + PATIENCE,
                    is_late: false,
                });
            }
            Ok(Side::Child) => {
                // What it starts itself ends with it.
                let _ = fork::new_session();
                self.become_successor(true);
                fork::leave(127)
            }
            Err(errno) => self.stay(&errno.to_string()),
        }
    }

    /// Whether the child that has ended is the new binary that was asked. If it said yes, it takes our place.
    pub(super) fn is_answer(&mut self, pid: i32, status: Status) -> bool {
        let Some(asked) = self.upgrade.asked.take_if(|asked| asked.pid == pid) else {
            return false;
        };
        match status {
            _ if asked.is_late => {
                self.stay(&format!(
                    "--check took longer than {} s",
                    PATIENCE.as_secs()
                ));
            }
            Status::Exit(0) => self.upgrade.granted_until = Some(Instant::now() + DECIDING),
            Status::Exit(127) => self.stay("it cannot be executed"),
            Status::Exit(code) => self.stay(&format!("--check exits {code}")),
            Status::Signal(number) => self.stay(&format!("--check is ended by signal {number}")),
        }
        true
    }

    /// The end of a turn: every child whose end is known has been dealt with. Returns only if skd goes on as it is.
    pub(super) fn upgrade(&mut self) {
        let Some(until) = self.upgrade.granted_until else {
            return;
        };
        if self.is_deciding() && until > Instant::now() && self.stopping.is_none() {
            return;
        }
        self.upgrade.granted_until = None;
        if self.stopping.is_some() {
            return;
        }
        self.deny_pending();
        self.log
            .note(|| "asked to upgrade, and the new binary agrees".into());
        self.reap();
        self.hear_reaper();
        // What a child that is on its way has to report would be lost.
        self.spawner.settle(SETTLING);
        self.hear_news();
        let reason = self.become_successor(false);
        self.stay(&reason);
    }

    /// Whether it is still to be seen who may come in, or somebody still hears that he may not.
    fn is_deciding(&self) -> bool {
        let is_asking = |(_, child): (_, &Child)| child.stage == Stage::Asking;
        self.pendings.count() > 0
            || !self.farewells.is_empty()
            || self.verdicts.are_used() && self.children.all().any(is_asking)
    }

    fn stay(&mut self, reason: &str) {
        let file = self.upgrade.call.file.as_ref();
        let file = Quoted(file.map_or(b"", |file| file.to_bytes()));
        let text = format!("unable to upgrade to {file}: {reason}, going on as before");
        self.warn(Trouble::Other, None, text);
    }

    /// Executes the binary now at our path. Returns only on failure, with the reason.
    fn become_successor(&mut self, check: bool) -> String {
        let Some(prog) = self.upgrade.call.again(check) else {
            return Errno::NOT_FOUND.to_string();
        };
        let environment = self.upgrade.call.environment.clone();
        let failed = self.hand_over(|more| prog.become_it(environment, more));
        failed.map_or_else(|errno| errno.to_string(), |fatal| fatal.text)
    }

    /// Does `deed`, which is execve(2), with everything in place; it is given what the environment has to say of it.
    fn hand_over<T>(&self, deed: impl FnOnce(&[u8]) -> T) -> Result<T, Errno> {
        let listeners: Vec<_> = self.listeners.iter().map(|it| &it.listener).collect();
        let mut keeper = Keeper::beyond(listeners.len());
        let text = handover::write_text(&self.state(&mut keeper)?.encode())?;
        let mut more = Vec::new();
        let names: Vec<&[u8]> = listeners.iter().map(|it| it.name().as_bytes()).collect();
        environ::describe_passed(index(listeners.len()), &names.join(&b':'), &mut more);
        environ::describe_receiver(process::own_pid(), &mut more);
        environ::describe_state(keeper.keep(text)?, &mut more);
        let fds: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
        let done = handover::with_listen_fds(&fds, || {
            let lowered = self.upgrade.files.map(limits::set_files);
            let done = deed(&more);
            if lowered.is_some() {
                // It was so before.
                let _ = limits::raise_files();
            }
            done
        });
        drop(keeper);
        done
    }

    /// All that the next skd has to know.
    fn state(&self, keeper: &mut Keeper) -> Result<State, Errno> {
        let mut listeners = Vec::new();
        for listening in &self.listeners {
            let listener = &listening.listener;
            let file = listener.file.as_ref();
            listeners.push(state::Listener {
                adopted: match &listener.origin {
                    Origin::Adopted { name } => Some(name.as_bytes().to_vec()),
                    Origin::Ours => None,
                },
                is_kept: listening.is_kept,
                file: file
                    .map(|file| SocketFile::keep(file, keeper))
                    .transpose()?,
                waited: listening.lent.waited(),
                has_news: listening.lent.has_news(),
            });
        }
        let (now, monotonic) = (Instant::now(), clock::monotonic());
        let children = self.children.all().map(|(pid, child)| state::Child {
            pid,
            listener: child.listener,
            since: monotonic.saturating_sub(now.saturating_duration_since(child.since)),
            peer: child.peer,
            source: child.source,
        });
        let pidfile = self.pidfile.as_ref();
        Ok(State {
            pid: process::own_pid(),
            may_have_strangers: self.generations.may_have_strangers(),
            accepted: self.accepted,
            denied: self.denied,
            failed: self.failed,
            pidfile: pidfile.map(|pidfile| pidfile.keep(keeper)).transpose()?,
            log: self.words.keep(keeper)?,
            children: children.collect(),
            listeners,
        })
    }

    /// Goes on where the skd before us was.
    pub(crate) fn resume(&mut self, state: &State) {
        (self.accepted, self.failed) = (state.accepted, state.failed);
        self.denied = state.denied;
        let (now, monotonic) = (Instant::now(), clock::monotonic());
        for kept in &state.children {
            self.generations.born(kept.pid);
            let lasted = monotonic.saturating_sub(kept.since);
            let child = Child {
                listener: kept.listener,
                peer: kept.peer,
                source: kept.source,
                stage: Stage::Running,
                since: now.checked_sub(lasted).unwrap_or(now),
            };
            self.children.insert(kept.pid, child);
            match &kept.peer {
                Some(_) => drop(self.sources.enter(kept.source)),
                None => self.resume_lent(kept.listener as usize, kept.pid),
            }
        }
        for (listening, kept) in self.listeners.iter_mut().zip(&state.listeners) {
            listening.is_kept = kept.is_kept;
            listening.lent.resume(kept.waited, kept.has_news);
        }
        self.log.note(|| "in the place of the skd before".into());
    }
}
