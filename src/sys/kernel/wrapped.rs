//! System calls by libc's wrappers, which know the structures of every machine.

use crate::sys::errno::Errno;
use crate::sys::kernel::{Action, LAST_SIGNAL, bit};
use std::ffi::{c_int, c_long};
use std::ptr::{null, null_mut};

/// What clone(2) is told besides: skd's thread waits until the child has left its memory, so that errno is nobody's
/// else meanwhile.
pub(crate) const WAITING: c_int = libc::CLONE_VFORK;

/// syscall(2), unused arguments being 0. Returns an errno negated where it fails.
///
/// # Safety
/// As for the call itself: pointers among the arguments must be good for what the kernel does with them.
pub(crate) unsafe fn syscall(number: c_long, arguments: [usize; 4]) -> c_long {
    let [first, second, third, fourth] = arguments;
    // SAFETY: that the arguments are good is the caller's promise.
    let returned = unsafe { libc::syscall(number, first, second, third, fourth) };
    returned_or_errno(returned)
}

fn returned_or_errno(returned: c_long) -> c_long {
    match returned {
        -1 => -c_long::from(Errno::last().0),
        returned => returned,
    }
}

/// Signals that libc keeps for itself, and refuses to say anything of: they may be ignored.
pub(crate) const UNASKED: u64 = bit(32) | bit(33);

/// Bytes of the kernel's signal set, and of more than its struct sigaction anywhere.
const SET_BYTES: usize = if cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
)) {
    16
} else {
    8
};
const ACTION_WORDS: usize = 8;

/// sigaction(2). Returns 0, or an errno negated.
pub(crate) fn set_action(number: c_int, action: Action) -> c_long {
    if UNASKED & bit(number) != 0 && action == Action::Default {
        return set_default(number);
    }
    // SAFETY: sigaction is numbers and a set, for which all zeros is a value: SIG_DFL, no flags.
    let mut wanted: libc::sigaction = unsafe { std::mem::zeroed() };
    match action {
        Action::Default => {}
        Action::QuietChild => wanted.sa_flags = libc::SA_NOCLDSTOP,
        Action::Ignore => wanted.sa_sigaction = libc::SIG_IGN,
    }
    // SAFETY: the call reads one sigaction; the handler is SIG_DFL or SIG_IGN, so no code of ours will run in a signal's
    // context.
    let returned = unsafe { libc::sigaction(number, &raw const wanted, null_mut()) };
    returned_or_errno(c_long::from(returned))
}

/// rt_sigaction(2): SIG_DFL, for what libc refuses.
fn set_default(number: c_int) -> c_long {
    // SIG_DFL with no flags and an empty mask is all zeros in every layout.
    let zeros = [0u64; ACTION_WORDS];
    let action = zeros.as_ptr().expose_provenance();
    let arguments = [number.cast_unsigned() as usize, action, 0, SET_BYTES];
    // SAFETY: the kernel reads one sigaction, which is no longer than `zeros`.
    unsafe { syscall(libc::SYS_rt_sigaction, arguments) }
}

/// sigaction(2): whether a signal is ignored.
pub(crate) fn is_ignored(number: c_int) -> bool {
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one sigaction into `action`.
    let returned = unsafe { libc::sigaction(number, null(), &raw mut action) };
    returned == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// sigprocmask(2): blocks these signals and no others.
pub(crate) fn block_only(set: &u64) {
    // SAFETY: a set is numbers, for which all zeros is a value: the empty one.
    let mut wanted: libc::sigset_t = unsafe { std::mem::zeroed() };
    for number in (1..=LAST_SIGNAL).filter(|number| set & bit(*number) != 0) {
        // SAFETY: the call writes into `wanted`. It refuses only what is no signal.
        unsafe { libc::sigaddset(&raw mut wanted, number) };
    }
    // SAFETY: the call reads one set.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const wanted, null_mut()) };
}

/// sigprocmask(2): the signals that are blocked.
pub(crate) fn blocked() -> u64 {
    // SAFETY: as above.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one set into `set`.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, null(), &raw mut set) };
    let is_blocked = |number: &c_int| {
        // SAFETY: the call reads one set.
        unsafe { libc::sigismember(&raw const set, *number) == 1 }
    };
    (1..=LAST_SIGNAL).filter(is_blocked).map(bit).sum()
}
