//! Descriptors for a program that takes our place: some where sd_listen_fds(3) has them, some under numbers that it is
//! told, and a text in memory.

use crate::sys::errno::{Errno, check};
use crate::sys::fd;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::c_int;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// SD_LISTEN_FDS_START of sd_listen_fds(3).
const FIRST: c_int = 3;

/// The most that is read of a text in memory, in bytes.
const TEXT_BYTES: u64 = 256 << 20;

/// Copies that stay open across execve(2), under numbers that nothing else will have by then. They are closed again when
/// this is dropped.
pub(crate) struct Keeper {
    least: c_int,
    copies: Vec<OwnedFd>,
}

impl Keeper {
    /// For a program that gets `listen_fds` descriptors from 3 on.
    pub(crate) fn beyond(listen_fds: usize) -> Self {
        let least = c_int::try_from(listen_fds).unwrap_or(c_int::MAX);
        Self {
            least: FIRST.saturating_add(least),
            copies: Vec::new(),
        }
    }

    /// fcntl(2) F_DUPFD: the number under which the program finds the file.
    pub(crate) fn keep(&mut self, fd: impl AsFd) -> Result<c_int, Errno> {
        let number = fcntl(fd, FcntlArg::F_DUPFD(self.least))?;
        // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
        self.copies.push(unsafe { OwnedFd::from_raw_fd(number) });
        Ok(number)
    }
}

/// memfd_create(2): a text in memory, sealed, so that it can no longer change.
pub(crate) fn write_text(text: &str) -> Result<OwnedFd, Errno> {
    write_bytes(text.as_bytes())
}

/// The same of bytes of any kind.
pub(crate) fn write_bytes(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"skd-state", flags)?);
    file.write_all(bytes).map_err(|error| Errno::of(&error))?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(sealed()))?;
    Ok(file.into())
}

fn sealed() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

/// The text that `write_text` made, from the descriptor of this number, which is ours from here on. Where others read it
/// too, none disturbs another.
///
/// # Errors
/// It is not open, or no such text.
pub(crate) fn read_text(number: c_int) -> Result<String, Errno> {
    String::from_utf8(read_bytes(number)?).map_err(|_| Errno::INVALID)
}

/// The same for bytes of any kind.
///
/// # Errors
/// It is not open, or no such bytes.
pub(crate) fn read_bytes(number: c_int) -> Result<Vec<u8>, Errno> {
    let file = File::from(fd::take(number)?);
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS)?;
    let len = file.metadata().map_err(|error| Errno::of(&error))?.len();
    if !SealFlag::from_bits_truncate(seals).contains(sealed()) || len > TEXT_BYTES {
        return Err(Errno::INVALID);
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::INVALID)?];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|error| Errno::of(&error))?;
    Ok(bytes)
}

/// What a number referred to, to be put back.
struct Before {
    number: c_int,
    /// `None` if it was not open.
    file: Option<OwnedFd>,
}

/// Does `deed`, which is execve(2), while `fds` are the descriptors from 3 up, open across it. When it returns, which it
/// does only on failure, every number refers again to what it did before.
///
/// # Errors
/// There were not enough descriptors, or not enough numbers.
pub(crate) fn with_listen_fds<T>(
    fds: &[BorrowedFd<'_>],
    deed: impl FnOnce() -> T,
) -> Result<T, Errno> {
    let end = FIRST + c_int::try_from(fds.len()).map_err(|_| Errno::INVALID)?;
    // Copies beyond all the numbers that are about to be taken, so that none is overwritten before it is moved.
    let copies = fds
        .iter()
        .map(|fd| copy_above(fd.as_raw_fd(), end))
        .collect::<Result<Vec<_>, _>>()?;
    let mut before = Vec::new();
    for number in FIRST..end {
        let file = match copy_above(number, end) {
            Ok(file) => Some(file),
            Err(Errno(libc::EBADF)) => None,
            Err(errno) => return Err(errno),
        };
        before.push(Before { number, file });
    }
    let placed = copies
        .iter()
        .zip(FIRST..)
        .try_for_each(|(copy, number)| replace(copy.as_raw_fd(), number, 0));
    let done = placed.map(|()| deed());
    for Before { number, file } in before {
        match file {
            // Everything of ours above 2 is close-on-exec.
            Some(file) => replace(file.as_raw_fd(), number, libc::O_CLOEXEC)?,
            // SAFETY: the number was free before, so nobody owns it.
            None => drop(unsafe { libc::close(number) }),
        }
    }
    done
}

/// fcntl(2) F_DUPFD_CLOEXEC: the same file under a number from `least` up.
fn copy_above(number: c_int, least: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no pointer.
    let copy = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, least) })?;
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// dup3(2)
fn replace(from: c_int, to: c_int, flags: c_int) -> Result<(), Errno> {
    // SAFETY: the call takes no pointer. What owns `to` has its file back before it is next used: nothing but the deed
    // happens in between, and this is the only thread with this table.
    check(unsafe { libc::dup3(from, to, flags) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_text_can_be_read_again_and_again_and_never_changes() {
        let text = "skd \u{e9}\n".repeat(5000);
        let memory = write_text(&text).unwrap();
        let copy = || memory.try_clone().unwrap();
        assert!(File::from(copy()).write_all(b"x").is_err());
        for _ in 0..2 {
            assert_eq!(read_text(copy().into_raw_fd()).unwrap(), text);
        }
        let file = File::open("/proc/self/stat").unwrap();
        assert!(read_text(file.into_raw_fd()).is_err());
        assert_eq!(read_text(c_int::MAX).unwrap_err(), Errno(libc::EBADF));
    }

    /// In a thread with a descriptor table of its own.
    #[test]
    fn numbers_are_lent_and_given_back() {
        let thread = std::thread::spawn(|| {
            // SAFETY: the call takes no pointer; this thread owns no descriptor that another could close.
            check(unsafe { libc::unshare(libc::CLONE_FILES) }).unwrap();
            fd::close_all_but(&[]).unwrap();
            let files =
                ["/dev/null", "/dev/zero", "/dev/full"].map(|path| File::open(path).unwrap());
            let seen = |count: c_int| -> Vec<Option<fd::Identity>> {
                let numbers = FIRST..FIRST + count;
                let look = |number| {
                    // SAFETY: in this thread nobody closes it meanwhile.
                    fd::identity(unsafe { BorrowedFd::borrow_raw(number) }).ok()
                };
                numbers.map(look).collect()
            };
            let [null, zero, full] = files.each_ref().map(|file| fd::identity(file).ok());
            let before = seen(8);
            assert_eq!(before, [null, zero, full, None, None, None, None, None]);
            let [null_fd, zero_fd, full_fd] = files.each_ref().map(AsFd::as_fd);
            let lent = [full_fd, null_fd, zero_fd, full_fd];
            let inside = with_listen_fds(&lent, || seen(4)).unwrap();
            assert_eq!(inside, [full, null, zero, full]);
            assert_eq!(seen(8), before);
            // The files are theirs alone again.
            files.into_iter().for_each(drop);
            assert_eq!(seen(8), [None; 8]);
        });
        thread.join().unwrap();
    }
}
