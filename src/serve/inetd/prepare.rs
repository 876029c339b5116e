//! From the lines of an inetd.conf(5) to services with everything looked up but the hosts.

use crate::daemon::privileges;
use crate::model::address::{Family, Host, Named, Port, Style};
use crate::model::daemon::UserSpec;
use crate::model::error::Fatal;
use crate::model::inetd::{At, InetdService, Services, Wrong};
use crate::model::number;
use crate::model::text::Quoted;
use crate::sys::identity::Ids;
use crate::sys::{identity, names, socket};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A service whose port, user and groups are known.
pub(crate) struct Prepared {
    pub(super) service: InetdService,
    /// Whom its programs become.
    pub(super) ids: Ids,
}

impl Prepared {
    /// By which it is known again.
    pub(crate) fn name(&self) -> &str {
        &self.service.name
    }

    /// The hosts that have to be looked up.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        let named = self.service.named.iter();
        named.filter_map(|named| match named {
            Named::Inet {
                host: Host::Name(name),
                ..
            } => Some(&**name),
            _ => None,
        })
    }

    /// The type of its sockets, if skd takes the connections.
    pub(crate) fn accepted(&self) -> Option<Style> {
        let service = &self.service;
        let accepts = !service.waits && service.style != Style::Datagram;
        accepts.then_some(service.style)
    }
}

/// What is looked up. In a root folder of its own skd may not find there what it found before.
pub(super) struct Names<'a> {
    /// Lines of a name, NUL, which is in none, and the numbers that it means.
    pub(super) known: &'a str,
    /// The same for the file that has just been read.
    pub(super) used: String,
}

impl Names<'_> {
    /// The numbers that were found before, or else what is found now: who may write in the jail is not to say who is who.
    #[inline(never)]
    fn known_or(
        &mut self,
        name: &str,
        find: &dyn Fn() -> Result<Vec<u32>, String>,
    ) -> Result<Vec<u32>, String> {
        let known = self.known.lines().find_map(|line| line.strip_prefix(name));
        let numbers = match known {
            Some(known) => {
                let words = known.split([',', ' ', '[', ']']);
                words.filter_map(|word| word.parse().ok()).collect()
            }
            None => find()?,
        };
        self.used += &format!("{name}{numbers:?}\n");
        Ok(numbers)
    }

    fn ids(&mut self, user: &str) -> Result<Ids, String> {
        let find = || {
            let ids = ids_of(user)?;
            let mut all = ids.groups.unwrap_or_default();
            all.extend([ids.gid, ids.uid].iter().flatten());
            Ok(all)
        };
        let mut all = self.known_or(&format!("user {user}\0"), &find)?;
        let (uid, gid) = (all.pop(), all.pop());
        let groups = Some(all);
        Ok(Ids { uid, gid, groups })
    }

    fn port(&mut self, port: &Port, style: Style) -> Result<u16, String> {
        let Port::Service(name) = port else {
            return port_of(port, style);
        };
        let find = || Ok(vec![port_of(port, style)?.into()]);
        let is_udp = style == Style::Datagram;
        let numbers = self.known_or(&format!("{is_udp} {name}\0"), &find)?;
        let number = numbers.first().and_then(|port| u16::try_from(*port).ok());
        Ok(number.unwrap_or_default())
    }
}

/// Looks up services, users and groups.
///
/// # Errors
/// All that is wrong, with what was wrong already, in the order of the lines.
pub(super) fn prepare(
    services: Services,
    names: &mut Names<'_>,
) -> Result<Vec<Prepared>, Vec<Wrong>> {
    let Services { all, mut wrong } = services;
    let has_v6 = socket::make(socket::AF_INET6, socket::SOCK_DGRAM).is_ok();
    let mut prepared = Vec::new();
    let mut taken = HashMap::new();
    // A service that the file has already is told of once: it has the same address too.
    let wrong_before = wrong.len();
    for mut service in all {
        let ids = names.ids(&service.user);
        let ids = ids.map_err(|why| wrong.push(at(service.user_at, &service.user, &why)));
        let looked_up = look_up(&mut service, has_v6, names);
        let mut told = wrong.iter().take(wrong_before);
        let is_free = match told.any(|wrong| wrong.at == service.at) {
            true => Ok(()),
            false => looked_up.and_then(|()| take(&mut taken, &service)),
        };
        if let Err(why) = &is_free {
            wrong.push(at(service.at, &service.name, why));
        }
        if let (Ok(ids), Ok(())) = (ids, is_free) {
            prepared.push(Prepared { service, ids });
        }
    }
    if wrong.is_empty() {
        return Ok(prepared);
    }
    wrong.sort_unstable();
    Err(wrong)
}

pub(super) fn at(at: At, word: &str, why: &str) -> Wrong {
    let why = format!("{}: {why}", Quoted(word.as_bytes()));
    Wrong { at, why }
}

/// `user`, `user:group` or `user.group`; a name may have a dot of its own.
fn ids_of(user: &str) -> Result<Ids, String> {
    let is_user = |name: &str| names::user(name).is_some() || number::id(name).is_some();
    let halves = match user.split_once(':') {
        None if !is_user(user) => user.rsplit_once('.'),
        halves => halves,
    };
    let spec = match halves {
        Some((user, group)) => UserSpec {
            user: user.to_owned(),
            group: Some(group.to_owned()),
        },
        None => UserSpec {
            user: user.to_owned(),
            group: None,
        },
    };
    let mut ids = privileges::ids_of(&spec).map_err(|fatal| fatal.text)?;
    if let (Some(uid @ 1..), Some(gid), Some(_)) = (ids.uid, ids.gid, &spec.group)
        && let Some((name, _)) = identity::user_of_uid(uid)
    {
        // Root has that group alone; others keep their supplementary ones, as inetd(8) has it.
        ids.groups = identity::groups_of(&name, gid).ok().or(ids.groups);
    }
    Ok(ids)
}

/// Makes numbers of the names of ports, and a host for each family where one socket is not to serve both.
fn look_up(service: &mut InetdService, has_v6: bool, names: &mut Names<'_>) -> Result<(), String> {
    let mut all = Vec::new();
    for named in std::mem::take(&mut service.named) {
        let Named::Inet {
            option,
            style,
            host,
            port,
        } = named
        else {
            all.push(named);
            continue;
        };
        let port = Port::Number(names.port(&port, style)?);
        let hosts = match host {
            Host::Every if service.is_split && has_v6 => vec![
                Host::V4(Ipv4Addr::UNSPECIFIED),
                Host::V6(Ipv6Addr::UNSPECIFIED, None),
            ],
            Host::Every if service.is_split => vec![Host::V4(Ipv4Addr::UNSPECIFIED)],
            host => vec![host],
        };
        all.extend(hosts.into_iter().map(|host| Named::Inet {
            option,
            style,
            host,
            port: port.clone(),
        }));
    }
    service.named = all;
    Ok(())
}

fn port_of(port: &Port, style: Style) -> Result<u16, String> {
    let (protocol, shown) = match style {
        Style::Datagram => (c"udp", "udp"),
        Style::Stream | Style::SeqPacket | Style::Readable => (c"tcp", "tcp"),
    };
    match port {
        Port::Number(number) => Ok(*number),
        Port::Service(name) => names::port_of_service(name, protocol)
            .ok_or_else(|| format!("there is no {shown} service {}", Quoted(name.as_bytes()))),
    }
}

/// Two services on one address are an error on the second, as far as the addresses are known before hosts are looked up;
/// and so is a service that has one of them twice.
fn take(taken: &mut HashMap<String, usize>, service: &InetdService) -> Result<(), String> {
    let line = service.at.line;
    for named in &service.named {
        for address in addresses(named, service.family) {
            match taken.get(&address) {
                Some(other) if *other == line => return Err(has_twice(&shown(named))),
                Some(other) => return Err(has_the_same(*other)),
                None => taken.insert(address, line),
            };
        }
    }
    Ok(())
}

/// What to say of a service whose address that of another line has.
pub(super) fn has_the_same(line: usize) -> String {
    format!("line {line} has the same address")
}

/// What to say of a service that names an address again.
pub(super) fn has_twice(address: &str) -> String {
    format!("it has {address} twice")
}

/// What stands before the port.
fn shown(named: &Named) -> String {
    match named {
        Named::Inet { host, .. } => match host {
            Host::Every => "every address".into(),
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip, None) => ip.to_string(),
            Host::V6(ip, Some(scope)) => format!("{ip}%{scope}"),
            Host::Name(name) => name.clone(),
        },
        Named::Unix { name, .. } => name.to_string(),
        Named::Vsock { cid, .. } => cid.to_string(),
    }
}

fn addresses(named: &Named, family: Family) -> Vec<String> {
    let (style, host, port) = match named {
        Named::Unix { name, .. } => return vec![name.to_string()],
        // None is in such a file.
        Named::Vsock { .. } => return Vec::new(),
        Named::Inet {
            style, host, port, ..
        } => (style, host, port),
    };
    let port = match port {
        Port::Number(number) => number.to_string(),
        Port::Service(name) => name.clone(),
    };
    let (v4, v6) = ("0.0.0.0".to_owned(), "::".to_owned());
    let hosts = match (host, family) {
        (Host::Every, Family::V4) => vec![v4],
        (Host::Every, Family::V6) => vec![v6],
        (Host::Every, Family::Either) => vec![v4, v6],
        (Host::V4(ip), _) => vec![ip.to_string()],
        (Host::V6(ip, scope), _) => vec![format!("{ip}{}", scope.as_deref().unwrap_or_default())],
        (Host::Name(name), Family::V4) => vec![format!("4{name}")],
        (Host::Name(name), Family::V6) => vec![format!("6{name}")],
        (Host::Name(name), Family::Either) => vec![format!("4{name}"), format!("6{name}")],
    };
    let is_udp = *style == Style::Datagram;
    let address = |host: String| format!("{is_udp} {host} {port}");
    hosts.into_iter().map(address).collect()
}

/// One thing that is wrong, as the end of skd's start.
pub(super) fn fatal(fatal: &Fatal, file: &[u8], at: At) -> Fatal {
    let why = fatal.text.clone();
    Fatal {
        kind: fatal.kind,
        text: Wrong { at, why }.shown(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers_with_a_group_or_their_own() {
        let ids = |uid, gid, groups: &[u32]| Ids {
            uid: Some(uid),
            gid: Some(gid),
            groups: Some(groups.to_vec()),
        };
        let table = [
            ("root:daemon", Ok(ids(0, 1, &[1]))),
            ("root.daemon", Ok(ids(0, 1, &[1]))),
            ("0.1", Ok(ids(0, 1, &[1]))),
            ("4242:7", Ok(ids(4242, 7, &[7]))),
            ("daemon", Ok(ids(1, 1, &[1]))),
            ("1", Ok(ids(1, 1, &[1]))),
            (
                "4242",
                Err("4242 is no user of the system, so :GROUP must follow"),
            ),
            ("nobody-here", Err("there is no user \"nobody-here\"")),
            ("nobody.here", Err("there is no group \"here\"")),
            ("root:none-such", Err("there is no group \"none-such\"")),
        ];
        for (user, expected) in table {
            assert_eq!(ids_of(user), expected.map_err(Into::into), "{user}");
        }
    }
}
