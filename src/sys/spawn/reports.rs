//! Why children could not become PROG. Each that could not says so in a pipe before it ends, so that whoever sees its end
//! can know: skd, or the skd that has taken its place meanwhile, to which the pipe goes.

use crate::sys::errno::Errno;
use crate::sys::fd;
use crate::sys::fork;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

/// What a child says: its pid and the errno, as they are in memory. A pipe takes it whole or not at all.
pub(super) type Report = [c_int; 2];

const REPORT_BYTES: usize = size_of::<Report>();

/// No child is handed anything under this number or one above.
const LEAST: c_int = 4;

/// After so many starts it is heard what has been said: a page, the least that a pipe has room for, is never full, and
/// no child has to wait.
const STARTS: u32 = 256;

pub(super) struct Reports {
    ours: OwnedFd,
    theirs: OwnedFd,
    /// What was said by children whose end has not been seen.
    heard: Vec<(i32, Errno)>,
    /// How many children were started since it was last heard what they say.
    starts: u32,
}

impl Reports {
    /// # Errors
    /// No descriptor could be had.
    pub(super) fn new() -> Result<Self, Errno> {
        Self::of(fork::pipe()?, Vec::new())
    }

    /// The pipe that others have said something in, and what of that has been heard.
    pub(super) fn of(
        (ours, theirs): (OwnedFd, OwnedFd),
        heard: Vec<(i32, Errno)>,
    ) -> Result<Self, Errno> {
        fd::set_nonblocking(&ours, true)?;
        let theirs = if theirs.as_raw_fd() < LEAST {
            fd::duplicate_from(&theirs, LEAST)?
        } else {
            theirs
        };
        Ok(Self {
            ours,
            theirs,
            heard,
            starts: STARTS,
        })
    }

    pub(super) fn ends(&self) -> (&OwnedFd, &OwnedFd) {
        (&self.ours, &self.theirs)
    }

    pub(super) fn heard(&self) -> &[(i32, Errno)] {
        &self.heard
    }

    /// The descriptor for a child that is about to be started.
    pub(super) fn for_a_start(&mut self) -> c_int {
        self.starts += 1;
        if self.starts > STARTS {
            self.hear();
            self.starts = 1;
        }
        self.theirs.as_raw_fd()
    }

    /// What this child has said.
    pub(super) fn take(&mut self, pid: i32) -> Option<Errno> {
        self.hear();
        let mut heard = self.heard.iter();
        let place = heard.position(|(failed, _)| *failed == pid)?;
        Some(self.heard.swap_remove(place).1)
    }

    fn hear(&mut self) {
        let mut bytes = [0; 64 * REPORT_BYTES];
        while let Ok(len @ 1..) = fork::read(&self.ours, &mut bytes) {
            let (reports, _) = bytes.get(..len).unwrap_or_default().as_chunks();
            let reports = reports.iter().map(|report: &[u8; REPORT_BYTES]| {
                let [a, b, c, d, e, f, g, h] = *report;
                let number = c_int::from_ne_bytes;
                (number([a, b, c, d]), Errno(number([e, f, g, h])))
            });
            self.heard.extend(reports);
            if len < bytes.len() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::BorrowedFd;

    /// More children fail than the smallest pipe has room for, and nobody asks for one of them in between.
    #[test]
    fn what_many_say_is_heard_before_the_pipe_is_full() {
        let mut reports = Reports::new().unwrap();
        let (_, theirs) = reports.ends();
        let page = nix::fcntl::fcntl(theirs, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1)).unwrap();
        // Whoever finds it full fails, and does not wait.
        fd::set_nonblocking(theirs, true).unwrap();
        let count = 5 * page / c_int::try_from(REPORT_BYTES).unwrap();
        for pid in 1..=count {
            let number = reports.for_a_start();
            // SAFETY: it is open as long as the reports are there.
            let to = unsafe { BorrowedFd::borrow_raw(number) };
            let report: Vec<u8> = [pid, pid % 100]
                .into_iter()
                .flat_map(i32::to_ne_bytes)
                .collect();
            assert_eq!(nix::unistd::write(to, &report), Ok(REPORT_BYTES), "{pid}");
        }
        for pid in (1..=count).rev() {
            assert_eq!(reports.take(pid), Some(Errno(pid % 100)));
            assert_eq!(reports.take(pid), None);
        }
    }
}
