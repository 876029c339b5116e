//! What one skd hands to the next that takes its place, as text; pure.
//!
//! A line for each thing, words parted by blanks; bytes that anybody else chose are hexadecimal. The first line names the
//! version: a state of another version cannot be read.

mod words;

use crate::model::peer::{Credentials, Peer, Source};
use std::fmt::Write;
use std::time::Duration;
use words::Words;

/// The first line.
const VERSION: &str = "skd-state 1";

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
    /// A manager keeps it.
    pub(crate) is_kept: bool,
    /// The unix socket file that skd made, and its device and inode.
    pub(crate) file: Option<(Held, (u64, u64))>,
    /// What waited when the program that has it was started, and whether more has come since.
    pub(crate) waited: Option<u64>,
    pub(crate) has_news: bool,
}

/// A running program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    /// The place of its listener.
    pub(crate) listener: u32,
    /// CLOCK_MONOTONIC when it was started.
    pub(crate) since: Duration,
    /// `None` for one that has a listener to itself.
    pub(crate) peer: Option<Peer>,
    /// By whom its connection is counted.
    pub(crate) source: Source,
}

/// All of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct State {
    /// Whose it is: the process that reads it must be this one.
    pub(crate) pid: i32,
    /// Children may be ours that skd did not start.
    pub(crate) may_have_strangers: bool,
    pub(crate) accepted: u64,
    pub(crate) denied: u64,
    pub(crate) failed: u64,
    /// The locked pid file and where it is.
    pub(crate) pidfile: Option<(Number, Held)>,
    pub(crate) log: Log,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) children: Vec<Child>,
}

impl State {
    pub(crate) fn encode(&self) -> String {
        let mut out = format!("{VERSION}\n");
        let strangers = u8::from(self.may_have_strangers);
        let (accepted, denied, failed) = (self.accepted, self.denied, self.failed);
        line(&mut out, format_args!("process {} {strangers}", self.pid));
        line(
            &mut out,
            format_args!("counts {accepted} {denied} {failed}"),
        );
        if let Some((file, at)) = &self.pidfile {
            line(&mut out, format_args!("pidfile {file} {}", held(at)));
        }
        match &self.log {
            Log::Inherited => {}
            Log::File { at, umask } => {
                line(&mut out, format_args!("logfile {umask} {}", held(at)));
            }
            Log::Syslog {
                read,
                null,
                places,
                pid,
            } => {
                let places: String = places.iter().map(|at| format!(" {}", held(at))).collect();
                line(&mut out, format_args!("logger {read} {null} {pid}{places}"));
            }
        }
        for listener in &self.listeners {
            line(&mut out, format_args!("{}", listener_line(listener)));
        }
        for Child {
            pid,
            listener,
            since,
            peer,
            source,
        } in &self.children
        {
            let (since, peer) = (since.as_nanos(), peer_words(peer.as_ref()));
            let source = source_words(*source);
            line(
                &mut out,
                format_args!("child {pid} {listener} {since} {source} {peer}"),
            );
        }
        out.push_str("end\n");
        out
    }

    /// `None` for anything that `encode` of this version has not written.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix("end\n")?.lines();
        if lines.next()? != VERSION {
            return None;
        }
        let mut state = Self {
            pid: 0,
            may_have_strangers: false,
            accepted: 0,
            denied: 0,
            failed: 0,
            pidfile: None,
            log: Log::Inherited,
            listeners: Vec::new(),
            children: Vec::new(),
        };
        for line in lines {
            let mut words = Words::of(line);
            state.take(&mut words)?;
            if words.next().is_some() {
                return None;
            }
        }
        let is_placed = |child: &Child| (child.listener as usize) < state.listeners.len();
        (state.pid > 0 && state.children.iter().all(is_placed)).then_some(state)
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
        let files = self.listeners.iter().filter_map(|it| it.file.as_ref());
        numbers.extend(files.map(|(at, _)| at.folder));
        numbers
    }

    /// One line.
    fn take(&mut self, words: &mut Words<'_>) -> Option<()> {
        match words.next()? {
            "process" => {
                self.pid = words.number()?;
                self.may_have_strangers = words.flag()?;
            }
            "counts" => {
                self.accepted = words.number()?;
                self.denied = words.number()?;
                self.failed = words.number()?;
            }
            "pidfile" => self.pidfile = Some((words.number()?, words.held()?)),
            "logfile" => {
                self.log = Log::File {
                    umask: words.number()?,
                    at: words.held()?,
                }
            }
            "logger" => {
                let (read, null, pid) = (words.number()?, words.number()?, words.number()?);
                let mut places = Vec::new();
                while let Some(at) = words.held() {
                    places.push(at);
                }
                self.log = Log::Syslog {
                    read,
                    null,
                    places,
                    pid,
                }
            }
            "listener" => self.listeners.push(words.listener()?),
            "child" => self.children.push(Child {
                pid: words.number().filter(|pid| *pid > 0)?,
                listener: words.number()?,
                since: Duration::from_nanos(words.number()?),
                source: words.source()?,
                peer: words.peer()?,
            }),
            _ => return None,
        }
        Some(())
    }
}

fn line(out: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(words);
    out.push('\n');
}

fn held(at: &Held) -> String {
    format!("{} {}", at.folder, hex(&at.name))
}

/// Two digits for each byte behind an `x`, so that nothing is a word too.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("x".to_owned()).chain(digits).collect()
}

fn listener_line(listener: &Listener) -> String {
    let adopted = listener
        .adopted
        .as_ref()
        .map_or("-".into(), |name| hex(name));
    let waited = listener
        .waited
        .map_or("-".into(), |count| count.to_string());
    let (is_kept, has_news) = (u8::from(listener.is_kept), u8::from(listener.has_news));
    let file = listener
        .file
        .as_ref()
        .map_or(String::new(), |(at, (device, inode))| {
            format!(" {device} {inode} {}", held(at))
        });
    format!("listener {adopted} {is_kept} {waited} {has_news}{file}")
}

fn source_words(source: Source) -> String {
    match source {
        Source::V4(ip) => format!("4 {ip}"),
        Source::V6(prefix) => format!("6 {}", u64::from_be_bytes(prefix)),
        Source::Uid(uid) => format!("uid {uid}"),
        Source::Cid(cid) => format!("cid {cid}"),
        Source::Unknown => "nobody".into(),
    }
}

fn peer_words(peer: Option<&Peer>) -> String {
    match peer {
        None => "alone".into(),
        Some(Peer::Inet(address)) => format!("inet {address}"),
        Some(Peer::Unix(Some(Credentials { pid, uid, gid }))) => format!("unix {pid} {uid} {gid}"),
        Some(Peer::Unix(None)) => "unknown".into(),
        Some(Peer::Vsock { cid, port }) => format!("vsock {cid} {port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> State {
        let held = |folder, name: &[u8]| Held {
            folder,
            name: name.to_vec(),
        };
        let listener = |adopted: Option<&[u8]>, file| Listener {
            adopted: adopted.map(<[u8]>::to_vec),
            is_kept: false,
            file,
            waited: None,
            has_news: false,
        };
        let child = |pid, peer| Child {
            pid,
            listener: 1,
            since: Duration::from_nanos(1_234_567_890_123),
            // That of another than the peer, where a proxy is counted.
            source: match pid {
                100 => Source::V4(u32::MAX),
                101 => Source::V6([255, 0, 0, 0, 0, 0, 0, 1]),
                102 => Source::Cid(3),
                103 => Source::Unknown,
                _ => Source::Uid(7),
            },
            peer,
        };
        let credentials = Credentials {
            pid: 77,
            uid: 1000,
            gid: 100,
        };
        State {
            pid: 42,
            may_have_strangers: true,
            accepted: u64::MAX,
            denied: 2,
            failed: 3,
            pidfile: Some((9, held(10, b"pid file\n"))),
            log: Log::Syslog {
                read: 11,
                null: 12,
                places: vec![held(13, b"log"), held(14, b"dev-log")],
                pid: 43,
            },
            listeners: vec![
                listener(None, None),
                Listener {
                    is_kept: true,
                    waited: Some(5),
                    has_news: true,
                    ..listener(Some(b""), Some((held(15, b"\xff sock"), (7, 8))))
                },
            ],
            children: vec![
                child(100, None),
                child(101, Some(Peer::Inet("192.0.2.7:4711".parse().unwrap()))),
                child(102, Some(Peer::Inet("[fe80::1%2]:4711".parse().unwrap()))),
                child(103, Some(Peer::Unix(Some(credentials)))),
                child(104, Some(Peer::Unix(None))),
                child(105, Some(Peer::Vsock { cid: 3, port: 9 })),
            ],
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let state = whole();
        assert_eq!(State::decode(&state.encode()), Some(state.clone()));
        for log in [
            Log::Inherited,
            Log::File {
                at: Held {
                    folder: 3,
                    name: b"log".to_vec(),
                },
                umask: 0o22,
            },
        ] {
            let state = State {
                log,
                pidfile: None,
                ..state.clone()
            };
            assert_eq!(State::decode(&state.encode()), Some(state));
        }
    }

    #[test]
    fn every_number_is_told() {
        assert_eq!(whole().numbers(), [9, 10, 11, 12, 13, 14, 15]);
    }

    /// Cut anywhere, or of another version, it is none.
    #[test]
    fn anything_else_is_no_state() {
        let text = whole().encode();
        for len in 0..text.len() {
            assert_eq!(State::decode(&text[..len]), None, "{len}");
        }
        let swaps = [
            ("skd-state 1", "skd-state 2"),
            ("process 42", "process 0"),
            ("process 42 1", "process 42 2"),
            ("process", "procession"),
            ("child 100 1", "child 100 2"),
            ("child 100", "child -1"),
            ("inet 192.0.2.7", "inet 192.0.2"),
            ("x70696420", "x7069642"),
            ("x70696420", "70696420"),
            ("counts ", "counts 1 "),
            ("end", "end end"),
        ];
        for (from, to) in swaps {
            assert!(text.contains(from), "{from}");
            assert_eq!(State::decode(&text.replacen(from, to, 1)), None, "{to}");
        }
        for text in ["", "end\n", "skd-state 1\nend\n"] {
            assert_eq!(State::decode(text), None);
        }
    }
}
