//! skd's own environment.

use std::env;
use std::ffi::{OsStr, OsString};

/// All of the environment, once, before anything changes it.
pub(crate) fn all() -> Vec<(OsString, OsString)> {
    env::vars_os().collect()
}

/// Takes a variable out of our own environment, where a library would read it.
pub(crate) fn forget(name: &OsStr) {
    // SAFETY: skd has one thread while it starts, so nothing reads the environment meanwhile.
    unsafe { env::remove_var(name) };
}
