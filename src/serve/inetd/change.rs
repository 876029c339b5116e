//! HUP: from the file as it was to the file as it is. An unchanged service keeps its sockets and programs, a changed one
//! its sockets; what is no longer there is closed, and its programs live on.

use crate::listen::Listener;
use crate::model::event::{Event, Trouble};
use crate::model::inetd::Limits;
use crate::serve::entrance::Served;
use crate::serve::inetd::lookup::Lookup;
use crate::serve::inetd::{Prepared, Ready};
use crate::serve::listening::Listening;
use crate::serve::{LOOKUP, Server};
use crate::sys::errno::Errno;
use std::collections::{HashMap, HashSet};
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

impl Unbound {
    /// It has to wait for another.
    fn later(self) -> Self {
        let again_at = Instant::now() + FIRST_PAUSE;
        Self { again_at, ..self }
    }
}

/// What waits for hosts to be looked up.
pub(super) struct Waiting {
    lookup: Lookup,
    purpose: Purpose,
    /// Meanwhile the file has been read again, or is to be.
    is_outdated: bool,
}

enum Purpose {
    Change(Vec<Ready>),
    Retry(Vec<Unbound>),
}

impl Server {
    /// Reads the file again. If anything in it is wrong, everything stays as it is.
    pub(crate) fn reread_services(&mut self) {
        let is_other = |(place, _)| self.entrances.service(place).is_none();
        let has_others = self.listeners.each().any(is_other);
        // A skd that stops has nothing to change.
        let Some(conf) = self.inetd.as_mut().filter(|_| self.stopping.is_none()) else {
            return;
        };
        if let Some(waiting) = &mut conf.waiting {
            waiting.is_outdated = true;
            return;
        }
        match conf.read().and_then(|all| conf.all_served(all)) {
            // At the start it would have been an error.
            Ok(all) if all.is_empty() && !has_others => {
                let text = format!(
                    "{}, keeping the services as they were",
                    conf.without_services()
                );
                self.warn(Trouble::Other, None, text);
            }
            Ok(all) => self.look_up_and_change(all),
            Err(wrong) => self.keep_services(wrong),
        }
    }

    /// Says what is wrong with the file.
    fn keep_services(&mut self, wrong: Vec<String>) {
        for text in wrong {
            let text = format!("{text}, keeping the services as they were");
            self.warn(Trouble::Other, None, text);
        }
    }

    /// Exchanges all services, when the hosts of those are known that have no socket yet.
    fn look_up_and_change(&mut self, all: Vec<Ready>) {
        let known = self.names_with_sockets();
        let new = all.iter().map(|(prepared, ..)| prepared);
        let hosts = hosts_of(new.filter(|it| !known.contains(it.name())));
        if hosts.is_empty() {
            return self.change_services(all);
        }
        self.look_up(hosts, Purpose::Change(all));
    }

    fn look_up(&mut self, hosts: Vec<String>, purpose: Purpose) {
        match Lookup::begin(hosts, &self.poll, LOOKUP) {
            Ok(lookup) => {
                if let Some(conf) = &mut self.inetd {
                    conf.waiting = Some(Waiting {
                        lookup,
                        purpose,
                        is_outdated: false,
                    });
                }
            }
            Err(errno) => {
                let text =
                    format!("unable to look up hosts: {errno}, keeping the services as they were");
                self.warn(Trouble::Other, None, text);
                if let (Some(conf), Purpose::Retry(again)) = (&mut self.inetd, purpose) {
                    conf.unbound.extend(again.into_iter().map(Unbound::later));
                }
            }
        }
    }

    /// All hosts are known that were looked up.
    pub(in crate::serve) fn hear_lookup(&mut self) {
        let Some(conf) = &mut self.inetd else { return };
        let Some(waiting) = conf.waiting.take() else {
            return;
        };
        conf.hosts = waiting.lookup.finish(&self.poll);
        if self.stopping.is_some() {
            return;
        }
        if waiting.is_outdated {
            return self.reread_services();
        }
        match waiting.purpose {
            Purpose::Change(all) => self.change_services(all),
            Purpose::Retry(again) => again.into_iter().for_each(|it| self.bind_again(it)),
        }
    }

    /// What is wrong with services of the file on one address. Those that have sockets have the addresses of those.
    fn shared_addresses(&self, all: &[Ready]) -> Vec<String> {
        let Some(conf) = &self.inetd else {
            return Vec::new();
        };
        let (mut places, mut known) = (HashMap::<String, usize>::new(), Vec::<Vec<_>>::new());
        for (place, it) in self.listeners.each() {
            let Some(name) = self.entrances.service(place) else {
                continue;
            };
            let addresses = it.listener.addresses();
            match places.get(name).and_then(|place| known.get_mut(*place)) {
                // Of one service several sockets may share an address, if whoever made them let them.
                Some(others) => {
                    for address in addresses {
                        if !others.contains(&address) {
                            others.push(address);
                        }
                    }
                }
                None => {
                    places.insert(name.to_owned(), known.len());
                    known.push(addresses);
                }
            }
        }
        let mut located = Vec::new();
        for (prepared, ..) in all {
            let place = places.get(prepared.name());
            let addresses = match place.and_then(|place| known.get_mut(*place)) {
                Some(known) => std::mem::take(known),
                // What cannot be made out is told when it is bound.
                None => match conf.sockets(prepared, &[]) {
                    Ok(sockets) => sockets.addresses(),
                    Err(_) => continue,
                },
            };
            located.push((prepared, addresses));
        }
        conf.shared(located)
    }

    /// Exchanges all services, unless two of them have one address: then everything stays as it is.
    fn change_services(&mut self, all: Vec<Ready>) {
        let wrong = self.shared_addresses(&all);
        if !wrong.is_empty() {
            return self.keep_services(wrong);
        }
        if let Some(conf) = &mut self.inetd {
            conf.is_right();
        }
        let mut names = HashMap::new();
        let places = self.entrances.services();
        for (index, (prepared, served, warning)) in all.iter().enumerate() {
            names.insert(prepared.name().to_owned(), index);
            // What has been started for the service of the same name counts for the limits of this one.
            if let Some(place) = places.get(prepared.name()) {
                let limits = self.limits(prepared);
                self.entrances.hand_quota(*place, served, limits);
            }
            if let Some(text) = warning {
                self.warn(Trouble::Other, None, text.clone());
            }
        }
        let mut leaving = Vec::new();
        for place in self.entrances.places() {
            let name = self.entrances.service(place);
            match name.map(|name| all.get(*names.get(name)?)) {
                None => {}
                Some(None) => leaving.push(place),
                Some(Some((prepared, served, _))) => self.change_service(place, prepared, served),
            }
        }
        if let Some(conf) = &mut self.inetd {
            conf.unbound.clear();
        }
        let known = self.names_with_sockets();
        let mut new = all;
        new.retain(|(it, ..)| !known.contains(it.name()));
        for (prepared, served, _) in &new {
            self.take_over(&mut leaving, prepared, served);
        }
        self.close_services(leaving);
        for (prepared, served, _) in new {
            self.bind_service(prepared, served, FIRST_PAUSE);
        }
    }

    fn limits(&self, prepared: &Prepared) -> Limits {
        let conf = self.inetd.as_ref();
        conf.map(|it| it.limits(prepared)).unwrap_or_default()
    }

    /// A service that is called otherwise than before, or is another, has the sockets of those that leave where address
    /// and type are the same. Programs of the first of them count for its limits.
    fn take_over(&mut self, leaving: &mut Vec<usize>, prepared: &Prepared, served: &Rc<Served>) {
        let limits = self.limits(prepared);
        let Some(conf) = &self.inetd else { return };
        let sockets = leaving
            .iter()
            .filter_map(|place| Some((*place, &self.listeners.get(*place)?.listener)));
        let fitting = conf.fitting(prepared, &sockets);
        leaving.retain(|place| !fitting.contains(place));
        if let Some(first) = fitting.first() {
            self.entrances.hand_quota(*first, served, limits);
        }
        for place in fitting {
            self.change_service(place, prepared, served);
        }
    }

    /// The names of the services that have a socket.
    fn names_with_sockets(&self) -> HashSet<String> {
        let each = self.listeners.each();
        let names = each.filter_map(|(place, _)| self.entrances.service(place));
        names.map(str::to_owned).collect()
    }

    /// The sockets of a service, by their places.
    fn sockets_of(&self, name: &str) -> impl Iterator<Item = (usize, &Listener)> + Clone {
        let each = self.listeners.each();
        let is_of = move |place: usize| {
            let service = self.entrances.service(place);
            service.is_some_and(|it| it == name)
        };
        each.filter(move |(place, _)| is_of(*place))
            .map(|(place, it)| (place, &it.listener))
    }

    fn close_services(&mut self, places: Vec<usize>) {
        let is_stored =
            |place: &usize| self.listeners.get(*place).is_some_and(Listening::is_stored);
        let were_stored = places.iter().any(is_stored);
        for place in places {
            self.close_service(place);
        }
        if were_stored {
            // Whoever comes there must not wait for nobody.
            let stored = self.listeners.each().filter(|(_, it)| it.is_stored());
            self.notices.store_only(stored.map(|(place, _)| place));
        }
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
        let Some(conf) = &self.inetd else { return };
        let made = {
            let sockets = self.sockets_of(prepared.name());
            conf.make_missing(&prepared, &sockets)
        };
        match made {
            Ok(listeners) => {
                for listener in listeners {
                    if let Err(errno) = self.add_listener(listener, &served) {
                        let text = format!("unable to serve a listener: {errno}");
                        self.warn(Trouble::Other, None, text);
                    }
                }
            }
            Err(fatal) => {
                let Some(conf) = &mut self.inetd else { return };
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
        let again = conf.unbound.extract_if(.., |it| it.again_at <= now);
        let (at_once, look_up): (Vec<_>, Vec<_>) =
            again.partition(|it| it.prepared.hosts().next().is_none());
        match conf.waiting {
            // There is one look-up at a time.
            Some(_) => conf.unbound.extend(look_up.into_iter().map(Unbound::later)),
            None if look_up.is_empty() => {}
            None => {
                let hosts = hosts_of(look_up.iter().map(|it| &it.prepared));
                self.look_up(hosts, Purpose::Retry(look_up));
            }
        }
        for unbound in at_once {
            self.bind_again(unbound);
        }
    }

    fn bind_again(&mut self, unbound: Unbound) {
        let pause = (unbound.pause * 2).min(LONGEST_PAUSE);
        self.bind_service(unbound.prepared, unbound.served, pause);
    }
}

/// The hosts of these services, each once.
fn hosts_of<'a>(services: impl Iterator<Item = &'a Prepared>) -> Vec<String> {
    let hosts = services.flat_map(Prepared::hosts).map(str::to_owned);
    let hosts: HashSet<String> = hosts.collect();
    hosts.into_iter().collect()
}
