//! What of our own environment a program gets to see; pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Names that tell how skd itself got its sockets and talks to its manager; a child never has them.
const ADOPTION: [&str; 3] = ["LISTEN_", "S6_FD", "SKD_STATE"];
const MANAGER: [&str; 1] = ["WATCHDOG_"];
/// Names that speak of a connection, by prefix: `(TCP|…)(LOCAL|REMOTE)*`.
const FAMILIES: [&str; 6] = ["TCP6", "TCP", "UDP", "UNIX", "IPC", "VSOCK"];
const CONNECTION: [&str; 2] = ["PROXYREMOTE", "SSL_"];
/// Begins as one of these, and says where OpenSSL finds the certificates that it trusts.
const TRUST: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
const CONNECTION_WHOLE: [&str; 9] = [
    "PROTO",
    "TCPCONCURRENCY",
    "TCP6INTERFACE",
    "PEERPID",
    "PEERUID",
    "PEERGID",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REMOTE_HOST",
];

/// How much of our environment a program gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scrub {
    /// A child: nothing of the manager's, nothing that could be taken for the connection's.
    Child,
    /// PROG in our place, with a connection: the manager's variables are PROG's now.
    Connected,
    /// PROG in our place, without a socket: everything but what told us of sockets.
    Plain,
    /// The same for a program that we stay beside: the manager's variables are ours.
    Supervised,
    /// skd in our place: everything but what told us of sockets, which it is told anew.
    Successor,
}

/// Our environment without what the program must not see. `journal` says whether JOURNAL_STREAM is still true of the
/// program's stderr.
pub(crate) fn scrubbed(
    all: &[(OsString, OsString)],
    scrub: Scrub,
    journal: bool,
) -> Vec<(OsString, OsString)> {
    let kept = |name: &[u8]| {
        let begins = |prefix: &&str| name.starts_with(prefix.as_bytes());
        let is = |whole: &&str| name == whole.as_bytes();
        let speaks_of_connection = (CONNECTION.iter().any(begins) && !TRUST.iter().any(is))
            || CONNECTION_WHOLE.iter().any(is)
            || FAMILIES.iter().any(|family| {
                let rest = name.strip_prefix(family.as_bytes());
                rest.is_some_and(|rest| {
                    rest.starts_with(b"LOCAL") || rest.starts_with(b"REMOTE") || rest == b"CONNNUM"
                })
            });
        !(ADOPTION.iter().any(begins)
            || (name == b"FDSTORE" && scrub != Scrub::Successor)
            || (matches!(scrub, Scrub::Child | Scrub::Supervised)
                && (name == b"NOTIFY_SOCKET" || MANAGER.iter().any(begins)))
            || (matches!(scrub, Scrub::Child | Scrub::Connected) && speaks_of_connection)
            || (!journal && name == b"JOURNAL_STREAM"))
    };
    all.iter()
        .filter(|(name, _)| kept(name.as_bytes()))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that a child never inherits, each followed by those that only look like them.
    const STALE: &str = "PROTO TCPLOCALIP TCPLOCALPORT TCPLOCALHOST TCPREMOTEIP TCPREMOTEHOST TCPREMOTEINFO TCPREMOTE \
        TCPCONNNUM TCPCONCURRENCY TCP6LOCALIP TCP6REMOTEIP TCP6REMOTEHOST TCP6CONNNUM TCP6INTERFACE UDPLOCALIP \
        UDPREMOTEIP UDPREMOTEADDR UDPCONNNUM UNIXLOCALPATH UNIXLOCALUID UNIXREMOTEEUID UNIXCONNNUM IPCLOCALPATH \
        IPCREMOTEEUID IPCCONNNUM VSOCKLOCALCID VSOCKREMOTECID VSOCKCONNNUM PEERPID PEERUID PEERGID REMOTE_ADDR REMOTE_PORT \
        REMOTE_HOST PROXYREMOTEIP PROXYREMOTEPORT SSL_PROTOCOL SSL_ SSL_CERT SSL_CERT_FILES";
    const ADOPTED: &str = "LISTEN_PID LISTEN_FDS LISTEN_FDNAMES LISTEN_PIDFDID LISTEN_FDS_FIRST_FD S6_FD# S6_FD_0 S6_FDID_0 SKD_STATE FDSTORE";
    const MANAGED: &str = "NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID";
    const KEPT: &str = "PATH PROTOCOL MYPROTO TCPCONNMAX TCP TCP6 XTCPREMOTEIP PEER REMOTE_USER PROXY INVOCATION_ID \
        TCP_REMOTE UNIX_LOCAL JOURNAL_STREAM_X SSL_CERT_FILE SSL_CERT_DIR";

    fn kept(names: &str, scrub: Scrub, journal: bool) -> String {
        let all: Vec<_> = names
            .split_whitespace()
            .map(|name| (name.into(), "x".into()))
            .collect();
        let kept = scrubbed(&all, scrub, journal)
            .into_iter()
            .map(|(name, _)| name.into_string().unwrap());
        kept.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_child_inherits_nothing_stale() {
        let whole = |names: &str| names.split_whitespace().collect::<Vec<_>>().join(" ");
        for names in [STALE, ADOPTED, MANAGED] {
            assert_eq!(kept(names, Scrub::Child, true), "");
        }
        assert_eq!(kept(KEPT, Scrub::Child, true), whole(KEPT));
        assert_eq!(kept(STALE, Scrub::Connected, true), "");
        assert_eq!(kept(STALE, Scrub::Plain, true), whole(STALE));
        for scrub in [Scrub::Connected, Scrub::Plain] {
            assert_eq!(kept(ADOPTED, scrub, true), "");
            assert_eq!(kept(MANAGED, scrub, true), MANAGED);
        }
        assert_eq!(kept(ADOPTED, Scrub::Successor, true), "FDSTORE");
        for names in [STALE, MANAGED] {
            assert_eq!(kept(names, Scrub::Successor, true), whole(names));
        }
        assert_eq!(kept("JOURNAL_STREAM", Scrub::Child, true), "JOURNAL_STREAM");
        assert_eq!(kept("JOURNAL_STREAM", Scrub::Child, false), "");
    }
}
