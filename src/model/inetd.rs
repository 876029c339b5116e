//! The services of an inetd.conf(5), as the file has them: nothing is looked up yet.

use crate::model::address::{Family, Named, Style};
use crate::model::sockopt::Buffers;
use crate::model::text::harmless;
use std::ffi::OsString;
use std::num::NonZeroU32;

/// A file to be read, and what holds for all of it.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct ServiceFile {
    pub(crate) path: OsString,
    /// For services that name no such limit.
    pub(crate) starts_per_minute: Option<NonZeroU32>,
    /// Programs get nothing of skd's own environment but PATH.
    pub(crate) launders: bool,
    /// hosts_access(5) is expected to be heeded, which skd cannot.
    pub(crate) heeds_wrappers: bool,
    /// Where services listen that name no host, up to the first line that says so.
    pub(crate) host: Option<Box<str>>,
}

/// Where something stands in the file: line and column, both from 1; columns are characters.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct At {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Something that is wrong there.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Wrong {
    pub(crate) at: At,
    pub(crate) why: String,
}

impl Wrong {
    /// `FILE:LINE:COLUMN: WHY`
    pub(crate) fn shown(&self, file: &[u8]) -> String {
        let At { line, column } = self.at;
        format!("{}:{line}:{column}: {}", harmless(file), self.why)
    }
}

/// What skd itself answers with, RFC 862 to 864, 867 and 868.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Builtin {
    Echo,
    Discard,
    Chargen,
    Daytime,
    Time,
}

impl Builtin {
    pub(crate) const NAMES: [(&str, Self); 5] = [
        ("chargen", Self::Chargen),
        ("daytime", Self::Daytime),
        ("discard", Self::Discard),
        ("echo", Self::Echo),
        ("time", Self::Time),
    ];

    /// As the file calls it.
    pub(crate) fn name(self) -> &'static str {
        let mut all = Self::NAMES.into_iter();
        let found = all.find(|(_, builtin)| *builtin == self);
        found.map_or("", |(name, _)| name)
    }

    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let mut all = Self::NAMES.into_iter();
        let found = all.find(|(other, _)| other.as_bytes() == name);
        found.map(|(_, builtin)| builtin)
    }
}

/// PROGRAM and ARGV.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Server {
    Internal(Builtin),
    /// The file to execute, and argv, which is never empty.
    Program {
        file: OsString,
        words: Vec<OsString>,
    },
}

/// The limits that stand behind `wait` and `nowait`; `None` is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Limits {
    /// `.MAX`: starts in a minute, before the service rests until it is over.
    pub(crate) starts_per_minute: Option<NonZeroU32>,
    /// `/MAX`: programs at once.
    pub(crate) at_once: Option<NonZeroU32>,
    /// `/PER-MINUTE`: connections of one source in a minute.
    pub(crate) per_minute: Option<NonZeroU32>,
    /// `/PER-SOURCE`: programs of one source at once.
    pub(crate) per_source: Option<NonZeroU32>,
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InetdService {
    /// Where it begins, which is where SERVICE stands.
    pub(crate) at: At,
    /// SERVICE, TYPE and PROTOCOL as they are written, with the hosts of a default line: a service whose name is the same
    /// after the file was read again is the same service.
    pub(crate) name: String,
    pub(crate) style: Style,
    /// Where to listen; more than one for several hosts.
    pub(crate) named: Vec<Named>,
    pub(crate) family: Family,
    /// A socket for each family where no host is given, rather than one for both.
    pub(crate) is_split: bool,
    pub(crate) buffers: Buffers,
    /// The program gets the socket that is listened on.
    pub(crate) waits: bool,
    pub(crate) limits: Limits,
    /// `user`, `user:group` or `user.group`.
    pub(crate) user: String,
    pub(crate) user_at: At,
    pub(crate) server: Server,
    pub(crate) server_at: At,
}

/// A file as read: every service that is right, and all that is wrong, in the order of the lines.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Services {
    pub(crate) all: Vec<InetdService>,
    pub(crate) wrong: Vec<Wrong>,
}
