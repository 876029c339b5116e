//! What a program may have done to the socket that it had, which is skd's as well.

use crate::model::address::Style;
use crate::model::event::Trouble;
use crate::serve::Server;
use crate::serve::listening::Listening;
use crate::sys::errno::Errno;
use crate::sys::socket;

/// As many as net.core.somaxconn allows: what skd had asked for is not known any more.
const BACKLOG: i32 = i32::MAX;

impl Server {
    /// The program that had the listener has ended: one that it has shut listens again, and a datagram socket that it has
    /// connected hears everybody again. Otherwise its service would be gone for good.
    pub(super) fn mend(&mut self, place: usize) {
        let Some(listening) = self.listeners.get(place) else {
            return;
        };
        let Some((deed, done)) = mend(listening) else {
            return;
        };
        let (prog, label) = (self.entrances.quoted_prog(place), &listening.listener.label);
        let text = match done {
            Ok(()) => format!("{prog} had {deed} {label}, which serves again"),
            Err(errno) => format!("{prog} had {deed} {label}: {errno}"),
        };
        self.warn(Trouble::Other, None, text);
    }
}

/// What had been done, and whether it could be undone.
fn mend(listening: &Listening) -> Option<(&'static str, Result<(), Errno>)> {
    let listener = &listening.listener;
    match listener.style {
        Style::Datagram if listening.is_connected => None,
        Style::Stream | Style::SeqPacket => match socket::nature(listener) {
            Ok((_, _, false)) => Some(("shut", socket::listen(listener, BACKLOG))),
            _ => None,
        },
        Style::Datagram => match socket::peer_address(listener) {
            Ok(_) => Some(("connected", socket::disconnect(listener))),
            Err(_) => None,
        },
        Style::Readable => None,
    }
}
