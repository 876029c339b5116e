//! How a program ended, in words; pure.

use crate::model::event::Ended;
use std::fmt::{self, Display};
use std::time::Duration;

/// `pid 812 exit 0 secs 1.204`
pub(super) struct End(pub(super) i32, pub(super) Ended, pub(super) Duration);

impl Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(pid, how, lasted) = self;
        write!(out, "pid {pid} {} secs {}", How(*how), Secs(*lasted))
    }
}

/// `exit 0`, `signal KILL`
pub(crate) struct How(pub(crate) Ended);

impl Display for How {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ended::Exit(code) => write!(out, "exit {code}"),
            Ended::Signal(number) => write!(out, "signal {}", signal_name(number)),
        }
    }
}

/// Seconds with three decimals.
pub(super) struct Secs(pub(super) Duration);

impl Display for Secs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// The names of signals 1 to 31 on Linux, as kill(1) -l has them; on all machines but MIPS and SPARC.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// There signals are shown by number.
const HAS_OTHER_SIGNALS: bool = cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "sparc",
    target_arch = "sparc64"
));
/// SIGRTMIN of glibc, which keeps 32 and 33 to itself.
const FIRST_REAL_TIME: i32 = 34;

/// The name of a signal without SIG: `KILL`, `RTMIN+3`; a number where there is no name.
pub(super) fn signal_name(number: i32) -> String {
    let named = usize::try_from(number - 1)
        .ok()
        .and_then(|place| SIGNALS.get(place));
    match (named, number) {
        _ if HAS_OTHER_SIGNALS => number.to_string(),
        (Some(name), _) => (*name).to_owned(),
        (None, FIRST_REAL_TIME) => "RTMIN".to_owned(),
        (None, FIRST_REAL_TIME..=64) => format!("RTMIN+{}", number - FIRST_REAL_TIME),
        (None, _) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_of_kill() {
        let table = [
            (1, "HUP"),
            (6, "ABRT"),
            (9, "KILL"),
            (15, "TERM"),
            (31, "SYS"),
            (32, "32"),
            (33, "33"),
            (34, "RTMIN"),
            (37, "RTMIN+3"),
            (64, "RTMIN+30"),
            (0, "0"),
            (65, "65"),
        ];
        for (number, shown) in table {
            assert_eq!(signal_name(number), shown);
        }
    }
}
