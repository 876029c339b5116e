//! HUP: from the file as it was to the file as it is. An unchanged service keeps its sockets and programs, a changed one
//! its sockets; what is no longer there is closed, and its programs live on.

use crate::listen::Listener;
use crate::model::event::{Event, Trouble};
use crate::serve::Server;
use crate::serve::entrance::Served;
use crate::serve::inetd::{Prepared, Ready};
use crate::serve::listening::Listening;
use crate::sys::errno::Errno;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The first pause before a service is bound again that could not be; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A service that could not be bound.
pub(super) struct Unbound {
    prepared: Prepared,
    served: Rc<Served>,
    pause: Duration,
    again_at: Instant,
}

impl Server {
    /// Reads the file again. If anything in it is wrong, everything stays as it is.
    pub(crate) fn reread_services(&mut self) {
        // A skd that stops has nothing to change.
        let Some(conf) = self.inetd.as_mut().filter(|_| self.stopping.is_none()) else {
            return;
        };
        match conf.read().and_then(|all| conf.all_served(all)) {
            Ok(all) => self.change_services(all),
            Err(wrong) => {
                for text in wrong {
                    let text = format!("{text}, keeping the services as they were");
                    self.warn(Trouble::Other, None, text);
                }
            }
        }
    }

    /// Exchanges all services.
    pub(in crate::serve) fn change_services(&mut self, all: Vec<Ready>) {
        let mut names = HashMap::new();
        let limits = |prepared: &Prepared| self.inetd.as_ref().map(|it| it.limits(prepared));
        let limits: Vec<_> = all
            .iter()
            .map(|(it, ..)| limits(it).unwrap_or_default())
            .collect();
        for ((prepared, served, warning), limits) in all.iter().zip(limits) {
            names.insert(prepared.service.name.as_str(), (prepared, served));
            self.entrances.inherit_quota(served, limits);
            if let Some(text) = warning {
                self.warn(Trouble::Other, None, text.clone());
            }
        }
        for place in self.entrances.places() {
            let name = self.entrances.service(place);
            match name.map(|name| names.get(name.as_str())) {
                None => {}
                Some(None) => self.close_service(place),
                Some(Some((prepared, served))) => self.change_service(place, prepared, served),
            }
        }
        if let Some(conf) = &mut self.inetd {
            conf.unbound.clear();
        }
        for (prepared, served, _) in all {
            if !self.has_listener_of(&prepared.service.name) {
                self.bind_service(prepared, served, FIRST_PAUSE);
            }
        }
    }

    fn has_listener_of(&self, name: &str) -> bool {
        let mut each = self.listeners.each();
        each.any(|(place, _)| {
            let service = self.entrances.service(place);
            service.is_some_and(|it| it == name)
        })
    }

    /// The file has it no more.
    fn close_service(&mut self, place: usize) {
        if self.listeners.get(place).is_none() {
            return;
        }
        self.deny_pending_of(place);
        self.close_listener(place);
        let label = self.entrances.label(place).map(ToString::to_string);
        self.log
            .note(|| format!("closed {}", label.unwrap_or_default()));
    }

    /// The same address is served in another way, or in the same.
    fn change_service(&mut self, place: usize, prepared: &Prepared, served: &Rc<Served>) {
        self.entrances.exchange(place, served);
        let changed = self.listeners.get_mut(place).map(|listening| {
            let buffers = prepared.service.buffers;
            let set = listening.listener.set_buffers(buffers);
            set.and(listening.change(&self.poll, served))
        });
        if let Some(Err(errno)) = changed {
            self.warn(Trouble::Look, Some(place), errno.to_string());
        }
    }

    /// Binds a service that has no socket yet; one that cannot be bound is tried again.
    fn bind_service(&mut self, prepared: Prepared, served: Rc<Served>, pause: Duration) {
        let Some(conf) = &mut self.inetd else { return };
        match conf.make(&prepared, &[], false) {
            Ok((_, listeners)) => {
                for listener in listeners {
                    if let Err(errno) = self.add_listener(listener, &served) {
                        let text = format!("unable to serve a listener: {errno}");
                        self.warn(Trouble::Other, None, text);
                    }
                }
            }
            Err(fatal) => {
                conf.unbound.push(Unbound {
                    prepared,
                    served,
                    pause,
                    again_at: Instant::now() + pause,
                });
                let secs = pause.as_secs();
                let text = format!("{}, trying again in {secs} s", fatal.text);
                self.warn(Trouble::Other, None, text);
            }
        }
    }

    /// Serves one more listener.
    fn add_listener(&mut self, listener: Listener, served: &Rc<Served>) -> Result<(), Errno> {
        let label = listener.label.clone();
        let listening = Listening::new(listener, served)?;
        let place = self.free_place();
        self.entrances.put(place, &label, served);
        self.tallies.put(place);
        self.listeners.put(place, listening);
        if self.stores {
            self.notices.store(std::iter::once(place));
        }
        let event = Event::Listen { listener: &label };
        self.log.tell(&event, Instant::now());
        Ok(())
    }

    /// A place whose listener is gone and which nobody remembers; otherwise one behind all others.
    fn free_place(&self) -> usize {
        let is_free = |place: &usize| {
            let is_empty = self.listeners.get(*place).is_none();
            is_empty && self.tallies.children(*place) == 0 && !self.internal.remembers(*place)
        };
        let mut places = self.entrances.places();
        places.find(is_free).unwrap_or(self.entrances.places().end)
    }

    /// When one is tried again.
    pub(in crate::serve) fn services_due(&self) -> Option<Instant> {
        let unbound = self.inetd.as_ref()?.unbound.iter();
        unbound.map(|it| it.again_at).min()
    }

    /// Tries again to bind those whose time it is.
    pub(in crate::serve) fn bind_services_again(&mut self, now: Instant) {
        let Some(conf) = self.inetd.as_mut().filter(|_| self.stopping.is_none()) else {
            return;
        };
        let again: Vec<_> = conf
            .unbound
            .extract_if(.., |it| it.again_at <= now)
            .collect();
        for Unbound {
            prepared,
            served,
            pause,
            ..
        } in again
        {
            let pause = (pause * 2).min(LONGEST_PAUSE);
            self.bind_service(prepared, served, pause);
        }
    }
}
