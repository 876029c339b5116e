//! Readiness of an skd that has gone into a chroot.

use super::{Manager, told};
use crate::kit::net::Client;
use crate::kit::{Folder, jail, need};

/// A jail without /dev, below this folder.
fn jailed(folder: &Folder) -> Option<String> {
    if !need::root() || !need::program("busybox") {
        return None;
    }
    let root = folder.path("jail");
    jail(&root);
    Some(root)
}

/// Nothing is there to take their place but what skd has opened before.
#[test]
fn a_standard_descriptor_tells_of_readiness_where_there_is_no_dev_null() {
    let folder = Folder::new();
    let Some(root) = jailed(&folder) else { return };
    let path = folder.path("served");
    for number in [0, 1, 2, 3] {
        let words = format!("--chroot {root} --ready-fd N -l {path} cat");
        let (skd, text) = told(&words, number);
        assert_eq!(text, "\n", "{number}");
        let link = std::fs::read_link(format!("/proc/{}/fd/{number}", skd.pid()));
        if number < 3 {
            assert_eq!(link.unwrap().to_str(), Some("/dev/null"), "{number}");
        }
        Client::unix(&path).says("x").hears("x");
        skd.stop();
    }
}

/// The socket was found before.
#[test]
fn a_manager_outside_hears_all_that_a_jailed_skd_has_to_tell() {
    let folder = Folder::new();
    let Some(root) = jailed(&folder) else { return };
    let manager = Manager::at(&folder);
    for options in ["", "--user nobody"] {
        let words = format!("-v --chroot {root} {options} -t 127.0.0.1:0 cat");
        let mut skd = manager.starts(&words).start();
        let port = skd.port();
        let (text, pid, _) = manager.hears_from();
        let ready = "READY=1\nSTATUS=0 connections, 0 accepted, 0 refused\n";
        assert_eq!((text.as_str(), pid), (ready, skd.pid()), "{options}");
        let held = Client::tcp(port);
        manager.waits_for("STATUS=1 connections, 1 accepted, 0 refused\n");
        held.hears_all();
        manager.waits_for("STATUS=0 connections, 1 accepted, 0 refused\n");
        skd.stop();
        assert_eq!(manager.hears_other(), "STOPPING=1\n", "{options}");
    }
}
