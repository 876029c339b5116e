//! What is known of a listener for as long as anybody has come in by it.

use crate::admit::quota::Quota;
use crate::listen::Listener;
use crate::model::address::{Label, Style};
use crate::model::inetd::{Builtin, Limits};
use crate::model::service::{Mode, Service};
use crate::sys::errno::Errno;
use crate::sys::identity::Ids;
use crate::sys::program::Program;
use crate::sys::spawn::Handing;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

/// What is served.
pub(crate) struct Served {
    pub(crate) service: Service,
    pub(crate) runs: Runs,
    /// `None` where the command line names it.
    pub(crate) inetd: Option<Inetd>,
}

/// What answers.
pub(crate) enum Runs {
    /// What every child is started by.
    Program(Rc<Program>),
    /// skd itself.
    Internal(Builtin),
}

/// What a service of an inetd.conf(5) has besides.
pub(crate) struct Inetd {
    /// By which it is known again when the file has changed.
    pub(crate) name: String,
    /// Whom its programs become; `None` where that is who skd is.
    pub(crate) ids: Option<Ids>,
    pub(crate) quota: RefCell<Quota>,
}

impl Served {
    /// What is served where nobody comes in any more, or not yet: at the sockets of a service of this name.
    pub(crate) fn nothing(name: Option<String>) -> Self {
        Self {
            service: Service::default(),
            runs: Runs::Internal(Builtin::Discard),
            inetd: name.map(|name| Inetd {
                name,
                ids: None,
                quota: RefCell::default(),
            }),
        }
    }

    /// Where the program of a connection has it.
    pub(super) fn handing(&self) -> Handing {
        Handing {
            stdio: true,
            stderr: self.service.stderr_to_client,
            third: false,
        }
    }

    /// Where a program that gets a socket to itself has it.
    pub(super) fn handing_whole(&self, stderr: bool) -> Handing {
        let pass = self.service.pass;
        Handing {
            stdio: pass.stdio,
            stderr: stderr || self.inetd.is_some(),
            third: pass.listen_fds,
        }
    }
}

/// A listener, and what is served there.
pub(crate) struct Hosted {
    pub(crate) listener: Listener,
    pub(crate) served: Rc<Served>,
}

impl Hosted {
    /// Whether skd takes its connections, or somebody else what comes there.
    pub(crate) fn is_accepted(&self) -> bool {
        let lends = self.served.service.mode == Mode::Listeners;
        match self.listener.style {
            Style::Stream | Style::SeqPacket => !lends,
            Style::Datagram | Style::Readable => false,
        }
    }
}

/// What a listener is called, and what is served there.
struct Entrance {
    label: Label,
    served: Rc<Served>,
}

/// By the place of their listener.
#[derive(Default)]
pub(crate) struct Entrances(Vec<Entrance>);

impl Entrances {
    pub(super) fn add(&mut self, label: &Label, served: &Rc<Served>) {
        self.put(self.0.len(), label, served);
    }

    /// In the place of another that nobody remembers, or behind all others.
    pub(super) fn put(&mut self, place: usize, label: &Label, served: &Rc<Served>) {
        let entrance = Entrance {
            label: label.clone(),
            served: Rc::clone(served),
        };
        match self.0.get_mut(place) {
            Some(it) => *it = entrance,
            None => self.0.push(entrance),
        }
    }

    pub(super) fn places(&self) -> Range<usize> {
        0..self.0.len()
    }

    /// The name of the service there, if it is one of an inetd.conf(5).
    pub(super) fn service(&self, place: usize) -> Option<&str> {
        let inetd = self.0.get(place)?.served.inetd.as_ref()?;
        Some(&inetd.name)
    }

    /// Serves something else there.
    pub(super) fn exchange(&mut self, place: usize, served: &Rc<Served>) {
        if let Some(entrance) = self.0.get_mut(place) {
            entrance.served = Rc::clone(served);
        }
    }

    /// The services of an inetd.conf(5) by their names, each with the first of its places.
    pub(super) fn services(&self) -> HashMap<String, usize> {
        let names = self.places().rev();
        let names = names.filter_map(|place| Some((self.service(place)?.to_owned(), place)));
        names.collect()
    }

    /// What has been started for the service at this place counts for the limits of another that takes its place.
    pub(super) fn hand_quota(&self, place: usize, served: &Served, limits: Limits) {
        let before = self.0.get(place).and_then(|it| it.served.inetd.as_ref());
        if let (Some(before), Some(inetd)) = (before, &served.inetd) {
            let mut quota = before.quota.take();
            quota.change(limits, Instant::now());
            inetd.quota.replace(quota);
        }
    }

    pub(super) fn label(&self, place: usize) -> Option<&Label> {
        self.0.get(place).map(|it| &it.label)
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &Label> {
        self.0.iter().map(|it| &it.label)
    }

    pub(super) fn served(&self, place: usize) -> Option<Rc<Served>> {
        self.0.get(place).map(|it| Rc::clone(&it.served))
    }

    /// What skd itself answers there, if it does.
    pub(super) fn builtin(&self, place: usize) -> Option<Builtin> {
        match self.0.get(place)?.served.runs {
            Runs::Internal(builtin) => Some(builtin),
            Runs::Program(_) => None,
        }
    }

    /// Does something with the quota of the service there, if it has one.
    pub(super) fn with_quota<T>(
        &self,
        place: usize,
        deed: impl FnOnce(&mut Quota) -> T,
    ) -> Option<T> {
        let inetd = self.0.get(place)?.served.inetd.as_ref()?;
        Some(deed(&mut inetd.quota.borrow_mut()))
    }

    /// Whether its service has as many programs as it may have at once.
    pub(super) fn is_full(&self, place: usize) -> bool {
        self.with_quota(place, |quota| quota.is_full())
            .unwrap_or(false)
    }

    /// Until when its service starts no program.
    pub(super) fn rests_until(&self, place: usize, now: Instant) -> Option<Instant> {
        self.with_quota(place, |quota| quota.rests_until(now))?
    }

    /// The file of the command line's PROG.
    pub(super) fn prog(&self) -> Option<Vec<u8>> {
        let mut all = self.0.iter().filter(|it| it.served.inetd.is_none());
        all.find_map(|it| match &it.served.runs {
            Runs::Program(program) => Some(program.path().to_bytes().to_vec()),
            Runs::Internal(_) => None,
        })
    }

    /// Why PROG could not be executed, in words.
    pub(super) fn why_not(&self, place: usize, errno: Errno) -> String {
        match self.0.get(place).map(|it| &it.served.runs) {
            Some(Runs::Program(program)) => program.reason(errno),
            Some(Runs::Internal(_)) | None => errno.to_string(),
        }
    }

    /// PROG as the user called it, in quotes.
    pub(super) fn quoted_prog(&self, place: usize) -> String {
        let entrance = self.0.get(place);
        entrance.map_or_else(String::new, |it| it.served.service.quoted_prog())
    }
}
