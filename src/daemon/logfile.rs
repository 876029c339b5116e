//! A log file: opened at the start, and again when it has been rotated.

use crate::model::state;
use crate::sys::errno::Errno;
use crate::sys::fd;
use crate::sys::handover::Keeper;
use crate::sys::path::Entry;
use crate::sys::process;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Where the log is; the folder is held open, so that it is found again from inside a chroot.
pub(crate) struct LogFile {
    entry: Entry,
    file: Option<OwnedFd>,
    /// The umask at the start, by which a new file is made when it is opened again.
    umask: u32,
}

impl LogFile {
    /// Creates the file, or truncates it, or will append to it.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(crate) fn open(path: &OsStr, truncate: bool) -> Result<Self, Errno> {
        let entry = Entry::open(path.as_bytes())?;
        let file = entry.open_log(truncate)?;
        let umask = process::umask();
        Ok(Self {
            entry,
            file: Some(file),
            umask,
        })
    }

    /// What a new skd in our place needs in order to open it again.
    pub(crate) fn keep(&self, keeper: &mut Keeper) -> Result<state::Log, Errno> {
        Ok(state::Log::File {
            at: self.entry.keep(keeper)?.into(),
            umask: self.umask,
        })
    }

    /// The log of the skd before us, which is on descriptor 2.
    ///
    /// # Errors
    /// The number is not open.
    pub(crate) fn resume(at: &state::Held, umask: u32) -> Result<Self, Errno> {
        Ok(Self {
            entry: Entry::resume(at.folder, &at.name)?,
            file: None,
            umask,
        })
    }

    /// Makes the file that was opened at the start stderr.
    ///
    /// # Errors
    /// dup2(2) failed.
    pub(crate) fn become_stderr(&mut self) -> Result<(), Errno> {
        match self.file.take() {
            Some(file) => fd::replace_standard(2, file.as_fd()),
            None => Ok(()),
        }
    }

    /// Opens it again by its name, appending, and makes that stderr; on failure the old file stays.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(crate) fn reopen(&self) -> Result<(), Errno> {
        let now = process::set_umask(self.umask);
        let file = self.entry.open_log(false);
        process::set_umask(now);
        fd::replace_standard(2, file?.as_fd())
    }
}
