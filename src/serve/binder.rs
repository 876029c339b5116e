//! Listeners that were bound or adopted for another: skd becomes PROG with them.

use crate::launch::environ;
use crate::launch::prog::Prog;
use crate::listen::Listener;
use crate::model::error::Fatal;
use crate::model::service::Pass;
use crate::sys::errno::Errno;
use crate::sys::{fd, handover, process, signal};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// The pid stays: the listeners are put where `pass` says, blocking or not as it says, signals are as a child has them,
/// and PROG takes skd's place. On 0 and 1 there is room for one listener alone, the first.
///
/// # Errors
/// It returns only on failure: 111.
pub(crate) fn become_prog(
    prog: &Prog,
    environment: Vec<(OsString, OsString)>,
    listeners: &[Listener],
    pass: Pass,
) -> Fatal {
    let mut more = Vec::new();
    let mut passed: Vec<BorrowedFd<'_>> = Vec::new();
    if pass.listen_fds {
        let names: Vec<&[u8]> = listeners.iter().map(|it| it.name().as_bytes()).collect();
        let count = u32::try_from(listeners.len()).unwrap_or(u32::MAX);
        environ::describe_passed(count, &names.join(&b':'), &mut more);
        environ::describe_receiver(process::own_pid(), &mut more);
        passed.extend(listeners.iter().map(AsFd::as_fd));
    }
    let prepare = || -> Result<(), Errno> {
        for listener in listeners {
            fd::set_nonblocking(listener, !pass.blocks)?;
        }
        if let Some(listener) = listeners.first().filter(|_| pass.stdio || pass.stdin) {
            fd::replace_standard(0, listener.as_fd())?;
            if pass.stdio {
                fd::replace_standard(1, listener.as_fd())?;
            }
        }
        signal::reset_all()
    };
    let unable = |errno| Fatal::unable("hand over the listeners", errno);
    let prepared = prepare()
        .and_then(|()| handover::with_listen_fds(&passed, || prog.become_it(environment, &more)));
    signal::ignore_pipe();
    prepared.unwrap_or_else(unable)
}
