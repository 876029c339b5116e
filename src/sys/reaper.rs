//! The reaper: a thread that waits for the children that live long, so that nobody has to look through them.
//!
//! Each has a pidfd in the thread's own descriptor table, which no clone(2) copies and no execve(2) has to close. A child
//! that ends makes its pidfd readable, and only that one is asked. ThreadSanitizer follows it (tests/sanitize); valgrind
//! 3.19 has no pidfd_open(2), so that there nothing is watched.

use crate::sys::errno::Errno;
use crate::sys::process::pidfd_open;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// How many ended children one wake-up of the thread looks at.
const READY: usize = 64;
/// The token of the inbox; children have their pid.
const INBOX: u64 = u64::MAX;

/// A list that two threads share, and the descriptor that is readable when something was put into it.
struct Mailbox<T> {
    letters: Mutex<Vec<T>>,
    bell: EventFd,
}

impl<T> Mailbox<T> {
    fn new() -> Result<Self, Errno> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            letters: Mutex::new(Vec::new()),
            bell,
        })
    }

    fn put(&self, letter: T) {
        self.letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(letter);
        // It fails only when the bell has been rung 2^64 - 2 times.
        let _ = self.bell.write(1);
    }

    /// Everything that was put in, into `out`.
    fn take(&self, out: &mut Vec<T>) {
        // Quiet first: what is put in from now on rings again.
        let _ = self.bell.read();
        out.append(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What the thread has to say of a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    /// It has ended, and is to be reaped by whoever started it: until then its number cannot go to anyone else.
    Ended,
    /// No descriptor could be had for it: it has to be asked now and then.
    Unwatched,
}

/// The thread, as skd's loop sees it.
pub(crate) struct Reaper {
    /// Pids to wait for.
    inbox: Arc<Mailbox<i32>>,
    /// Its bell is readable when a child has ended.
    outbox: Arc<Mailbox<(i32, Word)>>,
}

impl Reaper {
    /// Starts the thread, when `wait_for` has seen to it that what it says is heard: no thread can be taken back.
    ///
    /// # Errors
    /// No thread or no descriptor could be had, or the error of `wait_for`.
    pub(crate) fn start(
        wait_for: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<Self, Errno> {
        let (inbox, outbox) = (Arc::new(Mailbox::new()?), Arc::new(Mailbox::new()?));
        let reaper = Self {
            inbox: Arc::clone(&inbox),
            outbox: Arc::clone(&outbox),
        };
        wait_for(reaper.outbox.bell.as_fd())?;
        let builder = std::thread::Builder::new()
            .name("skd-reaper".into())
            .stack_size(64 * 1024);
        let thread = builder.spawn(move || Thread::run(&inbox, &outbox));
        thread.map_err(|error| Errno::of(&error)).map(|_| reaper)
    }

    /// Waits for this child from now on. It must be ours and not yet reaped.
    pub(crate) fn adopt(&self, pid: i32) {
        self.inbox.put(pid);
    }

    /// What was said since the last call, added to `out`.
    pub(crate) fn take(&self, out: &mut Vec<(i32, Word)>) {
        self.outbox.take(out);
    }
}

/// What the thread has to itself.
struct Thread<'a> {
    epoll: Epoll,
    children: HashMap<i32, OwnedFd>,
    outbox: &'a Mailbox<(i32, Word)>,
}

impl Thread<'_> {
    fn run(inbox: &Mailbox<i32>, outbox: &Mailbox<(i32, Word)>) {
        let Ok(mut thread) = Thread::begin(inbox, outbox) else {
            return Self::refuse(inbox, outbox);
        };
        let mut ready = [EpollEvent::empty(); READY];
        let mut pids = Vec::new();
        loop {
            let count = thread
                .epoll
                .wait(&mut ready, EpollTimeout::NONE)
                .unwrap_or(0);
            for event in ready.iter().take(count) {
                match i32::try_from(event.data()) {
                    Ok(pid) => thread.look_at(pid),
                    Err(_) => inbox.take(&mut pids),
                }
            }
            for pid in pids.drain(..) {
                thread.watch(pid);
            }
        }
    }

    /// A descriptor table of its own, without the listeners and all that skd has open.
    fn begin<'a>(
        inbox: &Mailbox<i32>,
        outbox: &'a Mailbox<(i32, Word)>,
    ) -> Result<Thread<'a>, Errno> {
        let mut kept = [inbox.bell.as_raw_fd(), outbox.bell.as_raw_fd()];
        kept.sort_unstable();
        crate::sys::fd::begin_own_table(&kept)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&inbox.bell, EpollEvent::new(EpollFlags::EPOLLIN, INBOX))?;
        Ok(Thread {
            epoll,
            children: HashMap::new(),
            outbox,
        })
    }

    /// Without a table of its own the thread is of no use: every child goes back.
    fn refuse(inbox: &Mailbox<i32>, outbox: &Mailbox<(i32, Word)>) {
        let mut pids = Vec::new();
        loop {
            let bell = inbox.bell.as_fd();
            if crate::sys::poll::wait_readable(bell, None, None).is_err() {
                return;
            }
            inbox.take(&mut pids);
            for pid in pids.drain(..) {
                outbox.put((pid, Word::Unwatched));
            }
        }
    }

    fn watch(&mut self, pid: i32) {
        let watched = pidfd_open(pid).and_then(|pidfd| {
            let token = u64::from(pid.cast_unsigned());
            self.epoll
                .add(&pidfd, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => {
                self.children.insert(pid, pidfd);
            }
            Err(_) => self.outbox.put((pid, Word::Unwatched)),
        }
    }

    /// The pidfd of a child is readable: it has ended. Closing the pidfd takes it out of epoll.
    fn look_at(&mut self, pid: i32) {
        if self.children.remove(&pid).is_some() {
            self.outbox.put((pid, Word::Ended));
        }
    }
}
