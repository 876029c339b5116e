//! The socket on which the service manager hears from us.

use crate::sys::errno::{Errno, uninterrupted};
use crate::sys::sockaddr::SockAddr;
use crate::sys::socket;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A datagram socket that speaks to the manager's. It is connected while the path can be seen: from inside a chroot it
/// could not be named any more. Where the manager has made its socket anew, it is found again by its name.
pub(crate) struct NotifySocket {
    socket: OwnedFd,
    address: SockAddr,
}

impl NotifySocket {
    /// `sun_path` is a path with its NUL, or an abstract name behind one. That nobody listens there is no trouble.
    ///
    /// # Errors
    /// The name does not fit into an address, or there is no descriptor.
    pub(crate) fn new(sun_path: &[u8]) -> Result<Self, Errno> {
        let address = SockAddr::unix(sun_path).ok_or(Errno::NAME_TOO_LONG)?;
        let socket = socket::make(socket::AF_UNIX, socket::SOCK_DGRAM)?;
        // If it fails it is tried again with each message.
        let _ = socket::connect(&socket, &address);
        Ok(Self { socket, address })
    }

    /// Sends a message, with a descriptor if there is one, without waiting.
    ///
    /// # Errors
    /// `AGAIN`: the manager does not keep up; anything else: nobody hears us.
    pub(crate) fn send(&self, text: &str, with: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        match self.send_once(text, with) {
            Err(Errno::AGAIN) => Err(Errno::AGAIN),
            Err(_) => {
                socket::connect(&self.socket, &self.address)?;
                self.send_once(text, with)
            }
            Ok(()) => Ok(()),
        }
    }

    /// sendmsg(2) with MSG_DONTWAIT and, for the descriptor, SCM_RIGHTS of unix(7).
    fn send_once(&self, text: &str, with: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let bytes = [std::io::IoSlice::new(text.as_bytes())];
        let passed: Vec<i32> = with.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [nix::sys::socket::ControlMessage::ScmRights(&passed)];
        let control = if passed.is_empty() { &[][..] } else { &rights };
        let flags =
            nix::sys::socket::MsgFlags::MSG_DONTWAIT | nix::sys::socket::MsgFlags::MSG_NOSIGNAL;
        let fd = self.socket.as_raw_fd();
        let send = || {
            Ok(nix::sys::socket::sendmsg::<()>(
                fd, &bytes, control, flags, None,
            )?)
        };
        uninterrupted(send).map(drop)
    }
}
