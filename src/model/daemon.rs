//! How skd runs: in the background or not, as whom, and where its words go.

use std::ffi::OsString;

/// What is asked of the process itself, rather than of its sockets.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Daemon {
    /// `-B`
    pub(crate) background: bool,
    /// `-P`
    pub(crate) pidfile: Option<OsString>,
    /// `-L`
    pub(crate) log: Option<LogTo>,
    /// `-S`
    pub(crate) supervise: bool,
    /// `--ready-fd`: the number of a descriptor that hears of readiness.
    pub(crate) ready_fd: Option<i32>,
    /// `--fdstore`: the manager keeps the sockets that skd bound.
    pub(crate) fd_store: bool,
    pub(crate) privileges: Privileges,
}

/// Where stderr goes, skd's and the children's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LogTo {
    Syslog(SyslogTo),
    /// `truncate` is for the start alone.
    File {
        path: OsString,
        truncate: bool,
    },
}

impl LogTo {
    /// The same, leaving what is there already.
    pub(crate) fn to_append(&self) -> Self {
        match self {
            Self::File { path, .. } => Self::File {
                path: path.clone(),
                truncate: false,
            },
            Self::Syslog(to) => Self::Syslog(to.clone()),
        }
    }
}

/// What every line to syslog begins with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SyslogTo {
    /// Never empty, without control characters.
    pub(crate) tag: String,
    /// 0 to 23 as in RFC 3164, section 4.1.1.
    pub(crate) facility: u8,
    /// 0 (emerg) to 7 (debug).
    pub(crate) severity: u8,
}

/// Facilities by the names of syslog(3) and logger(1), each at the place of its number.
pub(crate) const FACILITIES: [&[&str]; 24] = [
    &["kern"],
    &["user"],
    &["mail"],
    &["daemon"],
    &["auth", "security"],
    &["syslog"],
    &["lpr"],
    &["news"],
    &["uucp"],
    &["cron"],
    &["authpriv"],
    &["ftp"],
    &["ntp"],
    &["audit"],
    &["alert"],
    &["clock_daemon", "clock"],
    &["local0"],
    &["local1"],
    &["local2"],
    &["local3"],
    &["local4"],
    &["local5"],
    &["local6"],
    &["local7"],
];

/// Priorities in the same way.
pub(crate) const SEVERITIES: [&[&str]; 8] = [
    &["emerg", "panic"],
    &["alert"],
    &["crit"],
    &["err", "error"],
    &["warning", "warn"],
    &["notice"],
    &["info"],
    &["debug"],
];

/// What is given up, and what else a program finds changed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Privileges {
    pub(crate) identity: Identity,
    pub(crate) chroot: Option<OsString>,
    pub(crate) chdir: Option<OsString>,
    pub(crate) umask: Option<u32>,
    pub(crate) no_new_privs: bool,
}

impl Privileges {
    /// Whether there may be a root folder of its own.
    pub(crate) fn may_have_jail(&self) -> bool {
        self.chroot.is_some() || self.identity == Identity::Environment
    }
}

/// Whom to become, not yet looked up.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) enum Identity {
    #[default]
    Unchanged,
    /// `-U`: what UID, GID, GIDLIST and ROOT say.
    Environment,
    /// `--user` and `--groups`; at least one of them.
    Named {
        user: Option<UserSpec>,
        groups: Option<Vec<String>>,
    },
    /// These alone, without any supplementary group; `None` leaves one as it is.
    Numbers { uid: Option<Id>, gid: Option<Id> },
}

/// A uid or gid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Id {
    Number(u32),
    /// What this variable of the environment says.
    Variable(&'static str),
}

/// `USER[:GROUP]`, each a name or a number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UserSpec {
    pub(crate) user: String,
    pub(crate) group: Option<String>,
}
