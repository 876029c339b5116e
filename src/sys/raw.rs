//! System calls without libc, for a child that shares our memory: libc's wrappers write errno, which belongs to the
//! parent's thread.

use std::arch::asm;

/// One system call, unused arguments being 0. Returns what the kernel returns: a value from -4095 to -1 is an errno,
/// negated.
///
/// # Safety
/// As for the call itself: pointers among the arguments must be good for what the kernel does with them.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) unsafe fn syscall(number: libc::c_long, arguments: [usize; 4]) -> libc::c_long {
    let [first, second, third, fourth] = arguments;
    let returned: libc::c_long;
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
pub(crate) unsafe fn syscall(number: libc::c_long, arguments: [usize; 4]) -> libc::c_long {
    let [first, second, third, fourth] = arguments;
    let returned: libc::c_long;
    // SAFETY: the arm64 convention of syscall(2): these registers in, x0 out, nothing lost. That the arguments are good
    // is the caller's promise.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") first => returned, in("x1") second, in("x2") third,
             in("x3") fourth, options(nostack));
    }
    returned
}
