//! From a connection or datagram to what the program is told of it.

use crate::launch::environ::{self, Facts};
use crate::listen::Listener;
use crate::listen::accept::{Arrival, Local, Waiting};
use crate::model::address::{Place, UnixName};
use crate::model::peer::Peer;
use crate::model::service::Proto;
use crate::model::text::foreign;
use crate::sys::names::{self, InterfaceName};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

/// Writes the variables of a connection; `number` counts the live connections of its source, this one included.
pub(crate) fn of_connection(
    arrival: &Arrival,
    listener_place: &Place,
    number: u32,
    proto: &Proto,
    out: &mut Vec<u8>,
) {
    let local = match &arrival.local {
        Local::OfListener => Some(listener_place),
        Local::Own(place) => Some(place),
        Local::Unknown => None,
    };
    let mut interface = InterfaceName::default();
    let facts = match &arrival.remote {
        Place::Inet(remote) => Facts::Tcp {
            local: local.and_then(inet),
            remote: *remote,
            interface: link_local_index(*remote)
                .and_then(|index| names::interface_name(index, &mut interface)),
            number,
        },
        Place::Vsock { cid, port } => {
            let local = match local {
                Some(Place::Vsock { cid, port }) => Some((*cid, *port)),
                _ => None,
            };
            Facts::Vsock {
                local,
                remote: (*cid, *port),
                number,
            }
        }
        // A connection's peer is never the last.
        Place::Unix(_) | Place::Readable { .. } => {
            let credentials = match arrival.peer {
                Peer::Unix(credentials) => credentials,
                Peer::Inet(_) | Peer::Vsock { .. } => None,
            };
            Facts::Unix {
                local: local.and_then(unix),
                remote: unix(&arrival.remote),
                credentials,
                number,
            }
        }
    };
    environ::describe(&facts, proto, out);
}

/// Writes the variables of the first waiting datagram.
pub(crate) fn of_datagram(
    waiting: &Waiting,
    listener: &Listener,
    proto: &Proto,
    out: &mut Vec<u8>,
) {
    let facts = match &listener.place {
        Place::Inet(local) => Facts::Udp {
            local_ip: waiting.local_ip,
            local_port: local.port(),
            remote: waiting.sender.as_ref().and_then(inet),
        },
        place => Facts::UnixDatagram {
            local: unix(place),
            remote: waiting.sender.as_ref().and_then(unix),
        },
    };
    environ::describe(&facts, proto, out);
}

/// Writes the variables of a listener that a program has to itself.
pub(crate) fn of_listener(listener: &Listener, proto: &Proto, out: &mut Vec<u8>) {
    environ::describe(&Facts::Listener(&listener.place), proto, out);
}

/// Writes how many descriptors a program gets, and their name.
pub(crate) fn of_passed(listener: &Listener, out: &mut Vec<u8>) {
    environ::describe_passed(1, listener.name().as_bytes(), out);
}

fn inet(place: &Place) -> Option<SocketAddr> {
    match place {
        Place::Inet(address) => Some(*address),
        Place::Unix(_) | Place::Vsock { .. } | Place::Readable { .. } => None,
    }
}

fn unix(place: &Place) -> Option<&UnixName> {
    match place {
        Place::Unix(name) => name.as_ref(),
        Place::Inet(_) | Place::Vsock { .. } | Place::Readable { .. } => None,
    }
}

/// The number of the interface that a link-local peer is on.
fn link_local_index(remote: SocketAddr) -> Option<u32> {
    match (remote, remote.ip()) {
        (SocketAddr::V6(address), IpAddr::V6(ip)) if ip.is_unicast_link_local() => {
            Some(address.scope_id())
        }
        _ => None,
    }
}

/// The sender of a datagram as a message shows it.
pub(crate) fn shown(sender: &Place) -> String {
    match sender {
        Place::Inet(address) => address.to_string(),
        Place::Unix(Some(name)) => foreign(&name.shown()),
        Place::Unix(None) => "unnamed".into(),
        Place::Vsock { cid, port } => format!("cid {cid} port {port}"),
        Place::Readable { kind, .. } => (*kind).into(),
    }
}
