//! Where stderr goes, skd's and the children's, and keeping it going there.

use crate::daemon::logfile::LogFile;
use crate::daemon::logger::Logger;
use crate::model::daemon::LogTo;
use crate::model::error::Fatal;
use crate::model::state;
use crate::model::text::Quoted;
use crate::sys::errno::Errno;
use crate::sys::fd;
use crate::sys::handover::Keeper;
use crate::sys::identity::Ids;
use crate::sys::logsocket::LogSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

/// What makes a warning a whole line of skd's log.
pub(crate) type Warning = Box<dyn Fn(&str) -> String>;

/// What stderr is.
pub(crate) enum Words {
    /// What skd was started with.
    Inherited,
    File(LogFile),
    Syslog(Box<Logger>),
}

impl Words {
    /// Opens the file, or starts the logger, which becomes `ids`. Nothing is written there before `begin`. The logger of
    /// a program that takes skd's place is `alone`: it is nobody's child; `warning` makes lines of what it has to say.
    ///
    /// # Errors
    /// 111.
    pub(crate) fn prepare(
        log: Option<&LogTo>,
        ids: &Ids,
        alone: bool,
        warning: Warning,
    ) -> Result<Self, Fatal> {
        match log {
            None => Ok(Self::Inherited),
            Some(LogTo::File { path, truncate }) => {
                let deed = || format!("open the log {}", Quoted(path.as_bytes()));
                let file = LogFile::open(path, *truncate);
                file.map(Self::File)
                    .map_err(|errno| Fatal::unable(deed(), errno))
            }
            Some(LogTo::Syslog(to)) => {
                let logger = Logger::start(to.clone(), ids.clone(), alone, warning);
                logger
                    .map(|logger| Self::Syslog(Box::new(logger)))
                    .map_err(|errno| Fatal::unable("start the logger", errno))
            }
        }
    }

    /// What there is to be said on the stderr that skd was started with, before it is replaced: that nobody hears yet what
    /// will be said then.
    pub(crate) fn trouble(&self) -> Option<String> {
        let errno = match self {
            Self::Syslog(_) => LogSocket::trouble()?,
            Self::Inherited | Self::File(_) => return None,
        };
        Some(format!(
            "unable to reach the system log at /dev/log: {errno}, keeping lines for it"
        ))
    }

    /// What a new skd in our place needs in order to go on with the log.
    ///
    /// # Errors
    /// There were not enough descriptors.
    pub(crate) fn keep(&self, keeper: &mut Keeper) -> Result<state::Log, Errno> {
        match self {
            Self::Inherited => Ok(state::Log::Inherited),
            Self::File(file) => file.keep(keeper),
            Self::Syslog(logger) => logger.keep(keeper),
        }
    }

    /// The log of the skd before us: descriptor 2 is it already.
    ///
    /// # Errors
    /// A number is not open.
    pub(crate) fn resume(
        kept: &state::Log,
        log: Option<&LogTo>,
        ids: &Ids,
        warning: Warning,
    ) -> Result<Self, Errno> {
        match (kept, log) {
            (state::Log::File { at, umask }, _) => LogFile::resume(at, *umask).map(Self::File),
            (
                state::Log::Syslog {
                    read,
                    null,
                    places,
                    pid,
                },
                Some(LogTo::Syslog(to)),
            ) => {
                let pipes = [*read, *null];
                let logger =
                    Logger::resume((to.clone(), warning), ids.clone(), pipes, places, *pid);
                logger.map(|logger| Self::Syslog(Box::new(logger)))
            }
            (state::Log::Inherited | state::Log::Syslog { .. }, _) => Ok(Self::Inherited),
        }
    }

    /// From here on stderr is the log; returns what it was before.
    ///
    /// # Errors
    /// 111.
    pub(crate) fn begin(&mut self) -> Result<OwnedFd, Fatal> {
        let mut begin = || -> Result<OwnedFd, Errno> {
            let before = fd::duplicate(fd::standard(2))?;
            match self {
                Self::Inherited => {}
                Self::File(file) => file.become_stderr()?,
                Self::Syslog(logger) => fd::replace_standard(2, logger.stderr().as_fd())?,
            }
            Ok(before)
        };
        begin().map_err(|errno| Fatal::unable("replace stderr", errno))
    }

    /// Whether stderr is still what skd was started with.
    pub(crate) fn are_inherited(&self) -> bool {
        matches!(self, Self::Inherited)
    }

    /// Opens a file again by its name.
    ///
    /// # Errors
    /// Why it cannot be opened; the old file stays.
    pub(crate) fn reopen(&self) -> Result<(), Errno> {
        match self {
            Self::File(file) => file.reopen(),
            Self::Inherited | Self::Syslog(_) => Ok(()),
        }
    }

    /// Whether the child that has ended is the logger; then it will be started again.
    pub(crate) fn is_logger(&mut self, pid: i32) -> bool {
        match self {
            Self::Syslog(logger) if logger.pid() == pid => {
                logger.has_died();
                true
            }
            Self::Syslog(_) | Self::Inherited | Self::File(_) => false,
        }
    }

    /// The logger's pid, while it lives.
    pub(crate) fn logger(&self) -> Option<i32> {
        match self {
            Self::Syslog(logger) => Some(logger.pid()).filter(|pid| *pid != 0),
            Self::Inherited | Self::File(_) => None,
        }
    }

    /// When the logger is to be started again.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self {
            Self::Syslog(logger) => logger.start_again_at(),
            Self::Inherited | Self::File(_) => None,
        }
    }

    /// Starts the logger again; what it costs at most are the lines that the dead one had read, the pipe waits for the
    /// next. Returns what there is to say of it.
    pub(crate) fn restart_logger(&mut self) -> String {
        let started = match self {
            Self::Syslog(logger) => logger.start_process(),
            Self::Inherited | Self::File(_) => Ok(()),
        };
        match started {
            Ok(()) => "the logger has died, started it again".into(),
            Err(errno) => format!("unable to start the logger again: {errno}"),
        }
    }
}
