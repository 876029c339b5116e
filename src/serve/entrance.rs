//! What is known of a listener for as long as anybody has come in by it.

use crate::listen::Listener;
use crate::model::address::Label;
use crate::model::service::Service;
use crate::sys::errno::Errno;
use crate::sys::program::Program;
use crate::sys::spawn::{Handing, Spawner};
use std::os::fd::BorrowedFd;
use std::rc::Rc;

/// What is served.
pub(crate) struct Served {
    pub(crate) service: Service,
    /// What every child is started by.
    pub(crate) program: Rc<Program>,
}

impl Served {
    /// Starts the program with `fd`; `tell` writes the variables of its own. Returns its pid.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM: no process could be had.
    pub(super) fn start(
        &self,
        spawner: &mut Spawner,
        fd: BorrowedFd<'_>,
        handing: Handing,
        tell: impl FnOnce(&mut Vec<u8>) -> Telling,
    ) -> Result<i32, Errno> {
        let mut vacancy = spawner.vacancy().ok_or(Errno::AGAIN)?;
        if let Telling::Instead = tell(vacancy.strings()) {
            vacancy.strings_replace();
        }
        vacancy.spawn(&self.program, fd, handing)
    }

    /// Where the program of a connection has it.
    pub(super) fn handing(&self) -> Handing {
        Handing {
            stdio: true,
            stderr: self.service.stderr_to_client,
            third: false,
        }
    }

    /// Where a program that gets a socket to itself has it.
    pub(super) fn handing_whole(&self, stderr: bool) -> Handing {
        let pass = self.service.pass;
        Handing {
            stdio: pass.stdio,
            stderr,
            third: pass.listen_fds,
        }
    }
}

/// What the variables of a child's own are to those that all children have.
pub(super) enum Telling {
    Besides,
    /// They take the place of those of the same name.
    Instead,
}

/// What a listener is called, and what is served there.
struct Entrance {
    label: Label,
    served: Rc<Served>,
}

/// By the place of their listener.
#[derive(Default)]
pub(crate) struct Entrances(Vec<Entrance>);

impl Entrances {
    pub(super) fn add(&mut self, listener: &Listener, served: &Rc<Served>) {
        self.0.push(Entrance {
            label: listener.label.clone(),
            served: Rc::clone(served),
        });
    }

    pub(super) fn label(&self, place: usize) -> Option<&Label> {
        self.0.get(place).map(|it| &it.label)
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &Label> {
        self.0.iter().map(|it| &it.label)
    }

    pub(super) fn served(&self, place: usize) -> Option<Rc<Served>> {
        self.0.get(place).map(|it| Rc::clone(&it.served))
    }

    /// PROG as the user called it, in quotes.
    pub(super) fn quoted_prog(&self, place: usize) -> String {
        let entrance = self.0.get(place);
        entrance.map_or_else(String::new, |it| it.served.service.quoted_prog())
    }
}
