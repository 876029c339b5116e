//! Turns the options about who may come in into what they mean together.

use crate::config::draft::{given, secs, value, values};
use crate::config::{inquiry, lists, number, rate, refusal};
use crate::model::admission::{Admission, Inquiry, Member};
use crate::model::error::Fatal;
use clap::ArgMatches;
use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// How long a PROXY header, and all look-ups together, may take without an option that says so.
const PROXY_SECS: Duration = Duration::from_secs(3);
const LOOKUP_SECS: Duration = Duration::from_secs(5);
/// The longest that an option may allow for them.
const MOST_SECS: u64 = 3600;

/// Who may come in.
///
/// # Errors
/// A usage error that names the option.
pub(super) fn admission(typed: &ArgMatches, most: u64) -> Result<Admission, Fatal> {
    let (resolve, ident) = (given(typed, "resolve"), given(typed, "ident"));
    let proxy_timeout = secs(typed, "proxy-timeout", 1..=MOST_SECS)?;
    let lookup_timeout = secs(typed, "lookup-timeout", 1..=MOST_SECS)?;
    let proxies = value(typed, "proxy-from");
    if proxy_timeout.is_some() && proxies.is_none() {
        return Err(Fatal::usage("--proxy-timeout is for --proxy-from"));
    }
    if lookup_timeout.is_some() && !resolve && !ident {
        return Err(Fatal::usage(
            "--lookup-timeout is for --resolve and --ident",
        ));
    }
    Ok(Admission {
        max_per_source: max_per_source(typed, most)?,
        refusal: value(typed, "refuse")
            .map(|word| refusal::message("--refuse", word))
            .transpose()?,
        rate: value(typed, "rate")
            .map(|word| rate::rate("--rate", word))
            .transpose()?,
        rate_per_source: value(typed, "rate-per-source")
            .map(|word| rate::rate("--rate-per-source", word))
            .transpose()?,
        allow: members(typed, "allow")?,
        deny: members(typed, "deny")?,
        rules: rules(typed)?,
        proxies: proxies
            .map(|word| lists::proxies("--proxy-from", word))
            .transpose()?,
        proxy_timeout: proxy_timeout.unwrap_or(PROXY_SECS),
        resolve,
        ident,
        lookup_timeout: lookup_timeout.unwrap_or(LOOKUP_SECS),
    })
}

/// The PEER of `--check-peer`.
///
/// # Errors
/// A usage error.
pub(super) fn inquiry(typed: &ArgMatches) -> Result<Option<Inquiry>, Fatal> {
    let word = value(typed, "check-peer");
    word.map(|word| inquiry::inquiry("--check-peer", word))
        .transpose()
}

fn max_per_source(typed: &ArgMatches, most: u64) -> Result<Option<NonZeroU32>, Fatal> {
    let Some(text) = value(typed, "max-per-source") else {
        return Ok(None);
    };
    let number = number::option("--max-per-source", text.as_bytes(), &(1..=most))?;
    Ok(u32::try_from(number).ok().and_then(NonZeroU32::new))
}

fn members(typed: &ArgMatches, name: &'static str) -> Result<Vec<Member>, Fatal> {
    let option = format!("--{name}");
    let mut members = Vec::new();
    for (_, word) in values(typed, name) {
        members.extend(lists::peers(&option, word)?);
    }
    Ok(members)
}

fn rules(typed: &ArgMatches) -> Result<Option<Box<OsStr>>, Fatal> {
    match value(typed, "rules") {
        Some(word) if word.is_empty() => Err(Fatal::usage("--rules: a path is missing")),
        word => Ok(word.map(Box::from)),
    }
}
