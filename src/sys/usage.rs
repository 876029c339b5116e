//! What the process itself uses.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use std::time::Duration;

/// getrusage(2): user and system time.
pub(crate) fn cpu() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    Some(span(usage.user_time())? + span(usage.system_time())?)
}

fn span(time: TimeVal) -> Option<Duration> {
    let micros = u64::try_from(time.tv_usec()).ok()?;
    Some(Duration::from_secs(u64::try_from(time.tv_sec()).ok()?) + Duration::from_micros(micros))
}

/// The second number of /proc/self/statm, in bytes; `None` without /proc.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: the call takes no pointer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// How many descriptors /proc/self/fd has, without the one that it takes to look; `None` without /proc.
pub(crate) fn open_files() -> Option<u64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count).ok()?.checked_sub(1)
}

/// getrlimit(2): RLIMIT_NOFILE.
pub(crate) fn most_files() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE)
        .ok()
        .map(|(soft, _)| soft)
}
