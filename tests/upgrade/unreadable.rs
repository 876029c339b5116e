//! A real skd hands a state over that the one in its place cannot read.

use super::Copy;
use crate::kit::need;
use crate::kit::net::echoes;
use crate::kit::skd::{BINARY, Running, Skd};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;

/// Anybody can execute what is in its folder; only we can write there.
fn shared() -> Copy {
    let copy = Copy::new();
    let mode = PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(copy.folder.path(""), mode).unwrap();
    copy
}

/// USR2, until an skd serves that knows nothing of the one before.
fn forget(skd: &mut Running, copy: &Copy) {
    let real = copy.folder.copy(BINARY, "real");
    // Where the state is said to be there is none.
    copy.spoil(&format!(
        "#!/bin/sh\nexec 9</dev/null\nSKD_STATE=9 exec {real} \"$@\""
    ));
    skd.signal(Signal::SIGUSR2);
    // It is told by the one that takes the place, not by the one that is asked.
    skd.waits_for("warning: the state of the skd before cannot be read, counting from zero");
}

/// It serves the port that it had, alone, and does not tell of it again.
fn serves_on(mut skd: Running, port: u16) {
    echoes(port);
    skd.waits_for_nth("info: end ", 2);
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 0");
    let listen = format!("skd: info: listen tcp:127.0.0.1:{port}");
    let mut listens = skd.seen.iter().filter(|line| line.contains(" listen "));
    assert!(listens.all(|line| *line == listen), "{:#?}", skd.seen);
    assert_eq!(skd.stop_and_read_stdout(), "");
}

#[test]
fn a_port_that_was_chosen_stays_the_only_one() {
    let copy = Copy::new();
    let mut skd = Skd::new("-v -t 127.0.0.1:0 cat").binary(&copy.path).start();
    let port = skd.port();
    echoes(port);
    forget(&mut skd, &copy);
    serves_on(skd, port);
}

/// Only the first of them could write it; the others have given that up.
#[test]
fn a_pid_file_that_can_no_longer_be_written_is_no_reason_to_end() {
    if !need::root() {
        return;
    }
    let copy = shared();
    let pidfile = copy.folder.path("pid");
    let words = format!("-v -P {pidfile} --user nobody -t 127.0.0.1:0 cat");
    let mut skd = Skd::new(&words).binary(&copy.path).start();
    let port = skd.port();
    echoes(port);
    forget(&mut skd, &copy);
    serves_on(skd, port);
}
