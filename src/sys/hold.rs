//! What holds a child that was just made until skd has closed what the child has a copy of.
//!
//! Whoever is the last to close the connection of a unix socket closes with it what a client passed along, and waits as
//! long as that takes. A child that ends unread, and before skd has closed its own copy, would leave that to skd.

use crate::sys::errno::Errno;
use crate::sys::kernel;
use std::ffi::{c_int, c_long, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};

/// A child waits no longer than this: skd may have been killed, or stopped.
static PATIENCE: libc::timespec = libc::timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What skd and its children see: those that share its memory, and those that are copies of it.
#[derive(Debug)]
struct Words {
    /// The last turn that is over; it wraps around.
    over: AtomicI32,
    /// How many children wait, or were killed as they did.
    waiting: AtomicI32,
}

/// The children of one turn wait for it to be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    words: NonNull<Words>,
    number: i32,
}

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Hold(Turn);

impl Hold {
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new() -> Result<Self, Errno> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists; it is never unmapped.
        let page = unsafe { libc::mmap(null_mut(), size_of::<Words>(), protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let words = NonNull::new(page.cast()).ok_or(Errno(libc::ENOMEM))?;
        Ok(Self(Turn { words, number: 0 }))
    }

    /// Children that are given this wait for `release`.
    pub(crate) fn take(&mut self) -> Turn {
        self.0.number = self.0.number.wrapping_add(1);
        self.0
    }

    /// They go on.
    pub(crate) fn release(&self) {
        let words = self.0.words();
        words.over.store(self.0.number, Ordering::SeqCst);
        if words.waiting.load(Ordering::SeqCst) != 0 {
            let everyone = i32::MAX.cast_unsigned() as usize;
            // SAFETY: the kernel wakes whoever waits at this address, and touches nothing.
            unsafe { words.futex(libc::FUTEX_WAKE, everyone, 0) };
        }
    }
}

impl Turn {
    fn words(&self) -> &Words {
        // SAFETY: the page is zeros or what these types have written, and is never unmapped.
        unsafe { self.words.as_ref() }
    }

    /// What a child does before all else. It calls nothing of libc, allocates nothing and locks nothing.
    pub(crate) fn wait(self) {
        let words = self.words();
        let over = words.over.load(Ordering::SeqCst);
        if self.is_over(over) {
            return;
        }
        words.waiting.fetch_add(1, Ordering::SeqCst);
        loop {
            let over = words.over.load(Ordering::SeqCst);
            if self.is_over(over) {
                break;
            }
            let seen = over.cast_unsigned() as usize;
            let patience = (&raw const PATIENCE).expose_provenance();
            // SAFETY: the kernel reads the word, and a timespec that is always there.
            let woken = unsafe { words.futex(libc::FUTEX_WAIT, seen, patience) };
            if woken == -c_long::from(libc::ETIMEDOUT) {
                break;
            }
        }
        words.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn is_over(self, over: i32) -> bool {
        self.number.wrapping_sub(over) <= 0
    }
}

impl Words {
    /// futex(2) on the turn. Returns what the kernel returns, an errno negated.
    ///
    /// # Safety
    /// `timeout` is null or the address of a timespec.
    unsafe fn futex(&self, operation: c_int, value: usize, timeout: usize) -> c_long {
        let word: *mut c_void = self.over.as_ptr().cast();
        let operation = operation.cast_unsigned() as usize;
        // SAFETY: the word is there for ever; the rest is the caller's promise.
        unsafe {
            kernel::syscall(
                libc::SYS_futex,
                [word.expose_provenance(), operation, value, timeout],
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shared with a copy of this process.
    #[derive(Clone, Copy)]
    struct Shown(Turn);
    // SAFETY: threads use the words as processes do, by atomics.
    unsafe impl Send for Shown {}

    #[test]
    fn children_wait_for_their_turn_to_be_over() {
        let mut hold = Hold::new().unwrap();
        let first = hold.take();
        hold.release();
        first.wait();
        hold.0.number = i32::MAX;
        let turn = Shown(hold.take());
        assert!(!turn.0.is_over(i32::MAX) && turn.0.is_over(i32::MIN));
        turn.0.words().over.store(i32::MAX, Ordering::SeqCst);
        let waits = std::thread::spawn(move || {
            let turn = turn;
            turn.0.wait();
        });
        hold.release();
        waits.join().unwrap();
        first.wait();
        assert_eq!(first.words().waiting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_turn_that_never_ends_is_waited_for_only_so_long() {
        Hold::new().unwrap().take().wait();
    }
}
