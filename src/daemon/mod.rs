//! skd as a process of its own: in the background, under a pid file, as somebody else, with its words in a log.
#![forbid(unsafe_code)]

pub(crate) mod background;
mod lines;
mod logfile;
mod logger;
pub(crate) mod pidfile;
pub(crate) mod privileges;
pub(crate) mod words;
