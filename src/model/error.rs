//! What ends skd before it is ready: an exit code and one line of text.

use std::fmt::Display;

/// Why skd cannot start. It exists only before readiness; afterwards one client's trouble is an event.
#[derive(Debug)]
pub(crate) struct Fatal {
    pub(crate) kind: Kind,
    /// Lower case, no full stop; one line, but for a file that is wrong in several places.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The command line is wrong: exit code 100 and a pointer to the help.
    Usage,
    /// What the environment or a file says is wrong: exit code 100.
    Configuration,
    /// The system refused, and may not the next time: exit code 111.
    System,
    /// PROG cannot be executed: exit code 111.
    Program { is_there: bool },
}

impl Fatal {
    /// A wrong command line.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage,
            text: text.into(),
        }
    }

    /// A wrong configuration.
    pub(crate) fn configuration(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Configuration,
            text: text.into(),
        }
    }

    /// The system refused, in words that are whole already.
    pub(crate) fn system(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::System,
            text: text.into(),
        }
    }

    /// The system refused to do something: `unable to DEED: REASON`.
    pub(crate) fn unable(deed: impl Display, reason: impl Display) -> Self {
        Self {
            kind: Kind::System,
            text: format!("unable to {deed}: {reason}"),
        }
    }

    /// The exit code: 100 where trying again will not help, 111 where it may.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage | Kind::Configuration => 100,
            Kind::System | Kind::Program { .. } => 111,
        }
    }
}
