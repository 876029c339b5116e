//! Every option: its names, what it takes, its line in the help.

/// How often an option may stand, and whether it takes a value: how that is written in the help, and what it names.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Takes {
    Nothing,
    /// Nothing, and each time it means more.
    More,
    /// One value; given twice it is a usage error.
    One(&'static str, Kind),
    /// A value each time.
    Many(&'static str, Kind),
    /// A value or none; it must be joined by `=`, and the option has no short name.
    Maybe(&'static str),
}

/// What a value names, which a shell may know the names of.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Kind {
    /// Nothing that can be known: a number, a text.
    Free,
    File,
    Folder,
    /// `[HOST:]PORT`
    Address,
    /// The same, or a file.
    AddressOrFile,
    /// `USER[:GROUP]`
    User,
    /// Groups between commas.
    Groups,
    /// A network interface.
    Interface,
    /// `TAG[:FACILITY.PRIORITY]`, `>FILE` or `>>FILE`
    Log,
    // Those that are one of a few words.
    Adopted,
    Pass,
    Format,
    Shell,
}

impl Kind {
    /// The words that it is one of, between blanks, if they are few; one that ends in a colon is the beginning of a value.
    pub(super) fn words(self) -> Option<&'static str> {
        match self {
            Adopted => Some("stdin fd: s6 s6: listen-fds listen-fds:"),
            Pass => Some("stdin listen-fds both"),
            Format => Some("text json"),
            Shell => Some("bash zsh fish"),
            _ => None,
        }
    }
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

impl Spec {
    /// Its short names; `-x` is the second one of `-l`.
    pub(super) fn letters(&self) -> impl Iterator<Item = char> {
        let second = if self.long == "unix" { 'x' } else { NONE };
        [self.short, second].into_iter().filter(|it| *it != NONE)
    }
}

use Kind::{
    Address, AddressOrFile, Adopted, File, Folder, Format, Free, Groups, Interface, Log, Pass,
    Shell, User,
};
pub(super) use Takes::{Many, Maybe, More, Nothing, One};

/// Every option, in the sections and order of the help and the manual.
pub(super) const SECTIONS: &[(&str, &[Spec])] = &[
    (
        "Listening",
        &[
            spec(
                't',
                "tcp",
                Many("ADDR", Address),
                "TCP listener on [HOST:]PORT",
            ),
            spec(
                'u',
                "udp",
                Many("ADDR", Address),
                "UDP socket on [HOST:]PORT",
            ),
            spec(
                'i',
                "inet",
                Many("ADDR", Address),
                "internet socket of the style -s or -d",
            ),
            spec(
                'l',
                "unix",
                Many("PATH", File),
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
                Many("[CID:]PORT", Free),
                "vsock stream listener [any CID]",
            ),
            spec('4', "ipv4", Nothing, "IPv4 only"),
            spec('6', "ipv6", Nothing, "IPv6 only"),
            spec(
                NONE,
                "adopt",
                Many("WHAT", Adopted),
                "take stdin, fd:N, s6[:ID] or listen-fds[:NAME]",
            ),
            spec('0', "", Nothing, "the same as --adopt stdin"),
            spec(NONE, "no-adopt", Nothing, "ignore LISTEN_FDS"),
            spec(
                'b',
                "backlog",
                One("N", Free),
                "clients that may wait [4096]",
            ),
            spec(
                'n',
                "nodelay",
                Nothing,
                "TCP_NODELAY on every TCP connection",
            ),
            spec(
                NONE,
                "mode",
                One("OCTAL", Free),
                "mode of unix socket files [umask]",
            ),
            spec(
                NONE,
                "owner",
                One("USER[:GROUP]", User),
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
                One("IF", Interface),
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
                One("SECS", Free),
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
                One("N", Free),
                "children at once; more clients wait [no limit]",
            ),
            spec(
                'C',
                "max-per-source",
                One("N", Free),
                "children at once of one source [no limit]",
            ),
            spec(
                'r',
                "refuse",
                One("MESSAGE", Free),
                "send MESSAGE to whom a limit keeps out",
            ),
            spec(
                NONE,
                "rate",
                One("N/SECS", Free),
                "let in N per SECS; more clients wait",
            ),
            spec(
                NONE,
                "rate-per-source",
                One("N/SECS", Free),
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
                One("HOW", Pass),
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
                One("SECS", Free),
                "exit 0 after SECS without a connection",
            ),
            spec(
                NONE,
                "drain",
                One("SECS", Free),
                "wait so long for children when told to stop",
            ),
        ],
    ),
    (
        "Admission",
        &[
            spec(NONE, "allow", Many("LIST", Free), "let in only these peers"),
            spec(
                NONE,
                "deny",
                Many("LIST", Free),
                "let in none of these peers",
            ),
            spec(
                NONE,
                "rules",
                One("FILE", File),
                "let in whom these rules allow, skd-rules(5)",
            ),
            spec(
                NONE,
                "proxy-from",
                One("LIST", Free),
                "peers that begin with a PROXY header",
            ),
            spec(
                NONE,
                "proxy-timeout",
                One("SECS", Free),
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
                One("SECS", Free),
                "for all look-ups together [5]",
            ),
            spec(
                NONE,
                "check-peer",
                One("PEER", Free),
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
            spec(NONE, "user", One("USER[:GROUP]", User), "become this user"),
            spec(
                NONE,
                "groups",
                One("LIST", Groups),
                "have these supplementary groups",
            ),
            spec(NONE, "chroot", One("DIR", Folder), "change the root folder"),
            spec(
                NONE,
                "chdir",
                One("DIR", Folder),
                "change the working folder",
            ),
            spec(
                NONE,
                "umask",
                One("OCTAL", Free),
                "set the umask, after binding",
            ),
            spec(
                NONE,
                "no-new-privs",
                Nothing,
                "no setuid program gains anything",
            ),
            spec(NONE, "proto", One("NAME", Free), "the value of PROTO"),
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
            spec(
                'P',
                "pidfile",
                One("FILE", File),
                "write and lock the pid there",
            ),
            spec(
                'L',
                "log",
                One("SPEC", Log),
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
                More,
                "log every connection; -vv: also what skd does",
            ),
            spec('q', "quiet", Nothing, "log fatal errors only"),
            spec(
                NONE,
                "log-format",
                One("FORMAT", Format),
                "lines are text or json [text]",
            ),
            spec(
                NONE,
                "ready-fd",
                One("N", Free),
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
                One("ADDR|PATH", AddressOrFile),
                "answer HTTP GET /metrics there",
            ),
            spec(
                NONE,
                "inetd-conf",
                One("FILE", File),
                "serve the services of an inetd.conf(5)",
            ),
            spec(
                NONE,
                "check",
                Nothing,
                "read everything, bind and start nothing",
            ),
            spec(
                NONE,
                "completion",
                One("SHELL", Shell),
                "print the completions of bash, zsh or fish",
            ),
            spec('h', "help", Nothing, "print this help"),
            spec('V', "version", Nothing, "print the version"),
        ],
    ),
];
