//! What the kernel tells of sockets: sock_diag(7).

use crate::sys::errno::{Errno, check, check_len, uninterrupted};
use crate::sys::socket;
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// nlmsghdr of netlink(7).
const HEAD_BYTES: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UNIX_DIAG_RQLEN: u16 = 4;
const UDIAG_SHOW_VFS: u32 = 0x02;
const UNIX_DIAG_VFS: u16 = 1;
/// unix_diag_msg, behind which the attributes are.
const UNIX_ANSWER_BYTES: usize = 16;
const TCP_SYN_RECV: u32 = 3;
/// Any socket, whatever its cookie is.
const NO_COOKIE: [u8; 8] = [u8::MAX; 8];

/// How many clients wait to be accepted by the unix listener of this inode, the first number of UNIX_DIAG_RQLEN.
///
/// # Errors
/// ENOENT if there is none; another where the kernel does not tell.
pub(crate) fn unix_clients(inode: u32) -> Result<u64, Errno> {
    unix(inode, UDIAG_SHOW_RQLEN, UNIX_DIAG_RQLEN).map(u64::from)
}

/// The inode number of the file that a unix socket of this inode was bound to, its low 32 bits: the first number of
/// UNIX_DIAG_VFS.
///
/// # Errors
/// As above.
pub(crate) fn unix_file(inode: u32) -> Result<u32, Errno> {
    unix(inode, UDIAG_SHOW_VFS, UNIX_DIAG_VFS)
}

/// The first number of an attribute of the unix socket of this inode.
fn unix(inode: u32, show: u32, attribute: u16) -> Result<u32, Errno> {
    // unix_diag_req: family, protocol and padding; states; inode; what to show; cookie.
    let family = [libc::AF_UNIX, 0, 0, 0].map(byte);
    let [states, inode, show] = [u32::MAX, inode, show].map(u32::to_ne_bytes);
    let question = [&family[..], &states, &inode, &show, &NO_COOKIE].concat();
    let answer = ask(0, &question)?;
    first_of(&answer, attribute).ok_or(Errno::NOT_FOUND)
}

/// Whether somebody is about to connect to a TCP listener at this port, and is not yet in its backlog: the handshake is
/// under way, or TCP_DEFER_ACCEPT waits for the first byte. Another listener of its family at this port counts too.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn has_handshakes(listener: impl AsFd, port: u16) -> Result<bool, Errno> {
    let (family, _, _) = socket::nature(listener)?;
    // inet_diag_req_v2: family, protocol, extensions and padding; states; ports; addresses; interface; cookie.
    let head = [family, libc::IPPROTO_TCP, 0, 0].map(byte);
    let states = (1_u32 << TCP_SYN_RECV).to_ne_bytes();
    let ports = [port.to_be_bytes(), [0; 2]].concat();
    let question = [&head[..], &states, &ports, &[0; 36], &NO_COOKIE].concat();
    let answer = ask(NLM_F_DUMP, &question)?;
    Ok(kind_of(&answer) == Some(SOCK_DIAG_BY_FAMILY))
}

/// A number that the kernel takes as a byte.
fn byte(number: c_int) -> u8 {
    u8::try_from(number).unwrap_or(0)
}

/// The first answer to a question; the kernel answers before send(2) returns.
fn ask(flags: u16, question: &[u8]) -> Result<Vec<u8>, Errno> {
    let style = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointer.
    let diag = check(unsafe { libc::socket(libc::AF_NETLINK, style, libc::NETLINK_SOCK_DIAG) })?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    let diag = unsafe { OwnedFd::from_raw_fd(diag) };
    let len = u32::try_from(HEAD_BYTES + question.len()).map_err(|_| Errno::INVALID)?;
    let mut message = len.to_ne_bytes().to_vec();
    for number in [SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | flags] {
        message.extend(number.to_ne_bytes());
    }
    // Sequence number and port.
    message.extend([0; 8]);
    message.extend(question);
    uninterrupted(|| {
        let (fd, pointer, len) = (diag.as_raw_fd(), message.as_ptr().cast(), message.len());
        // SAFETY: the kernel reads `len` bytes of `message`, which outlives the call.
        check_len(unsafe { libc::send(fd, pointer, len, libc::MSG_DONTWAIT) })
    })?;
    let mut answer = vec![0; 1024];
    let len = uninterrupted(|| {
        let (fd, pointer, room) = (diag.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len());
        // SAFETY: the kernel writes at most `room` bytes into `answer`, which has that many.
        check_len(unsafe { libc::recv(fd, pointer, room, libc::MSG_DONTWAIT) })
    })?;
    answer.truncate(len);
    Ok(answer)
}

fn kind_of(answer: &[u8]) -> Option<u16> {
    let kind = answer.get(4..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*kind))
}

/// The first number of an attribute of the answer.
fn first_of(answer: &[u8], attribute: u16) -> Option<u32> {
    if kind_of(answer)? != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let mut rest = answer.get(HEAD_BYTES + UNIX_ANSWER_BYTES..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (kind, body) = after.split_first_chunk::<2>()?;
        if u16::from_ne_bytes(*kind) == attribute {
            return Some(u32::from_ne_bytes(*body.first_chunk()?));
        }
        let length = usize::from(u16::from_ne_bytes(*length)).max(4);
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sockopt;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn who_has_not_spoken_yet_is_about_to_connect() {
        for (address, ip) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
        ] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(has_handshakes(&listener, port), Ok(false));
            sockopt::set_defer_accept(&listener, 30).unwrap();
            let mut client = TcpStream::connect((ip, port)).unwrap();
            assert_eq!(has_handshakes(&listener, port), Ok(true));
            client.write_all(b"x").unwrap();
            listener.accept().unwrap();
            assert_eq!(has_handshakes(&listener, port), Ok(false));
        }
    }

    #[test]
    fn a_unix_socket_knows_its_file() {
        let path = std::env::temp_dir().join(format!("skd-diag-{}", std::process::id()));
        let socket = UnixListener::bind(&path).unwrap();
        let file = std::fs::symlink_metadata(&path).unwrap().ino();
        std::fs::remove_file(&path).unwrap();
        let (_, inode) = crate::sys::fd::identity(&socket).unwrap();
        let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap();
        assert_eq!(unix_file(low(inode)), Ok(low(file)));
        assert_eq!(first_of(&[0; 64], UNIX_DIAG_VFS), None);
    }
}
