//! Every option: its names, what it takes, its line in the help.

/// How often an option may stand, and whether it takes a value.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Takes {
    Nothing,
    /// One value; given twice it is a usage error.
    One(&'static str),
    /// A value each time.
    Many(&'static str),
    /// A value or none; it must be joined by `=`, and the option has no short name.
    Maybe(&'static str),
}

/// One option: its short and long name (either may be missing), what it takes, its line in the help.
pub(super) struct Spec {
    pub(super) short: char,
    pub(super) long: &'static str,
    pub(super) takes: Takes,
    pub(super) help: &'static str,
}

/// No short name.
pub(super) const NONE: char = '\0';

const fn spec(short: char, long: &'static str, takes: Takes, help: &'static str) -> Spec {
    Spec {
        short,
        long,
        takes,
        help,
    }
}

pub(super) use Takes::{Many, Maybe, Nothing, One};

/// Every option, in the sections and order of the help and the manual.
pub(super) const SECTIONS: &[(&str, &[Spec])] = &[
    (
        "Listening",
        &[
            spec('t', "tcp", Many("ADDR"), "TCP listener on [HOST:]PORT"),
            spec('u', "udp", Many("ADDR"), "UDP socket on [HOST:]PORT"),
            spec(
                'i',
                "inet",
                Many("ADDR"),
                "internet socket of the style -s or -d",
            ),
            spec(
                'l',
                "unix",
                Many("PATH"),
                "unix socket at PATH or @NAME (also -x)",
            ),
            spec(
                's',
                "stream",
                Nothing,
                "-i and -l are stream sockets [this]",
            ),
            spec('d', "datagram", Nothing, "-i and -l are datagram sockets"),
            spec(NONE, "seqpacket", Nothing, "-l is a seqpacket socket"),
            spec(
                NONE,
                "vsock",
                Many("[CID:]PORT"),
                "vsock stream listener [any CID]",
            ),
            spec('4', "ipv4", Nothing, "IPv4 only"),
            spec('6', "ipv6", Nothing, "IPv6 only"),
            spec(
                NONE,
                "adopt",
                Many("WHAT"),
                "take stdin, fd:N, s6[:ID] or listen-fds[:NAME]",
            ),
            spec('0', "", Nothing, "the same as --adopt stdin"),
            spec(NONE, "no-adopt", Nothing, "ignore LISTEN_FDS"),
            spec('b', "backlog", One("N"), "clients that may wait [4096]"),
            spec(
                'n',
                "nodelay",
                Nothing,
                "TCP_NODELAY on every TCP connection",
            ),
            spec(
                NONE,
                "mode",
                One("OCTAL"),
                "mode of unix socket files [umask]",
            ),
            spec(
                NONE,
                "owner",
                One("USER[:GROUP]"),
                "owner of unix socket files [caller]",
            ),
            spec(
                NONE,
                "reuse-port",
                Nothing,
                "share ports with others of the same user",
            ),
            spec(
                NONE,
                "freebind",
                Nothing,
                "bind addresses that are not there yet",
            ),
            spec(
                NONE,
                "bind-to-device",
                One("IF"),
                "only what comes in by this interface",
            ),
            spec(
                NONE,
                "keepalive",
                Maybe("IDLE[,INTERVAL[,COUNT]]"),
                "find dead TCP clients [off]",
            ),
            spec(
                NONE,
                "defer-accept",
                One("SECS"),
                "TCP clients must speak first [off]",
            ),
            spec(NONE, "mptcp", Nothing, "-t and -i listen with MPTCP"),
            spec(
                '1',
                "print-port",
                Nothing,
                "print the port of every internet socket",
            ),
        ],
    ),
    (
        "Serving",
        &[
            spec(
                'c',
                "max-connections",
                One("N"),
                "children at once; more clients wait [no limit]",
            ),
            spec(
                'C',
                "max-per-source",
                One("N"),
                "children at once of one source [no limit]",
            ),
            spec(
                'r',
                "refuse",
                One("MESSAGE"),
                "send MESSAGE to whom a limit keeps out",
            ),
            spec(
                NONE,
                "rate",
                One("N/SECS"),
                "let in N per SECS; more clients wait",
            ),
            spec(
                NONE,
                "rate-per-source",
                One("N/SECS"),
                "let in N per SECS of one source; refuse more",
            ),
            spec(
                'w',
                "wait",
                Nothing,
                "start PROG with the listener when a client waits",
            ),
            spec(
                'E',
                "exec",
                Nothing,
                "become PROG at once, with the listeners",
            ),
            spec(
                NONE,
                "pass",
                One("HOW"),
                "a listener is passed by stdin, listen-fds, both",
            ),
            spec(
                'e',
                "stderr-to-client",
                Nothing,
                "the child's stderr is the connection too",
            ),
            spec(
                NONE,
                "idle-exit",
                One("SECS"),
                "exit 0 after SECS without a connection",
            ),
            spec(
                NONE,
                "drain",
                One("SECS"),
                "wait so long for children when told to stop",
            ),
        ],
    ),
    (
        "Admission",
        &[
            spec(NONE, "allow", Many("LIST"), "let in only these peers"),
            spec(NONE, "deny", Many("LIST"), "let in none of these peers"),
            spec(NONE, "rules", One("FILE"), "let in whom tcprules(1) allow"),
            spec(
                NONE,
                "proxy-from",
                One("LIST"),
                "peers that begin with a PROXY header",
            ),
            spec(
                NONE,
                "proxy-timeout",
                One("SECS"),
                "for the whole header [3]",
            ),
            spec(
                NONE,
                "resolve",
                Nothing,
                "look up the names of peer and local address",
            ),
            spec(NONE, "ident", Nothing, "ask the peer's ident server"),
            spec(
                NONE,
                "lookup-timeout",
                One("SECS"),
                "for all look-ups together [5]",
            ),
            spec(
                NONE,
                "check-peer",
                One("PEER"),
                "tell whether PEER is let in; start nothing",
            ),
        ],
    ),
    (
        "Program",
        &[
            spec(
                'U',
                "env-ids",
                Nothing,
                "become $UID $GID [$GIDLIST], in $ROOT if set",
            ),
            spec(NONE, "user", One("USER[:GROUP]"), "become this user"),
            spec(
                NONE,
                "groups",
                One("LIST"),
                "have these supplementary groups",
            ),
            spec(NONE, "chroot", One("DIR"), "change the root folder"),
            spec(NONE, "chdir", One("DIR"), "change the working folder"),
            spec(NONE, "umask", One("OCTAL"), "set the umask, after binding"),
            spec(
                NONE,
                "no-new-privs",
                Nothing,
                "no setuid program gains anything",
            ),
            spec(NONE, "proto", One("NAME"), "the value of PROTO"),
            spec(NONE, "tcp6", Nothing, "PROTO is TCP6 on IPv6 connections"),
        ],
    ),
    (
        "Running",
        &[
            spec(
                'B',
                "background",
                Nothing,
                "become a daemon; return when all is ready",
            ),
            spec('P', "pidfile", One("FILE"), "write and lock the pid there"),
            spec(
                'L',
                "log",
                One("SPEC"),
                "stderr to TAG[:FACILITY.PRIORITY], >FILE, >>FILE",
            ),
            spec(
                'S',
                "supervise",
                Nothing,
                "without sockets: restart PROG when it exits",
            ),
            spec(
                'v',
                "verbose",
                Nothing,
                "log every connection; -vv: also what skd does",
            ),
            spec('q', "quiet", Nothing, "log fatal errors only"),
            spec(
                NONE,
                "log-format",
                One("FORMAT"),
                "lines are text or json [text]",
            ),
            spec(
                NONE,
                "ready-fd",
                One("N"),
                "write a newline to descriptor N when ready",
            ),
            spec(
                NONE,
                "fdstore",
                Nothing,
                "have systemd keep the sockets that skd bound",
            ),
            spec(
                NONE,
                "metrics",
                One("ADDR|PATH"),
                "answer HTTP GET /metrics there",
            ),
            spec(
                NONE,
                "inetd-conf",
                One("FILE"),
                "serve the services of an inetd.conf(5)",
            ),
            spec(
                NONE,
                "check",
                Nothing,
                "read everything, bind and start nothing",
            ),
            spec('h', "help", Nothing, "print this help"),
            spec('V', "version", Nothing, "print the version"),
        ],
    ),
];
