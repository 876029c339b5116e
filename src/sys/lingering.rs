//! A bound on the calls that let go of what a stranger sent. A TCP connection with SO_LINGER waits in its close until the
//! other end has taken everything, for as long as whoever made it wishes; a signal ends that wait, and what is unsent is
//! sent all the same.

use crate::sys::errno::Errno;
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction,
};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;
use std::cell::RefCell;
use std::time::Duration;

/// How long one of them lingers at most.
const LONGEST: Duration = Duration::from_secs(1);
/// By default it does nothing, so that one which comes late does no harm. execve(2) sets it back for PROG.
const SIGNAL: Signal = Signal::SIGURG;

thread_local! {
    static LIMIT: RefCell<Option<Limit>> = const { RefCell::new(None) };
}

/// Does what may linger, and no more than that. Where no timer is to be had it takes as long as it takes.
pub(crate) fn bound<T>(lingers: impl FnOnce() -> T) -> T {
    LIMIT.with_borrow_mut(|limit| {
        if limit.is_none() {
            *limit = Limit::new().ok();
        }
        match limit {
            Some(limit) => limit.bound(lingers),
            None => lingers(),
        }
    })
}

/// Of the thread that made it.
struct Limit(Timer);

impl Limit {
    /// timer_create(2).
    ///
    /// # Errors
    /// There is no timer to be had.
    fn new() -> Result<Self, Errno> {
        extern "C" fn ignore(_: i32) {}
        let action = SigAction::new(
            SigHandler::Handler(ignore),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handler does nothing.
        unsafe { sigaction(SIGNAL, &action) }?;
        SigSet::from(SIGNAL).thread_unblock()?;
        let event = SigevNotify::SigevThreadId {
            signal: SIGNAL,
            thread_id: gettid().as_raw(),
            si_value: 0,
        };
        Ok(Self(Timer::new(
            ClockId::CLOCK_MONOTONIC,
            SigEvent::new(event),
        )?))
    }

    /// The signal comes again until it has been done.
    fn bound<T>(&mut self, lingers: impl FnOnce() -> T) -> T {
        self.set(LONGEST);
        let done = lingers();
        self.set(Duration::ZERO);
        done
    }

    fn set(&mut self, every: Duration) {
        // It cannot fail for a timer that is there.
        let _ = self.0.set(
            Expiration::Interval(every.into()),
            TimerSetTimeFlags::empty(),
        );
    }
}
