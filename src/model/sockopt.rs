//! How sockets are set beyond where they are: the options of socket(7), ip(7) and tcp(7) that users may ask for.

use std::ffi::OsString;

/// What is asked of the internet sockets that skd makes; others are used as they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SocketOptions {
    /// SO_REUSEPORT of socket(7): others of the same user may have the same address.
    pub(crate) reuse_port: bool,
    /// IP_FREEBIND of ip(7): the address need not be the machine's.
    pub(crate) freebind: bool,
    /// SO_BINDTODEVICE of socket(7): the name of an interface, at most 15 bytes.
    pub(crate) device: Option<OsString>,
    /// TCP_DEFER_ACCEPT of tcp(7), for listeners.
    pub(crate) defer_accept_secs: Option<u16>,
    /// Listeners are of MPTCP instead of TCP.
    pub(crate) mptcp: bool,
    pub(crate) buffers: Buffers,
}

/// SO_SNDBUF and SO_RCVBUF of socket(7), in bytes; `None` leaves that to the kernel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Buffers {
    pub(crate) send: Option<u32>,
    pub(crate) receive: Option<u32>,
}

/// SO_KEEPALIVE of socket(7) on TCP connections, and when it acts, TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT of tcp(7);
/// `None` leaves that to the kernel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct KeepAlive {
    /// How long nothing comes before the first probe is sent.
    pub(crate) idle_secs: Option<u16>,
    pub(crate) interval_secs: Option<u16>,
    /// So many probes without an answer end the connection.
    pub(crate) count: Option<u16>,
}
