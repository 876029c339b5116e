//! A connection from a chosen address, which the standard library cannot make.

use crate::sys::errno::Errno;
use crate::sys::poll;
use crate::sys::sockaddr::SockAddr;
use crate::sys::socket;
use nix::sys::socket::{getsockopt, sockopt};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// socket(2), bind(2) to the address `from` if that can be done, connect(2) within `at_most`.
///
/// # Errors
/// Nobody answers, or there is no descriptor.
pub(crate) fn connect(
    to: SocketAddr,
    from: Option<SocketAddr>,
    at_most: Duration,
) -> Result<TcpStream, Errno> {
    let family = if to.is_ipv4() {
        socket::AF_INET
    } else {
        socket::AF_INET6
    };
    let fd = socket::make(family, socket::SOCK_STREAM)?;
    if let Some(from) = from {
        // The address may be another machine's by now; then any will have to do.
        let _ = socket::bind(&fd, &SockAddr::inet(from));
    }
    match socket::connect(&fd, &SockAddr::inet(to)) {
        Err(Errno(libc::EINPROGRESS)) => poll::wait_writable(&fd, at_most)?,
        other => other?,
    }
    match getsockopt(&fd, sockopt::SocketError)? {
        0 => {}
        errno => return Err(Errno(errno)),
    }
    socket::peer_address(&fd)?;
    let stream = TcpStream::from(fd);
    stream
        .set_nonblocking(false)
        .map_err(|error| Errno::of(&error))?;
    Ok(stream)
}
