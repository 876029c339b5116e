//! From what was asked for and inherited to skd serving, to PROG in its place, or to the reason why not.
#![forbid(unsafe_code)]

mod alone;
mod parts;
mod services;

use crate::daemon::background::{self, Caller};
use crate::daemon::pidfile::PidFile;
use crate::daemon::privileges::PrivilegeDrop;
use crate::daemon::words::Words;
use crate::launch::scrub::{Scrub, scrubbed};
use crate::listen::{self, Listener, Listeners, ReadyFd, Resumed};
use crate::model::error::Fatal;
use crate::model::manager::Manager;
use crate::model::service::{Mode, Run};
use crate::report::log::Log;
use crate::serve;
use crate::serve::entrance::Hosted;
use crate::serve::gate::Gate;
use crate::serve::inetd::Parse;
use crate::serve::notices::{Jail, Notices};
use crate::serve::upgrade::{AGREES, Call};
use crate::serve::{Made, Server};
use crate::sys::limits::FileLimit;
use crate::sys::stderr::Stderr;
use crate::sys::{fd, process, signal};
use services::{Services, hosted};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::rc::Rc;

pub(crate) use parts::{answer, print};
use parts::{
    background, check, find_and_drop, find_if_any, metrics_of, more_files, note_store, null,
    pidfile, print_ports, served, tell, tell_of_words, words,
};

/// skd while it starts: what is asked for, and who hears how it goes.
pub(crate) struct Start<'a> {
    pub(crate) run: Run,
    pub(crate) environment: &'a [(OsString, OsString)],
    pub(crate) log: Log,
    pub(crate) caller: &'a mut Caller,
    /// What is to hear of readiness.
    pub(crate) ready: Option<ReadyFd>,
    pub(crate) resumed: Resumed,
    /// What reads an inetd.conf(5).
    pub(crate) parse: Parse,
}

impl Start<'_> {
    /// Binds what is named, and serves until there is a reason to end, or becomes PROG with all of it.
    pub(crate) fn with_sockets(mut self, inherited: Vec<Listener>) -> Result<u8, Fatal> {
        let run = &self.run;
        let mut services = Services::open(run, self.parse, self.environment, self.resumed.state())?;
        let of_services = services.iter().flat_map(Services::styles);
        let styles: Vec<_> = inherited
            .iter()
            .map(|it| it.style)
            .chain(of_services)
            .collect();
        run.unfit(&styles)
            .map_or(Ok(()), |wrong| Err(Fatal::usage(wrong)))?;
        let is_resumed = self.resumed.is_so();
        let drop = PrivilegeDrop::of(&run.daemon.privileges, self.environment, is_resumed)?;
        let gate = {
            let kept = self.resumed.state().and_then(|state| state.rules.as_ref());
            Gate::open(&run.admission, kept.map(|kept| (kept, run.check)))?
        };
        // What the skd before us had is all of it.
        let to_make = match is_resumed {
            false => Some(listen::prepare(run, &inherited)?),
            true => None,
        };
        if let Some(services) = &mut services {
            services.expect_some(inherited.len() + run.named.len(), run)?;
            match is_resumed {
                false => services.look_up(&inherited)?,
                true => {
                    services.recognise(&inherited, &self.resumed, !run.service.words.is_empty())?
                }
            }
        }
        if run.check {
            return self.check(services.as_ref(), &drop);
        }
        if !is_resumed && let Some(code) = background(run, self.caller)? {
            return Ok(code);
        }
        let call = Call::of_us(self.environment, self.caller.pid);
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
        let files = more_files(run.service.mode)?;
        let inherited_count = inherited.len();
        let mut listeners = match to_make {
            Some((prepared, options)) => listen::make(run, prepared, &options, inherited)?,
            None => Listeners {
                all: inherited,
                metrics: metrics_of(run, &self.resumed, &mut self.log)?,
                ports: Vec::new(),
            },
        };
        if let Some(services) = services.as_mut().filter(|_| !is_resumed) {
            services.make(inherited_count, &mut listeners)?;
        }
        match run.service.mode {
            Mode::Connections | Mode::Listeners => {
                self.serve((listeners, services, files), &drop, pidfile, (call, gate))
            }
            Mode::Exec => self.become_with(&listeners, &drop, pidfile.as_ref()),
        }
    }

    /// `--check`: everything that is left to be read.
    fn check(mut self, services: Option<&Services>, drop: &PrivilegeDrop) -> Result<u8, Fatal> {
        // In the order of a start: whom services name is asked for as who skd becomes.
        if self.run.service.words.is_empty() {
            drop.enter()?;
            drop.carry_out()?;
        } else {
            check(&self.run.service, drop, self.environment)?;
        }
        let served = services.map(|it| it.served(&mut self.log));
        served.transpose()?;
        if self.resumed.is_so() {
            // Who asks and does not hear it takes it for a no.
            let _ = Stderr::starting().write(AGREES);
        }
        Ok(0)
    }

    fn serve(
        self,
        (listeners, services, files): (Listeners, Option<Services>, Option<FileLimit>),
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
            parse: _,
        } = self;
        let state = resumed.state();
        let manager = Manager::of(environment, [process::own_pid(), caller.pid]);
        let jail = Jail::of(drop.has_jail, resumed.is_so());
        let notices = Notices::new(&manager, jail, state.and_then(|state| state.notify));
        let may_have_strangers =
            state.map_or_else(process::may_have_strangers, |it| it.may_have_strangers);
        let words = words(
            run.daemon.log.as_ref(),
            &drop.ids,
            &resumed,
            Box::new(log.warning()),
        )?;
        if !resumed.is_so() {
            tell_of_words(&words, &mut log);
        }
        let is_daemon = run.daemon.background && !resumed.is_so();
        // Inside the new root folder there may be none.
        let null = (is_daemon || ready.is_some()).then(null).transpose()?;
        let kept = state.and_then(|state| state.prog.as_deref());
        let prog = find_if_any(&run.service, drop, (environment, kept), &mut log)?;
        note_store(&run, &manager, &mut log);
        let max_connections = run.service.max_connections;
        let served = prog.map(|prog| Rc::new(served(run.service, prog, environment, &words)));
        let hosted = hosted(listeners.all, served.as_ref(), services.as_ref(), &mut log)?;
        tell_of_admission(run.admission.option(), &hosted, &gate, &mut log);
        let made = Made {
            max_connections,
            gate,
            listeners: hosted,
            inetd: services.map(|it| it.conf),
            metrics: listeners.metrics,
            log,
            words,
            pidfile,
            notices,
            lifetime: run.lifetime,
            call,
            may_have_strangers,
            files,
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
        begin(&mut server, &resumed);
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
        let mut words = Words::prepare(
            self.run.daemon.log.as_ref(),
            &drop.ids,
            true,
            Box::new(self.log.warning()),
        )?;
        tell_of_words(&words, &mut self.log);
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
        self.log.note(|| {
            let labels = listeners.iter().map(|it| it.label.to_string());
            let labels = labels.collect::<Vec<_>>().join(", ");
            format!("becoming PROG at {} with {labels}", prog.shown_path())
        });
        let before = words.begin()?;
        tell(self.ready.take(), &null);
        self.caller.tell_becoming();
        let fatal = serve::binder::become_prog(&prog, environment, listeners, service.pass);
        // What cannot be told there is told nowhere.
        let _ = fd::replace_standard(2, before.as_fd());
        Err(fatal)
    }
}

/// Who comes in unjudged, although an option says who may come in; and what nobody is judged by.
fn tell_of_admission(option: Option<&str>, hosted: &[Hosted], gate: &Gate, log: &mut Log) {
    let unjudged = hosted.iter().filter(|it| !it.is_accepted());
    let labels: Vec<_> = unjudged.map(|it| it.listener.label.to_string()).collect();
    if let (Some(option), [_, ..]) = (option, labels.as_slice()) {
        let labels = labels.join(", ");
        log.warn(&format!(
            "{option} is not for {labels}, where skd takes no connections: nobody is kept out there"
        ));
    }
    if let Some(text) = gate.unheard() {
        log.warn(text);
    }
}

/// Tells where it listens, or goes on where the skd before was.
fn begin(server: &mut Server, resumed: &Resumed) {
    match resumed.state() {
        Some(state) => server.resume(state),
        None => server.announce(),
    }
    if resumed.is_so() {
        // Between the two the file may have changed.
        server.reread_services();
    }
}
