//! The child between clone(2) and execve(2). It shares skd's memory, thread-local errno included: nothing here may call
//! libc, allocate, lock or panic.

use crate::sys::kernel::{self, Action, LAST_SIGNAL};
use crate::sys::limits;
use crate::sys::spawn::reports::Report;
use crate::sys::spawn::slot::{PID_DIGITS, Shared};
use std::ffi::{c_int, c_long, c_void};

/// What a child exits with that could not become PROG, as a shell does.
pub(super) const NOT_EXECUTED: u8 = 127;
const F_SETFD: usize = libc::F_SETFD.cast_unsigned() as usize;

/// The calls are, in this order: futex, where skd has not closed the connection yet; rt_sigaction for each signal that
/// skd has otherwise than the child; dup3 onto each of 0 to 3 that is handed over, or fcntl where the descriptor has that
/// number already; prlimit64; setsid; getpid; rt_sigprocmask; execve. When a dup3, the fcntl or execve fails: getpid;
/// write, of what `Reports` hears; exit_group.
pub(super) extern "C" fn become_prog(argument: *mut c_void) -> c_int {
    // SAFETY: the argument is the slot's Shared, which nobody writes while this child uses it.
    let shared = unsafe { &*argument.cast::<Shared>() };
    if let Some(turn) = shared.turn {
        turn.wait();
    }
    set_actions(shared);
    let mut failed = place_descriptor(shared);
    // The limit comes after the descriptors, which it may be too low for.
    if let Some(files) = &shared.files {
        let limit = (&raw const *files).expose_provenance();
        // SAFETY: the kernel reads one limit of this layout; 0 is this process.
        unsafe { kernel::syscall(libc::SYS_prlimit64, [0, limits::NOFILE, limit, 0]) };
    }
    if shared.leads_session {
        // SAFETY: the call takes no pointer. No child that was just made leads a process group, so it does not fail.
        unsafe { kernel::syscall(libc::SYS_setsid, [0; 4]) };
    }
    complete_listen_pid(shared);
    kernel::block_only(&shared.signals.blocked);
    if failed == 0 {
        let (path, argv, envp) = (
            shared.path.expose_provenance(),
            shared.argv.expose_provenance(),
            shared.envp.expose_provenance(),
        );
        // SAFETY: path, argv and envp are as execve(2) wants them, and stay while the slot is in use.
        failed = unsafe { kernel::syscall(libc::SYS_execve, [path, argv, envp, 0]) };
    }
    report(shared, failed);
    loop {
        // SAFETY: the call takes no pointer and does not return.
        unsafe { kernel::syscall(libc::SYS_exit_group, [NOT_EXECUTED.into(), 0, 0, 0]) };
    }
}

/// Says why PROG could not be executed. There is room for it in the pipe: see `Reports`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a pid is an int, and the kernel returned -4095 to -1"
)]
fn report(shared: &Shared, failed: c_long) {
    // SAFETY: the call takes no pointer.
    let pid = unsafe { kernel::syscall(libc::SYS_getpid, [0; 4]) };
    let report: Report = [pid as c_int, -failed as c_int];
    let from = (&raw const report).expose_provenance();
    let to = shared.reports.cast_unsigned() as usize;
    // SAFETY: the kernel reads as many bytes as the report has.
    unsafe { kernel::syscall(libc::SYS_write, [to, from, size_of::<Report>(), 0]) };
}

fn set_actions(shared: &Shared) {
    let mut number: c_int = 1;
    while number <= LAST_SIGNAL {
        let bit = kernel::bit(number);
        if shared.signals.to_default & bit != 0 {
            kernel::set_action(number, Action::Default);
        } else if shared.signals.to_ignored & bit != 0 {
            kernel::set_action(number, Action::Ignore);
        }
        number += 1;
    }
}

/// dup3(2): what is handed over gets each of its numbers, and loses none, since it is never itself written over.
/// Returns what the first call that failed did, 0 if none did.
fn place_descriptor(shared: &Shared) -> c_long {
    let from = shared.fd.cast_unsigned() as usize;
    let handing = shared.handing;
    let wanted = [handing.stdio, handing.stdio, handing.stderr, handing.third];
    for (number, is_wanted) in wanted.into_iter().enumerate() {
        if is_wanted {
            let (call, arguments) = if number == from {
                // dup3(2) would refuse; all that is missing is to stay open.
                (libc::SYS_fcntl, [from, F_SETFD, 0, 0])
            } else {
                (libc::SYS_dup3, [from, number, 0, 0])
            };
            // SAFETY: the call takes no pointer. The child's descriptor table is its own.
            let returned = unsafe { kernel::syscall(call, arguments) };
            if returned < 0 {
                return returned;
            }
        }
    }
    0
}

/// getpid(2), as digits where LISTEN_PID's value is to stand.
fn complete_listen_pid(shared: &Shared) {
    if shared.listen_pid.is_null() {
        return;
    }
    // SAFETY: the call takes no pointer.
    let pid = unsafe { kernel::syscall(libc::SYS_getpid, [0; 4]) };
    let mut digits = [0; PID_DIGITS];
    let mut rest = pid.cast_unsigned();
    let mut count = 0;
    for digit in &mut digits {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    let mut to = shared.listen_pid;
    for digit in digits.into_iter().take(count).rev() {
        // SAFETY: PID_DIGITS bytes may be written there, and no more than that are.
        unsafe { to.write(digit) };
        to = to.wrapping_add(1);
    }
    // SAFETY: a NUL may stand behind the last of them.
    unsafe { to.write(0) };
}
