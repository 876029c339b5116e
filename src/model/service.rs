//! What is served and how: a service, the sockets it asks for, and the run as a whole.

use crate::model::address::{Family, Named, Style, UnixName};
use crate::model::admission::{Admission, Inquiry};
use crate::model::daemon::{Daemon, UserSpec};
use crate::model::inetd::ServiceFile;
use crate::model::sockopt::{KeepAlive, SocketOptions};
use crate::model::text::Quoted;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// For what PROG is run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mode {
    /// For every connection.
    #[default]
    Connections,
    /// `-w`: for every listener, when somebody waits there; it accepts by itself.
    Listeners,
    /// `-E`: in our place, with all listeners.
    Exec,
}

/// `--pass`: how a program that is given a listener, not a connection, gets it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pass {
    /// On descriptors 0 and 1.
    pub(crate) stdio: bool,
    /// On descriptor 0 alone.
    pub(crate) stdin: bool,
    /// From descriptor 3 on, as sd_listen_fds(3) has it.
    pub(crate) listen_fds: bool,
    /// In blocking mode.
    pub(crate) blocks: bool,
}

impl Default for Pass {
    fn default() -> Self {
        Self {
            stdio: true,
            stdin: false,
            listen_fds: false,
            blocks: true,
        }
    }
}

/// What is run for every connection, and what it is given.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Service {
    pub(crate) mode: Mode,
    pub(crate) pass: Pass,
    /// PROG and its arguments; never empty.
    pub(crate) words: Vec<OsString>,
    /// `-c`: at most this many children at once.
    pub(crate) max_connections: Option<NonZeroU32>,
    /// `-e`: the child's descriptor 2 is the connection.
    pub(crate) stderr_to_client: bool,
    /// `-n`: TCP_NODELAY on every accepted TCP connection.
    pub(crate) nodelay: bool,
    /// `--keepalive`, on every TCP connection.
    pub(crate) keepalive: Option<KeepAlive>,
    pub(crate) proto: Proto,
}

impl Service {
    /// PROG as the user called it, in quotes.
    pub(crate) fn quoted_prog(&self) -> String {
        let prog = self.words.first();
        Quoted(prog.map_or(OsStr::new(""), |word| word).as_bytes()).to_string()
    }
}

impl Service {
    /// What is wrong with the way in which PROG is to get so many listeners, in words: several have no room on descriptors
    /// 0 and 1.
    pub(crate) fn unfit_for(&self, listeners: usize) -> Option<String> {
        let is_unfit = self.mode == Mode::Exec && listeners > 1 && self.pass.stdio;
        is_unfit.then(|| "--exec with several listeners needs --pass listen-fds".into())
    }
}

/// What PROTO is called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Proto {
    /// `--proto`: this, whatever the socket is.
    pub(crate) name: Option<OsString>,
    /// `--tcp6`: TCP6 on IPv6 connections.
    pub(crate) tcp6: bool,
}

/// What may be taken away that lies at the path of a unix socket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Replaces {
    #[default]
    DeadSockets,
    /// Those that somebody listens on, too.
    Sockets,
    Nothing,
}

/// How the named sockets are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Making {
    pub(crate) family: Family,
    /// For listen(2), which caps it at net.core.somaxconn.
    pub(crate) backlog: i32,
    /// False for stream sockets that are bound and no more.
    pub(crate) listens: bool,
    pub(crate) replaces: Replaces,
    /// Permission bits of unix socket files; without it the umask decides.
    pub(crate) mode: Option<u32>,
    /// Owner of unix socket files, by name or number, not yet looked up.
    pub(crate) owner: Option<UserSpec>,
    pub(crate) sockets: SocketOptions,
}

/// The highest number that a descriptor can have: the kernel's own limit of fs.nr_open, sysctl_nr_open_max.
pub(crate) const MOST_DESCRIPTORS: u64 = 1_073_741_815;

/// A socket to be taken over instead of made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Adopt {
    /// `stdin` and `fd:N`.
    Descriptor(i32),
    /// `s6`: all of the dump; `s6:ID`: the one of that identifier.
    S6(Option<OsString>),
    /// `listen-fds`: all; `listen-fds:NAME`: those of that name.
    ListenFds(Option<OsString>),
}

/// When skd ends by itself, and how long it waits for children then.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Lifetime {
    /// `--idle-exit`: after so long without a connection or child.
    pub(crate) idle_exit: Option<Duration>,
    /// `--drain`: at the end children have so long; without it they live on.
    pub(crate) drain: Option<Duration>,
}

/// Everything that one command line asks for.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Run {
    pub(crate) service: Service,
    pub(crate) named: Vec<Named>,
    /// `--inetd-conf`: a file of further services.
    pub(crate) inetd_conf: Option<ServiceFile>,
    /// Where the metrics are told.
    pub(crate) metrics: Option<Named>,
    pub(crate) making: Making,
    pub(crate) adopt: Vec<Adopt>,
    /// False with `--no-adopt`.
    pub(crate) heed_listen_fds: bool,
    /// `-1`: print the port of every internet socket, not just of those that asked for port 0.
    pub(crate) print_ports: bool,
    pub(crate) level: Level,
    pub(crate) log_format: LogFormat,
    pub(crate) lifetime: Lifetime,
    pub(crate) daemon: Daemon,
    /// `--check`: read everything, bind and start nothing.
    pub(crate) check: bool,
    pub(crate) admission: Admission,
    /// `--check-peer`: the peer that is asked about, and nothing else is done.
    pub(crate) inquiry: Option<Inquiry>,
    /// `--pass` was given: a usage error if no program is given a listener.
    pub(crate) passes: bool,
    /// An option given that needs a socket, as the user knows it: a usage error if there is none.
    pub(crate) needs_socket: Option<&'static str>,
}

impl Run {
    /// Whether nothing names a socket.
    pub(crate) fn is_without(&self) -> bool {
        self.named.is_empty() && self.inetd_conf.is_none()
    }

    /// What is wrong with the options for the sockets that there are, in words; `inherited` are the types of those that
    /// were adopted.
    pub(crate) fn unfit(&self, inherited: &[Style]) -> Option<String> {
        if self.daemon.supervise {
            return Some("--supervise is for a program without sockets".into());
        }
        if self.inetd_conf.is_some() && self.service.mode == Mode::Exec {
            return Some("--exec and --inetd-conf exclude each other".into());
        }
        // A named one may be among the inherited.
        let least = inherited.len().max(self.named.len());
        let wrong = self.service.unfit_for(least);
        if wrong.is_some() {
            return wrong;
        }
        let named = self.named.iter().map(Named::style);
        let accepts = |style| matches!(style, Style::Stream | Style::SeqPacket);
        let (accepted, others): (Vec<_>, Vec<_>) = named
            .chain(inherited.iter().copied())
            .partition(|style| accepts(*style));
        let lends = self.service.mode != Mode::Connections || !others.is_empty();
        let are_datagrams = others.iter().all(|style| *style == Style::Datagram);
        match self.admission.option() {
            Some(option) if accepted.is_empty() => Some(format!(
                "{option}: there is no listener whose connections could be judged"
            )),
            _ if self.refuses_nobody() => {
                Some("--refuse is for --max-connections, --max-per-source and --rate-per-source".into())
            }
            _ if self.service.mode == Mode::Listeners && accepted.is_empty() && are_datagrams => {
                Some("--wait: there is no stream or seqpacket listener, a program gets a datagram socket without it".into())
            }
            _ if self.passes && !lends => Some(
                "--pass is for programs that get a listener: -w, -E and datagram sockets".into(),
            ),
            _ => None,
        }
    }

    /// A message for those whom a limit keeps out, and no limit that sends anyone away.
    fn refuses_nobody(&self) -> bool {
        let admission = &self.admission;
        let has_limit = self.service.max_connections.is_some()
            || admission.max_per_source.is_some()
            || admission.rate_per_source.is_some()
            || self.inetd_conf.is_some();
        admission.refusal.is_some() && !has_limit
    }

    /// An option given that is for a kind of socket of which there is none, in words. `adopts_tcp`: a TCP listener or
    /// connection was adopted, which is used as it is but for what concerns connections.
    pub(crate) fn misplaced(&self, adopts_tcp: bool) -> Option<String> {
        let makes = |kind: &dyn Fn(Style) -> bool| {
            let is_one = |named: &Named| matches!(named, Named::Inet { style, .. } if kind(*style));
            self.named.iter().any(is_one)
        };
        let has_conf = self.inetd_conf.is_some();
        let makes_inet = has_conf || makes(&|_| true);
        let makes_tcp = has_conf || makes(&|style| style == Style::Stream);
        let inet = (makes_inet, "internet socket to make");
        let tcp = (makes_tcp, "TCP listener to make");
        let connections = (makes_tcp || adopts_tcp, "TCP socket");
        let is_file = |named: &Named| {
            matches!(
                named,
                Named::Unix {
                    name: UnixName::Path(_),
                    ..
                }
            )
        };
        let mut named = self.named.iter().chain(&self.metrics);
        let file = (named.any(is_file), "unix socket file to make");
        let options = &self.making.sockets;
        let all = [
            (options.reuse_port, "--reuse-port", inet),
            (options.freebind, "--freebind", inet),
            (options.device.is_some(), "--bind-to-device", inet),
            (self.service.nodelay, "--nodelay", connections),
            (self.service.keepalive.is_some(), "--keepalive", connections),
            (options.defer_accept_secs.is_some(), "--defer-accept", tcp),
            (options.mptcp, "--mptcp", tcp),
            (self.making.mode.is_some(), "--mode", file),
            (self.making.owner.is_some(), "--owner", file),
        ];
        let mut misplaced = all
            .into_iter()
            .filter(|(is_given, _, (is_there, _))| *is_given && !is_there);
        misplaced
            .next()
            .map(|(_, option, (_, kind))| format!("{option}: there is no {kind}"))
    }
}

/// How much is logged; each level includes those before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Level {
    /// `-q`
    Fatal,
    Warning,
    /// `-v`: every connection.
    Connections,
    /// `-vv`: also what skd itself does.
    Everything,
}

/// `--log-format`: what a line of the log is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    /// One JSON object.
    Json,
}
