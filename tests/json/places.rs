//! Wherever the log goes: a journal, a daemon's file, syslog, the skd after an upgrade, a supervisor.

use super::{JSON, as_text, lasting, object, objects, plain};
use crate::kit::daemon::{self, Daemon};
use crate::kit::net::{Client, tcp_listener};
use crate::kit::skd::Skd;
use crate::kit::syslog::{Dev, hear};
use crate::kit::systemd::Systemd;
use crate::kit::{Folder, eventually, need};
use nix::sys::signal::Signal;
use nix::sys::stat::fstat;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};

/// A journal takes the priority off and keeps the object.
#[test]
fn a_journal_gets_the_priority_before_the_object() {
    let in_journal = |words: &str| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let stat = fstat(&writer).unwrap();
        let skd = Skd::new(&format!("{JSON} {words}"));
        let skd = skd.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
        skd.descriptor(2, writer).outcome();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    };
    let fatal = in_journal("-t 127.0.0.1:0 /none");
    let usage = in_journal("--bogus cat");
    for (line, level) in [(&fatal, "fatal"), (&usage, "usage")] {
        let object = objects(line.strip_prefix("<3>").unwrap());
        assert_eq!((&object[0]["level"], object.len()), (&level.into(), 1));
    }
    // A connected socket that is denied: skd ends by itself.
    let (listener, port) = tcp_listener();
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (connection, _) = TcpListener::from(listener).accept().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stat = fstat(&writer).unwrap();
    let skd = Skd::new(&format!("-v {JSON} -0 --deny 127.0.0.1 cat"));
    let skd = skd.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    let outcome = skd
        .descriptor(0, connection)
        .descriptor(2, writer)
        .outcome();
    assert_eq!(outcome.code, 0);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let object = objects(text.strip_prefix("<6>").unwrap()).remove(0);
    assert_eq!(
        (&object["event"], &object["rule"]),
        (&"deny".into(), &"--deny 127.0.0.1".into())
    );
}

/// The real one shows the object as its message, and knows the priority.
#[test]
fn the_journal_of_systemd_keeps_objects_and_priorities() {
    const SERVICE: &str = "skd@it.service";
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let prog = machine.folder.script("prog", "");
    machine.install();
    let words = format!("SKD=-v {JSON} -t 127.0.0.1:7 {prog}\n");
    machine.write("/etc/skd/it", &words);
    machine.run(&format!("systemctl start {SERVICE}"));
    let logged = |text: &str, priority: &str| {
        let line = machine.logged(SERVICE, text);
        let message = line.strip_prefix(priority);
        object(message.unwrap_or_else(|| panic!("{line}")))
    };
    machine.network(|| Client::tcp(7).hears_rest());
    assert_eq!(logged("accept ", "<6>")["listener"], "tcp:127.0.0.1:7");
    fs::remove_file(&prog).unwrap();
    machine.network(|| Client::tcp(7).hears_rest());
    assert_eq!(logged("unable to run ", "<4>")["level"], "warning");
    machine.run(&format!("systemctl stop {SERVICE}"));
    machine.tried(&format!("systemctl start {SERVICE}"));
    assert_eq!(logged("\"fatal\"", "<3>")["level"], "fatal");
}

#[test]
fn a_daemons_caller_and_its_file_get_objects() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let outcome = Skd::new(&format!("-vB {JSON} -t {address} cat")).outcome();
    assert_eq!(outcome.code, 111);
    let text = format!("unable to bind tcp:{address}: Address already in use");
    assert_eq!(objects(&outcome.stderr)[0]["message"], text);
    let skd = daemon::skd(&folder);
    let words = format!("{JSON} -t 127.0.0.1:0 cat");
    let skd = words.split(' ').fold(skd, Skd::word);
    let (daemon, stdout) = Daemon::start(skd, &folder);
    let port = stdout.trim().parse().unwrap();
    let echoed = |text: &str| {
        Client::tcp(port).says(text).hears(text);
    };
    echoed("one\n");
    let log = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    eventually("an end", || log("log").contains("\"end\"").then_some(()));
    fs::rename(folder.path("log"), folder.path("old")).unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("a new file", || {
        fs::exists(folder.path("log")).unwrap().then_some(())
    });
    echoed("two\n");
    eventually("an end", || log("log").contains("\"end\"").then_some(()));
    daemon.stop();
    let events = |name: &str| -> Vec<Value> {
        let objects = objects(&log(name)).into_iter();
        objects.map(|mut it| it["event"].take()).collect()
    };
    assert_eq!(events("old"), ["listen", "accept", "end"]);
    assert_eq!(events("log"), ["accept", "end"]);
}

/// The logger passes objects on as they are, and has objects of its own.
#[test]
fn syslog_gets_objects_from_skd_and_from_its_logger() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let script = "seq -f \"%0100.0f\" 1 20000 >&2; echo done";
    let skd = Skd::new(&format!("-1 -v {JSON} -L x -t 127.0.0.1:0 sh -c"));
    let mut skd = skd.word(script).under(&dev.enter()).spawn();
    let port = skd.port();
    assert_eq!(Client::tcp(port).hears_rest(), "done\n");
    let socket = dev.datagrams();
    let heard = || {
        let message = hear(&socket);
        message.split_once("]: ").unwrap().1.to_owned()
    };
    let listen = object(&heard());
    assert_eq!(
        (&listen["event"], &listen["listener"]),
        (&"listen".into(), &format!("tcp:127.0.0.1:{port}").into())
    );
    assert_eq!(object(&heard())["event"], "accept");
    let lost = loop {
        let line = heard();
        if line.contains(" lines were lost") {
            break object(&line);
        }
    };
    assert_eq!(plain(&as_text(&lost)), "skd: warning: _ lines were lost");
    assert_eq!(lost.as_object().unwrap().len(), 3);
    skd.stop();
}

#[test]
fn the_skd_after_an_upgrade_goes_on_with_objects() {
    let mut skd = Skd::new(&format!("-1 -vv {JSON} -t 127.0.0.1:0 cat")).start();
    let port = skd.port();
    let mut client = Client::tcp(port);
    client.says("one\n").hears("one\n");
    skd.signal(Signal::SIGUSR2);
    skd.waits_for("in the place of the skd before");
    assert_eq!(client.hears_all(), "");
    skd.waits_for("end ");
    skd.signal(Signal::SIGUSR1);
    skd.waits_for("\"event\":\"status\"");
    let objects = objects(&skd.stop().stderr);
    let last = objects
        .iter()
        .rev()
        .find(|it| it["event"] == "end")
        .unwrap();
    assert_eq!((&last["exit"], &last["count"]), (&0.into(), &0.into()));
}

#[test]
fn a_supervisor_tells_starts_and_ends_as_objects() {
    let mut skd = Skd::new(&format!("-vS {JSON} -- sh -c"))
        .word("exit 3")
        .spawn();
    skd.waits_for_nth("start ", 2);
    let objects = objects(&skd.stop().stderr);
    let pid = &objects[0]["pid"];
    assert!(pid.is_i64(), "{objects:#?}");
    let wanted = [
        json!({"level": "info", "event": "start", "pid": pid}),
        json!({"level": "info", "event": "end", "pid": pid, "exit": 3}),
        json!({"level": "info", "event": "start", "pid": objects[2]["pid"]}),
    ];
    let said: Vec<_> = objects.iter().take(3).cloned().map(lasting).collect();
    assert_eq!(said, wanted);
    assert_eq!(
        plain(&as_text(&objects[1])),
        "skd: info: end \"sh\" pid _ exit _ secs _._ again in _._"
    );
}
