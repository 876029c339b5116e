//! Makes internet sockets as the user wants them, not bound yet.

use crate::listen::Listener;
use crate::listen::unixfile::socket_type;
use crate::model::address::Style;
use crate::model::error::Fatal;
use crate::model::sockopt::{Buffers, KeepAlive, SocketOptions};
use crate::model::text::Quoted;
use crate::sys::errno::Errno;
use crate::sys::{socket, sockopt};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Why a socket could not be made.
#[derive(Debug)]
pub(super) struct Refused {
    /// The option that the kernel refused, as it was given.
    pub(super) option: Option<String>,
    pub(super) errno: Errno,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self {
            option: None,
            errno,
        }
    }
}

fn refused(option: impl Into<String>) -> impl FnOnce(Errno) -> Refused {
    let option = Some(option.into());
    |errno| Refused { option, errno }
}

/// socket(2), and everything asked for that is set before bind(2), but for what `share_port` sets. A listener passes
/// `--keepalive` on to its connections.
pub(super) fn inet(
    options: &SocketOptions,
    keepalive: Option<KeepAlive>,
    style: Style,
    domain: i32,
) -> Result<OwnedFd, Refused> {
    let made = if options.mptcp && style == Style::Stream {
        socket::make_of(domain, socket_type(style), socket::MPTCP).map_err(refused("--mptcp"))?
    } else {
        socket::make(domain, socket_type(style))?
    };
    set_buffers(options.buffers, &made)?;
    if options.freebind {
        sockopt::set_freebind(&made, domain).map_err(refused("--freebind"))?;
    }
    if let Some(name) = &options.device {
        let option = format!("--bind-to-device {}", Quoted(name.as_bytes()));
        sockopt::bind_to_device(&made, name).map_err(refused(option))?;
    }
    if style == Style::Stream {
        if let Some(keepalive) = keepalive {
            keep_alive(&made, keepalive).map_err(refused("--keepalive"))?;
        }
        if let Some(secs) = options.defer_accept_secs {
            sockopt::set_defer_accept(&made, secs).map_err(refused("--defer-accept"))?;
        }
    }
    Ok(made)
}

/// Before listen(2), so that connections have them too.
pub(super) fn set_buffers(buffers: Buffers, socket: &OwnedFd) -> Result<(), Errno> {
    let send = |bytes| sockopt::set_send_buffer(socket, bytes);
    let receive = |bytes| sockopt::set_receive_buffer(socket, bytes);
    buffers.send.map_or(Ok(()), send)?;
    buffers.receive.map_or(Ok(()), receive)
}

/// `--reuse-port`. Of a port that the kernel is to choose this comes after bind(2): it would choose one, of UDP, that
/// others share.
pub(super) fn share_port(options: &SocketOptions, socket: &OwnedFd) -> Result<(), Refused> {
    if options.reuse_port {
        sockopt::set_reuse_port(socket).map_err(refused("--reuse-port"))?;
    }
    Ok(())
}

/// `--keepalive` for a TCP connection, or for a listener and all its connections.
///
/// # Errors
/// The kernel does not have it.
pub(crate) fn keep_alive(socket: impl AsFd, keepalive: KeepAlive) -> Result<(), Errno> {
    let socket = socket.as_fd();
    if let Some(secs) = keepalive.idle_secs {
        sockopt::set_keepalive_idle(socket, secs)?;
    }
    if let Some(secs) = keepalive.interval_secs {
        sockopt::set_keepalive_interval(socket, secs)?;
    }
    if let Some(count) = keepalive.count {
        sockopt::set_keepalive_count(socket, count)?;
    }
    sockopt::set_keepalive(socket)
}

/// Whether the connections of an adopted TCP listener can be given `--keepalive`: tried on a socket like it, since the
/// listener itself is not ours to change. Where skd may not make one, as RestrictAddressFamilies= of systemd.exec(5) has
/// it, nothing is known.
///
/// # Errors
/// 111, naming the listener.
pub(super) fn try_keep_alive(listener: &Listener, keepalive: KeepAlive) -> Result<(), Fatal> {
    let tried = socket::make_like(listener).and_then(|like| keep_alive(like, keepalive));
    match tried {
        Ok(()) | Err(Errno::FAMILY_NOT_SUPPORTED) => Ok(()),
        Err(errno) => {
            let deed = format!("serve {} with --keepalive", listener.label);
            Err(Fatal::unable(deed, errno))
        }
    }
}
