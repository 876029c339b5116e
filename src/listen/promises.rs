//! Numbers that the environment promises, strictly; pure.

use crate::model::error::Fatal;
use crate::model::number;
use crate::model::text::Quoted;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// skd's environment, by name.
pub(super) struct Environment<'a>(pub(super) &'a [(OsString, OsString)]);

impl Environment<'_> {
    /// The value of a variable.
    pub(super) fn var(&self, name: &str) -> Option<&OsStr> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// A variable that must be a whole number from `least` to `most`.
    pub(super) fn number(
        &self,
        name: &str,
        least: usize,
        most: usize,
    ) -> Result<Option<usize>, Fatal> {
        let Some(text) = self.var(name) else {
            return Ok(None);
        };
        let number = digits(text).filter(|number| (least..=most).contains(number));
        let wrong = || {
            let text = Quoted(text.as_bytes());
            Fatal::configuration(format!(
                "{name} is {text}, a whole number from {least} to {most} expected"
            ))
        };
        number.ok_or_else(wrong).map(Some)
    }
}

fn digits(text: &OsStr) -> Option<usize> {
    usize::try_from(number::decimal(text.as_bytes())?).ok()
}
