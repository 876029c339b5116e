//! The reason why a system call failed.

use std::ffi::{CStr, c_char, c_int};
use std::fmt;

/// An errno(3) value; shown in the words of strerror(3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Errno(pub(crate) c_int);

impl Errno {
    pub(crate) const ABORTED: Self = Self(libc::ECONNABORTED);
    pub(crate) const IS_FOLDER: Self = Self(libc::EISDIR);
    pub(crate) const ACCESS_DENIED: Self = Self(libc::EACCES);
    pub(crate) const ADDRESS_IN_USE: Self = Self(libc::EADDRINUSE);
    pub(crate) const ADDRESS_NOT_AVAILABLE: Self = Self(libc::EADDRNOTAVAIL);
    pub(crate) const AGAIN: Self = Self(libc::EAGAIN);
    pub(crate) const FAMILY_NOT_SUPPORTED: Self = Self(libc::EAFNOSUPPORT);
    pub(crate) const INVALID: Self = Self(libc::EINVAL);
    pub(crate) const LOOP: Self = Self(libc::ELOOP);
    pub(crate) const NAME_TOO_LONG: Self = Self(libc::ENAMETOOLONG);
    pub(crate) const NO_CHILD: Self = Self(libc::ECHILD);
    pub(crate) const NO_BUFFERS: Self = Self(libc::ENOBUFS);
    pub(crate) const NOT_PERMITTED: Self = Self(libc::EPERM);
    pub(crate) const TOO_LONG: Self = Self(libc::EMSGSIZE);
    pub(crate) const NOT_FOUND: Self = Self(libc::ENOENT);
    pub(crate) const REFUSED: Self = Self(libc::ECONNREFUSED);
    pub(crate) const WRONG_TYPE: Self = Self(libc::EPROTOTYPE);

    /// Trouble of one connection that accept(2) passes on, or of the network on its way, and a firewall's EPERM: the
    /// listener is none the worse for it.
    pub(crate) fn is_of_network(self) -> bool {
        matches!(
            self.0,
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::ETIMEDOUT
                | libc::ECONNRESET
        )
    }

    /// What a firewall or a filter of system calls says, which may be for good.
    pub(crate) fn may_be_for_good(self) -> bool {
        matches!(self.0, libc::EPERM | libc::EOPNOTSUPP)
    }

    /// What clone(2) says if there is no process to be had, and execve(2) if the user whom the child has become has too
    /// many.
    pub(crate) fn is_want_of_process(self) -> bool {
        matches!(self.0, libc::EAGAIN | libc::ENOMEM)
    }

    /// What a path says that leads nowhere, so that another may be tried.
    pub(crate) fn says_nothing_is_there(self) -> bool {
        matches!(self.0, libc::ENOENT | libc::ENOTDIR)
    }

    /// The errno of an error of the standard library; EIO for one that it made up itself, but for want of memory.
    pub(crate) fn of(error: &std::io::Error) -> Self {
        let made_up = match error.kind() {
            std::io::ErrorKind::OutOfMemory => libc::ENOMEM,
            _ => libc::EIO,
        };
        Self(error.raw_os_error().unwrap_or(made_up))
    }

    /// What the last failed call of libc left behind.
    pub(crate) fn last() -> Self {
        Self(nix::errno::Errno::last_raw())
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(errno: nix::errno::Errno) -> Self {
        Self(errno as c_int)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text: [c_char; 128] = [0; 128];
        // SAFETY: the call writes at most text.len() bytes into `text`, the terminating NUL included.
        let failed = unsafe { libc::strerror_r(self.0, text.as_mut_ptr(), text.len()) };
        if failed != 0 {
            return write!(out, "error {}", self.0);
        }
        // SAFETY: strerror_r(3) succeeded, so `text` holds a NUL; it lives and does not change while the CStr is used.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) };
        out.write_str(&text.to_string_lossy())
    }
}

/// The value of a call that returns -1 on failure.
pub(crate) fn check(returned: c_int) -> Result<c_int, Errno> {
    if returned == -1 {
        Err(Errno::last())
    } else {
        Ok(returned)
    }
}

/// The same for calls that return a length.
pub(crate) fn check_len(returned: isize) -> Result<usize, Errno> {
    usize::try_from(returned).map_err(|_| Errno::last())
}

/// Calls again while a signal interrupts.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno(libc::EINTR)) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_the_systems_own_words() {
        assert_eq!(
            Errno(libc::EADDRINUSE).to_string(),
            "Address already in use"
        );
        assert_eq!(
            Errno(libc::EAGAIN).to_string(),
            "Resource temporarily unavailable"
        );
        assert_eq!(Errno(4095).to_string(), "error 4095");
    }
}
