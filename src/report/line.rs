//! Turns an event into its line of text; pure.

use crate::model::error::{Fatal, Kind};
use crate::model::event::{Count, Event, Status, Trouble, Warning};
use crate::model::service::Level;
use crate::model::text::harmless;
use crate::report::ending::{End, Secs};
use std::fmt::{self, Display};

/// The kinds of lines, as they are called in one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    Usage,
    Fatal,
    Warning,
    Info,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Fatal => "fatal",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// The priority of sd-daemon(3).
    fn priority(self) -> u8 {
        match self {
            Self::Usage | Self::Fatal => 3,
            Self::Warning => 4,
            Self::Info => 6,
        }
    }
}

/// The longest line, its newline included: PIPE_BUF of pipe(7), so that a pipe takes it whole or not at all.
const LINE_BYTES: usize = 4096;

/// A whole line: `skd: CLASS: TEXT`, behind `<N>` for a journal.
pub(crate) fn whole(class: Class, text: &str, for_journal: bool) -> String {
    let priority = if for_journal {
        format!("<{}>", class.priority())
    } else {
        String::new()
    };
    let mut line = format!(
        "{priority}skd: {}: {}",
        class.name(),
        harmless(text.as_bytes())
    );
    line.truncate(line.floor_char_boundary(LINE_BYTES - 1));
    line.push('\n');
    line
}

/// What ended skd before it was ready.
pub(crate) fn of_fatal(fatal: &Fatal, for_journal: bool) -> String {
    match fatal.kind {
        Kind::Usage => whole(
            Class::Usage,
            &format!("{}; try \"skd --help\"", fatal.text),
            for_journal,
        ),
        Kind::Configuration | Kind::System => whole(Class::Fatal, &fatal.text, for_journal),
    }
}

/// From which level on an event is told.
pub(crate) fn level(event: &Event<'_>) -> Level {
    match event {
        Event::Status(_) | Event::Warning(_) => Level::Warning,
        Event::Listen { .. }
        | Event::Accept { .. }
        | Event::Datagram { .. }
        | Event::Deny { .. }
        | Event::End { .. }
        | Event::EndAlone { .. }
        | Event::Started { .. }
        | Event::Stopped { .. }
        | Event::Loss(_) => Level::Connections,
    }
}

/// The class of an event's line.
pub(crate) fn class(event: &Event<'_>) -> Class {
    match event {
        Event::Warning(_) | Event::Loss(_) => Class::Warning,
        _ => Class::Info,
    }
}

/// The text of an event.
pub(crate) struct Text<'a>(pub(crate) &'a Event<'a>);

impl Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Listen { listener } => write!(out, "listen {listener}"),
            Event::Accept {
                listener,
                peer,
                pid,
                count,
            } => {
                let (peer, count) = (Behind(*peer), Counted(*count));
                write!(out, "accept {listener}{peer} pid {pid} count {count}")
            }
            Event::Datagram {
                listener,
                peer,
                pid,
            } => {
                let peer = Behind(peer.as_ref());
                write!(out, "datagram {listener}{peer} pid {pid}")
            }
            Event::Deny {
                listener,
                peer,
                reason,
            } => write!(out, "deny {listener} {peer} {reason}"),
            Event::End {
                listener,
                peer,
                pid,
                how,
                lasted,
                count,
            } => {
                let (end, count) = (End(*pid, *how, *lasted), Counted(*count));
                write!(out, "end {listener} {peer} {end} count {count}")
            }
            Event::EndAlone {
                listener,
                pid,
                how,
                lasted,
            } => {
                write!(out, "end {listener} {}", End(*pid, *how, *lasted))
            }
            Event::Started { prog, pid } => write!(out, "start {prog} pid {pid}"),
            Event::Stopped {
                prog,
                pid,
                how,
                lasted,
                pause,
            } => {
                let pause =
                    pause.map_or(String::new(), |pause| format!(" again in {}", Secs(pause)));
                write!(out, "end {prog} {}{pause}", End(*pid, *how, *lasted))
            }
            Event::Status(status) => StatusText(status).fmt(out),
            Event::Warning(warning) => write!(out, "{}", WarningText(warning)),
            Event::Loss(text) => out.write_str(text),
        }
    }
}

/// Something that there may be, behind a blank.
struct Behind<'a, T>(Option<&'a T>);

impl<T: Display> Display for Behind<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |it| write!(out, " {it}"))
    }
}

struct StatusText<'a>(&'a Status);

impl Display for StatusText<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status {
            count,
            accepted,
            denied,
            failed,
        } = self.0;
        let count = Counted(*count);
        write!(
            out,
            "status {count} accepted {accepted} denied {denied} failed {failed}"
        )
    }
}

struct WarningText<'a>(&'a Warning<'a>);

impl Display for WarningText<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Warning {
            kind,
            listener,
            reason,
        } = self.0;
        match (kind, listener) {
            (Trouble::Other, _) | (_, None) => out.write_str(reason),
            (Trouble::Accept, Some(listener)) => {
                write!(out, "unable to accept from {listener}: {reason}, resting")
            }
            (Trouble::Look, Some(listener)) => {
                write!(out, "unable to look at {listener}: {reason}, resting")
            }
            (Trouble::Process | Trouble::Execute | Trouble::Discard, Some(listener)) => {
                write!(out, "{reason} of {listener}")
            }
        }
    }
}

/// `3/40`, or `3` without a limit.
struct Counted(Count);

impl Display for Counted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Count {
                now,
                max: Some(max),
            } => write!(out, "{now}/{max}"),
            Count { now, max: None } => write!(out, "{now}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::{Label, Place, Style};
    use crate::model::event::Ended;
    use crate::model::peer::{Credentials, Peer};
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn text(event: &Event<'_>) -> String {
        Text(event).to_string()
    }

    #[test]
    fn events_read_as_the_interface_has_them() {
        let tcp = Label::new(Style::Stream, &Place::Inet("[::]:25".parse().unwrap()));
        let udp = Label::new(Style::Datagram, &Place::Inet("[::]:69".parse().unwrap()));
        let peer = Peer::Inet("192.0.2.7:4711".parse().unwrap());
        let unix = Peer::Unix(Some(Credentials {
            pid: 77,
            uid: 1000,
            gid: 1000,
        }));
        let count = |now| Count {
            now,
            max: NonZeroU32::new(40),
        };
        let lasted = Duration::from_micros(1_204_999);
        let how = Ended::Exit(0);
        let table = [
            (Event::Listen { listener: &tcp }, "listen tcp:[::]:25"),
            (
                Event::Accept {
                    listener: &tcp,
                    peer: Some(&peer),
                    pid: 812,
                    count: count(3),
                },
                "accept tcp:[::]:25 192.0.2.7:4711 pid 812 count 3/40",
            ),
            (
                Event::Accept {
                    listener: &tcp,
                    peer: Some(&unix),
                    pid: 812,
                    count: Count { now: 3, max: None },
                },
                "accept tcp:[::]:25 uid 1000 gid 1000 peer-pid 77 pid 812 count 3",
            ),
            (
                Event::Accept {
                    listener: &tcp,
                    peer: None,
                    pid: 812,
                    count: count(1),
                },
                "accept tcp:[::]:25 pid 812 count 1/40",
            ),
            (
                Event::Datagram {
                    listener: &udp,
                    peer: Some("192.0.2.7:2112".into()),
                    pid: 815,
                },
                "datagram udp:[::]:69 192.0.2.7:2112 pid 815",
            ),
            (
                Event::Datagram {
                    listener: &udp,
                    peer: None,
                    pid: 815,
                },
                "datagram udp:[::]:69 pid 815",
            ),
            (
                Event::End {
                    listener: &tcp,
                    peer: &peer,
                    pid: 812,
                    how,
                    lasted,
                    count: count(2),
                },
                "end tcp:[::]:25 192.0.2.7:4711 pid 812 exit 0 secs 1.204 count 2/40",
            ),
            (
                Event::EndAlone {
                    listener: &udp,
                    pid: 815,
                    how: Ended::Signal(9),
                    lasted: Duration::from_millis(20),
                },
                "end udp:[::]:69 pid 815 signal KILL secs 0.020",
            ),
            (
                Event::Status(Status {
                    count: count(2),
                    accepted: 1017,
                    denied: 3,
                    failed: 0,
                }),
                "status 2/40 accepted 1017 denied 3 failed 0",
            ),
        ];
        for (event, shown) in table {
            assert_eq!(text(&event), shown);
        }
        let accept = Warning {
            kind: Trouble::Accept,
            listener: Some(&tcp),
            reason: "Too many open files".into(),
        };
        assert_eq!(
            text(&Event::Warning(accept)),
            "unable to accept from tcp:[::]:25: Too many open files, resting"
        );
    }

    #[test]
    fn lines_are_one_line_whatever_is_in_them() {
        assert_eq!(
            whole(Class::Info, "a\nb\x1b[2J", false),
            "skd: info: a?b?[2J\n"
        );
        assert_eq!(whole(Class::Warning, "x", true), "<4>skd: warning: x\n");
        assert_eq!(whole(Class::Usage, "x", true), "<3>skd: usage: x\n");
        assert_eq!(whole(Class::Fatal, "x", true), "<3>skd: fatal: x\n");
        assert_eq!(whole(Class::Info, "x", true), "<6>skd: info: x\n");
        let long = whole(Class::Info, &"\u{e9}".repeat(5000), false);
        assert!(long.len() <= 4096 && long.ends_with("\u{e9}\n"));
    }

    #[test]
    fn fatal_errors_say_what_they_are() {
        assert_eq!(
            of_fatal(&Fatal::usage("PROG is missing"), false),
            "skd: usage: PROG is missing; try \"skd --help\"\n"
        );
        assert_eq!(
            of_fatal(&Fatal::configuration("x"), false),
            "skd: fatal: x\n"
        );
        assert_eq!(
            of_fatal(
                &Fatal::unable("bind tcp:[::]:25", "Address already in use"),
                true
            ),
            "<3>skd: fatal: unable to bind tcp:[::]:25: Address already in use\n"
        );
    }
}
