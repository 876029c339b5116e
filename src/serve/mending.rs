//! What somebody may have done to a socket that is skd's as well: a program that had it, or who else holds it.

use crate::listen::Listener;
use crate::model::address::{Place, Style};
use crate::model::event::Trouble;
use crate::serve::Server;
use crate::serve::lent::Lent;
use crate::serve::listening::Listening;
use crate::sys::errno::Errno;
use crate::sys::sockaddr::Meaning;
use crate::sys::{aside, datagram, poll, socket};

/// As many as net.core.somaxconn allows: what skd had asked for is not known any more.
const BACKLOG: i32 = i32::MAX;

/// What has been done to a socket.
#[derive(Clone, Copy)]
enum Deed {
    Shut,
    /// The same to a unix socket, of which the kernel makes no listener any more.
    ShutForGood,
    /// Of a datagram socket.
    Connected,
}

impl Server {
    /// The program that had the listener has ended: one that it has shut listens again, and a datagram socket that it has
    /// connected hears everybody again. Otherwise its service would be gone for good.
    pub(super) fn mend(&mut self, place: usize) {
        if let Some(deed) = self.listeners.get(place).and_then(deed) {
            let prog = self.entrances.quoted_prog(place);
            self.undo(place, &prog, deed);
        }
    }

    /// A unix listener was ready, but nobody was there. If whoever shares it has shut it, it will be ready for ever.
    pub(super) fn mend_if_shut(&mut self, place: usize) {
        let listening = self.listeners.get(place).filter(|it| !it.is_shut);
        if listening.is_some_and(|it| is_shut_for_good(&it.listener)) {
            self.undo(place, "somebody", Deed::ShutForGood);
        }
    }

    fn undo(&mut self, place: usize, who: &str, deed: Deed) {
        let Some(listening) = self.listeners.get_mut(place) else {
            return;
        };
        let listener = &listening.listener;
        let told = |errno: Errno| errno.to_string();
        let done = match deed {
            Deed::Shut => listen_again(listener).map_err(told),
            Deed::Connected => socket::disconnect(listener).map_err(told),
            Deed::ShutForGood => {
                self.news.forget(listener);
                // A socket that others hold too would stay polled.
                let ignored = listening.ignore(&self.poll).map_err(told);
                let done = ignored.and_then(|()| listening.make_anew());
                listening.is_left = done.is_err();
                done
            }
        };
        let done_to = match deed {
            Deed::Shut | Deed::ShutForGood => "shut",
            Deed::Connected => "connected",
        };
        let label = &listening.listener.label;
        let text = match done {
            Ok(()) => format!("{who} had {done_to} {label}, which serves again"),
            Err(reason) if listening.is_left => {
                format!("{who} has {done_to} {label}, which serves nobody any more: {reason}")
            }
            Err(reason) => format!("{who} had {done_to} {label}: {reason}"),
        };
        self.warn(Trouble::Other, None, text);
    }
}

impl Listening {
    /// A new socket in the place of one that was shut.
    fn make_anew(&mut self) -> Result<(), String> {
        let before = self.listener.replace_socket(BACKLOG)?;
        // Those who waited there may have brought what takes long to close.
        aside::close(before);
        self.lent = Lent::new(&self.listener);
        // Who waited is gone, and not there to be served again, however many have come since.
        self.lent.resume(Some(u64::MAX), false);
        self.is_prepared = false;
        Ok(())
    }
}

fn deed(listening: &Listening) -> Option<Deed> {
    let listener = &listening.listener;
    match listener.style {
        Style::Stream | Style::SeqPacket => match socket::nature(listener) {
            Ok((_, _, false)) => Some(Deed::Shut),
            _ => is_shut_for_good(listener).then_some(Deed::ShutForGood),
        },
        Style::Datagram => {
            // Where there is no such option there is nothing to set back.
            let _ = datagram::look_at_the_front(listener);
            let is_connected = !listening.is_connected && socket::peer_address(listener).is_ok();
            is_connected.then_some(Deed::Connected)
        }
        Style::Readable => None,
    }
}

/// A port that the kernel had chosen is let go of by shutdown(2), and is taken again first.
fn listen_again(listener: &Listener) -> Result<(), Errno> {
    let before = socket::local_address(listener)?;
    // It fails for one that somebody had chosen, and that is still bound.
    let bound = socket::bind(listener, &before);
    socket::listen(listener, BACKLOG)?;
    let is_it = match (socket::local_address(listener)?.meaning(), before.meaning()) {
        (Meaning::Inet(after), Meaning::Inet(before)) => after == before,
        _ => true,
    };
    if is_it { Ok(()) } else { bound }
}

fn is_shut_for_good(listener: &Listener) -> bool {
    matches!(listener.place, Place::Unix(_)) && poll::has_been_shut(listener)
}
