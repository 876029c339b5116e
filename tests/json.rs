//! `--log-format json`: an object a line, read by a real parser, which says what the text says.

mod hostile;
mod places;

use crate::kit::net::{Client, tcp_from_loopback, udp};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, probe};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::TcpStream;

const JSON: &str = "--log-format json";

/// Says its pid and, where a log has it, a word of its own; then does what its client says.
const OBEY: &str = r#"[ $PROTO = UDP ] && { read -r line; kill -KILL $$; }
    echo $$; echo 'a "word" \ of its own' >&2; read -r order; eval "$order""#;

/// A line as an object, with whether its time is one, and its seconds a number with three decimals, seen to.
fn object(line: &str) -> Value {
    let object: Value =
        serde_json::from_str(line).unwrap_or_else(|wrong| panic!("{wrong}: {line}"));
    let members = object.as_object().unwrap();
    let names = members
        .iter()
        .all(|(name, _)| line.matches(&format!("\"{name}\":")).count() == 1);
    assert!(names && line.len() < 4096, "{line}");
    let time = object["time"].as_str().unwrap();
    let digits = time.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(digits, "0000-00-00T00:00:00.000000Z");
    if let Some(secs) = members.get("secs") {
        assert!(secs.is_f64(), "{line}");
        let (_, secs) = line.split_once("\"secs\":").unwrap();
        let (_, decimals) = secs.split_once('.').unwrap();
        assert_eq!(
            decimals.find(|c: char| !c.is_ascii_digit()),
            Some(3),
            "{line}"
        );
    }
    object
}

/// Every line as an object.
fn objects(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().filter(|line| !line.is_empty());
    lines.map(object).collect()
}

/// Without what differs from run to run.
fn lasting(mut object: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    for name in ["time", "message", "secs"] {
        members.remove(name);
    }
    object
}

/// `_` in place of every number.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if plain.ends_with('_') => {}
            '0'..='9' => plain.push('_'),
            c => plain.push(c),
        }
    }
    plain
}

/// The text form of what an object says.
fn as_text(object: &Value) -> String {
    let word = |name: &str| object[name].as_str().unwrap();
    format!("skd: {}: {}", word("level"), word("message"))
}

/// These objects have the texts that the same run has without the option, in the same order.
fn say_the_same(objects: &[Value], text: &str) {
    let said: Vec<_> = objects.iter().map(|it| plain(&as_text(it))).collect();
    let text: Vec<_> = text.lines().map(plain).collect();
    assert_eq!(said, text);
}

/// A client of 127.0.0.1, the port that it speaks from, and the pid of its program.
fn tcp(port: u16) -> (Client, u16, i32) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let own = stream.local_addr().unwrap().port();
    let mut client = Client::of_tcp(stream);
    let pid = client.hears_line().parse().unwrap();
    (client, own, pid)
}

/// Everything that there are events for, one after the other; returns stderr, and what the objects are to have.
fn everything(options: &str, folder: &Folder) -> (String, Vec<Value>) {
    let rules = folder.path("rules");
    std::fs::write(&rules, "127.0.0.9:deny\n:allow\n").unwrap();
    let path = folder.path("socket");
    let words =
        format!("-1 -v {options} --rules {rules} -t 127.0.0.1:0 -u 127.0.0.1:0 -l {path} sh -c");
    let mut skd = Skd::new(&words).word(OBEY).start();
    let (port, udp_port) = (skd.port(), skd.port());
    let listener = format!("tcp:127.0.0.1:{port}");
    let (datagrams, file) = (format!("udp:127.0.0.1:{udp_port}"), format!("unix:{path}"));
    let counted = |mut object: Value, count: u32| {
        object["count"] = count.into();
        if options.contains("-c 40") {
            object["limit"] = 40.into();
        }
        object["level"] = "info".into();
        object
    };
    let listen = |name: &str| json!({"level": "info", "event": "listen", "listener": name});
    let mut wanted = vec![
        // Datagrams are not judged.
        json!({"level": "warning"}),
        listen(&listener),
        listen(&datagrams),
        listen(&file),
    ];
    let mut ends = 0;
    let mut end = |skd: &mut Running, mut client: Client, order: &str| {
        client.says(&format!("{order}\n"));
        assert_eq!(client.hears_rest(), "");
        ends += 1;
        skd.waits_for_nth("end ", ends);
    };
    for (order, how, value) in [
        ("exit 7", "exit", json!(7)),
        ("kill -KILL $$", "signal", json!("KILL")),
        ("kill -37 $$", "signal", json!("RTMIN+3")),
    ] {
        let (client, own, pid) = tcp(port);
        end(&mut skd, client, order);
        let peer = format!("127.0.0.1:{own}");
        let who = json!({"event": "accept", "listener": listener, "peer": peer, "pid": pid});
        wanted.push(counted(who, 1));
        let who =
            json!({"event": "end", "listener": listener, "peer": peer, "pid": pid, how: value});
        wanted.push(counted(who, 0));
    }
    let mut client = Client::unix(&path);
    let pid: i32 = client.hears_line().parse().unwrap();
    end(&mut skd, client, "exit 0");
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let peer = format!("uid {uid} gid {gid} peer-pid {}", std::process::id());
    let who = json!({"event": "accept", "listener": file, "peer": peer, "pid": pid});
    wanted.push(counted(who, 1));
    let who = json!({"event": "end", "listener": file, "peer": peer, "pid": pid, "exit": 0});
    wanted.push(counted(who, 0));
    let stream = tcp_from_loopback(9, port);
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(Client::of_tcp(stream).hears_rest(), "");
    skd.waits_for("deny ");
    wanted.push(json!({"level": "info", "event": "deny", "listener": listener, "peer": peer, "rule": "127.0.0.9:deny"}));
    let client = udp(udp_port);
    client.send(b"\n").unwrap();
    let line = skd.waits_for_nth("end ", 5);
    let pid: i32 = line
        .split_once(" pid ")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let peer = client.local_addr().unwrap().to_string();
    wanted.push(json!({"level": "info", "event": "datagram", "listener": datagrams, "peer": peer, "pid": pid}));
    wanted.push(json!({"level": "info", "event": "end", "listener": datagrams, "pid": pid, "signal": "KILL"}));
    skd.signal(Signal::SIGUSR1);
    skd.waits_for("status 0");
    let status = json!({"event": "status", "accepted": 5, "denied": 1, "failed": 0});
    wanted.push(counted(status, 0));
    (skd.stop().stderr, wanted)
}

#[test]
fn every_event_is_an_object_with_the_facts_of_its_text() {
    for limit in ["", "-c 40"] {
        let folder = Folder::new();
        let (text, _) = everything(&format!("{limit} --log-format text"), &folder);
        let (stderr, wanted) = everything(&format!("{limit} {JSON}"), &folder);
        // What children say passes as it is.
        let own = |line: &&str| *line == r#"a "word" \ of its own"#;
        assert_eq!(stderr.lines().filter(own).count(), 4);
        let without_own = |stderr: &str| -> String {
            let lines = stderr.lines().filter(|line| !own(line));
            lines.map(|line| format!("{line}\n")).collect()
        };
        let objects = objects(&without_own(&stderr));
        say_the_same(&objects, &without_own(&text));
        for (object, wanted) in objects.iter().zip(&wanted) {
            assert_eq!(&lasting(object.clone()), wanted);
            if object["level"] == "info" {
                agrees_with_its_message(object);
            }
        }
        assert_eq!(objects.len(), wanted.len());
    }
}

/// Each member stands in the message as the text form has it.
fn agrees_with_its_message(object: &Value) {
    let word = |name: &str| match &object[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(_) if name == "secs" => {
            Some(format!("{:.3}", object[name].as_f64().unwrap()))
        }
        number => Some(number.to_string()),
    };
    let behind = |name: &str| word(name).map(|word| format!("{name} {word}"));
    let count = word("count").map(|count| match word("limit") {
        Some(limit) => format!("{count}/{limit}"),
        None => count,
    });
    let is_status = object["event"] == "status";
    let words = [
        word("event"),
        count.clone().filter(|_| is_status),
        word("listener"),
        word("peer"),
        word("rule").map(|rule| format!("rule {rule}")),
        behind("pid"),
        behind("exit"),
        behind("signal"),
        behind("secs"),
        count
            .filter(|_| !is_status)
            .map(|count| format!("count {count}")),
        behind("accepted"),
        behind("denied"),
        behind("failed"),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    assert_eq!(object["message"], words.join(" "));
}

/// What skd says at this level of one connection, and of twelve that find no program.
fn said_at(options: &str) -> String {
    let folder = Folder::new();
    let prog = folder.script("prog", "echo served");
    let mut skd = Skd::new(&format!("-1 {options} -t 127.0.0.1:0 {prog}")).spawn();
    let port = skd.port();
    assert_eq!(Client::tcp(port).hears_rest(), "served\n");
    skd.is_alone();
    std::fs::remove_file(&prog).unwrap();
    for _ in 0..12 {
        assert_eq!(Client::tcp(port).hears_rest(), "");
        skd.is_alone();
    }
    let stderr = skd.stop().stderr;
    // The folder of a test has a number.
    stderr.replace(&folder.path(""), "")
}

#[test]
fn each_level_says_in_objects_what_it_says_in_text() {
    assert_eq!(said_at(&format!("-q {JSON}")), "\n");
    let mut before = 0;
    for level in ["", "-v", "-vv"] {
        let objects = objects(&said_at(&format!("{level} {JSON}")));
        say_the_same(&objects, &said_at(level));
        assert!(objects.len() > before, "{objects:#?}");
        before = objects.len();
        let warnings = objects.iter().filter(|it| it["level"] == "warning");
        let texts: Vec<_> = warnings.map(|it| it["message"].as_str().unwrap()).collect();
        let repeated =
            "unable to run \"prog\": No such file or directory, closing the connection of ";
        let told = texts.iter().filter(|text| text.starts_with(repeated));
        assert_eq!(told.count(), 10, "{texts:#?}");
        let left_out = format!("left out 2 more: {repeated}");
        assert!(
            texts[10].starts_with(&left_out) && texts.len() == 11,
            "{texts:#?}"
        );
        // What is no event has no more than what every line has.
        let others = objects.iter().filter(|it| it.get("event").is_none());
        for other in others {
            assert_eq!(other.as_object().unwrap().len(), 3, "{other}");
        }
        let notes = objects
            .iter()
            .filter(|it| it["message"].as_str().unwrap().starts_with("found PROG"));
        assert_eq!(notes.count(), usize::from(level == "-vv"));
    }
}

/// Each ends with this exit code; its one line says this at this level.
#[test]
fn what_ends_a_start_is_an_object_once_the_format_is_known() {
    let help = "; try \"skd --help\"";
    let table = [
        (
            "/none",
            111,
            "fatal",
            "unable to run \"/none\": No such file or directory",
        ),
        (
            "--adopt fd:77 cat",
            111,
            "fatal",
            "unable to adopt descriptor 77: Bad file descriptor",
        ),
        ("", 100, "usage", "PROG is missing"),
        (
            "--bogus cat",
            100,
            "usage",
            "there is no option \"--bogus\"",
        ),
        ("-Z cat", 100, "usage", "there is no option \"-Z\""),
        ("-t", 100, "usage", "--tcp: a value is missing"),
        ("-v=3 -t 0 cat", 100, "usage", "there is no option \"-=\""),
        (
            "-b 1 -b 2 cat",
            100,
            "usage",
            "--backlog: given more than once",
        ),
        (
            "-c abc -t 0 cat",
            100,
            "usage",
            "--max-connections: \"abc\" is no whole number from 1 to 1000000",
        ),
        (
            "-S -t 0 cat",
            100,
            "usage",
            "--supervise is for a program without sockets",
        ),
        (
            "-qv cat",
            100,
            "usage",
            "--quiet and --verbose exclude each other",
        ),
    ];
    for (words, code, level, text) in table {
        let plain = Skd::new(words).outcome();
        for json in [JSON, "--log-format=json"] {
            let outcome = Skd::new(&format!("{json} {words}")).outcome();
            assert_eq!(
                (outcome.code, outcome.stdout.as_str()),
                (code, ""),
                "{words}"
            );
            let objects = objects(&outcome.stderr);
            say_the_same(&objects, &plain.stderr);
            assert_eq!(objects[0]["level"], level);
            let more = if level == "usage" { help } else { "" };
            assert_eq!(objects[0]["message"], format!("{text}{more}"));
        }
    }
    // Read to its end, a command line may ask for it behind what is wrong.
    let outcome = Skd::new(&format!("-c abc -t 0 {JSON} cat")).outcome();
    assert_eq!(objects(&outcome.stderr)[0]["level"], "usage");
}

#[test]
fn where_no_format_can_be_read_it_is_text() {
    let unknown = "skd: usage: there is no option \"--bogus\"; try \"skd --help\"\n";
    let table = [
        (format!("--bogus {JSON} cat"), unknown),
        (format!("--bogus cat {JSON}"), unknown),
        (
            format!("-- {JSON}"),
            "skd: fatal: unable to run \"--log-format\": No such file or directory\n",
        ),
        (
            format!("-t {JSON} cat"),
            "skd: usage: --tcp: there is no tcp service \"--log-format\"; [HOST:]PORT expected, PORT being 0 to 65535 or a service name; try \"skd --help\"\n",
        ),
        (
            "--log-format".into(),
            "skd: usage: --log-format: a value is missing; try \"skd --help\"\n",
        ),
        (
            "--log-format JSON cat".into(),
            "skd: usage: --log-format: \"JSON\": text or json expected; try \"skd --help\"\n",
        ),
        (
            "--log-format= cat".into(),
            "skd: usage: --log-format: \"\": text or json expected; try \"skd --help\"\n",
        ),
        (
            format!("--log-format text {JSON} cat"),
            "skd: usage: --log-format: given more than once; try \"skd --help\"\n",
        ),
    ];
    for (words, line) in table {
        let outcome = Skd::new(&words).outcome();
        assert_eq!(outcome.stderr, line, "{words}");
    }
    // It says nothing to a program that skd becomes.
    let outcome = Skd::new(&format!("{JSON} {} report", probe())).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
}
