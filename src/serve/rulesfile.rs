//! The file of `--rules`: read at the start, and again when it has changed.

use crate::admit::rules::{FILE_BYTES, Rules};
use crate::model::error::Fatal;
use crate::model::state::KeptFile;
use crate::model::text::Quoted;
use crate::serve::heldfile::HeldFile;
use crate::sys::errno::Errno;
use crate::sys::handover::Keeper;
use crate::sys::path::Stamp;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// The file is looked at no more often than this, and only when somebody comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the rules are.
pub(crate) struct RulesFile {
    file: HeldFile,
    /// What the file was when it was last read; `None` if it was not there.
    stamp: Option<Stamp>,
    /// `None` if it was not looked at since another skd has read it.
    looked_at: Option<Instant>,
}

/// What there is to know of a file that was looked at.
pub(crate) enum News {
    None,
    Rules(Box<Rules>),
    /// It cannot be used, in words.
    Broken(String),
}

impl RulesFile {
    /// Reads the rules for the first time; or goes on with those of the skd before us, whatever the file says by now, if
    /// that is no check.
    ///
    /// # Errors
    /// 100: they cannot be read, or are wrong.
    pub(crate) fn open(
        path: &OsStr,
        kept: Option<(&KeptFile, bool)>,
    ) -> Result<(Self, Rules), Fatal> {
        let name = path.as_bytes().to_vec();
        let unable = |errno| Fatal::configuration(unreadable(path.as_bytes(), errno));
        let (file, contents) = match kept {
            Some(kept) => HeldFile::resume(name, kept),
            None => HeldFile::open(name).map(|file| (file, None)),
        }
        .map_err(unable)?;
        let mut it = Self {
            file,
            stamp: None,
            looked_at: kept.is_none().then(Instant::now),
        };
        let known = contents.and_then(|it| Rules::read(path.as_bytes(), &it).ok());
        let rules = known.map_or_else(|| it.read(), Ok);
        Ok((it, rules.map_err(Fatal::configuration)?))
    }

    /// What an skd in our place needs.
    pub(super) fn keep(&self, keeper: &mut Keeper) -> Result<Option<KeptFile>, Errno> {
        self.file.keep(keeper)
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let looked_at = self.looked_at;
        looked_at.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY)
    }

    /// Reads the rules if the file is another than it was.
    pub(crate) fn look(&mut self, now: Instant) -> News {
        let before = self.looked_at.replace(now);
        if before.is_some() && self.file.stamp() == self.stamp {
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
        self.stamp = self.file.stamp();
        let contents = self.file.read(FILE_BYTES + 1);
        let contents = contents.map_err(|errno| unreadable(&self.file.name, errno))?;
        let name = &self.file.name;
        let rules = Rules::read(name, &contents).map_err(|broken| broken.shown(name))?;
        self.file.is_right(&contents);
        Ok(rules)
    }
}

fn unreadable(name: &[u8], errno: Errno) -> String {
    let reason = match errno {
        Errno::INVALID => "a regular file is expected".into(),
        other => other.to_string(),
    };
    format!("unable to read the rules {}: {reason}", Quoted(name))
}
