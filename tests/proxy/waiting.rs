//! PROXY headers that are waited for: how long, how many, and what that costs the others.

use super::{LINE, V4, and_hears, echoing, is_dropped, says, v2, waits_for_headers};
use crate::kit::net::{Client, seqpacket, tcp_from_loopback};
use crate::kit::skd::Skd;
use crate::kit::{Folder, eventually, need, probe};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn who_leaves_before_the_header_is_whole_leaves_nothing_behind() {
    let mut skd = echoing("--proxy-timeout 600");
    let port = skd.port();
    let descriptors = skd.descriptors();
    for len in 0..LINE.len() {
        let stream = says(port, &LINE[..len]);
        if len % 2 == 0 {
            stream.shutdown(Shutdown::Write).unwrap();
            is_dropped(stream);
        }
    }
    skd.waits_for_nth("info: deny ", LINE.len());
    assert_eq!(skd.descriptors(), descriptors);
    assert!(skd.status().starts_with("0 accepted 0 "));
    skd.stop();
}

/// However they spend it; whoever else comes is served meanwhile.
#[test]
fn who_is_slow_has_the_time_out_for_all_of_the_header() {
    let mut skd = echoing("--proxy-timeout 1");
    let port = skd.port();
    let begun = Instant::now();
    let slow = [
        b"".as_slice(),
        b"PROXY TCP4 192.",
        &v2(0x21, 0x11, V4)[..20],
    ];
    let slow = slow.map(|part| says(port, part));
    let mut drips = says(port, b"PROXY UNKNOWN ");
    drips
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    for _ in 0..20 {
        assert_eq!(
            and_hears(says(port, LINE), b"hello"),
            "TCP 192.0.2.7 127.0.0.1\nhello"
        );
        let mut client = Client::of_tcp(tcp_from_loopback(2, port));
        assert_eq!(client.hears_line(), "TCP 127.0.0.2 none");
    }
    // One byte each time that it hears nothing.
    while drips.write_all(b"x").is_ok() {
        let is_over = match drips.read(&mut [0]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        if is_over {
            break;
        }
    }
    slow.into_iter().for_each(is_dropped);
    assert!(begun.elapsed() >= Duration::from_millis(950));
    for number in 1..=4 {
        let line = skd.waits_for_nth("info: deny ", number);
        assert!(line.ends_with(" no PROXY header in time"), "{line}");
    }
    skd.stop();
}

/// Those beyond are dropped; a place that becomes free is given to the next.
#[test]
fn at_most_1024_headers_are_waited_for() {
    if !need::program("prlimit") {
        return;
    }
    let mut skd = echoing("--proxy-timeout 600");
    let port = skd.port();
    let mut crowd = Command::new("prlimit")
        .args([
            "--nofile=1200:1200",
            &probe(),
            "crowd",
            "1034",
            &format!("127.0.0.1:{port}"),
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let line = skd.waits_for_nth("info: deny ", 10);
    assert!(
        line.ends_with(" too many PROXY headers to wait for"),
        "{line}"
    );
    assert_eq!(skd.status(), "0 accepted 0 denied 10 failed 0");
    // From elsewhere one is served as ever.
    let mut client = Client::of_tcp(tcp_from_loopback(2, port));
    assert_eq!(client.hears_line(), "TCP 127.0.0.2 none");
    drop(crowd.stdin.take());
    assert!(crowd.wait().unwrap().success());
    skd.waits_for_nth("info: deny ", 1034);
    assert_eq!(
        and_hears(says(port, LINE), b"x"),
        "TCP 192.0.2.7 127.0.0.1\nx"
    );
    skd.stop();
}

#[test]
fn headers_that_are_waited_for_count_towards_the_limit() {
    let mut skd = echoing("-c 2 --proxy-timeout 600");
    let port = skd.port();
    let before = skd.descriptors();
    let [first, second] = [(); 2].map(|()| says(port, b""));
    waits_for_headers(&skd, before, 2);
    let third = says(port, LINE);
    // By the second answer whoever had come at the first would have been taken.
    skd.status();
    assert_eq!(skd.status(), "0/2 accepted 0 denied 0 failed 0");
    drop(first);
    assert_eq!(and_hears(third, b""), "TCP 192.0.2.7 127.0.0.1\n");
    assert_eq!(and_hears(second, LINE), "TCP 192.0.2.7 127.0.0.1\n");
    skd.is_alone();
    skd.stop();
}

/// There are fewer processes at the ready than that.
#[test]
fn headers_that_become_whole_together_all_find_a_process() {
    let mut skd = echoing("--proxy-timeout 600");
    let (port, before) = (skd.port(), skd.descriptors());
    let mut streams = [(); 40].map(|()| says(port, &LINE[..20]));
    waits_for_headers(&skd, before, streams.len());
    skd.while_stopped(|| {
        for stream in &mut streams {
            stream.write_all(&LINE[20..]).unwrap();
        }
    });
    for stream in streams {
        assert_eq!(and_hears(stream, b"x"), "TCP 192.0.2.7 127.0.0.1\nx");
    }
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 40 denied 0 failed 0");
    skd.stop();
}

/// It was in time, whatever skd was doing.
#[test]
fn a_header_that_has_come_while_skd_was_stopped_is_read() {
    let mut skd = echoing("--proxy-timeout 3");
    let (port, before) = (skd.port(), skd.descriptors());
    let mut stream = says(port, &LINE[..20]);
    waits_for_headers(&skd, before, 1);
    // The turn in which it came is over.
    skd.status();
    skd.status();
    skd.while_stopped(|| {
        stream.write_all(&LINE[20..]).unwrap();
        // Until it would be too late.
        Command::new("sleep").arg("3.1").status().unwrap();
    });
    assert_eq!(and_hears(stream, b"x"), "TCP 192.0.2.7 127.0.0.1\nx");
    skd.stop();
}

/// Somebody is there until then.
#[test]
fn while_a_header_is_waited_for_skd_is_not_idle() {
    let mut skd = echoing("--idle-exit 1 --proxy-timeout 3");
    let stream = says(skd.port(), b"PROXY ");
    let line = skd.waits_for("info: deny ");
    assert!(line.ends_with(" no PROXY header in time"), "{line}");
    is_dropped(stream);
    assert_eq!(skd.ends().code, 0);
}

#[test]
fn headers_that_are_waited_for_keep_nobody_from_ending() {
    for options in ["", "--drain 600"] {
        let mut skd = echoing(&format!("--proxy-timeout 600 {options}"));
        let (port, before) = (skd.port(), skd.descriptors());
        let stream = says(port, b"PROXY ");
        waits_for_headers(&skd, before, 1);
        skd.signal(Signal::SIGTERM);
        assert_eq!(skd.ends().code, 0, "{options}");
        is_dropped(stream);
    }
}

/// Whoever was first and says nothing, those behind it leave nothing behind.
#[test]
fn headers_that_have_come_take_no_room_while_another_is_waited_for() {
    const BATCH: usize = 200;
    let words =
        "-1 --proxy-from 127.0.0.1 --proxy-timeout 3600 --deny 192.0.2.7 -t 127.0.0.1:0 true";
    let mut skd = Skd::new(words).spawn();
    let port = skd.port();
    let before = skd.descriptors();
    let _silent = says(port, b"");
    waits_for_headers(&skd, before, 1);
    let mut memory = Vec::new();
    for _ in 0..60 {
        let streams = [(); BATCH].map(|()| says(port, b"PROXY "));
        waits_for_headers(&skd, before + 1, BATCH);
        for mut stream in streams {
            stream.write_all(&LINE[6..]).unwrap();
            is_dropped(stream);
        }
        let kb = skd.field("RssAnon").trim_end_matches(" kB").parse::<u64>();
        memory.push(kb.unwrap());
    }
    let (early, late) = (memory[9], memory[59]);
    assert!(late < early + 128, "{memory:?}");
    skd.stop();
}

/// No more are taken out of the backlog than may be let in.
#[test]
fn headers_that_are_waited_for_count_towards_the_rate() {
    let mut skd = echoing("--rate 2/86400 --proxy-timeout 600");
    let (port, before) = (skd.port(), skd.descriptors());
    let waiting = [(); 2].map(|()| says(port, b""));
    let third = says(port, LINE);
    waits_for_headers(&skd, before, 2);
    skd.status();
    skd.comes_to_have(before + 2);
    // Whoever does not say who he is takes nothing.
    let [first, second] = waiting;
    drop(first);
    assert_eq!(and_hears(third, b""), "TCP 192.0.2.7 127.0.0.1\n");
    assert_eq!(and_hears(second, LINE), "TCP 192.0.2.7 127.0.0.1\n");
    // That was all for today.
    let _fourth = says(port, LINE);
    skd.is_alone();
    skd.status();
    assert_eq!(skd.status(), "0 accepted 2 denied 1 failed 0");
    skd.stop();
}

/// Of a record that is longer than what is taken of it the rest is lost, so that the header has to be one by itself.
#[test]
fn in_a_record_there_is_the_header_alone() {
    let folder = Folder::new();
    let path = folder.path("served");
    let words = format!("-v --proxy-from unix --seqpacket -l {path} cat");
    let mut skd = Skd::new(&words).start();
    skd.waits_for("info: listen ");
    let line = std::str::from_utf8(LINE).unwrap();
    let mut client = seqpacket(&path);
    client.says(line).says("hello");
    assert_eq!(client.hears_message(), "hello");
    drop(client);
    let mut client = seqpacket(&path);
    client.says(&format!("{line}hello"));
    let line = skd.waits_for("info: deny ");
    assert!(
        line.ends_with(" more than the PROXY header in one record"),
        "{line}"
    );
    skd.stop();
}

/// TERM works even if it was ignored or blocked when skd was started, and PROG finds every signal as it should be.
#[test]
fn a_connected_socket_whose_header_is_waited_for_can_be_told_to_end() {
    let signals = "TERM,INT,QUIT";
    for (signal, speaks) in [
        (Signal::SIGTERM, false),
        (Signal::SIGINT, false),
        (Signal::SIGQUIT, false),
        (Signal::SIGTERM, true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = tcp_from_loopback(1, listener.local_addr().unwrap().port());
        let (conn, _) = listener.accept().unwrap();
        let words = "-v -0 --proxy-from 127.0.0.1 --proxy-timeout 600";
        let skd = Skd::new(words).word(probe()).word("report");
        let under = format!("env --ignore-signal={signals} --block-signal={signals}");
        let skd = skd.under(&under).descriptor(0, conn).spawn();
        if speaks {
            client.write_all(LINE).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let report = Client::of_tcp(client).hears_rest();
            // The probe's own runtime ignores PIPE.
            for line in ["SigBlk 0000000000000000", "SigIgn 0000000000001000"] {
                assert!(report.contains(line), "{report}");
            }
        } else {
            client.write_all(b"PROXY ").unwrap();
            eventually("a handler", || {
                let caught = u64::from_str_radix(&skd.field("SigCgt"), 16).unwrap();
                (caught & 1 << (signal as i32 - 1) != 0).then_some(())
            });
            skd.signal(signal);
            is_dropped(client);
        }
        assert_eq!(skd.ends().code, 0, "{signal}");
    }
}
