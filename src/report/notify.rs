//! Turns what happens into messages to the service manager, sd_notify(3); pure.
//!
//! Nothing that a peer chose ever gets into one: they are made of numbers and of words of ours.

use crate::model::event::Status;
use crate::model::manager::STORED_AS;
use sd_notify::NotifyState;
use std::time::Duration;

/// Everything is bound, adopted, dropped and listening. `main_pid` is for a manager that knows another process.
pub(crate) fn ready(main_pid: Option<i32>, status: Option<&Status>) -> String {
    let main_pid = main_pid.and_then(|pid| u32::try_from(pid).ok());
    let mut text = main_pid.map_or(String::new(), |pid| line(&NotifyState::MainPid(pid)));
    text.push_str(&line(&NotifyState::Ready));
    text.push_str(&status.map_or(String::new(), self::status));
    text
}

/// The counters, as systemctl(1) shows them.
pub(crate) fn status(status: &Status) -> String {
    let count = match (status.count.now, status.count.max) {
        (now, Some(max)) => format!("{now}/{max}"),
        (now, None) => now.to_string(),
    };
    let (accepted, denied) = (status.accepted, status.denied);
    let text = format!("{count} connections, {accepted} accepted, {denied} refused");
    line(&NotifyState::Status(&text))
}

/// HUP is being obeyed; `monotonic` is CLOCK_MONOTONIC. `ready` must follow.
pub(crate) fn reloading(monotonic: Duration) -> String {
    let micros = i128::try_from(monotonic.as_micros()).unwrap_or(i128::MAX);
    line(&NotifyState::Reloading) + &line(&NotifyState::MonotonicUsec(micros))
}

/// Stopping has begun.
pub(crate) fn stopping() -> String {
    line(&NotifyState::Stopping)
}

/// The loop goes round.
pub(crate) fn alive() -> String {
    line(&NotifyState::Watchdog)
}

/// Keep the socket that comes along.
pub(crate) fn store() -> String {
    let name = format!("FDNAME={STORED_AS}");
    line(&NotifyState::Custom("FDSTORE=1")) + &line(&NotifyState::Custom(&name))
}

/// Keep none of the sockets any more that came along with `store`.
pub(crate) fn forget() -> String {
    let name = format!("FDNAME={STORED_AS}");
    line(&NotifyState::Custom("FDSTOREREMOVE=1")) + &line(&NotifyState::Custom(&name))
}

fn line(state: &NotifyState<'_>) -> String {
    format!("{state}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Count;
    use std::num::NonZeroU32;

    fn counted(max: Option<NonZeroU32>) -> Status {
        Status {
            count: Count { now: 2, max },
            accepted: 1017,
            denied: 3,
            failed: 9,
        }
    }

    #[test]
    fn messages_read_as_the_manager_wants_them() {
        let limited = counted(NonZeroU32::new(40));
        let table = [
            (ready(None, None), "READY=1\n"),
            (
                ready(Some(42), Some(&limited)),
                "MAINPID=42\nREADY=1\nSTATUS=2/40 connections, 1017 accepted, 3 refused\n",
            ),
            (
                status(&counted(None)),
                "STATUS=2 connections, 1017 accepted, 3 refused\n",
            ),
            (
                reloading(Duration::from_nanos(5_000_001_999)),
                "RELOADING=1\nMONOTONIC_USEC=5000001\n",
            ),
            (stopping(), "STOPPING=1\n"),
            (alive(), "WATCHDOG=1\n"),
            (store(), "FDSTORE=1\nFDNAME=skd\n"),
        ];
        for (text, expected) in table {
            assert_eq!(text, expected);
        }
    }
}
