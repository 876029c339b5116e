//! The names of a connection's ends: by the resolver, and by who answers for the user at the other end, RFC 1413. All are
//! asked at once, and what is not there in time is left out. It waits, and is for a process of the connection's own.

use super::told::{host_name, user};
use crate::sys::{identsocket, names};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Where ident is to be had.
const IDENT_PORT: u16 = 113;
/// An answer is no longer than RFC 1413 has it, in bytes: what comes behind that is not read.
const ANSWER_BYTES: usize = 1000;

/// What is to be looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Never an IPv4-mapped address, nor is the other.
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) resolve: bool,
    pub(crate) ident: bool,
    /// The local end is this machine's, and not that of a proxy.
    pub(crate) local_is_ours: bool,
    /// For all of it.
    pub(crate) timeout: Duration,
}

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Names {
    /// TCPREMOTEHOST: a name of the remote address that has this address.
    pub(crate) remote_host: Option<Vec<u8>>,
    /// TCPLOCALHOST
    pub(crate) local_host: Option<Vec<u8>>,
    /// TCPREMOTEINFO: what the remote host calls the user of the connection.
    pub(crate) remote_info: Option<Vec<u8>>,
}

/// One of them.
enum Found {
    RemoteHost(Option<Vec<u8>>),
    LocalHost(Option<Vec<u8>>),
    RemoteInfo(Option<Vec<u8>>),
}

/// Looks up what is asked for. Threads may still be asking when it returns; they end with the process, or when it becomes
/// another program.
pub(crate) fn look_up(asked: &Asked) -> Names {
    let until = Instant::now() + asked.timeout;
    let (sender, receiver) = channel();
    let (remote, local) = (asked.remote, asked.local);
    if asked.resolve {
        ask(&sender, move || {
            Found::RemoteHost(confirmed_host(remote.ip()))
        });
        if let Some(local) = local {
            ask(&sender, move || Found::LocalHost(host(local.ip())));
        }
    }
    if let Some(local) = local.filter(|_| asked.ident) {
        let at = |mut address: SocketAddr, port| {
            // It stays in its scope.
            address.set_port(port);
            address
        };
        let (server, from) = (at(remote, IDENT_PORT), at(local, 0));
        let from = asked.local_is_ours.then_some(from);
        ask(&sender, move || {
            Found::RemoteInfo(ident(server, from, (remote.port(), local.port()), until))
        });
    }
    drop(sender);
    let mut names = Names::default();
    let left = || until.saturating_duration_since(Instant::now());
    while let Ok(found) = receiver.recv_timeout(left()) {
        match found {
            Found::RemoteHost(name) => names.remote_host = name,
            Found::LocalHost(name) => names.local_host = name,
            Found::RemoteInfo(name) => names.remote_info = name,
        }
    }
    names
}

/// In a thread of its own. Where there is none to be had nothing is found.
fn ask(sender: &Sender<Found>, question: impl FnOnce() -> Found + Send + 'static) {
    let sender = sender.clone();
    let _ = std::thread::Builder::new().spawn(move || {
        // Nobody waits any more if it fails.
        let _ = sender.send(question());
    });
}

/// A name of this address, if that name has this address: whoever answers for the address can claim any name.
fn confirmed_host(ip: IpAddr) -> Option<Vec<u8>> {
    let name = host(ip)?;
    let addresses = names::addresses_of_host(std::str::from_utf8(&name).ok()?).ok()?;
    let is_it = |address: &IpAddr| address.to_canonical() == ip;
    addresses.iter().any(is_it).then_some(name)
}

/// A name of this address.
fn host(ip: IpAddr) -> Option<Vec<u8>> {
    names::host_of_address(ip).and_then(|name| host_name(&name))
}

/// Asks the ident server of the remote host who has the connection of these ports, its own and ours.
fn ident(
    server: SocketAddr,
    from: Option<SocketAddr>,
    ports: (u16, u16),
    until: Instant,
) -> Option<Vec<u8>> {
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    };
    let mut stream = identsocket::connect(server, from, left()?).ok()?;
    stream.set_write_timeout(Some(left()?)).ok()?;
    // In one piece: some servers read but once.
    let query = format!("{}, {}\r\n", ports.0, ports.1);
    stream.write_all(query.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while answer.len() < ANSWER_BYTES {
        stream.set_read_timeout(Some(left()?)).ok()?;
        if stream.read(&mut byte).ok()? == 0 {
            break;
        }
        if byte == *b"\n" {
            break;
        }
        answer.extend(byte);
    }
    user(&answer, ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Asks a server that says this when it was asked, and then nothing until the client has gone.
    fn asks(answer: &'static str, from: Option<&str>, wait: Duration) -> Option<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let from: Option<SocketAddr> = from.map(|from| from.parse().unwrap());
        let serving = std::thread::spawn(move || {
            let (mut stream, client) = listener.accept().unwrap();
            if let Some(from) = from {
                assert_eq!(client.ip(), from.ip());
            }
            let mut question = [0; 10];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"6193, 23\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            let _ = stream.read(&mut [0]);
        });
        let found = ident(server, from, (6193, 23), Instant::now() + wait);
        serving.join().unwrap();
        found
    }

    #[test]
    fn the_one_who_answers_is_waited_for_only_so_long() {
        let long = Duration::from_secs(60);
        let answer = "6193, 23 : USERID : UNIX : joe\r\nmore\r\n";
        assert_eq!(asks(answer, Some("127.0.0.2:0"), long).unwrap(), b"joe");
        assert_eq!(asks(answer, None, long).unwrap(), b"joe");
        let short = Duration::from_millis(50);
        assert_eq!(asks("6193, 23 : USERID : UNIX : jo", None, short), None);
        assert_eq!(asks("", None, short), None);
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = nobody.local_addr().unwrap();
        drop(nobody);
        assert_eq!(ident(server, None, (1, 2), Instant::now() + long), None);
    }

    #[test]
    fn this_machine_knows_its_own_name() {
        let names = look_up(&Asked {
            remote: "127.0.0.1:6193".parse().unwrap(),
            local: Some("127.0.0.1:23".parse().unwrap()),
            resolve: true,
            ident: false,
            local_is_ours: true,
            timeout: Duration::from_secs(60),
        });
        let localhost = Some(b"localhost".to_vec());
        assert_eq!(
            (names.remote_host, names.local_host),
            (localhost.clone(), localhost)
        );
        assert_eq!(names.remote_info, None);
    }
}
