//! What may take as long as a stranger likes: letting go of descriptors that came through a unix socket. It is done by a
//! few threads, begun when there is something to do.

use crate::sys::errno::Errno;
use crate::sys::{datagram, fd, poll, socket};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So many threads there are for each of the two things at most.
const THREADS: usize = 16;
/// So much may wait for one of them before nothing more is to be begun that could lead to it.
const WAITING: usize = 64;
/// How long a descriptor is kept before it is closed. A child that was on its way to execve(2) when skd let go of it has
/// a copy, and must not be the last to close it either.
const KEPT: Duration = Duration::from_secs(2);

struct State {
    /// Where descriptors are sent to, and where the threads hear of them.
    way: Option<(OwnedFd, OwnedFd)>,
    /// Those that could not be sent.
    unsent: Vec<OwnedFd>,
    closers: usize,
    discarders: usize,
}

static STATE: Mutex<State> = Mutex::new(State {
    way: None,
    unsent: Vec::new(),
    closers: 0,
    discarders: 0,
});

/// Closes it, later.
pub(crate) fn close(fd: OwnedFd) {
    let mut state = state();
    state.unsent.push(fd);
    state.send();
}

/// Whether so much waits that nobody more is to be taken from a unix socket.
pub(crate) fn is_burdened() -> bool {
    let mut state = state();
    if !state.unsent.is_empty() {
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
        let _ = datagram::discard(&socket);
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
        if self.way.is_none() {
            self.way = socket::pair().ok();
        }
        let Some((from, to)) = &self.way else { return };
        let sender = from.as_raw_fd();
        let is_kept = |fd: &mut OwnedFd| {
            let passed = [fd.as_raw_fd()];
            let message = [ControlMessage::ScmRights(&passed)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let bytes = [IoSlice::new(b"x")];
            sendmsg::<()>(sender, &bytes, &message, flags, None).is_err()
        };
        let number = to.as_raw_fd();
        // Those that there are may all be waiting for a stranger.
        let is_behind = self.closers == 0 || poll::can_read(to);
        self.unsent.retain_mut(is_kept);
        if is_behind && self.closers < THREADS {
            let thread = std::thread::Builder::new().spawn(move || close_all(number));
            self.closers += usize::from(thread.is_ok());
        }
    }
}

/// Closes what comes through the socket of this number, each in its time. The thread has a table of its own, so that
/// neither skd nor any of its children ever has what is in it.
fn close_all(number: RawFd) {
    if fd::begin_own_table(&[number]).is_err() {
        state().closers -= 1;
        return;
    }
    // SAFETY: it is open in this table, and the thread, which never ends from here on, is the only one to have it.
    let from = unsafe { OwnedFd::from_raw_fd(number) };
    let mut kept = VecDeque::new();
    loop {
        let due = kept.front().map(|(due, _)| *due);
        let left = due.map(|due: Instant| due.saturating_duration_since(Instant::now()));
        let _ = poll::wait_readable(from.as_fd(), None, left);
        while let Some(fd) = receive(&from) {
            kept.push_back((Instant::now() + KEPT, fd));
        }
        while kept.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            kept.pop_front();
        }
    }
}

fn receive(from: &OwnedFd) -> Option<OwnedFd> {
    let mut control = cmsg_space!(RawFd);
    let mut byte = [0];
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(from.as_raw_fd(), &mut pieces, Some(&mut control), flags).ok()?;
    let part = message.cmsgs().ok()?.next()?;
    match part {
        // SAFETY: the kernel has just made it for this thread; nothing else knows of it.
        ControlMessageOwned::ScmRights(fds) => fds
            .first()
            .map(|number| unsafe { OwnedFd::from_raw_fd(*number) }),
        _ => None,
    }
}
