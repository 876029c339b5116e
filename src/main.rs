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
mod daemon;
mod launch;
mod listen;
mod model;
mod report;
mod serve;
mod start;
mod sys;

use config::Asked;
use daemon::background::Caller;
use listen::{Adopted, Inherited};
use model::error::Fatal;
use model::name::Name;
use model::service::{Level, LogFormat};
use report::form::Form;
use report::log::Log;
use start::Start;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;
use sys::stderr::Stderr;
use sys::{clock, env, fd};

fn main() -> ExitCode {
    let environment = env::all();
    let called = std::env::args_os().next().unwrap_or_default();
    let mut form = Form {
        name: Name::of(&called),
        format: LogFormat::Text,
        for_journal: is_journal(&environment),
        clock: clock::wall,
    };
    let mut caller = Caller::none();
    let code = match run(&environment, &mut form, &mut caller) {
        Ok(code) => code,
        Err(fatal) => {
            // Nobody is left to tell if this fails.
            let _ = Stderr::starting().write(form.fatal(&fatal).as_bytes());
            let code = form.name.exit_code(&fatal);
            caller.tell(code);
            code
        }
    };
    ExitCode::from(code)
}

/// Everything, until the exit code is known. `form` becomes what was asked for.
fn run(
    environment: &[(OsString, OsString)],
    form: &mut Form,
    caller: &mut Caller,
) -> Result<u8, Fatal> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let is_asked = is_asked(&words, environment);
    let mut run = match config::names::read_as(form.name, words) {
        Ok(Asked::Text(text)) => return start::print(&text).map(|()| 0),
        Ok(Asked::Run(run)) => *run,
        Err((fatal, format)) => {
            if !is_asked {
                form.format = format;
            }
            return Err(fatal);
        }
    };
    match is_asked {
        // A text that becomes part of a line of whoever asks: why not, if so.
        true => run.level = Level::Fatal,
        false => form.format = run.log_format,
    }
    if let Some(inquiry) = &run.inquiry {
        return start::answer(&run, inquiry);
    }
    let mut log = Log::new(run.level, *form, Box::new(Stderr::starting()));
    let Adopted {
        inherited,
        ready,
        warnings,
        note,
        resumed,
    } = listen::adopt(&run, environment)?;
    log.redirect(form.for_journal, Box::new(Stderr::new()));
    for warning in warnings {
        log.warn(&warning);
    }
    note.into_iter().for_each(|note| log.note(|| note));
    let start = Start {
        run,
        environment,
        log,
        caller,
        ready,
        resumed,
        parse: config::inetd::parse,
    };
    match inherited {
        Inherited::Connection(connection) => start.with_connection(connection),
        Inherited::Listeners(listeners) if listeners.is_empty() && start.run.is_without() => {
            start.without_sockets()
        }
        Inherited::Listeners(listeners) => start.with_sockets(listeners),
    }
}

/// Whether an skd asks whether we would take its place.
fn is_asked(words: &[OsString], environment: &[(OsString, OsString)]) -> bool {
    let is_check = words.first().is_some_and(|word| word == "--check");
    is_check && environment.iter().any(|(name, _)| name == "SKD_STATE")
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
