//! What one skd hands to the next: any state is read as it was written, and no word of a text is passed over.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/model/mod.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use model::inetd::Builtin;
use model::peer::{Credentials, Peer, Source};
use model::state::{
    Child, Farewell, Gone, Held, KeptFile, Listener, Log, Pending, Scraped, Spent, Stage, State,
    Visit,
};
use model::tally::{Counts, Histogram, Tally};
use std::collections::HashSet;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::time::Duration;

/// Of these a state has one; where there are more the last one counts.
const ONCE: [&str; 10] = [
    "process", "counts", "pidfile", "log", "prog", "rules", "services", "notify", "verdicts",
    "reports",
];

// A text; or behind a first byte of 0 what a state is made of.
fuzz_target!(|bytes: &[u8]| match bytes {
    [0, bytes @ ..] => written(&Bytes(bytes).state()),
    bytes => read(bytes),
});

fn written(state: &State) {
    let text = state.encode();
    assert_eq!(State::decode(&text).as_ref(), Some(state));
    // Cut at the end of a line, it is none.
    for (place, _) in text.match_indices('\n') {
        assert_eq!(State::decode(&text[..place]), None);
        assert!(place + 1 == text.len() || State::decode(&text[..=place]).is_none());
    }
    let numbers = state.numbers();
    assert!(
        numbers
            .iter()
            .all(|number| text.contains(&format!(" {number}")))
    );
}

fn read(bytes: &[u8]) {
    let Some((text, state)) = str::from_utf8(bytes)
        .ok()
        .and_then(|text| Some((text, State::decode(text)?)))
    else {
        return;
    };
    let again = state.encode();
    assert_eq!(State::decode(&again).as_ref(), Some(&state));
    let mut firsts = HashSet::new();
    let is_twice = text.lines().any(|line| {
        let first = match line.split(' ').next().unwrap_or_default() {
            "logfile" | "logger" => "log",
            first => first,
        };
        ONCE.contains(&first) && !firsts.insert(first)
    });
    let words = |text: &str| {
        text.lines()
            .map(|line| line.split(' ').count())
            .sum::<usize>()
    };
    // Counts that are not told are 0.
    let has_counts = text.lines().any(|line| line.starts_with("counts "));
    let untold = if has_counts { 0 } else { 4 };
    assert!(is_twice || words(text) + untold == words(&again), "{again}");
}

/// Bytes of which a state is made; at their end everything is 0.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn array<const LEN: usize>(&mut self) -> [u8; LEN] {
        [(); LEN].map(|()| self.byte())
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    fn some<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % 4).map(|_| make(self)).collect()
    }

    fn long(&mut self) -> u64 {
        match self.byte() {
            255 => u64::from_be_bytes(self.array()),
            254 => u64::MAX,
            byte => byte.into(),
        }
    }

    fn word(&mut self) -> u32 {
        self.long() as u32
    }

    fn number(&mut self) -> i32 {
        self.word().cast_signed()
    }

    fn span(&mut self) -> Duration {
        Duration::from_nanos(self.long())
    }

    fn name(&mut self) -> Vec<u8> {
        (0..self.byte() % 16).map(|_| self.byte()).collect()
    }

    fn held(&mut self) -> Held {
        Held::from((self.number(), self.name()))
    }

    fn file(&mut self) -> Option<(Held, (u64, u64))> {
        self.maybe(|it| (it.held(), (it.long(), it.long())))
    }

    fn kept_file(&mut self) -> KeptFile {
        KeptFile {
            at: self.held(),
            contents: self.number(),
        }
    }

    fn log(&mut self) -> Log {
        match self.byte() % 3 {
            0 => Log::Inherited,
            1 => Log::File {
                at: self.held(),
                umask: self.word(),
            },
            _ => Log::Syslog {
                read: self.number(),
                null: self.number(),
                places: self.some(Self::held),
                pid: self.number(),
            },
        }
    }

    fn source(&mut self) -> Source {
        match self.byte() % 5 {
            0 => Source::V4(self.word()),
            1 => Source::V6(self.array()),
            2 => Source::Uid(self.word()),
            3 => Source::Cid(self.word()),
            _ => Source::Unknown,
        }
    }

    fn peer(&mut self) -> Peer {
        match self.byte() % 5 {
            0 => {
                let (ip, port) = (self.array::<4>().into(), self.word() as u16);
                Peer::Inet(SocketAddrV4::new(ip, port).into())
            }
            1 => {
                // What is shown of an address is not its flow, which is nothing to skd.
                let (ip, port, scope) =
                    (self.array::<16>().into(), self.word() as u16, self.word());
                Peer::Inet(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            2 => Peer::Unix(Some(Credentials {
                pid: self.number(),
                uid: self.word(),
                gid: self.word(),
            })),
            3 => Peer::Unix(None),
            _ => Peer::Vsock {
                cid: self.word(),
                port: self.word(),
            },
        }
    }

    fn histogram(&mut self) -> Histogram {
        Histogram {
            counts: [(); 12].map(|()| self.long()),
            sum: self.span(),
        }
    }

    fn tally(&mut self) -> Tally {
        Tally {
            counts: self.counts(),
            children: 0,
            spawn: self.histogram(),
            run: self.histogram(),
        }
    }

    fn listener(&mut self) -> Listener {
        Listener {
            adopted: self.maybe(Self::name),
            service: self.maybe(Self::name),
            is_kept: self.flag(),
            file: self.file(),
            waited: self.maybe(Self::long),
            has_news: self.flag(),
            was_executed: self.flag(),
            is_again: self.flag(),
            unread: (self.maybe(Self::span), self.word()),
            rests_until: self.maybe(Self::span),
            tally: self.tally(),
        }
    }

    fn child(&mut self, places: u32) -> Child {
        Child {
            pid: (self.word() >> 1).cast_signed().max(1),
            listener: self.word() % places,
            since: self.span(),
            peer: self.maybe(Self::peer),
            source: self.source(),
            stage: match self.byte() % 3 {
                0 => Stage::Running,
                1 => Stage::Asking,
                _ => Stage::Denied,
            },
        }
    }

    fn pending(&mut self, places: u32) -> Pending {
        Pending {
            conn: self.number(),
            listener: self.word() % places,
            until: self.span(),
            taken: self.name(),
            peer: self.peer(),
        }
    }

    fn visit(&mut self, places: u32) -> Visit {
        let (_, builtin) = Builtin::NAMES[usize::from(self.byte()) % Builtin::NAMES.len()];
        Visit {
            conn: self.number(),
            listener: self.word() % places,
            builtin,
            since: self.span(),
            until: self.span(),
            line: self.long() as usize,
            unsent: self.name(),
            source: self.source(),
            peer: self.peer(),
        }
    }

    fn counts(&mut self) -> Counts {
        Counts {
            accepted: self.long(),
            denied: self.long(),
            failed: self.long(),
        }
    }

    fn gone(&mut self) -> Gone {
        Gone {
            label: self.name(),
            tally: self.tally(),
        }
    }

    fn farewell(&mut self) -> Farewell {
        Farewell {
            conn: self.number(),
            sent: self.long() as usize,
            until: self.span(),
        }
    }

    fn spent(&mut self) -> Spent {
        Spent {
            source: self.maybe(Self::source),
            units: self.long(),
        }
    }

    fn scraped(&mut self) -> Scraped {
        Scraped {
            socket: self.number(),
            file: self.file(),
        }
    }

    fn state(mut self) -> State {
        let mut state = State {
            pid: 42,
            may_have_strangers: self.flag(),
            pidfile: self.maybe(|it| (it.number(), it.held())),
            log: self.log(),
            prog: self.maybe(Self::name),
            rules: self.maybe(Self::kept_file),
            services: self.maybe(Self::kept_file),
            known: String::from_utf8_lossy(&self.name()).into_owned(),
            spent: self.some(Self::spent),
            sum: self.counts(),
            notify: self.maybe(Self::number),
            verdicts: self.maybe(|it| (it.number(), it.number())),
            reports: self.maybe(|it| (it.number(), it.number())),
            heard: self.some(|it| (it.number(), it.number())),
            listeners: self.some(Self::listener),
            gone: self.some(Self::gone),
            children: Vec::new(),
            pendings: Vec::new(),
            farewells: self.some(Self::farewell),
            visits: Vec::new(),
            scraped: self.some(Self::scraped),
        };
        let places = state.listeners.len() + state.gone.len();
        if let Some(places) = u32::try_from(places).ok().filter(|places| *places > 0) {
            state.children = self.some(|it| it.child(places));
            state.pendings = self.some(|it| it.pending(places));
            state.visits = self.some(|it| it.visit(places));
        }
        state
    }
}
