//! Turns the options that set sockets into what they mean.

use crate::config::draft::{given, value};
use crate::config::number;
use crate::model::error::Fatal;
use crate::model::sockopt::{Buffers, KeepAlive, SocketOptions};
use crate::model::text::Quoted;
use clap::ArgMatches;
use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;

/// The longest time between probes that the kernel takes, MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL.
const MOST_KEEPALIVE_SECS: u64 = 32_767;
/// The most probes that the kernel takes, MAX_TCP_KEEPCNT.
const MOST_PROBES: u64 = 127;
/// Of our own: the kernel would take any number and make another of it.
const MOST_DEFER_SECS: u64 = 3_600;
/// The longest name of an interface, IFNAMSIZ less its NUL; the kernel would cut a longer one.
const DEVICE_BYTES: usize = 15;

/// What the sockets that skd makes are to be set to.
pub(super) fn options(typed: &ArgMatches) -> Result<SocketOptions, Fatal> {
    let defer = value(typed, "defer-accept");
    Ok(SocketOptions {
        reuse_port: given(typed, "reuse-port"),
        freebind: given(typed, "freebind"),
        device: value(typed, "bind-to-device").map(device).transpose()?,
        defer_accept_secs: defer
            .map(|text| small("--defer-accept", text.as_bytes(), MOST_DEFER_SECS))
            .transpose()?,
        mptcp: given(typed, "mptcp"),
        buffers: Buffers::default(),
    })
}

fn device(name: &OsStr) -> Result<std::ffi::OsString, Fatal> {
    match name.len() {
        1..=DEVICE_BYTES => Ok(name.to_owned()),
        _ => Err(Fatal::usage(format!(
            "--bind-to-device: {}: an interface's name has 1 to {DEVICE_BYTES} bytes",
            Quoted(name.as_bytes())
        ))),
    }
}

/// `--keepalive[=IDLE[,INTERVAL[,COUNT]]]`.
pub(super) fn keepalive(typed: &ArgMatches) -> Result<Option<KeepAlive>, Fatal> {
    const NAME: &str = "--keepalive";
    if !typed.contains_id("keepalive") {
        return Ok(None);
    }
    let Some(text) = value(typed, "keepalive") else {
        return Ok(Some(KeepAlive::default()));
    };
    let mut numbers = text.as_bytes().split(|byte| *byte == b',');
    let mut next = |most| {
        let number = numbers.next();
        number.map(|text| small(NAME, text, most)).transpose()
    };
    let keepalive = KeepAlive {
        idle_secs: next(MOST_KEEPALIVE_SECS)?,
        interval_secs: next(MOST_KEEPALIVE_SECS)?,
        count: next(MOST_PROBES)?,
    };
    match numbers.next() {
        None => Ok(Some(keepalive)),
        Some(_) => Err(Fatal::usage(format!(
            "{NAME}: {}: IDLE[,INTERVAL[,COUNT]] expected",
            Quoted(text.as_bytes())
        ))),
    }
}

/// A number from 1 to `most`, which fits.
fn small(name: &str, text: &[u8], most: u64) -> Result<u16, Fatal> {
    let range: RangeInclusive<u64> = 1..=most;
    let number = number::option(name, text, &range)?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use crate::config::{meaning as run, read};
    use crate::model::sockopt::{Buffers, KeepAlive, SocketOptions};
    use std::ffi::OsString;

    #[test]
    fn what_is_out_of_range_is_a_usage_error() {
        let times = "is no whole number from 1 to 32767";
        let probes = "is no whole number from 1 to 127";
        let whole = "IDLE[,INTERVAL[,COUNT]] expected";
        let table = [
            ("=", format!("\"\" {times}")),
            ("=0", format!("\"0\" {times}")),
            ("=32768", format!("\"32768\" {times}")),
            ("=1m", format!("\"1m\" {times}")),
            ("=,5", format!("\"\" {times}")),
            ("=5,", format!("\"\" {times}")),
            ("=5, 6", format!("\" 6\" {times}")),
            ("=5,32768", format!("\"32768\" {times}")),
            ("=5,6,0", format!("\"0\" {probes}")),
            ("=5,6,128", format!("\"128\" {probes}")),
            ("=5,6,", format!("\"\" {probes}")),
            ("=5,6,7,8", format!("\"5,6,7,8\": {whole}")),
            ("=5,6,7,", format!("\"5,6,7,\": {whole}")),
            (" --keepalive=5", "given more than once".to_owned()),
            (" --keepalive", "given more than once".to_owned()),
        ];
        for (value, text) in table {
            let words = [format!("--keepalive{value}"), "-t".into(), "80".into()];
            let words = words.iter().flat_map(|word| match word.split_once(" --") {
                Some((one, other)) => vec![one.to_owned(), format!("--{other}")],
                None => vec![word.clone()],
            });
            let words = words.chain(["cat".to_owned()]).map(OsString::from);
            let (error, _) = read(words.collect()).unwrap_err();
            let is_named = error.text.strip_prefix("--keepalive: ");
            assert_eq!(is_named, Some(text.as_str()), "{value}");
        }
        for secs in ["0", "3601", "", "1.5"] {
            assert_eq!(
                run(&format!("--defer-accept={secs} -t 80 cat")).unwrap_err(),
                format!("--defer-accept: \"{secs}\" is no whole number from 1 to 3600")
            );
        }
        for name in ["", "sixteen-letters-"] {
            assert_eq!(
                run(&format!("--bind-to-device={name} -t 80 cat")).unwrap_err(),
                format!("--bind-to-device: \"{name}\": an interface's name has 1 to 15 bytes")
            );
        }
    }

    #[test]
    fn what_is_left_out_is_left_to_the_kernel() {
        let keepalive = |words: &str| run(words).unwrap().service.keepalive;
        let all = |idle_secs, interval_secs, count| {
            Some(KeepAlive {
                idle_secs,
                interval_secs,
                count,
            })
        };
        assert_eq!(keepalive("-t 80 cat"), None);
        let table = [
            ("--keepalive -t 80 cat", all(None, None, None)),
            ("-t 80 --keepalive cat", all(None, None, None)),
            ("--keepalive=60 -t 80 cat", all(Some(60), None, None)),
            (
                "--keepalive=32767,32767 -t 80 cat",
                all(Some(32_767), Some(32_767), None),
            ),
            (
                "-t 80 --keepalive=1,1,127 cat",
                all(Some(1), Some(1), Some(127)),
            ),
        ];
        for (words, meant) in table {
            assert_eq!(keepalive(words), meant, "{words}");
        }
        // Only an equals sign joins a value to it.
        let run_60 = run("-t 80 --keepalive -- 60 cat").unwrap();
        assert_eq!(run_60.service.words, ["60", "cat"]);
        assert_eq!(run_60.service.keepalive, all(None, None, None));
    }

    #[test]
    fn the_others_are_as_they_were_typed() {
        let options = |words: &str| run(words).unwrap().making.sockets;
        assert_eq!(options("-t 80 cat"), SocketOptions::default());
        let words =
            "--reuse-port --freebind --bind-to-device eth0 --defer-accept 3600 --mptcp -t 80 cat";
        assert_eq!(
            options(words),
            SocketOptions {
                reuse_port: true,
                freebind: true,
                device: Some("eth0".into()),
                defer_accept_secs: Some(3600),
                mptcp: true,
                buffers: Buffers::default(),
            }
        );
    }
}
