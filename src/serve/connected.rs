//! One connection that was accepted before skd was started: skd becomes PROG with it.

use crate::launch::prog::Prog;
use crate::listen::Connection;
use crate::listen::accept::Arrival;
use crate::model::address::Place;
use crate::model::error::Fatal;
use crate::model::event::{Count, Event};
use crate::model::peer::Peer;
use crate::model::service::Service;
use crate::report::log::Log;
use crate::serve::asker::decide;
use crate::serve::gate::Gate;
use crate::serve::guest::Guest;
use crate::serve::pending::{self, Heard};
use crate::sys::errno::Errno;
use crate::sys::{fd, poll, process, signal};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::Instant;

/// The pid stays, so there is no child: descriptors 0 and 1 (and 2 with `-e`) become the connection, signals are as a
/// child has them, and PROG takes skd's place.
///
/// # Errors
/// 111. Without one it returns only where the connection is denied. Asked to end before that, skd exits 0.
pub(crate) fn become_prog(
    service: &Service,
    prog: &Prog,
    environment: Vec<(OsString, OsString)>,
    connection: Connection,
    gate: &Gate,
    log: &mut Log,
) -> Result<(), Fatal> {
    signal::exit_when_asked().map_err(|errno| Fatal::unable("take signals", errno))?;
    let Connection { arrival, label } = connection;
    let mut more = Vec::new();
    let (peer, admitted) = match introduced(arrival, gate) {
        Ok(guest) => (guest.arrival.peer, admit(guest, service, gate, &mut more)),
        Err((peer, why)) => (peer, Err(why)),
    };
    let guest = match admitted {
        Ok(guest) => guest,
        Err(why) => {
            let event = Event::Deny {
                listener: &label,
                peer: &peer,
                reason: &why,
            };
            log.tell(&event, Instant::now());
            return Ok(());
        }
    };
    let count = Count {
        now: 1,
        max: service.max_connections,
    };
    let pid = process::own_pid();
    log.tell(
        &Event::Accept {
            listener: &label,
            peer: Some(&peer),
            pid,
            count,
        },
        Instant::now(),
    );
    let stderr = hand_over(service, &guest.arrival)
        .map_err(|errno| Fatal::unable("hand over the connection", errno))?;
    let fatal = prog.become_it(environment, &more);
    // Our own words are not for the client.
    let _ = fd::replace_standard(2, stderr.as_fd());
    Err(fatal)
}

/// Who it is, by the PROXY header if there has to be one; otherwise who is denied, and why.
fn introduced(arrival: Arrival, gate: &Gate) -> Result<Guest, (Peer, String)> {
    let peer = arrival.peer;
    if !gate.is_proxy(&peer) {
        return Ok(Guest::direct(arrival));
    }
    let until = Instant::now() + gate.proxy_timeout;
    let mut taken = Vec::new();
    loop {
        match pending::hear(&arrival, &mut taken) {
            Heard::Header(header) => return Ok(Guest::announced(arrival, *header)),
            Heard::Wrong(why) => return Err((peer, why.into())),
            Heard::More => {}
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err((peer, pending::TOO_LATE.into()));
        }
        // If it cannot be waited for, the time is over soon.
        let _ = poll::wait_readable(&arrival.conn, None, Some(left));
    }
}

/// Whether it may come in; its variables go to `more`. Otherwise why not.
fn admit(
    guest: Guest,
    service: &Service,
    gate: &Gate,
    more: &mut Vec<u8>,
) -> Result<Guest, String> {
    gate.judge_early(&guest.arrival.peer)?;
    // It has no listener, and says itself where it is.
    let nowhere = Place::Unix(None);
    guest.describe(&nowhere, 1, &service.proto, more);
    match decide(&guest, &nowhere, gate.lookups, gate.policy(), more) {
        None => Ok(guest),
        Some(why) => Err(why),
    }
}

/// Puts the connection in place; returns what stderr was.
fn hand_over(service: &Service, arrival: &Arrival) -> Result<std::os::fd::OwnedFd, Errno> {
    let conn = &arrival.conn;
    arrival.set(service.nodelay, service.keepalive)?;
    fd::set_nonblocking(conn, false)?;
    let stderr = fd::duplicate(fd::standard(2))?;
    for number in 0..if service.stderr_to_client { 3 } else { 2 } {
        fd::replace_standard(number, conn.as_fd())?;
    }
    signal::reset_all()?;
    Ok(stderr)
}
