//! How: system calls, each under its own name; the only room with unsafe code. It imports no other room.
#![allow(unsafe_code, reason = "the only room that calls the system")]

pub(crate) mod answer;
pub(crate) mod aside;
pub(crate) mod clock;
pub(crate) mod conn;
#[cfg(test)]
pub(crate) mod counting;
pub(crate) mod datagram;
pub(crate) mod deaf;
pub(crate) mod env;
pub(crate) mod errno;
pub(crate) mod fd;
pub(crate) mod fork;
pub(crate) mod handover;
pub(crate) mod hold;
pub(crate) mod identity;
pub(crate) mod identsocket;
pub(crate) mod kernel;
pub(crate) mod limits;
pub(crate) mod lingering;
pub(crate) mod logsocket;
pub(crate) mod names;
pub(crate) mod notifysocket;
pub(crate) mod ownfile;
pub(crate) mod path;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod queue;
pub(crate) mod reaper;
pub(crate) mod signal;
pub(crate) mod sockaddr;
pub(crate) mod sockdiag;
pub(crate) mod socket;
pub(crate) mod sockopt;
pub(crate) mod spawn;
pub(crate) mod stderr;
pub(crate) mod usage;
