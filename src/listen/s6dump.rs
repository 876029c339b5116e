//! Turns what s6-fdholder-getdump passes into the numbers of the descriptors to take over; pure.

use crate::listen::inherit::{MOST, Taking};
use crate::listen::promises::Environment;
use crate::model::error::Fatal;
use crate::model::service::MOST_DESCRIPTORS;
use crate::model::text::Quoted;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What s6-fdholder-getdump passes: all of it, or the one of this identifier.
///
/// # Errors
/// 100 for numbers and names that are wrong or missing.
pub(super) fn s6_dump(
    environment: &Environment<'_>,
    id: Option<&OsStr>,
) -> Result<Vec<Taking>, Fatal> {
    let Some(count) = environment.number("S6_FD#", 0, MOST)? else {
        return Err(Fatal::configuration(
            "there is nothing to adopt: S6_FD# is not set",
        ));
    };
    let mut takings = Vec::new();
    for place in 0..count {
        let (fd_name, id_name) = (format!("S6_FD_{place}"), format!("S6_FDID_{place}"));
        let missing =
            |name: &str| Fatal::configuration(format!("S6_FD# is {count}, but {name} is not set"));
        let number = environment
            .number(
                &fd_name,
                0,
                usize::try_from(MOST_DESCRIPTORS).unwrap_or(usize::MAX),
            )?
            .ok_or_else(|| missing(&fd_name))?;
        let own_id = environment.var(&id_name).ok_or_else(|| missing(&id_name))?;
        if id.is_none_or(|id| id == own_id) {
            let taking = Taking::new(i32::try_from(number).unwrap_or(i32::MAX));
            let called = format!("{} {}", taking.called, Quoted(own_id.as_bytes()));
            takings.push(Taking {
                called,
                may_be_foreign: id.is_none(),
                ..taking
            });
        }
    }
    match (takings.is_empty(), id) {
        (true, Some(id)) => Err(Fatal::configuration(format!(
            "no descriptor of S6_FD# is {}",
            Quoted(id.as_bytes())
        ))),
        (true, None) => Err(Fatal::configuration(
            "there is nothing to adopt: S6_FD# is 0",
        )),
        (false, _) => Ok(takings),
    }
}
