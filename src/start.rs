//! From what was asked for and inherited to skd serving, to PROG in its place, or to the reason why not.
#![forbid(unsafe_code)]

use crate::daemon::background::{self, Caller, Role};
use crate::daemon::pidfile::PidFile;
use crate::daemon::privileges::PrivilegeDrop;
use crate::daemon::words::Words;
use crate::launch::prog::Prog;
use crate::launch::scrub::{Scrub, scrubbed};
use crate::listen::{self, Connection, Listener, Listeners, ReadyFd, Resumed};
use crate::model::admission::Inquiry;
use crate::model::daemon::LogTo;
use crate::model::error::Fatal;
use crate::model::manager::Manager;
use crate::model::peer::Peer;
use crate::model::service::{Mode, Run, Service};
use crate::report::log::Log;
use crate::serve;
use crate::serve::gate::Gate;
use crate::serve::notices::{Jail, Notices};
use crate::serve::supervise::Supervisor;
use crate::serve::upgrade::Call;
use crate::serve::{Made, Server};
use crate::sys::errno::Errno;
use crate::sys::identity::Ids;
use crate::sys::stderr::Stderr;
use crate::sys::{fd, kernel, process, signal};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// skd while it starts: what is asked for, and who hears how it goes.
pub(crate) struct Start<'a> {
    pub(crate) run: Run,
    pub(crate) environment: &'a [(OsString, OsString)],
    pub(crate) log: Log,
    pub(crate) caller: &'a mut Caller,
    /// What is to hear of readiness.
    pub(crate) ready: Option<ReadyFd>,
    pub(crate) resumed: Resumed,
}

impl Start<'_> {
    /// Binds what is named, and serves until there is a reason to end, or becomes PROG with all of it.
    pub(crate) fn with_sockets(mut self, inherited: Vec<Listener>) -> Result<u8, Fatal> {
        let run = &self.run;
        let styles: Vec<_> = inherited.iter().map(|it| it.style).collect();
        run.unfit(&styles)
            .map_or(Ok(()), |wrong| Err(Fatal::usage(wrong)))?;
        let is_resumed = self.resumed.is_so();
        let drop = PrivilegeDrop::of(&run.daemon.privileges, self.environment, is_resumed)?;
        let gate = Gate::open(&run.admission)?;
        // What the skd before us had is all of it.
        let to_make = match is_resumed {
            false => Some(listen::prepare(run, &inherited)?),
            true => None,
        };
        if run.check {
            return check(&run.service, &drop, self.environment);
        }
        if !is_resumed && let Some(code) = background(run, self.caller)? {
            return Ok(code);
        }
        let call = Call::of_us(self.environment);
        // From here on a signal waits until it can be obeyed, so that none leaves a file behind.
        signal::block(signal::SERVING).map_err(|errno| Fatal::unable("block signals", errno))?;
        let pidfile = pidfile(run, &self.resumed)?;
        for listener in &inherited {
            self.log.note(|| format!("took over {}", listener.label));
        }
        let unnamed = to_make.as_ref().and_then(|(it, _)| it.unnamed(&inherited));
        if let Some(listener) = unnamed.filter(|_| !run.named.is_empty()) {
            let label = &listener.label;
            self.log.warn(&format!(
                "no option names {label}, which the manager has kept: serving it until it is let go"
            ));
        }
        let listeners = match to_make {
            Some((prepared, options)) => listen::make(run, prepared, &options, inherited)?,
            None => Listeners {
                all: inherited,
                metrics: metrics_of(run, &self.resumed, &mut self.log)?,
                ports: Vec::new(),
            },
        };
        match run.service.mode {
            Mode::Connections | Mode::Listeners => {
                self.serve(listeners, &drop, pidfile, (call, gate))
            }
            Mode::Exec => self.become_with(&listeners, &drop, pidfile.as_ref()),
        }
    }

    fn serve(
        self,
        listeners: Listeners,
        drop: &PrivilegeDrop,
        pidfile: Option<PidFile>,
        (call, gate): (Call, Gate),
    ) -> Result<u8, Fatal> {
        let Self {
            run,
            environment,
            mut log,
            caller,
            ready,
            resumed,
        } = self;
        let state = resumed.state();
        let manager = Manager::of(environment, process::own_pid());
        let jail = Jail::of(drop.has_jail, resumed.is_so());
        let notices = Notices::new(&manager, jail, state.and_then(|state| state.notify));
        let may_have_strangers =
            state.map_or_else(process::may_have_strangers, |it| it.may_have_strangers);
        let words = words(run.daemon.log.as_ref(), &drop.ids, &resumed)?;
        let is_daemon = run.daemon.background && !resumed.is_so();
        // Inside the new root folder there may be none.
        let needs_null = is_daemon || ready.is_some();
        let null = needs_null.then(null).transpose()?;
        let prog = find_and_drop(&run.service, drop, environment)?;
        log.note(|| format!("found PROG at {}", prog.shown_path()));
        let journal = !run.service.stderr_to_client && words.are_inherited();
        let program = prog.ready(scrubbed(environment, Scrub::Child, journal));
        let made = Made {
            service: run.service,
            program,
            gate,
            listeners: listeners.all,
            metrics: listeners.metrics,
            log,
            words,
            pidfile,
            notices,
            lifetime: run.lifetime,
            call,
            may_have_strangers,
        };
        let mut server =
            Server::new(made).map_err(|errno| Fatal::unable("start serving", errno))?;
        if !resumed.is_so() {
            print_ports(&listeners.ports)?;
        }
        if let Some(null) = null.as_ref().filter(|_| is_daemon) {
            background::detach_standard(null, true)?;
        }
        server.begin_log()?;
        match state {
            Some(state) => server.resume(state),
            None => server.announce(),
        }
        let stores = run.daemon.fd_store || manager.stores;
        server.tell_readiness(is_daemon, stores, ready.zip(null));
        caller.tell(0);
        server.run();
        Ok(0)
    }

    /// Becomes PROG with the listeners.
    fn become_with(
        mut self,
        listeners: &Listeners,
        drop: &PrivilegeDrop,
        pidfile: Option<&PidFile>,
    ) -> Result<u8, Fatal> {
        let (service, listeners, ports) = (&self.run.service, &listeners.all, &listeners.ports);
        // A name of a host may have had several addresses.
        let wrong = service.unfit_for(listeners.len());
        wrong.map_or(Ok(()), |wrong| Err(Fatal::usage(wrong)))?;
        let mut words = Words::prepare(self.run.daemon.log.as_ref(), &drop.ids, true)?;
        let null = null()?;
        let prog = find_and_drop(service, drop, self.environment)?;
        print_ports(ports)?;
        if self.run.daemon.background {
            background::detach_standard(&null, true)?;
        }
        if let Some(pidfile) = pidfile {
            // Behind those that PROG gets.
            pidfile.pass_on(3 + i32::try_from(listeners.len()).unwrap_or(i32::MAX))?;
        }
        let environment = scrubbed(self.environment, Scrub::Connected, words.are_inherited());
        let before = words.begin()?;
        tell(self.ready.take(), &null);
        self.caller.tell_becoming();
        let fatal = serve::binder::become_prog(&prog, environment, listeners, service.pass);
        // What cannot be told there is told nowhere.
        let _ = fd::replace_standard(2, before.as_fd());
        Err(fatal)
    }

    /// Becomes PROG, everything else being as it is; or stays beside it and starts it again and again.
    pub(crate) fn without_sockets(self) -> Result<u8, Fatal> {
        let Self {
            run,
            environment,
            log,
            caller,
            ready,
            resumed: _,
        } = self;
        if let Some(option) = run.needs_socket {
            return Err(Fatal::usage(format!("{option}: there is no socket")));
        }
        let drop = PrivilegeDrop::of(&run.daemon.privileges, environment, false)?;
        if run.check {
            return check(&run.service, &drop, environment);
        }
        if let Some(code) = background(&run, caller)? {
            return Ok(code);
        }
        let manager = Manager::of(environment, process::own_pid());
        let notices = Notices::new(&manager, Jail::of(drop.has_jail, false), None);
        let mask = kernel::blocked();
        if run.daemon.supervise {
            signal::block(signal::SUPERVISING)
                .map_err(|errno| Fatal::unable("block signals", errno))?;
        }
        let pidfile = pidfile(&run, &Resumed::No)?;
        let mut words = Words::prepare(run.daemon.log.as_ref(), &drop.ids, !run.daemon.supervise)?;
        let null = null()?;
        let prog = find_and_drop(&run.service, &drop, environment)?;
        let scrub = if run.daemon.supervise {
            Scrub::Supervised
        } else {
            Scrub::Plain
        };
        let environment = scrubbed(environment, scrub, words.are_inherited());
        if run.daemon.background {
            background::detach_standard(&null, false)?;
        }
        if run.daemon.supervise {
            let program = (prog.ready(environment), run.service.quoted_prog());
            let told = (log, words, notices);
            let mut supervisor = Supervisor::start(program, mask, told, pidfile)?;
            supervisor.tell_readiness(run.daemon.background, ready.zip(Some(null)));
            caller.tell(0);
            supervisor.run();
            return Ok(0);
        }
        if let Some(pidfile) = &pidfile {
            pidfile.pass_on(3)?;
        }
        let stderr = words.begin()?;
        signal::restore_pipe().map_err(|errno| Fatal::unable("restore SIGPIPE", errno))?;
        tell(ready, &null);
        caller.tell_becoming();
        let fatal = prog.become_it(environment, &[]);
        signal::ignore_pipe();
        // Trouble now is the caller's to hear of; what cannot be told there is told nowhere.
        let _ = fd::replace_standard(2, stderr.as_fd());
        Err(fatal)
    }

    /// Becomes PROG with the one connection that skd was started with.
    pub(crate) fn with_connection(mut self, connection: Connection) -> Result<u8, Fatal> {
        let (run, environment) = (&self.run, self.environment);
        if !run.named.is_empty() {
            return Err(Fatal::usage(
                "a connected socket is adopted, which goes with no other",
            ));
        }
        if let Some(wrong) = run.misplaced(matches!(connection.arrival.peer, Peer::Inet(_))) {
            return Err(Fatal::usage(wrong));
        }
        let daemon = &run.daemon;
        let mode = run.service.mode;
        let alone = [
            (run.admission.max_per_source.is_some(), "--max-per-source"),
            (run.admission.refusal.is_some(), "--refuse"),
            (run.admission.rate.is_some(), "--rate"),
            (run.admission.rate_per_source.is_some(), "--rate-per-source"),
            (mode == Mode::Listeners, "--wait"),
            (mode == Mode::Exec, "--exec"),
            (run.passes, "--pass"),
            (run.lifetime.idle_exit.is_some(), "--idle-exit"),
            (run.lifetime.drain.is_some(), "--drain"),
            (daemon.fd_store, "--fdstore"),
            (run.metrics.is_some(), "--metrics"),
            (daemon.background, "--background"),
            (daemon.supervise, "--supervise"),
            (daemon.pidfile.is_some(), "--pidfile"),
        ];
        if let Some((_, name)) = alone.iter().find(|(is_given, _)| *is_given) {
            return Err(Fatal::usage(format!(
                "{name}: a connected socket is adopted, which is one connection alone"
            )));
        }
        let drop = PrivilegeDrop::of(&daemon.privileges, environment, false)?;
        let gate = Gate::open(&run.admission)?;
        if run.check {
            return check(&run.service, &drop, environment);
        }
        let mut words = Words::prepare(daemon.log.as_ref(), &drop.ids, true)?;
        let null = null()?;
        let prog = find_and_drop(&run.service, &drop, environment)?;
        let journal = !run.service.stderr_to_client && words.are_inherited();
        let environment = scrubbed(environment, Scrub::Connected, journal);
        let before = words.begin()?;
        if !words.are_inherited() {
            self.log.redirect(false, Box::new(Stderr::new()));
        }
        tell(self.ready.take(), &null);
        let done = serve::connected::become_prog(
            &run.service,
            &prog,
            environment,
            connection,
            &gate,
            &mut self.log,
        );
        // As above.
        let _ = fd::replace_standard(2, before.as_fd());
        done.map(|()| 0)
    }
}

/// `--check-peer`: prints the answer; 0 if the peer is allowed, 1 if not.
pub(crate) fn answer(run: &Run, inquiry: &Inquiry) -> Result<u8, Fatal> {
    let (text, allows) = Gate::open(&run.admission)?.answer(inquiry);
    print(&text).map(|()| u8::from(!allows))
}

/// `--check`: everything that is left to be read.
fn check(
    service: &Service,
    drop: &PrivilegeDrop,
    environment: &[(OsString, OsString)],
) -> Result<u8, Fatal> {
    find_and_drop(service, drop, environment).map(|_| 0)
}

/// With `-B`, goes on in a daemon and returns in the caller's skd the code to exit with.
fn background(run: &Run, caller: &mut Caller) -> Result<Option<u8>, Fatal> {
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
fn pidfile(run: &Run, resumed: &Resumed) -> Result<Option<PidFile>, Fatal> {
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
fn words(log: Option<&LogTo>, ids: &Ids, resumed: &Resumed) -> Result<Words, Fatal> {
    match resumed {
        Resumed::No => Words::prepare(log, ids, false),
        Resumed::With(state) => Words::resume(&state.log, log, ids)
            .map_err(|errno| Fatal::unable("go on with the log", errno)),
        Resumed::Blind => {
            let log = log.map(LogTo::to_append);
            let words = Words::prepare(log.as_ref(), ids, false);
            Ok(words.unwrap_or(Words::Inherited))
        }
    }
}

/// Where metrics are told, in the place of another skd.
fn metrics_of(run: &Run, resumed: &Resumed, log: &mut Log) -> Result<Vec<Listener>, Fatal> {
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
fn null() -> Result<OwnedFd, Fatal> {
    fd::null().map_err(|errno| Fatal::unable("open /dev/null", errno))
}

/// Readiness, where PROG takes skd's place: what is left to be done is execve(2).
fn tell(ready: Option<ReadyFd>, null: &OwnedFd) {
    // That nobody reads is no reason not to go on, and PROG's stderr is no place to say so.
    let _ = ready.map(|ready| ready.tell(null));
}

/// PROG, looked up inside the chroot before privileges are dropped, so that a start that fails can still remove its files;
/// and once more as whom it will be run.
fn find_and_drop(
    service: &Service,
    drop: &PrivilegeDrop,
    environment: &[(OsString, OsString)],
) -> Result<Prog, Fatal> {
    drop.enter()?;
    find(service, environment)?;
    drop.carry_out()?;
    find(service, environment)
}

/// PROG, looked up in PATH.
fn find(service: &Service, environment: &[(OsString, OsString)]) -> Result<Prog, Fatal> {
    let path = environment.iter().find(|(name, _)| name == "PATH");
    Prog::find(&service.words, path.map(|(_, value)| value.as_os_str()))
}

fn print_ports(ports: &[u16]) -> Result<(), Fatal> {
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
