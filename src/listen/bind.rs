//! Makes the sockets that were asked for by address.

use crate::listen::bindoptions::BindOptions;
use crate::listen::open::{self, Refused};
use crate::listen::resolve::{self, Addresses};
use crate::listen::unixfile::{self, Refusal, socket_type, sun_path};
use crate::listen::{Listener, adopt};
use crate::model::address::{Family, Label, Named, Place, Port, Style, UnixName, unmapped};
use crate::model::error::Fatal;
use crate::sys::errno::Errno;
use crate::sys::sockaddr::SockAddr;
use crate::sys::{socket, sockopt};
use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

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
    Vsock {
        cid: u32,
        port: u32,
    },
}

/// What came of one address of the command line.
#[derive(Default)]
pub(crate) struct Made {
    /// New ones only: what an inherited socket satisfies is not here.
    pub(crate) listeners: Vec<Listener>,
    /// The port of an internet address.
    pub(crate) port: Option<u16>,
    /// Port 0 was asked for.
    pub(crate) port_was_open: bool,
}

impl Made {
    fn one(listener: Listener) -> Self {
        Self {
            listeners: vec![listener],
            ..Self::default()
        }
    }
}

impl Wanted {
    /// Looks up names, looks at what lies at a unix path, and tries out what the kernel may not have.
    ///
    /// # Errors
    /// As `listen::prepare`.
    pub(crate) fn of(
        named: &Named,
        family: Family,
        options: &BindOptions,
        inherited: &[Listener],
    ) -> Result<Self, Fatal> {
        match named {
            Named::Inet {
                option,
                style,
                host,
                port,
            } => {
                let addresses =
                    resolve::addresses((option, *style), host, port, family, &options.hosts)?;
                try_out(options, *style, &addresses, inherited)?;
                Ok(Self::Inet {
                    style: *style,
                    addresses,
                    port_is_open: *port == Port::Number(0),
                })
            }
            Named::Unix { style, name } => {
                let place = Place::Unix(Some(name.clone()));
                let is_satisfied = satisfying(inherited, *style, &place).is_some();
                if let (UnixName::Path(path), false) = (name, is_satisfied) {
                    unixfile::look(path).map_err(|refusal| unable(*style, &place, refusal))?;
                }
                Ok(Self::Unix {
                    style: *style,
                    name: name.clone(),
                })
            }
            Named::Vsock { cid, port } => {
                let (cid, port) = (*cid, *port);
                let place = Place::Vsock { cid, port };
                if satisfying(inherited, Style::Stream, &place).is_none() {
                    // Whether the kernel has vsock at all is known without binding.
                    open_vsock().map_err(|errno| unable(Style::Stream, &place, errno))?;
                }
                Ok(Self::Vsock { cid, port })
            }
        }
    }

    /// The internet addresses on which somebody is heard here; one socket may have two of them.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Inet { addresses, .. } => match addresses {
                Addresses::Every(port) => vec![
                    (Ipv6Addr::UNSPECIFIED, *port).into(),
                    (Ipv4Addr::UNSPECIFIED, *port).into(),
                ],
                Addresses::Listed(all) => all.iter().copied().map(unmapped).collect(),
            },
            Self::Unix { .. } | Self::Vsock { .. } => Vec::new(),
        }
    }

    /// Whether an inherited socket is what is wanted here.
    pub(crate) fn is_satisfied_by(&self, inherited: &Listener) -> bool {
        let (style, has_place) = match self {
            Self::Unix { style, name } => {
                let place = Place::Unix(Some(name.clone()));
                (*style, inherited.place == place)
            }
            Self::Vsock { cid, port } => {
                let (cid, port) = (*cid, *port);
                let place = Place::Vsock { cid, port };
                (Style::Stream, inherited.place == place)
            }
            Self::Inet {
                port_is_open: true, ..
            } => return false,
            Self::Inet {
                style, addresses, ..
            } => {
                let is_it =
                    |address: &SocketAddr| inherited.place == Place::Inet(unmapped(*address));
                let has_place = match addresses {
                    Addresses::Every(port) => {
                        inherited.place.is_wildcard() && inherited.place.inet_port() == Some(*port)
                    }
                    Addresses::Listed(addresses) => addresses.iter().any(is_it),
                };
                (*style, has_place)
            }
        };
        inherited.style == style && has_place
    }

    /// The places among these of sockets that together are all that is wanted here, and no more; none, if anything is
    /// missing.
    pub(crate) fn all_among<'a>(
        &self,
        sockets: impl Iterator<Item = (usize, &'a Listener)> + Clone,
    ) -> Vec<usize> {
        let find = |address: SocketAddr, v6_only: bool| {
            let place = Place::Inet(unmapped(address));
            let is_it = |(_, it): &(usize, &Listener)| {
                self.is_satisfied_by(it)
                    && it.place == place
                    && (!address.is_ipv6() || it.is_v6_only == v6_only || !place.is_wildcard())
            };
            sockets.clone().find(is_it).map(|(number, _)| number)
        };
        let all: Option<Vec<usize>> = match self {
            Self::Inet { addresses, .. } => match addresses {
                Addresses::Listed(all) => all.iter().map(|it| find(*it, true)).collect(),
                Addresses::Every(port) => {
                    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
                    find(v6, false).map(|number| vec![number])
                }
            },
            Self::Unix { .. } | Self::Vsock { .. } => {
                let mut fitting = sockets.filter(|(_, it)| self.is_satisfied_by(it));
                fitting.next().map(|(number, _)| vec![number])
            }
        };
        all.unwrap_or_default()
    }

    /// Binds what no inherited socket satisfies.
    ///
    /// # Errors
    /// 111, naming the address.
    pub(crate) fn make(self, options: &BindOptions, inherited: &[Listener]) -> Result<Made, Fatal> {
        match self {
            Self::Unix { style, name } => {
                let place = Place::Unix(Some(name.clone()));
                if satisfying(inherited, style, &place).is_some() {
                    return Ok(Made::default());
                }
                unix(options, style, name).map(Made::one)
            }
            Self::Vsock { cid, port } => {
                let place = Place::Vsock { cid, port };
                if satisfying(inherited, Style::Stream, &place).is_some() {
                    return Ok(Made::default());
                }
                let made = vsock(options, cid, port);
                made.map(Made::one)
                    .map_err(|errno| unable(Style::Stream, &place, errno))
            }
            Self::Inet {
                style,
                addresses,
                port_is_open,
            } => {
                let inherited = if port_is_open { &[] } else { inherited };
                let (listeners, port) = match addresses {
                    Addresses::Every(port) => every(options, style, port, inherited)?,
                    Addresses::Listed(addresses) => listed(options, style, &addresses, inherited)?,
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

/// The inherited socket that is of this type and has this local address.
fn satisfying<'a>(inherited: &'a [Listener], style: Style, place: &Place) -> Option<&'a Listener> {
    let is_it = |listener: &&Listener| listener.style == style && listener.place == *place;
    inherited.iter().find(is_it)
}

/// One dual-stack socket on every address, or one for IPv4 where there is no IPv6; where one half was inherited, just
/// the other.
fn every(
    options: &BindOptions,
    style: Style,
    port: u16,
    inherited: &[Listener],
) -> Result<(Vec<Listener>, u16), Fatal> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    if let Some(half) = satisfying(inherited, style, &Place::Inet(v6)) {
        return match half.is_v6_only {
            true => listed(options, style, &[v4], inherited),
            false => Ok((vec![], port)),
        };
    }
    let v6_only = satisfying(inherited, style, &Place::Inet(v4)).is_some();
    match inet(options, style, v6, v6_only, port == 0) {
        Ok(listener) => {
            let port = listener.place.inet_port().unwrap_or(port);
            Ok((vec![listener], port))
        }
        Err(Refused {
            errno: Errno::FAMILY_NOT_SUPPORTED | Errno::ADDRESS_NOT_AVAILABLE,
            ..
        }) => listed(options, style, &[v4], inherited),
        Err(refused) => Err(unable_as_asked(style, v6, refused)),
    }
}

/// How often the kernel is asked for a port that is free on every address of a name.
const PORT_TRIES: usize = 100;

/// One socket on each address; where the first was given a port by the kernel, the others take the same, and another
/// is asked for if one of them cannot have it.
fn listed(
    options: &BindOptions,
    style: Style,
    addresses: &[SocketAddr],
    inherited: &[Listener],
) -> Result<(Vec<Listener>, u16), Fatal> {
    let is_open = addresses.first().is_some_and(|address| address.port() == 0);
    let mut tries = if is_open { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match listed_once(options, style, addresses, inherited) {
            Err((_, refused)) if refused.errno == Errno::ADDRESS_IN_USE && tries > 0 => {}
            Err((address, refused)) => return Err(unable_as_asked(style, address, refused)),
            Ok(made) => return Ok(made),
        }
    }
}

/// The same with one port; an error names the address.
fn listed_once(
    options: &BindOptions,
    style: Style,
    addresses: &[SocketAddr],
    inherited: &[Listener],
) -> Result<(Vec<Listener>, u16), (SocketAddr, Refused)> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut port = addresses.first().map_or(0, SocketAddr::port);
    let is_open = port == 0;
    for address in addresses {
        let address = with_same_port(*address, port);
        if satisfying(inherited, style, &Place::Inet(unmapped(address))).is_some() {
            continue;
        }
        let listener =
            inet(options, style, address, true, is_open).map_err(|refused| (address, refused))?;
        port = listener.place.inet_port().unwrap_or(port);
        listeners.push(listener);
    }
    Ok((listeners, port))
}

fn with_same_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn unable(style: Style, place: &Place, reason: impl Display) -> Fatal {
    Fatal::unable(format!("bind {}", Label::new(style, place)), reason)
}

/// The same with the option that the kernel refused.
fn unable_as_asked(style: Style, address: SocketAddr, refused: Refused) -> Fatal {
    let label = Label::new(style, &Place::Inet(address));
    unable_with(&label, refused.option, refused.errno)
}

fn unable_with(label: &Label, option: Option<String>, errno: Errno) -> Fatal {
    let with = option.map(|option| format!(" with {option}"));
    Fatal::unable(format!("bind {label}{}", with.unwrap_or_default()), errno)
}

/// Makes a socket for each address that no inherited one satisfies, and lets go of it: what the kernel does not have is
/// known without binding. Where all are inherited, skd need not be allowed to make any.
///
/// # Errors
/// 111, naming address and option.
fn try_out(
    options: &BindOptions,
    style: Style,
    addresses: &Addresses,
    inherited: &[Listener],
) -> Result<(), Fatal> {
    let open = |address: SocketAddr| {
        let address = unmapped(address);
        if satisfying(inherited, style, &Place::Inet(address)).is_some() {
            return Ok(());
        }
        let opened = options.open(style, address);
        let shared = opened.and_then(|socket| open::share_port(&options.sockets, &socket));
        shared.map_err(|refused| (address, refused))
    };
    let tried = match addresses {
        Addresses::Listed(addresses) => addresses.iter().copied().try_for_each(open),
        Addresses::Every(port) => match open((Ipv6Addr::UNSPECIFIED, *port).into()) {
            Err((_, refused)) if refused.errno == Errno::FAMILY_NOT_SUPPORTED => {
                open((Ipv4Addr::UNSPECIFIED, *port).into())
            }
            tried => tried,
        },
    };
    tried.map_err(|(address, refused)| unable_as_asked(style, address, refused))
}

/// SO_REUSEADDR is for TCP alone: on UDP it would let a second server take over the port. `port_is_open`: the kernel
/// chooses the port, or has chosen it just now for another address of the same name.
fn inet(
    options: &BindOptions,
    style: Style,
    address: SocketAddr,
    v6_only: bool,
    port_is_open: bool,
) -> Result<Listener, Refused> {
    // An IPv4-mapped address is bound as the IPv4 address it is: an IPv6-only socket could not have it.
    let address = unmapped(address);
    let made = options.open(style, address)?;
    if address.is_ipv6() {
        sockopt::set_v6_only(&made, v6_only)?;
    }
    if style != Style::Datagram {
        sockopt::set_reuse_address(&made)?;
    }
    if !port_is_open {
        open::share_port(&options.sockets, &made)?;
    }
    socket::bind(&made, &SockAddr::inet(address))?;
    if port_is_open {
        open::share_port(&options.sockets, &made)?;
    }
    if style != Style::Datagram {
        options.listen(&made)?;
    }
    Ok(adopt::listener(made, style)?)
}

fn unix(options: &BindOptions, style: Style, name: UnixName) -> Result<Listener, Fatal> {
    let place = Place::Unix(Some(name));
    let unable = |reason: &dyn Display| unable(style, &place, reason);
    let made = socket::make(socket::AF_UNIX, socket_type(style)).map_err(|errno| unable(&errno))?;
    open::set_buffers(options.sockets.buffers, &made).map_err(|errno| unable(&errno))?;
    let listen = || match style {
        Style::Datagram | Style::Readable => Ok(()),
        Style::Stream | Style::SeqPacket => options.listen(&made),
    };
    let file = match &place {
        Place::Unix(Some(UnixName::Path(path))) => {
            let file = unixfile::bind(&made, style, path, options.access, listen);
            Some(file.map_err(|refusal| match refusal {
                Refusal::Option(option, errno) => {
                    unable_with(&Label::new(style, &place), Some(option.into()), errno)
                }
                refusal => unable(&refusal),
            })?)
        }
        Place::Unix(Some(name)) => {
            let address = SockAddr::unix(&sun_path(name)).ok_or(Errno::NAME_TOO_LONG);
            let bound = address.and_then(|address| socket::bind(&made, &address));
            bound
                .and_then(|()| listen())
                .map_err(|errno| unable(&errno))?;
            None
        }
        Place::Unix(None) | Place::Inet(_) | Place::Vsock { .. } | Place::Readable { .. } => None,
    };
    let listener = adopt::listener(made, style).map_err(|errno| unable(&errno))?;
    // The path as it was typed: the kernel has the same bytes.
    Ok(Listener {
        file,
        label: Label::new(style, &place),
        place,
        ..listener
    })
}

/// socket(2) of a vsock stream socket.
fn open_vsock() -> Result<OwnedFd, Errno> {
    socket::make(socket::AF_VSOCK, socket::SOCK_STREAM)
}

fn vsock(options: &BindOptions, cid: u32, port: u32) -> Result<Listener, Errno> {
    let made = open_vsock()?;
    socket::bind(&made, &SockAddr::vsock(cid, port))?;
    options.listen(&made)?;
    adopt::listener(made, Style::Stream)
}
