//! What is looked at for a row of the table: a launcher is tried, and what it did is told in a word or two.

use super::{Launcher, Life, Place, READY, Visit, fate, rows};
use crate::kit::eventually;
use crate::kit::net::{hear_udp, udp};
use crate::kit::skd::{BINARY, field};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.into()
}

/// What a client from this address is told, and the client.
fn told(launcher: &Launcher, last: u8) -> (String, Visit) {
    let mut visit = launcher.client(last).unwrap();
    let heard = visit.hears();
    assert!(heard.ends_with(READY), "{heard}");
    (heard, visit)
}

pub(super) fn serves(launcher: &Launcher) -> String {
    told(launcher, 1);
    "yes".into()
}

pub(super) fn has_two_addresses(launcher: &Launcher) -> String {
    let pid = launcher.pid();
    eventually("two ports", || {
        let rows = [rows(&pid, "tcp", "0A"), rows(&pid, "tcp6", "0A")].concat();
        let has = |port: &&str| rows.iter().any(|row| row[1].ends_with(*port));
        ["1B58", "1B59"].iter().all(has).then_some(())
    });
    "yes".into()
}

pub(super) fn has_both_families(launcher: &Launcher) -> String {
    told(launcher, 1);
    let pid = launcher.pid();
    let count = rows(&pid, "tcp", "0A").len() + rows(&pid, "tcp6", "0A").len();
    match (launcher.serves_ipv6(), count) {
        (true, 1) => "yes".into(),
        (true, _) => "two".into(),
        _ => "no".into(),
    }
}

pub(super) fn answers_datagrams(launcher: &Launcher) -> String {
    let Place::Udp(port) = launcher.place else {
        panic!("{:?}", launcher.place);
    };
    let client = launcher.inside(|| udp(port));
    client.send(b"hello").unwrap();
    yes(hear_udp(&client) == "hello")
}

/// The variables that hold the client's address, or what there is of it on a unix socket.
pub(super) fn names_the_client(launcher: &Launcher) -> String {
    let (heard, _visit) = told(launcher, 3);
    let name = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let is_address = matches!(value, "127.0.0.3" | "::ffff:127.0.0.3");
        (is_address || name.ends_with("REMOTEEUID")).then(|| format!("`{name}`"))
    };
    let names: Vec<_> = heard.lines().filter_map(name).collect();
    if names.is_empty() {
        "no".into()
    } else {
        names.join(" ")
    }
}

pub(super) fn forgets_others(launcher: &Launcher) -> String {
    let (heard, _visit) = told(launcher, 1);
    let is_unix = matches!(launcher.place, Place::Unix(_));
    let variable = if is_unix {
        "IPCREMOTEPATH"
    } else {
        "TCPREMOTEHOST"
    };
    if heard.contains(&format!("{variable}=a.liar")) {
        "stays"
    } else {
        "unset"
    }
    .into()
}

/// What the line that begins so goes on with.
fn fact<'a>(heard: &'a str, word: &str) -> &'a str {
    let mut lines = heard.lines();
    lines.find_map(|line| line.strip_prefix(word)).unwrap()
}

pub(super) fn is_the_connection(launcher: &Launcher) -> String {
    let (heard, _visit) = told(launcher, 1);
    let stdin = fact(&heard, "stdin ");
    let inode = stdin.trim_start_matches("socket:[").trim_end_matches(']');
    let pid = launcher.pid();
    let tcp = ["tcp", "tcp6"].map(|name| rows(&pid, name, "01")).concat();
    let unix = rows(&pid, "unix", "00000000");
    let is_tcp = tcp.iter().any(|row| row[9] == inode);
    // It has the listener's path; a pair of sockets has none.
    let is_unix = unix.iter().any(|row| row.len() > 7 && row[6] == inode);
    if is_tcp || is_unix {
        "connection"
    } else {
        "a relay"
    }
    .into()
}

pub(super) fn hears_stderr(launcher: &Launcher) -> String {
    let (heard, _visit) = told(launcher, 1);
    let is_one = fact(&heard, "stdin ") == fact(&heard, "stderr ");
    if is_one { "client" } else { "log" }.into()
}

pub(super) fn has_open(launcher: &Launcher) -> String {
    let (heard, _visit) = told(launcher, 1);
    let fds = heard.lines().filter_map(|line| line.strip_prefix("fd "));
    let number = |fd: &str| {
        let (number, rest) = fd.split_once(' ').unwrap();
        // What whoever runs this test has left open is not the launcher's.
        let ours = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        let is_ours = rest.starts_with(&*ours.to_string_lossy()) && !ours.as_os_str().is_empty();
        (!is_ours && !["0", "1", "2"].contains(&number)).then(|| number.to_owned())
    };
    let others: Vec<_> = fds.filter_map(number).collect();
    match others.iter().filter(|it| *it != "7").count() {
        _ if others.is_empty() => "none".into(),
        0 => "7".into(),
        _ => "7 and its own".into(),
    }
}

pub(super) fn ignores(launcher: &Launcher) -> String {
    let (heard, _visit) = told(launcher, 1);
    let bits = u64::from_str_radix(fact(&heard, "SigIgn:").trim(), 16).unwrap();
    let of = [(1, "HUP"), (10, "USR1"), (13, "PIPE")];
    let names = of
        .iter()
        .filter(|(number, _)| bits >> (number - 1) & 1 == 1);
    let names: Vec<_> = names.map(|(_, name)| *name).collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(" ")
    }
}

/// As whom, and with which groups beyond that user's own.
pub(super) fn becomes_nobody(launcher: &Launcher) -> String {
    let (heard, _visit) = told(launcher, 1);
    match (fact(&heard, "ids "), fact(&heard, "groups ")) {
        ("65534 65534", "65534") => "yes".into(),
        ("65534 65534", _) => "in root's groups".into(),
        _ => "no".into(),
    }
}

pub(super) fn is_alone_in_its_cgroup(launcher: &Launcher) -> String {
    let ((first, _one), (second, _two)) = (told(launcher, 1), told(launcher, 1));
    yes(fact(&first, "cgroup ") != fact(&second, "cgroup "))
}

pub(super) fn limits_all(launcher: &Launcher) -> String {
    let all = [told(launcher, 1).1, told(launcher, 2).1];
    fate(launcher, all.into(), 3)
}

pub(super) fn limits_sources(launcher: &Launcher) -> String {
    let mut all = vec![told(launcher, 1).1, told(launcher, 1).1];
    if !matches!(launcher.place, Place::Unix(_)) {
        all.push(told(launcher, 2).1);
    }
    match fate(launcher, all, 1).as_str() {
        "hears \"busy\"" => "a word".into(),
        other => other.into(),
    }
}

/// What becomes of those who come faster than they may. Who has heard nothing for seconds waits: nobody is as slow.
pub(super) fn limits_rate(launcher: &Launcher) -> String {
    let come = (0..6).filter_map(|_| launcher.client(1));
    for mut visit in come.collect::<Vec<_>>() {
        if visit.hears_within(Duration::from_secs(4)).is_none() {
            let is_served = visit.hears().ends_with(READY);
            return if is_served { "waits" } else { "closed" }.into();
        }
    }
    eventually("a closed port", || {
        launcher.client(1).is_none().then_some(())
    });
    "port closed".into()
}

pub(super) fn keeps_out(launcher: &Launcher) -> String {
    told(launcher, 1);
    let heard = launcher.client(66).unwrap().hears();
    yes(heard.is_empty())
}

pub(super) fn hears_of_a_proxy(launcher: &Launcher) -> String {
    let mut visit = launcher.client(1).unwrap();
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 7000\r\n";
    visit.0.write_all(header).unwrap();
    yes(visit.hears().contains("\nTCPREMOTEIP=192.0.2.7\n"))
}

pub(super) fn ends_tls(launcher: &Launcher) -> String {
    launcher.inside(|| {
        let mut client = Command::new("openssl");
        let client = client.args(["s_client", "-quiet", "-connect", "127.0.0.1:7000"]);
        let client = client.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut client = client.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let is_ready = lines.any(|line| line.unwrap() + "\n" == READY);
        client.kill().unwrap();
        client.wait().unwrap();
        yes(is_ready)
    })
}

pub(super) fn tells_its_counts(launcher: &Launcher) -> String {
    let path = launcher.folder.path("metrics.sock");
    let mut stream = eventually("metrics", || UnixStream::connect(&path).ok());
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    yes(heard.contains("\nskd_"))
}

/// By a message to a service manager, or by a line on stdout; systemctl(1) returns when it listens.
pub(super) fn says_it_listens(launcher: &Launcher) -> String {
    let Life::Process(_, manager) = &launcher.life else {
        let rows = rows(&launcher.pid(), "tcp6", "0A");
        return yes(rows.iter().any(|row| row[1].ends_with("1B58")));
    };
    manager.set_nonblocking(true).unwrap();
    let mut message = [0; 4096];
    eventually("a word", || {
        let len = manager.recv(&mut message).unwrap_or(0);
        let is_told = String::from_utf8_lossy(&message[..len]).contains("READY=1");
        let out = std::fs::read_to_string(launcher.folder.path("out")).unwrap();
        (is_told || out.ends_with('\n')).then_some(())
    });
    "yes".into()
}

/// A program that is not there: nobody is served. A launcher that says so at once has not come so far.
pub(super) fn serves_nothing(launcher: &Launcher) -> String {
    if matches!(launcher.place, Place::Tcp(7001)) {
        // The port of its other service.
        return "port closed".into();
    }
    if !Path::new(&format!("/proc/{}/ns/net", launcher.pid())).exists() {
        // It has listened for a moment before it looked.
        return "error at start".into();
    }
    let heard = launcher.client(1).unwrap().hears();
    assert!(heard.is_empty(), "{heard}");
    "client closed".into()
}

/// What becomes of a program that runs when its launcher is stopped in order.
pub(super) fn leaves_programs(launcher: &Launcher) -> String {
    let (_, mut visit) = told(launcher, 1);
    match &launcher.life {
        Life::Process(child, _) => {
            let pid = child.id().cast_signed();
            kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
            // As a zombie it is there until it is waited for.
            eventually("its end", || {
                let state = field(pid, "State").unwrap();
                state.starts_with('Z').then_some(())
            });
        }
        Life::Units(machine) => drop(machine.run("systemctl stop prog.socket")),
    }
    if visit.is_echoed() { "go on" } else { "end" }.into()
}

/// Whether it becomes its successor while it serves somebody.
pub(super) fn is_replaced(launcher: &Launcher) -> String {
    let (_, mut visit) = told(launcher, 1);
    match &launcher.life {
        Life::Process(child, _) => {
            let path = launcher.folder.path("skd");
            let script = "cp \"$1\" \"$2.new\" && mv \"$2.new\" \"$2\"";
            let mut copy = Command::new("sh");
            let copied = copy.args(["-c", script, "sh", BINARY, &path]).status();
            assert!(copied.unwrap().success());
            let pid = child.id().cast_signed();
            kill(Pid::from_raw(pid), Signal::SIGUSR2).unwrap();
            let runs = format!("/proc/{pid}/exe");
            eventually("the copy", || {
                std::fs::read_link(&runs)
                    .is_ok_and(|file| file == Path::new(&path))
                    .then_some(())
            });
        }
        Life::Units(machine) => drop(machine.run("systemctl daemon-reexec")),
    }
    told(launcher, 1);
    yes(visit.is_echoed())
}
