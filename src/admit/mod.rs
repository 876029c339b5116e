//! May it come in: PROXY headers, lists, rules, rates and counts by source; pure: facts and the time come in as arguments.
#![forbid(unsafe_code)]

pub(crate) mod lists;
mod networks;
pub(crate) mod policy;
pub(crate) mod proxy;
pub(crate) mod quota;
pub(crate) mod rates;
pub(crate) mod rules;
pub(crate) mod sources;
