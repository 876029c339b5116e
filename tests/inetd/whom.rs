//! As whom programs run.

use super::Conf;
use crate::kit::net::hear_udp;
use crate::kit::skd::field;
use crate::kit::{eventually, facts, need, own_etc, probe};
use std::process::Command;

/// The output of id(1) here, for a user of the system.
fn id(user: &str) -> String {
    let output = Command::new("id").arg(user).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn programs_have_the_ids_and_groups_of_their_user_alone() {
    if !need::root() {
        return;
    }
    let table = [
        ("daemon", id("daemon")),
        ("root", id("root")),
        (
            "nobody:daemon",
            "uid=65534(nobody) gid=1(daemon) groups=1(daemon)\n".into(),
        ),
        (
            "nobody.daemon",
            "uid=65534(nobody) gid=1(daemon) groups=1(daemon)\n".into(),
        ),
        ("4242:7", "uid=4242 gid=7(lp) groups=7(lp)\n".into()),
        ("2.3", "uid=2(bin) gid=3(sys) groups=3(sys)\n".into()),
    ];
    for (user, expected) in table {
        let conf = Conf::of(&format!("IP:7007 stream tcp nowait {user} /usr/bin/id\n"));
        let skd = conf.start();
        assert_eq!(conf.client().hears_all(), expected, "{user}");
        skd.stop();
    }
}

#[test]
fn a_program_of_another_user_gets_what_any_other_does() {
    if !need::root() {
        return;
    }
    for user in ["root", "nobody"] {
        let conf = Conf::of(&format!(
            "IP:7007 stream tcp nowait {user} DIR/probe probe report\n"
        ));
        conf.folder.copy(&probe(), "probe");
        let skd = conf.skd("-v").start();
        let report = conf.client().hears_all();
        super::holds_one_socket_thrice(&report);
        // Its pid, its parent's, its process group and its session.
        let ids = facts(&report, "pid")[0];
        let ids: Vec<&str> = ids.split(' ').collect();
        assert!(ids[0] == ids[2] && ids[0] == ids[3], "{user}: {ids:?}");
        skd.stop();
    }
}

#[test]
fn datagrams_and_listeners_go_to_programs_of_their_user() {
    if !need::root() {
        return;
    }
    let conf = Conf::of(
        "IP:7007 dgram udp wait nobody:daemon /bin/sh sh -c 'dd bs=9 count=1 status=none >/dev/null; id -u; id -g'\n\
         DIR/x stream unix wait nobody:daemon /bin/sh sh -c 'id >DIR/got; exec DIR/probe accept-report 0'\n",
    );
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(conf.folder.path(""), open).unwrap();
    conf.folder.copy(&probe(), "probe");
    let mut skd = conf.start();
    skd.waits_for("/x");
    let udp = conf.udp();
    udp.send(b"x").unwrap();
    // Its socket is not connected: what it writes goes nowhere, and that is seen in how it ends.
    let line = skd.waits_for("info: end udp:");
    assert!(!line.contains("exit 127"), "{line}");
    let report = crate::kit::net::Client::unix(&conf.folder.path("x")).hears_all();
    assert!(report.contains("PROTO=UNIX"), "{report}");
    let got = std::fs::read_to_string(conf.folder.path("got")).unwrap();
    assert_eq!(got, "uid=65534(nobody) gid=1(daemon) groups=1(daemon)\n");
    skd.stop();
}

#[test]
fn a_program_that_its_user_may_not_execute_is_told_of() {
    if !need::root() {
        return;
    }
    let conf = Conf::of("IP:7007 stream tcp nowait nobody DIR/mine\n");
    let path = conf.folder.script("mine", "id");
    let locked = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&path, locked).unwrap();
    let mut skd = conf.start();
    assert_eq!(conf.client().hears_all(), "");
    let line = skd.waits_for("warning");
    let expected = format!(
        "skd: warning: unable to run \"{path}\": Permission denied, closing the connection of tcp:{}",
        conf.address()
    );
    assert_eq!(line, expected);
    skd.is_alone();
    skd.waits_for("info: end ");
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 1");
    skd.stop();
}

/// As for any program: each start is told of, and the datagram that starts nobody is discarded and counted as failed.
#[test]
fn a_datagram_for_a_program_that_its_user_may_not_execute_is_told_of() {
    if !need::root() {
        return;
    }
    let conf = Conf::of("IP:7007 dgram udp wait nobody DIR/mine\n");
    let path = conf.folder.script("mine", "id");
    let locked = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&path, locked).unwrap();
    let mut skd = conf.start();
    let client = std::net::UdpSocket::bind((conf.ip, 0)).unwrap();
    client.send_to(b"hello", (conf.ip, 7007)).unwrap();
    let line = skd.waits_for("warning");
    let expected = format!(
        "skd: warning: unable to run \"{path}\": Permission denied, leaving the datagram of udp:{}:7007",
        conf.ip
    );
    assert_eq!(line, expected);
    let line = skd.waits_for("discarding");
    assert!(line.contains("could not be run 5 times"), "{line}");
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 1");
    skd.stop();
}

/// Linux says so when the child, which has become that user, is to become the program.
#[test]
fn a_datagram_waits_while_its_user_may_have_no_process_more() {
    if !need::root() || !need::mounts() || !need::program("prlimit") {
        return;
    }
    let conf = Conf::of("IP:7007 dgram udp wait few DIR/probe probe echo-datagram\n");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(conf.folder.path(""), open).unwrap();
    conf.folder.copy(&probe(), "probe");
    let users = "root:x:0:0::/:/bin/sh\nfew:x:54399:54399::/:/bin/sh\n";
    let own = own_etc(
        &conf.folder,
        &[("passwd", users), ("group", "root:x:0:\nfew:x:54399:\n")],
    );
    let mut other = Command::new("setpriv")
        .args("--reuid=54399 --regid=54399 --clear-groups sleep 99".split(' '))
        .spawn()
        .unwrap();
    eventually("that user", || {
        let uid = field(other.id().cast_signed(), "Uid")?;
        uid.starts_with("54399").then_some(())
    });
    let skd = conf.skd("-v").under(&format!("{own} prlimit --nproc=0"));
    let mut skd = skd.start();
    let client = conf.udp();
    client.send(b"kept").unwrap();
    let line = skd.waits_for_nth("warning", 7);
    assert!(
        line.contains("Resource temporarily unavailable, leaving the datagram"),
        "{line}"
    );
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(hear_udp(&client), "kept");
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 0");
    skd.stop();
}

#[test]
fn skd_that_is_not_root_refuses_other_users() {
    if !need::root() {
        return;
    }
    let conf = Conf::of(
        "IP:7007 stream tcp nowait nobody /usr/bin/id\n\nIP:7008 stream tcp nowait daemon /usr/bin/id\n",
    );
    let column = conf.ip.to_string().len() + 25;
    let text = format!("3:{column}: \"daemon\": skd is not root, and cannot become anybody else");
    let outcome = conf.skd("-v --user nobody").outcome();
    let expected = format!("skd: fatal: {}:{text}\n", conf.path);
    assert_eq!((outcome.code, outcome.stderr), (111, expected));
    conf.put("IP:7007 stream tcp nowait nobody /usr/bin/id\n");
    let skd = conf.skd("-v --user nobody").start();
    assert!(conf.client().hears_all().starts_with("uid=65534(nobody) "));
    skd.stop();
}
