//! An accepted connection, which skd may hear and close without ever waiting for a stranger.
//!
//! Through a unix socket a client may pass descriptors (SCM_RIGHTS of unix(7)). Whoever is the last to let go of one waits
//! as long as its file likes: a TCP socket lingers (SO_LINGER). And whoever closes one, the last or not, waits for a file
//! system in user space to be asked (FUSE_FLUSH). So nothing that brings descriptors is read, none is ever made here, and
//! no connection is closed here in which some may still lie.

use crate::sys::errno::{Errno, check};
use crate::sys::{aside, datagram, fd, kernel, lingering, socket};
use nix::sys::socket::{MsgFlags, getsockopt, recvmsg, sockopt};
use std::ffi::c_int;
use std::io::IoSliceMut;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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

    /// Whether it is of a unix socket, so that descriptors may come with it.
    pub(crate) fn may_bring_files(&self) -> bool {
        self.may_bring_files
    }

    /// Where it is of a unix socket nothing more can come, and what has come is heard: otherwise its end would be a reset,
    /// which goes before what the client has not heard yet.
    pub(crate) fn end(&self) {
        if self.may_bring_files {
            shut(self.as_fd());
            // Not for ever, but for more than the kernel lets a client leave there in messages of a sensible size.
            let _ = (0..64).any(|_| !self.hear_out());
        }
    }

    /// Closes it here and no more: a child has it, and waits until that is done where descriptors may come. Where clone(2)
    /// itself waits, the child may have ended. Then what lies in front is looked at first, as far as skd looks at all, and
    /// what has come since, which takes luck, lingers no longer than it may.
    pub(crate) fn hand_over(mut self) {
        let may_be_last = kernel::WAITING != 0 && self.may_bring_files;
        if may_be_last && look_for_files(self.as_fd(), &mut [0; SEEN]) == Err(Errno::NOT_PERMITTED)
        {
            let _ = fd::duplicate(&self).map(aside::close);
        }
        self.may_bring_files = false;
        if may_be_last {
            lingering::bound(|| drop(self));
        }
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

/// recvmsg(2) with MSG_PEEK, without waiting: so much lies there at the beginning. There is no room for descriptors, so
/// that the kernel tells of them and makes none.
///
/// # Errors
/// NOT_PERMITTED if there are descriptors in it; or if the socket was made to tell of its peer what hides whether there are,
/// by SO_PASSSEC or SO_PASSPIDFD.
pub(crate) fn look_for_files(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<usize, Errno> {
    if let (len, true) = peek(socket, into, 0)? {
        return Ok(len);
    }
    match peek(socket, into, told_besides(socket)?)? {
        (len, true) => Ok(len),
        (_, false) => Err(Errno::NOT_PERMITTED),
    }
}

/// How many bytes were there, and whether all control messages fitted into `room` bytes.
fn peek(socket: BorrowedFd<'_>, into: &mut [u8], room: usize) -> Result<(usize, bool), Errno> {
    let mut control = vec![0; room];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut pieces = [IoSliceMut::new(into)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut control), flags)?;
    let is_whole = !message.flags.contains(MsgFlags::MSG_CTRUNC);
    Ok((message.bytes, is_whole))
}

/// How much room the kernel needs for what it tells before descriptors: the time at which a record came, and who sent it.
/// Not a byte more, or there would be room for a descriptor.
fn told_besides(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    let (_, style, _) = socket::nature(socket)?;
    let mut room = 0;
    if style != socket::SOCK_STREAM && datagram::is_stamped(socket) {
        room += datagram::control_space::<libc::timespec>();
    }
    if getsockopt(&socket, sockopt::PassCred)? {
        room += datagram::control_space::<libc::ucred>();
    }
    Ok(room)
}

/// shutdown(2) of both sides; what has come can still be read.
fn shut(socket: BorrowedFd<'_>) {
    // SAFETY: the call takes no pointer. That it fails for one whose client has gone is no trouble.
    let _ = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Whether there may be descriptors in what is unread, when nothing more can come.
fn may_hold_files(socket: BorrowedFd<'_>) -> bool {
    let fd = socket.as_raw_fd();
    // The client hears of the end now, however long the descriptor is kept.
    shut(socket);
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

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{
        AddressFamily, ControlMessage, SockFlag, SockType, sendmsg, setsockopt, socketpair,
    };
    use std::fs::File;
    use std::io::IoSlice;

    /// fcntl(2) with a lock on the whole file: what it is then.
    fn lock(file: &File, command: c_int) -> c_int {
        // SAFETY: flock is numbers, for which all zeros is a value: all of the file.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::c_short::try_from(libc::F_WRLCK).unwrap();
        // SAFETY: the call reads and writes one flock.
        check(unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) }).unwrap();
        c_int::from(lock.l_type)
    }

    /// Whether this process has the lock, asked by a thread that has a descriptor table, and so locks, of its own.
    fn is_locked(file: &File) -> bool {
        let ask = || {
            // SAFETY: the call takes no pointer; this thread owns no descriptor that another could close.
            check(unsafe { libc::unshare(libc::CLONE_FILES) }).unwrap();
            lock(file, libc::F_GETLK) == libc::F_WRLCK
        };
        std::thread::scope(|scope| scope.spawn(ask).join().unwrap())
    }

    /// Closing any descriptor of a file gives up the process's locks on it; the same call would ask a file system in user
    /// space.
    #[test]
    fn descriptors_are_seen_without_being_made() {
        let path = std::env::temp_dir().join(format!("skd-conn-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        lock(&file, libc::F_SETLK);
        for (style, options) in (0..8).flat_map(|options| {
            let styles = [SockType::Stream, SockType::SeqPacket, SockType::Datagram];
            styles.map(|style| (style, options))
        }) {
            let (ours, theirs) =
                socketpair(AddressFamily::Unix, style, None, SockFlag::SOCK_CLOEXEC).unwrap();
            setsockopt(&ours, sockopt::PassCred, &(options & 1 != 0)).unwrap();
            setsockopt(&ours, sockopt::ReceiveTimestamp, &(options & 2 != 0)).unwrap();
            setsockopt(&ours, sockopt::ReceiveTimestampns, &(options & 4 != 0)).unwrap();
            let passed = [file.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&passed)];
            let mut into = [0; 9];
            for parts in [&[][..], &rights] {
                let (fd, bytes) = (theirs.as_raw_fd(), [IoSlice::new(b"x")]);
                sendmsg::<()>(fd, &bytes, parts, MsgFlags::empty(), None).unwrap();
                let seen = look_for_files(ours.as_fd(), &mut into);
                let expected = parts.is_empty().then_some(1).ok_or(Errno::NOT_PERMITTED);
                assert_eq!(seen, expected, "{style:?} {options}");
                assert!(is_locked(&file), "{style:?} {options}");
                if parts.is_empty() {
                    socket::hear(&ours, &mut into).unwrap();
                }
            }
        }
        std::fs::remove_file(path).unwrap();
    }
}
