//! How much waits in a descriptor, where the kernel tells: clients of a listener, messages of a queue, bytes of a FIFO.

use crate::sys::errno::{Errno, check, check_len, uninterrupted};
use crate::sys::fd::{self, FileKind};
use crate::sys::socket;
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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
            Self::Unix(inode) => unix_clients(inode).ok(),
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

/// What unix_diag of sock_diag(7) is asked.
#[repr(C)]
struct Question {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    protocol: u8,
    padding: u16,
    states: u32,
    inode: u32,
    show: u32,
    /// Both all ones: any.
    cookie: [u32; 2],
}

/// The answer's head: nlmsghdr, then unix_diag_msg; attributes follow.
const ANSWER_HEAD_BYTES: usize = 16 + 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_UNIX: u8 = 1;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_RQLEN: u16 = 4;

/// sock_diag(7), asked for the one socket of this inode: of a listener, the first number of UNIX_DIAG_RQLEN is how many
/// clients wait to be accepted. Kernels without unix_diag do not tell.
fn unix_clients(inode: u32) -> Result<u64, Errno> {
    #[expect(clippy::cast_possible_truncation, reason = "it has forty bytes")]
    const LENGTH: u32 = size_of::<Question>() as u32;
    let style = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointer.
    let diag = check(unsafe { libc::socket(libc::AF_NETLINK, style, libc::NETLINK_SOCK_DIAG) })?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    let diag = unsafe { OwnedFd::from_raw_fd(diag) };
    let question = Question {
        length: LENGTH,
        kind: SOCK_DIAG_BY_FAMILY,
        flags: NLM_F_REQUEST,
        sequence: 1,
        port: 0,
        family: AF_UNIX,
        protocol: 0,
        padding: 0,
        states: u32::MAX,
        inode,
        show: UDIAG_SHOW_RQLEN,
        cookie: [u32::MAX; 2],
    };
    let pointer = (&raw const question).cast();
    let len = LENGTH as usize;
    uninterrupted(|| {
        // SAFETY: the kernel reads `len` bytes of `question`, which outlives the call.
        check_len(unsafe { libc::send(diag.as_raw_fd(), pointer, len, libc::MSG_DONTWAIT) })
    })?;
    let mut answer = [0u8; 1024];
    // The kernel answers before send(2) returns.
    let len = uninterrupted(|| {
        let (pointer, room) = (answer.as_mut_ptr().cast(), answer.len());
        // SAFETY: the kernel writes at most `room` bytes into `answer`, which has that many.
        check_len(unsafe { libc::recv(diag.as_raw_fd(), pointer, room, libc::MSG_DONTWAIT) })
    })?;
    waiting_of(answer.get(..len).unwrap_or_default()).ok_or(Errno::NOT_FOUND)
}

/// The first number of the answer's UNIX_DIAG_RQLEN.
fn waiting_of(answer: &[u8]) -> Option<u64> {
    let kind = answer.get(4..6)?;
    if kind != SOCK_DIAG_BY_FAMILY.to_ne_bytes() {
        return None;
    }
    let mut rest = answer.get(ANSWER_HEAD_BYTES..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (kind, body) = after.split_first_chunk::<2>()?;
        if u16::from_ne_bytes(*kind) == UNIX_DIAG_RQLEN {
            let number = body.first_chunk::<4>()?;
            return Some(u64::from(u32::from_ne_bytes(*number)));
        }
        let length = usize::from(u16::from_ne_bytes(*length)).max(4);
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
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
        assert_eq!(waiting_of(&[0; 64]), None);
    }
}
