//! Signals: as we inherited them, as skd takes them, as a program is given them.

use crate::sys::errno::Errno;
use crate::sys::kernel::{self, Action, LAST_SIGNAL, bit};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// The signals that were ignored when skd was started, signal N being bit N-1; in bytes, since not every machine has
/// atomics of 64 bits. Rust's runtime ignores SIGPIPE before main, so this is looked up before the runtime starts.
static IGNORED_BEFORE: [AtomicU8; 8] = [const { AtomicU8::new(0) }; 8];

extern "C" fn remember_ignored() {
    for (byte, now) in IGNORED_BEFORE.iter().zip(ignored_now().to_le_bytes()) {
        byte.store(now, Ordering::Relaxed);
    }
}

fn ignored_before() -> u64 {
    let bytes = IGNORED_BEFORE.each_ref();
    u64::from_le_bytes(bytes.map(|byte| byte.load(Ordering::Relaxed)))
}

// SAFETY: the C library calls each entry of this section once, before main, as a C function; ours takes no arguments,
// needs nothing of Rust's runtime and does not unwind.
#[unsafe(link_section = ".init_array")]
#[used]
static REMEMBER_IGNORED: extern "C" fn() = remember_ignored;

/// The signals that skd acts upon while it serves.
pub(crate) const SERVING: &[Signal] = &[
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
];
/// Those it passes on, or acts upon, while it supervises.
pub(crate) const SUPERVISING: &[Signal] = &[
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
];

/// What a signal asks of skd.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Request {
    /// TERM, INT
    Stop,
    /// QUIT
    StopAll,
    /// HUP
    Reread,
    /// USR1
    Tell,
    /// USR2
    Replace,
    /// CHLD: at least one child has ended or stopped.
    Reap,
}

/// Blocks the signals that skd takes, so that none is lost from here on; they wait for `Taken`. SIGCHLD gets its
/// default disposition: where it was ignored, children would vanish without a status; and children that merely stop are
/// no news. SIGTTOU and SIGXFSZ are ignored: a log on a terminal or under a size limit is not to stop or end skd.
pub(crate) fn block(taken: &[Signal]) -> Result<(), Errno> {
    set_action(libc::SIGCHLD, Action::QuietChild)?;
    set_action(libc::SIGTTOU, Action::Ignore)?;
    set_action(libc::SIGXFSZ, Action::Ignore)?;
    let set: SigSet = taken.iter().copied().collect();
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?)
}

/// From here on TERM, INT and QUIT end the process as one that was asked to end, with status 0, even if they were ignored
/// or blocked when skd was started. A program that takes our place finds nothing of it.
pub(crate) fn exit_when_asked() -> Result<(), Errno> {
    extern "C" fn leave(_: i32) {
        // SAFETY: _exit(2) may be called in a signal handler; it ends the process at once.
        unsafe { libc::_exit(0) }
    }
    let asking = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];
    let action = SigAction::new(
        SigHandler::Handler(leave),
        SaFlags::empty(),
        SigSet::empty(),
    );
    for signal in asking {
        // SAFETY: the handler does nothing that a handler may not do.
        unsafe { sigaction(signal, &action) }?;
    }
    let set: SigSet = asking.into_iter().collect();
    Ok(sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None)?)
}

/// SIGCHLD as it has to be for waitpid(2) to tell how a child ended.
pub(crate) fn hear_of_children() -> Result<(), Errno> {
    set_action(libc::SIGCHLD, Action::Default)
}

/// SIGPIPE ignored again, when becoming a program has failed and there is something to be said of it.
pub(crate) fn ignore_pipe() {
    // It cannot fail for a signal that exists.
    let _ = set_action(libc::SIGPIPE, Action::Ignore);
}

/// Blocks every signal that can be blocked, for a process that nobody is to disturb.
pub(crate) fn block_all() -> Result<(), Errno> {
    Ok(sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        None,
    )?)
}

/// signalfd(2): the signals that were blocked, as something to poll. A blocked signal is never discarded, even if it
/// was ignored when skd was started.
pub(crate) struct Taken {
    fd: SignalFd,
    /// The numbers that one read(2) has brought, the next one last.
    heard: Vec<i32>,
    /// There were no more than those, so that the next answer is `None` without another call.
    was_all: bool,
}

/// How many signals one read(2) may bring; more than skd takes wait only while others send them.
const MOST_HEARD: usize = 8;
const INFO_BYTES: usize = size_of::<libc::signalfd_siginfo>();

impl Taken {
    pub(crate) fn new(taken: &[Signal]) -> Result<Self, Errno> {
        let set: SigSet = taken.iter().copied().collect();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            fd: SignalFd::with_flags(&set, flags)?,
            heard: Vec::with_capacity(MOST_HEARD),
            was_all: false,
        })
    }

    /// The number of the next signal, `None` when there is none.
    pub(crate) fn next_number(&mut self) -> Option<i32> {
        if self.heard.is_empty() && !std::mem::take(&mut self.was_all) {
            self.hear();
        }
        self.heard.pop()
    }

    /// read(2): as many signals as wait.
    fn hear(&mut self) {
        let mut bytes = [0; MOST_HEARD * INFO_BYTES];
        let count = nix::unistd::read(&self.fd, &mut bytes).unwrap_or(0);
        let infos = bytes.get(..count).unwrap_or(&[]).chunks_exact(INFO_BYTES);
        // The number is the first field, of 32 bits.
        let numbers = infos.filter_map(|info| info.first_chunk().copied());
        self.heard.extend(numbers.map(i32::from_ne_bytes).rev());
        self.was_all = (1..MOST_HEARD).contains(&self.heard.len());
    }

    /// The next request, `None` when there is none.
    pub(crate) fn next(&mut self) -> Option<Request> {
        loop {
            match self.next_number()? {
                libc::SIGTERM | libc::SIGINT => return Some(Request::Stop),
                libc::SIGQUIT => return Some(Request::StopAll),
                libc::SIGHUP => return Some(Request::Reread),
                libc::SIGUSR1 => return Some(Request::Tell),
                libc::SIGUSR2 => return Some(Request::Replace),
                libc::SIGCHLD => return Some(Request::Reap),
                _ => {}
            }
        }
    }
}

impl AsFd for Taken {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a child is to find otherwise than skd has it; sets of signals, signal N being bit N-1. What skd catches needs
/// nothing, since execve(2) sets it back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signals {
    /// Ignored by skd, but not by the child.
    pub(crate) to_default: u64,
    /// Ignored by the child, but not by skd.
    pub(crate) to_ignored: u64,
    /// What the child has blocked.
    pub(crate) blocked: u64,
}

impl Signals {
    /// Nothing blocked, every disposition default.
    pub(crate) fn clean() -> Self {
        Self {
            to_default: ignored_now() | kernel::UNASKED,
            ..Self::default()
        }
    }

    /// As skd was started, where `blocked` was blocked then.
    pub(crate) fn as_before(blocked: u64) -> Self {
        let (now, before) = (ignored_now(), ignored_before());
        Self {
            to_default: now & !before,
            to_ignored: before & !now,
            blocked,
        }
    }
}

/// The signals that a child would inherit as ignored.
fn ignored_now() -> u64 {
    (1..=LAST_SIGNAL)
        .filter(|number| kernel::is_ignored(*number))
        .map(bit)
        .sum()
}

/// Before becoming a program that is to have the signals skd was started with: SIGPIPE as it was. The rest skd has not
/// touched then.
pub(crate) fn restore_pipe() -> Result<(), Errno> {
    let was_ignored = ignored_before() & bit(libc::SIGPIPE) != 0;
    let action = if was_ignored {
        Action::Ignore
    } else {
        Action::Default
    };
    set_action(libc::SIGPIPE, action)
}

/// Before becoming a program that is to have clean signals: every disposition default, nothing blocked.
pub(crate) fn reset_all() -> Result<(), Errno> {
    let to_default = Signals::clean().to_default;
    for number in (1..=LAST_SIGNAL).filter(|number| to_default & bit(*number) != 0) {
        set_action(number, Action::Default)?;
    }
    Ok(sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::empty()),
        None,
    )?)
}

fn set_action(number: i32, action: Action) -> Result<(), Errno> {
    kernel::check(kernel::set_action(number, action))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    /// More of them than one read brings; they wait for this thread alone.
    #[test]
    fn every_signal_that_waits_is_told_once_and_in_order() {
        let all = [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGPIPE,
            Signal::SIGALRM,
            Signal::SIGTERM,
            Signal::SIGURG,
            Signal::SIGWINCH,
        ];
        let set: SigSet = all.into_iter().collect();
        set.thread_block().unwrap();
        let mut taken = Taken::new(&all).unwrap();
        assert!(all.len() > MOST_HEARD);
        for count in [all.len(), MOST_HEARD, 1] {
            assert_eq!(taken.next_number(), None);
            for signal in all.iter().take(count) {
                raise(*signal).unwrap();
            }
            for signal in all.iter().take(count) {
                assert_eq!(taken.next_number(), Some(*signal as i32));
            }
        }
        assert_eq!(taken.next_number(), None);
        raise(Signal::SIGTERM).unwrap();
        assert_eq!(taken.next(), Some(Request::Stop));
        assert_eq!(taken.next(), None);
        assert_eq!(taken.next(), None);
    }
}
