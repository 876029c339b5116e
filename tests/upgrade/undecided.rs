//! Whoever is not let in yet when another skd takes over, and whoever hears that he is not, goes along.

use super::{Copy, upgrade};
use crate::kit::net::{self, Client, tcp_from_loopback};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually};
use crate::limits::with_long_message;
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n";

fn says(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = tcp_from_loopback(1, port);
    stream.set_nodelay(true).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

#[test]
fn headers_that_are_waited_for_go_along_whole_or_torn() {
    let copy = Copy::new();
    let words = "-v -1 -c 20 --proxy-from 127.0.0.1 --proxy-timeout 600 -t 127.0.0.1:0 sh -c";
    let skd = Skd::new(words).word("echo \"$TCPREMOTEIP $TCPLOCALIP $TCPCONNNUM\"; exec cat");
    let mut skd = skd.binary(&copy.path).start();
    let port = skd.port();
    let before = skd.descriptors();
    let cuts = [0, 1, 20, HEADER.len() - 1];
    let streams = cuts.map(|cut| (cut, says(port, &HEADER[..cut])));
    let gone = says(port, b"PROXY");
    let count = cuts.len() + 1;
    eventually("headers that are waited for", || {
        (skd.descriptors() == before + count).then_some(())
    });
    for _ in 0..2 {
        upgrade(&mut skd, &copy);
        assert_eq!(skd.descriptors(), before + count);
        // Whoever comes is served as ever.
        let mut client = Client::of_tcp(tcp_from_loopback(2, port));
        assert_eq!(client.hears_line(), "127.0.0.2 127.0.0.1 1");
    }
    drop(gone);
    let line = skd.waits_for("info: deny ");
    assert!(line.ends_with(" the end before the PROXY header"), "{line}");
    for (cut, mut stream) in streams {
        stream.write_all(&HEADER[cut..]).unwrap();
        let mut client = Client::of_tcp(stream);
        assert_eq!(client.hears_line(), "192.0.2.7 198.51.100.1 1", "{cut}");
        client.says("x").hears("x");
        drop(client);
        skd.is_alone();
    }
    assert_eq!(skd.status(), "0/20 accepted 6 denied 1 failed 0");
    skd.stop();
}

#[test]
fn the_time_for_a_header_is_over_when_it_would_have_been() {
    let copy = Copy::new();
    let words = "-v -1 --proxy-from 127.0.0.1 --proxy-timeout 2 -t 127.0.0.1:0 cat";
    let mut skd = Skd::new(words).binary(&copy.path).start();
    let port = skd.port();
    let before = skd.descriptors();
    let mut stream = says(port, b"PROXY ");
    eventually("a header that is waited for", || {
        (skd.descriptors() == before + 1).then_some(())
    });
    upgrade(&mut skd, &copy);
    let line = skd.waits_for("info: deny ");
    assert!(line.ends_with(" no PROXY header in time"), "{line}");
    let _ = stream.read_to_end(&mut Vec::new());
    skd.stop();
}

/// The client that is served, and one that has begun to hear that there is no room.
fn filled(skd: &mut Running) -> (Client, TcpStream) {
    let (port, pid) = (skd.port(), skd.pid().to_string());
    let connect = || net::inside(&pid, || tcp_from_loopback(1, port));
    let mut first = Client::of_tcp(connect());
    first.hears_line();
    let stream = connect();
    skd.waits_for(" --max-connections 1");
    skd.status();
    (first, stream)
}

#[test]
fn a_good_bye_goes_along_and_arrives_whole() {
    let (folder, copy) = (Folder::new(), Copy::new());
    let Some((skd, message)) = with_long_message(&folder) else {
        return;
    };
    let mut skd = skd.binary(&copy.path).start();
    let (_first, stream) = filled(&mut skd);
    upgrade(&mut skd, &copy);
    let heard = Client::of_tcp(stream).hears_rest();
    assert_eq!((heard.len(), heard == message), (message.len(), true));
    skd.stop();
}

/// Whoever has been promised one is heard out; nobody new comes in meanwhile, and a second signal ends it.
#[test]
fn a_good_bye_arrives_whole_when_skd_is_told_to_stop() {
    for reads in [true, false] {
        let folder = Folder::new();
        let Some((skd, message)) = with_long_message(&folder) else {
            return;
        };
        let mut skd = skd.start();
        let (first, stream) = filled(&mut skd);
        skd.signal(Signal::SIGTERM);
        let sockets = format!("/proc/{}/net/tcp", skd.pid());
        eventually("no listener", || {
            let text = std::fs::read_to_string(&sockets).unwrap();
            // LISTEN of /proc/net/tcp.
            (!text.contains(" 0A ")).then_some(())
        });
        if reads {
            let heard = Client::of_tcp(stream).hears_rest();
            assert_eq!((heard.len(), heard == message), (message.len(), true));
        } else {
            skd.signal(Signal::SIGTERM);
        }
        assert_eq!(skd.ends().code, 0);
        // Children live on.
        assert_eq!(first.hears_all(), "bye\n");
    }
}
