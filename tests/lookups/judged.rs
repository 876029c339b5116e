//! Rules about names are asked when the names are known.

use super::{HOSTS, Server, client, inside, silent};
use crate::kit::net::{self, Client};
use crate::kit::skd::Skd;
use crate::kit::{Folder, eventually, need, own_etc};
use crate::upgrade::{Copy, upgrade};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;

/// Rules for names are asked when the names are known, and only then; all others as ever.
#[test]
fn rules_see_the_names() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    let text = "=client.test:allow,WORD=\"client\",TCPLOCALHOST=\"mine\"\n\
                =.test:deny\n\
                root@10.77.0.4:allow,WORD=\"root\"\n\
                fd77::3:allow\n\
                =:deny\n\
                :deny\n";
    std::fs::write(&rules, text).unwrap();
    if !need::program("dnsmasq") || !need::program("oidentd") {
        return;
    }
    let script =
        "echo \"${WORD-none} ${TCPREMOTEHOST-none} ${TCPLOCALHOST-none} ${TCPREMOTEINFO-none}\"";
    for (options, fates) in [
        (
            "--resolve --ident",
            [
                "client Client.test mine none",
                "",
                "root none server.test root",
                "none none none none",
            ],
        ),
        (
            "--resolve",
            [
                "client Client.test mine none",
                "",
                "",
                "none none none none",
            ],
        ),
        (
            "--ident",
            ["", "", "root none none root", "none none none none"],
        ),
        ("", ["", "", "", "none none none none"]),
    ] {
        let skd = inside(&folder, &format!("{options} --rules {rules} sh -c"))
            .map(|skd| skd.word(script));
        let Some(mut skd) = skd.map(Skd::start) else {
            return;
        };
        let record =
            "--host-record=other.test,10.77.0.3 --ptr-record=3.0.77.10.in-addr.arpa,other.test";
        let _names = Server::names(&skd, record);
        let mut ident = Server::start(&skd, "oidentd -i -S -C /dev/null -a 10.77.0.4");
        ident.listens_at(&skd, "10.77.0.4:113");
        let clients = ["10.77.0.2", "10.77.0.3", "10.77.0.4", "fd77::3"];
        for (from, fate) in clients.into_iter().zip(fates) {
            assert_eq!(client(&skd, from).hears_line(), fate, "{options} {from}");
        }
        let denied = fates.iter().filter(|fate| fate.is_empty()).count();
        skd.waits_for_nth("info: deny ", denied);
        let line = skd.waits_for("info: deny tcp:[::]:7000 10.77.0.3:");
        let rule = if options.contains("--resolve") {
            "=.test:deny"
        } else {
            ":deny"
        };
        assert!(line.ends_with(&format!(" rule {rule}")), "{line}");
        skd.is_alone();
        let accepted = fates.len() - denied;
        assert_eq!(
            skd.status(),
            format!("0 accepted {accepted} denied {denied} failed 0")
        );
        skd.stop();
    }
}

#[test]
fn a_connected_socket_has_names_too() {
    if !need::mounts() {
        return;
    }
    let folder = Folder::new();
    let files = [("hosts", HOSTS), ("nsswitch.conf", "hosts: files\n")];
    let rules = folder.path("rules");
    for (text, heard) in [
        (
            "=localhost:allow,WORD=\"known\"\n:deny\n",
            "localhost localhost known\n",
        ),
        ("=localhost:deny\n", ""),
    ] {
        std::fs::write(&rules, text).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = net::tcp_from_loopback(1, listener.local_addr().unwrap().port());
        let (conn, _) = listener.accept().unwrap();
        let words = format!("-v -0 --resolve --rules {rules} sh -c");
        let skd = Skd::new(&words).word("echo $TCPREMOTEHOST $TCPLOCALHOST $WORD");
        let outcome = skd
            .under(&own_etc(&folder, &files))
            .descriptor(0, conn)
            .outcome();
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(Client::of_tcp(client).hears_rest(), heard);
        assert_eq!(
            outcome.stderr.contains(" rule =localhost:deny\n"),
            heard.is_empty()
        );
    }
}

/// What is decided is told to the skd that is there then.
#[test]
fn a_decision_that_comes_after_an_upgrade_is_told_and_counted() {
    let (folder, copy) = (Folder::new(), Copy::new());
    let rules = folder.path("rules");
    std::fs::write(&rules, "=:deny\n10.77.0.3:deny\n:allow\n").unwrap();
    let options = format!("-c 9 --resolve --lookup-timeout 3 --rules {rules}");
    let skd = inside(&folder, &format!("{options} cat"));
    let Some(mut skd) = skd.map(|skd| skd.binary(&copy.path).start()) else {
        return;
    };
    let _silent = silent(&skd);
    let denied = client(&skd, "10.77.0.3");
    let mut allowed = client(&skd, "10.77.0.4");
    eventually("two children", || (skd.children().len() == 2).then_some(()));
    for _ in 0..2 {
        upgrade(&mut skd, &copy);
        assert_eq!(skd.status(), "2/9 accepted 0 denied 0 failed 0");
    }
    allowed.says("hello\n").hears("hello\n");
    assert_eq!(denied.hears_all(), "");
    skd.waits_for("info: accept tcp:[::]:7000 10.77.0.4:");
    let line = skd.waits_for("info: deny tcp:[::]:7000 10.77.0.3:");
    assert!(line.ends_with(" rule 10.77.0.3:deny"), "{line}");
    drop(allowed);
    skd.is_alone();
    assert_eq!(skd.status(), "0/9 accepted 1 denied 1 failed 0");
    let outcome = skd.stop();
    assert_eq!(outcome.stderr.matches("info: end ").count(), 1);
}

/// Whoever ends look-ups on purpose is told so; nothing has failed.
#[test]
fn look_ups_that_skd_ends_itself_are_no_failure() {
    let folder = Folder::new();
    let skd = inside(&folder, "--resolve --drain 600 cat");
    let Some(mut skd) = skd.map(Skd::start) else {
        return;
    };
    let _silent = silent(&skd);
    let waiting = client(&skd, "10.77.0.3");
    eventually("a child", || (skd.children().len() == 1).then_some(()));
    skd.signal(Signal::SIGQUIT);
    let line = skd.waits_for("info: deny ");
    assert!(line.ends_with(" stopping"), "{line}");
    assert_eq!(waiting.hears_all(), "");
    let outcome = skd.ends();
    assert_eq!(
        (outcome.code, outcome.stderr.contains("warning")),
        (0, false)
    );
}

#[test]
fn the_signal_that_ends_look_ups_has_its_name() {
    let folder = Folder::new();
    let Some(mut skd) = inside(&folder, "--resolve cat").map(Skd::start) else {
        return;
    };
    let _silent = silent(&skd);
    let waiting = client(&skd, "10.77.0.3");
    let child = eventually("a child", || skd.children().first().copied());
    kill(Pid::from_raw(child), Signal::SIGTERM).unwrap();
    assert_eq!(waiting.hears_all(), "");
    let line = skd.waits_for("skd: warning: ");
    assert!(
        line.starts_with("skd: warning: signal TERM while names were looked up, "),
        "{line}"
    );
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 1");
    skd.stop();
}
