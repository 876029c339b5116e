//! What the skd that takes our place is left, and how it goes on with that.

use crate::listen::{Origin, SocketFile};
use crate::model::address::Label;
use crate::model::event::Trouble;
use crate::model::state::{self, Gone, State};
use crate::serve::Server;
use crate::serve::children::Child;
use crate::serve::entrance::Served;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::{clock, fd, process};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One moment on both clocks: ours, and CLOCK_MONOTONIC as a number, which the next skd can read.
pub(super) struct Now {
    instant: Instant,
    monotonic: Duration,
}

impl Now {
    fn get() -> Self {
        Self {
            instant: Instant::now(),
            monotonic: clock::monotonic(),
        }
    }

    pub(super) fn number_of(&self, moment: Instant) -> Duration {
        let (ahead, behind) = (
            moment.saturating_duration_since(self.instant),
            self.instant.saturating_duration_since(moment),
        );
        (self.monotonic + ahead).saturating_sub(behind)
    }

    pub(super) fn moment_of(&self, number: Duration) -> Instant {
        let (ahead, behind) = (
            number.saturating_sub(self.monotonic),
            self.monotonic.saturating_sub(number),
        );
        let moment = self.instant.checked_sub(behind).unwrap_or(self.instant);
        moment.checked_add(ahead).unwrap_or(moment)
    }
}

impl Server {
    /// All that the next skd has to know.
    pub(super) fn state(&self, keeper: &mut Keeper) -> Result<State, Errno> {
        let now = Now::get();
        let mut listeners = Vec::new();
        for (place, listening) in self.listeners.each() {
            let listener = &listening.listener;
            let file = listener.file.as_ref();
            let (stamp, starts, rests_until) = listening.guard.unread();
            listeners.push(state::Listener {
                adopted: match &listener.origin {
                    Origin::Adopted { name } => Some(name.as_bytes().to_vec()),
                    Origin::Ours => None,
                },
                service: self.entrances.service(place).map(|name| name.into()),
                is_kept: listening.is_kept,
                file: file
                    .map(|file| SocketFile::keep(file, keeper))
                    .transpose()?,
                waited: listening.lent.waited(),
                has_news: listening.lent.has_news(),
                was_executed: listening.was_executed,
                is_again: listening.lent.is_again,
                unread: (stamp, starts),
                rests_until: rests_until.map(|until| now.number_of(until)),
                tally: self.tallies.get(place),
            });
        }
        let (gone, places) = self.gone();
        let place_of = |place: usize| places.get(place).copied().unwrap_or_default();
        let children = self.children.all().map(|(pid, child)| state::Child {
            pid,
            listener: place_of(child.listener as usize),
            since: now.number_of(child.since),
            peer: child.peer,
            source: child.source,
            stage: child.stage,
        });
        let pidfile = self.pidfile.as_ref();
        let ((ours, theirs), heard) = self.starter.spawner.reports();
        Ok(State {
            pid: process::own_pid(),
            may_have_strangers: self.generations.may_have_strangers(),
            sum: self.tallies.sum(),
            pidfile: pidfile.map(|pidfile| pidfile.keep(keeper)).transpose()?,
            log: self.words.keep(keeper)?,
            prog: self.entrances.prog(),
            rules: self.gate.keep_rules(keeper)?,
            services: match &self.inetd {
                Some(conf) => conf.keep(keeper)?,
                None => None,
            },
            known: self
                .inetd
                .as_ref()
                .map_or_else(String::new, |it| it.known.clone()),
            spent: self.gate.spent(now.instant),
            notify: self.notices.keep(keeper)?,
            verdicts: self.starter.verdicts.keep(keeper)?,
            reports: Some((keeper.keep(ours)?, keeper.keep(theirs)?)),
            heard: heard.iter().map(|(pid, errno)| (*pid, errno.0)).collect(),
            children: children.collect(),
            pendings: self.pendings.keep(&now, keeper, place_of)?,
            farewells: self.farewells.keep(&now, keeper)?,
            visits: self.internal.keep(&now, keeper, place_of)?,
            scraped: self.scrapes.keep(keeper)?,
            listeners,
            gone,
        })
    }

    /// The listeners that are gone while somebody is there who came in by them, and the place that each of ours will have:
    /// those that are there first.
    fn gone(&self) -> (Vec<Gone>, Vec<u32>) {
        let is_there = |place: &usize| self.listeners.get(*place).is_some();
        let remembers =
            |place: &usize| self.tallies.children(*place) > 0 || self.internal.remembers(*place);
        let is_gone = |place: &usize| !is_there(place) && remembers(place);
        let all = self.entrances.places();
        let kept = all
            .clone()
            .filter(is_there)
            .chain(all.clone().filter(is_gone));
        let mut places = vec![0; all.len()];
        for (place, ours) in (0..).zip(kept) {
            if let Some(it) = places.get_mut(ours) {
                *it = place;
            }
        }
        let gone = all.filter(is_gone).map(|place| Gone {
            label: self
                .entrances
                .label(place)
                .map_or(Vec::new(), |it| it.to_string().into_bytes()),
            tally: self.tallies.get(place),
        });
        (gone.collect(), places)
    }

    /// A listener that was gone already. What is served there is nothing.
    fn resume_gone(&mut self, kept: &Gone) {
        let label = Label::known(String::from_utf8_lossy(&kept.label).into_owned());
        let place = self.entrances.places().end;
        self.entrances
            .put(place, &label, &Rc::new(Served::nothing(None)));
        self.tallies.put(place);
        self.tallies.resume(place, kept.tally);
        self.listeners.leave_empty(place);
    }

    /// Children that the skd before us started may still have to say why they could not become PROG.
    fn resume_reports(
        &mut self,
        (ours, theirs): (i32, i32),
        heard: &[(i32, i32)],
    ) -> Result<(), Errno> {
        let ends = (fd::resume(ours)?, fd::resume(theirs)?);
        let heard = heard.iter().map(|(pid, errno)| (*pid, Errno(*errno)));
        self.starter.spawner.resume(ends, heard.collect())
    }

    /// Goes on where the skd before us was.
    pub(crate) fn resume(&mut self, state: &State) {
        let now = Now::get();
        for (place, kept) in state.listeners.iter().enumerate() {
            self.tallies.resume(place, kept.tally);
        }
        for kept in &state.gone {
            self.resume_gone(kept);
        }
        self.tallies.resume_sum(state.sum);
        for kept in &state.children {
            let child = Child {
                listener: kept.listener,
                peer: kept.peer,
                source: kept.source,
                stage: kept.stage,
                since: now.moment_of(kept.since),
            };
            self.enter_child(kept.pid, child);
            let place = kept.listener as usize;
            self.entrances
                .with_quota(place, |quota| quota.resume(child.counted()));
            match &kept.peer {
                Some(_) => drop(self.sources.enter(kept.source)),
                None => self.resume_lent(place, kept.pid),
            }
        }
        for (listening, kept) in self.listeners.all_mut().zip(&state.listeners) {
            listening.is_kept = kept.is_kept;
            listening.was_executed = kept.was_executed;
            listening.lent.is_again = kept.is_again;
            listening.lent.resume(kept.waited, kept.has_news);
            let rests_until = kept.rests_until.map(|until| now.moment_of(until));
            listening.guard.resume(kept.unread, rests_until);
        }
        let verdicts = state.verdicts.map(|ends| self.resume_verdicts(ends));
        if let Some(Err(errno)) = verdicts {
            let text = format!("unable to hear what look-ups find: {errno}");
            self.warn(Trouble::Other, None, text);
        }
        if let Some(Err(errno)) = state
            .reports
            .map(|ends| self.resume_reports(ends, &state.heard))
        {
            let text = format!("unable to hear which programs could not be run: {errno}");
            self.warn(Trouble::Other, None, text);
        }
        for kept in &state.pendings {
            self.resume_pending(kept, now.moment_of(kept.until));
        }
        // With what those have taken whose header is awaited.
        self.gate.resume_spent(&state.spent, now.instant);
        let message = self.gate.refusal();
        for kept in &state.visits {
            let (since, until) = (now.moment_of(kept.since), now.moment_of(kept.until));
            self.resume_visit(kept, since, until);
        }
        for kept in &state.farewells {
            let until = now.moment_of(kept.until);
            let message = message.clone().unwrap_or_default();
            self.farewells.resume(&self.poll, kept, message, until);
        }
        self.log.note(|| "in the place of the skd before".into());
    }
}
