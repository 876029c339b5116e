//! A file that is read again when it has changed, and what it said when it was last right.

use crate::model::state::KeptFile;
use crate::sys::errno::Errno;
use crate::sys::fd::Identity;
use crate::sys::handover::{self, Keeper};
use crate::sys::path::{Entry, Stamp};
use std::os::fd::OwnedFd;

/// Where it is; the folder is held open, so that it is found again from inside a chroot and by an skd that takes our place.
/// Outside one it is found by its path, which may lead to another folder by now.
pub(super) struct HeldFile {
    pub(super) name: Vec<u8>,
    entry: Entry,
    /// The root folder from which the path leads there.
    root: Option<Identity>,
    /// `None` if there was no memory for it.
    good: Option<OwnedFd>,
}

impl HeldFile {
    /// # Errors
    /// There is no such folder.
    pub(super) fn open(name: Vec<u8>) -> Result<Self, Errno> {
        Ok(Self {
            entry: Entry::open(&name)?,
            root: Entry::root(),
            name,
            good: None,
        })
    }

    /// The one of the skd before us, and what it said when it was last right. A check goes by what it says now, unless who
    /// we are by now is not allowed to read it, or where we are its name leads nowhere.
    ///
    /// # Errors
    /// A descriptor is gone.
    pub(super) fn resume(
        name: Vec<u8>,
        (kept, is_check): (&KeptFile, bool),
    ) -> Result<(Self, Option<Vec<u8>>), Errno> {
        let contents = handover::read_bytes(kept.contents)?;
        let entry = Entry::resume(kept.at.folder, &kept.at.name)?;
        // In a chroot the path leads elsewhere, if anywhere.
        let by_path = Entry::open(&name).and_then(|it| it.folder_identity());
        let is_same = by_path == entry.folder_identity();
        let mut it = Self {
            entry,
            root: Entry::root().filter(|_| is_same),
            name,
            good: None,
        };
        it.is_right(&contents);
        let is_read = is_check
            && match it.read(0) {
                Err(Errno::ACCESS_DENIED) => false,
                Err(Errno::NOT_FOUND) => is_same,
                _ => true,
            };
        Ok((it, (!is_read).then_some(contents)))
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
    pub(super) fn stamp(&mut self) -> Option<Stamp> {
        self.entry.follow(&self.name, self.root);
        self.entry.stamp().ok()
    }

    /// No more than `most` bytes of it.
    ///
    /// # Errors
    /// It cannot be opened or read; INVALID if it is no regular file.
    pub(super) fn read(&mut self, most: usize) -> Result<Vec<u8>, Errno> {
        self.entry.follow(&self.name, self.root);
        self.entry.read_whole(most)
    }

    /// Remembers what it says, which is right.
    pub(super) fn is_right(&mut self, contents: &[u8]) {
        self.good = handover::write_bytes(contents).ok();
    }
}
