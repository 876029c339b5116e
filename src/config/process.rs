//! Turns the options about the process itself into what they mean together.

use crate::config::draft::{given, value, values};
use crate::config::{addr, logspec, number};
use crate::model::daemon::{Daemon, Identity, Privileges};
use crate::model::error::Fatal;
use crate::model::inetd::ServiceFile;
use crate::model::service::{LogFormat, MOST_DESCRIPTORS};
use crate::model::text::Quoted;
use clap::ArgMatches;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The file of `--inetd-conf`.
pub(super) fn inetd_conf(typed: &ArgMatches) -> Result<Option<ServiceFile>, Fatal> {
    match value(typed, "inetd-conf") {
        Some(word) if word.is_empty() => Err(Fatal::usage("--inetd-conf: a path is missing")),
        word => Ok(word.map(|path| ServiceFile {
            path: path.to_owned(),
            ..Default::default()
        })),
    }
}

/// What is asked of the process.
///
/// # Errors
/// A usage error that names the option.
pub(super) fn daemon(typed: &ArgMatches) -> Result<Daemon, Fatal> {
    Ok(Daemon {
        background: given(typed, "background"),
        pidfile: path(typed, "pidfile")?,
        log: value(typed, "log").map(logspec::parse).transpose()?,
        supervise: given(typed, "supervise"),
        ready_fd: value(typed, "ready-fd").map(descriptor).transpose()?,
        fd_store: given(typed, "fdstore"),
        privileges: privileges(typed)?,
    })
}

/// What the lines of the log are to be.
///
/// # Errors
/// A usage error that names the option.
pub(super) fn log_format(typed: &ArgMatches) -> Result<LogFormat, Fatal> {
    match value(typed, "log-format").map(OsStr::as_bytes) {
        None | Some(b"text") => Ok(LogFormat::Text),
        Some(b"json") => Ok(LogFormat::Json),
        Some(word) => Err(Fatal::usage(format!(
            "--log-format: {}: text or json expected",
            Quoted(word)
        ))),
    }
}

/// The number of a descriptor.
fn descriptor(word: &OsStr) -> Result<i32, Fatal> {
    let number = number::option("--ready-fd", word.as_bytes(), &(0..=MOST_DESCRIPTORS))?;
    Ok(i32::try_from(number).unwrap_or(i32::MAX))
}

fn privileges(typed: &ArgMatches) -> Result<Privileges, Fatal> {
    let (user, groups) = (value(typed, "user"), value(typed, "groups"));
    let identity = if given(typed, "env-ids") {
        for (is_given, name) in [
            (user.is_some(), "--user"),
            (groups.is_some(), "--groups"),
            (value(typed, "chroot").is_some(), "--chroot"),
        ] {
            if is_given {
                return Err(Fatal::usage(format!(
                    "--env-ids and {name} exclude each other"
                )));
            }
        }
        Identity::Environment
    } else if user.is_none() && groups.is_none() {
        Identity::Unchanged
    } else {
        Identity::Named {
            user: user.map(|word| addr::owner("--user", word)).transpose()?,
            groups: groups.map(list).transpose()?,
        }
    };
    Ok(Privileges {
        identity,
        chroot: path(typed, "chroot")?,
        chdir: path(typed, "chdir")?,
        umask: value(typed, "umask")
            .map(|text| number::mode("--umask", text.as_bytes()))
            .transpose()?,
        no_new_privs: given(typed, "no-new-privs"),
    })
}

fn path(typed: &ArgMatches, name: &'static str) -> Result<Option<OsString>, Fatal> {
    match values(typed, name).next() {
        Some((_, word)) if word.is_empty() => {
            Err(Fatal::usage(format!("--{name}: a path is missing")))
        }
        word => Ok(word.map(|(_, word)| word.to_owned())),
    }
}

/// Groups by name or number, separated by commas.
fn list(word: &OsStr) -> Result<Vec<String>, Fatal> {
    let wrong = || {
        Fatal::usage(format!(
            "--groups: {}: GROUP[,GROUP]... expected",
            Quoted(word.as_bytes())
        ))
    };
    let text = word.to_str().ok_or_else(wrong)?;
    let groups: Vec<String> = text.split(',').map(str::to_owned).collect();
    if groups.iter().any(String::is_empty) {
        Err(wrong())
    } else {
        Ok(groups)
    }
}
