//! Turns an event, or what else there is to say, into one JSON object (RFC 8259) on a line; pure, given the time.

use crate::model::event::{Count, Ended, Event, Status};
use crate::model::text::harmless;
use crate::report::ending::{Secs, signal_name};
use crate::report::line::{Class, LINE_BYTES};
use std::fmt::{self, Display, Write};
use std::time::Duration;
use time::UtcDateTime;

/// The most bytes that a listener, a peer or a rule has here. None is as long today; so a line has room for all three,
/// and is whole whatever they become.
const FIELD_BYTES: usize = 1024;

/// A whole line: an object with the time, the class, `text` and what there is to know of `event`, behind `<N>` for a
/// journal. What is too long for a line is cut in `text`. `now` is the time since 1970 began in UTC.
pub(super) fn whole(
    class: Class,
    text: &str,
    event: Option<&Event<'_>>,
    for_journal: bool,
    now: Duration,
) -> String {
    let mut line = format!(
        "{}{{\"time\":\"{}\",\"level\":\"{}\",\"message\":\"",
        class.priority(for_journal),
        Stamp(now),
        class.name()
    );
    let rest = format!("\"{}}}\n", event.map_or(Fields::default(), fields).0);
    line.push_str(&escaped(
        text,
        LINE_BYTES.saturating_sub(line.len() + rest.len()),
    ));
    line.push_str(&rest);
    line
}

/// What there is to know of an event besides its text.
fn fields(event: &Event<'_>) -> Fields {
    match event {
        Event::Listen { listener } => Fields::of("listen").text("listener", listener),
        Event::Accept {
            listener,
            peer,
            pid,
            count,
        } => Fields::of("accept")
            .text("listener", listener)
            .text_if("peer", *peer)
            .number("pid", pid)
            .count(*count),
        Event::Datagram {
            listener,
            peer,
            pid,
        } => Fields::of("datagram")
            .text("listener", listener)
            .text_if("peer", peer.as_ref())
            .number("pid", pid),
        Event::Deny {
            listener,
            peer,
            reason,
        } => Fields::of("deny")
            .text("listener", listener)
            .text("peer", peer)
            .text("rule", &reason.strip_prefix("rule ").unwrap_or(reason)),
        Event::End {
            listener,
            peer,
            pid,
            how,
            lasted,
            count,
        } => Fields::of("end")
            .text("listener", listener)
            .text("peer", peer)
            .end(*pid, *how, *lasted)
            .count(*count),
        Event::EndAlone {
            listener,
            pid,
            how,
            lasted,
        } => Fields::of("end")
            .text("listener", listener)
            .end(*pid, *how, *lasted),
        Event::Started { prog: _, pid } => Fields::of("start").number("pid", pid),
        Event::Stopped {
            prog: _,
            pid,
            how,
            lasted,
            pause: _,
        } => Fields::of("end").end(*pid, *how, *lasted),
        Event::Status(Status {
            count,
            accepted,
            denied,
            failed,
        }) => Fields::of("status")
            .count(*count)
            .number("accepted", accepted)
            .number("denied", denied)
            .number("failed", failed),
        Event::Warning(_) | Event::Loss(_) => Fields::default(),
    }
}

/// Members of an object, each behind a comma.
#[derive(Default)]
struct Fields(String);

impl Fields {
    fn of(event: &str) -> Self {
        Self::default().text("event", &event)
    }

    fn text(self, name: &str, value: &impl Display) -> Self {
        let value = escaped(&value.to_string(), FIELD_BYTES);
        self.number(name, &format_args!("\"{value}\""))
    }

    fn text_if(self, name: &str, value: Option<&impl Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// What is shown as JSON has it.
    fn number(mut self, name: &str, value: &impl Display) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(self.0, ",\"{name}\":{value}");
        self
    }

    fn count(self, Count { now, max }: Count) -> Self {
        let fields = self.number("count", &now);
        match max {
            Some(max) => fields.number("limit", &max),
            None => fields,
        }
    }

    fn end(self, pid: i32, how: Ended, lasted: Duration) -> Self {
        let fields = self.number("pid", &pid);
        let fields = match how {
            Ended::Exit(code) => fields.number("exit", &code),
            Ended::Signal(number) => fields.text("signal", &signal_name(number)),
        };
        fields.number("secs", &Secs(lasted))
    }
}

/// The inside of a JSON string: harmless text, which has no control character, with quote and backslash escaped. It ends
/// where more than `most` bytes would be needed, never inside a character or an escape.
fn escaped(text: &str, most: usize) -> String {
    let mut inside = String::with_capacity(text.len());
    for c in harmless(text.as_bytes()).chars() {
        let is_special = matches!(c, '"' | '\\');
        if inside.len() + usize::from(is_special) + c.len_utf8() > most {
            break;
        }
        if is_special {
            inside.push('\\');
        }
        inside.push(c);
    }
    inside
}

/// The time since 1970 as RFC 3339 has it, in UTC, with microseconds.
struct Stamp(Duration);

impl Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX);
        // A clock that is beyond the year 9999 shows the start of 1970.
        let at = UtcDateTime::from_unix_timestamp(secs).unwrap_or(UtcDateTime::UNIX_EPOCH);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = at.as_hms();
        let micros = self.0.subsec_micros();
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::{Label, Place, Style, UnixName};
    use crate::model::peer::Peer;
    use proptest::prelude::*;
    use serde_json::Value;

    /// A line as a reader of the journal or of a file gets it.
    fn parsed(line: &str) -> Value {
        assert!(line.len() <= 4096, "{} bytes", line.len());
        let object = line.strip_suffix('\n').unwrap();
        let object = object.strip_prefix("<6>").unwrap_or(object);
        assert!(!object.contains(char::is_control), "{object:?}");
        serde_json::from_str(object).unwrap()
    }

    fn said(text: &str, for_journal: bool) -> Value {
        parsed(&whole(Class::Info, text, None, for_journal, Duration::ZERO))
    }

    #[test]
    fn the_time_is_that_of_the_calendar() {
        let table = [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 999_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400, 1_000, "2000-02-29T00:00:00.000001Z"),
            (1_795_581_876, 123_456_000, "2026-11-25T04:44:36.123456Z"),
            (4_102_444_800, 0, "2100-01-01T00:00:00.000000Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59.000000Z"),
            (253_402_300_800, 0, "1970-01-01T00:00:00.000000Z"),
            (u64::MAX, 0, "1970-01-01T00:00:00.000000Z"),
        ];
        for (secs, nanos, shown) in table {
            assert_eq!(Stamp(Duration::new(secs, nanos)).to_string(), shown);
        }
    }

    /// However many bytes a character needs here, escaped or not: the cut goes through none.
    #[test]
    fn a_long_text_is_cut_and_the_object_whole() {
        for piece in ["x", "\"", "\\", "\u{e9}\"", "\u{1d11e}x\\", "\u{7}\u{2028}"] {
            for shift in 0..8 {
                let text = "x".repeat(shift) + &piece.repeat(5000);
                for for_journal in [false, true] {
                    let object = said(&text, for_journal);
                    let message = object["message"].as_str().unwrap();
                    assert!(harmless(text.as_bytes()).starts_with(message));
                    let line = whole(Class::Info, &text, None, for_journal, Duration::ZERO);
                    assert!(line.len() > 4096 - 5, "{} bytes", line.len());
                }
            }
        }
    }

    /// They are not as long as this, but it does not rest on that.
    #[test]
    fn long_fields_are_cut_and_the_object_whole() {
        let quotes = "\"".repeat(3000);
        let name = UnixName::Path(quotes.as_bytes().into());
        let listener = Label::new(Style::Stream, &Place::Unix(Some(name)));
        let event = Event::Deny {
            listener: &listener,
            peer: &Peer::Unix(None),
            reason: &quotes,
        };
        let line = whole(Class::Info, &quotes, Some(&event), true, Duration::MAX);
        let object = parsed(&line);
        for name in ["listener", "rule", "message"] {
            assert!(object[name].as_str().unwrap().len() > 500, "{object}");
        }
        assert_eq!(object["peer"], "uid unknown");
    }

    proptest! {
        #[test]
        fn a_parser_reads_back_what_was_said(text in "(?s).{0,200}", for_journal: bool) {
            let object = said(&text, for_journal);
            prop_assert_eq!(&object["message"], &harmless(text.as_bytes()));
            prop_assert_eq!(object["level"].as_str(), Some("info"));
            prop_assert_eq!(object.as_object().map(serde_json::Map::len), Some(3));
        }

        #[test]
        fn fields_are_read_back_too(peer in "(?s).{0,100}", pid: i32) {
            let listener = Label::new(Style::Stream, &Place::Unix(Some(UnixName::Path((*b"x").into()))));
            let event = Event::Datagram { listener: &listener, peer: Some(peer.clone()), pid };
            let object = parsed(&whole(Class::Info, "x", Some(&event), false, Duration::ZERO));
            prop_assert_eq!(&object["peer"], &harmless(peer.as_bytes()));
            prop_assert_eq!(&object["pid"], pid);
        }
    }
}
