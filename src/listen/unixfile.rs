//! The files of unix sockets: what may be replaced, and what is removed at the end.

use crate::listen::Listener;
use crate::model::address::{Place, Style, UnixName};
use crate::model::service::Replaces;
use crate::model::state::Held;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::path::{Entry, Found, Identity};
use crate::sys::sockaddr::SockAddr;
use crate::sys::{fd, process, sockdiag, socket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A socket file that skd made. It is removed when this is dropped, so that a start that fails leaves nothing behind.
#[derive(Debug)]
pub(crate) struct SocketFile {
    entry: Entry,
    identity: Identity,
    /// Removed already, or not to be.
    is_removed: bool,
}

impl SocketFile {
    /// Removes the file, if it is still the one that was made.
    ///
    /// # Errors
    /// Why it could not be removed.
    pub(crate) fn remove(mut self) -> Result<(), Errno> {
        self.is_removed = true;
        self.entry.remove_if(self.identity)
    }

    /// What a new skd in our place needs in order to remove it.
    pub(crate) fn keep(&self, keeper: &mut Keeper) -> Result<(Held, Identity), Errno> {
        Ok((self.entry.keep(keeper)?.into(), self.identity))
    }

    /// The one of the skd before us.
    ///
    /// # Errors
    /// The number is not open.
    pub(crate) fn resume((at, identity): &(Held, Identity)) -> Result<Self, Errno> {
        Ok(Self {
            entry: Entry::resume(at.folder, &at.name)?,
            identity: *identity,
            is_removed: false,
        })
    }

    /// The file that a socket was bound to, if it is still at its path.
    pub(crate) fn of(listener: &Listener) -> Option<Self> {
        let Place::Unix(Some(UnixName::Path(path))) = &listener.place else {
            return None;
        };
        let (_, inode) = fd::identity(listener).ok()?;
        let bound = sockdiag::unix_file(u32::try_from(inode).ok()?).ok()?;
        let entry = Entry::open(path).ok()?;
        let Found::Socket(held) = entry.look().ok()? else {
            return None;
        };
        let identity = held.identity();
        // The kernel tells the low half of the number.
        (identity.1 & u64::from(u32::MAX) == u64::from(bound)).then_some(Self {
            entry,
            identity,
            is_removed: false,
        })
    }

    /// A socket like `before`, whose file this is, in its place: at the same path, with the mode and the owner that the file
    /// has now. Those who wait at the one before are lost.
    ///
    /// # Errors
    /// Why there can be none; the file is left as it is, or gone.
    pub(crate) fn replace(&mut self, before: &Listener, backlog: i32) -> Result<OwnedFd, Refusal> {
        let (Place::Unix(Some(UnixName::Path(path))), Found::Socket(held)) =
            (&before.place, self.entry.look()?)
        else {
            return Err(Errno::NOT_FOUND.into());
        };
        // In another folder by now, or after a change of the root folder, the path leads elsewhere.
        let folder = Entry::open(path)?.folder_identity()?;
        if held.identity() != self.identity || folder != self.entry.folder_identity()? {
            return Err(Errno::NOT_FOUND.into());
        }
        let (mode, uid, gid) = held.access()?;
        let access = Access {
            mode: Some(mode),
            owner: Some((uid, Some(gid))),
            replaces: Replaces::DeadSockets,
            patience: Duration::ZERO,
        };
        let made = socket::make(socket::AF_UNIX, socket_type(before.style))?;
        let listen = || socket::listen(&made, backlog);
        let file = bind(&made, before.style, path, access, listen)?;
        std::mem::replace(self, file).leave();
        Ok(made)
    }

    /// The file stays: somebody else keeps the socket.
    pub(crate) fn leave(mut self) {
        self.is_removed = true;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_removed {
            // The trouble that ends skd is the one to tell of.
            let _ = self.entry.remove_if(self.identity);
        }
    }
}

/// Who may use a socket file: mode bits and owner; `None` leaves them to the umask and to us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) mode: Option<u32>,
    pub(crate) owner: Option<(u32, Option<u32>)>,
    pub(crate) replaces: Replaces,
    /// How long the lock of the folder is worth waiting for.
    pub(crate) patience: Duration,
}

/// How often a path is tried that others keep changing under us.
const TRIES: usize = 5;

/// Why a path could not be bound.
#[derive(Debug)]
pub(crate) enum Refusal {
    System(Errno),
    /// Something that is no socket lies there.
    Foreign,
    /// The file could not be given what this option says.
    Option(&'static str, Errno),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::IS_FOLDER => Self::Foreign,
            errno => Self::System(errno),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System(errno) | Self::Option(_, errno) => write!(out, "{errno}"),
            Self::Foreign => out.write_str("File exists and is no socket"),
        }
    }
}

/// sun_path for a name: a path with its NUL, or an abstract name behind one.
pub(crate) fn sun_path(name: &UnixName) -> Vec<u8> {
    match name {
        UnixName::Path(path) => [path, &b"\0"[..]].concat(),
        UnixName::Abstract(name) => [&b"\0"[..], name].concat(),
    }
}

/// Looks at what lies at `path` without touching it.
///
/// # Errors
/// The folder is not there, or something that is no socket lies at the path.
pub(crate) fn look(path: &[u8]) -> Result<(), Refusal> {
    match Entry::open(path)?.look()? {
        Found::Foreign => Err(Refusal::Foreign),
        Found::Nothing | Found::Socket(_) => Ok(()),
    }
}

/// bind(2) to a path, and `listen`: a dead socket file in the way is replaced, a live one and anything else are left
/// alone, unless `access` says otherwise. Mode and owner are in force when it returns, and nobody could connect before.
///
/// # Errors
/// EADDRINUSE for a live socket; `Foreign`; else why not.
pub(crate) fn bind(
    socket: &OwnedFd,
    style: Style,
    path: &[u8],
    access: Access,
    listen: impl FnOnce() -> Result<(), Errno>,
) -> Result<SocketFile, Refusal> {
    let entry = Entry::open(path)?;
    // Held until it listens: in between it would look dead to others.
    let _lock = entry.lock_folder(access.patience);
    let file = bound(socket, style, path, access, entry)?;
    listen()?;
    Ok(file)
}

fn bound(
    socket: &OwnedFd,
    style: Style,
    path: &[u8],
    access: Access,
    entry: Entry,
) -> Result<SocketFile, Refusal> {
    let name = UnixName::Path(path.into());
    let address = SockAddr::unix(&sun_path(&name)).ok_or(Errno::NAME_TOO_LONG)?;
    for _ in 0..TRIES {
        match bind_with_mode(socket, &address, access) {
            Ok(()) => return made(entry, access),
            Err(errno) if errno == Errno::ADDRESS_IN_USE => {}
            Err(errno) => return Err(errno.into()),
        }
        match entry.look()? {
            Found::Nothing => {}
            Found::Foreign => return Err(Refusal::Foreign),
            Found::Socket(_) if access.replaces == Replaces::Nothing => break,
            Found::Socket(_)
                if access.replaces == Replaces::DeadSockets && is_live(style, &address)? =>
            {
                break;
            }
            Found::Socket(dead) => {
                entry.remove_dead(&dead)?;
            }
        }
    }
    Err(Errno::ADDRESS_IN_USE.into())
}

/// bind(2) under the umask that gives the file its mode at birth: the mode itself, or none at all while the owner is
/// not right yet.
fn bind_with_mode(socket: &OwnedFd, address: &SockAddr, access: Access) -> Result<(), Errno> {
    let hidden = match (access.owner, access.mode) {
        (Some(_), _) => 0o777,
        (None, Some(mode)) => 0o777 & !mode,
        (None, None) => return socket::bind(socket, address),
    };
    let before = process::set_umask(hidden);
    let bound = socket::bind(socket, address);
    process::set_umask(before);
    bound
}

/// The file that has just been made, with its owner and mode; it is removed if it cannot be held or they cannot be set.
fn made(entry: Entry, access: Access) -> Result<SocketFile, Refusal> {
    let found = entry.look();
    if found.is_err() {
        // A moment ago it was bound, where nothing was.
        let _ = entry.remove_file();
    }
    let Found::Socket(held) = found? else {
        return Err(Errno::ADDRESS_IN_USE.into());
    };
    let file = SocketFile {
        identity: held.identity(),
        entry,
        is_removed: false,
    };
    let Some((uid, gid)) = access.owner else {
        return Ok(file);
    };
    let mode = access.mode.unwrap_or_else(|| 0o777 & !process::umask());
    let option = |name| move |errno| Refusal::Option(name, errno);
    held.set_owner(uid, gid).map_err(option("--owner"))?;
    // Without --mode it is the owner for whose sake the file had none yet.
    let name = access.mode.map_or("--owner", |_| "--mode");
    held.set_mode(mode).map_err(option(name))?;
    Ok(file)
}

/// Whether something accepts a connect at this address. The probe does not wait: a server whose backlog is full is
/// alive, and so is a socket of another style.
///
/// # Errors
/// It cannot be told, because connecting is not allowed.
fn is_live(style: Style, address: &SockAddr) -> Result<bool, Errno> {
    let probe = socket::make(socket::AF_UNIX, socket_type(style))?;
    match socket::connect(probe.as_fd(), address) {
        Ok(()) | Err(Errno::AGAIN | Errno::WRONG_TYPE) => Ok(true),
        Err(Errno::REFUSED | Errno::NOT_FOUND) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The number of a style for socket(2).
pub(crate) fn socket_type(style: Style) -> i32 {
    match style {
        // The last is of others' making, and never asked for here.
        Style::Stream | Style::Readable => socket::SOCK_STREAM,
        Style::Datagram => socket::SOCK_DGRAM,
        Style::SeqPacket => socket::SOCK_SEQPACKET,
    }
}
