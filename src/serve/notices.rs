//! What the service manager is told, and when: readiness, counters, signs of life, sockets to keep.
//!
//! Nothing here waits. A manager that does not keep up is told the counters and signs of life later or never; readiness
//! and what else it cannot do without are tried again for a while.

use crate::listen::{ReadyFd, SocketFile};
use crate::model::event::Status;
use crate::model::manager::Manager;
use crate::report::log::Log;
use crate::report::notify;
use crate::serve::listening::Listenings;
use crate::sys::clock;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::notifysocket::NotifySocket;
use crate::sys::stderr::Stderr;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The counters are told at most so often.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How often a manager that does not keep up is tried again with what it must not miss.
const RETRY: Duration = Duration::from_millis(100);
/// And how often in a row, before that is given up.
const TRIES: u32 = 100;

/// Where paths lead to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Jail {
    None,
    /// Another root folder is about to be entered.
    Outside,
    /// It has been, by the skd before us: a path may lead to what somebody in there has made.
    Inside,
}

impl Jail {
    pub(crate) fn of(is_asked_for: bool, is_entered: bool) -> Self {
        match (is_asked_for, is_entered) {
            (false, _) => Self::None,
            (true, false) => Self::Outside,
            (true, true) => Self::Inside,
        }
    }
}

/// A message that is not to be lost.
struct Owed {
    text: String,
    /// The place of the listener that goes along to be kept.
    stores: Option<usize>,
}

/// What there is to tell; without NOTIFY_SOCKET nobody listens.
pub(crate) struct Notices {
    socket: Option<NotifySocket>,
    /// Between two signs of life.
    alive_every: Option<Duration>,
    alive_at: Option<Instant>,
    /// The counters as they were last told, and when.
    told: String,
    told_at: Option<Instant>,
    may_have_changed: bool,
    owed: VecDeque<Owed>,
    retry_at: Option<Instant>,
    tries: u32,
}

/// Tells whoever reads on the descriptor of readiness, if there is one, and lets go of it; where it was stderr, the log
/// has a copy of it. Returns what went wrong.
pub(super) fn tell_readiness(ready: Option<(ReadyFd, OwnedFd)>, log: &mut Log) -> Option<Errno> {
    let (ready, null) = ready?;
    let is_stderr = ready.is_stderr();
    let told = ready.tell(&null);
    if is_stderr {
        log.redirect(false, Box::new(Stderr::new()));
    }
    told.err()
}

impl Notices {
    /// To be called before any chroot, in which the manager's socket could not be found. `jail` says whether there is or
    /// will be one, and `kept` which socket the skd before us had.
    pub(crate) fn new(manager: &Manager, jail: Jail, kept: Option<i32>) -> Self {
        let socket = manager.sun_path.as_ref().and_then(|sun_path| {
            let is_abstract = sun_path.first() == Some(&0);
            let may_connect = is_abstract || jail != Jail::Inside;
            let may_connect_again = is_abstract || jail == Jail::None;
            match kept {
                Some(number) => NotifySocket::resume(number, sun_path, may_connect_again),
                None if may_connect => NotifySocket::new(sun_path, may_connect_again),
                None => return None,
            }
            .ok()
        });
        // A third, so that half of the time has not passed even if a turn of the loop takes long.
        let alive_every = manager.watchdog.filter(|_| socket.is_some());
        Self {
            socket,
            alive_every: alive_every.map(|span| (span / 3).max(Duration::from_millis(1))),
            alive_at: None,
            told: String::new(),
            told_at: None,
            may_have_changed: false,
            owed: VecDeque::new(),
            retry_at: None,
            tries: 0,
        }
    }

    /// What a new skd in our place needs in order to be heard, where it might not reach the manager by name.
    pub(super) fn keep(&self, keeper: &mut Keeper) -> Result<Option<i32>, Errno> {
        let socket = self.socket.as_ref();
        socket.map(|socket| keeper.keep(socket)).transpose()
    }

    /// skd serves. `main_pid` is for a manager that knows another process; signs of life begin.
    pub(crate) fn ready(&mut self, main_pid: Option<i32>, status: Option<&Status>) {
        let now = Instant::now();
        self.alive_at = self.alive_every.map(|_| now);
        self.told = status.map_or(String::new(), notify::status);
        self.told_at = Some(now);
        self.owe(notify::ready(main_pid, status), None);
    }

    /// The sockets at these places are to be kept when skd ends.
    pub(crate) fn store(&mut self, places: impl Iterator<Item = usize>) {
        for place in places {
            self.owe(notify::store(), Some(place));
        }
    }

    /// No other sockets are to be kept than those at these places: all have one name, by which the manager forgets them.
    pub(crate) fn store_only(&mut self, places: impl Iterator<Item = usize>) {
        self.owe(notify::forget(), None);
        self.store(places);
    }

    /// HUP is being obeyed; `reloaded` must follow.
    pub(crate) fn reloading(&mut self) {
        self.owe(notify::reloading(clock::monotonic()), None);
    }

    pub(crate) fn reloaded(&mut self) {
        self.owe(notify::ready(None, None), None);
    }

    pub(crate) fn stopping(&mut self) {
        self.owe(notify::stopping(), None);
    }

    /// Counters may be other than they were.
    pub(crate) fn changed(&mut self) {
        self.may_have_changed = true;
    }

    /// When there is something to tell.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.socket.as_ref()?;
        let status_at = self.told_at.filter(|_| self.may_have_changed);
        let status_at = status_at.map(|told_at| told_at + STATUS_EVERY);
        let owed_at = self.retry_at.filter(|_| !self.owed.is_empty());
        [status_at, self.alive_at, owed_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Tells what is due. `status` gives the counters. A listener that the manager keeps has a file that stays.
    pub(crate) fn catch_up(
        &mut self,
        now: Instant,
        status: impl FnOnce() -> Option<Status>,
        listeners: &mut Listenings,
    ) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        if self.retry_at.is_none_or(|at| at <= now) {
            self.pay(now, listeners);
        }
        if let (Some(every), Some(at)) = (self.alive_every, self.alive_at)
            && at <= now
        {
            self.say(&notify::alive());
            self.alive_at = Some(now + every);
        }
        if self.may_have_changed && self.told_at.is_some_and(|at| now - at >= STATUS_EVERY) {
            self.may_have_changed = false;
            self.told_at = Some(now);
            let text = status().as_ref().map_or(String::new(), notify::status);
            if text != self.told {
                self.say(&text);
                self.told = text;
            }
        }
    }

    /// Says what can be said at once, and nothing else; for the end.
    pub(crate) fn finish(&mut self, listeners: &mut Listenings) {
        self.pay(Instant::now(), listeners);
    }

    /// Remembers a message that is to be sent before any other; `catch_up` sends it.
    fn owe(&mut self, text: String, stores: Option<usize>) {
        if self.socket.is_some() {
            self.owed.push_back(Owed { text, stores });
            self.retry_at.get_or_insert_with(Instant::now);
        }
    }

    /// Sends what is owed, in order, as far as the manager takes it.
    fn pay(&mut self, now: Instant, listeners: &mut Listenings) {
        let Some(socket) = &self.socket else { return };
        while let Some(Owed { text, stores }) = self.owed.front() {
            let listening = stores.and_then(|place| listeners.get_mut(place));
            let with = listening
                .as_ref()
                .map(|listening| listening.listener.as_fd());
            match socket.send(text, with) {
                Err(Errno::AGAIN) if self.tries < TRIES => {
                    self.tries += 1;
                    self.retry_at = Some(now + RETRY);
                    return;
                }
                Ok(()) => {
                    if let Some(listening) = listening {
                        listening.is_kept = true;
                        let file = listening.listener.file.take();
                        file.into_iter().for_each(SocketFile::leave);
                    }
                }
                // Nobody listens, or has not for long: no reason to stop serving.
                Err(_) => {}
            }
            self.owed.pop_front();
            self.tries = 0;
        }
        self.retry_at = None;
    }

    /// Sends a message that may be lost, unless one that may not is still waiting.
    fn say(&self, text: &str) {
        if let Some(socket) = self.socket.as_ref().filter(|_| self.owed.is_empty()) {
            // As above.
            let _ = socket.send(text, None);
        }
    }
}
