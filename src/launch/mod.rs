//! From a connection to what its child is given: the environment, and the program to run.
#![forbid(unsafe_code)]

pub(crate) mod environ;
mod plan;
pub(crate) mod prog;
pub(crate) mod scrub;
mod variables;
