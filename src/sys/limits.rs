//! Resource limits: more descriptors for skd itself, none more for its children.

use crate::sys::errno::{Errno, check};

/// RLIMIT_NOFILE as prlimit64(2) has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub(crate) struct FileLimit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// setrlimit(2): the limit as it was before `raise_files`.
pub(crate) fn set_files(limit: FileLimit) -> Result<(), Errno> {
    let limit = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: the call reads one rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// Raises the number of descriptors that we may have to what is allowed; returns what it was before if it was less.
///
/// # Errors
/// getrlimit(2) or setrlimit(2) failed.
pub(crate) fn raise_files() -> Result<Option<FileLimit>, Errno> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes one rlimit into `limit`.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let before = FileLimit {
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    };
    if before.soft >= before.hard {
        return Ok(None);
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the call reads one rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(Some(before))
}
