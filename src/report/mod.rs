//! From an event to whoever reads of it: the log.
#![forbid(unsafe_code)]

pub(crate) mod line;
pub(crate) mod log;
mod repeats;
