//! From the wish to end to the end: nobody new is served, files are removed, children are waited for if that is wanted.

use crate::listen::{Listener, Origin, SocketFile};
use crate::model::address::{Label, Place};
use crate::model::event::Event;
use crate::model::service::Lifetime;
use crate::serve::Server;
use crate::serve::listening::{Listening, Listenings, Way};
use crate::sys::poll::can_read;
use crate::sys::{aside, deaf, fd, process};
use std::time::{Duration, Instant};

/// How long children have after TERM, and then after KILL.
const GRACE: Duration = Duration::from_secs(5);

/// How soon it is looked again whether somebody is still about to connect.
const LOOK: Duration = Duration::from_millis(50);

/// What has been done to the children that are left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// For those only who still hear why they are not let in.
    Farewells,
    Waiting,
    Terminated,
    Killed,
}

/// skd while it waits for its children to end.
#[derive(Debug)]
pub(crate) struct Stopping {
    step: Step,
    /// When the next step is taken; never where they have all the time they want.
    next_at: Option<Instant>,
    /// When to look again whether somebody is still about to connect.
    look_at: Option<Instant>,
}

impl Stopping {
    pub(crate) fn due(&self) -> Option<Instant> {
        self.next_at.into_iter().chain(self.look_at).min()
    }
}

/// Since when there has been nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Idleness {
    /// And how many connections had been taken by then.
    since: Option<(Instant, u64)>,
}

impl Idleness {
    /// When skd has had nothing to do for long enough.
    pub(crate) fn due(&self, lifetime: &Lifetime) -> Option<Instant> {
        let (since, _) = self.since?;
        lifetime.idle_exit.map(|span| since + span)
    }

    /// Whether it is so now.
    fn is_long(&mut self, lifetime: &Lifetime, is_busy: bool, taken: u64, now: Instant) -> bool {
        let is_new = self.since.is_none_or(|(_, before)| before != taken);
        if is_busy {
            self.since = None;
        } else if is_new {
            self.since = Some((now, taken));
        }
        self.due(lifetime).is_some_and(|due| due <= now)
    }
}

impl Server {
    /// TERM, INT, and QUIT, which has all children end. Returns whether skd is to end now: with `--drain` the second of
    /// them ends it, otherwise the first.
    pub(super) fn stop(&mut self, with_children: bool) -> bool {
        self.log.note(|| {
            let all = if with_children {
                " with all children"
            } else {
                ""
            };
            format!("asked to stop{all}")
        });
        // A child whose end is known by now has its line before skd ends.
        self.reap();
        self.hear_reaper();
        if with_children {
            self.children.pids().for_each(process::terminate);
        }
        // They are no more than a backlog was.
        self.deny_pending();
        if with_children || self.lifetime.drain.is_none() {
            self.end_all_visits();
        }
        if self.stopping.is_some() {
            return !with_children;
        }
        self.notices.stopping();
        self.notices.finish(&mut self.listeners);
        self.close_listeners();
        match self.lifetime.drain {
            Some(drain) => self.wait(Step::Waiting, Some(Instant::now() + drain)),
            None => self.wait(Step::Farewells, None),
        }
        self.is_quiet()
    }

    fn wait(&mut self, step: Step, until: Option<Instant>) {
        self.stopping = Some(Stopping {
            step,
            next_at: until,
            look_at: None,
        });
    }

    /// Whether there is nothing left to wait for; takes the next step where it is time.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let is_busy = !self.is_quiet() || (self.stopping.is_none() && self.rests(now));
        let counts = self.tallies.sum();
        let taken = counts.accepted.saturating_add(counts.denied);
        let Some(stopping) = &mut self.stopping else {
            let is_idle = self.idleness.is_long(&self.lifetime, is_busy, taken, now);
            return is_idle && self.leave_idle(now);
        };
        stopping.look_at = None;
        if !is_busy && self.is_empty(now) {
            return true;
        }
        let Some(stopping) = &mut self.stopping else {
            return true;
        };
        if stopping.next_at.is_none_or(|at| at > now) {
            return false;
        }
        stopping.next_at = Some(now + GRACE);
        match stopping.step {
            Step::Farewells | Step::Waiting => {
                stopping.step = Step::Terminated;
                self.children.pids().for_each(process::terminate);
                self.deny_pending();
                self.end_all_visits();
                // Perhaps there was nobody else.
                return self.is_quiet() && self.is_empty(now);
            }
            Step::Terminated => {
                stopping.step = Step::Killed;
                let pids = self.children.pids();
                pids.for_each(|pid| process::send(pid, process::KILL));
            }
            // One that KILL does not end is the kernel's.
            Step::Killed => return true,
        }
        false
    }

    /// Nothing has happened for long. Sockets of others stay with them, and so does who connects now. Ours hear nothing
    /// new from here on; who came at the last moment is served, and skd ends when that is done. Returns whether it is
    /// to end now.
    fn leave_idle(&mut self, now: Instant) -> bool {
        // Its time is over, and nothing is due for it any more.
        self.idleness = Idleness::default();
        self.notices.stopping();
        self.notices.finish(&mut self.listeners);
        for place in self.listeners.places() {
            self.shut_door(place);
        }
        self.log.note(|| "nothing to do, stopping".into());
        let drain = self.lifetime.drain;
        self.wait(Step::Waiting, drain.map(|drain| now + drain));
        self.is_empty(now)
    }

    /// Whether nobody is left: no child, and nobody behind a door that was shut. If there is only somebody who is about
    /// to connect, it is looked for again soon.
    fn is_empty(&mut self, now: Instant) -> bool {
        // First, since whoever has connected by then is in a backlog.
        let is_coming = self.listeners.all().any(Listening::has_handshakes);
        self.poll_listeners();
        for place in self.listeners.places() {
            // A program that is given the listener is not started for nobody.
            if self
                .listeners
                .get(place)
                .is_some_and(|it| can_read(&it.listener))
            {
                self.serve(place);
            }
        }
        if let Some(stopping) = self.stopping.as_mut().filter(|_| is_coming) {
            stopping.look_at = Some(Instant::now() + LOOK);
        }
        self.is_quiet() && !is_coming && !self.rests(now)
    }

    /// Whether there is neither a child nor anybody who was taken out of a backlog.
    fn is_quiet(&self) -> bool {
        let lets_children_live = |it: &Stopping| it.step == Step::Farewells;
        let has_children =
            self.children.count() > 0 && !self.stopping.as_ref().is_some_and(lets_children_live);
        let has_others = self.pendings.count() > 0 || !self.internal.is_empty();
        !has_children && !has_others && self.farewells.is_empty()
    }

    /// Whether a listener is left alone for a while, where somebody waits.
    fn rests(&self, now: Instant) -> bool {
        let mut served = self.listeners.all().filter(|it| !it.is_left);
        served.any(|it| it.rests_until.is_some_and(|until| until > now))
    }

    /// Nobody new comes in through a listener that skd made and that nobody keeps. One that a manager keeps for skd is
    /// served as long as skd is there; any other is left to whoever else has it.
    fn shut_door(&mut self, place: usize) {
        self.remove_file(place);
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let listener = &listening.listener;
        if listener.is_of_others() {
            listening.is_left = true;
        } else if listener.origin == Origin::Ours
            && !listening.is_kept
            && listening.way == Way::Accept
        {
            // Where it cannot be done the door is shut a moment later, when the socket is closed.
            match listener.place {
                Place::Inet(_) => drop(deaf::refuse_tcp(listener)),
                Place::Unix(_) => listening.is_shut = deaf::refuse_unix(listener).is_ok(),
                Place::Vsock { .. } | Place::Readable { .. } => {}
            }
        }
    }

    /// Closes every listener and removes the files of unix sockets that are ours.
    fn close_listeners(&mut self) {
        for place in self.listeners.places() {
            self.close_listener(place);
        }
    }

    /// Closes a listener and removes its file, if that is ours.
    pub(super) fn close_listener(&mut self, place: usize) {
        self.remove_file(place);
        if let Some(mut listening) = self.listeners.take(place) {
            // A socket that others hold too would stay polled; if this fails it is no longer there.
            let _ = listening.ignore(&self.poll);
            self.news.forget(&listening.listener);
            let_go(&listening.listener);
        }
    }

    fn remove_file(&mut self, place: usize) {
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let file = listening.listener.file.take();
        let label = listening.listener.label.clone();
        self.remove_file_of(&label, file);
    }

    /// Removes the file of a socket that is called so, if it has one.
    pub(super) fn remove_file_of(&mut self, label: &Label, file: Option<SocketFile>) {
        if let Some(Err(errno)) = file.map(SocketFile::remove) {
            let text = format!("unable to remove {label}: {errno}");
            self.log.tell(&Event::Loss(text), Instant::now());
        }
    }

    /// The end: what is left to be told and removed.
    pub(super) fn end(mut self) {
        self.notices.finish(&mut Listenings::default());
        self.upgrade.give_up();
        self.end_scrapes();
        if let Some(Err(errno)) = self.pidfile.take().map(|pidfile| pidfile.remove()) {
            let text = format!("unable to remove the pid file: {errno}");
            self.log.tell(&Event::Loss(text), Instant::now());
        }
        self.log.close();
    }
}

/// Before a listener is closed: those who wait there may have brought what takes long to close.
pub(super) fn let_go(listener: &Listener) {
    let is_unix = matches!(listener.place, Place::Unix(_));
    let _ = is_unix.then(|| fd::duplicate(listener).map(aside::close));
}
