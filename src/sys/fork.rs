//! Copies of ourselves: the daemon and the logger; never a program's child, which goes by `spawn`.

use crate::sys::errno::{Errno, check, uninterrupted};
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Which of the two we are after a fork.
pub(crate) enum Side {
    Parent { pid: i32 },
    Child,
}

/// fork(2). skd has one thread when it calls this, or none besides that holds a lock the child could need: glibc makes
/// its allocator usable in the child. Where hosts of an inetd.conf(5) are being looked up, a lock of the resolver may be
/// held for a moment; the only child that looks up names itself has a time limit.
pub(crate) fn fork() -> Result<Side, Errno> {
    // SAFETY: the child goes on in the same code with a copy of everything; no lock of ours is held by another thread.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent { pid }),
    }
}

/// setsid(2): a new session, without a controlling terminal.
pub(crate) fn new_session() -> Result<(), Errno> {
    nix::unistd::setsid()?;
    Ok(())
}

/// _exit(2): ends at once, without destructors or buffers that belong to the parent.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: the call takes no pointer and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// pipe2(2), close-on-exec: the end to read and the end to write.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // Never below 3: those are replaced as standard descriptors.
    Ok((above_standard(read)?, above_standard(write)?))
}

fn above_standard(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 {
        Ok(fd)
    } else {
        crate::sys::fd::duplicate(fd.as_fd())
    }
}

/// write(2) of one byte, which a pipe takes whole or not at all.
pub(crate) fn send_byte(pipe: &OwnedFd, byte: u8) -> Result<(), Errno> {
    nix::unistd::write(pipe, &[byte])?;
    Ok(())
}

/// read(2): as many bytes as there are, 0 at the end.
pub(crate) fn read(from: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    uninterrupted(|| nix::unistd::read(from, buffer).map_err(Errno::from))
}

/// waitpid(2) of one child, until it has ended; whether it ended well.
pub(crate) fn wait_for(pid: i32) -> bool {
    let mut status = 0;
    let wait = || {
        // SAFETY: the call writes one int into `status`.
        check(unsafe { libc::waitpid(pid, &raw mut status, 0) })
    };
    match uninterrupted(wait) {
        Ok(_) => status == 0,
        // Where SIGCHLD is ignored nothing is left of it but that it has ended.
        Err(errno) => errno == Errno::NO_CHILD,
    }
}

/// Before execve(2), which closes what is not handed over, and would wait for what strangers have passed along: from here on a
/// process has all of it, too, until what is returned is closed. A process that ends waits for nothing.
///
/// # Errors
/// No process could be had.
pub(crate) fn outlive() -> Result<OwnedFd, Errno> {
    let (until, open) = pipe()?;
    if let Side::Parent { pid } = fork()? {
        return wait_for(pid).then_some(open).ok_or(Errno::AGAIN);
    }
    drop(open);
    // Nobody has to reap it.
    match fork() {
        Ok(Side::Child) => drop(read(&until, &mut [0])),
        Ok(Side::Parent { .. }) => {}
        Err(_) => leave(111),
    }
    leave(0)
}

/// isatty(3): whether a standard descriptor is a terminal.
pub(crate) fn is_terminal(number: i32) -> bool {
    // SAFETY: the call takes no pointer.
    unsafe { libc::isatty(number) == 1 }
}

/// prctl(2) PR_SET_NAME: what ps(1) calls this process.
pub(crate) fn set_name(name: &std::ffi::CStr) {
    // Only for show.
    let _ = nix::sys::prctl::set_name(name);
}
