//! USR2 while a call fails on the way to the new skd: the old one goes on as if nothing had been.

use super::is_served;
use crate::kit::skd::Skd;
use crate::kit::strace::{Fault, Faults};
use crate::kit::{Folder, eventually, need};
use nix::sys::signal::Signal;

#[test]
fn an_upgrade_in_which_a_call_fails_leaves_everything_as_it_is() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let (socket, pid) = (folder.path("socket"), folder.path("pid"));
    let words = format!("-1 -v -P {pid} -t 127.0.0.1:0 -l {socket} cat");
    let mut skd = Skd::new(&words).start();
    skd.waits_for("listen unix:");
    let port = skd.port();
    assert!(is_served(port));
    skd.is_alone();
    let before = skd.descriptors();
    let faults = [
        "faccessat2:error=EACCES:when=1",
        "pipe2:error=EMFILE:when=1",
        "clone:error=EAGAIN:when=1",
        "memfd_create:error=ENOMEM:when=1",
        "memfd_create:error=EMFILE:when=1",
        "write:error=ENOSPC:when=1",
        "fcntl:error=EMFILE",
        "dup3:error=EBUSY:when=1",
        "dup3:error=EBUSY:when=2",
        "execve:error=ENOENT:when=1",
        "execve:error=ETXTBSY:when=1",
        "execve:error=E2BIG:when=1",
        "execve:error=ENOMEM:when=1",
    ];
    for (count, fault) in (1..).zip(faults) {
        let faults = Faults::of(&folder, skd.pid(), Fault(fault));
        skd.signal(Signal::SIGUSR2);
        let told = skd.waits_for_nth("warning: unable to upgrade to ", count);
        faults.end();
        assert!(told.ends_with(", going on as before"), "{told}");
        assert!(is_served(port), "{fault}");
        skd.is_alone();
        skd.comes_to_have(before);
    }
    // And now nothing fails.
    skd.signal(Signal::SIGUSR2);
    eventually("the new skd", || {
        let environ = std::fs::read(format!("/proc/{}/environ", skd.pid())).ok()?;
        let has_listeners = |it: &[u8]| it.starts_with(b"LISTEN_FDS=2");
        environ
            .split(|byte| *byte == 0)
            .any(has_listeners)
            .then_some(())
    });
    assert!(is_served(port));
    skd.is_alone();
    let status = format!("0 accepted {} denied 0 failed 0", faults.len() + 2);
    assert_eq!(skd.status(), status);
    skd.stop();
    assert!(!std::path::Path::new(&socket).exists() && !std::path::Path::new(&pid).exists());
}
