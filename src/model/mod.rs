//! The nouns that the rooms share: what is served, to whom, and what happened; pure, imports no other room.
#![forbid(unsafe_code)]

pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod daemon;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod inetd;
pub(crate) mod manager;
pub(crate) mod name;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod peer;
pub(crate) mod service;
pub(crate) mod sockopt;
pub(crate) mod state;
pub(crate) mod tally;
pub(crate) mod text;
