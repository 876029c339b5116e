//! How much waits in a descriptor, where the kernel tells: clients of a listener, messages of a queue, bytes of a FIFO.

use crate::sys::errno::{Errno, check};
use crate::sys::fd::{self, FileKind};
use crate::sys::{sockdiag, socket};
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Where the length of what waits is to be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Queue {
    Tcp,
    /// A unix listener, by its inode number.
    Unix(u32),
    /// A netlink or packet socket.
    Packets,
    Fifo,
    Messages,
    /// The kernel does not tell.
    Unknown,
}

impl Queue {
    /// The one of this descriptor.
    pub(crate) fn of(fd: impl AsFd) -> Self {
        let fd = fd.as_fd();
        match fd::kind(fd) {
            Ok(FileKind::Fifo) => Self::Fifo,
            Ok(FileKind::Socket) => Self::of_socket(fd),
            Ok(FileKind::MessageQueue) => Self::Messages,
            _ => Self::Unknown,
        }
    }

    fn of_socket(fd: BorrowedFd<'_>) -> Self {
        match (socket::nature(fd), fd::identity(fd)) {
            (Ok((socket::AF_INET | socket::AF_INET6, socket::SOCK_STREAM, _)), _) => Self::Tcp,
            (Ok((socket::AF_UNIX, _, _)), Ok((_, inode))) => {
                u32::try_from(inode).map_or(Self::Unknown, Self::Unix)
            }
            (Ok((libc::AF_NETLINK | libc::AF_PACKET, _, _)), _) => Self::Packets,
            _ => Self::Unknown,
        }
    }

    /// Whether what waits is counted in clients or messages, and not in bytes.
    pub(crate) fn counts_items(self) -> bool {
        matches!(self, Self::Tcp | Self::Unix(_) | Self::Messages)
    }

    /// How much waits now: clients, messages or bytes; `None` where that cannot be known.
    pub(crate) fn len(self, fd: impl AsFd) -> Option<u64> {
        let fd = fd.as_fd();
        match self {
            Self::Tcp => tcp_clients(fd).ok(),
            Self::Unix(inode) => sockdiag::unix_clients(inode).ok(),
            Self::Packets => packet_bytes(fd).ok(),
            Self::Fifo => fifo_bytes(fd).ok(),
            Self::Messages => messages(fd).ok(),
            Self::Unknown => None,
        }
    }
}

/// TCP_INFO of tcp(7): of a listener, tcpi_unacked is how many clients wait to be accepted.
fn tcp_clients(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: tcp_info is numbers, for which all zeros is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    get(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    Ok(u64::from(info.tcpi_unacked))
}

/// SO_MEMINFO of socket(7): the first number is what is charged for packets that wait.
fn packet_bytes(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut info = [0u32; 9];
    get(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut info)?;
    let [received, ..] = info;
    Ok(u64::from(received))
}

/// getsockopt(2) into a structure of numbers.
fn get<T: Copy>(fd: BorrowedFd<'_>, level: c_int, name: c_int, into: &mut T) -> Result<(), Errno> {
    let mut len = bytes_of::<T>();
    let pointer = (&raw mut *into).cast();
    // SAFETY: the kernel writes at most `len` bytes into `into`, which has that many, and any bytes are a value of it.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, pointer, &raw mut len) }).map(drop)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "structures of a few hundred bytes"
)]
const fn bytes_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// FIONREAD of pipe(7).
fn fifo_bytes(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut count: c_int = 0;
    // SAFETY: the kernel writes one int into `count`.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut count) })?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// mq_getattr(3): the number of messages.
fn messages(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: mq_attr is numbers, for which all zeros is a value.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one mq_attr into `attributes`.
    check(unsafe { libc::mq_getattr(fd.as_raw_fd(), &raw mut attributes) })?;
    Ok(u64::try_from(attributes.mq_curmsgs).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    #[test]
    fn clients_that_wait_are_counted() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("skd-queue-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let unix = UnixListener::bind_addr(&address).unwrap();
        let queues = [Queue::of(&tcp), Queue::of(&unix)];
        assert_eq!(queues[0], Queue::Tcp);
        let lens = || [queues[0].len(&tcp), queues[1].len(&unix)];
        let mut clients: Vec<OwnedFd> = Vec::new();
        for count in 0..3 {
            assert_eq!(lens(), [Some(count); 2]);
            clients.push(
                TcpStream::connect(tcp.local_addr().unwrap())
                    .unwrap()
                    .into(),
            );
            clients.push(UnixStream::connect_addr(&address).unwrap().into());
        }
        tcp.accept().unwrap();
        unix.accept().unwrap();
        assert_eq!(lens(), [Some(2); 2]);
    }

    #[test]
    fn bytes_of_a_pipe_are_counted() {
        let (read, write) = crate::sys::fork::pipe().unwrap();
        let queue = Queue::of(&read);
        assert_eq!((queue, queue.len(&read)), (Queue::Fifo, Some(0)));
        std::fs::File::from(write).write_all(b"12345").unwrap();
        assert_eq!(queue.len(&read), Some(5));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_unknown() {
        let file = std::fs::File::open("/dev/zero").unwrap();
        assert_eq!(Queue::of(&file), Queue::Unknown);
        assert_eq!(Queue::of(&file).len(&file), None);
    }
}
