//! Clients that never wait for ever.

use crate::kit::skd::{Running, Skd};
use crate::kit::{DEADLINE, Folder, eventually, probe};
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr,
};
use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// A connected client, of TCP or unix.
pub(crate) struct Client(Box<dyn Wire>);

trait Wire: Read + Write + Send {
    fn half_close(&self);
}

impl Wire for TcpStream {
    fn half_close(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Wire for UnixStream {
    fn half_close(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Client {
    /// Connects to 127.0.0.1.
    pub(crate) fn tcp(port: u16) -> Self {
        Self::tcp_to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    pub(crate) fn tcp_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(Box::new(stream))
    }

    pub(crate) fn unix(path: &str) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(Box::new(stream))
    }

    pub(crate) fn of_tcp(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(Box::new(stream))
    }

    pub(crate) fn of_unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(Box::new(stream))
    }

    pub(crate) fn says(&mut self, text: &str) -> &mut Self {
        self.0.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Reads exactly `text`.
    pub(crate) fn hears(&mut self, text: &str) -> &mut Self {
        let mut heard = vec![0; text.len()];
        self.0.read_exact(&mut heard).unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), text);
        self
    }

    /// Reads one line, without its newline.
    pub(crate) fn hears_line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while uninterrupted(|| self.0.read(&mut byte)) == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// Reads one message of a seqpacket socket, whole.
    pub(crate) fn hears_message(&mut self) -> String {
        let mut heard = vec![0; 65536];
        let len = uninterrupted(|| self.0.read(&mut heard));
        String::from_utf8_lossy(&heard[..len]).into_owned()
    }

    /// Says no more, and reads to the end.
    pub(crate) fn hears_all(mut self) -> String {
        self.0.half_close();
        self.hears_rest()
    }

    /// Reads to the end while its own side stays open.
    pub(crate) fn hears_rest(&mut self) -> String {
        let mut heard = Vec::new();
        self.0.read_to_end(&mut heard).unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    }
}

/// A UDP client on 127.0.0.1 that hears from the port it speaks to.
pub(crate) fn udp(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket
}

/// The next datagram as text.
pub(crate) fn hear_udp(socket: &UdpSocket) -> String {
    let mut heard = [0; 65536];
    let len = uninterrupted(|| socket.recv(&mut heard));
    String::from_utf8_lossy(&heard[..len]).into_owned()
}

/// A call on a socket with a time-out is not taken up again after a signal.
fn uninterrupted<T>(mut call: impl FnMut() -> std::io::Result<T>) -> T {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done.unwrap(),
        }
    }
}

/// A unix datagram client bound at `path`.
pub(crate) fn unix_datagram(path: &str) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// A listener on 127.0.0.1 as whoever hands sockets over makes it, and its port.
pub(crate) fn tcp_listener() -> (OwnedFd, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener.into(), port)
}

/// A socket as socket(2) makes it.
pub(crate) fn raw_socket(family: AddressFamily, style: SockType) -> OwnedFd {
    socket::socket(family, style, SockFlag::SOCK_CLOEXEC, None).unwrap()
}

/// An MPTCP socket, if the kernel has that.
pub(crate) fn mptcp_socket() -> Option<OwnedFd> {
    use nix::libc;
    let style = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    #[allow(unsafe_code, reason = "nix does not know this protocol")]
    // SAFETY: the call takes no pointer.
    let made = unsafe { libc::socket(libc::AF_INET, style, libc::IPPROTO_MPTCP) };
    if made < 0 {
        return None;
    }
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Some(unsafe { std::os::fd::FromRawFd::from_raw_fd(made) })
}

/// Connects to 127.0.0.1 with MPTCP.
pub(crate) fn mptcp(port: u16) -> Client {
    let socket = mptcp_socket().unwrap();
    let to = SockaddrStorage::from(SocketAddr::from(([127, 0, 0, 1], port)));
    socket::connect(socket.as_raw_fd(), &to).unwrap();
    Client::of_tcp(TcpStream::from(socket))
}

/// A seqpacket listener at `path`.
pub(crate) fn seqpacket_listener(path: &str) -> OwnedFd {
    let listener = raw_socket(AddressFamily::Unix, SockType::SeqPacket);
    socket::bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket::listen(&listener, Backlog::new(16).unwrap()).unwrap();
    listener
}

/// A seqpacket connection to `path`.
pub(crate) fn seqpacket(path: &str) -> Client {
    let to = UnixAddr::new(path).unwrap();
    Client::of_unix(unix_from(SockType::SeqPacket, None, &to))
}

/// A connection to a unix socket of the style that these options ask for, if it is not refused.
pub(crate) fn unix_client(options: &str, to: nix::Result<UnixAddr>) -> Option<Client> {
    let style = match options {
        "--seqpacket" => SockType::SeqPacket,
        _ => SockType::Stream,
    };
    let socket = raw_socket(AddressFamily::Unix, style);
    let connected = socket::connect(socket.as_raw_fd(), &to.unwrap());
    connected
        .ok()
        .map(|()| Client::of_unix(UnixStream::from(socket)))
}

/// Waits until nothing listens on this port of 127.0.0.1 any more.
pub(crate) fn is_refused(port: u16) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // A process that another test is just starting has a copy of our descriptors until its exec.
    eventually("refused", || {
        TcpStream::connect(address).is_err().then_some(())
    });
}

/// Connects from an address of this machine.
pub(crate) fn tcp_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    try_tcp_from(from, to).unwrap()
}

/// The same where nobody may be listening.
pub(crate) fn try_tcp_from(from: IpAddr, to: SocketAddr) -> nix::Result<TcpStream> {
    let family = if from.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = raw_socket(family, SockType::Stream);
    let from = SockaddrStorage::from(SocketAddr::new(from, 0));
    socket::bind(socket.as_raw_fd(), &from).unwrap();
    socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(socket))
}

/// Connects to a port of 127.0.0.1 from 127.0.0.N, which is another source for each N.
pub(crate) fn tcp_from_loopback(last: u8, port: u16) -> TcpStream {
    let from = IpAddr::from([127, 0, 0, last]);
    tcp_from(from, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Connects to a unix socket of any style, from a name of its own if there is one.
pub(crate) fn unix_from(style: SockType, from: Option<&UnixAddr>, to: &UnixAddr) -> UnixStream {
    let socket = raw_socket(AddressFamily::Unix, style);
    if let Some(from) = from {
        socket::bind(socket.as_raw_fd(), from).unwrap();
    }
    socket::connect(socket.as_raw_fd(), to).unwrap();
    UnixStream::from(socket)
}

/// The command that runs another one in a network of its own, whose lo has these addresses besides ::1.
pub(crate) fn own_network(folder: &Folder, addresses: &[&str]) -> String {
    let mut script = "busybox ip link set lo up\n".to_owned();
    for address in addresses {
        let bits = if address.contains(':') { 64 } else { 24 };
        script += &format!("busybox ip addr add {address}/{bits} dev lo\n");
    }
    script += "while busybox ip addr show dev lo | grep -q tentative; do :; done\nexec \"$@\"";
    format!("unshare -n {}", folder.script("network", &script))
}

/// skd is to run in such a network.
pub(crate) fn in_own_network(skd: Skd, folder: &Folder, addresses: &[&str]) -> Skd {
    skd.under(&own_network(folder, addresses))
}

/// A client in skd's own network; it ends when its stdin does.
pub(crate) fn client_inside(
    skd: &Running,
    from: &str,
    to: &str,
) -> (Child, BufReader<ChildStdout>) {
    let mut client = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", skd.pid()))
        .args([&probe(), "client", from, to])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(client.stdout.take().unwrap());
    (client, stdout)
}

/// Does `work` in the network of the process with this pid: sockets that are made by it are there.
pub(crate) fn inside<T: Send>(pid: &str, work: impl FnOnce() -> T + Send) -> T {
    let network = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    // A network is a thread's: this one goes there and does not come back.
    let there = || {
        nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(there).join().unwrap())
}

/// Sets or clears O_NONBLOCK.
pub(crate) fn set_nonblocking(fd: &impl AsFd, on: bool) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let mut flags = OFlag::empty();
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(fd, FcntlArg::F_SETFL(flags)).unwrap();
}

/// `cat` answers at this port of 127.0.0.1.
pub(crate) fn echoes(port: u16) {
    let mut client = Client::tcp(port);
    client.says("hello\n").hears("hello\n");
    assert_eq!(client.hears_all(), "");
}

/// What the probe's `accept-until-end` answers to this line: its pid.
pub(crate) fn asks(port: u16, line: &str) -> String {
    let mut client = Client::tcp(port);
    let answer = client.says(&format!("{line}\n")).hears_line();
    let (pid, echo) = answer.split_once(' ').unwrap();
    assert_eq!(echo, line);
    pid.to_owned()
}

/// Waits until nobody serves the socket file at `path` any more: a process that another test is just starting has a
/// copy of our descriptors until its exec.
pub(crate) fn is_dead(path: &str) {
    eventually("a dead socket file", || {
        let refused = UnixStream::connect(path)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        refused.then_some(())
    });
}

/// Connects to a stream listener, without waiting, until its backlog takes no more. Returns the clients.
pub(crate) fn fill_backlog(path: &str) -> Vec<OwnedFd> {
    let mut clients = Vec::new();
    loop {
        let client = raw_socket(AddressFamily::Unix, SockType::Stream);
        set_nonblocking(&client, true);
        match socket::connect(client.as_raw_fd(), &UnixAddr::new(path).unwrap()) {
            Ok(()) => clients.push(client),
            Err(errno) => {
                assert_eq!(errno, nix::errno::Errno::EAGAIN);
                return clients;
            }
        }
    }
}

/// Has one client after the other come as long as `work` is done; each must fare as `client` wants it. Returns how many
/// there were.
pub(crate) fn while_clients_come(client: impl Fn() + Sync, work: impl FnOnce()) -> usize {
    /// Dropped when the work is done, if only by a panic.
    struct Working<'a>(&'a AtomicBool);
    impl Drop for Working<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }
    let goes_on = AtomicBool::new(true);
    let come = || {
        let mut count = 0;
        while goes_on.load(Ordering::Relaxed) {
            client();
            count += 1;
        }
        count
    };
    std::thread::scope(|scope| {
        let clients = scope.spawn(come);
        let working = Working(&goes_on);
        work();
        drop(working);
        clients.join().unwrap()
    })
}
