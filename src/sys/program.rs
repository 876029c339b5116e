//! A program ready to be run: strings and pointers as execve(2) wants them.

use std::ffi::{CString, c_char};

/// What is run: path, argv and the part of the environment that is the same for every connection.
pub(crate) struct Program {
    pub(super) path: CString,
    pub(super) argv: Strings,
    pub(super) environment: Strings,
}

/// Strings and the pointers to them, without a null at the end.
pub(super) struct Strings {
    pub(super) pointers: Vec<*const c_char>,
    /// What the pointers point to.
    _owned: Vec<CString>,
}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        // A CString keeps its bytes on the heap, so the pointers stay good when the vector itself moves.
        Self {
            pointers: owned.iter().map(|string| string.as_ptr()).collect(),
            _owned: owned,
        }
    }
}

impl Program {
    /// `argv` and `environment` in order; environment strings are `NAME=VALUE`.
    pub(crate) fn new(path: CString, argv: Vec<CString>, environment: Vec<CString>) -> Self {
        Self {
            path,
            argv: Strings::new(argv),
            environment: Strings::new(environment),
        }
    }
}
