//! Turns `[HOST:]PORT` into the addresses to bind.

use crate::listen::bindoptions::Hosts;
use crate::model::address::{Family, Host, LOGGED_AS, Port, Style};
use crate::model::error::Fatal;
use crate::model::text::Quoted;
use crate::sys::errno::Errno;
use crate::sys::sockaddr::SockAddr;
use crate::sys::{names, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// What a named internet address comes to.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Addresses {
    /// Every address of the machine: one dual-stack socket, or one for IPv4 where there is no IPv6.
    Every(u16),
    /// Just these; IPv6 ones are IPv6 only.
    Listed(Vec<SocketAddr>),
}

/// Looks up what is a name and not among `hosts`; the option, or how another name of skd calls the place, is for messages.
///
/// # Errors
/// 100 for an unknown service; 111 for a host or an interface that is not found.
pub(crate) fn addresses(
    (option, style): (&str, Style),
    host: &Host,
    port: &Port,
    family: Family,
    hosts: &Hosts,
) -> Result<Addresses, Fatal> {
    let port = match port {
        Port::Number(number) => *number,
        Port::Service(name) => service(option, style, host, name)?,
    };
    let listed = |ip: IpAddr| Ok(Addresses::Listed(vec![SocketAddr::new(ip, port)]));
    match (host, family) {
        (Host::Every, Family::Either) => Ok(Addresses::Every(port)),
        (Host::Every, Family::V4) => listed(Ipv4Addr::UNSPECIFIED.into()),
        (Host::Every, Family::V6) => listed(Ipv6Addr::UNSPECIFIED.into()),
        (Host::V4(ip), _) => listed((*ip).into()),
        (Host::V6(ip, None), _) => listed((*ip).into()),
        (Host::V6(ip, Some(scope)), _) => {
            let reason = || {
                Fatal::unable(
                    format!("find the interface {}", Quoted(scope.as_bytes())),
                    "No such device",
                )
            };
            let index = names::interface_index(scope).ok_or_else(reason)?;
            Ok(Addresses::Listed(vec![
                SocketAddrV6::new(*ip, port, 0, index).into(),
            ]))
        }
        (Host::Name(name), _) => {
            let deed = format!("find the host {}", Quoted(name.as_bytes()));
            let known = hosts.get(&**name).cloned();
            let mut all = known
                .unwrap_or_else(|| names::addresses_of_host(name))
                .map_err(|reason| Fatal::unable(&deed, format!("{reason}{}", hint(name))))?;
            all.retain(|ip| match family {
                Family::Either => true,
                Family::V4 => ip.is_ipv4(),
                Family::V6 => ip.is_ipv6(),
            });
            if all.is_empty() {
                return Err(Fatal::unable(
                    &deed,
                    "it has no address of the family asked for",
                ));
            }
            if all.iter().any(IpAddr::is_ipv4) {
                all.retain(|ip| ip.is_ipv4() || !is_nobodys(*ip));
            }
            Ok(Addresses::Listed(
                all.into_iter()
                    .map(|ip| SocketAddr::new(ip, port))
                    .collect(),
            ))
        }
    }
}

/// Whether this is an IPv6 address at which nobody could come, because IPv6 is switched off or the kernel has none: many a
/// container calls ::1 localhost all the same.
fn is_nobodys(ip: IpAddr) -> bool {
    let bound = socket::make(socket::AF_INET6, socket::SOCK_DGRAM)
        .and_then(|socket| socket::bind(socket, &SockAddr::inet((ip, 0).into())));
    match bound {
        Err(Errno::FAMILY_NOT_SUPPORTED) => true,
        Err(Errno::ADDRESS_NOT_AVAILABLE) => ip.is_loopback(),
        _ => false,
    }
}

/// What may have been meant by a host that there is not.
fn hint(host: &str) -> String {
    let of_log = LOGGED_AS.iter().find(|(label, _)| *label == host);
    of_log.map_or(String::new(), |(label, option)| {
        format!("; \"{label}:\" is how the log writes {option}")
    })
}

fn service(option: &str, style: Style, host: &Host, name: &str) -> Result<u16, Fatal> {
    let (protocol, shown) = if style == Style::Datagram {
        (c"udp", "udp")
    } else {
        (c"tcp", "tcp")
    };
    let expected = match option.as_bytes() {
        [b'-', ..] => "[HOST:]PORT expected, PORT being",
        _ => "PORT is",
    };
    let path = match (option, host) {
        // What has a slash is a path there.
        ("--metrics", Host::Every) => {
            format!(
                ", and a path needs a slash, {}",
                Quoted(format!("./{name}").as_bytes())
            )
        }
        _ => String::new(),
    };
    names::port_of_service(name, protocol).ok_or_else(|| {
        let name = Quoted(name.as_bytes());
        Fatal::usage(format!(
            "{option}: there is no {shown} service {name}; {expected} 0 to 65535 or a service name{path}",
        ))
    })
}
