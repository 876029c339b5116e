//! What may take as long as a stranger likes: letting go of descriptors that came through a unix socket. It is done by a
//! few threads, begun when there is something to do.

use crate::sys::errno::Errno;
use crate::sys::{datagram, fd, lingering, poll, socket};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So many threads there are for each of the two things at most.
const THREADS: usize = 16;
/// So much may wait for a place in their queue before nothing more is to be begun that could lead to it.
const WAITING: usize = 64;
/// How long a descriptor is kept before it is closed. A child that was on its way to execve(2) when skd let go of it has
/// a copy, and must not be the last to close it either.
const KEPT: Duration = Duration::from_secs(2);

/// Where no thread is to be had the next try is after this.
const REST: Duration = Duration::from_millis(100);

struct State {
    queue: Option<Queue>,
    /// Those that could not be sent.
    unsent: Vec<OwnedFd>,
    closers: usize,
    /// So many of them are not at closing one.
    free: usize,
    /// How many were ever started, and the numbers of those that have no table of their own yet.
    started: usize,
    beginning: Vec<usize>,
    discarders: usize,
}

static STATE: Mutex<State> = Mutex::new(State {
    queue: None,
    unsent: Vec::new(),
    closers: 0,
    free: 0,
    started: 0,
    beginning: Vec::new(),
    discarders: 0,
});

/// A closer has begun, or ended at once.
static BEGUN: Condvar = Condvar::new();

/// Where descriptors are sent to, and where the threads take them from; each comes with the time at which it is due.
struct Queue {
    from: OwnedFd,
    to: OwnedFd,
    /// Times are told as what has passed since then, in nanoseconds.
    base: Instant,
}

/// A time as it stands in a message.
type Due = [u8; size_of::<u64>()];

/// Closes it, later.
pub(crate) fn close(fd: OwnedFd) {
    let mut state = state();
    state.unsent.push(fd);
    state.send();
}

/// Whether so much waits that nobody more is to be taken from a unix socket.
pub(crate) fn is_burdened() -> bool {
    let mut state = state();
    // Where no thread could be had until now there may be one.
    if !state.unsent.is_empty() || (state.closers == 0 && state.queue.is_some()) {
        state.send();
    }
    state.unsent.len() >= WAITING
}

/// Throws the first datagram of this socket away, unless all threads are at something of the kind. The thread that does
/// may be slow to begin: until it has ended the first datagram may still be the same.
///
/// # Errors
/// No thread is to be had.
pub(crate) fn discard(socket: OwnedFd) -> Result<Option<JoinHandle<()>>, Errno> {
    let mut state = state();
    if state.discarders >= THREADS {
        return Ok(None);
    }
    state.discarders += 1;
    drop(state);
    let discard = move || {
        let _ = lingering::bound(|| datagram::discard(&socket));
        self::state().discarders -= 1;
    };
    let spawned = std::thread::Builder::new().spawn(discard);
    if spawned.is_err() {
        self::state().discarders -= 1;
    }
    spawned.map(Some).map_err(|error| Errno::of(&error))
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Sends the threads what they are to close, and lets go of it; never the last one to do so.
    fn send(&mut self) {
        if self.queue.is_none() {
            let base = Instant::now();
            let pair = socket::pair().ok();
            self.queue = pair.map(|(from, to)| Queue { from, to, base });
        }
        let Some(Queue { from, to, base }) = &self.queue else {
            return;
        };
        let due = (base.elapsed() + KEPT).as_nanos();
        let due = u64::try_from(due).unwrap_or(u64::MAX).to_ne_bytes();
        let sender = from.as_raw_fd();
        let is_unsent = |fd: &mut OwnedFd| {
            let passed = [fd.as_raw_fd()];
            let message = [ControlMessage::ScmRights(&passed)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            sendmsg::<()>(sender, &[IoSlice::new(&due)], &message, flags, None).is_err()
        };
        self.unsent.retain_mut(is_unsent);
        let (number, base) = (to.as_raw_fd(), *base);
        if self.closers == 0 {
            let _ = Closer { number, base }.start(self);
        }
    }
}

/// A thread that closes what comes, one after another and each in its time. It has a table of its own, so that neither skd
/// nor any of its children ever has what is in it.
#[derive(Clone, Copy)]
struct Closer {
    /// Where it comes from: the same number in skd's table and in that of every closer.
    number: RawFd,
    base: Instant,
}

impl Closer {
    /// Starts the thread; returns its number, if there is one to be had.
    fn start(self, state: &mut State) -> Option<usize> {
        state.started += 1;
        let number = state.started;
        let thread = std::thread::Builder::new();
        thread.spawn(move || self.run(number)).ok()?;
        state.closers += 1;
        state.beginning.push(number);
        Some(number)
    }

    fn run(self, number: usize) {
        let has_table = match fd::begin_own_table(&[self.number]) {
            // As a container's filter of calls has it. Then the table is skd's, and a child that is on its way to execve(2)
            // may have to wait for what is in it.
            Ok(()) | Err(Errno::NOT_PERMITTED) => true,
            Err(_) => false,
        };
        let mut state = state();
        state.beginning.retain(|it| *it != number);
        state.free += usize::from(has_table);
        state.closers -= usize::from(!has_table);
        drop(state);
        BEGUN.notify_all();
        if !has_table {
            return;
        }
        // SAFETY: it is open in this table, and stays so: neither this thread nor, in skd's, the queue ever ends.
        let queue = unsafe { OwnedFd::from_raw_fd(self.number) };
        loop {
            let _ = poll::wait_readable(&queue, None, None);
            // Nothing is taken before its time: what this thread has in its table it may have to wait for.
            if let Some(due) = look(&queue) {
                self.wait_for(due);
            }
            if !self.leaves_another() {
                std::thread::sleep(REST);
                continue;
            }
            if let Some((fd, due)) = take(&queue) {
                self.wait_for(due);
                lingering::bound(|| drop(fd));
            }
            self::state().free += 1;
        }
    }

    fn wait_for(self, due: Due) {
        let due = Duration::from_nanos(u64::from_ne_bytes(due));
        std::thread::sleep(due.saturating_sub(self.base.elapsed()));
    }

    /// This thread may never come back from what it takes next: another is to be there for what comes behind, unless there
    /// are enough already. The table of that one is a copy of this one's, and must be made before anything is in this one.
    /// Where none can be had this thread stays.
    fn leaves_another(self) -> bool {
        let mut state = state();
        state.free -= 1;
        if state.free == 0
            && state.closers < THREADS
            && let Some(number) = self.start(&mut state)
        {
            let begins = |state: &mut State| state.beginning.contains(&number);
            let begun = BEGUN.wait_while(state, begins);
            state = begun.unwrap_or_else(PoisonError::into_inner);
        }
        let is_left = state.free > 0 || state.closers >= THREADS;
        state.free += usize::from(!is_left);
        is_left
    }
}

/// When the first that waits is due; it stays where it is, and there is no room for its descriptor.
fn look(queue: &OwnedFd) -> Option<Due> {
    let mut due = Due::default();
    let mut pieces = [IoSliceMut::new(&mut due)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    let message = recvmsg::<()>(queue.as_raw_fd(), &mut pieces, None, flags).ok()?;
    let is_whole = message.bytes == size_of::<Due>();
    is_whole.then_some(due)
}

/// The first that waits, if no other thread has taken it.
fn take(queue: &OwnedFd) -> Option<(OwnedFd, Due)> {
    let mut control = cmsg_space!(RawFd);
    let mut due = Due::default();
    let mut pieces = [IoSliceMut::new(&mut due)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(queue.as_raw_fd(), &mut pieces, Some(&mut control), flags).ok()?;
    let part = message.cmsgs().ok()?.next()?;
    let ControlMessageOwned::ScmRights(fds) = part else {
        return None;
    };
    // SAFETY: the kernel has just made it for this thread; nothing else knows of it.
    let fd = fds
        .first()
        .map(|number| unsafe { OwnedFd::from_raw_fd(*number) })?;
    Some((fd, due))
}
