//! The pid file: one live owner, told by a lock.

use crate::model::error::Fatal;
use crate::model::number;
use crate::model::state::Held;
use crate::model::text::Quoted;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::ownfile::Locked;
use crate::sys::path::Entry;
use crate::sys::{fd, process};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// How often we try again when another skd comes or goes at the same moment, and how long we wait for it.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// A pid file that is ours, and locked as long as this lives. It is removed when it is dropped, so that a start that
/// fails leaves nothing behind.
pub(crate) struct PidFile {
    /// Its path for messages, in quotes; after an upgrade its name alone.
    shown: String,
    entry: Entry,
    file: Locked,
    is_removed: bool,
}

impl PidFile {
    /// Writes our pid to a new file, locks it and puts it in place, unless a live process holds what is there.
    ///
    /// # Errors
    /// 111: a live owner, named by its pid; something there that is no regular file; why not, else.
    pub(crate) fn make(path: &OsStr) -> Result<Self, Fatal> {
        let deed = format!("write the pid file {}", Quoted(path.as_bytes()));
        let unable = |errno: Errno| Fatal::unable(&deed, errno);
        let entry = Entry::open(path.as_bytes()).map_err(unable)?;
        let text = format!("{}\n", process::own_pid());
        let mut is_locked = false;
        for _ in 0..TRIES {
            // Held until ours is in place: whoever waits for this one finds ours afterwards.
            let existing = entry.lock_existing();
            is_locked = existing.as_ref().is_err_and(|it| *it == Errno::AGAIN);
            let before = match existing {
                Ok(before) => before,
                Err(Errno::AGAIN) => match owner(&entry) {
                    Some(pid) => {
                        let holder = locked_by(&entry).unwrap_or(pid);
                        return Err(Fatal::unable(&deed, held_by(holder)));
                    }
                    // Perhaps another skd, about to replace it.
                    None => {
                        std::thread::sleep(PAUSE);
                        continue;
                    }
                },
                Err(Errno::LOOP) => return Err(Fatal::unable(&deed, "it is a symbolic link")),
                Err(Errno::INVALID) => return Err(Fatal::unable(&deed, "it is no regular file")),
                Err(errno) => return Err(unable(errno)),
            };
            let put = entry.put_locked(text.as_bytes(), before.as_ref());
            if let Some(file) = put.map_err(unable)? {
                return Ok(Self {
                    shown: Quoted(path.as_bytes()).to_string(),
                    entry,
                    file,
                    is_removed: false,
                });
            }
        }
        // The lock decides, whatever the text says.
        let why = match is_locked.then(|| locked_by(&entry)) {
            None => "others keep changing it".into(),
            Some(None) => "another process holds its lock".into(),
            Some(Some(pid)) => held_by(pid),
        };
        Err(Fatal::unable(deed, why))
    }

    /// What a new skd in our place needs in order to own it.
    pub(crate) fn keep(&self, keeper: &mut Keeper) -> Result<(i32, Held), Errno> {
        Ok((
            keeper.keep(self.file.file())?,
            self.entry.keep(keeper)?.into(),
        ))
    }

    /// The one of the skd before us.
    ///
    /// # Errors
    /// A number is not open.
    pub(crate) fn resume((file, at): &(i32, Held)) -> Result<Self, Errno> {
        Ok(Self {
            shown: Quoted(&at.name).to_string(),
            entry: Entry::resume(at.folder, &at.name)?,
            file: Locked::resume(*file)?,
            is_removed: false,
        })
    }

    /// For a program that takes our place: it inherits the lock, on a descriptor from `least` up. The file stays, since
    /// nothing is dropped then.
    ///
    /// # Errors
    /// 111.
    pub(crate) fn pass_on(&self, least: i32) -> Result<(), Fatal> {
        fd::copy_to_inherit(self.file.file(), least)
            .map_err(|errno| Fatal::unable("pass on the pid file", errno))
    }

    /// Its path in quotes, for a message.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Removes the file, if it is still ours.
    ///
    /// # Errors
    /// Why it could not be removed.
    pub(crate) fn remove(mut self) -> Result<(), Errno> {
        self.is_removed = true;
        self.entry.remove_if(self.file.identity())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.is_removed {
            // The trouble that ends skd is the one to tell of.
            let _ = self.entry.remove_if(self.file.identity());
        }
    }
}

/// Who has locked the file, if that process lives and can be seen.
fn locked_by(entry: &Entry) -> Option<i32> {
    entry.locked_by().filter(|pid| process::is_alive(*pid))
}

fn held_by(pid: i32) -> String {
    format!("process {pid} holds it")
}

/// Who holds the file, as it says itself, if that process lives.
fn owner(entry: &Entry) -> Option<i32> {
    let text = entry.read_start().ok()?;
    let pid = i32::try_from(number::decimal(text.trim_ascii())?).ok()?;
    process::is_alive(pid).then_some(pid)
}
