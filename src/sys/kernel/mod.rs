//! What is asked of the kernel by a child that shares our memory, and of signals by skd itself.
//!
//! libc's wrappers write errno, which belongs to skd's thread as long as the child is in skd's memory. On x86-64 and
//! arm64 the child therefore makes system calls of its own, and skd goes on. Elsewhere it uses libc's, and skd's thread
//! waits until the child has left its memory (CLONE_VFORK), as it would in posix_spawn(3), which is made of the same
//! call but could give a child neither its limit of descriptors nor signals that are ignored nor its pid. Building with
//! `--cfg skd_portable_spawn` has it so everywhere.

#[cfg_attr(
    all(
        not(skd_portable_spawn),
        target_pointer_width = "64",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ),
    path = "raw.rs"
)]
#[cfg_attr(
    not(all(
        not(skd_portable_spawn),
        target_pointer_width = "64",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )),
    path = "wrapped.rs"
)]
mod calls;

pub(crate) use calls::{UNASKED, WAITING, block_only, blocked, is_ignored, set_action, syscall};

use crate::sys::errno::Errno;
use std::ffi::{c_int, c_long};

/// The highest signal number that skd looks at, which is Linux's highest but on MIPS; numbers start at 1.
pub(crate) const LAST_SIGNAL: i32 = 64;

/// A signal in a set, signal N being bit N-1.
pub(crate) const fn bit(number: i32) -> u64 {
    1 << (number - 1)
}

/// What happens when a signal comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// SIG_DFL
    Default,
    /// SIG_DFL without news of children that stop and go on.
    QuietChild,
    /// SIG_IGN
    Ignore,
}

/// What a system call returned that was made without libc.
///
/// # Errors
/// The errno that the kernel returned negated.
pub(crate) fn check(returned: c_long) -> Result<(), Errno> {
    match returned {
        ..0 => Err(Errno(c_int::try_from(-returned).unwrap_or(libc::EINVAL))),
        _ => Ok(()),
    }
}
