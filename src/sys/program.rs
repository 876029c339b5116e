//! A program ready to be run: strings and pointers as execve(2) wants them.

use crate::sys::errno::Errno;
use crate::sys::fork;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is run: path, argv and the part of the environment that is the same for every connection.
pub(crate) struct Program {
    pub(super) path: CString,
    pub(super) argv: Strings,
    pub(super) environment: Strings,
    /// It leads a session of its own; setsid(2).
    pub(super) leads_session: bool,
}

/// Strings and the pointers to them, without a null at the end.
pub(super) struct Strings {
    pub(super) pointers: Vec<*const c_char>,
    /// What the pointers point to.
    owned: Vec<CString>,
}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        // A CString keeps its bytes on the heap, so the pointers stay good when the vector itself moves.
        Self {
            pointers: owned.iter().map(|string| string.as_ptr()).collect(),
            owned,
        }
    }

    /// The pointers to those variables that none of `strings`, each ended by NUL, has the name of.
    pub(super) fn without(&self, strings: &[u8]) -> Vec<*const c_char> {
        let names: HashSet<&[u8]> = strings
            .split(|byte| *byte == 0)
            .filter_map(|string| string.split(|byte| *byte == b'=').next())
            .collect();
        let is_kept = |variable: &CString| {
            let name = variable.to_bytes().split(|byte| *byte == b'=').next();
            name.is_none_or(|name| !names.contains(name))
        };
        let owned = self.owned.iter().filter(|variable| is_kept(variable));
        owned.map(|variable| variable.as_ptr()).collect()
    }
}

/// Pointers to the strings in `bytes`, each ended by NUL; what is not ended so is none.
pub(super) fn strings_of(bytes: &[u8]) -> impl Iterator<Item = *const c_char> {
    let strings = bytes.split_inclusive(|byte| *byte == 0);
    let whole = strings.filter(|string| string.ends_with(&[0]));
    whole.map(|string| string.as_ptr().cast())
}

impl Program {
    /// execve(2) in our place; `more` are further variables, `NAME=VALUE` each ended by NUL, which take the place of those
    /// of the same name.
    ///
    /// # Errors
    /// It returns only on failure.
    pub(crate) fn execute(&self, more: &[u8]) -> Errno {
        let mut envp = self.environment.without(more);
        envp.extend(strings_of(more));
        envp.push(std::ptr::null());
        let mut argv = self.argv.pointers.clone();
        argv.push(std::ptr::null());
        if self.leads_session {
            // It fails for one that does already.
            let _ = fork::new_session();
        }
        // SAFETY: the path and every string of both lists end in NUL, both lists end in null, and all outlive the call.
        unsafe { libc::execve(self.path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        Errno::last()
    }

    /// Why it could not be executed, in words: what is not found may be what a file that is there is run by.
    pub(crate) fn reason(&self, errno: Errno) -> String {
        let path = Path::new(OsStr::from_bytes(self.path.to_bytes()));
        match errno {
            Errno::NOT_FOUND if path.exists() => format!("{errno} (its interpreter)"),
            _ => errno.to_string(),
        }
    }

    /// The file that is executed.
    pub(crate) fn path(&self) -> &CStr {
        &self.path
    }

    /// `argv` and `environment` in order; environment strings are `NAME=VALUE`.
    pub(crate) fn new(path: CString, argv: Vec<CString>, environment: Vec<CString>) -> Self {
        Self {
            path,
            argv: Strings::new(argv),
            environment: Strings::new(environment),
            leads_session: false,
        }
    }

    /// The same in a session of its own, without a controlling terminal.
    pub(crate) fn leading_session(self) -> Self {
        Self {
            leads_session: true,
            ..self
        }
    }
}
