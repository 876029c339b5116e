//! System calls without libc, with the kernel's own structures, on x86-64 and arm64.

use crate::sys::kernel::Action;
use std::arch::asm;
use std::ffi::{c_int, c_long};

/// What clone(2) is told besides: nothing, skd goes on while the child is in its memory.
pub(crate) const WAITING: c_int = 0;
/// Signals of which it cannot be known whether they are ignored.
pub(crate) const UNASKED: u64 = 0;

/// Bytes of the kernel's signal set, which rt_sigaction(2) and rt_sigprocmask(2) want to be told.
const SET_BYTES: usize = 8;
const SIG_SETMASK: usize = libc::SIG_SETMASK.cast_unsigned() as usize;

/// The kernel's struct sigaction of these two.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

const DEFAULT: KernelAction = KernelAction {
    handler: libc::SIG_DFL,
    flags: 0,
    restorer: 0,
    mask: 0,
};
static DEFAULT_ACTION: KernelAction = DEFAULT;
static QUIET_CHILD: KernelAction = KernelAction {
    flags: libc::SA_NOCLDSTOP as usize,
    ..DEFAULT
};
static IGNORE: KernelAction = KernelAction {
    handler: libc::SIG_IGN,
    ..DEFAULT
};

/// One system call, unused arguments being 0. Returns what the kernel returns: a value from -4095 to -1 is an errno,
/// negated.
///
/// # Safety
/// As for the call itself: pointers among the arguments must be good for what the kernel does with them.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) unsafe fn syscall(number: c_long, arguments: [usize; 4]) -> c_long {
    let [first, second, third, fourth] = arguments;
    let returned: c_long;
    // SAFETY: the x86-64 convention of syscall(2): these registers in, rax out, rcx and r11 lost. That the arguments
    // are good is the caller's promise.
    unsafe {
        asm!("syscall", inlateout("rax") number => returned, in("rdi") first, in("rsi") second,
             in("rdx") third, in("r10") fourth, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    returned
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) unsafe fn syscall(number: c_long, arguments: [usize; 4]) -> c_long {
    let [first, second, third, fourth] = arguments;
    let returned: c_long;
    // SAFETY: the arm64 convention of syscall(2): these registers in, x0 out, nothing lost. That the arguments are good
    // is the caller's promise.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") first => returned, in("x1") second, in("x2") third,
             in("x3") fourth, options(nostack));
    }
    returned
}

/// rt_sigaction(2), by the kernel's own numbers: libc hides 32 and 33, which others may have left ignored. Returns 0, or
/// an errno negated.
pub(crate) fn set_action(number: c_int, action: Action) -> c_long {
    let action = match action {
        Action::Default => &DEFAULT_ACTION,
        Action::QuietChild => &QUIET_CHILD,
        Action::Ignore => &IGNORE,
    };
    let action = (&raw const *action).expose_provenance();
    let arguments = [number.cast_unsigned() as usize, action, 0, SET_BYTES];
    // SAFETY: the kernel reads one sigaction of its own layout; the handler is SIG_DFL or SIG_IGN, so no code of ours
    // will run in a signal's context.
    unsafe { syscall(libc::SYS_rt_sigaction, arguments) }
}

/// rt_sigaction(2): whether a signal is ignored.
pub(crate) fn is_ignored(number: c_int) -> bool {
    let mut action = DEFAULT;
    let to = (&raw mut action).expose_provenance();
    let arguments = [number.cast_unsigned() as usize, 0, to, SET_BYTES];
    // SAFETY: the kernel writes one sigaction of its own layout into `action`, which has that layout.
    let returned = unsafe { syscall(libc::SYS_rt_sigaction, arguments) };
    returned == 0 && action.handler == libc::SIG_IGN
}

/// rt_sigprocmask(2): blocks these signals and no others.
pub(crate) fn block_only(set: &u64) {
    let set = (&raw const *set).expose_provenance();
    let arguments = [SIG_SETMASK, set, 0, SET_BYTES];
    // SAFETY: the kernel reads a set of SET_BYTES bytes.
    unsafe { syscall(libc::SYS_rt_sigprocmask, arguments) };
}

/// rt_sigprocmask(2): the signals that are blocked.
pub(crate) fn blocked() -> u64 {
    let mut set = 0u64;
    let arguments = [0, 0, (&raw mut set).expose_provenance(), SET_BYTES];
    // SAFETY: the kernel writes a set of SET_BYTES bytes.
    unsafe { syscall(libc::SYS_rt_sigprocmask, arguments) };
    set
}
