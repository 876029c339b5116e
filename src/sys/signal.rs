//! Signals: as we inherited them, as skd takes them, as a program is given them.

use crate::sys::errno::Errno;
use crate::sys::raw;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The highest signal number of Linux; numbers start at 1.
pub(crate) const LAST: i32 = 64;
/// Bytes of the kernel's signal set, which rt_sigaction(2) and rt_sigprocmask(2) want to be told.
pub(crate) const SET_BYTES: usize = 8;

/// The kernel's struct sigaction of x86-64 and arm64.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct KernelAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// SIG_DFL with no flags.
pub(crate) const DEFAULT: KernelAction = KernelAction {
    handler: libc::SIG_DFL,
    flags: 0,
    restorer: 0,
    mask: 0,
};
/// SIG_DFL without news of children that stop and go on.
const QUIET_CHILD: KernelAction = KernelAction {
    flags: libc::SA_NOCLDSTOP as usize,
    ..DEFAULT
};
/// SIG_IGN with no flags.
pub(crate) const IGNORE: KernelAction = KernelAction {
    handler: libc::SIG_IGN,
    ..DEFAULT
};

/// The signals that were ignored when skd was started, signal N being bit N-1. Rust's runtime ignores SIGPIPE before
/// main, so this is looked up before the runtime starts.
static IGNORED_BEFORE: AtomicU64 = AtomicU64::new(0);

extern "C" fn remember_ignored() {
    let mut set = 0;
    let mut number = 1;
    while number <= LAST {
        if is_ignored(number) {
            set |= bit(number);
        }
        number += 1;
    }
    IGNORED_BEFORE.store(set, Ordering::Relaxed);
}

/// A signal in a set as the kernel has it.
pub(crate) const fn bit(number: i32) -> u64 {
    1 << (number - 1)
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
    set_action(libc::SIGCHLD, &QUIET_CHILD)?;
    set_action(libc::SIGTTOU, &IGNORE)?;
    set_action(libc::SIGXFSZ, &IGNORE)?;
    let set: SigSet = taken.iter().copied().collect();
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?)
}

/// SIGCHLD as it has to be for waitpid(2) to tell how a child ended.
pub(crate) fn hear_of_children() -> Result<(), Errno> {
    set_action(libc::SIGCHLD, &DEFAULT)
}

/// SIGPIPE ignored again, when becoming a program has failed and there is something to be said of it.
pub(crate) fn ignore_pipe() {
    // It cannot fail for a signal that exists.
    let _ = set_action(libc::SIGPIPE, &IGNORE);
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
pub(crate) struct Taken(SignalFd);

impl Taken {
    pub(crate) fn new(taken: &[Signal]) -> Result<Self, Errno> {
        let set: SigSet = taken.iter().copied().collect();
        Ok(Self(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
        )?))
    }

    /// The number of the next signal, `None` when there is none.
    pub(crate) fn next_number(&self) -> Option<i32> {
        self.0
            .read_signal()
            .ok()?
            .map(|info| info.ssi_signo.cast_signed())
    }

    /// The next request, `None` when there is none.
    pub(crate) fn next(&self) -> Option<Request> {
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
        self.0.as_fd()
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
            to_default: ignored_now(),
            ..Self::default()
        }
    }

    /// As skd was started, where `blocked` was blocked then.
    pub(crate) fn as_before(blocked: u64) -> Self {
        let (now, before) = (ignored_now(), IGNORED_BEFORE.load(Ordering::Relaxed));
        Self {
            to_default: now & !before,
            to_ignored: before & !now,
            blocked,
        }
    }
}

/// The signals that a child would inherit as ignored.
fn ignored_now() -> u64 {
    (1..=LAST)
        .filter(|number| is_ignored(*number))
        .map(bit)
        .sum()
}

/// The mask of blocked signals, signal N being bit N-1.
pub(crate) fn blocked() -> u64 {
    let mut set = 0u64;
    let arguments = [0, 0, (&raw mut set).expose_provenance(), SET_BYTES];
    // SAFETY: the kernel writes a set of SET_BYTES bytes.
    unsafe { raw::syscall(libc::SYS_rt_sigprocmask, arguments) };
    set
}

/// Before becoming a program that is to have the signals skd was started with: SIGPIPE as it was. The rest skd has not
/// touched then.
pub(crate) fn restore_pipe() -> Result<(), Errno> {
    let was_ignored = IGNORED_BEFORE.load(Ordering::Relaxed) & bit(libc::SIGPIPE) != 0;
    set_action(libc::SIGPIPE, if was_ignored { &IGNORE } else { &DEFAULT })
}

/// Before becoming a program that is to have clean signals: every disposition default, nothing blocked.
pub(crate) fn reset_all() -> Result<(), Errno> {
    for number in (1..=LAST).filter(|number| is_ignored(*number)) {
        set_action(number, &DEFAULT)?;
    }
    Ok(sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::empty()),
        None,
    )?)
}

/// rt_sigaction(2), by the kernel's own numbers: libc hides 32 and 33, which others may have left ignored.
fn is_ignored(number: i32) -> bool {
    let mut action = DEFAULT;
    let arguments = [
        number.cast_unsigned() as usize,
        0,
        (&raw mut action).expose_provenance(),
        SET_BYTES,
    ];
    // SAFETY: the kernel writes one sigaction of its own layout into `action`, which has that layout.
    let returned = unsafe { raw::syscall(libc::SYS_rt_sigaction, arguments) };
    returned == 0 && action.handler == libc::SIG_IGN
}

fn set_action(number: i32, action: &KernelAction) -> Result<(), Errno> {
    let arguments = [
        number.cast_unsigned() as usize,
        (&raw const *action).expose_provenance(),
        0,
        SET_BYTES,
    ];
    // SAFETY: the kernel reads one sigaction of its own layout; the handler is SIG_DFL or SIG_IGN, so no code of ours
    // will run in a signal's context.
    let returned = unsafe { raw::syscall(libc::SYS_rt_sigaction, arguments) };
    if returned == 0 {
        Ok(())
    } else {
        Err(Errno(i32::try_from(-returned).unwrap_or(libc::EINVAL)))
    }
}
