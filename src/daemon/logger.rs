//! The logger: a process of its own that reads what skd and its children say and sends it to syslog.
//!
//! It lives in skd's session and ends when the last writer has ended. skd holds the pipe's end to read as well, so that
//! the logger's death costs nobody a SIGPIPE, and starts it again.

use crate::daemon::lines::{Queue, Splitter, room};
use crate::daemon::words::Warning;
use crate::model::daemon::SyslogTo;
use crate::model::state::{self, Held};
use crate::sys::errno::Errno;
use crate::sys::fork::{self, Side};
use crate::sys::handover::Keeper;
use crate::sys::identity::{self, Ids};
use crate::sys::logsocket::LogSocket;
use crate::sys::{clock, fd, poll, process, signal};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long to wait before syslog is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How long the last lines may wait for a syslog that is away when nobody writes any more.
const FAREWELL: Duration = Duration::from_secs(5);

/// The logger as skd knows it.
pub(crate) struct Logger {
    to: SyslogTo,
    ids: Ids,
    /// For what the logger itself has to say.
    warning: Warning,
    /// The end of the pipe that the logger reads.
    read: OwnedFd,
    /// The end that becomes stderr.
    write: OwnedFd,
    /// /dev/null and /dev/log, held open: neither can be opened from inside a chroot, where another logger may start.
    null: OwnedFd,
    socket: LogSocket,
    skd_pid: i32,
    /// Nobody's child: the program in skd's place does not know of it.
    alone: bool,
    /// 0 if it is alone.
    pid: i32,
    since: Instant,
    is_dead: bool,
}

impl Logger {
    /// Makes the pipe and starts the logger, which becomes `ids` itself. To be called before any chroot.
    ///
    /// # Errors
    /// No descriptor or no process could be had.
    pub(crate) fn start(
        to: SyslogTo,
        ids: Ids,
        alone: bool,
        warning: Warning,
    ) -> Result<Self, Errno> {
        clock::learn_zone();
        let (read, write) = fork::pipe()?;
        let null = fd::null()?;
        let socket = LogSocket::find()?;
        let mut logger = Self {
            to,
            ids,
            warning,
            read,
            write,
            null,
            socket,
            skd_pid: process::own_pid(),
            alone,
            pid: 0,
            since: Instant::now(),
            is_dead: false,
        };
        logger.start_process()?;
        Ok(logger)
    }

    /// What a new skd in our place needs in order to keep it, and to start another.
    pub(crate) fn keep(&self, keeper: &mut Keeper) -> Result<state::Log, Errno> {
        let places = self.socket.keep(keeper)?;
        Ok(state::Log::Syslog {
            read: keeper.keep(&self.read)?,
            null: keeper.keep(&self.null)?,
            places: places.into_iter().map(Held::from).collect(),
            pid: self.pid,
        })
    }

    /// The logger of the skd before us, whose pipe is on descriptor 2.
    ///
    /// # Errors
    /// A number is not open.
    pub(crate) fn resume(
        (to, warning): (SyslogTo, Warning),
        ids: Ids,
        [read, null]: [i32; 2],
        places: &[Held],
        pid: i32,
    ) -> Result<Self, Errno> {
        clock::learn_zone();
        let places = places.iter().map(|at| (at.folder, at.name.as_slice()));
        Ok(Self {
            to,
            ids,
            warning,
            read: fd::resume(read)?,
            write: fd::duplicate(fd::standard(2))?,
            null: fd::resume(null)?,
            socket: LogSocket::resume(places)?,
            skd_pid: process::own_pid(),
            alone: false,
            pid,
            since: Instant::now(),
            is_dead: pid == 0,
        })
    }

    /// The end of the pipe that becomes stderr.
    pub(crate) fn stderr(&self) -> &OwnedFd {
        &self.write
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// It has ended, although there are writers.
    pub(crate) fn has_died(&mut self) {
        self.pid = 0;
        self.is_dead = true;
    }

    /// When it is to be started again, if it has died: at once, but not more often than once a second.
    pub(crate) fn start_again_at(&self) -> Option<Instant> {
        self.is_dead.then(|| self.since + Duration::from_secs(1))
    }

    /// Starts the logger, or another in place of one that died.
    ///
    /// # Errors
    /// No process could be had.
    pub(crate) fn start_process(&mut self) -> Result<(), Errno> {
        // If this fails it is tried again in a second.
        self.since = Instant::now();
        if let Side::Parent { pid } = fork::fork()? {
            self.is_dead = false;
            if !self.alone {
                self.pid = pid;
            } else if !fork::wait_for(pid) {
                return Err(Errno::AGAIN);
            }
            return Ok(());
        }
        if self.alone {
            match fork::fork() {
                Ok(Side::Child) => self.guard(),
                Ok(Side::Parent { .. }) => fork::leave(0),
                Err(_) => fork::leave(111),
            }
        }
        // Trouble has no place to be told: stderr would be our own pipe.
        fork::leave(if self.run().is_ok() { 0 } else { 111 })
    }

    /// Where nobody else holds the pipe's end to read: a process that does, and starts the logger again until one has
    /// ended as it should. Returns in the logger itself.
    fn guard(&self) {
        let alone = signal::hear_of_children()
            .and_then(|()| self.withdraw(c"skd-guard", &[self.null.as_raw_fd()]));
        if alone.is_err() {
            fork::leave(111);
        }
        loop {
            match fork::fork() {
                Ok(Side::Child) => return,
                Ok(Side::Parent { pid }) if fork::wait_for(pid) => fork::leave(0),
                Ok(Side::Parent { .. }) | Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }

    /// The logger's own process.
    fn run(&self) -> Result<(), Errno> {
        self.withdraw(c"skd-logger", &[])?;
        self.ids.become_them().map_err(|_| Errno::NOT_PERMITTED)?;
        // It executes nothing, whether --no-new-privs is given or not.
        identity::forbid_new_privileges()?;
        fd::set_nonblocking(&self.read, true)?;
        Transport::new(self).serve(&self.read)
    }

    /// A process that nobody disturbs, and that holds nothing but what it needs: it ends with the last writer, not when
    /// the others are told to end.
    fn withdraw(&self, name: &CStr, also: &[i32]) -> Result<(), Errno> {
        fork::set_name(name);
        signal::block_all()?;
        for number in 0..=2 {
            fd::replace_standard(number, self.null.as_fd())?;
        }
        let mut kept = vec![self.read.as_raw_fd()];
        kept.extend(self.socket.descriptors());
        kept.extend(also);
        kept.sort_unstable();
        fd::close_all_but(&kept)
    }
}

/// A connection to syslog that comes and goes, and what waits for it.
struct Transport<'a> {
    logger: &'a Logger,
    /// PRI of RFC 3164: facility and severity.
    priority: u8,
    connection: Option<OwnedFd>,
    not_before: Instant,
    queue: Queue,
}

impl<'a> Transport<'a> {
    fn new(logger: &'a Logger) -> Self {
        let to = &logger.to;
        let queue = Queue::default();
        Self {
            logger,
            priority: 8 * to.facility + to.severity,
            connection: None,
            not_before: Instant::now(),
            queue,
        }
    }

    /// Reads until the last writer has closed the pipe, and then as long as there is something to send.
    fn serve(&mut self, pipe: &OwnedFd) -> Result<(), Errno> {
        let mut splitter = Splitter::default();
        let mut buffer = vec![0; 65536];
        loop {
            let wait = if self.queue.first().is_some() {
                Some(RETRY)
            } else {
                None
            };
            let connection = self.connection.as_ref().filter(|_| wait.is_some());
            if poll::wait_readable(pipe, connection, wait).is_err() {
                // For want of memory, which there may be again; what is kept would be lost with this process.
                std::thread::sleep(RETRY);
            }
            let header = self.header();
            match fork::read(pipe, &mut buffer) {
                Ok(0) => {
                    splitter.end(room(&header), &mut |line| {
                        self.queue.push(format!("{header}{line}"))
                    });
                    break;
                }
                Ok(len) => {
                    let bytes = buffer.get(..len).unwrap_or_default();
                    splitter.take(bytes, room(&header), |line| {
                        self.queue.push(format!("{header}{line}"))
                    });
                }
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(errno),
            }
            self.send();
        }
        self.bid_farewell();
        Ok(())
    }

    /// Nobody writes any more: sends what waits, as long as syslog takes some of it every now and then.
    fn bid_farewell(&mut self) {
        let mut until = Instant::now() + FAREWELL;
        let mut before = self.queue.len();
        self.send();
        while self.queue.first().is_some() && Instant::now() < until {
            match &self.connection {
                // That it cannot be waited for shows when it is sent to.
                Some(connection) => drop(poll::wait_writable(connection, RETRY)),
                None => std::thread::sleep(RETRY),
            }
            self.send();
            if self.queue.len() < before {
                (before, until) = (self.queue.len(), Instant::now() + FAREWELL);
            }
        }
        self.queue.lose_all();
        self.send();
    }

    /// `<PRI>Mmm dd hh:mm:ss TAG[PID]: `, as RFC 3164 has it for a message to this machine's own syslog, in local time.
    fn header(&self) -> String {
        let (stamp, tag) = (clock::local_stamp(), &self.logger.to.tag);
        format!(
            "<{}>{stamp} {tag}[{}]: ",
            self.priority, self.logger.skd_pid
        )
    }

    /// Sends what waits, as far as syslog takes it without making us wait.
    fn send(&mut self) {
        self.tell_lost();
        while let Some(message) = self.queue.first() {
            if self.connection.is_none() {
                if Instant::now() < self.not_before {
                    return;
                }
                self.connection = self.logger.socket.connect().ok();
                self.not_before = Instant::now() + RETRY;
            }
            let Some(connection) = &self.connection else {
                return;
            };
            match LogSocket::send(connection, message) {
                Ok(()) => self.queue.sent(),
                Err(Errno::AGAIN | Errno::NO_BUFFERS) => return,
                Err(Errno::TOO_LONG) => self.queue.lose(),
                Err(_) => self.connection = None,
            }
            self.tell_lost();
        }
    }

    /// Lines that were lost, when everything before them has been sent.
    fn tell_lost(&mut self) {
        if let Some(lost) = self.queue.take_lost() {
            let line = (self.logger.warning)(&format!("{lost} lines were lost"));
            self.queue
                .push(format!("{}{}", self.header(), line.trim_end()));
        }
    }
}
