//! The words of a line of a state, one after the other, strictly.

use super::{
    Child, Farewell, Gone, Held, KeptFile, Listener, Log, Pending, Scraped, Spent, Stage, Visit,
};
use crate::model::inetd::Builtin;
use crate::model::peer::{Credentials, Peer, Source};
use crate::model::tally::{Counts, Histogram, Tally};
use std::time::Duration;

/// The words of a line that are left.
pub(super) struct Words<'a>(std::str::Split<'a, char>);

impl<'a> Words<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        Self(line.split(' '))
    }

    pub(super) fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.0.next()? {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    pub(super) fn held(&mut self) -> Option<Held> {
        Some(Held {
            folder: self.number()?,
            name: unhex(self.0.next()?)?,
        })
    }

    pub(super) fn listener(&mut self) -> Option<Listener> {
        let adopted = self.name_or_none()?;
        let service = self.name_or_none()?;
        let is_kept = self.flag()?;
        let waited = self.or_none()?;
        let has_news = self.flag()?;
        let (was_executed, is_again) = (self.flag()?, self.flag()?);
        let stamp = self.or_none()?.map(Duration::from_nanos);
        let starts = self.number()?;
        let rests_until = self.or_none()?.map(Duration::from_nanos);
        let tally = self.tally()?;
        let file = self.file()?;
        Some(Listener {
            adopted,
            service,
            is_kept,
            file,
            waited,
            has_news,
            was_executed,
            is_again,
            unread: (stamp, starts),
            rests_until,
            tally,
        })
    }

    /// A name, or `-` for none.
    fn name_or_none(&mut self) -> Option<Option<Vec<u8>>> {
        Some(match self.0.next()? {
            "-" => None,
            name => Some(unhex(name)?),
        })
    }

    /// A name that is there.
    pub(super) fn name(&mut self) -> Option<Vec<u8>> {
        unhex(self.0.next()?)
    }

    pub(super) fn kept_file(&mut self) -> Option<KeptFile> {
        Some(KeptFile {
            contents: self.number()?,
            at: self.held()?,
        })
    }

    pub(super) fn spent(&mut self) -> Option<Spent> {
        let units = self.number()?;
        let source = match self.0.clone().next()? {
            "all" => {
                self.0.next();
                None
            }
            _ => Some(self.source()?),
        };
        Some(Spent { source, units })
    }

    pub(super) fn gone(&mut self) -> Option<Gone> {
        Some(Gone {
            label: unhex(self.0.next()?)?,
            tally: self.tally()?,
        })
    }

    /// The rest of the line, if there is one.
    fn file(&mut self) -> Option<Option<(Held, (u64, u64))>> {
        if self.are_over() {
            return Some(None);
        }
        let identity = (self.number()?, self.number()?);
        Some(Some((self.held()?, identity)))
    }

    fn are_over(&self) -> bool {
        self.0.clone().next().is_none()
    }

    pub(super) fn scraped(&mut self) -> Option<Scraped> {
        Some(Scraped {
            socket: self.number()?,
            file: self.file()?,
        })
    }

    pub(super) fn counts(&mut self) -> Option<Counts> {
        Some(Counts {
            accepted: self.number()?,
            denied: self.number()?,
            failed: self.number()?,
        })
    }

    fn tally(&mut self) -> Option<Tally> {
        Some(Tally {
            counts: self.counts()?,
            children: 0,
            spawn: self.histogram()?,
            run: self.histogram()?,
        })
    }

    fn histogram(&mut self) -> Option<Histogram> {
        let mut histogram = Histogram::default();
        for count in &mut histogram.counts {
            *count = self.number()?;
        }
        histogram.sum = self.span()?;
        Some(histogram)
    }

    pub(super) fn logger(&mut self) -> Option<Log> {
        let (read, null, pid) = (self.number()?, self.number()?, self.number()?);
        let mut places = Vec::new();
        while !self.are_over() {
            places.push(self.held()?);
        }
        Some(Log::Syslog {
            read,
            null,
            places,
            pid,
        })
    }

    pub(super) fn child(&mut self) -> Option<Child> {
        Some(Child {
            pid: self.number().filter(|pid| *pid > 0)?,
            listener: self.number()?,
            since: self.span()?,
            stage: match self.0.next()? {
                "running" => Stage::Running,
                "asking" => Stage::Asking,
                "denied" => Stage::Denied,
                _ => return None,
            },
            source: self.source()?,
            peer: self.peer()?,
        })
    }

    pub(super) fn pending(&mut self) -> Option<Pending> {
        Some(Pending {
            conn: self.number()?,
            listener: self.number()?,
            until: self.span()?,
            taken: unhex(self.0.next()?)?,
            peer: self.peer()??,
        })
    }

    pub(super) fn visit(&mut self) -> Option<Visit> {
        Some(Visit {
            conn: self.number()?,
            listener: self.number()?,
            builtin: Builtin::named(self.0.next()?.as_bytes())?,
            since: self.span()?,
            until: self.span()?,
            line: self.number()?,
            unsent: unhex(self.0.next()?)?,
            source: self.source()?,
            peer: self.peer()??,
        })
    }

    pub(super) fn farewell(&mut self) -> Option<Farewell> {
        Some(Farewell {
            conn: self.number()?,
            sent: self.number()?,
            until: self.span()?,
        })
    }

    /// Nanoseconds: more than 64 bits hold, where it is what all programs have run together.
    fn span(&mut self) -> Option<Duration> {
        const SECOND: u128 = 1_000_000_000;
        let nanos: u128 = self.number()?;
        let secs = u64::try_from(nanos / SECOND).ok()?;
        Some(Duration::new(secs, u32::try_from(nanos % SECOND).ok()?))
    }

    /// A number, or `-` for none.
    fn or_none(&mut self) -> Option<Option<u64>> {
        Some(match self.0.next()? {
            "-" => None,
            number => Some(number.parse().ok()?),
        })
    }

    fn source(&mut self) -> Option<Source> {
        Some(match self.0.next()? {
            "4" => Source::V4(self.number()?),
            "6" => Source::V6(self.number::<u64>()?.to_be_bytes()),
            "uid" => Source::Uid(self.number()?),
            "cid" => Source::Cid(self.number()?),
            "nobody" => Source::Unknown,
            _ => return None,
        })
    }

    fn peer(&mut self) -> Option<Option<Peer>> {
        Some(Some(match self.0.next()? {
            "alone" => return Some(None),
            "inet" => Peer::Inet(self.number()?),
            "unix" => Peer::Unix(Some(Credentials {
                pid: self.number()?,
                uid: self.number()?,
                gid: self.number()?,
            })),
            "unknown" => Peer::Unix(None),
            "vsock" => Peer::Vsock {
                cid: self.number()?,
                port: self.number()?,
            },
            _ => return None,
        }))
    }
}

fn unhex(word: &str) -> Option<Vec<u8>> {
    let digits = word.strip_prefix('x')?.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}
