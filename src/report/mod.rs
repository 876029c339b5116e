//! From an event to whoever reads of it: the log, the service manager.
#![forbid(unsafe_code)]

pub(crate) mod ending;
pub(crate) mod form;
pub(crate) mod http;
mod json;
mod line;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod notify;
mod repeats;
