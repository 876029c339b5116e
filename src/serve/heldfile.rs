//! A file that is read again when it has changed, and what it said when it was last right.

use crate::model::state::KeptFile;
use crate::sys::errno::Errno;
use crate::sys::handover::{self, Keeper};
use crate::sys::path::{Entry, Stamp};
use std::os::fd::OwnedFd;

/// Where it is; the folder is held open, so that it is found again from inside a chroot and by an skd that takes our place.
pub(super) struct HeldFile {
    pub(super) name: Vec<u8>,
    entry: Entry,
    /// `None` if there was no memory for it.
    good: Option<OwnedFd>,
}

impl HeldFile {
    /// # Errors
    /// There is no such folder.
    pub(super) fn open(name: Vec<u8>) -> Result<Self, Errno> {
        Ok(Self {
            entry: Entry::open(&name)?,
            name,
            good: None,
        })
    }

    /// The one of the skd before us, and what it said when it was last right.
    ///
    /// # Errors
    /// A descriptor is gone.
    pub(super) fn resume(name: Vec<u8>, kept: &KeptFile) -> Result<(Self, Vec<u8>), Errno> {
        let contents = handover::read_bytes(kept.contents)?;
        let mut it = Self {
            entry: Entry::resume(kept.at.folder, &kept.at.name)?,
            name,
            good: None,
        };
        it.is_right(&contents);
        Ok((it, contents))
    }

    /// What an skd in our place needs; `None` if it has to read the file itself.
    pub(super) fn keep(&self, keeper: &mut Keeper) -> Result<Option<KeptFile>, Errno> {
        let keep = |good: &OwnedFd| {
            Ok(KeptFile {
                contents: keeper.keep(good)?,
                at: self.entry.keep(keeper)?.into(),
            })
        };
        self.good.as_ref().map(keep).transpose()
    }

    /// What is known of it without reading it.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.entry.stamp().ok()
    }

    /// No more than `most` bytes of it.
    ///
    /// # Errors
    /// It cannot be opened or read; INVALID if it is no regular file.
    pub(super) fn read(&self, most: usize) -> Result<Vec<u8>, Errno> {
        self.entry.read_whole(most)
    }

    /// Remembers what it says, which is right.
    pub(super) fn is_right(&mut self, contents: &[u8]) {
        self.good = handover::write_bytes(contents).ok();
    }
}
