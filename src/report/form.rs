//! Turns what there is to say into a line of the format that was asked for; pure.

use crate::model::error::{Fatal, Kind};
use crate::model::event::Event;
use crate::model::name::Name;
use crate::model::service::LogFormat;
use crate::report::line::Class;
use crate::report::{json, line};
use std::time::Duration;

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// What skd is called as.
    pub(crate) name: Name,
    pub(crate) format: LogFormat,
    /// The reader is a journal that takes priorities, sd-daemon(3).
    pub(crate) for_journal: bool,
    /// The time since 1970 began in UTC; asked only where a line tells it.
    pub(crate) clock: fn() -> Duration,
}

impl Form {
    /// A whole line with its newline; `event` is what `text` tells of, if it is one.
    pub(super) fn line(&self, class: Class, text: &str, event: Option<&Event<'_>>) -> String {
        match self.format {
            LogFormat::Text => line::whole(self.name.shown(), class, text, self.for_journal),
            LogFormat::Json => json::whole(class, text, event, self.for_journal, (self.clock)()),
        }
    }

    /// What ended skd before it was ready.
    pub(crate) fn fatal(&self, fatal: &Fatal) -> String {
        match fatal.kind {
            Kind::Usage => {
                let text = format!("{}; {}", fatal.text, self.name.hint());
                self.line(Class::Usage, &text, None)
            }
            // A file may be wrong in several places, a line each.
            Kind::Configuration | Kind::System | Kind::Program { .. } => {
                let lines = fatal.text.lines();
                lines
                    .map(|text| self.line(Class::Fatal, text, None))
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::{Label, Place, Style};
    use crate::model::event::{Count, Ended, Status, Trouble, Warning};
    use crate::model::peer::{Credentials, Peer};
    use crate::report::line::Text;
    use std::num::NonZeroU32;

    /// 2026-11-25 04:44:36 and a bit.
    fn clock() -> Duration {
        Duration::new(1_795_581_876, 123_456_789)
    }

    fn form(format: LogFormat, for_journal: bool) -> Form {
        Form {
            name: Name::Skd,
            format,
            for_journal,
            clock,
        }
    }

    /// How an event reads in both formats: the text behind `skd: LEVEL: `, and what JSON has behind its message.
    fn reads(event: &Event<'_>, text: &str, fields: &str) {
        let class = line::class(event);
        let line = |format| form(format, false).line(class, &Text(event).to_string(), Some(event));
        let level = class.name();
        assert_eq!(line(LogFormat::Text), format!("skd: {level}: {text}\n"));
        let time = "2026-11-25T04:44:36.123456Z";
        let message = text.replace('"', "\\\"");
        let wanted =
            format!(r#"{{"time":"{time}","level":"{level}","message":"{message}"{fields}}}"#);
        assert_eq!(line(LogFormat::Json), format!("{wanted}\n"));
    }

    fn count(now: u32) -> Count {
        let max = NonZeroU32::new(40);
        Count { now, max }
    }

    fn stream() -> Label {
        Label::new(Style::Stream, &Place::Inet("[::]:25".parse().unwrap()))
    }

    fn datagram() -> Label {
        Label::new(Style::Datagram, &Place::Inet("[::]:69".parse().unwrap()))
    }

    #[test]
    fn what_comes_in_reads_as_the_interface_has_it() {
        let (tcp, udp) = (&stream(), &datagram());
        let peer = &Peer::Inet("192.0.2.7:4711".parse().unwrap());
        let unix = &Peer::Unix(Some(Credentials {
            pid: 77,
            uid: 1000,
            gid: 1000,
        }));
        let accept = |peer, count| Event::Accept {
            listener: tcp,
            peer,
            pid: 812,
            count,
        };
        let datagram = |peer: Option<&str>| Event::Datagram {
            listener: udp,
            peer: peer.map(str::to_owned),
            pid: 815,
        };
        let deny = |reason| Event::Deny {
            listener: tcp,
            peer,
            reason,
        };
        let few = Count { now: 3, max: None };
        let table = [
            (
                Event::Listen { listener: tcp },
                "listen tcp:[::]:25",
                r#","event":"listen","listener":"tcp:[::]:25""#,
            ),
            (
                accept(Some(peer), count(3)),
                "accept tcp:[::]:25 192.0.2.7:4711 pid 812 count 3/40",
                r#","event":"accept","listener":"tcp:[::]:25","peer":"192.0.2.7:4711","pid":812,"count":3,"limit":40"#,
            ),
            (
                accept(Some(unix), few),
                "accept tcp:[::]:25 uid 1000 gid 1000 peer-pid 77 pid 812 count 3",
                r#","event":"accept","listener":"tcp:[::]:25","peer":"uid 1000 gid 1000 peer-pid 77","pid":812,"count":3"#,
            ),
            (
                accept(None, count(1)),
                "accept tcp:[::]:25 pid 812 count 1/40",
                r#","event":"accept","listener":"tcp:[::]:25","pid":812,"count":1,"limit":40"#,
            ),
            (
                datagram(Some("a\"b")),
                "datagram udp:[::]:69 a\"b pid 815",
                r#","event":"datagram","listener":"udp:[::]:69","peer":"a\"b","pid":815"#,
            ),
            (
                datagram(None),
                "datagram udp:[::]:69 pid 815",
                r#","event":"datagram","listener":"udp:[::]:69","pid":815"#,
            ),
            (
                deny("rule 10.:deny"),
                "deny tcp:[::]:25 192.0.2.7:4711 rule 10.:deny",
                r#","event":"deny","listener":"tcp:[::]:25","peer":"192.0.2.7:4711","rule":"10.:deny""#,
            ),
            (
                deny("no rule matches"),
                "deny tcp:[::]:25 192.0.2.7:4711 no rule matches",
                r#","event":"deny","listener":"tcp:[::]:25","peer":"192.0.2.7:4711","rule":"no rule matches""#,
            ),
        ];
        for (event, text, fields) in table {
            reads(&event, text, fields);
        }
    }

    #[test]
    fn what_ends_reads_as_the_interface_has_it() {
        let (tcp, udp) = (&stream(), &datagram());
        let peer = &Peer::Inet("192.0.2.7:4711".parse().unwrap());
        let (lasted, pid) = (Duration::from_micros(1_204_999), 812);
        let end = |how| Event::End {
            listener: tcp,
            peer,
            pid,
            how,
            lasted,
            count: count(2),
        };
        let stopped = |pause| Event::Stopped {
            prog: "\"x\"",
            pid,
            how: Ended::Exit(1),
            lasted,
            pause,
        };
        let table = [
            (
                end(Ended::Exit(0)),
                "end tcp:[::]:25 192.0.2.7:4711 pid 812 exit 0 secs 1.204 count 2/40",
                r#","event":"end","listener":"tcp:[::]:25","peer":"192.0.2.7:4711","pid":812,"exit":0,"secs":1.204,"count":2,"limit":40"#,
            ),
            (
                end(Ended::Signal(34)),
                "end tcp:[::]:25 192.0.2.7:4711 pid 812 signal RTMIN secs 1.204 count 2/40",
                r#","event":"end","listener":"tcp:[::]:25","peer":"192.0.2.7:4711","pid":812,"signal":"RTMIN","secs":1.204,"count":2,"limit":40"#,
            ),
            (
                Event::EndAlone {
                    listener: udp,
                    pid,
                    how: Ended::Signal(9),
                    lasted: Duration::from_millis(20),
                },
                "end udp:[::]:69 pid 812 signal KILL secs 0.020",
                r#","event":"end","listener":"udp:[::]:69","pid":812,"signal":"KILL","secs":0.020"#,
            ),
            (
                Event::Started { prog: "\"x\"", pid },
                "start \"x\" pid 812",
                r#","event":"start","pid":812"#,
            ),
            (
                stopped(Some(Duration::from_secs(2))),
                "end \"x\" pid 812 exit 1 secs 1.204 again in 2.000",
                r#","event":"end","pid":812,"exit":1,"secs":1.204"#,
            ),
            (
                stopped(None),
                "end \"x\" pid 812 exit 1 secs 1.204",
                r#","event":"end","pid":812,"exit":1,"secs":1.204"#,
            ),
        ];
        for (event, text, fields) in table {
            reads(&event, text, fields);
        }
    }

    #[test]
    fn status_and_trouble_read_as_the_interface_has_them() {
        let status = Status {
            count: count(2),
            accepted: 1017,
            denied: 3,
            failed: 0,
        };
        let accept = Warning {
            kind: Trouble::Accept,
            listener: Some(&stream()),
            reason: "Too many open files".into(),
        };
        let table = [
            (
                Event::Status(status),
                "status 2/40 accepted 1017 denied 3 failed 0",
                r#","event":"status","count":2,"limit":40,"accepted":1017,"denied":3,"failed":0"#,
            ),
            (
                Event::Warning(accept),
                "unable to accept from tcp:[::]:25: Too many open files, resting",
                "",
            ),
            (Event::Loss("unable to rest".into()), "unable to rest", ""),
        ];
        for (event, text, fields) in table {
            reads(&event, text, fields);
        }
    }

    #[test]
    fn fatal_errors_say_what_they_are() {
        let bind = || Fatal::unable("bind tcp:[::]:25", "Address already in use");
        let table = [
            (
                Fatal::usage("PROG is missing"),
                "skd: usage: PROG is missing; try \"skd --help\"\n",
                r#""level":"usage","message":"PROG is missing; try \"skd --help\"""#,
            ),
            (
                Fatal::configuration("x"),
                "skd: fatal: x\n",
                r#""level":"fatal","message":"x""#,
            ),
            (
                bind(),
                "skd: fatal: unable to bind tcp:[::]:25: Address already in use\n",
                r#""level":"fatal","message":"unable to bind tcp:[::]:25: Address already in use""#,
            ),
        ];
        for (fatal, text, members) in table {
            let json = format!(r#"{{"time":"2026-11-25T04:44:36.123456Z",{members}}}"#);
            let in_journal = |format| form(format, true).fatal(&fatal);
            assert_eq!(form(LogFormat::Text, false).fatal(&fatal), text);
            assert_eq!(in_journal(LogFormat::Text), format!("<3>{text}"));
            assert_eq!(
                form(LogFormat::Json, false).fatal(&fatal),
                format!("{json}\n")
            );
            assert_eq!(in_journal(LogFormat::Json), format!("<3>{json}\n"));
        }
    }
}
