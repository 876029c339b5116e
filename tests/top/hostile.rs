//! What answers is no skd, or one whose names are meant to harm.

use super::{SIZE, fails, has_ended, row, top, top_once, watching};
use crate::kit::net::{fill_backlog, seqpacket_listener};
use crate::kit::skd::Skd;
use crate::kit::{Folder, need};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// Answers everybody so, in pieces with a pause behind each; returns the port. It goes on until the tests end.
fn answers(pieces: &[&[u8]], pause: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, pieces) = (stream.unwrap(), pieces.clone());
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                for piece in pieces {
                    if stream.write_all(&piece).is_err() {
                        return;
                    }
                    std::thread::sleep(pause);
                }
            });
        }
    });
    port
}

fn page(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn names_cannot_speak_to_the_terminal() {
    if !need::program("tmux") {
        return;
    }
    let evil = "a\x1b]0;owned\x07\x1b[2J\u{9b}31m\\nb\r\u{202e}c";
    let body = format!(
        "skd_info{{version=\"2\x1b[5m\"}} 1\n\
         skd_accepted_total{{listener=\"{evil}\"}} 7\n\
         skd_accepted_total{{listener=\"q\\\"b\\\\n\"}} 8\n\
         skd_accepted_total{{listener=\"\u{65e5}\u{672c}\"}} 1e300\n"
    );
    let port = answers(&[&page(&body)], Duration::ZERO);
    let tmux = watching(&format!("127.0.0.1:{port}"), SIZE);
    // The last of what differs from an empty screen, so that all of it is there.
    let screen = tmux.shows_text("lots");
    assert!(screen[0].starts_with("skd 2?[5m at "), "{screen:#?}");
    assert_eq!(row(&screen, "a?]0;owned??[2J?31m?b??c ")[0][2], "7");
    assert_eq!(row(&screen, "q\"b\\n ")[0][2], "8");
    assert_eq!(row(&screen, "\u{65e5}\u{672c} ")[0][2], "lots");
    let title = tmux.does(&["display", "-p", "#{pane_title}"]);
    assert!(!title.contains("owned"), "{title}");
    tmux.types("q");
    has_ended(&tmux);
    let printed = top(&[&format!("127.0.0.1:{port}")]);
    let is_harmless = |c: char| c == '\n' || !c.is_control();
    assert!(printed.code == 0 && printed.stdout.chars().all(is_harmless));
}

/// A real listener whose file has an odd name.
#[test]
fn odd_names_of_real_listeners_are_shown_as_they_are() {
    let folder = Folder::new();
    let path = folder.path("a \"b\" \\n \u{e9}");
    let skd = Skd::new("-v --metrics 127.0.0.1:0 -t 127.0.0.1:0 -l").word(path.clone());
    let mut skd = skd.word("cat").start();
    let (_, metrics) = (skd.port(), skd.port());
    let printed = top(&[&format!("127.0.0.1:{metrics}")]);
    assert!(
        printed.stdout.contains(&format!("\nunix:{path} ")),
        "{printed:#?}"
    );
    skd.stop();
}

#[test]
fn whoever_is_no_skd_is_named_with_the_reason() {
    let none = Duration::ZERO;
    let whole = page("skd_info 1\n");
    let cut = &whole[..whole.len() - 1];
    for (answer, reason) in [
        (&b""[..], "the connection was closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200", "the answer is cut off"),
        (cut, "the answer is cut off"),
        (
            b"HTTP/1.1 404 Not\x1b[2J Found\r\n\r\n",
            "the answer is no HTTP",
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        (
            &page("go_info 1\n\x1b[2J"),
            "the answer holds no metrics of skd",
        ),
        (&page(""), "the answer holds no metrics of skd"),
    ] {
        let place = format!("127.0.0.1:{}", answers(&[answer], none));
        let line = format!("fatal: unable to ask skd at {place}: {reason}");
        fails(&[&place], 111, &line);
    }
    // A place where nobody is, and some that are none for it.
    let folder = Folder::new();
    let (path, packets) = (folder.path("none"), folder.path("packets"));
    let unable = |place: &str, reason: &str| {
        let line = format!("fatal: unable to ask skd at {place}: {reason}");
        fails(&[place], 111, &line);
    };
    unable(&path, "No such file or directory");
    let _listener = seqpacket_listener(&packets);
    unable(&packets, "Protocol wrong type for socket");
    unable("[::1%none]:1", "there is no interface none");
    unable(
        "127.0.0.1:no-such-service",
        "there is no tcp service no-such-service",
    );
}

/// Neither the silent nor the slow nor the endless hold it up.
#[test]
fn nobody_is_waited_for_longer_than_a_second() {
    let late = "no whole answer within 1 s";
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    let drops: Vec<&[u8]> = std::iter::once(&head[..]).chain([&b"a"[..]; 100]).collect();
    let flood = vec![b'a'; 1 << 20];
    let flood: Vec<&[u8]> = std::iter::once(&head[..])
        .chain([&flood[..]; 100])
        .collect();
    let long = Duration::from_secs(60);
    for (pieces, pause, reasons) in [
        (&[&head[..]][..], long, [late, late]),
        (&drops, Duration::from_millis(100), [late, late]),
        (
            &flood,
            Duration::ZERO,
            ["the answer has more than 32 MiB", late],
        ),
    ] {
        let place = format!("127.0.0.1:{}", answers(pieces, pause));
        let said = top_once(&[&place]);
        let lines =
            reasons.map(|it| format!("skd-top: fatal: unable to ask skd at {place}: {it}\n"));
        assert!(
            said.code == 111 && lines.contains(&said.stderr),
            "{said:#?}"
        );
    }
    // Who never accepts: connect(2) itself would wait.
    let folder = Folder::new();
    let path = folder.path("full");
    let _listener = UnixListener::bind(&path).unwrap();
    let _clients = fill_backlog(&path);
    let line = format!("fatal: unable to ask skd at {path}: Resource temporarily unavailable");
    fails(&[&path], 111, &line);
}

#[test]
fn keys_are_heard_while_nobody_answers() {
    if !need::program("tmux") {
        return;
    }
    let port = answers(&[b"HTTP/1.1 200 OK\r\n\r\n"], Duration::from_secs(60));
    let tmux = watching(&format!("127.0.0.1:{port}"), SIZE);
    tmux.shows_text("asking skd at 127.0.0.1");
    tmux.shows_text("does not answer: no whole answer within 1 s; waiting");
    tmux.types("q");
    has_ended(&tmux);
}

/// It may be another one, which has counted more already than the one before.
#[test]
fn what_comes_back_is_not_compared_with_what_was_there() {
    if !need::program("tmux") {
        return;
    }
    let told = |count| {
        page(&format!(
            "skd_info 1\nskd_accepted_total{{listener=\"a\"}} {count}\n"
        ))
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let first = [told(5), Vec::new()].into_iter();
        let answers = first.chain(std::iter::repeat_with(|| told(500)));
        for (stream, answer) in listener.incoming().zip(answers) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&answer);
        }
    });
    let tmux = watching(&format!("127.0.0.1:{port}"), SIZE);
    let is_back = |screen: &[String]| {
        screen.iter().any(|line| line.starts_with("a ")) && row(screen, "a ")[0][2] == "500"
    };
    let screen = tmux.shows("the other one", is_back);
    let rate = row(&screen, "a ")[0][1];
    assert!(rate == "-/s" || rate == "0.0/s", "{rate}");
    tmux.types("q");
    has_ended(&tmux);
}
