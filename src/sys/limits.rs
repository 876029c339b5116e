//! Resource limits: more descriptors for skd itself, none more for its children.

use crate::sys::errno::Errno;
use crate::sys::kernel::{self, check};

/// RLIMIT_NOFILE, as a number among a system call's arguments.
pub(crate) const NOFILE: usize = libc::RLIMIT_NOFILE as usize;

/// RLIMIT_NOFILE as prlimit64(2) has it on every machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub(crate) struct FileLimit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// prlimit64(2): the limit from here on.
pub(crate) fn set_files(limit: FileLimit) -> Result<(), Errno> {
    let arguments = [0, NOFILE, (&raw const limit).expose_provenance(), 0];
    // SAFETY: the call reads one limit of this layout; 0 is this process.
    check(unsafe { kernel::syscall(libc::SYS_prlimit64, arguments) })
}

/// Raises the number of descriptors that we may have to what is allowed; returns what it was before if it was less.
///
/// # Errors
/// prlimit64(2) failed.
pub(crate) fn raise_files() -> Result<Option<FileLimit>, Errno> {
    let mut before = FileLimit { soft: 0, hard: 0 };
    let arguments = [0, NOFILE, 0, (&raw mut before).expose_provenance()];
    // SAFETY: the call writes one limit of this layout into `before`; 0 is this process.
    check(unsafe { kernel::syscall(libc::SYS_prlimit64, arguments) })?;
    if before.soft >= before.hard {
        return Ok(None);
    }
    let raised = FileLimit {
        soft: before.hard,
        ..before
    };
    set_files(raised)?;
    Ok(Some(before))
}
