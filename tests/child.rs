//! What a child is given, and what it is never given: descriptors, signals, limits, words, the count of its source.

use crate::kit::net::{Client, tcp_from};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, executable, facts, need, probe};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

/// The probe reports to TCP clients.
fn reporting(options: &str) -> Skd {
    Skd::new(&format!("-v -1t 127.0.0.1:0 {options}"))
        .word(probe())
        .word("report")
}

/// What descriptor `number` of a process is.
fn target(pid: i32, number: i32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
    link.into_os_string().into_string().unwrap()
}

/// skd has many descriptors at its start, several listeners, and a client that stays: none of them is for the child.
#[test]
fn a_child_has_descriptors_0_1_and_2_and_no_others() {
    for (options, is_clients) in [("", false), ("-e", true)] {
        let folder = Folder::new();
        let places = format!("-u 127.0.0.1:0 -l {} --no-adopt", folder.path("sock"));
        let prog = format!("{} report; exec cat", probe());
        let words = format!("-v {options} -1t 127.0.0.1:0 {places} sh -c");
        let mut skd = Skd::new(&words).word(&prog);
        for number in 3..=30 {
            skd = skd.descriptor(number, File::open("/dev/null").unwrap());
        }
        let mut skd = skd.start();
        let port = skd.port();
        let mut stays = Client::tcp(port);
        assert!(stays.hears_line().starts_with("fd 0 socket:["));
        let clients = [Client::tcp(port), Client::unix(&folder.path("sock"))];
        for report in clients.map(Client::hears_all) {
            let fds = facts(&report, "fd");
            let conn = fds[0].split(' ').nth(1).unwrap();
            assert!(conn.starts_with("socket:["), "{report}");
            let stderr = if is_clients {
                conn.to_owned()
            } else {
                target(skd.pid(), 2)
            };
            let table = [
                format!("0 {conn} blocking"),
                format!("1 {conn} blocking"),
                format!("2 {stderr} blocking"),
            ];
            assert_eq!(fds, table, "{options}");
        }
        skd.stop();
    }
}

#[test]
fn connections_of_a_non_blocking_listener_are_blocking() {
    let folder = Folder::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(folder.path("sock")).unwrap();
    tcp.set_nonblocking(true).unwrap();
    unix.set_nonblocking(true).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let mut skd = Skd::new("-v").word(probe()).word("report");
    skd = skd.listen_fds(vec![tcp.into(), unix.into()]);
    let skd = skd.start();
    for client in [Client::tcp(port), Client::unix(&folder.path("sock"))] {
        let report = client.hears_all();
        let fds = facts(&report, "fd");
        assert_eq!(fds.len(), 3, "{report}");
        assert!(fds.iter().all(|fd| fd.ends_with(" blocking")), "{report}");
    }
    skd.stop();
}

#[test]
fn nodelay_holds_for_the_first_connection_too() {
    for (options, nodelay) in [("-n", "1"), ("", "0")] {
        let mut skd = reporting(options).start();
        let port = skd.port();
        for _ in 0..2 {
            assert_eq!(facts(&Client::tcp(port).hears_all(), "nodelay"), [nodelay]);
        }
        skd.stop();
    }
}

#[test]
fn a_child_has_no_signal_blocked_or_ignored_whatever_skd_was_started_with() {
    let folder = Folder::new();
    let trap = folder.script(
        "trap",
        "trap '' HUP INT QUIT USR1 USR2 PIPE ALRM TERM CHLD CONT TTOU WINCH\nexec \"$@\"",
    );
    let deaf = format!("{} deaf", probe());
    // Of ALRM, which skd does not take: whether it is ignored or blocked in skd itself.
    let table = [
        ("env --block-signal --ignore-signal", true, true),
        ("env --block-signal", true, false),
        ("env --ignore-signal", false, true),
        (&trap, false, true),
        (&deaf, false, true),
        ("env", false, false),
    ];
    let alrm = 1u64 << 13;
    for (wrapper, is_blocked, is_ignored) in table {
        let words = "-v -1t 127.0.0.1:0 sed -n /^Sig[BI]/p /proc/self/status";
        let mut skd = Skd::new(words).under(wrapper).start();
        let port = skd.port();
        let has = |name| u64::from_str_radix(&skd.field(name), 16).unwrap() & alrm != 0;
        assert_eq!(
            (has("SigBlk"), has("SigIgn")),
            (is_blocked, is_ignored),
            "{wrapper}"
        );
        for _ in 0..2 {
            let clean = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
            assert_eq!(Client::tcp(port).hears_all(), clean, "{wrapper}");
        }
        skd.is_alone();
        skd.stop();
    }
}

#[test]
fn a_child_has_the_limits_that_skd_was_started_with() {
    if !need::program("prlimit") {
        return;
    }
    let mut skd = Skd::new("-v -1t 127.0.0.1:0 cat /proc/self/limits");
    skd = skd.under("prlimit --nofile=77:99 --core=0:0 --stack=1000000:2000000");
    let mut skd = skd.start();
    let port = skd.port();
    let limits = Client::tcp(port).hears_all();
    // skd itself may have more descriptors, for its reaper.
    let own = fs::read_to_string(format!("/proc/{}/limits", skd.pid())).unwrap();
    let raised = "Max open files            99                   99 ";
    assert!(own.contains(raised), "{own}");
    let before = "Max open files            77                   99 ";
    assert_eq!(limits, own.replace(raised, before));
    let of = |name: &str| {
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let all = ["Max open files", "Max core file size", "Max stack size"].map(of);
    assert_eq!(all, ["77 99", "0 0", "1000000 2000000"]);
    skd.stop();
}

#[test]
fn a_child_has_the_folder_the_umask_and_the_session_of_skd() {
    let folder = Folder::new();
    let home = fs::canonicalize(folder.path("")).unwrap();
    let script = format!("cd {}\numask 027\nexec \"$@\"", home.display());
    let wrapper = format!("setsid -w {}", folder.script("home", &script));
    let mut skd = reporting("").under(&wrapper).spawn();
    skd.waits_for("listen ");
    let port = skd.port();
    let report = Client::tcp(port).hears_all();
    assert_eq!(facts(&report, "cwd"), [home.to_str().unwrap()]);
    assert_eq!(facts(&report, "umask"), ["0027"]);
    let pids: Vec<i32> = facts(&report, "pid")[0]
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    let own = nix::unistd::Pid::from_raw(skd.pid());
    let (group, session) = (
        nix::unistd::getpgid(Some(own)).unwrap(),
        nix::unistd::getsid(Some(own)).unwrap(),
    );
    assert_eq!(
        pids[1..],
        [own, group, session].map(nix::unistd::Pid::as_raw)
    );
    skd.stop();
}

#[test]
fn a_child_has_its_words_as_given() {
    let show = "tr '\\0' '\\n' < /proc/$$/cmdline";
    let words = [
        "-v",
        "-1t",
        "127.0.0.1:0",
        "--",
        "sh",
        "-c",
        show,
        "a b",
        "",
        "-v",
        "--",
        "$HOME",
    ];
    let mut skd = Skd::with_words(words)
        .word(OsString::from_vec(b"\xff\n".into()))
        .start();
    let port = skd.port();
    let heard = Client::tcp(port).hears_all();
    assert_eq!(
        heard,
        format!("sh\n-c\n{show}\na b\n\n-v\n--\n$HOME\n\u{fffd}\n\n")
    );
    skd.stop();
}

/// What is done to the file at a path.
type Change = fn(&str);

/// Folders `one` and `two`, the first with `first` made in it as PROG, the second with a script that says `two`.
fn folders(first: impl FnOnce(&str)) -> Folder {
    let folder = Folder::new();
    for name in ["one", "two"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    first(&folder.path("one/prog"));
    folder.script("two/prog", "echo two");
    folder
}

fn not_executable(path: &str) {
    fs::write(path, "#!/bin/sh\necho one\n").unwrap();
}

#[test]
fn a_program_that_is_not_found_is_fatal() {
    let folder = folders(not_executable);
    let one = folder.path("one");
    let nothing = "No such file or directory";
    let table = [
        (one.clone(), "skd-nonesuch", nothing),
        (String::new(), "skd-nonesuch", nothing),
        (one.clone(), "/nonesuch/prog", nothing),
        (one.clone(), "prog", "Permission denied"),
        (format!("{one}:/nonesuch"), "prog", "Permission denied"),
        (String::new(), &format!("{one}/prog"), "Permission denied"),
        (String::new(), &one, "Permission denied"),
    ];
    for (path, prog, reason) in table {
        let outcome = Skd::new("-vt 127.0.0.1:0")
            .word(prog)
            .env("PATH", &path)
            .outcome();
        let text = format!("skd: fatal: unable to run \"{prog}\": {reason}\n");
        assert_eq!(
            (outcome.code, outcome.stdout, outcome.stderr),
            (111, String::new(), text),
            "{path}"
        );
    }
}

#[test]
fn the_first_program_in_path_that_can_be_executed_is_run() {
    let script = |path: &str| executable(path, "#!/bin/sh\necho one\n");
    let table: [(Change, &str, &str); 8] = [
        (script, "ONE:TWO", "one"),
        (script, "TWO:ONE", "two"),
        (not_executable, "ONE:TWO", "two"),
        (|path| fs::create_dir(path).unwrap(), "ONE:TWO", "two"),
        (
            |path| std::os::unix::fs::symlink("nonesuch", path).unwrap(),
            "ONE:TWO",
            "two",
        ),
        (script, ":TWO", "one"),
        (script, "/nonesuch:", "one"),
        (script, "", "one"),
    ];
    for (first, path, heard) in table {
        let folder = folders(first);
        let [one, two] = ["one", "two"].map(|name| folder.path(name));
        let path = path.replace("ONE", &one).replace("TWO", &two);
        let skd = Skd::new("-v -1t 127.0.0.1:0 prog").env("PATH", &path);
        let mut skd = skd.under(&format!("/usr/bin/env -C {one}")).start();
        let port = skd.port();
        assert_eq!(
            Client::tcp(port).hears_all(),
            format!("{heard}\n"),
            "{path}"
        );
        skd.stop();
    }
    let mut skd = Skd::new("-v -1t 127.0.0.1:0 cat")
        .under("/usr/bin/env -u PATH")
        .start();
    let port = skd.port();
    Client::tcp(port).says("found\n").hears("found\n");
    skd.stop();
}

/// Another program that comes before it in PATH later is not taken, and one that takes its place is.
#[test]
fn a_program_that_is_gone_costs_its_connections_only() {
    let folder = folders(|_| ());
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        folder.path("one"),
        folder.path("two")
    );
    let prog = "echo $TCPCONNNUM";
    folder.script("two/prog", prog);
    let mut skd = Skd::new("-v -1t 127.0.0.1:0 prog")
        .env("PATH", path)
        .start();
    let port = skd.port();
    folder.script("one/prog", "echo one");
    assert_eq!(Client::tcp(port).hears_all(), "1\n");
    let spoil: [(Change, &str); 3] = [
        (
            |path| fs::remove_file(path).unwrap(),
            "No such file or directory",
        ),
        (not_executable, "Permission denied"),
        (
            |path| executable(path, "not a program"),
            "Exec format error",
        ),
    ];
    for (number, (change, reason)) in (1..).zip(spoil) {
        change(&folder.path("two/prog"));
        assert_eq!(Client::tcp(port).hears_all(), "");
        let place = format!("closing the connection of tcp:127.0.0.1:{port}");
        let line = format!("skd: warning: unable to run \"prog\": {reason}, {place}");
        assert_eq!(skd.waits_for_nth("warning", number), line);
        skd.is_alone();
        assert_eq!(
            skd.status(),
            format!("0 accepted {} denied 0 failed {number}", number + 1)
        );
    }
    folder.script("two/prog", prog);
    assert_eq!(Client::tcp(port).hears_all(), "1\n");
    skd.stop();
}

/// Every client hears its number and stays.
fn numbering(options: &str, name: &str) -> Running {
    Skd::new(&format!("-v {options} sh -c"))
        .word(format!("echo ${name}; exec cat"))
        .start()
}

/// Waits until just `count` children are left.
fn has_left(skd: &Running, count: usize) {
    eventually("an end", || (skd.children().len() == count).then_some(()));
}

#[test]
fn connections_of_one_ipv4_address_are_counted_while_they_live() {
    if !need::ipv6() {
        return;
    }
    let mut skd = numbering("-1 -t 127.0.0.1:0 -t 127.0.0.2:0 -t 0", "TCPCONNNUM");
    let ports = [skd.port(), skd.port(), skd.port()];
    let comes = |from: u8, to: u8, port: usize, number: &str| {
        let [from, to] = [from, to].map(|last| Ipv4Addr::new(127, 0, 0, last));
        let mut client = Client::of_tcp(tcp_from(from.into(), (to, ports[port]).into()));
        assert_eq!(client.hears_line(), number, "{from} to {to}");
        client
    };
    let first = comes(1, 1, 0, "1");
    let second = comes(1, 1, 0, "2");
    let other = comes(2, 1, 0, "1");
    let elsewhere = comes(1, 2, 1, "3");
    let mapped = comes(1, 1, 2, "4");
    let other_mapped = comes(2, 1, 2, "2");
    drop(first);
    has_left(&skd, 5);
    let again = comes(1, 1, 0, "4");
    drop((second, other, elsewhere, mapped, again));
    has_left(&skd, 1);
    comes(1, 1, 0, "1");
    comes(2, 1, 0, "2");
    drop(other_mapped);
    skd.is_alone();
    comes(2, 1, 2, "1");
    skd.stop();
}

#[test]
fn connections_of_one_user_are_counted_whatever_process_they_are_from() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let skd = numbering(&format!("--mode 666 -l {path}"), "UNIXCONNNUM");
    let clients = ["1", "2"].map(|number| {
        let mut client = Client::unix(&path);
        assert_eq!(client.hears_line(), number);
        client
    });
    if need::root() && need::program("nc") {
        let mut nc = Command::new("setpriv")
            .args([
                "--reuid=54321",
                "--regid=54321",
                "--clear-groups",
                "nc",
                "-U",
                &path,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(nc.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "1\n");
        nc.kill().unwrap();
        nc.wait().unwrap();
        has_left(&skd, 2);
    }
    let mut third = Client::unix(&path);
    assert_eq!(third.hears_line(), "3");
    drop(clients);
    has_left(&skd, 1);
    assert_eq!(Client::unix(&path).hears_line(), "2");
    drop(third);
    skd.is_alone();
    assert_eq!(Client::unix(&path).hears_line(), "1");
    skd.stop();
}
