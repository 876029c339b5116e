//! What the skd before us, in whose place we are, has left us.

use crate::listen::adopt::listener;
use crate::listen::{Listener, Origin, SocketFile};
use crate::model::address::Style;
use crate::model::error::Fatal;
use crate::model::manager::OWN;
use crate::model::number;
use crate::model::state::{self, State};
use crate::sys::errno::Errno;
use crate::sys::{fd, handover};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Whether there was an skd before us in this process.
pub(crate) enum Resumed {
    /// There was none.
    No,
    /// There was, and its sockets are ours; what it knew cannot be read.
    Blind,
    With(Box<State>),
}

impl Resumed {
    pub(crate) fn is_so(&self) -> bool {
        !matches!(self, Self::No)
    }

    pub(crate) fn state(&self) -> Option<&State> {
        match self {
            Self::With(state) => Some(state),
            Self::No | Self::Blind => None,
        }
    }
}

/// Reads what SKD_STATE leads to, if LISTEN_PID says that it is for us.
pub(crate) fn read(environment: &[(OsString, OsString)], own_pid: i32) -> Resumed {
    let var = |name: &str| {
        let found = environment.iter().find(|(other, _)| other == name);
        found.and_then(|(_, value)| number_of(value))
    };
    let (Some(descriptor), Some(pid), Some(count)) =
        (var("SKD_STATE"), var("LISTEN_PID"), var("LISTEN_FDS"))
    else {
        return Resumed::No;
    };
    if pid != own_pid {
        return Resumed::No;
    }
    if descriptor < 3 || !fd::is_open(descriptor) {
        return Resumed::Blind;
    }
    let text = handover::read_text(descriptor);
    let state = text.ok().and_then(|text| State::decode(&text));
    match state.filter(|state| is_whole(state, own_pid, count)) {
        Some(state) => Resumed::With(Box::new(state)),
        None => Resumed::Blind,
    }
}

fn number_of(text: &OsStr) -> Option<i32> {
    i32::try_from(number::decimal(text.as_bytes())?).ok()
}

/// Every descriptor that it names is there, once, behind those of LISTEN_FDS.
fn is_whole(state: &State, own_pid: i32, count: i32) -> bool {
    let mut numbers = state.numbers();
    numbers.sort_unstable();
    let is_once = numbers.windows(2).all(|pair| pair.first() != pair.last());
    let is_there = |number: &i32| *number >= count.saturating_add(3) && fd::is_open(*number);
    let has_all = usize::try_from(count) == Ok(state.listeners.len());
    state.pid == own_pid && has_all && is_once && numbers.iter().all(is_there)
}

/// The listeners as they were: where each comes from, and the files that are ours to remove.
///
/// # Errors
/// 111: a descriptor is gone.
pub(crate) fn restore(listeners: &mut [Listener], state: &State) -> Result<(), Fatal> {
    let restore = |listener: &mut Listener, kept: &state::Listener| -> Result<(), Errno> {
        listener.origin = match &kept.adopted {
            Some(name) => Origin::Adopted {
                name: OsString::from_vec(name.clone()),
            },
            None => Origin::Ours,
        };
        listener.file = kept.file.as_ref().map(SocketFile::resume).transpose()?;
        Ok(())
    };
    let mut pairs = listeners.iter_mut().zip(&state.listeners);
    pairs
        .try_for_each(|(listener, kept)| restore(listener, kept))
        .map_err(|errno| Fatal::unable("go on with the sockets", errno))
}

/// The sockets on which metrics are told.
///
/// # Errors
/// 111: a descriptor is gone.
pub(crate) fn metrics(state: &State) -> Result<Vec<Listener>, Fatal> {
    let restore = |kept: &state::Scraped| -> Result<Listener, Errno> {
        Ok(Listener {
            file: kept.file.as_ref().map(SocketFile::resume).transpose()?,
            ..listener(fd::resume(kept.socket)?, Style::Stream)?
        })
    };
    let all = state.scraped.iter().map(restore).collect::<Result<_, _>>();
    all.map_err(|errno| Fatal::unable("go on with the metrics", errno))
}

/// The same where all that is known is what LISTEN_FDNAMES calls each.
pub(crate) fn recognise(listeners: &mut [Listener]) {
    for listener in listeners.iter_mut().filter(|it| it.name() == OWN) {
        listener.origin = Origin::Ours;
        listener.file = SocketFile::of(listener);
    }
}
