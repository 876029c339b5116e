//! The log: events as lines, as many as the level asks for.

use crate::model::event::{Event, Trouble};
use crate::model::service::Level;
use crate::report::form::Form;
use crate::report::line::{self, Class, Text};
use crate::report::repeats::Repeats;
use std::io::Write;
use std::time::Instant;

/// Where lines go, and which. A line that cannot be written is lost: a log never stops the service.
pub(crate) struct Log {
    level: Level,
    form: Form,
    sink: Box<dyn Write>,
    repeats: Repeats,
    /// Lines that could not be written since the last that could.
    lost: u64,
    /// The last line was written in part: a newline is owed.
    is_torn: bool,
}

impl Log {
    pub(crate) fn new(level: Level, form: Form, sink: Box<dyn Write>) -> Self {
        Self {
            level,
            form,
            sink,
            repeats: Repeats::default(),
            lost: 0,
            is_torn: false,
        }
    }

    /// From here on lines go there.
    pub(crate) fn redirect(&mut self, for_journal: bool, sink: Box<dyn Write>) {
        (self.form.for_journal, self.sink) = (for_journal, sink);
    }

    /// What makes a warning a whole line that is no journal's, for who has no log.
    pub(crate) fn warning(&self) -> impl Fn(&str) -> String + use<> {
        let form = Form {
            for_journal: false,
            ..self.form
        };
        move |text| form.line(Class::Warning, text, None)
    }

    /// Whether anyone would read events of this level.
    pub(crate) fn heeds(&self, level: Level) -> bool {
        self.level >= level
    }

    /// Whether every connection is told of.
    pub(crate) fn tells_connections(&self) -> bool {
        self.heeds(Level::Connections)
    }

    /// Tells of an event, if the level asks for it and it has not been told too often.
    pub(crate) fn tell(&mut self, event: &Event<'_>, now: Instant) {
        if !self.heeds(line::level(event)) {
            return;
        }
        let text = Text(event).to_string();
        if let Event::Warning(warning) = event {
            let about = match warning.kind {
                // There are many of them, and nothing but their text tells one from another.
                Trouble::Other => Some(text.clone()),
                _ => warning.listener.map(ToString::to_string),
            };
            if !self.repeats.is_told(warning.kind, about, &text, now) {
                return;
            }
        }
        self.write(line::class(event), &text, Some(event));
    }

    /// A warning while skd starts, when none is repeated.
    pub(crate) fn warn(&mut self, text: &str) {
        if self.heeds(Level::Warning) {
            self.write(Class::Warning, text, None);
        }
    }

    /// Tells what skd itself does, if anyone asked for that.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.heeds(Level::Everything) {
            self.write(Class::Info, &text(), None);
        }
    }

    /// When the log next has something to say by itself.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.repeats.due()
    }

    /// Tells how many warnings were left out in the last minute.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        let overdue = self.repeats.overdue(now);
        self.tell_left_out(overdue);
    }

    /// Tells what was left out until now.
    pub(crate) fn close(&mut self) {
        let all = self.repeats.all();
        self.tell_left_out(all);
        self.tell_lost();
    }

    fn tell_left_out(&mut self, left_out: Vec<(u32, String)>) {
        for (count, text) in left_out {
            let text = format!("left out {count} more: {text}");
            self.write(Class::Warning, &text, None);
        }
    }

    fn write(&mut self, class: Class, text: &str, event: Option<&Event<'_>>) {
        self.tell_lost();
        let is_written = self.lost == 0 && self.put(&self.form.line(class, text, event));
        if !is_written {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// How many lines could not be written; if that cannot be written either, it stays to be told.
    fn tell_lost(&mut self) {
        if self.lost > 0 {
            let lost = format!("{} lines could not be written", self.lost);
            if self.put(&self.form.line(Class::Warning, &lost, None)) {
                self.lost = 0;
            }
        }
    }

    /// Whether the whole line was written.
    fn put(&mut self, line: &str) -> bool {
        let line = if self.is_torn {
            format!("\n{line}")
        } else {
            line.to_owned()
        };
        match self.sink.write(line.as_bytes()) {
            Ok(len) => {
                self.is_torn = len < line.len();
                !self.is_torn
            }
            Err(_) => false,
        }
    }
}
