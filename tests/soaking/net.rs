//! Sockets of a client: where it comes from, where it goes, and what it hears there.

use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// How long a client waits for anything: nothing takes so long, however busy the machine is.
const PATIENCE_SECS: i64 = 60;

/// A connected socket, or one of datagrams.
pub(crate) struct Conn {
    file: File,
    /// Its own address, as the log has it.
    pub(crate) name: String,
}

type Outcome<T> = Result<T, String>;

fn trouble(what: &str) -> impl Fn(nix::Error) -> String + '_ {
    move |errno| format!("{what}: {errno}")
}

fn open(family: AddressFamily, kind: SockType) -> Outcome<OwnedFd> {
    let fd =
        socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map_err(trouble("socket"))?;
    let time = TimeVal::seconds(PATIENCE_SECS);
    socket::setsockopt(&fd, sockopt::ReceiveTimeout, &time).map_err(trouble("timeout"))?;
    socket::setsockopt(&fd, sockopt::SendTimeout, &time).map_err(trouble("timeout"))?;
    Ok(fd)
}

fn connect(fd: OwnedFd, to: &dyn SockaddrLike, name: impl Fn(&OwnedFd) -> String) -> Outcome<Conn> {
    socket::connect(fd.as_raw_fd(), to).map_err(trouble("connect"))?;
    let name = name(&fd);
    Ok(Conn {
        file: fd.into(),
        name,
    })
}

fn own_v4(fd: &OwnedFd) -> String {
    let own: Result<SockaddrIn, _> = socket::getsockname(fd.as_raw_fd());
    own.map_or_else(
        |errno| errno.to_string(),
        |own| SocketAddrV4::from(own).to_string(),
    )
}

/// From this address to this port of 127.0.0.1.
pub(crate) fn v4(from: Ipv4Addr, port: u16, kind: SockType) -> Outcome<Conn> {
    let fd = open(AddressFamily::Inet, kind)?;
    let from = SockaddrIn::from(SocketAddrV4::new(from, 0));
    // Connecting chooses the port.
    let _ = socket::setsockopt(&fd, sockopt::IpBindAddressNoPort, &true);
    socket::bind(fd.as_raw_fd(), &from).map_err(trouble("bind"))?;
    connect(
        fd,
        &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)),
        own_v4,
    )
}

/// From this address to this port of ::1.
pub(crate) fn v6(from: Ipv6Addr, port: u16) -> Outcome<Conn> {
    let fd = open(AddressFamily::Inet6, SockType::Stream)?;
    let from = SockaddrIn6::from(SocketAddrV6::new(from, 0, 0, 0));
    socket::bind(fd.as_raw_fd(), &from).map_err(trouble("bind"))?;
    let to = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0));
    connect(fd, &to, |fd| {
        let own: Result<SockaddrIn6, _> = socket::getsockname(fd.as_raw_fd());
        own.map_or_else(
            |errno| errno.to_string(),
            |own| SocketAddrV6::from(own).to_string(),
        )
    })
}

/// As this user to the socket at this path.
pub(crate) fn unix(path: &str, uid: u32) -> Outcome<Conn> {
    let fd = open(AddressFamily::Unix, SockType::Stream)?;
    let to = UnixAddr::new(path).map_err(trouble("path"))?;
    let name = |_: &OwnedFd| format!("uid {uid} gid 0 peer-pid {}", std::process::id());
    become_user(uid)?;
    let conn = connect(fd, &to, name);
    become_user(0)?;
    conn
}

/// This thread's effective user alone: setresuid(2) of libc would change that of all threads.
fn become_user(uid: u32) -> Outcome<()> {
    const SAME: libc::c_long = -1;
    #[allow(unsafe_code, reason = "libc has no call for one thread")]
    // SAFETY: the call takes no pointer.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, SAME, libc::c_long::from(uid), SAME) };
    if done == 0 {
        Ok(())
    } else {
        Err(format!("setresuid: {}", nix::Error::last()))
    }
}

impl Conn {
    /// Address and port of this end.
    pub(crate) fn own(&self) -> SocketAddr {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.name.parse().unwrap_or(nobody)
    }

    pub(crate) fn say(&mut self, what: &[u8]) -> Outcome<()> {
        self.file
            .write_all(what)
            .map_err(|error| format!("write: {error}"))
    }

    /// No more will be said.
    pub(crate) fn end(&self) -> Outcome<()> {
        socket::shutdown(self.file.as_raw_fd(), socket::Shutdown::Write)
            .map_err(trouble("shutdown"))
    }

    /// Closes with a reset, whatever is on its way.
    pub(crate) fn reset(self) -> Outcome<()> {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        socket::setsockopt(&self.file, sockopt::Linger, &linger).map_err(trouble("linger"))
    }

    /// The next bytes, none at the end.
    pub(crate) fn some(&mut self) -> Outcome<Vec<u8>> {
        let mut heard = vec![0; 65536];
        let len = self
            .file
            .read(&mut heard)
            .map_err(|error| format!("read: {error}"))?;
        heard.truncate(len);
        Ok(heard)
    }

    /// A whole line, without its newline; what there was if there is no more.
    pub(crate) fn line(&mut self) -> Outcome<String> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let more = self.some()?;
            if more.is_empty() {
                break;
            }
            line.extend(more);
        }
        Ok(String::from_utf8_lossy(&line)
            .trim_end_matches('\n')
            .to_owned())
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, len: usize) -> Outcome<Vec<u8>> {
        let mut heard = vec![0; len];
        self.file
            .read_exact(&mut heard)
            .map_err(|error| format!("read: {error}"))?;
        Ok(heard)
    }

    /// All until the end.
    pub(crate) fn rest(&mut self) -> Outcome<Vec<u8>> {
        let mut heard = Vec::new();
        self.file
            .read_to_end(&mut heard)
            .map_err(|error| format!("read: {error}"))?;
        Ok(heard)
    }

    /// The end, or a reset, and nothing before it.
    pub(crate) fn hears_nothing_more(&mut self) -> Outcome<()> {
        match self.file.read(&mut [0]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => Err(format!("the end was expected: {other:?}")),
        }
    }
}
