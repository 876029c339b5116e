//! What a manager hears of an skd that is about to end.

use super::Manager;
use crate::kit::net::Client;
use crate::kit::{Folder, probe};
use nix::sys::signal::Signal;

/// One that hears of readiness after the end has begun would take it for a service that goes on.
#[test]
fn a_reload_while_skd_drains_is_nobodys_business() {
    let folder = Folder::new();
    let manager = Manager::at(&folder);
    let words = format!("-vv --drain 600 -t 127.0.0.1:0 {} hold", probe());
    let mut skd = manager.starts(&words).start();
    let mut client = Client::tcp(skd.port());
    client.hears_line();
    assert!(manager.hears().starts_with("READY=1\n"));
    skd.signal(Signal::SIGTERM);
    assert_eq!(manager.hears_other(), "STOPPING=1\n");
    skd.signal(Signal::SIGHUP);
    skd.waits_for("asked to open files again");
    assert_eq!(skd.status(), "1 accepted 1 denied 0 failed 0");
    client.hears_all();
    assert_eq!(skd.ends().code, 0);
    // All that it ever said is there by now.
    manager.socket.set_nonblocking(true).unwrap();
    let mut heard = [0; 4096];
    while let Ok(len) = manager.socket.recv(&mut heard) {
        let text = String::from_utf8_lossy(&heard[..len]);
        assert!(text.starts_with("STATUS="), "{text}");
    }
}
