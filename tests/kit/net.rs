//! Clients that never wait for ever.

use crate::kit::DEADLINE;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};

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
        while self.0.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
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
    let len = socket.recv(&mut heard).unwrap();
    String::from_utf8_lossy(&heard[..len]).into_owned()
}

/// A unix datagram client bound at `path`.
pub(crate) fn unix_datagram(path: &str) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}
