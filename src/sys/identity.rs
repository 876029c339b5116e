//! Who we are: given up for good, and proved to be gone.

use crate::sys::errno::{Errno, check};
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};
use std::ffi::{CStr, CString};

/// Whom to become; `None` leaves that as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ids {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Supplementary groups, all of them.
    pub(crate) groups: Option<Vec<u32>>,
}

/// What could not be given up.
#[derive(Debug)]
pub(crate) enum Stuck {
    Groups(Errno),
    Group(Errno),
    User(Errno),
    /// It was said to be done, but is not, or could be undone.
    Unproved(&'static str),
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Groups(errno) => write!(out, "unable to set the groups: {errno}"),
            Self::Group(errno) => write!(out, "unable to set the group: {errno}"),
            Self::User(errno) => write!(out, "unable to set the user: {errno}"),
            Self::Unproved(what) => write!(out, "unable to drop privileges: {what}"),
        }
    }
}

impl Ids {
    /// Whether we are all of this already, so that nothing has to change.
    pub(crate) fn are_ours(&self) -> bool {
        let ours = self.is_proved() && self.groups.as_ref().is_none_or(|groups| has_groups(groups));
        ours || *self == Self::default()
    }

    /// setgroups(2), setresgid(2), setresuid(2), in that order, then the proof that all ids are as asked and that the
    /// way back is shut.
    ///
    /// # Errors
    /// What could not be done or proved. The caller must not go on then.
    pub(crate) fn become_them(&self) -> Result<(), Stuck> {
        if !is_root() && self.are_ours() {
            return Ok(());
        }
        if let Some(groups) = &self.groups {
            let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
            setgroups(&groups).map_err(|errno| Stuck::Groups(errno.into()))?;
        }
        if let Some(gid) = self.gid.map(Gid::from_raw) {
            setresgid(gid, gid, gid).map_err(|errno| Stuck::Group(errno.into()))?;
        }
        if let Some(uid) = self.uid.map(Uid::from_raw) {
            setresuid(uid, uid, uid).map_err(|errno| Stuck::User(errno.into()))?;
        }
        if !self.is_proved() {
            return Err(Stuck::Unproved("the ids are not what was asked for"));
        }
        if self
            .groups
            .as_ref()
            .is_some_and(|groups| !has_groups(groups))
        {
            return Err(Stuck::Unproved("the groups are not what was asked for"));
        }
        match self.uid {
            Some(uid) if uid != 0 => prove_shut(),
            _ => Ok(()),
        }
    }

    /// Whether real, effective and saved ids are what is asked for.
    fn is_proved(&self) -> bool {
        let (Ok(uids), Ok(gids)) = (getresuid(), getresgid()) else {
            return false;
        };
        let all = |id: Option<u32>, ids: [u32; 3]| id.is_none_or(|id| ids == [id; 3]);
        all(
            self.uid,
            [
                uids.real.as_raw(),
                uids.effective.as_raw(),
                uids.saved.as_raw(),
            ],
        ) && all(
            self.gid,
            [
                gids.real.as_raw(),
                gids.effective.as_raw(),
                gids.saved.as_raw(),
            ],
        )
    }
}

/// Whether the supplementary groups are these. The effective group counts in either case, listed or not.
fn has_groups(groups: &[u32]) -> bool {
    let Ok(have) = getgroups() else { return false };
    let own = nix::unistd::getegid().as_raw();
    let mut have: Vec<u32> = have.into_iter().map(Gid::as_raw).collect();
    let mut want = groups.to_vec();
    for list in [&mut have, &mut want] {
        list.push(own);
        list.sort_unstable();
        list.dedup();
    }
    have == want
}

/// Having given up root: nothing of it may be left, and no call may bring it back.
fn prove_shut() -> Result<(), Stuck> {
    let root = Uid::from_raw(0);
    if setresuid(root, root, root).is_ok() || nix::unistd::seteuid(root).is_ok() {
        return Err(Stuck::Unproved("root can still be had again"));
    }
    match capabilities() {
        Ok((0, 0)) => Ok(()),
        Ok(_) => Err(Stuck::Unproved("capabilities are left")),
        Err(_) => Err(Stuck::Unproved("the capabilities cannot be read")),
    }
}

/// capget(2): the effective and the permitted capabilities.
fn capabilities() -> Result<(u64, u64), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // Twice effective, permitted, inheritable: the lower and the upper 32 bits.
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: version 3 reads one header and writes two sets of three words, which is what is there.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    check(libc::c_int::from(done != 0).wrapping_neg())?;
    let [
        [effective_low, permitted_low, _],
        [effective_high, permitted_high, _],
    ] = sets;
    let whole = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    Ok((
        whole(effective_high, effective_low),
        whole(permitted_high, permitted_low),
    ))
}

/// getgrouplist(3): the groups of a user, its primary one included.
///
/// # Errors
/// The database cannot be read.
pub(crate) fn groups_of(user: &str, gid: u32) -> Result<Vec<u32>, Errno> {
    let user = CString::new(user).map_err(|_| Errno(libc::EINVAL))?;
    let groups = nix::unistd::getgrouplist(&user, Gid::from_raw(gid))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

/// getpwuid_r(3): name and primary gid of a user, by number.
pub(crate) fn user_of_uid(uid: u32) -> Option<(String, u32)> {
    let user = nix::unistd::User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()?;
    Some((user.name, user.gid.as_raw()))
}

/// chroot(2), then chdir(2) to the new root.
pub(crate) fn enter_root(folder: &CStr) -> Result<(), Errno> {
    nix::unistd::chroot(folder)?;
    Ok(nix::unistd::chdir("/")?)
}

/// chdir(2).
pub(crate) fn enter_folder(folder: &CStr) -> Result<(), Errno> {
    Ok(nix::unistd::chdir(folder)?)
}

/// prctl(2) PR_SET_NO_NEW_PRIVS.
pub(crate) fn forbid_new_privileges() -> Result<(), Errno> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// geteuid(2) is 0.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
