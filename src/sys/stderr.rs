//! A stderr that never stops the service: what cannot be written at once is left out.

use crate::sys::errno::{Errno, check_len};
use crate::sys::fd::{self, FileKind};
use std::io::{self, Write};

/// Descriptor 2. A reader that stopped reading, a closed pipe or a full disk costs lines, never time. O_NONBLOCK is
/// never set on it, since whoever started skd shares it.
pub(crate) struct Stderr {
    /// A regular file takes plain writes: RWF_NOWAIT would refuse what merely has to wait for the disk.
    is_file: bool,
}

impl Stderr {
    pub(crate) fn new() -> Self {
        Self {
            is_file: fd::kind(fd::standard(2)) == Ok(FileKind::Storage),
        }
    }
}

impl Write for Stderr {
    /// Writes all of `line` or nothing.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.is_file {
            return write_plain(line).map_err(|errno| io::Error::from_raw_os_error(errno.0));
        }
        match write_at_once(line) {
            Err(Errno(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS)) if has_room() => {
                write_plain(line)
            }
            Err(Errno(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS)) => Err(Errno(libc::EAGAIN)),
            done => done,
        }
        .map_err(|errno| io::Error::from_raw_os_error(errno.0))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// pwritev2(2) with RWF_NOWAIT: pipes and sockets take it, terminals and some file systems answer EOPNOTSUPP.
fn write_at_once(line: &[u8]) -> Result<usize, Errno> {
    let vector = libc::iovec {
        iov_base: line.as_ptr().cast_mut().cast(),
        iov_len: line.len(),
    };
    // SAFETY: the kernel reads `line.len()` bytes of `line`, which outlives the call; offset -1 means the file's own.
    let wrote = unsafe { libc::pwritev2(2, &raw const vector, 1, -1, libc::RWF_NOWAIT) };
    check_len(wrote)
}

/// poll(2): whether a write would not block.
fn has_room() -> bool {
    let mut asked = libc::pollfd {
        fd: 2,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: the call reads and writes one pollfd, which outlives it.
    let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
    ready == 1 && asked.revents & libc::POLLOUT != 0
}

fn write_plain(line: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads `line.len()` bytes of `line`, which outlives the call.
    let wrote = unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
    check_len(wrote)
}
