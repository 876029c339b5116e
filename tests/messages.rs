//! What skd says: lines, levels, cleaning, limits; a stderr that cannot take them.

use crate::kit::net::{Client, udp, unix_datagram};
use crate::kit::skd::Skd;
use crate::kit::{Folder, eventually};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use std::io::{PipeReader, PipeWriter, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

/// Says its pid, then does what its client says.
const OBEY: &str = "echo $$; read -r order; eval \"$order\"";

/// skd with PROG `sh -c SCRIPT`.
fn serving(words: &str, script: &str) -> Skd {
    Skd::new(words).word("sh").word("-c").word(script)
}

/// A client and the port that it speaks from.
fn tcp(port: u16) -> (Client, u16) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let own = stream.local_addr().unwrap().port();
    (Client::of_tcp(stream), own)
}

/// Everything that was said, with the digits of `secs S.SSS` made zeros.
fn transcript(stderr: &str) -> String {
    let lines = stderr.lines().map(|line| {
        let Some((before, after)) = line.split_once(" secs ") else {
            return format!("{line}\n");
        };
        let (secs, rest) = after.split_once(' ').unwrap_or((after, ""));
        let (whole, thousandths) = secs.split_once('.').unwrap();
        assert!(whole.parse::<u32>().is_ok() && thousandths.len() == 3);
        assert!(thousandths.parse::<u32>().is_ok(), "{line}");
        let space = if rest.is_empty() { "" } else { " " };
        format!("{before} secs 0.000{space}{rest}\n")
    });
    lines.collect()
}

#[test]
fn connections_are_told_line_by_line() {
    for (limit, max) in [("", ""), ("-c 40", "/40")] {
        let mut skd = serving(&format!("-1 -v {limit} -t 127.0.0.1:0"), OBEY).start();
        let port = skd.port();
        let mut wanted = format!("skd: info: listen tcp:127.0.0.1:{port}\n");
        for (order, how) in [
            ("exit 0", "exit 0"),
            ("exit 7", "exit 7"),
            ("kill -KILL $$", "signal KILL"),
            ("kill -TERM $$", "signal TERM"),
            ("kill -37 $$", "signal RTMIN+3"),
            ("kill -64 $$", "signal RTMIN+30"),
        ] {
            let (mut client, own) = tcp(port);
            let pid = client.hears_line();
            client.says(&format!("{order}\n"));
            assert_eq!(client.hears_rest(), "");
            let who = format!("tcp:127.0.0.1:{port} 127.0.0.1:{own} pid {pid}");
            wanted += &format!("skd: info: accept {who} count 1{max}\n");
            wanted += &format!("skd: info: end {who} {how} secs 0.000 count 0{max}\n");
            skd.waits_for(&format!("pid {pid} {how} "));
        }
        let status = format!("0{max} accepted 6 denied 0 failed 0");
        assert_eq!(skd.status(), status);
        wanted += &format!("skd: info: status {status}\n");
        assert_eq!(transcript(&skd.stop().stderr), wanted);
    }
}

#[test]
fn two_connections_count_two() {
    let mut skd = serving("-1 -v -c 2 -t 127.0.0.1:0", OBEY).start();
    let port = skd.port();
    let (mut first, _) = tcp(port);
    first.hears_line();
    let (mut second, _) = tcp(port);
    second.hears_line();
    assert_eq!(first.hears_all() + &second.hears_all(), "");
    skd.waits_for_nth(" end ", 2);
    let stderr = skd.stop().stderr;
    let counts = stderr.lines().filter_map(|line| line.split_once(" count "));
    let counts: Vec<_> = counts.map(|(_, count)| count).collect();
    assert_eq!(counts, ["1/2", "2/2", "1/2", "0/2"]);
}

#[test]
fn unix_peers_are_told_by_their_ids() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut skd = serving(&format!("-v -l {path}"), OBEY).start();
    let mut client = Client::unix(&path);
    let pid = client.hears_line();
    assert_eq!(client.hears_all(), "");
    skd.waits_for(" end ");
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let own = std::process::id();
    let who = format!("unix:{path} uid {uid} gid {gid} peer-pid {own} pid {pid}");
    let wanted = format!(
        "skd: info: listen unix:{path}\nskd: info: accept {who} count 1\n\
         skd: info: end {who} exit 0 secs 0.000 count 0\n"
    );
    assert_eq!(transcript(&skd.stop().stderr), wanted);
}

#[test]
fn datagrams_are_told_line_by_line() {
    let script = "read -r line; echo $$ >&2; exit 3";
    let mut skd = serving("-1 -v -u 127.0.0.1:0", script).start();
    let port = skd.port();
    let client = udp(port);
    client.send(b"\n").unwrap();
    skd.waits_for(" end ");
    let own = client.local_addr().unwrap().port();
    let stderr = transcript(&skd.stop().stderr);
    let numbers = |line: &&str| line.parse::<u32>().is_ok();
    let pid = stderr.lines().find(numbers).unwrap();
    let lines: Vec<_> = stderr.lines().filter(|line| !numbers(line)).collect();
    let label = format!("udp:127.0.0.1:{port}");
    let wanted = [
        format!("skd: info: listen {label}"),
        format!("skd: info: datagram {label} 127.0.0.1:{own} pid {pid}"),
        format!("skd: info: end {label} pid {pid} exit 3 secs 0.000"),
    ];
    assert_eq!(lines, wanted);
}

/// What skd says at this level about one connection and one that finds no program.
fn said_at(level: &str) -> Vec<String> {
    let folder = Folder::new();
    let prog = folder.script("prog", "echo served");
    let mut skd = Skd::new(&format!("-1 {level} -t 127.0.0.1:0 {prog}")).spawn();
    let port = skd.port();
    assert_eq!(Client::tcp(port).hears_rest(), "served\n");
    skd.is_alone();
    std::fs::remove_file(&prog).unwrap();
    assert_eq!(Client::tcp(port).hears_rest(), "");
    skd.is_alone();
    let stderr = skd.stop().stderr;
    let lines = stderr.lines().filter(|line| !line.is_empty());
    let words = |line: &str| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    lines.map(words).collect()
}

#[test]
fn each_level_says_more_than_the_one_before() {
    assert_eq!(said_at("-q"), [""; 0]);
    assert_eq!(said_at(""), ["skd: warning: unable"]);
    let verbose = [
        "skd: info: listen",
        "skd: info: accept",
        "skd: info: end",
        "skd: info: accept",
        "skd: warning: unable",
        "skd: info: end",
    ];
    assert_eq!(said_at("-v"), verbose);
    let most = said_at("-vv");
    assert!(most.len() > verbose.len(), "{most:#?}");
    assert!(verbose.iter().all(|line| most.iter().any(|it| it == line)));
    let fatal = "skd: fatal: unable to run \"/none\": No such file or directory\n";
    for level in ["-q", "-1", "-v"] {
        let outcome = Skd::new(&format!("{level} -t 127.0.0.1:0 /none")).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (111, fatal));
    }
}

/// A pipe, and what JOURNAL_STREAM has to be for it.
fn journal() -> (PipeReader, PipeWriter, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    let stat = fstat(&writer).unwrap();
    (reader, writer, format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// What was written into the pipe, once skd and its children have gone.
fn heard(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

/// The first word of each line that skd writes at `-v`, served by a program that then goes away.
fn first_words(stream: impl Fn(&str) -> String) -> Vec<String> {
    let folder = Folder::new();
    let prog = folder.script("prog", "echo served");
    let (reader, writer, name) = journal();
    let skd = Skd::new(&format!("-1 -v -t 127.0.0.1:0 {prog}"));
    let skd = skd.env("JOURNAL_STREAM", stream(&name));
    let mut skd = skd.descriptor(2, writer).spawn();
    let port = skd.port();
    assert_eq!(Client::tcp(port).hears_rest(), "served\n");
    skd.is_alone();
    std::fs::remove_file(&prog).unwrap();
    assert_eq!(Client::tcp(port).hears_rest(), "");
    skd.is_alone();
    skd.stop();
    let text = heard(reader);
    let words = text.lines().map(|line| line.split(": ").take(2));
    words
        .map(|words| words.collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn the_journal_gets_priorities_and_nobody_else() {
    let with = ["<6>skd info"; 3];
    let more = ["<6>skd info", "<4>skd warning", "<6>skd info"];
    assert_eq!(first_words(str::to_owned), [with, more].concat());
    let with = ["skd info"; 3];
    let more = ["skd info", "skd warning", "skd info"];
    let plain = [with, more].concat();
    assert_eq!(first_words(|name| format!("{name}0")), plain);
    assert_eq!(first_words(|name| format!("1{name}")), plain);
    assert_eq!(first_words(|_| "nonsense".into()), plain);
    assert_eq!(first_words(|_| String::new()), plain);
    for (words, line) in [
        (
            "-t 127.0.0.1:0 /none",
            "<3>skd: fatal: unable to run \"/none\": No such file or directory\n",
        ),
        (
            "--nonsense cat",
            "<3>skd: usage: there is no option \"--nonsense\"; try \"skd --help\"\n",
        ),
    ] {
        let (reader, writer, name) = journal();
        let skd = Skd::new(words).env("JOURNAL_STREAM", name);
        skd.descriptor(2, writer).outcome();
        assert_eq!(heard(reader), line);
    }
}

#[test]
fn words_from_the_command_line_and_the_environment_are_cleaned_and_cut() {
    let (long, cut) = ("\u{e9}".repeat(120), "\u{e9}".repeat(100));
    let evil = "a\nskd:info:b\r\u{1b}[2J\u{9b}c\u{7f}\td";
    let clean = "a?skd:info:b??[2J?c??d";
    for (word, shown) in [(evil, clean), (&long, &cut)] {
        let prog = Skd::new("-t 127.0.0.1:0").word(word).outcome();
        let reason = "No such file or directory";
        let line = format!("skd: fatal: unable to run \"{shown}\": {reason}\n");
        assert_eq!(prog.stderr, line);
        let variable = Skd::new("cat").env("LISTEN_FDS", word).outcome();
        let reason = "a whole number from 1 to 4096 expected";
        let line = format!("skd: fatal: LISTEN_FDS is \"{shown}\", {reason}\n");
        assert_eq!(variable.stderr, line);
        let option = Skd::new("").word(format!("--{word}")).word("cat").outcome();
        let shown: String = format!("--{shown}").chars().take(100).collect();
        let line = format!("skd: usage: there is no option \"{shown}\"; try \"skd --help\"\n");
        assert_eq!(option.stderr, line);
    }
}

/// The name of a datagram's sender is whatever the sender has bound.
#[test]
fn a_peers_name_cannot_forge_a_line() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut skd = serving(&format!("-v -dl {path}"), "read -r line").start();
    let mut send_from = |name: &str, number| {
        let client = unix_datagram(name);
        client.send_to(b"\n", &path).unwrap();
        let line = skd.waits_for_nth("info: datagram ", number);
        let (_, rest) = line.split_once(&format!("datagram unix:{path} ")).unwrap();
        rest.rsplit_once(" pid ").unwrap().0.to_owned()
    };
    let evil = folder.path("a\nskd: info: b\u{1b}[2J");
    assert_eq!(send_from(&evil, 1), folder.path("a?skd: info: b?[2J"));
    let mut name = folder.path("");
    while name.len() < 107 {
        name.push('x');
    }
    assert!(folder.path("").len() < 100);
    assert_eq!(send_from(&name, 2), name[..100]);
    skd.stop();
}

/// Runs a program that has gone, `count` times for a listener.
fn fail(port: u16, count: usize) {
    for _ in 0..count {
        assert_eq!(Client::tcp(port).hears_rest(), "");
    }
}

/// Ten of each, where each is one kind of trouble at one listener; the rest is told when skd stops.
#[test]
fn repeated_warnings_are_limited_and_the_rest_is_counted() {
    let folder = Folder::new();
    let prog = folder.script("prog", "exit");
    let words = format!("-1 -t 127.0.0.1:0 -t 127.0.0.1:0 -t 127.0.0.1:0 {prog}");
    let mut skd = Skd::new(&words).spawn();
    let ports = [skd.port(), skd.port(), skd.port()];
    std::fs::remove_file(&prog).unwrap();
    for (port, count) in ports.into_iter().zip([25, 12, 10]) {
        fail(port, count);
    }
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 47 denied 0 failed 47");
    let stderr = skd.stop().stderr;
    let text = |port: u16| {
        format!(
            "unable to run \"{prog}\": No such file or directory, closing the connection \
             of tcp:127.0.0.1:{port}"
        )
    };
    for (port, left_out) in ports.into_iter().zip([Some(15), Some(2), None]) {
        let warning = format!("skd: warning: {}", text(port));
        let told = stderr.lines().filter(|line| *line == warning);
        assert_eq!(told.count(), 10, "{stderr}");
        let about = |line: &&str| line.contains(&format!(":{port}")) && line.contains("more");
        let more = stderr.lines().find(about);
        let wanted = left_out.map(|n| format!("skd: warning: left out {n} more: {}", text(port)));
        assert_eq!(more.map(str::to_owned), wanted);
    }
    assert_eq!(stderr.lines().count(), 33, "{stderr}");
}

/// 300 connections at `-v` with this as stderr.
fn serves_with_stderr(what: &str, place: impl FnOnce(Skd) -> Skd) {
    let mut skd = place(Skd::new("-1 -v -t 127.0.0.1:0 echo served")).spawn();
    let port = skd.port();
    for _ in 0..300 {
        assert_eq!(Client::tcp(port).hears_rest(), "served\n", "{what}");
    }
    skd.is_alone();
    skd.stop();
}

#[test]
fn a_stderr_that_takes_nothing_does_not_stop_the_service() {
    serves_with_stderr("closed", |skd| skd.closed(2));
    let full = std::fs::File::options().write(true).open("/dev/full");
    serves_with_stderr("/dev/full", |skd| skd.descriptor(2, full.unwrap()));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    serves_with_stderr("a broken pipe", |skd| skd.descriptor(2, writer));
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    serves_with_stderr("a broken socket", |skd| skd.descriptor(2, writer));
    let read_only = std::fs::File::open("/dev/null").unwrap();
    serves_with_stderr("read-only", |skd| skd.descriptor(2, read_only));
}

#[test]
fn a_socket_that_nobody_reads_does_not_stop_the_service() {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    nix::sys::socket::setsockopt(&writer, nix::sys::socket::sockopt::SndBuf, &4096).unwrap();
    serves_with_stderr("a full socket", |skd| skd.descriptor(2, writer));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    has_whole_lines_only(&text);
}

fn has_whole_lines_only(text: &str) {
    assert!(text.ends_with('\n'));
    let lines = transcript(text);
    for line in lines.lines() {
        let is_end = line.contains(" secs 0.000 count ") || !line.contains(" end ");
        let is_lost = line.ends_with(" lines could not be written");
        assert!(
            (line.starts_with("skd: info: ") && is_end) || is_lost,
            "{line:?}"
        );
    }
    assert!((10..300).contains(&lines.lines().count()), "{lines}");
}

/// Lines are lost whole, and later ones come again. The pipe is shared with whoever started skd, who would be
/// surprised by O_NONBLOCK.
#[test]
fn a_pipe_that_nobody_reads_loses_lines_and_never_blocks() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let ours = writer.try_clone().unwrap();
    let skd = Skd::new("-1 -v -t 127.0.0.1:0 echo served");
    let mut skd = skd.descriptor(2, writer).spawn();
    let port = skd.port();
    let is_blocking = || {
        let flags = OFlag::from_bits_retain(fcntl(&ours, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK));
    };
    for _ in 0..300 {
        assert_eq!(Client::tcp(port).hears_rest(), "served\n");
        is_blocking();
    }
    skd.is_alone();
    let mut text = vec![0; 65536];
    let len = reader.read(&mut text).unwrap();
    let text = std::str::from_utf8(&text[..len]).unwrap();
    has_whole_lines_only(text);
    assert!(text.len() <= 4096);
    assert_eq!(Client::tcp(port).hears_rest(), "served\n");
    skd.is_alone();
    skd.stop();
    is_blocking();
    drop(ours);
    let later = heard(reader);
    assert!(
        later.contains(" accept ") && later.contains(" end "),
        "{later}"
    );
}

/// The place of a standard descriptor that was closed is never taken by a socket.
#[test]
fn standard_descriptors_that_are_closed_are_dev_null() {
    let table: [&[i32]; 6] = [&[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 1, 2]];
    for numbers in table {
        let folder = Folder::new();
        let path = folder.path("socket");
        let mut skd = Skd::new(&format!("-l {path} {} report", crate::kit::probe()));
        for number in numbers {
            skd = skd.closed(*number);
        }
        let skd = skd.spawn();
        let stream = eventually("a listener", || UnixStream::connect(&path).ok());
        let report = Client::of_unix(stream).hears_all();
        let fds: Vec<_> = report
            .lines()
            .filter(|line| line.starts_with("fd "))
            .collect();
        assert!(fds[0].starts_with("fd 0 socket:") && fds[1].starts_with("fd 1 socket:"));
        assert!(fds[2].starts_with("fd 2 "), "{fds:?}");
        assert_eq!(fds[2] == "fd 2 /dev/null blocking", numbers.contains(&2));
        for number in numbers {
            let own = std::fs::read_link(format!("/proc/{}/fd/{number}", skd.pid()));
            assert_eq!(own.unwrap().to_str(), Some("/dev/null"), "{numbers:?}");
        }
        skd.stop();
    }
}
