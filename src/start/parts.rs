//! What several ways to start have in common.

use crate::daemon::background::{self, Caller, Role};
use crate::daemon::pidfile::PidFile;
use crate::daemon::privileges::PrivilegeDrop;
use crate::daemon::words::{Warning, Words};
use crate::launch::prog::Prog;
use crate::launch::scrub::{Scrub, scrubbed};
use crate::listen::{self, Listener, ReadyFd, Resumed};
use crate::model::admission::Inquiry;
use crate::model::daemon::LogTo;
use crate::model::error::{Fatal, Kind};
use crate::model::manager::Manager;
use crate::model::service::{Mode, Run, Service};
use crate::report::log::Log;
use crate::serve::entrance::{Runs, Served};
use crate::serve::gate::Gate;
use crate::sys::errno::Errno;
use crate::sys::fd;
use crate::sys::identity::Ids;
use crate::sys::limits::{self, FileLimit};
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;

/// `--check-peer`: prints the answer; 0 if the peer is allowed, 1 if not.
pub(crate) fn answer(run: &Run, inquiry: &Inquiry) -> Result<u8, Fatal> {
    let (text, allows) = Gate::open(&run.admission, None)?.answer(inquiry);
    print(&text).map(|()| u8::from(!allows))
}

/// `--check`: everything that is left to be read.
pub(super) fn check(
    service: &Service,
    drop: &PrivilegeDrop,
    environment: &[(OsString, OsString)],
) -> Result<u8, Fatal> {
    find_and_drop(service, drop, environment).map(|_| 0)
}

/// With `-B`, goes on in a daemon and returns in the caller's skd the code to exit with.
pub(super) fn background(run: &Run, caller: &mut Caller) -> Result<Option<u8>, Fatal> {
    if !run.daemon.background {
        return Ok(None);
    }
    match background::enter()? {
        Role::Exit(code) => Ok(Some(code)),
        Role::Serve(who) => {
            *caller = who;
            Ok(None)
        }
    }
}

/// The pid file, locked; a live owner is fatal.
pub(super) fn pidfile(run: &Run, resumed: &Resumed) -> Result<Option<PidFile>, Fatal> {
    if let Some(state) = resumed.state() {
        let pidfile = state.pidfile.as_ref().map(PidFile::resume).transpose();
        return pidfile.map_err(|errno| Fatal::unable("go on with the pid file", errno));
    }
    let path = run.daemon.pidfile.as_deref();
    let made = path.map(PidFile::make).transpose();
    match resumed {
        // It may be that only the skd before us was allowed to.
        Resumed::Blind => Ok(made.unwrap_or(None)),
        Resumed::No | Resumed::With(_) => made,
    }
}

/// The log; where there was an skd before us, it is on descriptor 2 already, and stays there whatever happens.
pub(super) fn words(
    log: Option<&LogTo>,
    ids: &Ids,
    resumed: &Resumed,
    warning: Warning,
) -> Result<Words, Fatal> {
    match resumed {
        Resumed::No => Words::prepare(log, ids, false, warning),
        Resumed::With(state) => Words::resume(&state.log, log, ids, warning)
            .map_err(|errno| Fatal::unable("go on with the log", errno)),
        Resumed::Blind => {
            let log = log.map(LogTo::to_append);
            let words = Words::prepare(log.as_ref(), ids, false, warning);
            Ok(words.unwrap_or(Words::Inherited))
        }
    }
}

/// No error, and not even a warning: the same command line is to do outside systemd too.
pub(super) fn note_store(run: &Run, manager: &Manager, log: &mut Log) {
    if run.daemon.fd_store && manager.sun_path.is_none() {
        log.note(|| "no manager keeps sockets for --fdstore: NOTIFY_SOCKET names none".into());
    }
}

/// While stderr is what skd was started with.
pub(super) fn tell_of_words(words: &Words, log: &mut Log) {
    if let Some(trouble) = words.trouble() {
        log.warn(&trouble);
    }
}

/// Where metrics are told, in the place of another skd.
pub(super) fn metrics_of(
    run: &Run,
    resumed: &Resumed,
    log: &mut Log,
) -> Result<Vec<Listener>, Fatal> {
    if let Some(state) = resumed.state() {
        return listen::resume_metrics(state);
    }
    // It may be that only the skd before us was allowed to bind them.
    let made = listen::make_metrics(run);
    Ok(made.unwrap_or_else(|fatal| {
        log.warn(&fatal.text);
        Vec::new()
    }))
}

/// /dev/null, while it can still be found.
pub(super) fn null() -> Result<OwnedFd, Fatal> {
    fd::null().map_err(|errno| Fatal::unable("open /dev/null", errno))
}

/// Readiness, where PROG takes skd's place: what is left to be done is execve(2).
pub(super) fn tell(ready: Option<ReadyFd>, null: &OwnedFd) {
    // That nobody reads is no reason not to go on, and PROG's stderr is no place to say so.
    let _ = ready.map(|ready| ready.tell(null));
}

/// PROG, looked up inside the chroot before privileges are dropped, so that a start that fails can still remove its files;
/// and once more as whom it will be run.
pub(super) fn find_and_drop(
    service: &Service,
    drop: &PrivilegeDrop,
    environment: &[(OsString, OsString)],
) -> Result<Prog, Fatal> {
    drop.enter()?;
    find(service, environment)?;
    drop.carry_out()?;
    find(service, environment)
}

/// The same where PROG may have been left out. `kept` is the file of the skd before us, which it may have had to itself by
/// now.
pub(super) fn find_if_any(
    service: &Service,
    drop: &PrivilegeDrop,
    (environment, kept): (&[(OsString, OsString)], Option<&[u8]>),
    log: &mut Log,
) -> Result<Option<Prog>, Fatal> {
    if service.words.is_empty() {
        drop.enter()?;
        return drop.carry_out().map(|()| None);
    }
    let prog = match (find_and_drop(service, drop, environment), kept) {
        // It is told of whenever somebody comes.
        (
            Err(Fatal {
                kind: Kind::Program { .. },
                ..
            }),
            Some(path),
        ) => {
            let path = CString::new(path).unwrap_or_default();
            Prog::at(path, service.words.iter().cloned())
        }
        (found, _) => found?,
    };
    log.note(|| format!("found PROG at {}", prog.shown_path()));
    Ok(Some(prog))
}

/// What is served at every listener of the command line.
pub(super) fn served(
    service: Service,
    prog: Prog,
    environment: &[(OsString, OsString)],
    words: &Words,
) -> Served {
    let journal = !service.stderr_to_client && words.are_inherited();
    let environment = scrubbed(environment, Scrub::Child, journal);
    Served {
        service,
        runs: Runs::Program(prog.ready(environment)),
        inetd: None,
    }
}

/// PROG, looked up in PATH.
pub(super) fn find(service: &Service, environment: &[(OsString, OsString)]) -> Result<Prog, Fatal> {
    let path = environment.iter().find(|(name, _)| name == "PATH");
    Prog::find(&service.words, path.map(|(_, value)| value.as_os_str()))
}

pub(super) fn print_ports(ports: &[u16]) -> Result<(), Fatal> {
    print(
        &ports
            .iter()
            .map(|port| format!("{port}\n"))
            .collect::<String>(),
    )
}

/// Writes to stdout, at once.
pub(crate) fn print(text: &str) -> Result<(), Fatal> {
    let mut stdout = std::io::stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(()),
        // Whoever reads has enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Fatal::unable("write to stdout", Errno::of(&error))),
    }
}

/// As many descriptors for skd as it may have; returns the limit that programs are to have, if that is another. A PROG
/// that skd becomes keeps what was there.
pub(super) fn more_files(mode: Mode) -> Result<Option<FileLimit>, Fatal> {
    match mode {
        Mode::Connections | Mode::Listeners => limits::raise_files()
            .map_err(|errno| Fatal::unable("allow itself more descriptors", errno)),
        Mode::Exec => Ok(None),
    }
}
