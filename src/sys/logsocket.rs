//! The socket that syslog listens on.

use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::path::Entry;
use crate::sys::sockaddr::SockAddr;
use crate::sys::socket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where syslog listens: /dev/log, and what it leads to if it is a symbolic link; the folders are held open, so that it
/// is found again from inside a chroot.
#[derive(Debug)]
pub(crate) struct LogSocket(Vec<Entry>);

impl LogSocket {
    /// Why nobody could be reached at /dev/log now; nothing is sent. A stream socket shows by not being of the type that is
    /// tried, so that no connection is made of which syslog would hear.
    pub(crate) fn trouble() -> Option<Errno> {
        let try_it = || {
            let address = SockAddr::unix(b"/dev/log\0").ok_or(Errno::NAME_TOO_LONG)?;
            socket::connect(
                &socket::make(socket::AF_UNIX, socket::SOCK_DGRAM)?,
                &address,
            )
        };
        try_it().err().filter(|errno| *errno != Errno::WRONG_TYPE)
    }

    /// Holds the folders. That the socket itself is not there yet is no trouble.
    ///
    /// # Errors
    /// /dev cannot be opened.
    pub(crate) fn find() -> Result<Self, Errno> {
        let mut places = vec![Entry::open(b"/dev/log")?];
        if let Ok(target) = Path::new("/dev/log").canonicalize() {
            places.extend(Entry::open(target.as_os_str().as_bytes()));
        }
        Ok(Self(places))
    }

    /// The folders' descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.iter().map(|entry| entry.folder.as_raw_fd())
    }

    /// Numbers and names under which a program that takes our place finds them again.
    pub(crate) fn keep(&self, keeper: &mut Keeper) -> Result<Vec<(i32, Vec<u8>)>, Errno> {
        self.0.iter().map(|entry| entry.keep(keeper)).collect()
    }

    /// What `keep` told.
    ///
    /// # Errors
    /// A number is not open.
    pub(crate) fn resume<'a>(places: impl Iterator<Item = (i32, &'a [u8])>) -> Result<Self, Errno> {
        let entries = places.map(|(folder, name)| Entry::resume(folder, name));
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// A non-blocking connection: datagrams, or a stream where that is what listens. It changes the working folder,
    /// since a unix address cannot say which folder it begins in.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) fn connect(&self) -> Result<OwnedFd, Errno> {
        let mut last = Errno::NOT_FOUND;
        for entry in &self.0 {
            nix::unistd::fchdir(&entry.folder)?;
            let name = [entry.name.as_bytes(), b"\0"].concat();
            let address = SockAddr::unix(&name).ok_or(Errno::NAME_TOO_LONG)?;
            for style in [socket::SOCK_DGRAM, socket::SOCK_STREAM] {
                let made = socket::make(socket::AF_UNIX, style)?;
                match socket::connect(&made, &address) {
                    Ok(()) => return Ok(made),
                    Err(errno) => last = errno,
                }
                if last != Errno::WRONG_TYPE {
                    break;
                }
            }
        }
        Err(last)
    }

    /// send(2) of one message without waiting; on a stream it ends in NUL, as syslog(3) has it.
    ///
    /// # Errors
    /// `AGAIN`: syslog is slow; `TOO_LONG`; else the connection is of no use any more.
    pub(crate) fn send(connection: &OwnedFd, message: &str) -> Result<(), Errno> {
        let (_, style, _) = socket::nature(connection)?;
        if style == socket::SOCK_DGRAM {
            return socket::send(connection, message.as_bytes()).map(drop);
        }
        let bytes = [message.as_bytes(), b"\0"].concat();
        match socket::send(connection, &bytes)? {
            len if len == bytes.len() => Ok(()),
            // A torn record cannot be mended: begin anew with a new connection.
            _ => Err(Errno::REFUSED),
        }
    }
}
