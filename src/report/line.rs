//! Turns an event into its line of text; pure.

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
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Fatal => "fatal",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// What a line begins with where a journal reads it: `<N>`, sd-daemon(3).
    pub(super) fn priority(self, for_journal: bool) -> &'static str {
        match self {
            _ if !for_journal => "",
            Self::Usage | Self::Fatal => "<3>",
            Self::Warning => "<4>",
            Self::Info => "<6>",
        }
    }
}

/// The longest line, its newline included: PIPE_BUF of pipe(7), so that a pipe takes it whole or not at all.
pub(super) const LINE_BYTES: usize = 4096;

/// A whole line: `NAME: CLASS: TEXT`, behind `<N>` for a journal.
pub(super) fn whole(name: &str, class: Class, text: &str, for_journal: bool) -> String {
    let mut line = format!(
        "{}{name}: {}: {}",
        class.priority(for_journal),
        class.name(),
        harmless(text.as_bytes())
    );
    line.truncate(line.floor_char_boundary(LINE_BYTES - 1));
    line.push('\n');
    line
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

    #[test]
    fn lines_are_one_line_whatever_is_in_them() {
        assert_eq!(
            whole("skd", Class::Info, "a\nb\x1b[2J", false),
            "skd: info: a?b?[2J\n"
        );
        assert_eq!(
            whole("skd", Class::Warning, "x", true),
            "<4>skd: warning: x\n"
        );
        assert_eq!(whole("skd", Class::Usage, "x", true), "<3>skd: usage: x\n");
        assert_eq!(whole("skd", Class::Fatal, "x", true), "<3>skd: fatal: x\n");
        assert_eq!(whole("skd", Class::Info, "x", true), "<6>skd: info: x\n");
        let long = whole("skd", Class::Info, &"\u{e9}".repeat(5000), false);
        assert!(long.len() <= 4096 && long.ends_with("\u{e9}\n"));
    }
}
