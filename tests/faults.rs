//! System calls that fail, each with what it can say, once and for a while: strace(1) answers them in the place of the
//! kernel. And what fails without help: full disks, limits, clocks.

mod children;
mod clocks;
mod disks;
mod groups;
mod limits;
mod managers;
mod reread;
mod serving;
mod starting;
mod successor;
mod threads;

use crate::kit::Folder;
use crate::kit::net::tcp_from_loopback;
use nix::sys::socket::{Shutdown, shutdown};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

/// What somebody hears who says this and then nothing more, until the end or a reset.
fn talk(client: impl Into<OwnedFd>, text: &str) -> String {
    let mut client = File::from(client.into());
    let mut heard = Vec::new();
    let _ = client.write_all(text.as_bytes());
    let _ = shutdown(client.as_raw_fd(), Shutdown::Write);
    let _ = client.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

/// What a client of a port hears that says hello.
fn hears(port: u16) -> String {
    talk(tcp_from_loopback(1, port), "hello\n")
}

/// What a client of a unix socket hears that says hello.
fn hears_at(path: &str) -> String {
    talk(UnixStream::connect(path).unwrap(), "hello\n")
}

/// Whether a service that echoes serves one client.
fn is_served(port: u16) -> bool {
    hears(port) == "hello\n"
}

/// The lines of a log that are warnings.
fn warnings(stderr: &str) -> Vec<&str> {
    let lines = stderr.lines();
    lines
        .filter_map(|line| line.strip_prefix("skd: warning: "))
        .collect()
}

/// A library for LD_PRELOAD, made of this C.
fn library(folder: &Folder, source: &str) -> String {
    let (c, so) = (folder.path("library.c"), folder.path("library.so"));
    std::fs::write(&c, source).unwrap();
    let words = ["-shared", "-fPIC", "-O1", "-o", &so, &c];
    assert!(Command::new("cc").args(words).status().unwrap().success());
    so
}
