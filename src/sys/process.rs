//! Processes: which have ended, how to signal one, what could become one.

use crate::sys::errno::{Errno, check};
use nix::sys::statfs::{FsType, fstatfs};
use std::ffi::{CStr, c_int};
use std::fs::Metadata;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How a child ended: its exit code, or the signal that killed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    Exit(i32),
    Signal(i32),
}

/// waitpid(2) of one child, without waiting: its status if it has ended.
///
/// # Errors
/// ECHILD if it has been reaped. No other is known, but whoever gets one must ask again: nobody tells a second time.
pub(crate) fn reap_one(pid: i32) -> Result<Option<Status>, Errno> {
    wait_for(pid).map(|ended| ended.map(|(_, status)| status))
}

/// waitpid(2) of any child, without waiting: its pid and status, `None` when no more have ended. The kernel looks
/// through all children for it.
///
/// # Errors
/// ECHILD if there is no child at all.
pub(crate) fn reap_any() -> Result<Option<(i32, Status)>, Errno> {
    wait_for(-1)
}

/// Read by libc's own macros, since nix fails on real-time signals after having reaped.
fn wait_for(pid: i32) -> Result<Option<(i32, Status)>, Errno> {
    let mut status: c_int = 0;
    // SAFETY: the call writes one int into `status`.
    let pid = check(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) })?;
    if pid == 0 {
        return Ok(None);
    }
    let ended = if libc::WIFSIGNALED(status) {
        Status::Signal(libc::WTERMSIG(status))
    } else {
        Status::Exit(libc::WEXITSTATUS(status))
    };
    Ok(Some((pid, ended)))
}

/// Whether children may be ours that we did not start: we are PID 1 or a subreaper, or had some when we were started
/// by execve(2).
pub(crate) fn may_have_strangers() -> bool {
    let mut subreaper: c_int = 0;
    // SAFETY: the call writes one int into `subreaper`.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper) };
    // SAFETY: siginfo_t is numbers, for which all zeros is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the call writes one siginfo_t into `info`; it fails with ECHILD if there is no child at all.
    let asked = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
    own_pid() == 1 || subreaper != 0 || asked == 0
}

pub(crate) use libc::{SIGCHLD as CHILD, SIGHUP as HANGUP, SIGKILL as KILL};

/// The signals that ask a program to end.
pub(crate) const ENDING: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

/// kill(2). `pid` must be a child not yet reaped, whose number therefore cannot have gone to anyone else.
pub(crate) fn send(pid: i32, signal: i32) {
    // SAFETY: the call takes no pointer. That it fails for a child that has ended already is no trouble.
    unsafe { libc::kill(pid, signal) };
}

/// The same to a child and all that it has started, if it leads a process group; or to the child alone, before it does.
pub(crate) fn send_group(pid: i32, signal: i32) {
    send(-pid, signal);
    send(pid, signal);
}

/// kill(2) with signal 0: whether there is a process of this number.
pub(crate) fn is_alive(pid: i32) -> bool {
    // SAFETY: the call takes no pointer.
    let asked = check(unsafe { libc::kill(pid, 0) });
    pid > 0 && (asked.is_ok() || asked == Err(Errno::NOT_PERMITTED))
}

/// kill(2): TERM, then CONT so that a stopped process gets to see it. `pid` must be a child not yet reaped, whose
/// number therefore cannot have gone to anyone else.
pub(crate) fn terminate(pid: i32) {
    for signal in [libc::SIGTERM, libc::SIGCONT] {
        send(pid, signal);
    }
}

/// getpid(2).
pub(crate) fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// The inode number of our own pidfd, by which sd_listen_fds(3) knows a process (LISTEN_PIDFDID); `None` where pidfds
/// have no file system of their own, before Linux 6.9: all have one number there.
pub(crate) fn own_pidfd_id() -> Option<u64> {
    /// PIDFS_MAGIC of linux/magic.h
    const PIDFS: FsType = FsType(0x5049_4446);
    let pidfd = pidfd_open(own_pid()).ok()?;
    let system = fstatfs(&pidfd).ok()?;
    let (_, inode) = crate::sys::fd::identity(&pidfd).ok()?;
    (system.filesystem_type() == PIDFS).then_some(inode)
}

/// pidfd_open(2), close-on-exec by nature.
pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no pointer.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(c_int::try_from(fd).unwrap_or(-1))?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// umask(2): sets the bits that new files do not get, and returns what was set before.
pub(crate) fn set_umask(bits: u32) -> u32 {
    // SAFETY: the call takes no pointer and cannot fail.
    unsafe { libc::umask(bits) }
}

/// umask(2): the bits that new files do not get.
pub(crate) fn umask() -> u32 {
    let bits = set_umask(0o777);
    set_umask(bits);
    bits
}

/// faccessat(2) with the effective ids, and stat(2): whether execve(2) would find something to run at `path`.
///
/// # Errors
/// Why not; EACCES for what is no regular file.
pub(crate) fn check_executable(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path ends in NUL and outlives the call.
    check(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })?;
    let file = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let is_program = |file: &Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
    match file.metadata() {
        Ok(file) if is_program(&file) => Ok(()),
        Ok(_) => Err(Errno(libc::EACCES)),
        Err(error) => Err(Errno(error.raw_os_error().unwrap_or(libc::EACCES))),
    }
}
