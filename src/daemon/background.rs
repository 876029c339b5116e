//! Double fork and new session; the caller's skd waits for word and exits with it.

use crate::model::error::Fatal;
use crate::sys::errno::Errno;
use crate::sys::fork::{self, Side};
use crate::sys::{fd, process};
use std::os::fd::{AsFd, OwnedFd};

/// What tells the caller's skd how it went. Without `-B` nobody waits.
pub(crate) struct Caller {
    pipe: Option<OwnedFd>,
    /// The pid of the skd that was called.
    pub(crate) pid: i32,
}

/// Who goes on after the fork.
pub(crate) enum Role {
    /// The daemon, or skd itself without `-B`.
    Serve(Caller),
    /// The caller's skd: exit with this code.
    Exit(u8),
}

/// The word that the daemon is about to become PROG; the end of the pipe then says that it has.
const BECOMING: u8 = 255;

impl Caller {
    /// Nobody waits.
    pub(crate) fn none() -> Self {
        Self {
            pipe: None,
            pid: process::own_pid(),
        }
    }

    /// The exit code of the caller's skd: 0 when everything is ready.
    pub(crate) fn tell(&mut self, code: u8) {
        if let Some(pipe) = self.pipe.take() {
            // The caller may have been killed meanwhile; the daemon serves all the same.
            let _ = fork::send_byte(&pipe, code);
        }
    }

    /// Before execve(2), which closes the pipe if it succeeds.
    pub(crate) fn tell_becoming(&self) {
        if let Some(pipe) = &self.pipe {
            // As above.
            let _ = fork::send_byte(pipe, BECOMING);
        }
    }
}

/// Becomes a daemon: a child of a child in a session without a terminal, which it cannot get again, not being the
/// session's leader.
///
/// # Errors
/// 111: no process could be had.
pub(crate) fn enter() -> Result<Role, Fatal> {
    let unable = |errno: Errno| Fatal::unable("become a daemon", errno);
    let (word, pipe) = fork::pipe().map_err(unable)?;
    let called = process::own_pid();
    if let Side::Parent { pid } = fork::fork().map_err(unable)? {
        drop(pipe);
        return Ok(Role::Exit(listen(&word, pid)));
    }
    drop(word);
    let mut caller = Caller {
        pipe: Some(pipe),
        pid: called,
    };
    let fork = fork::new_session().and_then(|()| fork::fork());
    match fork {
        Ok(Side::Child) => Ok(Role::Serve(caller)),
        Ok(Side::Parent { .. }) => fork::leave(0),
        Err(errno) => {
            caller.tell(111);
            Err(unable(errno))
        }
    }
}

/// Waits for the daemon's word. If it ends without one, something went badly wrong: 111.
fn listen(word: &OwnedFd, first_child: i32) -> u8 {
    let mut code = None;
    let mut byte = [0];
    while let Ok(1) = fork::read(word, &mut byte) {
        let [said] = byte;
        code = Some(said);
        if said != BECOMING {
            break;
        }
    }
    fork::wait_for(first_child);
    match code {
        Some(BECOMING) => 0,
        Some(code) => code,
        None => 111,
    }
}

/// /dev/null, which was opened outside any chroot, in place of stdin and stdout: always where sockets are served, else
/// where they are a terminal.
///
/// # Errors
/// 111: /dev/null cannot be opened.
pub(crate) fn detach_standard(null: &OwnedFd, serves_sockets: bool) -> Result<(), Fatal> {
    let replace = |number| -> Result<(), Errno> {
        if serves_sockets || fork::is_terminal(number) {
            fd::replace_standard(number, null.as_fd())?;
        }
        Ok(())
    };
    replace(0)
        .and_then(|()| replace(1))
        .map_err(|errno| Fatal::unable("open /dev/null", errno))
}
