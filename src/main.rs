//! skd: reads argv and the environment once, wires the rooms, and is the only exit.
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that fails ends by panicking"
    )
)]

mod admit;
mod config;
mod launch;
mod listen;
mod model;
mod report;
mod serve;
mod sys;

use config::Asked;
use launch::prog::Prog;
use launch::scrub::{Scrub, scrubbed};
use listen::{Inherited, Listener};
use model::error::Fatal;
use model::service::Run;
use report::log::Log;
use serve::Server;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;
use sys::stderr::Stderr;
use sys::{env, fd, signal};

fn main() -> ExitCode {
    let environment = env::all();
    let for_journal = is_journal(&environment);
    match run(&environment, for_journal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            // Nobody is left to tell if this fails.
            let _ =
                Stderr::starting().write(report::line::of_fatal(&fatal, for_journal).as_bytes());
            ExitCode::from(fatal.exit_code())
        }
    }
}

/// Everything, until the exit code is known.
fn run(environment: &[(OsString, OsString)], for_journal: bool) -> Result<(), Fatal> {
    let run = match config::read(std::env::args_os().skip(1).collect())? {
        Asked::Text(text) => return print(&text),
        Asked::Run(run) => *run,
    };
    let mut log = Log::new(run.level, for_journal, Box::new(Stderr::starting()));
    let (inherited, warnings) = listen::adopt(&run, environment)?;
    log.redirect(for_journal, Box::new(Stderr::new()));
    for warning in warnings {
        log.warn(&warning);
    }
    let path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.clone());
    let prog = Prog::find(&run.service.words, path.as_deref());
    let listeners = match inherited {
        Inherited::Connection(connection) => {
            if !run.named.is_empty() {
                return Err(Fatal::usage(
                    "a connected socket is adopted, which goes with no other",
                ));
            }
            let prog = prog?;
            if run.check {
                return Ok(());
            }
            let environment =
                scrubbed(environment, Scrub::Connected, !run.service.stderr_to_client);
            return Err(serve::connected::become_prog(
                &run.service,
                &prog,
                environment,
                &connection,
                &mut log,
            ));
        }
        Inherited::Listeners(listeners) => listeners,
    };
    if listeners.is_empty() && run.named.is_empty() {
        return without_sockets(&run, &prog?, environment);
    }
    serve(run, prog, listeners, environment, log)
}

/// Becomes PROG, everything else being as it is.
fn without_sockets(
    run: &Run,
    prog: &Prog,
    environment: &[(OsString, OsString)],
) -> Result<(), Fatal> {
    if let Some(option) = run.needs_socket {
        return Err(Fatal::usage(format!("{option}: there is no socket")));
    }
    if run.check {
        return Ok(());
    }
    signal::restore_pipe().map_err(|errno| Fatal::unable("restore SIGPIPE", errno))?;
    Err(prog.become_it(scrubbed(environment, Scrub::Plain, true), &[]))
}

/// Binds what is named, and serves until a signal ends it.
fn serve(
    run: Run,
    prog: Result<Prog, Fatal>,
    inherited: Vec<Listener>,
    environment: &[(OsString, OsString)],
    mut log: Log,
) -> Result<(), Fatal> {
    let (prepared, manner) = listen::prepare(&run, &inherited)?;
    let prog = prog?;
    if run.check {
        return Ok(());
    }
    // From here on a signal waits until it can be obeyed, so that none leaves a socket file behind.
    signal::block().map_err(|errno| Fatal::unable("block signals", errno))?;
    for listener in &inherited {
        log.note(|| format!("took over {}", listener.label));
    }
    log.note(|| format!("found PROG at {}", prog.shown_path()));
    let listeners = listen::make(&run, prepared, &manner, inherited)?;
    let ports: String = listeners
        .ports
        .iter()
        .map(|port| format!("{port}\n"))
        .collect();
    let program = prog.ready(scrubbed(
        environment,
        Scrub::Child,
        !run.service.stderr_to_client,
    ));
    let server = Server::new(run.service, program, listeners.all, log);
    let mut server = server.map_err(|errno| Fatal::unable("start serving", errno))?;
    server.announce();
    print(&ports)?;
    server.run();
    Ok(())
}

/// Writes to stdout, at once.
fn print(text: &str) -> Result<(), Fatal> {
    let mut stdout = std::io::stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(()),
        // Whoever reads has enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Fatal::unable(
            "write to stdout",
            sys::errno::Errno::of(&error),
        )),
    }
}

/// Whether our stderr is the journal stream that JOURNAL_STREAM names as `DEVICE:INODE`; systemd.exec(5).
fn is_journal(environment: &[(OsString, OsString)]) -> bool {
    let Ok((device, inode)) = fd::identity(fd::standard(2)) else {
        return false;
    };
    let ours = OsString::from(format!("{device}:{inode}"));
    environment
        .iter()
        .any(|(name, value)| name == OsStr::new("JOURNAL_STREAM") && *value == ours)
}
