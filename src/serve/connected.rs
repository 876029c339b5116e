//! One connection that was accepted before skd was started: skd becomes PROG with it.

use crate::launch::prog::Prog;
use crate::listen::Connection;
use crate::listen::accept::Local;
use crate::model::address::Place;
use crate::model::error::Fatal;
use crate::model::event::{Count, Event};
use crate::model::service::Service;
use crate::report::log::Log;
use crate::serve::facts;
use crate::sys::errno::Errno;
use crate::sys::{fd, process, signal};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::Instant;

/// The pid stays, so there is no child: descriptors 0 and 1 (and 2 with `-e`) become the connection, signals are as a
/// child has them, and PROG takes skd's place.
///
/// # Errors
/// It returns only on failure: 111.
pub(crate) fn become_prog(
    service: &Service,
    prog: &Prog,
    environment: Vec<(OsString, OsString)>,
    connection: &Connection,
    log: &mut Log,
) -> Fatal {
    let arrival = &connection.arrival;
    let mut more = Vec::new();
    // It has no listener, and says itself where it is.
    let nowhere = Place::Unix(None);
    debug_assert!(!matches!(arrival.local, Local::OfListener));
    facts::of_connection(arrival, &nowhere, 1, &service.proto, &mut more);
    let count = Count {
        now: 1,
        max: service.max_connections,
    };
    let pid = process::own_pid();
    log.tell(
        &Event::Accept {
            listener: &connection.label,
            peer: Some(&arrival.peer),
            pid,
            count,
        },
        Instant::now(),
    );
    let stderr = match hand_over(service, connection) {
        Ok(stderr) => stderr,
        Err(errno) => return Fatal::unable("hand over the connection", errno),
    };
    let fatal = prog.become_it(environment, &more);
    // Our own words are not for the client.
    let _ = fd::replace_standard(2, stderr.as_fd());
    fatal
}

/// Puts the connection in place; returns what stderr was.
fn hand_over(service: &Service, connection: &Connection) -> Result<std::os::fd::OwnedFd, Errno> {
    let conn = &connection.arrival.conn;
    connection.arrival.set(service.nodelay, service.keepalive)?;
    fd::set_nonblocking(conn, false)?;
    let stderr = fd::duplicate(fd::standard(2))?;
    for number in 0..if service.stderr_to_client { 3 } else { 2 } {
        fd::replace_standard(number, conn.as_fd())?;
    }
    signal::reset_all()?;
    Ok(stderr)
}
