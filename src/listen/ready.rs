//! The descriptor that hears of readiness, as s6's notification-fd.

use crate::listen::inherit::Taking;
use crate::model::error::Fatal;
use crate::sys::errno::Errno;
use crate::sys::fd;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Open, and close-on-exec, until readiness.
pub(crate) struct ReadyFd {
    number: i32,
    fd: OwnedFd,
}

impl ReadyFd {
    /// Takes over a descriptor from 3 up; of a standard one a copy, whose number must not be one that was promised, so
    /// that it is made when `takings` are open.
    ///
    /// # Errors
    /// 100 if it is not open, or is to be adopted as well.
    pub(crate) fn take(number: i32, takings: &[Taking]) -> Result<Self, Fatal> {
        if takings.iter().any(|taking| taking.number == number) {
            let text = format!("--ready-fd: descriptor {number} is adopted");
            return Err(Fatal::usage(text));
        }
        let take = || -> Result<OwnedFd, Errno> {
            if number < 3 {
                fd::was_open(number)?;
                return fd::duplicate(fd::standard(number));
            }
            let fd = fd::take(number)?;
            fd::set_cloexec(&fd, true)?;
            Ok(fd)
        };
        let not_open = |errno| {
            let text = format!("unable to use descriptor {number} for --ready-fd: {errno}");
            Fatal::configuration(text)
        };
        take().map(|fd| Self { number, fd }).map_err(not_open)
    }

    /// Its number while it is open.
    pub(crate) fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Whether it is the file that stderr is, which the log then writes to.
    pub(crate) fn is_stderr(&self) -> bool {
        self.number == 2 && self.stands_there()
    }

    /// Writes a newline, and closes the descriptor: `null`, which is /dev/null, takes a standard one's place.
    ///
    /// # Errors
    /// It could not be written: nobody reads, or nobody empties the pipe.
    pub(crate) fn tell(self, null: &OwnedFd) -> Result<(), Errno> {
        if self.number < 3 && self.stands_there() {
            fd::replace_standard(self.number, null.as_fd())?;
        }
        fd::write_at_once(&self.fd, b"\n")
    }

    /// Whether its number still refers to it: by now the log may be there, or /dev/null.
    fn stands_there(&self) -> bool {
        let now = fd::identity(fd::standard(self.number));
        now.is_ok() && now == fd::identity(&self.fd)
    }
}
