//! The service manager, as the environment describes it: where it listens and what it asks for.

use crate::model::number;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The name under which the manager keeps the sockets that skd bound, and by which it passes them on.
pub(crate) const STORED_AS: &str = "skd";

/// By which name a socket that skd bound, and that nobody keeps, goes to an skd that takes its place. It tells one that
/// cannot read the state of the one before.
pub(crate) const OWN: &str = "skd-own";

/// What the variables of sd_notify(3), sd_watchdog_enabled(3) and systemd.exec(5) say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Manager {
    /// NOTIFY_SOCKET as sun_path has it: a path with its NUL, or an abstract name behind one.
    pub(crate) sun_path: Option<Vec<u8>>,
    /// How long it waits for a sign of life.
    pub(crate) watchdog: Option<Duration>,
    /// FDSTORE: it keeps descriptors for us.
    pub(crate) stores: bool,
}

impl Manager {
    /// Reads the environment; `own_pids` are that of this process and that of the skd that was called, which the manager
    /// started. What is malformed counts as not set: a manager's mistake is no reason not to serve.
    pub(crate) fn of(environment: &[(OsString, OsString)], own_pids: [i32; 2]) -> Self {
        let var = |name: &str| {
            let found = environment.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| value.as_os_str())
        };
        let number = |text: &OsStr| number::decimal(text.as_bytes());
        let own_pids = own_pids.map(|pid| u64::try_from(pid).ok());
        let is_ours = var("WATCHDOG_PID").is_none_or(|pid| own_pids.contains(&number(pid)));
        let watchdog = var("WATCHDOG_USEC")
            .and_then(number)
            .filter(|micros| *micros > 0 && is_ours);
        Self {
            sun_path: var("NOTIFY_SOCKET").and_then(|name| sun_path(name.as_bytes())),
            watchdog: watchdog.map(Duration::from_micros),
            stores: var("FDSTORE").and_then(number).is_some_and(|most| most > 0),
        }
    }
}

/// A path, or `@name` in the abstract namespace; `None` for anything else.
fn sun_path(name: &[u8]) -> Option<Vec<u8>> {
    match name {
        [b'/', ..] => Some([name, b"\0"].concat()),
        [b'@', name @ ..] if !name.is_empty() => Some([b"\0", name].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &str) -> Manager {
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').unwrap();
            (name.into(), value.into())
        };
        let all: Vec<_> = variables.split_whitespace().map(pair).collect();
        Manager::of(&all, [42, 40])
    }

    #[test]
    fn sockets_are_paths_or_abstract_names() {
        for none in [
            "",
            "NOTIFY_SOCKET=",
            "NOTIFY_SOCKET=@",
            "NOTIFY_SOCKET=run/x",
            "NOTIFY_SOCKET=vsock:2:1",
        ] {
            assert_eq!(of(none), Manager::default(), "{none}");
        }
        assert_eq!(of("NOTIFY_SOCKET=/run/x").sun_path.unwrap(), b"/run/x\0");
        assert_eq!(of("NOTIFY_SOCKET=@/org/x").sun_path.unwrap(), b"\0/org/x");
    }

    #[test]
    fn a_watchdog_of_another_process_or_without_time_is_off() {
        for off in [
            "WATCHDOG_USEC=0",
            "WATCHDOG_USEC=",
            "WATCHDOG_USEC=-1",
            "WATCHDOG_USEC=1s",
            "WATCHDOG_USEC=5 WATCHDOG_PID=43",
            "WATCHDOG_USEC=5 WATCHDOG_PID=x",
            "WATCHDOG_USEC=5 WATCHDOG_PID=-1",
            "WATCHDOG_PID=42",
        ] {
            assert_eq!(of(off).watchdog, None, "{off}");
        }
        for on in [
            "WATCHDOG_USEC=5",
            "WATCHDOG_USEC=5 WATCHDOG_PID=42",
            "WATCHDOG_USEC=5 WATCHDOG_PID=40",
        ] {
            assert_eq!(of(on).watchdog, Some(Duration::from_micros(5)), "{on}");
        }
    }

    #[test]
    fn a_store_keeps_at_least_one() {
        let stores = [
            "FDSTORE=0",
            "FDSTORE=x",
            "FDSTORE=",
            "FDSTORE=1",
            "FDSTORE=64",
        ];
        assert_eq!(
            stores.map(|text| of(text).stores),
            [false, false, false, true, true]
        );
    }
}
