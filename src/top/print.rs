//! Prints one table of one second on stdout, which is no terminal.

use crate::arguments::Target;
use crate::ask::{SECOND, ask};
use crate::clock::Clock;
use crate::draw::{self, Look};
use crate::fetch;
use crate::figures::History;
use crate::model::error::Fatal;
use std::io::{ErrorKind, Write};

/// Asks twice, so that there are rates, and prints.
///
/// # Errors
/// `unable to ask`, `unable to write`.
pub(crate) fn once(target: &Target, look: Look, clock: Clock) -> Result<(), Fatal> {
    let mut history = History::default();
    let mut asks = || {
        ask(target, &mut history)
            .map_err(|reason| Fatal::unable(format!("ask skd at {}", target.shown), reason))
    };
    asks()?;
    std::thread::sleep(SECOND);
    asks()?;
    let figures = history.figures();
    let table = figures.map(|figures| draw::table(&figures, &target.shown, &clock.now(), look));
    out(&table.unwrap_or_default())
}

/// Writes to stdout; that its reader has gone is no error.
///
/// # Errors
/// `unable to write to stdout`.
pub(crate) fn out(text: &str) -> Result<(), Fatal> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Fatal::unable("write to stdout", fetch::words(&error)))
        }
        _ => Ok(()),
    }
}
