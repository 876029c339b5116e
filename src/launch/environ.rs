//! What a connection adds to the child's environment; pure.

use crate::launch::variables::Variables;
use crate::model::address::{Place, UnixName};
use crate::model::peer::Credentials;
use crate::model::service::Proto;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

/// What a connection or datagram tells the program. `None` is unknown, and unset.
#[derive(Clone, Debug)]
pub(crate) enum Facts<'a> {
    /// TCP; the addresses are of one family and never IPv4-mapped.
    Tcp {
        local: Option<SocketAddr>,
        remote: SocketAddr,
        /// The interface of a link-local peer.
        interface: Option<&'a [u8]>,
        number: u32,
    },
    /// A unix stream or seqpacket connection.
    Unix {
        local: Option<&'a UnixName>,
        remote: Option<&'a UnixName>,
        credentials: Option<Credentials>,
        number: u32,
    },
    Vsock {
        local: Option<(u32, u32)>,
        remote: (u32, u32),
        number: u32,
    },
    /// A datagram's destination and sender.
    Udp {
        local_ip: Option<IpAddr>,
        local_port: u16,
        remote: Option<SocketAddr>,
    },
    UnixDatagram {
        local: Option<&'a UnixName>,
        remote: Option<&'a UnixName>,
    },
    /// A listener that a program has to itself: what its connections will have in common.
    Listener(&'a Place),
}

/// Appends the connection's variables to `out`, as `NAME=VALUE` each ended by NUL. Nothing is allocated while `out`
/// has room.
pub(crate) fn describe(facts: &Facts<'_>, proto: &Proto, out: &mut Vec<u8>) {
    let Some(name) = name_of(facts, proto.tcp6) else {
        return;
    };
    let mut out = Variables(out);
    let given = proto.name.as_ref().map(|name| name.as_bytes());
    out.bytes("PROTO", given.unwrap_or(name.as_bytes()));
    match facts {
        Facts::Tcp {
            local,
            remote,
            interface,
            number,
        } => out.tcp(*local, *remote, *interface, *number),
        Facts::Unix {
            local,
            remote,
            credentials,
            number,
        } => out.unix(*local, *remote, *credentials, *number),
        Facts::Vsock {
            local,
            remote,
            number,
        } => {
            if let Some((cid, port)) = local {
                out.number("VSOCKLOCALCID", *cid);
                out.number("VSOCKLOCALPORT", *port);
            }
            out.number("VSOCKREMOTECID", remote.0);
            out.number("VSOCKREMOTEPORT", remote.1);
            out.number("VSOCKCONNNUM", *number);
        }
        Facts::Udp {
            local_ip,
            local_port,
            remote,
        } => {
            if let Some(ip) = local_ip {
                out.ip("UDPLOCALIP", *ip);
            }
            out.number("UDPLOCALPORT", u32::from(*local_port));
            if let Some(remote) = remote {
                out.address("UDPREMOTEIP", "UDPREMOTEPORT", *remote);
                out.address("REMOTE_ADDR", "REMOTE_PORT", *remote);
            }
        }
        Facts::UnixDatagram { local, remote } => {
            out.name("UNIXLOCALPATH", *local);
            out.name("UNIXREMOTEPATH", *remote);
        }
        Facts::Listener(place) => out.listener(place),
    }
}

/// The value of PROTO; what is no socket that anybody connects to has none.
fn name_of(facts: &Facts<'_>, tcp6: bool) -> Option<&'static str> {
    let tcp = |address: &SocketAddr| {
        if tcp6 && address.is_ipv6() {
            "TCP6"
        } else {
            "TCP"
        }
    };
    Some(match facts {
        Facts::Tcp { remote, .. } => tcp(remote),
        Facts::Unix { .. } | Facts::UnixDatagram { .. } => "UNIX",
        Facts::Vsock { .. } => "VSOCK",
        Facts::Udp { .. } => "UDP",
        Facts::Listener(Place::Inet(address)) => tcp(address),
        Facts::Listener(Place::Unix(_)) => "UNIX",
        Facts::Listener(Place::Vsock { .. }) => "VSOCK",
        Facts::Listener(Place::Readable { .. }) => return None,
    })
}

/// What a program that gets listeners from descriptor 3 on is told of them, besides LISTEN_PID; `names` are those of
/// LISTEN_FDNAMES, joined.
pub(crate) fn describe_passed(count: u32, names: &[u8], out: &mut Vec<u8>) {
    let mut out = Variables(out);
    out.number("LISTEN_FDS", count);
    out.bytes("LISTEN_FDNAMES", names);
}

/// Where a new skd finds the state of the one before.
pub(crate) fn describe_state(number: i32, out: &mut Vec<u8>) {
    Variables(out).number("SKD_STATE", number.cast_unsigned());
}

/// LISTEN_PID, where it is known before the program is started: it takes the place of the process `pid`.
pub(crate) fn describe_receiver(pid: i32, out: &mut Vec<u8>) {
    Variables(out).number("LISTEN_PID", pid.cast_unsigned());
}

impl Variables<'_> {
    fn tcp(
        &mut self,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        interface: Option<&[u8]>,
        number: u32,
    ) {
        if let Some(local) = local {
            self.address("TCPLOCALIP", "TCPLOCALPORT", local);
        }
        self.address("TCPREMOTEIP", "TCPREMOTEPORT", remote);
        self.number("TCPCONNNUM", number);
        self.address("REMOTE_ADDR", "REMOTE_PORT", remote);
        if remote.is_ipv6() {
            if let Some(local) = local {
                self.address("TCP6LOCALIP", "TCP6LOCALPORT", local);
            }
            self.address("TCP6REMOTEIP", "TCP6REMOTEPORT", remote);
            if let Some(interface) = interface {
                self.bytes("TCP6INTERFACE", interface);
            }
        }
    }

    fn unix(
        &mut self,
        local: Option<&UnixName>,
        remote: Option<&UnixName>,
        who: Option<Credentials>,
        number: u32,
    ) {
        for (local_name, remote_name) in [
            ("UNIXLOCALPATH", "UNIXREMOTEPATH"),
            ("IPCLOCALPATH", "IPCREMOTEPATH"),
        ] {
            self.name(local_name, local);
            self.name(remote_name, remote);
        }
        if let Some(Credentials { pid, uid, gid }) = who {
            for name in ["UNIXREMOTEEUID", "IPCREMOTEEUID", "PEERUID"] {
                self.number(name, uid);
            }
            for name in ["UNIXREMOTEEGID", "IPCREMOTEEGID", "PEERGID"] {
                self.number(name, gid);
            }
            // 0 is a process that we cannot see from our pid namespace.
            if let Some(pid) = u32::try_from(pid).ok().filter(|pid| *pid != 0) {
                self.number("UNIXREMOTEPID", pid);
                self.number("PEERPID", pid);
            }
        }
        self.number("UNIXCONNNUM", number);
        self.number("IPCCONNNUM", number);
    }

    /// An address of every host, and any CID, are no address of a connection.
    fn listener(&mut self, place: &Place) {
        match place {
            Place::Inet(local) => {
                let families: &[[&str; 2]] = match local {
                    SocketAddr::V4(_) => &[["TCPLOCALIP", "TCPLOCALPORT"]],
                    SocketAddr::V6(_) => &[
                        ["TCPLOCALIP", "TCPLOCALPORT"],
                        ["TCP6LOCALIP", "TCP6LOCALPORT"],
                    ],
                };
                for [ip, port] in families {
                    if !place.is_wildcard() {
                        self.ip(ip, local.ip());
                    }
                    self.number(port, u32::from(local.port()));
                }
            }
            Place::Unix(local) => {
                self.name("UNIXLOCALPATH", local.as_ref());
                self.name("IPCLOCALPATH", local.as_ref());
            }
            Place::Vsock { cid, port } => {
                if !place.is_wildcard() {
                    self.number("VSOCKLOCALCID", *cid);
                }
                self.number("VSOCKLOCALPORT", *port);
            }
            Place::Readable { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variables in the order written, one a word.
    fn described(facts: &Facts<'_>, proto: &Proto) -> String {
        let mut out = Vec::new();
        describe(facts, proto, &mut out);
        assert_eq!(out.pop(), Some(0));
        String::from_utf8(out).unwrap().replace('\0', " ")
    }

    fn plain(facts: &Facts<'_>) -> String {
        described(facts, &Proto::default())
    }

    fn tcp(local: &str, remote: &str) -> Facts<'static> {
        Facts::Tcp {
            local: (!local.is_empty()).then(|| local.parse().unwrap()),
            remote: remote.parse().unwrap(),
            interface: None,
            number: 3,
        }
    }

    #[test]
    fn tcp_over_ipv4_has_one_family_of_variables() {
        assert_eq!(
            plain(&tcp("192.0.2.1:25", "192.0.2.7:4711")),
            "PROTO=TCP TCPLOCALIP=192.0.2.1 TCPLOCALPORT=25 TCPREMOTEIP=192.0.2.7 TCPREMOTEPORT=4711 TCPCONNNUM=3 \
             REMOTE_ADDR=192.0.2.7 REMOTE_PORT=4711"
        );
        assert_eq!(
            plain(&tcp("", "192.0.2.7:4711")),
            "PROTO=TCP TCPREMOTEIP=192.0.2.7 TCPREMOTEPORT=4711 TCPCONNNUM=3 REMOTE_ADDR=192.0.2.7 REMOTE_PORT=4711"
        );
    }

    #[test]
    fn tcp_over_ipv6_has_both_families_and_no_scope() {
        let text = "TCPLOCALIP=2001:db8::1 TCPLOCALPORT=25 TCPREMOTEIP=2001:db8:0:1:1:1:1:1 TCPREMOTEPORT=4711 TCPCONNNUM=3 \
                    REMOTE_ADDR=2001:db8:0:1:1:1:1:1 REMOTE_PORT=4711 TCP6LOCALIP=2001:db8::1 TCP6LOCALPORT=25 \
                    TCP6REMOTEIP=2001:db8:0:1:1:1:1:1 TCP6REMOTEPORT=4711";
        let facts = tcp("[2001:db8::1]:25", "[2001:db8:0:1:1:1:1:1]:4711");
        assert_eq!(plain(&facts), format!("PROTO=TCP {text}"));
        let tcp6 = Proto {
            name: None,
            tcp6: true,
        };
        assert_eq!(described(&facts, &tcp6), format!("PROTO=TCP6 {text}"));
        let named = Proto {
            name: Some("SSL".into()),
            tcp6: true,
        };
        assert_eq!(described(&facts, &named), format!("PROTO=SSL {text}"));
        assert!(described(&tcp("", "192.0.2.7:1"), &tcp6).starts_with("PROTO=TCP "));
        let link_local = Facts::Tcp {
            local: None,
            remote: "[fe80::1%2]:9".parse().unwrap(),
            interface: Some(b"eth0"),
            number: 1,
        };
        assert_eq!(
            plain(&link_local),
            "PROTO=TCP TCPREMOTEIP=fe80::1 TCPREMOTEPORT=9 TCPCONNNUM=1 REMOTE_ADDR=fe80::1 REMOTE_PORT=9 \
             TCP6REMOTEIP=fe80::1 TCP6REMOTEPORT=9 TCP6INTERFACE=eth0"
        );
    }

    #[test]
    fn unix_connections_have_three_names_for_who_is_there() {
        let local = UnixName::from_sun_path(b"/run/echo").unwrap();
        let remote = UnixName::from_sun_path(b"\0me\0too").unwrap();
        let who = |pid| {
            Some(Credentials {
                pid,
                uid: 1000,
                gid: 100,
            })
        };
        let whole = Facts::Unix {
            local: Some(&local),
            remote: Some(&remote),
            credentials: who(77),
            number: 2,
        };
        assert_eq!(
            plain(&whole),
            "PROTO=UNIX UNIXLOCALPATH=/run/echo UNIXREMOTEPATH=@me@too IPCLOCALPATH=/run/echo IPCREMOTEPATH=@me@too \
             UNIXREMOTEEUID=1000 IPCREMOTEEUID=1000 PEERUID=1000 UNIXREMOTEEGID=100 IPCREMOTEEGID=100 PEERGID=100 \
             UNIXREMOTEPID=77 PEERPID=77 UNIXCONNNUM=2 IPCCONNNUM=2"
        );
        let far = Facts::Unix {
            local: None,
            remote: None,
            credentials: who(0),
            number: 1,
        };
        assert_eq!(
            plain(&far),
            "PROTO=UNIX UNIXREMOTEEUID=1000 IPCREMOTEEUID=1000 PEERUID=1000 UNIXREMOTEEGID=100 IPCREMOTEEGID=100 \
             PEERGID=100 UNIXCONNNUM=1 IPCCONNNUM=1"
        );
        let unknown = Facts::Unix {
            local: None,
            remote: None,
            credentials: None,
            number: 1,
        };
        assert_eq!(plain(&unknown), "PROTO=UNIX UNIXCONNNUM=1 IPCCONNNUM=1");
    }

    #[test]
    fn vsock_and_datagrams_have_what_is_known() {
        assert_eq!(
            plain(&Facts::Vsock {
                local: Some((2, 25)),
                remote: (3, 4711),
                number: 1
            }),
            "PROTO=VSOCK VSOCKLOCALCID=2 VSOCKLOCALPORT=25 VSOCKREMOTECID=3 VSOCKREMOTEPORT=4711 VSOCKCONNNUM=1"
        );
        let remote = Some("[2001:db8::7]:4711".parse().unwrap());
        assert_eq!(
            plain(&Facts::Udp {
                local_ip: Some("2001:db8::1".parse().unwrap()),
                local_port: 69,
                remote
            }),
            "PROTO=UDP UDPLOCALIP=2001:db8::1 UDPLOCALPORT=69 UDPREMOTEIP=2001:db8::7 UDPREMOTEPORT=4711 \
             REMOTE_ADDR=2001:db8::7 REMOTE_PORT=4711"
        );
        let unknown = Facts::Udp {
            local_ip: None,
            local_port: 69,
            remote: None,
        };
        assert_eq!(plain(&unknown), "PROTO=UDP UDPLOCALPORT=69");
        let local = UnixName::from_sun_path(b"/run/log").unwrap();
        let unnamed = Facts::UnixDatagram {
            local: Some(&local),
            remote: None,
        };
        assert_eq!(plain(&unnamed), "PROTO=UNIX UNIXLOCALPATH=/run/log");
        let named = Facts::UnixDatagram {
            local: None,
            remote: Some(&local),
        };
        assert_eq!(plain(&named), "PROTO=UNIX UNIXREMOTEPATH=/run/log");
    }

    #[test]
    fn a_listener_has_what_its_connections_have_in_common() {
        let inet = |text: &str| Place::Inet(text.parse().unwrap());
        let readable = Place::Readable {
            kind: "fifo",
            name: (*b"/run/x").into(),
        };
        let table = [
            (
                inet("192.0.2.1:25"),
                "PROTO=TCP TCPLOCALIP=192.0.2.1 TCPLOCALPORT=25",
            ),
            (inet("0.0.0.0:25"), "PROTO=TCP TCPLOCALPORT=25"),
            (
                inet("[2001:db8::1]:25"),
                "PROTO=TCP6 TCPLOCALIP=2001:db8::1 TCPLOCALPORT=25 TCP6LOCALIP=2001:db8::1 TCP6LOCALPORT=25",
            ),
            (
                inet("[::]:25"),
                "PROTO=TCP6 TCPLOCALPORT=25 TCP6LOCALPORT=25",
            ),
            (
                Place::Unix(UnixName::from_sun_path(b"/run/x")),
                "PROTO=UNIX UNIXLOCALPATH=/run/x IPCLOCALPATH=/run/x",
            ),
            (Place::Unix(None), "PROTO=UNIX"),
            (
                Place::Vsock { cid: 3, port: 25 },
                "PROTO=VSOCK VSOCKLOCALCID=3 VSOCKLOCALPORT=25",
            ),
            (
                Place::Vsock {
                    cid: u32::MAX,
                    port: 25,
                },
                "PROTO=VSOCK VSOCKLOCALPORT=25",
            ),
        ];
        let tcp6 = Proto {
            name: None,
            tcp6: true,
        };
        for (place, expected) in table {
            assert_eq!(described(&Facts::Listener(&place), &tcp6), expected);
        }
        let mut out = Vec::new();
        describe(&Facts::Listener(&readable), &tcp6, &mut out);
        assert_eq!(out, b"");
        describe_passed(2, b"web:unknown", &mut out);
        describe_receiver(42, &mut out);
        let expected = b"LISTEN_FDS=2\0LISTEN_FDNAMES=web:unknown\0LISTEN_PID=42\0";
        assert_eq!(out, expected);
    }
}
