//! Where there is nothing to listen on: PROG alone, or with one connection.

use crate::daemon::background::{self};
use crate::daemon::privileges::PrivilegeDrop;
use crate::daemon::words::Words;
use crate::launch::scrub::{Scrub, scrubbed};
use crate::listen::{Connection, Resumed};
use crate::model::error::Fatal;
use crate::model::manager::Manager;
use crate::model::peer::Peer;
use crate::model::service::Mode;
use crate::serve;
use crate::serve::gate::Gate;
use crate::serve::notices::{Jail, Notices};
use crate::serve::supervise::Supervisor;
use crate::start::Start;
use crate::start::parts::{background, check, find_and_drop, null, pidfile, tell, tell_of_words};
use crate::sys::stderr::Stderr;
use crate::sys::{fd, kernel, process, signal};
use std::os::fd::AsFd;

impl Start<'_> {
    /// Becomes PROG, everything else being as it is; or stays beside it and starts it again and again.
    pub(crate) fn without_sockets(self) -> Result<u8, Fatal> {
        let Self {
            run,
            environment,
            mut log,
            caller,
            ready,
            resumed: _,
            parse: _,
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
        let manager = Manager::of(environment, [process::own_pid(), caller.pid]);
        let notices = Notices::new(&manager, Jail::of(drop.has_jail, false), None);
        let mask = kernel::blocked();
        if run.daemon.supervise {
            signal::block(signal::SUPERVISING)
                .map_err(|errno| Fatal::unable("block signals", errno))?;
        }
        let pidfile = pidfile(&run, &Resumed::No)?;
        let mut words = Words::prepare(
            run.daemon.log.as_ref(),
            &drop.ids,
            !run.daemon.supervise,
            Box::new(log.warning()),
        )?;
        tell_of_words(&words, &mut log);
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
            (run.inetd_conf.is_some(), "--inetd-conf"),
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
        let gate = Gate::open(&run.admission, None)?;
        if run.check {
            return check(&run.service, &drop, environment);
        }
        let mut words = Words::prepare(
            daemon.log.as_ref(),
            &drop.ids,
            true,
            Box::new(self.log.warning()),
        )?;
        tell_of_words(&words, &mut self.log);
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
