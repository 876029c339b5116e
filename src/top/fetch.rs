//! Asks a skd for its metrics over TCP or a unix socket, and waits no longer than it should.

use crate::arguments::Place;
use crate::model::address::{Host, Port, UnixName};
use crate::reply;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long connecting and the whole answer may take, a look-up of the host's name aside.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest answer; one of 10000 listeners has less.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// services(5)
const SERVICES: &str = "/etc/services";

/// Version 1.0, so that nobody answers in chunks.
const REQUEST: &[u8] = b"GET /metrics HTTP/1.0\r\nHost: skd\r\nUser-Agent: skd-top\r\n\r\n";

/// The text that it answers.
///
/// # Errors
/// Why there is none, as one that stands behind a colon; it may hold anything that the other side said.
pub(crate) fn metrics(place: &Place) -> Result<String, String> {
    let conn = connected(place)?;
    let answer = answer(&mut File::from(conn.0), conn.1)?;
    let body = reply::body(&answer)?;
    Ok(String::from_utf8_lossy(body).into_owned())
}

/// A connection, and until when it may be used.
fn connected(place: &Place) -> Result<(OwnedFd, Instant), String> {
    let (host, port) = match place {
        Place::Unix(name) => {
            let conn = unix(name).map_err(|errno| words(&errno.into()))?;
            return Ok((conn, Instant::now() + PATIENCE));
        }
        Place::Inet(host, port) => (host, port),
    };
    let addresses = addresses(host, number(host, port)?)?;
    let deadline = Instant::now() + PATIENCE;
    let mut reason = "the host has no address".to_owned();
    for (place, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - place).unwrap_or(u32::MAX);
        let left = deadline.saturating_duration_since(Instant::now()) / others;
        match TcpStream::connect_timeout(address, left.max(Duration::from_millis(1))) {
            Ok(conn) => return Ok((conn.into(), deadline)),
            Err(error) => reason = words(&error),
        }
    }
    Err(reason)
}

/// connect(2) to a unix socket without waiting: where its backlog is full, that is an error.
fn unix(name: &UnixName) -> Result<OwnedFd, Errno> {
    let address = match name {
        UnixName::Path(path) => UnixAddr::new(Path::new(OsStr::from_bytes(path)))?,
        UnixName::Abstract(name) => UnixAddr::new_abstract(name)?,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let conn = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(conn.as_raw_fd(), &address)?;
    nix::fcntl::fcntl(&conn, nix::fcntl::F_SETFL(nix::fcntl::OFlag::empty()))?;
    Ok(conn)
}

/// Every address of a host; of this machine's own where none is named.
fn addresses(host: &Host, port: u16) -> Result<Vec<SocketAddr>, String> {
    let one = |ip: IpAddr| vec![SocketAddr::new(ip, port)];
    Ok(match host {
        Host::Every => vec![
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ],
        Host::V4(ip) => one((*ip).into()),
        Host::V6(ip, None) => one((*ip).into()),
        Host::V6(ip, Some(scope)) => {
            let index = match nix::net::if_::if_nametoindex(scope.as_str()) {
                Ok(index) => Some(index),
                Err(_) => scope.parse().ok(),
            };
            let index = index.ok_or_else(|| format!("there is no interface {scope}"))?;
            vec![SocketAddrV6::new(*ip, port, 0, index).into()]
        }
        Host::Name(name) => (name.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| words(&error))?
            .collect(),
    })
}

fn number(host: &Host, port: &Port) -> Result<u16, String> {
    match port {
        Port::Number(number) => Ok(*number),
        Port::Service(name) => {
            let text = std::fs::read_to_string(SERVICES).unwrap_or_default();
            let path = match host {
                Host::Every => format!("; a path needs a slash, \"./{name}\""),
                _ => String::new(),
            };
            service(&text, name).ok_or_else(|| format!("there is no tcp service {name}{path}"))
        }
    }
}

/// The port of a TCP service, by its name or an alias; services(5).
fn service(text: &str, name: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        let is_it = first == name || words.any(|alias| alias == name);
        is_it.then(|| port.parse().ok())?
    })
}

/// Sends the request and reads until the other side closes.
fn answer(conn: &mut File, deadline: Instant) -> Result<Vec<u8>, String> {
    let late = || format!("no whole answer within {} s", PATIENCE.as_secs());
    let (mut answer, mut part) = (Vec::new(), vec![0; 1 << 16]);
    limit(conn, deadline).ok_or_else(late)?;
    conn.write_all(REQUEST).map_err(|error| words(&error))?;
    loop {
        limit(conn, deadline).ok_or_else(late)?;
        match conn.read(&mut part) {
            Ok(0) => return Ok(answer),
            Ok(len) => answer.extend_from_slice(part.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(words(&error)),
        }
        if answer.len() > ANSWER_BYTES {
            let most = ANSWER_BYTES >> 20;
            return Err(format!("the answer has more than {most} MiB"));
        }
    }
}

/// Has calls on the connection end at the deadline; `None` if it is there, or they could not be.
fn limit(conn: &File, deadline: Instant) -> Option<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let micros = i64::try_from(left.as_micros()).ok().filter(|it| *it > 0)?;
    let left = TimeVal::microseconds(micros);
    socket::setsockopt(&conn.as_fd(), sockopt::SendTimeout, &left).ok()?;
    socket::setsockopt(&conn.as_fd(), sockopt::ReceiveTimeout, &left).ok()
}

/// An error in the words of strerror(3) or of the resolver, without what the standard library writes around them.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), error.kind()) {
        (Some(number), _) => text.replace(&format!(" (os error {number})"), ""),
        (None, ErrorKind::TimedOut) => words(&Errno::ETIMEDOUT.into()),
        (None, _) => text
            .rsplit_once(": ")
            .map_or(text.clone(), |(_, reason)| reason.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_found_by_name_and_alias() {
        let text = "# a\nx 1/udp\nx\t2/tcp  y z # w\nlast 70000/tcp\nother 3/tcp x\n";
        let table = [
            ("x", Some(2)),
            ("z", Some(2)),
            ("w", None),
            ("last", None),
            ("other", Some(3)),
        ];
        for (name, port) in table {
            assert_eq!(service(text, name), port, "{name}");
        }
    }
}
