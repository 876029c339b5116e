//! From what is served to a running program: on a slot of skd's memory, or, where it is to become somebody else, in a
//! copy of skd, since whoever that is may stop or end a process of his until it is the program.

use crate::serve::asker::{self, Failure, Verdicts};
use crate::serve::entrance::{Inetd, Runs, Served};
use crate::sys::errno::Errno;
use crate::sys::fork::{self, Side};
use crate::sys::hold::{Hold, Turn};
use crate::sys::identity::Ids;
use crate::sys::limits::{self, FileLimit};
use crate::sys::poll::Poll;
use crate::sys::program::Program;
use crate::sys::signal;
use crate::sys::spawn::{Handing, Spawner};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What a process exits with that does not become PROG.
pub(super) const NOT_EXECUTED: u8 = 127;

/// Everything that programs are started with.
pub(crate) struct Starter {
    pub(super) spawner: Spawner,
    pub(super) verdicts: Verdicts,
    /// What holds a child until its connection is closed here.
    pub(super) hold: Hold,
    /// A child's limit of descriptors, where ours is another.
    files: Option<FileLimit>,
}

/// What the variables of a child's own are to those that all children have.
pub(super) enum Telling {
    Besides,
    /// They take the place of those of the same name.
    Instead,
}

impl Starter {
    /// # Errors
    /// ENOMEM; no descriptor could be had.
    pub(super) fn new(files: Option<FileLimit>) -> Result<Self, Errno> {
        Ok(Self {
            spawner: Spawner::new(signal::Signals::clean(), files)?,
            verdicts: Verdicts::default(),
            hold: Hold::new()?,
            files,
        })
    }

    /// Whether a slot is free. If none is, waits for one, but not longer than `patience`.
    pub(super) fn has_vacancy(&self, patience: Duration) -> bool {
        self.spawner.has_vacancy(patience)
    }

    /// Starts the program with `fd`, when its turn is over if it is given one; `tell` writes the variables of its own. Returns its pid.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM: no process could be had.
    pub(super) fn start(
        &mut self,
        poll: &Poll,
        served: &Served,
        (fd, handing, turn): (BorrowedFd<'_>, Handing, Option<Turn>),
        tell: impl FnOnce(&mut Vec<u8>) -> Telling,
    ) -> Result<i32, Errno> {
        let Runs::Program(program) = &served.runs else {
            return Err(Errno::NOT_FOUND);
        };
        if let Some(Inetd { ids: Some(ids), .. }) = &served.inetd {
            let mut strings = Vec::new();
            tell(&mut strings);
            return self.start_as(poll, (program, ids), (fd, handing, turn), &strings);
        }
        let mut vacancy = self.spawner.vacancy().ok_or(Errno::AGAIN)?;
        if let Telling::Instead = tell(vacancy.strings()) {
            vacancy.strings_replace();
        }
        vacancy.spawn(program, fd, handing, turn)
    }

    /// The same as somebody else.
    fn start_as(
        &mut self,
        poll: &Poll,
        (program, ids): (&Program, &Ids),
        (fd, handing, turn): (BorrowedFd<'_>, Handing, Option<Turn>),
        strings: &[u8],
    ) -> Result<i32, Errno> {
        let files = self.files;
        let verdicts = self.verdicts.open(poll)?;
        match fork::fork()? {
            Side::Parent { pid } => Ok(pid),
            Side::Child => {
                turn.into_iter().for_each(Turn::wait);
                // Nothing of skd's is undone here: what it owns is the parent's.
                let failure = match asker::take_over(fd, handing.stderr, verdicts) {
                    Ok(()) => become_prog(program, Some(ids), files, strings),
                    Err(errno) => errno.into(),
                };
                failure.tell(verdicts);
                fork::leave(NOT_EXECUTED)
            }
        }
    }

    /// Becomes the program of somebody, in a copy of skd that has its descriptors in their places. Returns only on failure,
    /// with the reason.
    pub(super) fn become_prog(&self, served: &Served, program: &Program, more: &[u8]) -> Failure {
        let ids = served.inetd.as_ref().and_then(|it| it.ids.as_ref());
        become_prog(program, ids, self.files, more)
    }
}

fn become_prog(
    program: &Program,
    ids: Option<&Ids>,
    files: Option<FileLimit>,
    more: &[u8],
) -> Failure {
    let restored = files.map_or(Ok(()), limits::set_files);
    if let Err(errno) = restored.and_then(|()| signal::reset_all()) {
        return errno.into();
    }
    match ids.map_or(Ok(()), Ids::become_them) {
        Ok(()) => {
            let errno = program.execute(more);
            Failure::of(errno, program.reason(errno))
        }
        Err(stuck) => Failure::other(stuck.to_string()),
    }
}
