//! May it come in: PROXY headers, lists, rules, rates and counts by source; pure: facts and the time come in as arguments.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "wired in the commits that follow")]

pub(crate) mod lists;
mod networks;
pub(crate) mod policy;
pub(crate) mod proxy;
pub(crate) mod rates;
pub(crate) mod rules;
pub(crate) mod sources;
