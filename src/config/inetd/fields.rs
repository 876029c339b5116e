//! What the words of one line of an inetd.conf(5) mean.

use crate::config::addr;
use crate::config::inetd::words::{Line, Word};
use crate::model::address::{Family, Host, Named, Port, Style, UNIX_NAME_BYTES, UnixName};
use crate::model::inetd::{Builtin, InetdService, Limits, Server, Wrong};
use crate::model::number;
use crate::model::sockopt::Buffers;
use crate::model::text::Quoted;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStringExt;

/// What the fields are called, in their order.
const FIELDS: [&str; 6] = ["SERVICE", "TYPE", "PROTOCOL", "WAIT", "USER", "PROGRAM"];
/// The places of those among them that may not go with others.
const TYPE: usize = 1;
const WAIT: usize = 3;
/// What an address of the file is called in messages.
const OPTION: &str = "inetd.conf";
/// The largest buffer that may be asked for.
const MOST_BUFFER: u64 = 1 << 30;

/// What a line `HOST:` says of those behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    /// `None`: every address of the machine.
    hosts: Option<Hosts>,
}

impl Defaults {
    /// As if such a line were the first.
    pub(super) fn of(host: Option<&str>) -> Self {
        let hosts = host.and_then(|host| hosts_of(host.as_bytes()).ok());
        Self {
            hosts: hosts.flatten(),
        }
    }
}

/// Hosts and how they are written.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    all: Vec<Host>,
    text: String,
}

/// A line is a service, or `HOST:` alone.
///
/// # Errors
/// Every field that is wrong; or the first that is missing.
pub(super) fn service(
    line: &Line,
    defaults: &mut Defaults,
) -> Result<Option<InetdService>, Vec<Wrong>> {
    if let [word] = line.words.as_slice()
        && let Some(hosts) = word.bytes.strip_suffix(b":")
    {
        let hosts = hosts_of(hosts).map_err(|why| vec![wrong(word, &why)])?;
        defaults.hosts = hosts;
        return Ok(None);
    }
    let [name, style, protocol, wait, user, program, ..] = line.words.as_slice() else {
        let missing = FIELDS.get(line.words.len()).unwrap_or(&"PROGRAM");
        let why = format!("{missing} is missing");
        return Err(vec![Wrong { at: line.end, why }]);
    };
    let mut fields = Fields::default();
    let style = fields.take(style, style_of(&style.bytes));
    let protocol = fields.take(protocol, protocol_of(&protocol.bytes, style));
    let wait = fields.take(wait, wait_of(&wait.bytes));
    let user_at = user.at;
    let user = fields.take(user, user_of(&user.bytes));
    let rest = line.words.get(6..).unwrap_or_default();
    let server = fields.take(program, server_of(program, rest, name));
    let named = match (style, &protocol) {
        (Some(style), Some(protocol)) => {
            fields.take(name, named_of(&name.bytes, style, protocol, defaults))
        }
        _ => None,
    };
    if let (Some(style), Some((waits, limits)), Some(server)) = (style, wait, &server) {
        let told = unfit(style, waits, limits, server);
        let (field, told) = told.map_or_else(|(field, why)| (field, Err(why)), |()| (WAIT, Ok(())));
        fields.take(line.words.get(field).unwrap_or(program), told);
    }
    match (style, protocol, wait, user, server, named) {
        (
            Some(style),
            Some(protocol),
            Some((waits, limits)),
            Some(user),
            Some(server),
            Some((named, text)),
        ) if fields.wrong.is_empty() => Ok(Some(InetdService {
            at: name.at,
            name: format!("{text} {} {}", style_name(style), protocol.name()),
            style,
            named,
            family: protocol.family,
            is_split: protocol.is_split,
            buffers: protocol.buffers,
            waits,
            limits,
            user,
            user_at,
            server,
            server_at: program.at,
        })),
        _ => Err(fields.wrong),
    }
}

/// What is wrong with the fields of a line.
#[derive(Default)]
struct Fields {
    wrong: Vec<Wrong>,
}

impl Fields {
    fn take<T>(&mut self, word: &Word, read: Result<T, String>) -> Option<T> {
        read.map_err(|why| self.wrong.push(wrong(word, &why))).ok()
    }
}

fn wrong(word: &Word, why: &str) -> Wrong {
    let (at, why) = (word.at, format!("{}: {why}", Quoted(&word.bytes)));
    Wrong { at, why }
}

fn style_of(word: &[u8]) -> Result<Style, String> {
    match word {
        b"stream" => Ok(Style::Stream),
        b"dgram" => Ok(Style::Datagram),
        b"seqpacket" => Ok(Style::SeqPacket),
        _ => Err("stream, dgram or seqpacket expected".into()),
    }
}

fn style_name(style: Style) -> &'static str {
    match style {
        Style::Stream => "stream",
        Style::Datagram => "dgram",
        Style::SeqPacket | Style::Readable => "seqpacket",
    }
}

/// PROTOCOL, as far as it concerns the sockets.
struct Protocol {
    /// `tcp`, `udp` or `unix`, with a digit or two.
    base: &'static str,
    family: Family,
    is_split: bool,
    buffers: Buffers,
}

impl Protocol {
    fn name(&self) -> &'static str {
        self.base
    }

    fn is_unix(&self) -> bool {
        self.base == "unix"
    }
}

const PROTOCOLS: [(&str, Family, bool, Style); 8] = [
    ("tcp", Family::Either, true, Style::Stream),
    ("tcp4", Family::V4, false, Style::Stream),
    ("tcp6", Family::V6, false, Style::Stream),
    ("tcp46", Family::Either, false, Style::Stream),
    ("udp", Family::Either, true, Style::Datagram),
    ("udp4", Family::V4, false, Style::Datagram),
    ("udp6", Family::V6, false, Style::Datagram),
    ("udp46", Family::Either, false, Style::Datagram),
];

fn protocol_of(word: &[u8], style: Option<Style>) -> Result<Protocol, String> {
    let mut parts = word.split(|byte| *byte == b',');
    let base = parts.next().unwrap_or_default();
    if base.starts_with(b"rpc/") {
        return Err("services of rpc(3) are not supported".into());
    }
    let mut protocol = Protocol {
        base: "unix",
        family: Family::Either,
        is_split: false,
        buffers: Buffers::default(),
    };
    if base != b"unix" {
        let mut all = PROTOCOLS.into_iter();
        let found = all.find(|(name, ..)| name.as_bytes() == base);
        let (name, family, is_split, of) = found.ok_or(
            "tcp, tcp4, tcp6, tcp46, udp, udp4, udp6, udp46 or unix expected, [,sndbuf=N][,rcvbuf=N] behind it",
        )?;
        if style.is_some_and(|style| style != of) {
            return Err(format!("it is for {}", style_name(of)));
        }
        (protocol.base, protocol.family, protocol.is_split) = (name, family, is_split);
    }
    for part in parts {
        let (buffer, size) = match part.split_at_checked(7) {
            Some((b"sndbuf=", size)) => (&mut protocol.buffers.send, size),
            Some((b"rcvbuf=", size)) => (&mut protocol.buffers.receive, size),
            _ => return Err("sndbuf=N or rcvbuf=N expected behind the comma".into()),
        };
        let size = size_of(size);
        let size = size.ok_or("the size of a buffer is 1 to 1073741824, k or m may follow")?;
        if buffer.replace(size).is_some() {
            return Err("sndbuf=N and rcvbuf=N are expected once each".into());
        }
    }
    Ok(protocol)
}

/// Bytes; `k` and `m` are 1024 and its square.
fn size_of(word: &[u8]) -> Option<u32> {
    let (digits, unit) = match word {
        [digits @ .., b'k' | b'K'] => (digits, 1 << 10),
        [digits @ .., b'm' | b'M'] => (digits, 1 << 20),
        digits => (digits, 1),
    };
    let size = number::decimal(digits)?.checked_mul(unit)?;
    let size = Some(size).filter(|size| (1..=MOST_BUFFER).contains(size))?;
    u32::try_from(size).ok()
}

/// WAIT: whether it is `wait`, and the limits behind it.
fn wait_of(word: &[u8]) -> Result<(bool, Limits), String> {
    let expected = "wait, nowait, nowait.MAX or nowait/MAX[/PER-MINUTE[/PER-SOURCE]] expected";
    let (waits, rest) = match (word.strip_prefix(b"nowait"), word.strip_prefix(b"wait")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err(expected.into()),
    };
    let mut limits = Limits::default();
    match rest.split_first() {
        None => {}
        Some((b'.', digits)) => {
            let most = limit(digits)?;
            limits.starts_per_minute = Some(most.ok_or("MAX is a whole number from 1 to 1000000")?);
        }
        Some((b'/', _)) if waits => {
            return Err("limits of connections are for nowait".into());
        }
        Some((b'/', all)) => {
            let mut all = all.split(|byte| *byte == b'/');
            let [at_once, per_minute, per_source] = [(); 3].map(|()| all.next());
            if all.next().is_some() {
                return Err(expected.into());
            }
            let read = |digits: Option<&[u8]>| digits.map_or(Ok(None), limit);
            limits.at_once = read(at_once)?;
            limits.per_minute = read(per_minute)?;
            limits.per_source = read(per_source)?;
        }
        Some(_) => return Err(expected.into()),
    }
    Ok((waits, limits))
}

/// 0 is no limit, as FreeBSD has it.
fn limit(digits: &[u8]) -> Result<Option<NonZeroU32>, String> {
    let number = number::decimal(digits).filter(|number| *number <= 1_000_000);
    let number = number.and_then(|number| u32::try_from(number).ok());
    let number = number.ok_or("a limit is a whole number from 0 to 1000000, 0 being none")?;
    Ok(NonZeroU32::new(number))
}

/// USER, which is looked up later.
fn user_of(word: &[u8]) -> Result<String, String> {
    let expected = "USER, USER:GROUP or USER.GROUP expected";
    let text = str::from_utf8(word).map_err(|_| expected)?;
    if text.contains('/') {
        return Err("login classes are not supported".into());
    }
    let is_half = text.starts_with([':', '.']) || text.ends_with([':', '.']);
    if text.is_empty() || is_half || text.matches(':').count() > 1 {
        return Err(expected.into());
    }
    Ok(text.to_owned())
}

/// PROGRAM and ARGV. What is answered by skd itself is named by SERVICE, or where that is a number by the word behind
/// `internal`.
fn server_of(program: &Word, rest: &[Word], service: &Word) -> Result<Server, String> {
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    if program.bytes == b"internal" {
        let name = service.bytes.rsplit(|byte| *byte == b':').next();
        let name = rest.first().map_or(name, |word| Some(&word.bytes));
        let builtin = name.and_then(Builtin::named);
        let found = builtin.filter(|_| rest.len() < 2);
        return found.map(Server::Internal).ok_or_else(|| {
            "skd itself has chargen, daytime, discard, echo and time, by SERVICE or as the only word behind it".into()
        });
    }
    let name = program.bytes.rsplit(|byte| *byte == b'/').next();
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return Err("a program or internal is expected".into());
    }
    let words: Vec<OsString> = rest.iter().map(|word| owned(&word.bytes)).collect();
    Ok(Server::Program {
        file: owned(&program.bytes),
        words: if words.is_empty() {
            vec![owned(name)]
        } else {
            words
        },
    })
}

/// Where to listen, and how that is written.
fn named_of(
    word: &[u8],
    style: Style,
    protocol: &Protocol,
    defaults: &Defaults,
) -> Result<(Vec<Named>, String), String> {
    if protocol.is_unix() {
        let name = match word {
            [b'@', name @ ..] => UnixName::Abstract(name.into()),
            [b'/', ..] => UnixName::Path(word.into()),
            _ => return Err("the whole path of a socket, or @NAME, is expected".into()),
        };
        let (UnixName::Path(bytes) | UnixName::Abstract(bytes)) = &name;
        if bytes.len() > UNIX_NAME_BYTES || word.len() < 2 {
            return Err("a unix socket's name has 1 to 107 bytes".into());
        }
        let text = String::from_utf8_lossy(word).into_owned();
        return Ok((vec![Named::Unix { style, name }], text));
    }
    let text = str::from_utf8(word).map_err(|_| "[HOST:]SERVICE expected")?;
    let (hosts, service) = match text.rsplit_once(':') {
        Some((_, service)) if service.contains(']') => {
            return Err("a service is missing behind the host".into());
        }
        Some((hosts, service)) => (hosts_of(hosts.as_bytes())?, service),
        None => (defaults.hosts.clone(), text),
    };
    let port = port_of(service)?;
    let (all, prefix) = match hosts {
        Some(Hosts { all, text }) => (all, format!("{text}:")),
        None => (vec![Host::Every], String::new()),
    };
    let named = |host| {
        agree(&host, protocol.family)?;
        Ok(Named::Inet {
            option: OPTION,
            style,
            host,
            port: port.clone(),
        })
    };
    let named = all.into_iter().map(named).collect::<Result<_, String>>()?;
    Ok((named, format!("{prefix}{service}")))
}

fn port_of(service: &str) -> Result<Port, String> {
    if service.is_empty() {
        return Err("a service is missing".into());
    }
    if service == "tcpmux" || service.starts_with("tcpmux/") {
        return Err("tcpmux is not supported".into());
    }
    if !service.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Port::Service(service.to_owned()));
    }
    let number = number::decimal(service.as_bytes()).and_then(|number| u16::try_from(number).ok());
    let number = number.filter(|number| *number != 0);
    let number = number.ok_or("a port is 1 to 65535 or a service name")?;
    Ok(Port::Number(number))
}

/// Hosts with commas between them; `None` for `*`.
pub(super) fn hosts_of(word: &[u8]) -> Result<Option<Hosts>, String> {
    let text = str::from_utf8(word).map_err(|_| "a host is no UTF-8")?;
    let all = text.split(',').map(addr::host_of);
    let all: Vec<Host> = all.collect::<Result<_, _>>()?;
    if all == [Host::Every] {
        return Ok(None);
    }
    if all.contains(&Host::Every) {
        return Err("\"*\" goes with no other host".into());
    }
    let text = text.to_owned();
    Ok(Some(Hosts { all, text }))
}

/// An address of one family makes no sense under a protocol of the other.
fn agree(host: &Host, family: Family) -> Result<(), String> {
    match (host, family) {
        (Host::V4(ip), Family::V6) => Err(format!("{ip} is no IPv6 address")),
        (Host::V6(ip, _), Family::V4) => Err(format!("{ip} is no IPv4 address")),
        _ => Ok(()),
    }
}

/// What is wrong with fields that are right each by itself.
///
/// # Errors
/// The place of the one that is to be another, and why.
fn unfit(
    style: Style,
    waits: bool,
    limits: Limits,
    server: &Server,
) -> Result<(), (usize, String)> {
    let (field, why) = match server {
        Server::Internal(_) if style == Style::SeqPacket => {
            (TYPE, "an internal service is stream or dgram")
        }
        Server::Internal(_) if waits && style == Style::Stream => {
            (WAIT, "an internal stream service is nowait")
        }
        Server::Internal(_) if style == Style::Datagram && limits != Limits::default() => (
            WAIT,
            "an internal dgram service starts no program that could be limited",
        ),
        Server::Program { .. } if style == Style::Datagram && !waits => {
            (WAIT, "a dgram service is wait: its program gets the socket")
        }
        _ => return Ok(()),
    };
    Err((field, why.into()))
}

#[cfg(test)]
mod tests;
