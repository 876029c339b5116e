//! What a manager hears of an skd whose place another takes.

use super::Manager;
use crate::kit::Folder;
use crate::kit::net::Client;
use crate::upgrade::{Copy, upgrade};

/// The manager has them already.
#[test]
fn sockets_are_given_to_be_kept_once() {
    let (folder, copy) = (Folder::new(), Copy::new());
    let manager = Manager::at(&folder);
    let path = folder.path("kept");
    let words = format!("-v --fdstore -t 127.0.0.1:0 -l {path} cat");
    let mut skd = manager.starts(&words).binary(&copy.path).start();
    for _ in 0..2 {
        let (text, _, fd) = manager.hears_from();
        assert_eq!(text, "FDSTORE=1\nFDNAME=skd\n");
        assert!(fd.is_some());
    }
    assert!(manager.hears().starts_with("READY=1\n"));
    for _ in 0..2 {
        upgrade(&mut skd, &copy);
        let (text, pid, fd) = manager.hears_from();
        assert!(text.starts_with("READY=1\n"), "{text}");
        assert!(pid == skd.pid() && fd.is_none());
    }
    Client::unix(&path).says("x").hears("x");
    skd.stop();
    assert_eq!(manager.hears_other(), "STOPPING=1\n");
    manager.hears_nothing();
    assert!(std::fs::exists(&path).unwrap());
}
