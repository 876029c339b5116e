//! A connection that was taken, and who it is from: as the kernel has it, or as a trusted proxy has said.

use crate::admit::proxy::{Header, Tls};
use crate::launch::additions;
use crate::listen::accept::{Arrival, Local};
use crate::model::address::Place;
use crate::model::peer::{Peer, Source};
use crate::model::service::Proto;
use crate::serve::facts;

/// Who somebody is, and by whom he is counted.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) peer: Peer,
    pub(crate) source: Source,
}

/// Somebody who wants to come in.
pub(crate) struct Guest {
    pub(crate) arrival: Arrival,
    /// By whom it is counted.
    pub(crate) source: Source,
    /// The proxy that has announced it.
    via: Option<Box<Via>>,
}

struct Via {
    proxy: Place,
    tls: Tls,
}

impl Guest {
    /// As the kernel has it.
    pub(crate) fn direct(arrival: Arrival) -> Self {
        Self {
            source: Source::of(&arrival.peer),
            arrival,
            via: None,
        }
    }

    /// As its PROXY header has it. Where that names no client the connection's own ends stay; a client of a unix socket,
    /// of whom nothing is known, is counted by the proxy.
    pub(crate) fn announced(arrival: Arrival, header: Header) -> Self {
        let via = Via {
            proxy: arrival.remote.clone(),
            tls: header.tls,
        };
        let mut guest = Self {
            via: Some(Box::new(via)),
            ..Self::direct(arrival)
        };
        if let Some(ends) = header.ends {
            guest.arrival.peer = ends.peer();
            if !matches!(ends.remote, Place::Unix(_)) {
                guest.source = Source::of(&guest.arrival.peer);
            }
            guest.arrival.remote = ends.remote;
            guest.arrival.local = Local::Own(ends.local);
        }
        guest
    }

    /// Closes the connection here; the child has its own.
    pub(crate) fn leave(self) -> Who {
        let who = Who {
            peer: self.arrival.peer,
            source: self.source,
        };
        self.arrival.conn.hand_over();
        who
    }

    /// Whether a proxy says who it is.
    pub(crate) fn is_announced(&self) -> bool {
        self.via.is_some()
    }

    /// Writes the variables of the connection; `number` counts the live connections of its source, this one included.
    pub(crate) fn describe(&self, listener: &Place, number: u32, proto: &Proto, out: &mut Vec<u8>) {
        facts::of_connection(&self.arrival, listener, number, proto, out);
        let Some(via) = &self.via else { return };
        if let Place::Inet(proxy) = via.proxy {
            additions::proxy(proxy, out);
        }
        for (name, value) in via.tls.variables() {
            additions::text(name, value.as_bytes(), out);
        }
    }
}
