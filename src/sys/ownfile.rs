//! Files of skd's own: the pid file, which a lock makes somebody's, and the log.

use crate::sys::errno::Errno;
use crate::sys::fd::{self, Identity};
use crate::sys::path::Entry;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// A file that we have locked.
#[derive(Debug)]
pub(crate) struct Locked(File, Identity);

impl Locked {
    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> Identity {
        self.1
    }

    /// The one that the program before us kept open, and locked.
    ///
    /// # Errors
    /// The number is not open.
    pub(crate) fn resume(number: i32) -> Result<Self, Errno> {
        let file = fd::resume(number)?;
        let identity = fd::identity(&file)?;
        Ok(Self(file.into(), identity))
    }
}

impl Entry {
    /// openat(2) with O_NOFOLLOW, and flock(2) without waiting, of the regular file that lies here; `None` if there is
    /// nothing, or no longer the file that was opened.
    ///
    /// # Errors
    /// `AGAIN`: another process has it locked; `LOOP`: a symbolic link; `INVALID`: no regular file.
    pub(crate) fn lock_existing(&self) -> Result<Option<Locked>, Errno> {
        let file = match self.open_to_read() {
            Ok(file) => file,
            Err(nix::errno::Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let locked = Self::lock(file.into())?;
        Ok(Some(locked).filter(|locked| self.is_here(locked.identity())))
    }

    fn lock(file: File) -> Result<Locked, Errno> {
        let status = fstat(&file)?;
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(Errno::INVALID);
        }
        match file.try_lock() {
            Ok(()) => Ok(Locked(file, fd::identity_of(&status))),
            Err(TryLockError::WouldBlock) => Err(Errno::AGAIN),
            Err(TryLockError::Error(error)) => Err(Errno::of(&error)),
        }
    }

    /// Whether the file of this identity lies here.
    fn is_here(&self, identity: Identity) -> bool {
        let status = fstatat(
            self.folder.as_fd(),
            self.name.as_os_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        );
        status.is_ok_and(|status| fd::identity_of(&status) == identity)
    }

    /// Writes a new file with these bytes and mode 0644, locks it, and puts it here: in place of `before`, which we
    /// have locked, or where nothing is. `None` if another came in between.
    pub(crate) fn put_locked(
        &self,
        bytes: &[u8],
        before: Option<&Locked>,
    ) -> Result<Option<Locked>, Errno> {
        let mut aside = OsString::from(format!(".skd-{}-", std::process::id()));
        aside.push(&self.name);
        // A name may have 255 bytes, and ours is longer than the one it is for.
        let aside = OsStr::from_bytes(aside.as_bytes().get(..255).unwrap_or(aside.as_bytes()));
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        // Left there by one who had our pid and was killed.
        let _ = unlinkat(&self.folder, aside, UnlinkatFlags::NoRemoveDir);
        let mut file = File::from(openat(&self.folder, aside, flags, mode)?);
        let mut place = || -> Result<Option<Locked>, Errno> {
            // Whatever the umask left of the mode.
            fchmod(&file, mode)?;
            file.write_all(bytes).map_err(|error| Errno::of(&error))?;
            // The lock is on a descriptor that cannot be written to: a program may inherit it. Nobody else can have
            // locked the file before, since nobody else may read it yet.
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let readable = openat(&self.folder, aside, flags, Mode::empty())?;
            let locked = Self::lock(readable.into())?;
            fchmod(&file, Mode::from_bits_truncate(0o644))?;
            let is_free = before.is_none_or(|before| self.is_here(before.identity()));
            if !is_free {
                return Ok(None);
            }
            match self.put(aside, before.is_some()) {
                Ok(()) => Ok(Some(locked)),
                Err(nix::errno::Errno::EEXIST) => Ok(None),
                Err(errno) => Err(errno.into()),
            }
        };
        let placed = place();
        if !matches!(placed, Ok(Some(_))) {
            // It is ours alone, and of no use.
            let _ = unlinkat(&self.folder, aside, UnlinkatFlags::NoRemoveDir);
        }
        placed
    }

    /// renameat2(2) of another file of the folder to here, where nothing is unless it `replaces`.
    fn put(&self, aside: &OsStr, replaces: bool) -> nix::Result<()> {
        let (folder, name) = (&self.folder, self.name.as_os_str());
        let flags = match replaces {
            true => RenameFlags::empty(),
            false => RenameFlags::RENAME_NOREPLACE,
        };
        match renameat2(folder, aside, folder, name, flags) {
            // NFS and others have no such flag; link(2) does not replace anything either.
            Err(nix::errno::Errno::EINVAL) if !replaces => {
                linkat(folder, aside, folder, name, AtFlags::empty())?;
                unlinkat(folder, aside, UnlinkatFlags::NoRemoveDir)
            }
            done => done,
        }
    }

    /// unlinkat(2) of what lies here; that there is nothing is no trouble.
    pub(crate) fn remove_file(&self) -> Result<(), Errno> {
        match unlinkat(
            &self.folder,
            self.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        ) {
            Ok(()) | Err(nix::errno::Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The first bytes of the file that lies here.
    pub(crate) fn read_start(&self) -> Result<Vec<u8>, Errno> {
        let mut start = [0; 100];
        let len = nix::unistd::read(self.open_to_read()?, &mut start)?;
        Ok(start.get(..len).unwrap_or_default().to_vec())
    }

    /// Who locked the file that lies here, as /proc/locks has it, and may have ended and left the lock to another one;
    /// `None` if that is nobody of this pid namespace.
    pub(crate) fn locked_by(&self) -> Option<i32> {
        let (device, inode) = fd::identity(self.open_to_read().ok()?).ok()?;
        let (major, minor) = (libc::major(device), libc::minor(device));
        let file = format!("{major:02x}:{minor:02x}:{inode}");
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        // 1: FLOCK ADVISORY WRITE 4711 fd:01:1234 0 EOF
        let holder = |line: &str| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                [_, "FLOCK", _, _, pid, its, ..] if its == file => pid.parse().ok(),
                _ => None,
            }
        };
        locks.lines().find_map(holder)
    }

    fn open_to_read(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&self.folder, self.name.as_os_str(), flags, Mode::empty())
    }

    /// openat(2) of a log: created if it is not there, appended to, truncated first if so asked.
    pub(crate) fn open_log(&self, truncate: bool) -> Result<OwnedFd, Errno> {
        // Without O_NONBLOCK a FIFO that nobody reads would hold us up for ever.
        let mut flags = OFlag::O_NONBLOCK
            | OFlag::O_WRONLY
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_CLOEXEC
            | OFlag::O_NOCTTY;
        flags.set(OFlag::O_TRUNC, truncate);
        let mode = Mode::from_bits_truncate(0o666);
        let file = openat(&self.folder, self.name.as_os_str(), flags, mode)?;
        fd::set_nonblocking(&file, false)?;
        Ok(file)
    }
}
