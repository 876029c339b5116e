//! Makes the sockets that were asked for by address.

use crate::listen::resolve::{self, Addresses};
use crate::listen::unixfile::{self, Access, socket_type, sun_path};
use crate::listen::{Listener, adopt};
use crate::model::address::{Family, Label, Named, Place, Port, Style, UnixName, unmapped};
use crate::model::error::Fatal;
use crate::model::service::{Making, Owner};
use crate::model::text::Quoted;
use crate::sys::errno::Errno;
use crate::sys::sockaddr::SockAddr;
use crate::sys::{names, socket};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// How sockets are made: what all of them have in common.
pub(crate) struct Manner {
    backlog: i32,
    access: Access,
}

impl Manner {
    /// Looks up the owner.
    ///
    /// # Errors
    /// 100 for an unknown user or group.
    pub(crate) fn of(making: &Making) -> Result<Self, Fatal> {
        let owner = making.owner.as_ref().map(owner_ids).transpose()?;
        Ok(Self {
            backlog: making.backlog,
            access: Access {
                mode: making.mode,
                owner,
            },
        })
    }
}

/// uid and, if a group was named, gid; names first, then numbers, as chown(1) does.
fn owner_ids(owner: &Owner) -> Result<(u32, Option<u32>), Fatal> {
    // The highest number means "leave as it is" to chown(2).
    let number = |text: &str| {
        text.parse()
            .ok()
            .filter(|id| *id != u32::MAX && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let unknown = |what: &str, name: &str| {
        Fatal::usage(format!(
            "--owner: there is no {what} {}",
            Quoted(name.as_bytes())
        ))
    };
    let uid = match names::user(&owner.user) {
        Some((uid, _)) => uid,
        None => number(&owner.user).ok_or_else(|| unknown("user", &owner.user))?,
    };
    let gid = match &owner.group {
        None => None,
        Some(group) => {
            let gid = names::group(group).or_else(|| number(group));
            Some(gid.ok_or_else(|| unknown("group", group))?)
        }
    };
    Ok((uid, gid))
}

/// One address of the command line with its names looked up.
pub(crate) enum Wanted {
    Inet {
        style: Style,
        addresses: Addresses,
        port_is_open: bool,
    },
    Unix {
        style: Style,
        name: UnixName,
    },
}

/// What came of one address of the command line.
pub(crate) struct Made {
    /// New ones only: what an inherited socket satisfies is not here.
    pub(crate) listeners: Vec<Listener>,
    /// The port of an internet address.
    pub(crate) port: Option<u16>,
    /// Port 0 was asked for.
    pub(crate) port_was_open: bool,
}

impl Wanted {
    /// Looks up names, and looks at what lies at a unix path.
    ///
    /// # Errors
    /// As `listen::prepare`.
    pub(crate) fn of(named: &Named, family: Family) -> Result<Self, Fatal> {
        match named {
            Named::Inet { style, host, port } => {
                let addresses = resolve::addresses(*style, host, port, family)?;
                Ok(Self::Inet {
                    style: *style,
                    addresses,
                    port_is_open: *port == Port::Number(0),
                })
            }
            Named::Unix { style, name } => {
                if let UnixName::Path(path) = name {
                    let label = Label::new(*style, &Place::Unix(Some(name.clone())));
                    unixfile::look(path)
                        .map_err(|refusal| Fatal::unable(format!("bind {label}"), refusal))?;
                }
                Ok(Self::Unix {
                    style: *style,
                    name: name.clone(),
                })
            }
        }
    }

    /// Binds what no inherited socket satisfies.
    ///
    /// # Errors
    /// 111, naming the address.
    pub(crate) fn make(self, manner: &Manner, inherited: &[Listener]) -> Result<Made, Fatal> {
        match self {
            Self::Unix { style, name } => {
                let place = Place::Unix(Some(name.clone()));
                let listeners = if satisfied(inherited, style, &place) {
                    vec![]
                } else {
                    vec![unix(manner, style, name)?]
                };
                Ok(Made {
                    listeners,
                    port: None,
                    port_was_open: false,
                })
            }
            Self::Inet {
                style,
                addresses,
                port_is_open,
            } => {
                let inherited = if port_is_open { &[] } else { inherited };
                let (listeners, port) = match addresses {
                    Addresses::Every(port) => every(manner, style, port, inherited)?,
                    Addresses::Listed(addresses) => listed(manner, style, &addresses, inherited)?,
                };
                Ok(Made {
                    listeners,
                    port: Some(port),
                    port_was_open: port_is_open,
                })
            }
        }
    }
}

/// Whether an inherited socket is of this type and has this local address.
fn satisfied(inherited: &[Listener], style: Style, place: &Place) -> bool {
    inherited
        .iter()
        .any(|listener| listener.style == style && listener.place == *place)
}

/// One dual-stack socket on every address, or one for IPv4 where there is no IPv6.
fn every(
    manner: &Manner,
    style: Style,
    port: u16,
    inherited: &[Listener],
) -> Result<(Vec<Listener>, u16), Fatal> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    if satisfied(inherited, style, &Place::Inet(v6)) {
        return Ok((vec![], port));
    }
    // Where somebody else made the IPv4 half, only the other half is left to be made.
    let v6_only = satisfied(inherited, style, &Place::Inet(v4));
    match inet(manner, style, v6, v6_only) {
        Ok(listener) => with_port(vec![listener], port),
        Err(Errno::FAMILY_NOT_SUPPORTED | Errno::ADDRESS_NOT_AVAILABLE) => {
            listed(manner, style, &[v4], inherited)
        }
        Err(errno) => Err(unable_to_bind(style, v6, errno)),
    }
}

/// One socket on each address; where the first was given a port by the kernel, the others take the same.
fn listed(
    manner: &Manner,
    style: Style,
    addresses: &[SocketAddr],
    inherited: &[Listener],
) -> Result<(Vec<Listener>, u16), Fatal> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut port = addresses.first().map_or(0, SocketAddr::port);
    for address in addresses {
        let address = with_same_port(*address, port);
        if satisfied(inherited, style, &Place::Inet(unmapped(address))) {
            continue;
        }
        let listener = inet(manner, style, address, true)
            .map_err(|errno| unable_to_bind(style, address, errno))?;
        port = listener.place.inet_port().unwrap_or(port);
        listeners.push(listener);
    }
    with_port(listeners, port)
}

fn with_same_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn with_port(listeners: Vec<Listener>, port: u16) -> Result<(Vec<Listener>, u16), Fatal> {
    let port = listeners
        .first()
        .and_then(|listener| listener.place.inet_port())
        .unwrap_or(port);
    Ok((listeners, port))
}

fn unable_to_bind(style: Style, address: SocketAddr, errno: Errno) -> Fatal {
    Fatal::unable(
        format!("bind {}", Label::new(style, &Place::Inet(address))),
        errno,
    )
}

/// SO_REUSEADDR is for TCP alone: on UDP it would let a second server take over the port.
fn inet(
    manner: &Manner,
    style: Style,
    address: SocketAddr,
    v6_only: bool,
) -> Result<Listener, Errno> {
    // An IPv4-mapped address is bound as the IPv4 address it is: an IPv6-only socket could not have it.
    let address = unmapped(address);
    let domain = if address.is_ipv4() {
        socket::AF_INET
    } else {
        socket::AF_INET6
    };
    let made = socket::make(domain, socket_type(style))?;
    if address.is_ipv6() {
        socket::set_v6_only(&made, v6_only)?;
    }
    if style != Style::Datagram {
        socket::set_reuse_address(&made)?;
    }
    socket::bind(&made, &SockAddr::inet(address))?;
    listening(manner, style, made)
}

fn unix(manner: &Manner, style: Style, name: UnixName) -> Result<Listener, Fatal> {
    let place = Place::Unix(Some(name));
    let label = Label::new(style, &place);
    let unable = |reason: &dyn std::fmt::Display| Fatal::unable(format!("bind {label}"), reason);
    let made = socket::make(socket::AF_UNIX, socket_type(style)).map_err(|errno| unable(&errno))?;
    let file = match &place {
        Place::Unix(Some(UnixName::Path(path))) => Some(
            unixfile::bind(&made, style, path, manner.access)
                .map_err(|refusal| unable(&refusal))?,
        ),
        Place::Unix(Some(name)) => {
            let address =
                SockAddr::unix(&sun_path(name)).ok_or_else(|| unable(&Errno::NAME_TOO_LONG))?;
            socket::bind(&made, &address).map_err(|errno| unable(&errno))?;
            None
        }
        Place::Unix(None) | Place::Inet(_) | Place::Vsock { .. } => None,
    };
    let listener = listening(manner, style, made).map_err(|errno| unable(&errno))?;
    // The path as it was typed: the kernel has the same bytes.
    Ok(Listener {
        file,
        place,
        label,
        ..listener
    })
}

fn listening(manner: &Manner, style: Style, made: OwnedFd) -> Result<Listener, Errno> {
    if style != Style::Datagram {
        socket::listen(&made, manner.backlog)?;
    }
    adopt::listener(made, style)
}
