//! What one skd hands to the next that takes its place, as text; pure.
//!
//! A line for each thing, words parted by blanks; bytes that anybody else chose are hexadecimal. The first line names the
//! version: a state of another version cannot be read.

mod lines;
mod words;

use crate::model::inetd::Builtin;
use crate::model::peer::{Peer, Source};
use crate::model::tally::{Counts, Tally};
use lines::line;
use std::time::Duration;
use words::Words;

/// The first line.
const VERSION: &str = "skd-state 5";

/// The number of a descriptor that stays open from one to the next.
pub(crate) type Number = i32;

/// A name in a folder that is held open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Held {
    pub(crate) folder: Number,
    pub(crate) name: Vec<u8>,
}

impl From<(Number, Vec<u8>)> for Held {
    fn from((folder, name): (Number, Vec<u8>)) -> Self {
        Self { folder, name }
    }
}

/// Where stderr goes; descriptor 2 stays what it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Log {
    Inherited,
    /// The umask by which a new file is made when it is opened again.
    File {
        at: Held,
        umask: u32,
    },
    Syslog {
        /// The end of the pipe that the logger reads, and /dev/null.
        read: Number,
        null: Number,
        /// The places of /dev/log.
        places: Vec<Held>,
        /// 0 if it has died.
        pid: i32,
    },
}

/// A listener; its socket is that of its place among LISTEN_FDS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listener {
    /// The name of LISTEN_FDNAMES if it was adopted.
    pub(crate) adopted: Option<Vec<u8>>,
    /// The name of the service of an inetd.conf(5) that it is of.
    pub(crate) service: Option<Vec<u8>>,
    /// A manager keeps it.
    pub(crate) is_kept: bool,
    /// The unix socket file that skd made, and its device and inode.
    pub(crate) file: Option<(Held, (u64, u64))>,
    /// What waited when the program that has it was started, and whether more has come since.
    pub(crate) waited: Option<u64>,
    pub(crate) has_news: bool,
    /// Whether the last program that had it could be executed, and whether the next is started for the same client.
    pub(crate) was_executed: bool,
    pub(crate) is_again: bool,
    /// The stamp of the datagram for which a program was last started, and how often one was.
    pub(crate) unread: (Option<Duration>, u32),
    /// CLOCK_MONOTONIC until when none is started again.
    pub(crate) rests_until: Option<Duration>,
    /// What was counted; the children follow by themselves.
    pub(crate) tally: Tally,
}

/// A listener that is no longer there, by which somebody came in who still is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Gone {
    /// What it was called.
    pub(crate) label: Vec<u8>,
    pub(crate) tally: Tally,
}

/// How far a child has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// It is PROG, or on its way.
    Running,
    /// Names are being looked up for it, and by them it may still be denied.
    Asking,
    /// It was denied, or could not become PROG, and is about to end.
    Denied,
}

/// A running program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    /// The place of its listener; those that are gone have the places behind the others.
    pub(crate) listener: u32,
    /// CLOCK_MONOTONIC when it was started.
    pub(crate) since: Duration,
    /// `None` for one that has a listener to itself.
    pub(crate) peer: Option<Peer>,
    /// By whom its connection is counted.
    pub(crate) source: Source,
    pub(crate) stage: Stage,
}

/// A connection whose PROXY header is not whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pending {
    pub(crate) conn: Number,
    /// The place of its listener.
    pub(crate) listener: u32,
    /// CLOCK_MONOTONIC when it has had its time.
    pub(crate) until: Duration,
    /// What of the header has been taken from the connection.
    pub(crate) taken: Vec<u8>,
    pub(crate) peer: Peer,
}

/// A connection that is not let in, and hears why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Farewell {
    pub(crate) conn: Number,
    /// How many bytes of the message have been sent.
    pub(crate) sent: usize,
    /// CLOCK_MONOTONIC when it has had its time.
    pub(crate) until: Duration,
}

/// Somebody with whom skd itself talks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Visit {
    pub(crate) conn: Number,
    /// The place of its listener.
    pub(crate) listener: u32,
    pub(crate) builtin: Builtin,
    /// CLOCK_MONOTONIC when it came, and when it has had its time.
    pub(crate) since: Duration,
    pub(crate) until: Duration,
    /// The line of chargen that is next.
    pub(crate) line: usize,
    /// What is still to be sent.
    pub(crate) unsent: Vec<u8>,
    pub(crate) source: Source,
    pub(crate) peer: Peer,
}

/// A file that is read again when it changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeptFile {
    pub(crate) at: Held,
    /// What it said when it was last right.
    pub(crate) contents: Number,
}

/// How full a bucket is: what is missing, in the units of its pace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Spent {
    /// `None` for the bucket of all.
    pub(crate) source: Option<Source>,
    pub(crate) units: u64,
}

/// A socket on which metrics are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Scraped {
    pub(crate) socket: Number,
    /// As of a listener.
    pub(crate) file: Option<(Held, (u64, u64))>,
}

/// All of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct State {
    /// Whose it is: the process that reads it must be this one.
    pub(crate) pid: i32,
    /// Children may be ours that skd did not start.
    pub(crate) may_have_strangers: bool,
    /// What was counted over all listeners, those that are gone among them.
    pub(crate) sum: Counts,
    /// The locked pid file and where it is.
    pub(crate) pidfile: Option<(Number, Held)>,
    pub(crate) log: Log,
    /// The file of PROG.
    pub(crate) prog: Option<Vec<u8>>,
    /// The files of `--rules` and `--inetd-conf`.
    pub(crate) rules: Option<KeptFile>,
    pub(crate) services: Option<KeptFile>,
    /// What names of the latter mean, where that may not be found out any more.
    pub(crate) known: String,
    /// What is missing in the buckets of `--rate` and `--rate-per-source`.
    pub(crate) spent: Vec<Spent>,
    /// The socket that reaches the service manager.
    pub(crate) notify: Option<Number>,
    /// The two ends of the way on which those tell what they have decided who look up names.
    pub(crate) verdicts: Option<(Number, Number)>,
    /// The two ends of the pipe in which children say why they could not become PROG.
    pub(crate) reports: Option<(Number, Number)>,
    /// What was heard there of children that have not been reaped: their pids, and an errno for each.
    pub(crate) heard: Vec<(i32, i32)>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) gone: Vec<Gone>,
    pub(crate) children: Vec<Child>,
    pub(crate) pendings: Vec<Pending>,
    pub(crate) farewells: Vec<Farewell>,
    pub(crate) visits: Vec<Visit>,
    pub(crate) scraped: Vec<Scraped>,
}

impl State {
    pub(crate) fn encode(&self) -> String {
        let mut out = format!("{VERSION}\n");
        let strangers = u8::from(self.may_have_strangers);
        line(&mut out, format_args!("process {} {strangers}", self.pid));
        line(
            &mut out,
            format_args!("counts {}", lines::counts(&self.sum)),
        );
        if let Some((file, at)) = &self.pidfile {
            line(&mut out, format_args!("pidfile {file} {}", lines::held(at)));
        }
        if let Some(words) = lines::log(&self.log) {
            line(&mut out, format_args!("{words}"));
        }
        if let Some(path) = &self.prog {
            line(&mut out, format_args!("prog {}", lines::hex(path)));
        }
        for (name, file) in [("rules", &self.rules), ("services", &self.services)] {
            if let Some(KeptFile { at, contents }) = file {
                line(
                    &mut out,
                    format_args!("{name} {contents} {}", lines::held(at)),
                );
            }
        }
        if !self.known.is_empty() {
            line(
                &mut out,
                format_args!("known {}", lines::hex(self.known.as_bytes())),
            );
        }
        if let Some(socket) = self.notify {
            line(&mut out, format_args!("notify {socket}"));
        }
        if let Some((ours, theirs)) = self.verdicts {
            line(&mut out, format_args!("verdicts {ours} {theirs}"));
        }
        if let Some((ours, theirs)) = self.reports {
            line(&mut out, format_args!("reports {ours} {theirs}"));
        }
        for (pid, errno) in &self.heard {
            line(&mut out, format_args!("heard {pid} {errno}"));
        }
        let words = self.listeners.iter().map(lines::listener);
        let words = words.chain(self.spent.iter().map(lines::spent));
        let words = words.chain(self.gone.iter().map(lines::gone));
        let words = words.chain(self.children.iter().map(lines::child));
        let words = words.chain(self.pendings.iter().map(lines::pending));
        let words = words.chain(self.farewells.iter().map(lines::farewell));
        let words = words.chain(self.visits.iter().map(lines::visit));
        for words in words.chain(self.scraped.iter().map(lines::scraped)) {
            line(&mut out, format_args!("{words}"));
        }
        out.push_str("end\n");
        out
    }

    /// `None` for anything that `encode` of this version has not written.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix("\nend\n")?.split('\n');
        if lines.next()? != VERSION {
            return None;
        }
        let mut state = Self {
            pid: 0,
            may_have_strangers: false,
            sum: Counts::default(),
            pidfile: None,
            log: Log::Inherited,
            prog: None,
            rules: None,
            services: None,
            known: String::new(),
            spent: Vec::new(),
            notify: None,
            verdicts: None,
            reports: None,
            heard: Vec::new(),
            listeners: Vec::new(),
            gone: Vec::new(),
            children: Vec::new(),
            pendings: Vec::new(),
            farewells: Vec::new(),
            visits: Vec::new(),
            scraped: Vec::new(),
        };
        for line in lines {
            let mut words = Words::of(line);
            state.take(&mut words)?;
            if words.next().is_some() {
                return None;
            }
        }
        let places = state.children.iter().map(|child| child.listener);
        let places = places.chain(state.pendings.iter().map(|pending| pending.listener));
        let mut places = places.chain(state.visits.iter().map(|visit| visit.listener));
        let count = state.listeners.len() + state.gone.len();
        let are_there = places.all(|place| (place as usize) < count);
        (state.pid > 0 && are_there).then_some(state)
    }

    /// The numbers of all descriptors that stay open, besides the listeners.
    pub(crate) fn numbers(&self) -> Vec<Number> {
        let mut numbers = Vec::new();
        if let Some((file, at)) = &self.pidfile {
            numbers.extend([*file, at.folder]);
        }
        match &self.log {
            Log::Inherited => {}
            Log::File { at, .. } => numbers.push(at.folder),
            Log::Syslog {
                read, null, places, ..
            } => {
                numbers.extend([*read, *null]);
                numbers.extend(places.iter().map(|at| at.folder));
            }
        }
        let files = self.listeners.iter().map(|it| &it.file);
        let files = files
            .chain(self.scraped.iter().map(|it| &it.file))
            .flatten();
        numbers.extend(files.map(|(at, _)| at.folder));
        for KeptFile { at, contents } in self.rules.iter().chain(&self.services) {
            numbers.extend([*contents, at.folder]);
        }
        numbers.extend(self.notify);
        let ways = self.verdicts.iter().chain(&self.reports);
        numbers.extend(ways.flat_map(|(ours, theirs)| [*ours, *theirs]));
        numbers.extend(self.pendings.iter().map(|pending| pending.conn));
        numbers.extend(self.farewells.iter().map(|farewell| farewell.conn));
        numbers.extend(self.visits.iter().map(|visit| visit.conn));
        numbers.extend(self.scraped.iter().map(|scraped| scraped.socket));
        numbers
    }

    /// One line.
    fn take(&mut self, words: &mut Words<'_>) -> Option<()> {
        match words.next()? {
            "process" => {
                self.pid = words.number()?;
                self.may_have_strangers = words.flag()?;
            }
            "counts" => self.sum = words.counts()?,
            "pidfile" => self.pidfile = Some((words.number()?, words.held()?)),
            "logfile" => {
                self.log = Log::File {
                    umask: words.number()?,
                    at: words.held()?,
                }
            }
            "logger" => self.log = words.logger()?,
            "prog" => self.prog = Some(words.name()?),
            "rules" => self.rules = Some(words.kept_file()?),
            "services" => self.services = Some(words.kept_file()?),
            "known" => self.known = String::from_utf8(words.name()?).ok()?,
            "spent" => self.spent.push(words.spent()?),
            "notify" => self.notify = Some(words.number()?),
            "verdicts" => self.verdicts = Some((words.number()?, words.number()?)),
            "reports" => self.reports = Some((words.number()?, words.number()?)),
            "heard" => self.heard.push((words.number()?, words.number()?)),
            "listener" => self.listeners.push(words.listener()?),
            "gone" => self.gone.push(words.gone()?),
            "child" => self.children.push(words.child()?),
            "pending" => self.pendings.push(words.pending()?),
            "visit" => self.visits.push(words.visit()?),
            "farewell" => self.farewells.push(words.farewell()?),
            "metrics" => self.scraped.push(words.scraped()?),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
