//! May it come in: counts and limits by source; pure: facts and the time come in as arguments.
#![forbid(unsafe_code)]

pub(crate) mod sources;
