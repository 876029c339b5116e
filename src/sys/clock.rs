//! Clocks: local time as people read it in logs, the time since 1970, and the monotonic one.

use std::time::Duration;

/// Months as RFC 3164 has them.
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

unsafe extern "C" {
    /// tzset(3): reads the time zone, for good.
    safe fn tzset();
}

/// Reads the time zone's file now; in a chroot it would not be found.
pub(crate) fn learn_zone() {
    tzset();
}

/// Days of the week as asctime(3) has them.
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// The local time as `Mmm dd hh:mm:ss`, the day padded by a blank (RFC 3164, section 4.1.2).
pub(crate) fn local_stamp() -> String {
    stamp(&local())
}

/// The local time as asctime(3) has it, without the end of the line: `Www Mmm dd hh:mm:ss yyyy`.
pub(crate) fn local_date() -> String {
    let local = local();
    let day = usize::try_from(local.tm_wday);
    let day = day.ok().and_then(|day| DAYS.get(day)).unwrap_or(&"Sun");
    format!(
        "{day} {} {}",
        stamp(&local),
        i64::from(local.tm_year) + 1900
    )
}

fn local() -> libc::tm {
    // SAFETY: the call takes a null pointer for an answer by return value alone.
    let now = unsafe { libc::time(std::ptr::null_mut()) };
    // SAFETY: tm is numbers and a pointer, for which all zeros is a value.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: the call reads `now` and writes `local`, which both outlive it.
    unsafe { libc::localtime_r(&raw const now, &raw mut local) };
    local
}

fn stamp(local: &libc::tm) -> String {
    let month = usize::try_from(local.tm_mon)
        .ok()
        .and_then(|month| MONTHS.get(month))
        .unwrap_or(&"Jan");
    let (day, hour, minute, second) = (local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
    format!("{month} {day:>2} {hour:02}:{minute:02}:{second:02}")
}

/// clock_gettime(2): CLOCK_MONOTONIC, the time since the machine was started; it is the same for all processes.
pub(crate) fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// clock_gettime(2): CLOCK_REALTIME, the time since 1970 began in UTC.
pub(crate) fn wall() -> Duration {
    read(libc::CLOCK_REALTIME)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes one timespec into `now`.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(secs, u32::try_from(now.tv_nsec).unwrap_or(0))
}
