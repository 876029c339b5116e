//! Who may come in: everything that is asked of a connection before a program is started for it.

use crate::admit::lists::Lists;
use crate::admit::policy::{Policy, Verdict};
use crate::admit::rates::{Bucket, SourceRates};
use crate::model::admission::{Admission, Inquiry, Rate};
use crate::model::error::Fatal;
use crate::model::event::{Event, Trouble};
use crate::model::peer::{Peer, PeerFacts};
use crate::model::state::{KeptFile, Spent};
use crate::serve::Server;
use crate::serve::guest::Guest;
use crate::serve::rulesfile::{News, RulesFile};
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What has to be kept for the decisions.
pub(crate) struct Gate {
    policy: Policy,
    rules: Option<RulesFile>,
    proxies: Option<Lists>,
    pub(crate) proxy_timeout: Duration,
    max_per_source: Option<NonZeroU32>,
    /// `-r`
    refusal: Option<Rc<[u8]>>,
    rate: Option<Bucket>,
    rate_per_source: Option<(Rate, SourceRates)>,
    pub(crate) lookups: Lookups,
}

/// Which names are looked up before a program is started, and how long that may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lookups {
    pub(crate) resolve: bool,
    pub(crate) ident: bool,
    pub(crate) timeout: Duration,
}

impl Lookups {
    /// Only internet addresses have names.
    pub(crate) fn are_asked_of(self, peer: &Peer) -> bool {
        (self.resolve || self.ident) && matches!(peer, Peer::Inet(_))
    }
}

impl Gate {
    /// Reads the rules. To be called before any chroot, in which they could not be found. `kept` are those of the skd before
    /// us, and whether it asks.
    ///
    /// # Errors
    /// 100: the rules cannot be read, or are wrong.
    pub(crate) fn open(
        admission: &Admission,
        kept: Option<(&KeptFile, bool)>,
    ) -> Result<Self, Fatal> {
        let now = Instant::now();
        let rules = admission.rules.as_deref();
        let rules = rules.map(|path| RulesFile::open(path, kept));
        let (rules, contents) = rules.transpose()?.unzip();
        let proxies = admission.proxies.as_ref();
        Ok(Self {
            policy: Policy::new(&admission.allow, &admission.deny, contents),
            rules,
            proxies: proxies.map(|members| Lists::new(members, &[])),
            proxy_timeout: admission.proxy_timeout,
            max_per_source: admission.max_per_source,
            refusal: admission.refusal.as_deref().map(Rc::from),
            rate: admission.rate.map(|rate| Bucket::new(rate, now)),
            rate_per_source: admission
                .rate_per_source
                .map(|rate| (rate, SourceRates::new(rate, now))),
            lookups: Lookups {
                resolve: admission.resolve,
                ident: admission.ident,
                timeout: admission.lookup_timeout,
            },
        })
    }

    /// What rules ask of a peer that nobody looks up, if they do.
    pub(crate) fn unheard(&self) -> Option<&'static str> {
        let lookups = self.lookups;
        if self.policy.asks_host() && !lookups.resolve {
            return Some("rules with names of hosts match nobody without --resolve");
        }
        let is_deaf = self.policy.asks_ident() && !lookups.ident;
        is_deaf.then_some("rules with INFO@ match nobody without --ident")
    }

    /// What an skd in our place needs in order to know the rules.
    pub(super) fn keep_rules(&self, keeper: &mut Keeper) -> Result<Option<KeptFile>, Errno> {
        let kept = self.rules.as_ref().map(|rules| rules.keep(keeper));
        Ok(kept.transpose()?.flatten())
    }

    /// What is missing in its buckets.
    pub(super) fn spent(&self, now: Instant) -> Vec<Spent> {
        let all = self.rate.as_ref().map(|bucket| bucket.spent(now));
        let all = all.map(|units| Spent {
            source: None,
            units,
        });
        let sources = self.rate_per_source.iter();
        let sources = sources.flat_map(|(_, rates)| rates.spent(now));
        let sources = sources.map(|(source, units)| Spent {
            source: Some(source),
            units,
        });
        all.into_iter().chain(sources).collect()
    }

    /// Goes on with buckets in which so much was missing.
    pub(super) fn resume_spent(&mut self, spent: &[Spent], now: Instant) {
        for Spent { source, units } in spent {
            match (source, &mut self.rate, &mut self.rate_per_source) {
                (None, Some(bucket), _) => bucket.resume(*units, now),
                (Some(source), _, Some((_, rates))) => rates.resume(*source, *units, now),
                _ => {}
            }
        }
    }

    /// The answer to `--check-peer`, and whether the peer is allowed.
    pub(crate) fn answer(&self, inquiry: &Inquiry) -> (String, bool) {
        self.policy.answer(inquiry)
    }

    /// Whether a connection from there begins with a PROXY header.
    pub(crate) fn is_proxy(&self, peer: &Peer) -> bool {
        self.proxies.as_ref().is_some_and(|lists| lists.have(peer))
    }

    /// Whether there is something to be said to those whom a limit keeps out.
    pub(crate) fn has_refusal(&self) -> bool {
        self.refusal.is_some()
    }

    /// And what.
    pub(crate) fn refusal(&self) -> Option<Rc<[u8]>> {
        self.refusal.clone()
    }

    /// Until when nobody is let in; `None` if somebody is now.
    pub(crate) fn shut_until(&self, now: Instant) -> Option<Instant> {
        self.rate.as_ref()?.empty_until(now)
    }

    /// Takes a token for a connection; there is one, since the backlog is left alone otherwise.
    pub(super) fn take_token(&mut self, now: Instant) {
        let _ = self.rate.as_mut().map(|bucket| bucket.take(now));
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What there is to say of a peer before anything is looked up: why it is denied, if it is.
    pub(crate) fn judge_early(&self, peer: &Peer) -> Result<(), String> {
        let verdict = self.judge_unnamed(&self.policy, peer);
        match verdict.allows {
            true => Ok(()),
            false => Err(verdict.why.to_string()),
        }
    }

    /// The verdict on a peer of whom nothing is looked up yet; where names can change it, that of the lists alone.
    fn judge_unnamed<'a>(&self, policy: &'a Policy, peer: &Peer) -> Verdict<'a> {
        if self.lookups.are_asked_of(peer) && self.waits_for_lookups(policy) {
            policy.judge_by_lists(peer)
        } else {
            policy.judge(&plain(peer))
        }
    }

    /// Whether what is looked up can change the decision.
    fn waits_for_lookups(&self, policy: &Policy) -> bool {
        let lookups = self.lookups;
        (lookups.resolve && policy.asks_host()) || (lookups.ident && policy.asks_ident())
    }
}

/// A peer of whom nothing has been looked up.
fn plain(peer: &Peer) -> PeerFacts<'_> {
    PeerFacts {
        peer,
        host: None,
        ident: None,
    }
}

impl Server {
    /// Somebody has been taken out of the backlog. Returns whether there was a process to be had.
    pub(super) fn judge(&mut self, place: usize, guest: Guest) -> bool {
        self.look_at_rules(Instant::now());
        // Lent to the decision, while everything else may change.
        let policy = std::mem::take(&mut self.gate.policy);
        let had_process = self.judge_by(&policy, place, guest);
        self.gate.policy = policy;
        had_process
    }

    fn judge_by(&mut self, policy: &Policy, place: usize, guest: Guest) -> bool {
        let peer = guest.arrival.peer;
        let verdict = self.gate.judge_unnamed(policy, &peer);
        if !verdict.allows {
            self.deny(place, &peer, || verdict.why.to_string());
            return true;
        }
        let builtin = self.entrances.builtin(place);
        let is_full = builtin.is_none() && self.is_full();
        if let Some(max) = self.max_connections.filter(|_| is_full) {
            self.refuse(place, guest, || format!("--max-connections {max}"));
            return true;
        }
        let number = match self.gate.max_per_source {
            None => self.sources.enter(guest.source),
            Some(max) => match self.sources.enter_within(guest.source, max) {
                Some(number) => number,
                None => {
                    self.refuse(place, guest, || format!("--max-per-source {max}"));
                    return true;
                }
            },
        };
        let now = Instant::now();
        let admitted = self
            .entrances
            .with_quota(place, |quota| quota.admit(guest.source, now));
        if let Some(Err(reason)) = admitted {
            self.sources.leave(guest.source);
            self.refuse(place, guest, || reason);
            return true;
        }
        if let Some((rate, rates)) = &mut self.gate.rate_per_source
            && !rates.take(guest.source, now)
        {
            let rate = *rate;
            self.sources.leave(guest.source);
            self.refuse(place, guest, || format!("--rate-per-source {rate}"));
            return true;
        }
        self.gate.take_token(now);
        if let Some(builtin) = builtin {
            self.visit(place, guest, builtin);
            return true;
        }
        match self.gate.lookups.are_asked_of(&peer) {
            true => self.launch_asker(place, guest, number, policy),
            false => self.launch(place, guest, number, verdict.variables),
        }
    }

    /// Gives a token back that was taken for a connection that has not been let in, or is to be judged now.
    pub(super) fn give_token_back(&mut self) {
        let Some(bucket) = &mut self.gate.rate else {
            return;
        };
        bucket.give_back();
        for listening in self.listeners.all_mut() {
            if std::mem::take(&mut listening.waits_for_token) {
                listening.rests_until = None;
            }
        }
    }

    /// Somebody is not let in, and hears nothing.
    pub(super) fn deny(&mut self, place: usize, peer: &Peer, reason: impl FnOnce() -> String) {
        self.tallies.deny(place);
        self.notices.changed();
        if !self.log.tells_connections() {
            return;
        }
        if let Some(listener) = self.entrances.label(place) {
            let event = Event::Deny {
                listener,
                peer,
                reason: &reason(),
            };
            self.log.tell(&event, Instant::now());
        }
    }

    /// Somebody is kept out by a limit, and hears the message of `-r`, if there is one.
    fn refuse(&mut self, place: usize, guest: Guest, reason: impl FnOnce() -> String) {
        self.deny(place, &guest.arrival.peer, reason);
        if let Some(message) = self.gate.refusal() {
            self.farewells
                .begin(&self.poll, guest.arrival.conn, message);
        }
    }

    /// Reads the rules again if their file has changed, and it is time to look; HUP does not ask for the time.
    fn look_at_rules(&mut self, now: Instant) {
        if let Some(rules) = self.gate.rules.as_mut().filter(|rules| rules.is_due(now)) {
            let news = rules.look(now);
            self.take_rules(news);
        }
    }

    pub(super) fn reread_rules(&mut self) {
        if let Some(rules) = &mut self.gate.rules {
            let news = rules.read_again();
            self.take_rules(news);
        }
    }

    fn take_rules(&mut self, news: News) {
        match news {
            News::None => {}
            News::Rules(rules) => {
                self.log.note(|| "read the rules again".into());
                self.gate.policy.replace(*rules);
                if let Some(text) = self.gate.unheard() {
                    self.warn(Trouble::Other, None, text.into());
                }
            }
            News::Broken(text) => {
                let text = format!("{text}, keeping the rules as they were");
                self.warn(Trouble::Other, None, text);
            }
        }
    }
}
