//! When rules are read again, and what becomes of those that are no good any more.

use super::{greeting, is_served, put};
use crate::kit::skd::Running;
use crate::kit::{Folder, eventually, need};
use nix::sys::signal::Signal;
use std::fs;

/// Looked at when a connection comes, so that sooner or later the next one is judged by it.
#[test]
fn rules_that_change_are_read_again_without_being_told() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(&rules, "127.0.0.2:deny\n");
    let mut skd = greeting(&format!("--rules {rules} -t 127.0.0.1:0")).start();
    let port = skd.port();
    assert!(is_served(1, port) && !is_served(2, port));
    // By another file, and by the same one written anew.
    put(&rules, "127.0.0.1:deny\n");
    eventually("the new rules", || (!is_served(1, port)).then_some(()));
    assert!(is_served(2, port));
    fs::write(&rules, "127.0.0.2:deny # no comment, and so broken").unwrap();
    eventually("a warning", || {
        assert!(!is_served(1, port) && is_served(2, port));
        skd.status();
        skd.seen
            .iter()
            .any(|line| line.contains("skd: warning: "))
            .then_some(())
    });
    fs::write(&rules, "127.0.0.2:deny\n").unwrap();
    eventually("good ones again", || is_served(1, port).then_some(()));
    assert!(!is_served(2, port));
    skd.stop();
}

#[test]
fn hup_has_rules_read_at_once_and_broken_ones_keep_the_last_good() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    put(&rules, "127.0.0.2:deny\n");
    let mut skd = greeting(&format!("--rules {rules} -t 127.0.0.1:0")).start();
    let port = skd.port();
    let hup = |skd: &mut Running| {
        skd.signal(Signal::SIGHUP);
        skd.status();
        [is_served(1, port), is_served(2, port)]
    };
    assert_eq!([is_served(1, port), is_served(2, port)], [true, false]);
    put(&rules, "127.0.0.1:deny\n");
    assert_eq!(hup(&mut skd), [false, true]);
    let broken = [
        ("# fine\n\n10.:allow\n 127.0.0.1:allow\n", "4:1: "),
        ("127.0.0.1\n", "1:10: "),
        (":allow,A=\"b\n", "1:10: "),
    ];
    for (number, (text, place)) in (1..).zip(broken) {
        put(&rules, text);
        assert_eq!(hup(&mut skd), [false, true], "{text}");
        let line = skd.waits_for_nth("skd: warning: ", number);
        assert!(line.contains(&format!("{rules}:{place}")), "{line}");
    }
    for (number, replace) in [
        fs::remove_file::<&str>,
        |path| fs::create_dir(path),
        |path| {
            fs::remove_dir(path)?;
            Ok(nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU)?)
        },
    ]
    .into_iter()
    .enumerate()
    {
        replace(&rules).unwrap();
        assert_eq!(hup(&mut skd), [false, true]);
        let line = skd.waits_for_nth("skd: warning: ", broken.len() + number + 1);
        assert!(line.contains(&rules), "{line}");
    }
    put(&rules, "127.0.0.2:deny\n");
    assert_eq!(hup(&mut skd), [true, false]);
    // No rule at all lets everybody in.
    put(&rules, "");
    assert_eq!(hup(&mut skd), [true, true]);
    skd.stop();
}

/// The folder of the file is held open.
#[test]
fn rules_are_read_again_from_inside_a_new_root_by_another_user() {
    if !need::root() || !need::program("busybox") {
        return;
    }
    let folder = Folder::new();
    let (jail, rules) = (folder.path("jail"), folder.path("rules"));
    crate::kit::jail(&jail);
    put(&rules, "127.0.0.2:deny\n");
    let options = format!("--rules {rules} --chroot {jail} --user nobody -t 127.0.0.1:0");
    let mut skd = greeting(&options).start();
    let port = skd.port();
    assert_eq!([is_served(1, port), is_served(2, port)], [true, false]);
    put(&rules, "127.0.0.1:deny\n");
    skd.signal(Signal::SIGHUP);
    skd.status();
    assert_eq!([is_served(1, port), is_served(2, port)], [false, true]);
    skd.stop();
}
