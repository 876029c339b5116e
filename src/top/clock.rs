//! The time of day where skd-top runs, as text.

use time::{OffsetDateTime, UtcOffset};

/// Knows how far local time is from UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Option<UtcOffset>);

impl Clock {
    /// As it is now. To be asked before there is a second thread, for the environment is read.
    pub(crate) fn local() -> Self {
        Self(UtcOffset::current_local_offset().ok())
    }

    /// `HH:MM:SS`, with `UTC` behind where local time is not known.
    pub(crate) fn now(self) -> String {
        let utc = OffsetDateTime::now_utc();
        let (time, zone) = match self.0 {
            Some(offset) => (utc.to_offset(offset).time(), ""),
            None => (utc.time(), " UTC"),
        };
        let (hour, minute, second) = time.as_hms();
        format!("{hour:02}:{minute:02}:{second:02}{zone}")
    }
}
