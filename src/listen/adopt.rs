//! Takes over the descriptors that skd was started with, after a look at what each is.

use crate::listen::accept::{Arrival, Local};
use crate::listen::inherit::Taking;
use crate::listen::{Connection, Inherited, Listener, Origin, ReadyFd};
use crate::model::address::{Label, Place, Style, UnixName, unmapped};
use crate::model::error::Fatal;
use crate::model::peer::{Credentials, Peer};
use crate::sys::datagram::PeekOptions;
use crate::sys::errno::Errno;
use crate::sys::fd::{self, FileKind, Identity};
use crate::sys::poll;
use crate::sys::sockaddr::{Meaning, SockAddr};
use crate::sys::{env, socket, sockopt};
use listenfd::ListenFd;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A descriptor that is open and close-on-exec, and which file it refers to.
struct Opened<'a> {
    taking: &'a Taking,
    fd: OwnedFd,
    identity: Identity,
}

/// Takes over each descriptor, and the one that hears of readiness, and closes all others from 3 up but `kept`.
///
/// # Errors
/// 111, naming a descriptor that is not open or nothing that skd can serve; 100 for a connected socket beside others.
pub(crate) fn take(
    takings: &[Taking],
    (ready, kept): (Option<i32>, &[i32]),
    warnings: &mut Vec<String>,
) -> Result<(Inherited, Option<ReadyFd>), Fatal> {
    let (opened, ready) = open_all(takings, ready, kept)?;
    let identities: Vec<Identity> = opened.iter().map(|opened| opened.identity).collect();
    let (mut listeners, mut connections) = (Vec::new(), Vec::new());
    for Opened { taking, fd, .. } in opened {
        match served(fd, taking) {
            Ok(Served::Listener(listener)) => listeners.push(Listener {
                origin: Origin::Adopted {
                    name: taking.name.clone(),
                },
                ..listener
            }),
            Ok(Served::Connection(connection)) => connections.push((taking, connection)),
            Err(Useless::NoSocket(what)) if taking.may_be_foreign => {
                warnings.push(format!("{} is {what}, skipping", taking.called));
            }
            Err(useless) => {
                return Err(Fatal::unable(format!("adopt {}", taking.called), useless));
            }
        }
    }
    let count = listeners.len() + connections.len();
    if count == 0 && !takings.is_empty() {
        let text = "there is nothing to adopt: none of the descriptors of S6_FD# is a socket";
        return Err(Fatal::configuration(text));
    }
    match connections.pop() {
        Some((_, connection)) if count == 1 => {
            return Ok((Inherited::Connection(connection), ready));
        }
        Some((taking, _)) => {
            let called = &taking.called;
            return Err(Fatal::usage(format!(
                "{called} is a connected socket, which goes with no other"
            )));
        }
        None => {}
    }
    empty_standard(&identities).map_err(|errno| Fatal::unable("open /dev/null", errno))?;
    Ok((Inherited::Listeners(listeners), ready))
}

/// Opens each, those from 3 up first: a copy of a lower one takes a free number, which must not be mistaken for a
/// descriptor that was there before.
fn open_all<'a>(
    takings: &'a [Taking],
    ready: Option<i32>,
    others: &[i32],
) -> Result<(Vec<Opened<'a>>, Option<ReadyFd>), Fatal> {
    let take_ready = |is_standard: bool| {
        let number = ready.filter(|number| (*number < 3) == is_standard);
        number
            .map(|number| ReadyFd::take(number, takings))
            .transpose()
    };
    let high_ready = take_ready(false)?;
    let mut listen_fds = listen_fds(takings);
    let mut opened: Vec<(usize, Opened<'_>)> = Vec::new();
    let places = || takings.iter().enumerate();
    let high = places().filter(|(_, taking)| taking.number > 2);
    for (place, taking) in high.chain(places().filter(|(_, taking)| taking.number <= 2)) {
        let number = match taking.listen_fds_place {
            // The crate hands each number out once.
            Some(place) => listen_fds.take_raw_fd(place).ok().flatten(),
            None => None,
        };
        let open = open_one(number.unwrap_or(taking.number)).and_then(|fd| {
            let identity = fd::identity(&fd)?;
            Ok(Opened {
                taking,
                fd,
                identity,
            })
        });
        let unable = |errno| Fatal::unable(format!("adopt {}", taking.called), errno);
        opened.push((place, open.map_err(unable)?));
    }
    opened.sort_unstable_by_key(|(place, _)| *place);
    // Two descriptors of one socket, as systemd's StandardInput=fd:NAME gives, are one listener.
    let mut seen = Vec::new();
    opened.retain(|(_, open)| {
        // Eventfds and the like share one inode, all of them.
        let is_one_file = !matches!(fd::kind(&open.fd), Ok(FileKind::Other));
        let is_known = is_one_file && seen.contains(&open.identity);
        seen.push(open.identity);
        !is_known
    });
    let opened: Vec<Opened<'_>> = opened.into_iter().map(|(_, opened)| opened).collect();
    let ready = take_ready(true)?.or(high_ready);
    let mut kept: Vec<i32> = opened.iter().map(|opened| opened.fd.as_raw_fd()).collect();
    kept.extend(ready.as_ref().map(ReadyFd::raw));
    kept.extend(others);
    kept.sort_unstable();
    fd::close_all_but(&kept)
        .map_err(|errno| Fatal::unable("close inherited descriptors", errno))?;
    Ok((opened, ready))
}

/// The crate's view of LISTEN_FDS, asked for only when all that it would believe has been checked.
fn listen_fds(takings: &[Taking]) -> ListenFd {
    if takings
        .iter()
        .all(|taking| taking.listen_fds_place.is_none())
    {
        return ListenFd::empty();
    }
    // Not of sd_listen_fds(3): the descriptors begin at 3, whatever this says.
    env::forget(OsStr::new("LISTEN_FDS_FIRST_FD"));
    ListenFd::from_env()
}

/// The descriptor of this number, close-on-exec; a standard one as a copy, since those are replaced, never closed.
fn open_one(number: i32) -> Result<OwnedFd, Errno> {
    if number < 3 {
        return fd::duplicate(fd::standard(number));
    }
    let fd = fd::take(number)?;
    fd::set_cloexec(&fd, true)?;
    Ok(fd)
}

/// Puts /dev/null wherever a standard descriptor is an adopted listener: 0 by `--adopt stdin`, and 1 and 2 as well where
/// inetd or systemd set all three. No child is to hold a listener.
fn empty_standard(identities: &[Identity]) -> Result<(), Errno> {
    for number in 0..=2 {
        if identities.contains(&fd::identity(fd::standard(number))?) {
            fd::replace_standard(number, fd::null()?.as_fd())?;
        }
    }
    Ok(())
}

/// What an open descriptor can be served as.
enum Served {
    Listener(Listener),
    Connection(Connection),
}

/// Why a descriptor cannot be served.
enum Useless {
    NoSocket(&'static str),
    Socket(&'static str),
    Other(&'static str),
    System(Errno),
}

impl From<Errno> for Useless {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl std::fmt::Display for Useless {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSocket(what) => write!(out, "it is {what}, no socket"),
            Self::Socket(what) => write!(out, "it is {what}"),
            Self::Other(what) => out.write_str(what),
            Self::System(errno) => write!(out, "{errno}"),
        }
    }
}

fn served(fd: OwnedFd, taking: &Taking) -> Result<Served, Useless> {
    let kind = match fd::kind(&fd)? {
        FileKind::Socket => return served_socket(fd, taking),
        FileKind::Storage => return Err(Useless::NoSocket("a file or folder")),
        FileKind::Fifo if taking.may_be_foreign => return Err(Useless::NoSocket("a FIFO")),
        _ if taking.may_be_foreign => return Err(Useless::NoSocket("a device or the like")),
        FileKind::Fifo => "fifo",
        FileKind::MessageQueue => "mqueue",
        FileKind::Other => "file",
    };
    readable(fd, kind, taking)
}

/// Something that PROG is started for when it can be read from.
fn readable(fd: OwnedFd, kind: &'static str, taking: &Taking) -> Result<Served, Useless> {
    if !fd::can_be_read(&fd)? {
        return Err(Useless::Other("it is not open for reading"));
    }
    if !poll::can_wait_for(&fd) {
        return Err(Useless::Other("it is always ready, nobody can wait for it"));
    }
    let name = fd::path_of(&fd).unwrap_or_else(|| taking.called.clone().into_bytes());
    let place = Place::Readable {
        kind,
        name: name.into(),
    };
    Ok(Served::Listener(Listener {
        style: Style::Readable,
        label: Label::new(Style::Readable, &place),
        has_many_addresses: false,
        is_v6_only: false,
        place,
        file: None,
        peeking: None,
        origin: Origin::Ours,
        socket: fd,
    }))
}

fn served_socket(fd: OwnedFd, taking: &Taking) -> Result<Served, Useless> {
    let (domain, style, is_listening) = socket::nature(&fd)?;
    let style = match (style, domain) {
        (
            socket::SOCK_STREAM,
            socket::AF_INET | socket::AF_INET6 | socket::AF_UNIX | socket::AF_VSOCK,
        ) => Style::Stream,
        (socket::SOCK_SEQPACKET, socket::AF_UNIX) => Style::SeqPacket,
        (socket::SOCK_DGRAM, socket::AF_INET | socket::AF_INET6 | socket::AF_UNIX) => {
            Style::Datagram
        }
        (_, socket::AF_NETLINK) => return readable(fd, "netlink", taking),
        (_, socket::AF_PACKET) => return readable(fd, "packet", taking),
        (socket::SOCK_RAW, _) => return readable(fd, "raw", taking),
        _ => {
            return Err(Useless::Socket(
                "a socket of a kind that skd does not serve",
            ));
        }
    };
    if style == Style::Datagram {
        let listener = adopted(fd, style)?;
        let unnamed = listener.place == Place::Unix(None);
        let is_deaf = unnamed && socket::peer_address(&listener).is_err();
        return match listener.place.inet_port() {
            _ if is_deaf => Err(Useless::Socket("a datagram socket that is not bound")),
            Some(0) => Err(Useless::Socket("a datagram socket that is not bound")),
            _ => Ok(Served::Listener(listener)),
        };
    }
    if is_listening {
        return Ok(Served::Listener(adopted(fd, style)?));
    }
    connection(fd, style).map(Served::Connection)
}

/// A socket that others made may be one whose connections have addresses of their own, by IP_TRANSPARENT or a program of
/// bpf(2), which nothing tells.
fn adopted(socket: OwnedFd, style: Style) -> Result<Listener, Errno> {
    let listener = listener(socket, style)?;
    let is_stream = style != Style::Datagram && listener.place.inet_port().is_some();
    Ok(Listener {
        has_many_addresses: listener.has_many_addresses || is_stream,
        ..listener
    })
}

/// A listening socket, or a bound datagram socket, with what its address means.
pub(crate) fn listener(socket: OwnedFd, style: Style) -> Result<Listener, Errno> {
    let (domain, _, _) = socket::nature(&socket)?;
    let place = place_of(&socket::local_address(&socket)?).ok_or(Errno::FAMILY_NOT_SUPPORTED)?;
    let peeking = (style == Style::Datagram).then(|| PeekOptions::of(&socket, domain));
    Ok(Listener {
        style,
        label: Label::new(style, &place),
        has_many_addresses: place.is_wildcard(),
        is_v6_only: domain == socket::AF_INET6 && sockopt::is_v6_only(&socket),
        place,
        file: None,
        peeking,
        origin: Origin::Ours,
        socket,
    })
}

/// What the kernel's address means to us.
pub(crate) fn place_of(address: &SockAddr) -> Option<Place> {
    match address.meaning() {
        Meaning::Inet(address) => Some(Place::Inet(unmapped(address))),
        Meaning::Unix(sun_path) => Some(Place::Unix(UnixName::from_sun_path(sun_path))),
        Meaning::Vsock { cid, port } => Some(Place::Vsock { cid, port }),
        Meaning::Unknown => None,
    }
}

fn connection(socket: OwnedFd, style: Style) -> Result<Connection, Useless> {
    let unconnected = |_| Useless::Socket("a stream socket that neither listens nor is connected");
    let arrival = Arrival::of(socket, false).map_err(unconnected)?;
    let nowhere = Place::Unix(None);
    let local = match &arrival.local {
        Local::Own(local) => local,
        Local::OfListener | Local::Unknown => &nowhere,
    };
    Ok(Connection {
        label: Label::new(style, local),
        arrival,
    })
}

/// Who is at the other end.
pub(crate) fn peer_of(remote: &Place, socket: &OwnedFd) -> Peer {
    match remote {
        Place::Inet(address) => Peer::Inet(*address),
        Place::Vsock { cid, port } => Peer::Vsock {
            cid: *cid,
            port: *port,
        },
        Place::Unix(_) | Place::Readable { .. } => Peer::Unix(
            socket::peer_credentials(socket)
                .ok()
                .map(|(pid, uid, gid)| Credentials { pid, uid, gid }),
        ),
    }
}
