//! The tests of skd as a whole: the real binary, real sockets, real programs; a module per topic.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that fails ends by panicking, and says what it skips"
)]

mod kit;
mod layers;
mod serving;
