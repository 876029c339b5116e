//! The services that skd-inetd.conf(5) shows, served and asked.

use super::{INETD, blocks_of};
use crate::kit::net::{Client, in_own_network, inside};
use crate::kit::skd::Skd;
use crate::kit::{Folder, need};
use std::fs;
use std::process::Command;

/// In a network of its own, whose ports are free; below a folder of the test's, as a user that there is.
#[test]
fn the_services_of_the_manual_are_served() {
    let programs = ["git", "tftp", "in.tftpd"];
    if !need::own_network() || !programs.into_iter().all(need::program) {
        return;
    }
    let folder = Folder::new();
    let git = "git -c user.name=x -c user.email=x@x -c init.defaultBranch=main";
    let script = format!(
        "mkdir tftp && echo in tftp >tftp/file && mkdir git && cd git && {git} init -q . && \
         {git} commit -q --allow-empty -m x && touch .git/git-daemon-export-ok"
    );
    let mut sh = Command::new("sh");
    let sh = sh.args(["-ec", &script]).current_dir(folder.path(""));
    assert!(sh.status().unwrap().success());
    let blocks = blocks_of(INETD, "EXAMPLES");
    let services = format!("{}\n", blocks.join("\n"));
    let here = services
        .replace("/srv", folder.path("").trim_end_matches('/'))
        .replace(" git /usr/bin/git\n", " root /usr/bin/git\n");
    assert_ne!(here, services);
    let conf = folder.path("conf");
    fs::write(&conf, here).unwrap();
    let skd = Skd::new(&format!("-v --inetd-conf {conf}"));
    let skd = in_own_network(skd, &folder, &[]);
    let mut skd = skd.start();
    let of_tftp = "listen udp:";
    skd.waits_for(of_tftp);
    inside(&skd.pid().to_string(), || {
        let day = Client::tcp(13).hears_rest();
        assert!(day.contains(':') && day.ends_with('\n'), "{day}");
        let repository = format!("git://127.0.0.1{}", folder.path("git"));
        for words in [
            &["git", "ls-remote", &repository][..],
            &[
                "tftp",
                "127.0.0.1",
                "-c",
                "get",
                "file",
                &folder.path("got"),
            ],
        ] {
            let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        }
        let got = fs::read_to_string(folder.path("got")).unwrap();
        assert_eq!(got, "in tftp\n");
    });
    skd.stop();
}
