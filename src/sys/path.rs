//! Files of unix sockets: the folder, what lies at a name in it, and replacing or removing just that.

use crate::sys::errno::Errno;
use crate::sys::fd;
use crate::sys::handover::Keeper;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, open, openat, renameat, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) use crate::sys::fd::Identity;
use crate::sys::fd::identity_of;

/// How often the lock of a folder is asked for. skd holds it for less than that.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// One name in one folder; the folder is held open, so that neither a rename above it nor a chroot changes what is
/// meant.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
}

/// What lies at a name.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    /// A socket's file, held so that its inode number cannot go to another file.
    Socket(Held),
    /// Anything else, a symbolic link too.
    Foreign,
}

/// A file held open as a mere place (O_PATH).
#[derive(Debug)]
pub(crate) struct Held(OwnedFd, Identity);

impl Held {
    /// Device and inode.
    pub(crate) fn identity(&self) -> Identity {
        self.1
    }

    /// fstat(2): mode bits, uid and gid.
    pub(crate) fn access(&self) -> Result<(u32, u32, u32), Errno> {
        let status = fstat(&self.0)?;
        Ok((status.st_mode & 0o7777, status.st_uid, status.st_gid))
    }

    /// fchownat(2) with AT_EMPTY_PATH: the owner of this very file.
    pub(crate) fn set_owner(&self, uid: u32, gid: Option<u32>) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(uid), gid.map(Gid::from_raw));
        Ok(fchownat(
            &self.0,
            "",
            Some(uid),
            gid,
            AtFlags::AT_EMPTY_PATH,
        )?)
    }

    /// chmod(2) of this very file: fchmodat2 where the kernel has it (6.6) and a filter of calls (seccomp) knows it, else by
    /// its name in /proc.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        const FCHMODAT2: libc::c_long = 452;
        let fd = self.0.as_raw_fd();
        // SAFETY: the path is an empty string with its NUL, and outlives the call.
        let done = unsafe { libc::syscall(FCHMODAT2, fd, c"".as_ptr(), mode, libc::AT_EMPTY_PATH) };
        if done == 0 {
            return Ok(());
        }
        let errno = Errno::last();
        let path = format!("/proc/self/fd/{fd}");
        let mode = Mode::from_bits_truncate(mode);
        let by_name = || {
            let follow = FchmodatFlags::FollowSymlink;
            fchmodat(nix::fcntl::AT_FDCWD, path.as_str(), mode, follow)
        };
        match errno {
            Errno(libc::ENOSYS) => Ok(by_name()?),
            Errno::NOT_PERMITTED => by_name().map_err(|_| errno),
            _ => Err(errno),
        }
    }
}

/// By what a file that has changed is known: device, inode, size, and the times of its contents and of its inode.
pub(crate) type Stamp = (u64, u64, i64, [i64; 4]);

impl Entry {
    /// stat(2) of the file that lies here; a symbolic link is followed.
    pub(crate) fn stamp(&self) -> Result<Stamp, Errno> {
        let status = fstatat(&self.folder, self.name.as_os_str(), AtFlags::empty())?;
        let times = [
            status.st_mtime,
            status.st_mtime_nsec,
            status.st_ctime,
            status.st_ctime_nsec,
        ];
        Ok((status.st_dev, status.st_ino, status.st_size, times))
    }

    /// The contents of the regular file that lies here, but no more than `most` bytes.
    ///
    /// # Errors
    /// It cannot be opened or read; INVALID if it is no regular file.
    pub(crate) fn read_whole(&self, most: usize) -> Result<Vec<u8>, Errno> {
        // To open a device may be a deed.
        let status = fstatat(&self.folder, self.name.as_os_str(), AtFlags::empty())?;
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(Errno::INVALID);
        }
        // A FIFO that took its place meanwhile must not hold us up.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = openat(&self.folder, self.name.as_os_str(), flags, Mode::empty())?;
        let file = File::from(file);
        let is_file = file.metadata().is_ok_and(|file| file.is_file());
        if !is_file {
            return Err(Errno::INVALID);
        }
        let mut contents = Vec::new();
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let read = file.take(most).read_to_end(&mut contents);
        read.map_err(|error| Errno::of(&error))?;
        Ok(contents)
    }

    /// Number and name under which a program that takes our place finds it again.
    pub(crate) fn keep(&self, keeper: &mut Keeper) -> Result<(i32, Vec<u8>), Errno> {
        Ok((keeper.keep(&self.folder)?, self.name.as_bytes().to_vec()))
    }

    /// What `keep` told.
    ///
    /// # Errors
    /// The number is not open.
    pub(crate) fn resume(folder: i32, name: &[u8]) -> Result<Self, Errno> {
        Ok(Self {
            folder: fd::resume(folder)?,
            name: OsStr::from_bytes(name).to_owned(),
        })
    }

    /// Opens the folder that `path` lies in.
    pub(crate) fn open(path: &[u8]) -> Result<Self, Errno> {
        let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => path.split_at_checked(slash + 1).unwrap_or((path, b"")),
            None => (&b"."[..], path),
        };
        if name.is_empty() {
            return Err(Errno::IS_FOLDER);
        }
        let folder = Path::new(OsStr::from_bytes(folder));
        let folder = open(
            folder,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            folder,
            name: OsStr::from_bytes(name).to_owned(),
        })
    }

    /// The same entry where its path leads by now, if it begins at the root and `root` is still that; else as it was.
    pub(crate) fn follow(&mut self, path: &[u8], root: Option<Identity>) {
        if path.starts_with(b"/")
            && root.is_some()
            && root == Self::root()
            && let Ok(moved) = Self::open(path)
        {
            *self = moved;
        }
    }

    /// Device and inode of the root folder, which is another one in a chroot.
    pub(crate) fn root() -> Option<Identity> {
        Self::open(b"/.").and_then(|it| it.folder_identity()).ok()
    }

    /// Device and inode of the folder.
    ///
    /// # Errors
    /// As fstat(2).
    pub(crate) fn folder_identity(&self) -> Result<Identity, Errno> {
        fd::identity(&self.folder)
    }

    /// flock(2) of the folder, so that of several skd that begin at one path only one looks, replaces and listens at a
    /// time. Others may lock a folder for as long as they like, or it may not be readable: then we go on without, after
    /// `patience`.
    pub(crate) fn lock_folder(&self, patience: Duration) -> Option<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = File::from(openat(&self.folder, ".", flags, Mode::empty()).ok()?);
        let deadline = Instant::now() + patience;
        while folder.try_lock().is_err() {
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Some(folder)
    }

    /// What lies here now; a symbolic link is not followed.
    pub(crate) fn look(&self) -> Result<Found, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = match openat(&self.folder, self.name.as_os_str(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(nix::errno::Errno::ENOENT) => return Ok(Found::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        let status = fstat(&file)?;
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK {
            return Ok(Found::Foreign);
        }
        Ok(Found::Socket(Held(file, identity_of(&status))))
    }

    /// Takes away the dead socket file `dead`, and nothing else: the name is moved aside first, and if it was another
    /// file by then, that one is moved back. Returns whether it was `dead`.
    pub(crate) fn remove_dead(&self, dead: &Held) -> Result<bool, Errno> {
        let mut aside = OsString::from(format!(".skd-{}-", std::process::id()));
        aside.push(format!("{:x}", dead.identity().1));
        match renameat(
            &self.folder,
            self.name.as_os_str(),
            &self.folder,
            aside.as_os_str(),
        ) {
            Ok(()) => {}
            Err(nix::errno::Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        let moved = fstatat(
            &self.folder,
            aside.as_os_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
        if identity_of(&moved) == dead.identity() {
            unlinkat(&self.folder, aside.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
            return Ok(true);
        }
        self.move_back(&aside)?;
        Ok(false)
    }

    /// renameat2(2) with RENAME_NOREPLACE. If a third file has taken the name meanwhile, that one stays.
    fn move_back(&self, aside: &OsString) -> Result<(), Errno> {
        let flags = RenameFlags::RENAME_NOREPLACE;
        Ok(renameat2(
            &self.folder,
            aside.as_os_str(),
            &self.folder,
            self.name.as_os_str(),
            flags,
        )?)
    }

    /// unlinkat(2), if what lies here is still the file of this identity.
    pub(crate) fn remove_if(&self, identity: Identity) -> Result<(), Errno> {
        let status = match fstatat(
            self.folder.as_fd(),
            self.name.as_os_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        ) {
            Ok(status) => status,
            Err(nix::errno::Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        if identity_of(&status) == identity {
            unlinkat(
                &self.folder,
                self.name.as_os_str(),
                UnlinkatFlags::NoRemoveDir,
            )?;
        }
        Ok(())
    }
}
