//! The socket on which the service manager hears from us.

use crate::sys::errno::{Errno, uninterrupted};
use crate::sys::sockaddr::SockAddr;
use crate::sys::{fd, socket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A datagram socket that speaks to the manager's. It is connected while the path can be seen. Where the manager has made
/// its socket anew, it is found again by its name, but never inside a chroot, where the name may lead to something else.
pub(crate) struct NotifySocket {
    socket: OwnedFd,
    /// `None` where it must not be looked for again.
    address: Option<SockAddr>,
}

impl NotifySocket {
    /// `sun_path` is a path with its NUL, or an abstract name behind one. That nobody listens there is no trouble.
    ///
    /// # Errors
    /// The name does not fit into an address, or there is no descriptor.
    pub(crate) fn new(sun_path: &[u8], may_connect_again: bool) -> Result<Self, Errno> {
        let address = SockAddr::unix(sun_path).ok_or(Errno::NAME_TOO_LONG)?;
        let socket = socket::make(socket::AF_UNIX, socket::SOCK_DGRAM)?;
        // If it fails it is tried again with each message, where that may be.
        let _ = socket::connect(&socket, &address);
        let address = may_connect_again.then_some(address);
        Ok(Self { socket, address })
    }

    /// That of the skd before us, which is open under this number.
    ///
    /// # Errors
    /// It is not, or as above.
    pub(crate) fn resume(number: i32, sun_path: &[u8], may_again: bool) -> Result<Self, Errno> {
        let address = SockAddr::unix(sun_path).ok_or(Errno::NAME_TOO_LONG)?;
        Ok(Self {
            socket: fd::resume(number)?,
            address: may_again.then_some(address),
        })
    }

    /// Sends a message, with a descriptor if there is one, without waiting.
    ///
    /// # Errors
    /// `AGAIN`: the manager does not keep up; anything else: nobody hears us.
    pub(crate) fn send(&self, text: &str, with: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        match self.send_once(text, with) {
            Err(Errno::AGAIN) => Err(Errno::AGAIN),
            Err(errno) => {
                let address = self.address.as_ref().ok_or(errno)?;
                socket::connect(&self.socket, address)?;
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

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
