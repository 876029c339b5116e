//! From addresses named and sockets inherited to listeners, and from a listener to its connections.
#![forbid(unsafe_code)]

pub(crate) mod accept;
mod adopt;
mod bind;
mod bindoptions;
pub(crate) mod inherit;
pub(crate) mod open;
mod promises;
mod ready;
mod resolve;
mod resume;
mod s6dump;
mod unixfile;

use crate::listen::accept::Arrival;
use crate::listen::inherit::Receiver;
use crate::model::address::{Label, Place, Style};
use crate::model::error::Fatal;
use crate::model::manager::{OWN, STORED_AS};
use crate::model::service::Run;
use crate::model::sockopt::Buffers;
use crate::model::state::State;
use crate::sys::datagram::PeekOptions;
use crate::sys::errno::Errno;
use crate::sys::process;
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) use bind::Wanted;
pub(crate) use bindoptions::{BindOptions, Hosts};
pub(crate) use ready::ReadyFd;
pub(crate) use resume::{Resumed, metrics as resume_metrics};
pub(crate) use unixfile::SocketFile;

/// A listening stream or seqpacket socket, or a bound datagram socket.
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    pub(crate) style: Style,
    pub(crate) place: Place,
    pub(crate) label: Label,
    /// The unix socket file that skd made for it; `None` for adopted sockets.
    pub(crate) file: Option<SocketFile>,
    /// A connection's local address may differ from the listener's.
    pub(crate) has_many_addresses: bool,
    /// An IPv6 socket that takes no IPv4 connections.
    pub(crate) is_v6_only: bool,
    /// What a datagram socket is asked to say about its first datagram.
    pub(crate) peeking: Option<PeekOptions>,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Who made a listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    Ours,
    /// Somebody else, who may still hold it; by the name that LISTEN_FDNAMES gave it.
    Adopted {
        name: OsString,
    },
}

impl Listener {
    /// What LISTEN_FDNAMES calls it when it is passed on.
    pub(crate) fn name(&self) -> &OsStr {
        match &self.origin {
            Origin::Adopted { name } => name,
            Origin::Ours => OsStr::new(inherit::UNNAMED),
        }
    }

    /// The same for an skd that takes our place; `is_kept` says that a manager keeps it.
    pub(crate) fn name_for_successor(&self, is_kept: bool) -> &OsStr {
        match &self.origin {
            Origin::Adopted { name } => name,
            Origin::Ours if is_kept => OsStr::new(STORED_AS),
            Origin::Ours => OsStr::new(OWN),
        }
    }

    /// Whether somebody else made it, and not an skd before us for whom a manager has kept it.
    pub(crate) fn is_of_others(&self) -> bool {
        self.origin != Origin::Ours && self.name() != STORED_AS
    }

    /// Sets its buffers, and those of connections to come.
    ///
    /// # Errors
    /// setsockopt(2) failed.
    pub(crate) fn set_buffers(&self, buffers: Buffers) -> Result<(), Errno> {
        open::set_buffers(buffers, &self.socket)
    }

    /// A new socket at the same path, for a unix listener that was shut: the kernel lets nobody connect to it any more.
    /// Returns the one before.
    ///
    /// # Errors
    /// It is not of our making, has no file, or that cannot be made anew.
    pub(crate) fn replace_socket(&mut self, backlog: i32) -> Result<OwnedFd, String> {
        let Some(mut file) = self.file.take() else {
            return Err("it cannot be made anew".into());
        };
        let made = file.replace(self, backlog);
        self.file = Some(file);
        let made = made.map_err(|refusal| refusal.to_string())?;
        Ok(std::mem::replace(&mut self.socket, made))
    }

    /// The internet addresses on which it hears somebody: IPv4 too, if it is for every address of both families.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let Place::Inet(address) = self.place else {
            return Vec::new();
        };
        let is_both = address.is_ipv6() && self.place.is_wildcard() && !self.is_v6_only;
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        std::iter::once(address)
            .chain(Some(v4).filter(|_| is_both))
            .collect()
    }

    /// Whether its connections are of TCP, or of MPTCP.
    fn is_tcp(&self) -> bool {
        self.style == Style::Stream && self.place.inet_port().is_some()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connected stream or seqpacket socket that skd was started with: one connection, already accepted.
pub(crate) struct Connection {
    pub(crate) arrival: Arrival,
    pub(crate) label: Label,
}

/// What skd was started with.
pub(crate) enum Inherited {
    Listeners(Vec<Listener>),
    Connection(Connection),
}

/// What skd was started with, sorted out.
pub(crate) struct Adopted {
    pub(crate) inherited: Inherited,
    /// What is to hear of readiness.
    pub(crate) ready: Option<ReadyFd>,
    /// What was ignored.
    pub(crate) warnings: Vec<String>,
    /// What else there is to say of it, for who wants to know everything.
    pub(crate) note: Option<String>,
    /// Whether we are in the place of another skd.
    pub(crate) resumed: Resumed,
}

/// Takes over what the environment and the command line say, and closes every other descriptor from 3 up.
///
/// # Errors
/// As section 3 of the interface has them: 100 for wrong numbers and names, 111 for descriptors, both named.
pub(crate) fn adopt(run: &Run, environment: &[(OsString, OsString)]) -> Result<Adopted, Fatal> {
    let receiver = receiver(environment);
    let resumed = resume::read(environment, receiver.pid);
    // All that the skd before us had is ours, whatever we were told to adopt at the first start.
    let (takings, mut warnings) = if resumed.is_so() {
        inherit::all(environment, receiver)?
    } else {
        inherit::takings(run, environment, receiver)?
    };
    if matches!(resumed, Resumed::Blind) {
        let text = "the state of the skd before cannot be read, counting from zero";
        warnings.push(text.into());
    }
    let ready = run.daemon.ready_fd.filter(|_| !resumed.is_so());
    let kept = resumed.state().map_or(Vec::new(), State::numbers);
    let (mut inherited, ready) = adopt::take(&takings, (ready, &kept), &mut warnings)?;
    // With `--check` nothing is ours: what is dropped at the end must not be removed.
    let state = resumed.state().filter(|_| !run.check);
    match (&mut inherited, state) {
        (Inherited::Listeners(listeners), Some(state)) => resume::restore(listeners, state)?,
        (Inherited::Listeners(listeners), None) if resumed.is_so() && !run.check => {
            resume::recognise(listeners);
        }
        _ => {}
    }
    let of_another = inherit::of_another(environment, receiver);
    let of_another = of_another.filter(|_| run.heed_listen_fds && !resumed.is_so());
    let is_without = run.is_without()
        && matches!(&inherited, Inherited::Listeners(listeners) if listeners.is_empty());
    // PROG is to have a socket, as it seems, and there will be none.
    let note = match of_another {
        Some(text) if is_without => {
            warnings.push(text);
            None
        }
        other => other,
    };
    Ok(Adopted {
        inherited,
        ready,
        warnings,
        note,
        resumed,
    })
}

/// Who we are to a sender of descriptors. The number of our pidfd is found out only if it is asked for.
fn receiver(environment: &[(OsString, OsString)]) -> Receiver {
    let is_asked = environment.iter().any(|(name, _)| name == "LISTEN_PIDFDID");
    Receiver {
        pid: process::own_pid(),
        pidfd_id: if is_asked {
            process::own_pidfd_id()
        } else {
            None
        },
    }
}

/// All the listeners of a run, in the order in which they are served: the inherited ones first, then as on the command
/// line.
pub(crate) struct Listeners {
    pub(crate) all: Vec<Listener>,
    /// Where the metrics are told.
    pub(crate) metrics: Vec<Listener>,
    /// The ports to print, in the order of the command line.
    pub(crate) ports: Vec<u16>,
}

/// Names looked up, ready to be bound: everything that can be known without binding.
pub(crate) struct Prepared {
    services: Vec<Wanted>,
    metrics: Option<Wanted>,
}

/// Looks up every name on the command line and looks at what lies at every unix path that no inherited socket satisfies.
///
/// # Errors
/// 100 for an unknown service, user or group, and for an option without a socket that it is for; 111 for a host that
/// does not resolve, for a unix path that cannot be bound, and for what the kernel does not have.
pub(crate) fn prepare(run: &Run, inherited: &[Listener]) -> Result<(Prepared, BindOptions), Fatal> {
    if let Some(wrong) = run.misplaced(inherited.iter().any(Listener::is_tcp)) {
        return Err(Fatal::usage(wrong));
    }
    let keepalive = run.service.keepalive;
    let options = BindOptions::of(&run.making, keepalive)?;
    if let Some(keepalive) = keepalive {
        let tcp = inherited.iter().filter(|listener| listener.is_tcp());
        for listener in tcp {
            open::try_keep_alive(listener, keepalive)?;
        }
    }
    let wanted = |named| Wanted::of(named, run.making.family, &options, inherited);
    let services = run.named.iter().map(wanted).collect::<Result<_, _>>()?;
    let metrics = metrics_wanted(run, &options)?;
    Ok((Prepared { services, metrics }, options))
}

impl Prepared {
    /// The inherited socket that skd once bound and a manager has kept since, if no address names it any more. It is
    /// served like any other; but who changed the address will want to know.
    pub(crate) fn unnamed<'a>(&self, inherited: &'a [Listener]) -> Option<&'a Listener> {
        inherited.iter().find(|listener| {
            listener.name() == STORED_AS
                && !self.services.iter().any(|it| it.is_satisfied_by(listener))
        })
    }
}

/// Binds and listens on everything that no inherited socket satisfies. Socket files that were made are removed again
/// when it fails, since a listener that is dropped takes its file along.
///
/// # Errors
/// 111, naming the address.
pub(crate) fn make(
    run: &Run,
    prepared: Prepared,
    options: &BindOptions,
    inherited: Vec<Listener>,
) -> Result<Listeners, Fatal> {
    let inherited_count = inherited.len();
    let mut listeners = Listeners {
        all: inherited,
        metrics: Vec::new(),
        ports: Vec::new(),
    };
    for wanted in prepared.services {
        let inherited = listeners.all.get(..inherited_count).unwrap_or_default();
        let made = wanted.make(options, inherited)?;
        if let Some(port) = made.port.filter(|_| run.print_ports || made.port_was_open) {
            listeners.ports.push(port);
        }
        listeners.all.extend(made.listeners);
    }
    if let Some(wanted) = prepared.metrics {
        let made = wanted.make(&options.plain(), &[])?;
        listeners.metrics = made.listeners;
        listeners
            .ports
            .extend(made.port.filter(|_| made.port_was_open));
    }
    Ok(listeners)
}

fn metrics_wanted(run: &Run, options: &BindOptions) -> Result<Option<Wanted>, Fatal> {
    let named = run.metrics.as_ref();
    let wanted = |named| Wanted::of(named, run.making.family, &options.plain(), &[]);
    named.map(wanted).transpose()
}

/// The sockets of the metrics alone, where all others are there.
///
/// # Errors
/// As `prepare` and `make`.
pub(crate) fn make_metrics(run: &Run) -> Result<Vec<Listener>, Fatal> {
    let options = BindOptions::of(&run.making, None)?;
    let made = metrics_wanted(run, &options)?.map(|wanted| wanted.make(&options.plain(), &[]));
    Ok(made.transpose()?.map_or(Vec::new(), |made| made.listeners))
}
