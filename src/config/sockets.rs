//! Turns the options that name addresses into the sockets to make, in their order.

use crate::config::addr;
use crate::config::draft::{given, value, values};
use crate::model::address::{Family, Host, Named, Style};
use crate::model::error::Fatal;
use clap::ArgMatches;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The style of the `-i` and `-l` sockets.
fn style(typed: &ArgMatches) -> Result<Style, Fatal> {
    let any = |name: &'static str| values(typed, name).next().is_some();
    let chosen = [
        ("stream", Style::Stream),
        ("datagram", Style::Datagram),
        ("seqpacket", Style::SeqPacket),
    ];
    let mut chosen = chosen.into_iter().filter(|(name, _)| given(typed, name));
    let (first, second) = (chosen.next(), chosen.next());
    if let (Some((first, _)), Some((second, _))) = (first, second) {
        return Err(Fatal::usage(format!(
            "--{first} and --{second} exclude each other"
        )));
    }
    let style = first.map_or(Style::Stream, |(_, style)| style);
    let unless = |wrong: bool, text: &str| {
        if wrong {
            Err(Fatal::usage(text))
        } else {
            Ok(())
        }
    };
    unless(
        style == Style::Datagram && any("tcp"),
        "--datagram and --tcp exclude each other",
    )?;
    unless(
        style == Style::Datagram && any("vsock"),
        "--datagram and --vsock exclude each other",
    )?;
    unless(
        style == Style::SeqPacket && any("inet"),
        "--seqpacket is for --unix, not for --inet",
    )?;
    let chooses_nothing = !any("inet") && !any("unix");
    unless(
        first.is_some() && style == Style::Stream && any("udp") && chooses_nothing,
        "--stream and --udp exclude each other",
    )?;
    unless(
        style == Style::SeqPacket && (any("tcp") || any("udp")) && !any("unix"),
        "--seqpacket is for --unix, not for --tcp or --udp",
    )?;
    unless(
        style == Style::SeqPacket && any("vsock") && !any("unix"),
        "--seqpacket is for --unix, not for --vsock",
    )?;
    Ok(style)
}

/// The named addresses in the order of the command line.
pub(super) fn named(typed: &ArgMatches, family: Family) -> Result<Vec<Named>, Fatal> {
    let style = style(typed)?;
    let mut named = Vec::new();
    for (name, option, style) in [
        ("tcp", "--tcp", Style::Stream),
        ("udp", "--udp", Style::Datagram),
        ("inet", "--inet", style),
    ] {
        for (place, word) in values(typed, name) {
            let (host, port) = addr::inet(option, word)?;
            agree(option, &host, family)?;
            let named_so = Named::Inet {
                option,
                style,
                host,
                port,
            };
            named.push((place, named_so));
        }
    }
    for (place, word) in values(typed, "unix") {
        named.push((
            place,
            Named::Unix {
                style,
                name: addr::unix("--unix", word)?,
            },
        ));
    }
    for (place, word) in values(typed, "vsock") {
        let (cid, port) = addr::vsock(word)?;
        named.push((place, Named::Vsock { cid, port }));
    }
    named.sort_unstable_by_key(|(place, _)| *place);
    Ok(named.into_iter().map(|(_, named)| named).collect())
}

/// PROG may be left out where no option names an address for it.
///
/// # Errors
/// A usage error that names the option.
pub(super) fn unless_named(
    typed: &ArgMatches,
    words: Vec<OsString>,
) -> Result<Vec<OsString>, Fatal> {
    let all = ["tcp", "udp", "inet", "unix", "vsock"];
    let mut named = all
        .into_iter()
        .filter(|name| values(typed, name).next().is_some());
    match named.next() {
        Some(name) => Err(Fatal::usage(format!("PROG is missing for --{name}"))),
        None => Ok(words),
    }
}

/// Where the metrics are told: a path has a slash, or is `@name`.
pub(super) fn metrics(typed: &ArgMatches, family: Family) -> Result<Option<Named>, Fatal> {
    let Some(word) = value(typed, "metrics") else {
        return Ok(None);
    };
    let style = Style::Stream;
    let bytes = word.as_bytes();
    if bytes.contains(&b'/') || bytes.starts_with(b"@") {
        let name = addr::unix("--metrics", word)?;
        return Ok(Some(Named::Unix { style, name }));
    }
    let (host, port) = addr::inet("--metrics", word)?;
    agree("--metrics", &host, family)?;
    let option = "--metrics";
    Ok(Some(Named::Inet {
        option,
        style,
        host,
        port,
    }))
}

/// An address of one family makes no sense under an option that allows just the other.
fn agree(option: &str, host: &Host, family: Family) -> Result<(), Fatal> {
    match (host, family) {
        (Host::V4(ip), Family::V6) => Err(Fatal::usage(format!(
            "{option}: {ip} is no IPv6 address, but --ipv6 is given"
        ))),
        (Host::V6(ip, _), Family::V4) => Err(Fatal::usage(format!(
            "{option}: {ip} is no IPv4 address, but --ipv4 is given"
        ))),
        _ => Ok(()),
    }
}
