//! Spawning without waiting: a child starts on one of a few slots of our memory and leaves it by execve(2), while skd
//! goes on.
//!
//! A child is made by clone(2) with CLONE_VM and, where `sys::kernel` has calls of its own, without CLONE_VFORK: no page
//! table is copied, and skd is not suspended until the child has become PROG. All that the child touches until then
//! belongs to its slot: stack, pointers, the connection's own environment, the number of the connection. The kernel
//! clears the slot's thread id when the child's use of our memory ends, by exec or exit (CLONE_CHILD_CLEARTID): the slot
//! is free again, and no call is needed to learn it. A child that is stopped or slow on its way holds its slot and nothing
//! else. One that cannot become PROG says why in a pipe, which outlives the memory: another skd may have taken our place
//! by then. What kills all that share a memory kills skd with such a child: the out-of-memory killer, and before Linux
//! 5.16 a core dump.
//!
//! Of tests/sanitize, AddressSanitizer follows this as it is. Under ThreadSanitizer skd waits for the child, and valgrind
//! refuses a clone(2) of this kind and makes a fork of one that waits: what skd may do to a slot in use is checked by no
//! tool, but by what `Vacancy` gives out, and by tests that hold children on their way.

mod child;
#[cfg(test)]
mod handed;
mod reports;
mod slot;

use crate::sys::clock;
use crate::sys::errno::Errno;
use crate::sys::hold::Turn;
use crate::sys::limits::FileLimit;
use crate::sys::process::Status;
use crate::sys::program::Program;
use crate::sys::signal::Signals;
use child::NOT_EXECUTED;
use reports::Reports;
use slot::Slot;
use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How many children may be on their way to execve at once. More would help only if exec took longer than accepting a
/// handful of connections on every core.
pub(crate) const SLOTS: usize = 8;

/// On which of its descriptors a child finds what it is handed. The others of 0, 1 and 2 are skd's own, and nothing
/// else is open in a child.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Handing {
    /// On 0 and 1.
    pub(crate) stdio: bool,
    /// On 2.
    pub(crate) stderr: bool,
    /// On 3, the first descriptor of sd_listen_fds(3); LISTEN_PID, the child's own pid, is in its environment then.
    /// LISTEN_FDS and LISTEN_FDNAMES belong to the connection's own strings.
    pub(crate) third: bool,
}

/// The slots, and why those failed whose end has not been seen yet.
pub(crate) struct Spawner {
    /// Never freed: a child may still be on its way to execve when skd ends, and reads its slot until then.
    slots: ManuallyDrop<Vec<Slot>>,
    /// Which slot to look at first: the one after the last used.
    turn: usize,
    /// What a child is to find.
    signals: Signals,
    /// A child's limit of descriptors, where ours is another.
    files: Option<FileLimit>,
    reports: Reports,
}

/// A slot that nobody uses, ready to be filled in.
pub(crate) struct Vacancy<'a> {
    slot: &'a mut Slot,
    signals: Signals,
    files: Option<FileLimit>,
    reports: c_int,
}

impl Spawner {
    /// `signals` are what a child is to find, `files` its limit of descriptors where ours is another.
    ///
    /// # Errors
    /// ENOMEM; no descriptor could be had.
    pub(crate) fn new(signals: Signals, files: Option<FileLimit>) -> Result<Self, Errno> {
        let slots = (0..SLOTS)
            .map(|_| Slot::new())
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            slots: ManuallyDrop::new(slots),
            turn: 0,
            signals,
            files,
            reports: Reports::new()?,
        })
    }

    /// Whether a slot is free. If none is, waits for one, but not longer than `patience`.
    pub(crate) fn has_vacancy(&self, patience: Duration) -> bool {
        if self.free_slot().is_none() {
            Self::wait(self.slots.iter(), patience);
        }
        self.free_slot().is_some()
    }

    /// A free slot, if there is one.
    pub(crate) fn vacancy(&mut self) -> Option<Vacancy<'_>> {
        let place = self.free_slot()?;
        self.turn = (place + 1) % SLOTS;
        let slot = self.slots.get_mut(place)?;
        slot.strings.clear();
        slot.replaces = false;
        Some(Vacancy {
            slot,
            signals: self.signals,
            files: self.files,
            reports: self.reports.for_a_start(),
        })
    }

    /// Waits until the child `pid` has become PROG or has ended, but not longer than `patience`: a file system that does
    /// not answer may keep it on its way for good. Where clone(2) itself waits, it has waited already, and for as long as
    /// it took. Returns why the child did not become PROG, if that is known by now.
    pub(crate) fn wait_for_exec(&mut self, pid: i32, patience: Duration) -> Option<Errno> {
        let deadline = Instant::now() + patience;
        let slot = self.slots.iter().find(|slot| slot.pid == pid)?;
        while slot.in_use() != 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            Self::wait(std::iter::once(slot), left);
        }
        self.reports.take(pid)
    }

    fn free_slot(&self) -> Option<usize> {
        let order = (self.turn..SLOTS).chain(0..self.turn);
        order.into_iter().find(|place| {
            self.slots
                .get(*place)
                .is_some_and(|slot| slot.in_use() == 0)
        })
    }

    /// Why the child `pid`, which has just been reaped, did not become PROG; `None` if it did.
    pub(crate) fn failure_of(&mut self, pid: i32, status: Status) -> Option<Errno> {
        match status {
            // So ends nobody who has said something: there is nothing to be heard.
            Status::Exit(code) if code != i32::from(NOT_EXECUTED) => None,
            Status::Exit(_) | Status::Signal(_) => self.reports.take(pid),
        }
    }

    /// What an skd in our place needs in order to know it of the children that have not been reaped: the pipe in which
    /// they say it, and what was heard there already.
    pub(crate) fn reports(&self) -> ((&OwnedFd, &OwnedFd), &[(i32, Errno)]) {
        (self.reports.ends(), self.reports.heard())
    }

    /// The same of the skd before us.
    ///
    /// # Errors
    /// No descriptor could be had.
    pub(crate) fn resume(
        &mut self,
        ends: (OwnedFd, OwnedFd),
        heard: Vec<(i32, Errno)>,
    ) -> Result<(), Errno> {
        self.reports = Reports::of(ends, heard)?;
        Ok(())
    }

    /// futex_waitv(2) on the thread ids of slots in use: until one is cleared, or `patience` has passed. If one is free
    /// already, there is nothing to wait for.
    fn wait<'a>(slots: impl Iterator<Item = &'a Slot>, patience: Duration) {
        // SAFETY: futex_waitv is numbers, for which all zeros is a value.
        let mut waits: [libc::futex_waitv; SLOTS] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        for (wait, slot) in waits.iter_mut().zip(slots) {
            *wait = slot.as_futex();
            if wait.val == 0 {
                return;
            }
            count += 1;
        }
        let deadline = after(patience);
        let flags = 0;
        // SAFETY: the kernel reads `count` entries and one deadline, which outlive the call; the words that the entries
        // name belong to slots, which live longer.
        let woken = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                waits.as_ptr(),
                count,
                flags,
                &raw const deadline,
                libc::CLOCK_MONOTONIC,
            )
        };
        if woken == -1 && Errno::last() == Errno(libc::ENOSYS) {
            // Before Linux 5.16: look again in a while.
            std::thread::sleep(patience.min(Duration::from_millis(1)));
        }
    }
}

/// struct __kernel_timespec, which is the same on every machine.
#[repr(C)]
struct Deadline {
    secs: i64,
    nanos: i64,
}

/// The monotonic clock's time when `span` will have passed.
fn after(span: Duration) -> Deadline {
    let then = clock::monotonic().saturating_add(span);
    Deadline {
        secs: i64::try_from(then.as_secs()).unwrap_or(i64::MAX),
        nanos: i64::from(then.subsec_nanos()),
    }
}

impl Vacancy<'_> {
    /// Where the connection's own environment goes: `NAME=VALUE`, each ended by NUL.
    pub(crate) fn strings(&mut self) -> &mut Vec<u8> {
        &mut self.slot.strings
    }

    /// Strings take the place of variables of the same name that all children have.
    pub(crate) fn strings_replace(&mut self) {
        self.slot.replaces = true;
    }

    /// Starts `program` with `fd` where `handing` says. `fd` must be close-on-exec, as all that skd has open above 2 is:
    /// the child has it under no other number than those. It waits for its turn, if it is given one.
    ///
    /// Returns the pid; whether PROG could be executed shows later, `Spawner::failure_of`.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM: no process could be had.
    pub(crate) fn spawn(
        self,
        program: &Rc<Program>,
        fd: BorrowedFd<'_>,
        handing: Handing,
        turn: Option<Turn>,
    ) -> Result<i32, Errno> {
        let what = (fd.as_raw_fd(), handing, turn);
        let how = (self.signals, self.files);
        self.slot.start(program, what, how, self.reports)
    }

    /// The same with the standard descriptors as they are.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM: no process could be had.
    pub(crate) fn spawn_plain(self, program: &Rc<Program>) -> Result<i32, Errno> {
        let what = (-1, Handing::default(), None);
        let how = (self.signals, self.files);
        self.slot.start(program, what, how, self.reports)
    }
}
