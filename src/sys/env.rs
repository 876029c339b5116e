//! skd's own environment, words and file.

use std::env;
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// All of the environment, once, before anything changes it.
pub(crate) fn all() -> Vec<(OsString, OsString)> {
    env::vars_os().collect()
}

/// Takes a variable out of our own environment, where a library would read it.
pub(crate) fn forget(name: &OsStr) {
    // SAFETY: skd has one thread while it starts, so nothing reads the environment meanwhile.
    unsafe { env::remove_var(name) };
}

/// AT_EXECFN of getauxval(3): the file that we were executed from, as execve(2) was told; absolute, if the working
/// directory can be told.
pub(crate) fn executed_file() -> Option<CString> {
    // SAFETY: the call takes no pointer.
    let told = unsafe { libc::getauxval(libc::AT_EXECFN) };
    if told == 0 {
        return None;
    }
    let told = std::ptr::with_exposed_provenance::<c_char>(usize::try_from(told).ok()?);
    // SAFETY: the kernel put a string that ends in NUL there, above the stack, where it stays.
    let told = unsafe { CStr::from_ptr(told) };
    let file = Path::new(OsStr::from_bytes(told.to_bytes()));
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    CString::new(file.into_os_string().into_vec()).ok()
}

/// The words that we were called with, the first being what we were called as.
pub(crate) fn words() -> Vec<OsString> {
    env::args_os().collect()
}
