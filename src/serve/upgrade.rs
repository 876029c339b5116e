//! USR2: the binary now at skd's path takes our place, with our pid, our sockets, our children and our counts.
//!
//! It is asked first, as a child, whether it takes our command line (`--check`). Only one that does, and says so in the
//! words of an skd, is executed; until then, and if that fails, nothing has changed.

use crate::launch::environ;
use crate::launch::prog::Prog;
use crate::launch::scrub::{Scrub, scrubbed};
use crate::model::event::Trouble;
use crate::model::number;
use crate::model::text::{Quoted, harmless};
use crate::report::ending::How;
use crate::serve::children::how_of;
use crate::serve::farewell::{self, Farewells};
use crate::serve::internal::Internal;
use crate::serve::pending::Pendings;
use crate::serve::{Server, index};
use crate::sys::errno::Errno;
use crate::sys::fork::{self, Side};
use crate::sys::handover::{self, Keeper};
use crate::sys::limits::{self, FileLimit};
use crate::sys::process::{self, Status};
use crate::sys::{conn, env, fd};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// How long the new binary may take for `--check`.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an skd that is asked says on its stderr if it agrees. Anything that is none may exit 0, too.
pub(crate) const AGREES: &[u8] = b"skd agrees\n";

/// In front of the reason why the new binary could not be executed: no message begins so.
const NOT_EXECUTED: u8 = 0;

/// The most of what the new binary says on its stderr that becomes part of a message, in bytes.
const SAID_BYTES: usize = 4096;
/// What has been said is looked through for so many times as much.
const PIECES: usize = 16;

/// How skd was called, to be called so again.
#[derive(Default)]
pub(crate) struct Call {
    /// `None` if the kernel would not say.
    file: Option<CString>,
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Call {
    /// To be made before the working directory or the root folder changes. `called` is the pid of the skd that was called.
    pub(crate) fn of_us(environment: &[(OsString, OsString)], called: i32) -> Self {
        let mut environment = scrubbed(environment, Scrub::Successor, true);
        // With `-B` the next skd cannot know that this one was ours; without the variable the watchdog is its own.
        environment.retain(|(name, value)| {
            let pid = number::decimal(value.as_bytes());
            name != "WATCHDOG_PID" || pid != u64::try_from(called).ok()
        });
        Self {
            file: env::executed_file(),
            words: env::words(),
            environment,
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
    /// The other end of its stderr.
    said: OwnedFd,
}

impl Asked {
    /// Why it is not to take our place, if that is so.
    fn refusal(&self, status: Status) -> Option<String> {
        let mut all = Vec::new();
        let mut piece = [0; SAID_BYTES];
        // A pipe holds no more, but somebody may still be writing.
        for _ in 0..PIECES {
            match fork::read(&self.said, &mut piece) {
                Ok(len @ 1..) => all.extend(piece.iter().take(len)),
                Ok(0) | Err(_) => break,
            }
        }
        let agrees = all
            .split_inclusive(|byte| *byte == b'\n')
            .any(|it| it == AGREES);
        let said = all.get(..SAID_BYTES).unwrap_or(&all);
        if let Some((&NOT_EXECUTED, reason)) = said.split_first() {
            return Some(harmless(reason));
        }
        // Others may have said something before it.
        let lines = || said.split(|byte| *byte == b'\n').map(harmless);
        let why = lines().find_map(|line| {
            let mut classes = [": fatal: ", ": usage: "].into_iter();
            classes.find_map(|class| Some(line.split_once(class)?.1.to_owned()))
        });
        let first = lines().next().unwrap_or_default();
        let end = match status {
            Status::Exit(0) if agrees => return None,
            Status::Exit(0) => "--check exits 0, but not as an skd".into(),
            Status::Exit(code) => format!("--check exits {code}"),
            Status::Signal(_) => format!("--check is ended by {}", How(how_of(status))),
        };
        let parts = [end.as_str(), why.as_ref().unwrap_or(&first)];
        Some(parts.join(": ").trim_end_matches(": ").to_owned())
    }
}

/// What is to be known for a replacement, and how far one has come.
pub(crate) struct Upgrade {
    call: Call,
    /// The limit of descriptors that we were started with, if ours is another.
    files: Option<FileLimit>,
    asked: Option<Asked>,
    /// It has said yes, and takes our place at the end of the turn.
    is_granted: bool,
}

impl Upgrade {
    pub(crate) fn new(call: Call, files: Option<FileLimit>) -> Self {
        Self {
            call,
            files,
            asked: None,
            is_granted: false,
        }
    }

    /// When the one that is asked has taken too long.
    pub(crate) fn due(&self) -> Option<Instant> {
        let asked = self.asked.as_ref().filter(|asked| !asked.is_late);
        asked.map(|asked| asked.until)
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
        let is_busy = self.upgrade.asked.is_some() || self.upgrade.is_granted;
        if is_busy || self.stopping.is_some() {
            return self
                .log
                .note(|| "asked to upgrade, but busy with that or with stopping".into());
        }
        let file = self.upgrade.call.file.as_deref();
        if let Err(errno) = file.map_or(Err(Errno::NOT_FOUND), process::check_executable) {
            return self.stay(&errno.to_string());
        }
        let forked = fork::pipe().and_then(|ends| {
            // Neither of the two ever waits: what there is no room for is lost.
            fd::set_nonblocking(&ends.0, true)?;
            fd::set_nonblocking(&ends.1, true)?;
            Ok((ends, fork::fork()?))
        });
        match forked {
            Ok(((said, _), Side::Parent { pid })) => {
                self.generations.born(pid);
                self.upgrade.asked = Some(Asked {
                    pid,
                    until: Instant::now() + PATIENCE,
                    is_late: false,
                    said,
                });
            }
            Ok(((_, theirs), Side::Child)) => {
                // What it starts itself ends with it.
                let _ = fork::new_session();
                self.forget_visitors();
                let heard = fd::replace_standard(2, theirs.as_fd());
                let reason = match heard {
                    Ok(()) => self.become_successor(true),
                    Err(errno) => errno.to_string(),
                };
                let reason = [&[NOT_EXECUTED], reason.as_bytes()].concat();
                // Without it the code has to do.
                let _ = fd::write_at_once(&theirs, &reason);
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
        let refusal = match asked.is_late {
            true => Some(format!("--check took longer than {} s", PATIENCE.as_secs())),
            false => asked.refusal(status),
        };
        match refusal {
            Some(reason) => self.stay(&reason),
            None => self.upgrade.is_granted = true,
        }
        true
    }

    /// The end of a turn: every child whose end is known has been dealt with. Returns only if skd goes on as it is.
    pub(super) fn upgrade(&mut self) {
        if !std::mem::take(&mut self.upgrade.is_granted) || self.stopping.is_some() {
            return;
        }
        self.log
            .note(|| "asked to upgrade, and the new binary agrees".into());
        self.reap();
        self.hear_reaper();
        self.hear_news();
        // It does not know what was left out.
        self.log.close();
        let reason = match fork::outlive() {
            Ok(_until_then) => self.become_successor(false),
            Err(errno) => errno.to_string(),
        };
        self.stay(&reason);
    }

    /// In a copy of skd: whoever is let go of is not to be held by it.
    fn forget_visitors(&mut self) {
        conn::become_copy();
        self.pendings = Pendings::default();
        self.farewells = Farewells::new(farewell::TOKENS, farewell::MOST);
        self.internal = Internal::default();
    }

    fn stay(&mut self, reason: &str) {
        let file = self.upgrade.call.file.as_ref();
        let file = Quoted(file.map_or(b"", |file| file.to_bytes()));
        let unable = format!("unable to run {file}: ");
        let reason = reason.strip_prefix(&unable).unwrap_or(reason);
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
        let listeners: Vec<_> = self.listeners.all().map(|it| &it.listener).collect();
        let mut keeper = Keeper::beyond(listeners.len());
        let text = handover::write_text(&self.state(&mut keeper)?.encode())?;
        let mut more = Vec::new();
        let names = self.listeners.all();
        let names = names.map(|it| it.listener.name_for_successor(it.is_kept).as_bytes());
        let names: Vec<&[u8]> = names.collect();
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
}
