//! epoll(7): which descriptors have something to say.

use crate::sys::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How many ready descriptors one wake-up tells of; the others are told of at the next.
const READY: usize = 64;

/// How a descriptor is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Watch {
    /// As long as it is ready; nobody else waits for it.
    Alone,
    /// The same; of the processes that wait for it only one is woken (EPOLLEXCLUSIVE), since others may hold a listener
    /// that was handed over.
    Shared,
    /// As long as it is ready or can be written to; nobody else waits for it.
    Talk,
    /// As long as it can be written to; nobody else waits for it.
    Room,
    /// Once if it is ready now, and then once for all that has come since (EPOLLET).
    News,
}

/// An epoll instance.
pub(crate) struct Poll {
    epoll: Epoll,
    ready: [EpollEvent; READY],
}

impl Poll {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            ready: [EpollEvent::empty(); READY],
        })
    }

    /// Waits for `fd` to be readable; `token` will name it. One that is waited for already is so as before: it may be
    /// that it could not be removed.
    ///
    /// # Errors
    /// EPERM for a file that is always ready; ENOSPC, ENOMEM.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, watch: Watch) -> Result<(), Errno> {
        let flags = match watch {
            Watch::Alone => EpollFlags::EPOLLIN,
            Watch::Talk => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Watch::Room => EpollFlags::EPOLLOUT,
            Watch::Shared => EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE,
            Watch::News => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
        };
        match self.epoll.add(fd, EpollEvent::new(flags, token)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> Result<(), Errno> {
        Ok(self.epoll.delete(fd)?)
    }

    /// epoll_wait(2): how many descriptors are ready, errors and hang-ups included; `ready` names them. None when
    /// `at_most` has passed, or when a signal interrupted.
    pub(crate) fn wait(&mut self, at_most: Option<Duration>) -> Result<usize, Errno> {
        let timeout = match at_most {
            None => EpollTimeout::NONE,
            // Rounded up, so that nobody is woken a moment before there is something to do.
            Some(at_most) => {
                let millis = at_most.as_nanos().div_ceil(1_000_000);
                EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
            }
        };
        let waited = match self.epoll.wait(&mut self.ready, timeout) {
            // So ends a stop of skd, too. What has come meanwhile was in time, and is to be heard of first.
            Err(nix::errno::Errno::EINTR) => self.epoll.wait(&mut self.ready, EpollTimeout::ZERO),
            waited => waited,
        };
        match waited {
            Ok(count) => Ok(count),
            Err(nix::errno::Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The token of one of those that the last `wait` found ready, counted from 0.
    pub(crate) fn ready(&self, place: usize) -> Option<u64> {
        self.ready.get(place).map(EpollEvent::data)
    }
}

/// epoll_ctl(2): whether a descriptor can be waited for at all, which a regular file and /dev/null cannot.
pub(crate) fn can_wait_for(fd: impl AsFd) -> bool {
    let poll = Poll::new();
    poll.is_ok_and(|poll| poll.add(fd, 0, Watch::Alone).is_ok())
}

/// poll(2): whether there is something to read, or to accept, now.
pub(crate) fn can_read(fd: impl AsFd) -> bool {
    let mut asked = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let found = poll(&mut asked, PollTimeout::ZERO);
    let [asked] = asked;
    let has_come = |flags: PollFlags| flags.contains(PollFlags::POLLIN);
    found.is_ok() && asked.revents().is_some_and(has_come)
}

/// poll(2): whether nobody can send any more, or, to a unix socket that listens, connect: it was shut down.
pub(crate) fn has_been_shut(fd: impl AsFd) -> bool {
    let ends = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let mut asked = [PollFd::new(fd.as_fd(), ends)];
    let found = poll(&mut asked, PollTimeout::ZERO);
    let [asked] = asked;
    let has_ended = |flags: PollFlags| flags.intersects(ends | PollFlags::POLLHUP);
    // nix does not know POLLRDHUP, and then has no answer.
    found.is_ok() && asked.revents().is_none_or(has_ended)
}

/// poll(2): until `readable` has something to read or has ended, `writable` (if any) takes something, or `at_most` has
/// passed.
pub(crate) fn wait_readable(
    readable: impl AsFd,
    writable: Option<&OwnedFd>,
    at_most: Option<Duration>,
) -> Result<(), Errno> {
    let mut asked = vec![PollFd::new(readable.as_fd(), PollFlags::POLLIN)];
    asked.extend(writable.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLOUT)));
    match poll(&mut asked, at_most.map_or(PollTimeout::NONE, timeout)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn timeout(at_most: Duration) -> PollTimeout {
    PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX)
}

/// poll(2): until `writable` takes something, or `at_most` has passed.
pub(crate) fn wait_writable(writable: &OwnedFd, at_most: Duration) -> Result<(), Errno> {
    let mut asked = [PollFd::new(writable.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut asked, timeout(at_most)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
