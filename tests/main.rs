//! The tests of skd as a whole: the real binary, real sockets, real programs; a module per topic.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that fails ends by panicking, and says what it skips"
)]

mod adopting;
mod background;
mod binding;
mod child;
mod chroot;
mod command_line;
mod completion;
mod datagrams;
mod environ;
mod faults;
mod inetd;
mod inherited;
mod installing;
mod json;
mod kit;
mod layers;
mod lending;
mod limits;
mod logfile;
mod logger;
mod lookups;
mod making;
mod manual;
mod mending;
mod messages;
mod metrics;
mod names;
mod notify;
mod options;
mod passing;
mod peers;
mod pidfile;
mod privileges;
mod proxy;
mod readable;
mod readme;
mod reaping;
mod rules;
mod s6;
mod serving;
mod signals;
mod spawning;
mod stopping;
mod supervising;
mod syslog;
mod systemd;
#[cfg(feature = "top")]
mod top;
mod troubles;
mod units;
mod unix_paths;
mod upgrade;
