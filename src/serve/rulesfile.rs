//! The file of `--rules`: read at the start, and again when it has changed.

use crate::admit::rules::{FILE_BYTES, Rules};
use crate::model::error::Fatal;
use crate::model::text::Quoted;
use crate::sys::errno::Errno;
use crate::sys::path::{Entry, Stamp};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// The file is looked at no more often than this, and only when somebody comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the rules are; the folder is held open, so that they are found again from inside a chroot.
pub(crate) struct RulesFile {
    name: Vec<u8>,
    entry: Entry,
    /// What the file was when it was last read; `None` if it was not there.
    stamp: Option<Stamp>,
    looked_at: Instant,
}

/// What there is to know of a file that was looked at.
pub(crate) enum News {
    None,
    Rules(Box<Rules>),
    /// It cannot be used, in words.
    Broken(String),
}

impl RulesFile {
    /// Reads the rules for the first time.
    ///
    /// # Errors
    /// 100: they cannot be read, or are wrong.
    pub(crate) fn open(path: &OsStr) -> Result<(Self, Rules), Fatal> {
        let name = path.as_bytes().to_vec();
        let entry =
            Entry::open(&name).map_err(|errno| Fatal::configuration(unreadable(&name, errno)))?;
        let mut file = Self {
            entry,
            stamp: None,
            looked_at: Instant::now(),
            name,
        };
        match file.read() {
            Ok(rules) => Ok((file, rules)),
            Err(text) => Err(Fatal::configuration(text)),
        }
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked_at) >= LOOK_EVERY
    }

    /// Reads the rules if the file is another than it was.
    pub(crate) fn look(&mut self, now: Instant) -> News {
        self.looked_at = now;
        if self.entry.stamp().ok() == self.stamp {
            return News::None;
        }
        self.read_again()
    }

    /// Reads the rules, whether the file is another or not.
    pub(crate) fn read_again(&mut self) -> News {
        match self.read() {
            Ok(rules) => News::Rules(Box::new(rules)),
            Err(text) => News::Broken(text),
        }
    }

    fn read(&mut self) -> Result<Rules, String> {
        // Before it is read: what is written meanwhile makes another stamp.
        self.stamp = self.entry.stamp().ok();
        let contents = self.entry.read_whole(FILE_BYTES + 1);
        let contents = contents.map_err(|errno| unreadable(&self.name, errno))?;
        Rules::read(&self.name, &contents).map_err(|broken| broken.shown(&self.name))
    }
}

fn unreadable(name: &[u8], errno: Errno) -> String {
    let reason = match errno {
        Errno::INVALID => "a regular file is expected".into(),
        other => other.to_string(),
    };
    format!("unable to read the rules {}: {reason}", Quoted(name))
}
