//! The sockets of a running skd, borrowed from outside, so that what is set on them is read from the real ones.

use crate::kit::skd::Running;
use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// pidfd_open(2) and pidfd_getfd(2) of each of its sockets, in the order of their numbers.
pub(crate) fn borrowed(skd: &Running) -> Vec<OwnedFd> {
    let folder = format!("/proc/{}/fd", skd.pid());
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let is_socket = |path: &std::path::Path| {
        std::fs::read_link(path).is_ok_and(|file| file.to_string_lossy().starts_with("socket:"))
    };
    let sockets = entries.filter(|entry| is_socket(&entry.path()));
    let mut numbers: Vec<i32> = sockets
        .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let process = obtained(libc::SYS_pidfd_open, skd.pid(), 0).unwrap();
    let process = process.as_raw_fd();
    // One may be closed meanwhile, by execve(2) say.
    let get = |number| obtained(libc::SYS_pidfd_getfd, process, number).ok();
    numbers.into_iter().filter_map(get).collect()
}

/// The one socket that it has.
pub(crate) fn the_one(skd: &Running) -> OwnedFd {
    let mut sockets = borrowed(skd);
    assert_eq!(sockets.len(), 1, "{:#?}", skd.seen);
    sockets.remove(0)
}

/// The CID of this machine, if it has one of its own, as a guest does: IOCTL_VM_SOCKETS_GET_LOCAL_CID of vsock(7).
pub(crate) fn own_cid() -> Option<u32> {
    const GET_LOCAL_CID: libc::Ioctl = 0x7b9;
    let device = std::fs::File::open("/dev/vsock").ok()?;
    let mut cid = u32::MAX;
    #[allow(unsafe_code, reason = "nix has no call for this")]
    // SAFETY: the kernel writes four bytes to `cid`, which has as many.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), GET_LOCAL_CID, &raw mut cid) };
    (done == 0 && cid != u32::MAX).then_some(cid)
}

/// A system call that takes two numbers and returns a descriptor.
fn obtained(call: libc::c_long, first: i32, second: i32) -> io::Result<OwnedFd> {
    #[allow(unsafe_code, reason = "nix has no call for this")]
    // SAFETY: both calls take numbers only; the third argument is their flags, of which there are none.
    let made = unsafe { libc::syscall(call, first, second, 0) };
    let made = i32::try_from(made).unwrap();
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: the kernel has just made this descriptor; nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}
