//! An accepted connection, which skd may hear and close without ever waiting for a stranger.
//!
//! Through a unix socket a client may pass descriptors (SCM_RIGHTS of unix(7)). Whoever is the last to let go of one waits
//! as long as its file likes: a TCP socket lingers (SO_LINGER), a file of a file system in user space is flushed. So
//! nothing that brings descriptors is read, and no connection is closed here in which some may still lie.

use crate::sys::errno::{Errno, check};
use crate::sys::{aside, fd, socket};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg};
use std::ffi::c_int;
use std::io::IoSliceMut;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// How much is looked through for descriptors when a connection is closed, in bytes.
const SEEN: usize = 16_384;

/// This process is a copy of the one whose connections these are.
static IS_COPY: AtomicBool = AtomicBool::new(false);

/// A connection. Where it is of a unix socket, dropping it ends it for whoever else has it.
#[derive(Debug)]
pub(crate) struct Conn {
    fd: ManuallyDrop<OwnedFd>,
    may_bring_files: bool,
}

impl Conn {
    pub(crate) fn new(fd: OwnedFd, is_unix: bool) -> Self {
        Self {
            fd: ManuallyDrop::new(fd),
            may_bring_files: is_unix,
        }
    }

    /// One that the skd before us has left open under this number.
    ///
    /// # Errors
    /// It is not open.
    pub(crate) fn resume(number: c_int) -> Result<Self, Errno> {
        let fd = fd::resume(number)?;
        let is_unix = socket::nature(&fd).map(|(domain, ..)| domain == socket::AF_UNIX);
        Ok(Self::new(fd, is_unix?))
    }

    /// Closes it here and no more: a child has it.
    pub(crate) fn hand_over(mut self) {
        self.may_bring_files = false;
    }

    /// recv(2) without waiting; 0 at the end.
    ///
    /// # Errors
    /// EAGAIN if nothing has come; NOT_PERMITTED for descriptors, which the client must not bring.
    pub(crate) fn hear(&self, into: &mut [u8]) -> Result<usize, Errno> {
        match self.may_bring_files {
            false => socket::hear(self, into),
            true => match self.look_ahead(into)? {
                0 => Ok(0),
                // No more of it than has been looked at.
                len => socket::hear(self, into.get_mut(..len).unwrap_or_default()),
            },
        }
    }

    /// recv(2) with MSG_PEEK, without waiting: the first bytes that have come, which stay where they are; 0 at the end.
    ///
    /// # Errors
    /// As `hear`.
    pub(crate) fn look_ahead(&self, into: &mut [u8]) -> Result<usize, Errno> {
        match self.may_bring_files {
            false => socket::look_ahead(self, into),
            true => look_for_files(self.as_fd(), into),
        }
    }

    /// Hears what nobody wants, but not for ever. False when nothing more will come, or not without descriptors.
    pub(crate) fn hear_out(&self) -> bool {
        let mut bytes = [0; 16384];
        for _ in 0..4 {
            match self.hear(&mut bytes) {
                Ok(1..) => {}
                Err(Errno::AGAIN) => return true,
                Ok(0) | Err(_) => return false,
            }
        }
        true
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // SAFETY: nothing uses it thereafter.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        if self.may_bring_files && !IS_COPY.load(Ordering::Relaxed) && may_hold_files(fd.as_fd()) {
            aside::close(fd);
        }
    }
}

/// From here on this process has but copies of connections, and closes them without ending them.
pub(crate) fn become_copy() {
    IS_COPY.store(true, Ordering::Relaxed);
}

/// recvmsg(2) with MSG_PEEK, without waiting: so much lies there at the beginning. A descriptor that is shown here is a
/// copy, which can be closed without waiting.
///
/// # Errors
/// NOT_PERMITTED if there are descriptors in it.
pub(crate) fn look_for_files(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<usize, Errno> {
    let mut control = cmsg_space!(UnixCredentials, [RawFd; 1]);
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut pieces = [IoSliceMut::new(into)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut control), flags)?;
    // More than there is room for, or no descriptor was to be had.
    let mut has_files = message.flags.contains(MsgFlags::MSG_CTRUNC);
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            has_files = true;
            for fd in fds {
                // SAFETY: the kernel has just made it for us; nothing else knows of it.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    match has_files {
        true => Err(Errno::NOT_PERMITTED),
        false => Ok(message.bytes),
    }
}

/// Whether there may be descriptors in what is unread, when nothing more can come.
fn may_hold_files(socket: BorrowedFd<'_>) -> bool {
    let fd = socket.as_raw_fd();
    // SAFETY: the call takes no pointer.
    let _ = unsafe { libc::shutdown(fd, libc::SHUT_RD) };
    // A record hides what is behind it.
    if socket::keeps_records(socket) {
        return true;
    }
    let mut bytes: c_int = 0;
    // SAFETY: the kernel writes one number into `bytes`.
    let counted = check(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) });
    let mut seen = [0; SEEN];
    match counted.map(|_| usize::try_from(bytes)) {
        Ok(Ok(0)) => false,
        Ok(Ok(1..=SEEN)) => look_for_files(socket, &mut seen).is_err(),
        _ => true,
    }
}
