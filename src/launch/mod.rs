//! From a connection to what its child is given: the environment, and the program to run.
#![forbid(unsafe_code)]

pub(crate) mod additions;
pub(crate) mod environ;
pub(crate) mod lookup;
mod plan;
pub(crate) mod prog;
pub(crate) mod scrub;
mod told;
mod variables;
