//! Words from outside that would break an object.

use super::{JSON, object, objects};
use crate::kit::net::{Client, in_own_network, inside, tcp_from, unix_datagram};
use crate::kit::skd::Skd;
use crate::kit::{Folder, need};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;

/// Quotes, escapes, a forged member, an end of the line, colours, a reversal, bytes that are no UTF-8, and UTF-8.
const EVIL: &[u8] =
    b"a\",\"x\":\\\"\n\x1b[2J\\u0041\xff\xc3\xe2\x80\xae\xc3\xa9\xf0\x9d\x84\x9e\x7f\\";
const CLEAN: &str = "a\",\"x\":\\\"??[2J\\u0041???\u{e9}\u{1d11e}?\\";

fn evil() -> OsString {
    OsString::from_vec(EVIL.to_vec())
}

#[test]
fn words_of_the_command_line_are_read_back_as_the_text_has_them() {
    let prog = Skd::new(&format!("{JSON} -t 127.0.0.1:0"))
        .word(evil())
        .outcome();
    let text = format!("unable to run \"{CLEAN}\": No such file or directory");
    assert_eq!(objects(&prog.stderr)[0]["message"], text);
    let mut unknown = OsString::from("--");
    unknown.push(evil());
    let option = Skd::new(JSON).word(unknown.clone()).outcome();
    let plain = Skd::new("").word(unknown).outcome();
    let text = plain
        .stderr
        .strip_prefix("skd: usage: ")
        .unwrap()
        .trim_end();
    assert_eq!(objects(&option.stderr)[0]["message"], text);
    let variable = Skd::new(&format!("{JSON} cat"))
        .env("LISTEN_FDS", evil())
        .outcome();
    let text = format!("LISTEN_FDS is \"{CLEAN}\", a whole number from 1 to 4096 expected");
    assert_eq!(objects(&variable.stderr)[0]["message"], text);
    // 100 characters of four bytes, or of two with their escape.
    for word in ["\u{1d11e}".repeat(300), "\"".repeat(300)] {
        let prog = Skd::new(&format!("{JSON} -t 127.0.0.1:0"))
            .word(&word)
            .outcome();
        let cut: String = word.chars().take(100).collect();
        let message = objects(&prog.stderr)[0]["message"].clone();
        let begin = format!("unable to run \"{cut}\": ");
        assert!(message.as_str().unwrap().starts_with(&begin), "{message}");
    }
}

#[test]
fn a_path_is_read_back_as_the_text_has_it() {
    let folder = Folder::new();
    let mut path = OsString::from(folder.path(""));
    path.push(evil());
    let skd = Skd::new(&format!("-v {JSON} -l")).word(&path).word("true");
    let mut skd = skd.start();
    let mut stream = UnixStream::connect(&path).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    skd.waits_for("end ");
    let objects = objects(&skd.stop().stderr);
    let listener = format!("unix:{}{CLEAN}", folder.path(""));
    for (object, event) in objects.iter().zip(["listen", "accept", "end"]) {
        assert_eq!(
            (&object["event"], &object["listener"]),
            (&event.into(), &listener.as_str().into())
        );
        let begin = format!("{event} {listener}");
        assert!(
            object["message"].as_str().unwrap().starts_with(&begin),
            "{object}"
        );
    }
}

/// The name of a datagram's sender is whatever the sender has bound.
#[test]
fn a_peer_is_read_back_as_the_text_has_it() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut skd = Skd::new(&format!("-v {JSON} -dl {path} sh -c"))
        .word("read -r line")
        .start();
    let name = folder.path("a\",\"rule\":\"\\\n\u{e9}");
    unix_datagram(&name).send_to(b"\n", &path).unwrap();
    let object = object(&skd.waits_for("datagram "));
    let shown = folder.path("a\",\"rule\":\"\\?\u{e9}");
    assert_eq!(object["peer"], shown);
    assert_eq!(object.get("rule"), None);
    let text = format!("datagram unix:{path} {shown} pid {}", object["pid"]);
    assert_eq!(object["message"], text);
    skd.stop();
}

/// A rule for the user that the ident server of the peer names.
#[test]
fn a_rule_is_read_back_as_the_text_has_it() {
    if !need::own_network() {
        return;
    }
    let folder = Folder::new();
    let rules = folder.path("rules");
    std::fs::write(&rules, "a\"b\\ \"@10.77.0.2:deny\n:allow\n").unwrap();
    let skd = Skd::new(&format!("-v {JSON} --ident --rules {rules} -t 7000 cat"));
    let mut skd = in_own_network(skd, &folder, &["10.77.0.1", "10.77.0.2"]).start();
    let pid = skd.pid().to_string();
    let ident = inside(&pid, || TcpListener::bind("10.77.0.2:113").unwrap());
    let to: SocketAddr = "10.77.0.1:7000".parse().unwrap();
    let stream = inside(&pid, || tcp_from("10.77.0.2".parse().unwrap(), to));
    let own = stream.local_addr().unwrap();
    let (mut asker, _) = ident.accept().unwrap();
    let answer = format!("{},7000:USERID:UNIX:a\"b\\ \"\r\n", own.port());
    asker.write_all(answer.as_bytes()).unwrap();
    assert_eq!(Client::of_tcp(stream).hears_rest(), "");
    let object = object(&skd.waits_for("deny "));
    let (rule, listener) = ("a\"b\\ \"@10.77.0.2:deny", "tcp:[::]:7000");
    assert_eq!(
        (&object["rule"], &object["listener"]),
        (&rule.into(), &listener.into())
    );
    assert_eq!(
        object["message"],
        format!("deny {listener} {own} rule {rule}")
    );
    skd.stop();
}

/// Lines are lost whole.
#[test]
fn a_pipe_that_nobody_reads_holds_whole_objects() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let skd = Skd::new(&format!("-1 -v {JSON} -t 127.0.0.1:0 echo served"));
    let mut skd = skd.descriptor(2, writer).spawn();
    let port = skd.port();
    let serve = || assert_eq!(Client::tcp(port).hears_rest(), "served\n");
    (0..50).for_each(|_| serve());
    skd.is_alone();
    let mut text = vec![0; 65536];
    let len = reader.read(&mut text).unwrap();
    let early = objects(std::str::from_utf8(&text[..len]).unwrap());
    assert!((5..100).contains(&early.len()), "{early:#?}");
    serve();
    skd.is_alone();
    skd.stop();
    let mut later = String::new();
    reader.read_to_string(&mut later).unwrap();
    let later = objects(&later);
    let message = later[0]["message"].as_str().unwrap();
    assert!(
        message.ends_with(" lines could not be written"),
        "{later:#?}"
    );
    assert_eq!(later[0]["level"], "warning");
    assert_eq!(later.last().unwrap()["event"], "end");
}
