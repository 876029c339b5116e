//! Descriptors: what they are, which stay open, what they refer to.

use crate::sys::errno::{Errno, check, uninterrupted};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use std::ffi::{c_int, c_uint};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// What kind of file a descriptor refers to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FileKind {
    Socket,
    Fifo,
    /// A regular file, a folder or a block device: nothing that waits for anyone.
    Storage,
    /// A POSIX message queue, mq_overview(7).
    MessageQueue,
    /// A character device, or something without a file type, such as an eventfd.
    Other,
}

/// Which file a descriptor refers to, as stat(2) has it: device and inode.
pub(crate) type Identity = (u64, u64);

/// The descriptor of this number, ours from here on.
///
/// # Errors
/// EBADF if it is not open.
pub(crate) fn take(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD reads no memory.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is open, as just seen, and the caller takes each number at most once (`listen::adopt` sees to it), so
    // that nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The same of one that the program before us kept open: close-on-exec again.
///
/// # Errors
/// EBADF if it is not open.
pub(crate) fn resume(number: i32) -> Result<OwnedFd, Errno> {
    let fd = take(number)?;
    set_cloexec(&fd, true)?;
    Ok(fd)
}

/// fcntl(2) F_GETFD: whether the descriptor of this number is open.
pub(crate) fn is_open(number: i32) -> bool {
    // SAFETY: F_GETFD reads no memory.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

/// Bit N: standard descriptor N was closed when skd was started. Rust's runtime opens /dev/null in its place before
/// main, so this is looked up before the runtime starts.
static WERE_CLOSED: AtomicU8 = AtomicU8::new(0);

extern "C" fn remember_closed() {
    let mut set = 0;
    let mut number = 0;
    while number < 3 {
        // SAFETY: F_GETFD reads no memory.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            set |= 1 << number;
        }
        number += 1;
    }
    WERE_CLOSED.store(set, Ordering::Relaxed);
}

// SAFETY: the C library calls each entry of this section once, before main, as a C function; ours takes no arguments,
// needs nothing of Rust's runtime and does not unwind.
#[unsafe(link_section = ".init_array")]
#[used]
static REMEMBER_CLOSED: extern "C" fn() = remember_closed;

/// Whether the standard descriptor of this number was open when skd was started.
///
/// # Errors
/// EBADF if it was not.
pub(crate) fn was_open(number: c_int) -> Result<(), Errno> {
    match WERE_CLOSED.load(Ordering::Relaxed) & (1 << number) {
        0 => Ok(()),
        _ => Err(Errno(libc::EBADF)),
    }
}

/// Descriptors 0, 1 and 2, which are always open: Rust's runtime opens /dev/null in place of a closed one before main.
pub(crate) fn standard(number: c_int) -> BorrowedFd<'static> {
    assert!(
        (0..=2).contains(&number),
        "only 0, 1 and 2 stay open for ever"
    );
    // SAFETY: 0, 1 and 2 are open from before main and are only ever replaced, never closed.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// fcntl(2) F_SETFD: the descriptor is closed by execve(2), or is not.
pub(crate) fn set_cloexec(fd: impl AsFd, on: bool) -> Result<(), Errno> {
    let flags = if on {
        FdFlag::FD_CLOEXEC
    } else {
        FdFlag::empty()
    };
    fcntl(fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// fcntl(2) F_DUPFD_CLOEXEC: the same file under a number from 3 up.
pub(crate) fn duplicate(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    duplicate_from(fd, 3)
}

/// The same under a number from `least` up.
pub(crate) fn duplicate_from(fd: impl AsFd, least: c_int) -> Result<OwnedFd, Errno> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// fcntl(2) F_DUPFD: the same file under a number from `least` up, open across execve(2). Nobody owns it: it is for the
/// program that takes our place.
pub(crate) fn copy_to_inherit(fd: impl AsFd, least: c_int) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_DUPFD(least))?;
    Ok(())
}

/// fcntl(2) F_SETFL: O_NONBLOCK of the open file description, which others may share. No call is spent where it is
/// as wanted already.
pub(crate) fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_NONBLOCK) != on {
        let mut wanted = flags;
        wanted.set(OFlag::O_NONBLOCK, on);
        fcntl(fd, FcntlArg::F_SETFL(wanted))?;
    }
    Ok(())
}

/// fstat(2): what kind of file this is.
pub(crate) fn kind(fd: impl AsFd) -> Result<FileKind, Errno> {
    let format = SFlag::from_bits_truncate(fstat(fd.as_fd())?.st_mode) & SFlag::S_IFMT;
    Ok(match format {
        // To stat(2) a message queue is a regular file.
        SFlag::S_IFREG if is_message_queue(fd.as_fd()) => FileKind::MessageQueue,
        SFlag::S_IFSOCK => FileKind::Socket,
        SFlag::S_IFIFO => FileKind::Fifo,
        SFlag::S_IFREG | SFlag::S_IFDIR | SFlag::S_IFBLK => FileKind::Storage,
        _ => FileKind::Other,
    })
}

/// mq_getattr(3): whether this is a message queue.
fn is_message_queue(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: mq_attr is numbers, for which all zeros is a value.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one mq_attr into `attributes`.
    unsafe { libc::mq_getattr(fd.as_raw_fd(), &raw mut attributes) == 0 }
}

/// fcntl(2) F_GETFL: whether the descriptor can be read from.
pub(crate) fn can_be_read(fd: impl AsFd) -> Result<bool, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    Ok(flags & OFlag::O_ACCMODE != OFlag::O_WRONLY)
}

/// readlink(2) in /proc: the path that a descriptor was opened by, where it has one.
pub(crate) fn path_of(fd: impl AsFd) -> Option<Vec<u8>> {
    let number = fd.as_fd().as_raw_fd();
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    let path = std::os::unix::ffi::OsStringExt::into_vec(link.into_os_string());
    path.starts_with(b"/").then_some(path)
}

/// fstat(2): which file this is.
pub(crate) fn identity(fd: impl AsFd) -> Result<Identity, Errno> {
    Ok(identity_of(&fstat(fd)?))
}

/// Which file stat(2) has told of.
#[allow(
    clippy::useless_conversion,
    reason = "the numbers are shorter on machines of 32 bits"
)]
pub(crate) fn identity_of(status: &FileStat) -> Identity {
    (status.st_dev.into(), status.st_ino.into())
}

/// dup3(2): the standard descriptor `number` refers to the file of `fd` from now on, open across execve(2).
pub(crate) fn replace_standard(number: c_int, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    assert!(
        (0..=2).contains(&number),
        "only 0, 1 and 2 are replaced in place"
    );
    // SAFETY: `fd` is open, and no OwnedFd holds a number below 3, so none loses its file.
    uninterrupted(|| check(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// open(2) of what a standard descriptor refers to, as a description of our own: non-blocking, to write to.
///
/// # Errors
/// There is no /proc, or we may not; a socket cannot be opened so.
pub(crate) fn reopen_to_write(number: c_int) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let path = format!("/proc/self/fd/{number}");
    let fd = open(path.as_str(), flags, Mode::empty())?;
    // Whatever the path led to, it has to be the same file.
    match identity(&fd)? == identity(standard(number))? {
        true => Ok(fd),
        false => Err(Errno::NOT_FOUND),
    }
}

/// write(2) if poll(2) says that it will not block: all of `bytes`, or an error.
///
/// # Errors
/// EAGAIN: nobody makes room.
pub(crate) fn write_at_once(fd: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    let mut asked = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: the call reads and writes one pollfd, which outlives it.
    let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
    if ready != 1 {
        return Err(Errno::AGAIN);
    }
    let len = uninterrupted(|| nix::unistd::write(fd, bytes).map_err(Errno::from))?;
    if len == bytes.len() {
        Ok(())
    } else {
        Err(Errno::AGAIN)
    }
}

/// open(2) of /dev/null for reading and writing.
pub(crate) fn null() -> Result<OwnedFd, Errno> {
    Ok(open(
        "/dev/null",
        OFlag::O_RDWR | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// close_range(2): closes every descriptor from 3 up but `kept`, which is in rising order.
pub(crate) fn close_all_but(kept: &[c_int]) -> Result<(), Errno> {
    let mut first: c_int = 3;
    for number in kept.iter().copied().filter(|number| *number >= 3) {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = number.saturating_add(1);
    }
    close_range(first, c_int::MAX)
}

/// unshare(2): from here on this thread has a descriptor table of its own, with nothing in it but `kept`, which is in
/// rising order. A log that is rotated, or a terminal, is not held open there.
///
/// # Errors
/// There is no memory for it.
pub(crate) fn begin_own_table(kept: &[c_int]) -> Result<(), Errno> {
    // SAFETY: the call takes no pointer; this thread owns no descriptor that another could close.
    check(unsafe { libc::unshare(libc::CLONE_FILES) })?;
    close_all_but(kept)?;
    for number in 0..=2 {
        // SAFETY: the table is this thread's own, and nothing of it is at these numbers.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// `close_all_but` of these two, in whatever order they are.
pub(crate) fn close_all_but_two(one: c_int, other: c_int) -> Result<(), Errno> {
    close_all_but(&[one.min(other), one.max(other)])
}

fn close_range(first: c_int, last: c_int) -> Result<(), Errno> {
    let (first, last) = (first.cast_unsigned(), last.cast_unsigned() as c_uint);
    // SAFETY: called while starting, or in a process that a fork has made and that uses nothing else: what it is still to
    // own of the descriptors from 3 up are the `kept` ones, which the ranges leave out.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match c_int::try_from(done) {
        Ok(done) => check(done).map(drop),
        Err(_) => Ok(()),
    }
}
