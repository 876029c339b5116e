//! From an event to whoever reads of it: the log, the service manager.
#![forbid(unsafe_code)]

pub(crate) mod ending;
pub(crate) mod http;
pub(crate) mod line;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod notify;
mod repeats;
