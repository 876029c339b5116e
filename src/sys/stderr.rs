//! A stderr that never stops the service: what cannot be written at once is left out.

use crate::sys::errno::{Errno, check_len};
use crate::sys::fd::{self, FileKind};
use std::ffi::c_int;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

/// Descriptor 2. A reader that stopped reading, a closed pipe or a full disk costs lines, never time. O_NONBLOCK is
/// never set on it, since whoever started skd shares it.
pub(crate) struct Stderr {
    way: Way,
}

/// How to write without waiting.
enum Way {
    /// A regular file: RWF_NOWAIT would refuse what merely has to wait for the disk.
    Plain,
    /// A terminal or pipe that could be opened once more: that has flags of its own.
    Own(OwnedFd),
    Shared,
}

impl Stderr {
    /// Without a descriptor of its own: while skd starts, every number may be one that it was promised.
    pub(crate) fn starting() -> Self {
        let way = match fd::kind(fd::standard(2)) {
            Ok(FileKind::Storage) => Way::Plain,
            _ => Way::Shared,
        };
        Self { way }
    }

    /// To be called when the inherited descriptors have been sorted out.
    pub(crate) fn new() -> Self {
        let way = match fd::kind(fd::standard(2)) {
            Ok(FileKind::Storage) => Way::Plain,
            Ok(FileKind::Fifo | FileKind::Other) => {
                fd::reopen_to_write(2).map_or(Way::Shared, Way::Own)
            }
            _ => Way::Shared,
        };
        Self { way }
    }
}

impl Write for Stderr {
    /// Writes `line`, as far as that can be done at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let wrote = match &self.way {
            Way::Plain => write_plain(2, line),
            Way::Own(fd) => write_plain(fd.as_raw_fd(), line),
            Way::Shared => match write_at_once(line) {
                Err(Errno(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS)) if has_room() => {
                    write_plain(2, line)
                }
                Err(Errno(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS)) => Err(Errno::AGAIN),
                done => done,
            },
        };
        wrote.map_err(|errno| io::Error::from_raw_os_error(errno.0))
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

fn write_plain(fd: c_int, line: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads `line.len()` bytes of `line`, which outlives the call.
    let wrote = unsafe { libc::write(fd, line.as_ptr().cast(), line.len()) };
    check_len(wrote)
}
