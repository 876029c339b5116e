//! From a listener to its connections, and to the first datagram that waits.

use crate::listen::adopt::{peer_of, place_of};
use crate::listen::{Listener, open};
use crate::model::address::{Place, unmapped};
use crate::model::peer::Peer;
use crate::model::sockopt::KeepAlive;
use crate::sys::conn::Conn;
use crate::sys::errno::Errno;
use crate::sys::sockaddr::{Meaning, SockAddr};
use crate::sys::{answer, datagram, socket, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A connection, and the two ends of it.
pub(crate) struct Arrival {
    pub(crate) conn: Conn,
    pub(crate) peer: Peer,
    /// The peer's address; of a unix socket it is its name, if it has one.
    pub(crate) remote: Place,
    pub(crate) local: Local,
}

/// A connection's local address.
pub(crate) enum Local {
    /// The listener's, which has just one.
    OfListener,
    Own(Place),
    Unknown,
}

impl Arrival {
    /// A connection that was accepted before; by skd, or by somebody who may still have it.
    ///
    /// # Errors
    /// It is none, or the other end has reset it.
    pub(crate) fn of(conn: OwnedFd, is_ours: bool) -> Result<Self, Errno> {
        let remote = place_of(&socket::peer_address(&conn)?).ok_or(Errno::FAMILY_NOT_SUPPORTED)?;
        let local = socket::local_address(&conn)
            .ok()
            .and_then(|local| place_of(&local));
        Ok(Self {
            peer: peer_of(&remote, &conn),
            conn: Conn::new(conn, is_ours && matches!(remote, Place::Unix(_))),
            remote,
            local: local.map_or(Local::Unknown, Local::Own),
        })
    }

    /// Sets a TCP connection as `-n` and `--keepalive` ask for.
    ///
    /// # Errors
    /// The kernel does not have it for this connection.
    pub(crate) fn set(&self, nodelay: bool, keepalive: Option<KeepAlive>) -> Result<(), Errno> {
        if !matches!(self.peer, Peer::Inet(_)) {
            return Ok(());
        }
        if nodelay {
            // It fails only for a client that has gone already.
            let _ = sockopt::set_nodelay(&self.conn);
        }
        keepalive.map_or(Ok(()), |keepalive| open::keep_alive(&self.conn, keepalive))
    }
}

/// What came of asking a listener for a connection.
pub(crate) enum Taken {
    Arrival(Arrival),
    /// Nobody waits; a client that was there may have gone, or another process may have taken it.
    Nothing,
    /// This client is gone, or unreachable: try the next.
    Gone(Errno),
    /// Something is missing, or wrong with the listener.
    Trouble(Errno),
}

/// accept4(2), with its errors sorted as accept(2) advises.
pub(crate) fn accept(listener: &Listener) -> Taken {
    let (conn, address) = match socket::accept(listener) {
        Ok(taken) => taken,
        Err(errno) if errno == Errno::AGAIN => return Taken::Nothing,
        Err(errno) if errno.is_of_network() => return Taken::Gone(errno),
        Err(errno) => return Taken::Trouble(errno),
    };
    let Some(remote) = place_of(&address) else {
        return Taken::Gone(Errno::ABORTED);
    };
    let local = match listener.has_many_addresses {
        false => Local::OfListener,
        true => match socket::local_address(&conn)
            .ok()
            .and_then(|local| place_of(&local))
        {
            Some(local) => Local::Own(local),
            None => Local::Unknown,
        },
    };
    Taken::Arrival(Arrival {
        peer: peer_of(&remote, &conn),
        conn: Conn::new(conn, matches!(remote, Place::Unix(_))),
        remote,
        local,
    })
}

/// The first datagram of a listener, looked at but not taken.
pub(crate) struct Waiting {
    /// Its sender, if it has an address.
    pub(crate) sender: Option<Place>,
    /// Where it was sent to, if that is known.
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) len: usize,
    /// When the kernel received it: the same datagram has the same stamp, and an equal one has another, unless a sender
    /// had the kernel cut both out of one send.
    pub(crate) stamp: Option<Duration>,
}

/// Looks at the first datagram; `None` if there is none. The socket is as it was before, for a program to be given.
///
/// # Errors
/// The socket's own trouble.
pub(crate) fn look(listener: &Listener) -> Result<Option<Waiting>, Errno> {
    let Some(options) = listener.peeking else {
        return Ok(None);
    };
    options.set(listener, true)?;
    let datagram = datagram::peek(listener);
    options.set(listener, false)?;
    let datagram = match datagram {
        Ok(datagram) => datagram,
        Err(errno) if errno == Errno::AGAIN => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let sender = match datagram.sender.meaning() {
        Meaning::Unknown => None,
        _ => place_of(&datagram.sender).filter(|place| *place != Place::Unix(None)),
    };
    let local_ip = match &listener.place {
        Place::Inet(address) if !listener.has_many_addresses => Some(address.ip()),
        Place::Inet(_) => datagram
            .destination
            .map(|ip| unmapped(SocketAddr::new(ip, 0)).ip()),
        Place::Unix(_) | Place::Vsock { .. } | Place::Readable { .. } => None,
    };
    Ok(Some(Waiting {
        sender,
        local_ip,
        len: datagram.len,
        stamp: datagram.stamp,
    }))
}

/// A datagram that was taken.
pub(crate) struct TakenDatagram {
    sender: SockAddr,
    /// Its length, whatever room there was.
    pub(crate) len: usize,
    /// Where it was sent to, if that is known.
    destination: Option<IpAddr>,
}

impl TakenDatagram {
    /// The port of its sender, `None` inside for a unix socket; `None` for one to whom nothing can be sent, or for a
    /// datagram that was sent to many.
    pub(crate) fn port(&self) -> Option<Option<u16>> {
        let is_of_many = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_multicast(),
        };
        match self.sender.meaning() {
            _ if self.destination.is_some_and(is_of_many) => None,
            Meaning::Inet(address) => Some(Some(address.port())),
            Meaning::Unix([_, ..]) => Some(None),
            Meaning::Unix([]) | Meaning::Vsock { .. } | Meaning::Unknown => None,
        }
    }

    /// Answers its sender, from where it was sent to.
    ///
    /// # Errors
    /// It cannot be sent there, from there or now.
    pub(crate) fn answer(&self, listener: &Listener, bytes: &[u8]) -> Result<(), Errno> {
        answer::send(listener, &self.sender, self.destination, bytes)
    }
}

/// Takes the first datagram; `None` if there is none.
///
/// # Errors
/// The socket's own trouble.
pub(crate) fn take_datagram(
    listener: &Listener,
    into: &mut [u8],
) -> Result<Option<TakenDatagram>, Errno> {
    if let Some(options) = listener.peeking {
        options.set(listener, true)?;
    }
    match datagram::take(listener, into) {
        Ok(taken) => Ok(Some(TakenDatagram {
            sender: taken.sender,
            len: taken.len,
            destination: taken.destination,
        })),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// How many datagrams at the head have the stamp of the first.
///
/// # Errors
/// The socket's own trouble.
pub(crate) fn count_of_first_stamp(listener: &Listener) -> Result<usize, Errno> {
    let Some(options) = listener.peeking else {
        return Ok(0);
    };
    options.set(listener, true)?;
    let count = datagram::count_of_first_stamp(listener);
    options.set(listener, false)?;
    count
}
