//! Which children have ended, without looking through those that live.
//!
//! SIGCHLD does not say reliably whose it is. Children just started are asked one by one: most end soon, and cost nothing
//! ever after. Those that live longer go to the reaper, which waits for each.

use crate::sys::errno::Errno;
use crate::sys::poll::{Poll, Watch};
use crate::sys::process::{self, Status};
use crate::sys::reaper::{Reaper, Word};
use std::time::{Duration, Instant};

/// At most this many are asked one by one.
const YOUNG: usize = 64;
/// A child that has survived so many SIGCHLDs of others goes to the reaper.
const SURVIVED: u8 = 16;
/// How long a child that is not ours may stay a zombie, where there can be such, and any for which the kernel had no word
/// when it was asked: no other SIGCHLD may ever come.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Young {
    pid: i32,
    survived: u8,
}

/// Children by how long they have lived.
pub(crate) struct Generations {
    young: Vec<Young>,
    /// Started when it is first needed.
    reaper: Option<Reaper>,
    /// What epoll calls the reaper.
    token: u64,
    may_have_strangers: bool,
    sweep_at: Option<Instant>,
    words: Vec<(i32, Word)>,
}

impl Generations {
    /// `may_have_strangers` says whether children may be ours that skd did not start.
    pub(crate) fn new(token: u64, may_have_strangers: bool) -> Self {
        let young = Vec::with_capacity(2 * YOUNG);
        Self {
            young,
            reaper: None,
            token,
            may_have_strangers,
            sweep_at: None,
            words: Vec::new(),
        }
    }

    pub(crate) fn may_have_strangers(&self) -> bool {
        self.may_have_strangers
    }

    /// A child was started.
    pub(crate) fn born(&mut self, pid: i32) {
        self.young.push(Young { pid, survived: 0 });
    }

    /// After SIGCHLD: asks the young, and hands the older ones to the reaper. What has ended is added to `ended`.
    pub(crate) fn signalled(&mut self, poll: &Poll, now: Instant, ended: &mut Vec<(i32, Status)>) {
        let mut is_sweep_due = self.may_have_strangers;
        self.young.retain_mut(|young| {
            let asked = process::reap_one(young.pid);
            is_sweep_due |= asked.is_err();
            if let Ok(Some(status)) = asked {
                ended.push((young.pid, status));
                return false;
            }
            young.survived = young.survived.saturating_add(1);
            true
        });
        self.hand_over(poll);
        if is_sweep_due {
            self.sweep_by(now + SWEEP);
        }
    }

    /// Hands over those that have lived long, and the oldest where there are too many.
    fn hand_over(&mut self, poll: &Poll) {
        let too_many = self.young.len().saturating_sub(YOUNG);
        let is_old = |young: &Young| young.survived >= SURVIVED;
        if too_many == 0 && !self.young.iter().any(is_old) {
            return;
        }
        if self.reaper.is_none() {
            // Without a reaper all are asked, which is slower and as right.
            self.reaper = Reaper::start(|bell| poll.add(bell, self.token, Watch::Alone)).ok();
        }
        let Some(reaper) = &self.reaper else { return };
        let mut place = 0;
        self.young.retain(|young| {
            place += 1;
            let stays = place > too_many && !is_old(young);
            if !stays {
                reaper.adopt(young.pid);
            }
            stays
        });
    }

    /// The reaper has something to say. What has ended is added to `ended`.
    pub(crate) fn told(&mut self, now: Instant, ended: &mut Vec<(i32, Status)>) {
        let Some(reaper) = &self.reaper else { return };
        reaper.take(&mut self.words);
        let mut is_sweep_due = false;
        for (pid, word) in self.words.drain(..) {
            let asked = process::reap_one(pid);
            is_sweep_due |= asked.is_err();
            match (word, asked) {
                (_, Ok(Some(status))) => ended.push((pid, status)),
                // Most likely a sweep has reaped it already.
                (_, Err(Errno::NO_CHILD)) => {}
                // There was no descriptor for it, or it has ended and whoever traces it is yet to hear of that: back among
                // those that are asked.
                (Word::Unwatched | Word::Ended, _) => self.young.push(Young { pid, survived: 0 }),
            }
        }
        if is_sweep_due {
            self.sweep_by(now + SWEEP);
        }
    }

    fn sweep_by(&mut self, at: Instant) {
        self.sweep_at = Some(self.sweep_at.map_or(at, |sooner| sooner.min(at)));
    }

    /// When whoever has ended is to be looked for, ours or not.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Reaps whatever has ended, ours or not. What has ended is added to `ended`. With `has_children` the kernel is not
    /// believed that there are none.
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        has_children: bool,
        ended: &mut Vec<(i32, Status)>,
    ) {
        self.sweep_at = None;
        loop {
            match process::reap_any() {
                Ok(Some((pid, status))) => {
                    self.young.retain(|young| young.pid != pid);
                    ended.push((pid, status));
                }
                Ok(None) => return,
                Err(Errno::NO_CHILD) if !has_children || !ended.is_empty() => return,
                Err(_) => return self.sweep_by(now + SWEEP),
            }
        }
    }
}
