//! Behind a proxy: PROXY headers, good, bad and late, and who is believed. The real one is in tests/proxy/haproxy.rs.

mod haproxy;
mod waiting;

use crate::kit::net::{Client, tcp_from_loopback};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, reporting, told};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

/// A header of version 2.
fn v2(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, kind], &len, rest].concat()
}

/// 192.0.2.7 port 4711 to 198.51.100.1 port 25.
const V4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 25];
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n";

/// A field of such a header.
fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &len[..], value].concat()
}

/// The addresses of unix sockets.
fn unix_ends(remote: &[u8], local: &[u8]) -> Vec<u8> {
    let mut ends = vec![0; 216];
    ends[..remote.len()].copy_from_slice(remote);
    ends[108..108 + local.len()].copy_from_slice(local);
    ends
}

/// skd that says who has come and then sends back what it is told; 127.0.0.1 is a proxy.
fn echoing(options: &str) -> Running {
    let script = "echo \"$PROTO ${TCPREMOTEIP-none} ${PROXYREMOTEIP-none}\"; exec cat";
    let words = format!("-v -1 --proxy-from 127.0.0.1 {options} -t 127.0.0.1:0 sh -c");
    Skd::new(&words).word(script).start()
}

/// A connection on which this is said at once, from 127.0.0.1 as a proxy.
fn says(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = tcp_from_loopback(1, port);
    stream.set_nodelay(true).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Says this too, and no more; what comes until the end.
fn and_hears(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    Client::of_tcp(stream).hears_rest()
}

/// Waits until skd has `count` connections more than `before` descriptors: their headers are waited for then.
fn waits_for_headers(skd: &Running, before: usize, count: usize) {
    eventually("headers that are waited for", || {
        (skd.descriptors() >= before + count).then_some(())
    });
}

/// It is ended without a word; what it has said may be unread.
fn is_dropped(mut stream: TcpStream) {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    assert_eq!(heard, b"");
}

#[test]
fn a_header_torn_at_any_byte_is_taken_whole_and_nothing_behind_it() {
    // What follows is the client's, whatever it looks like.
    const PAYLOAD: &[u8] =
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n\r\n\r\n\0\r\nQUIT\n\x21\x11\0and \xc3\xa9";
    let client = "TCP 192.0.2.7 127.0.0.1\n";
    let own = "TCP 127.0.0.1 127.0.0.1\n";
    let fields = [field(4, b"noop"), field(5, b"id")].concat();
    let ends = unix_ends(b"/remote", b"/local");
    let table = [
        (LINE.to_vec(), client),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), client),
        (b"PROXY UNKNOWN and more\r\n".to_vec(), own),
        (v2(0x21, 0x11, V4), client),
        (v2(0x21, 0x11, &[V4, &fields].concat()), client),
        (v2(0x20, 0, &fields), own),
        (v2(0x21, 0x31, &ends), "UNIX none 127.0.0.1\n"),
    ];
    let mut skd = echoing("--proxy-timeout 600");
    let port = skd.port();
    let expected = |said: &str| said.to_owned() + std::str::from_utf8(PAYLOAD).unwrap();
    for (header, said) in table {
        skd.is_alone();
        let before = skd.descriptors();
        let parts = (0..=header.len()).map(|len| header.split_at(len));
        let torn = parts.map(|(part, rest)| (says(port, part), rest));
        let torn: Vec<_> = torn.collect();
        waits_for_headers(&skd, before, header.len());
        for (stream, rest) in torn {
            let heard = and_hears(stream, &[rest, PAYLOAD].concat());
            assert_eq!(heard, expected(said), "{}", rest.escape_ascii());
        }
        let mut stream = says(port, b"");
        for byte in &header {
            stream.write_all(&[*byte]).unwrap();
        }
        assert_eq!(and_hears(stream, PAYLOAD), expected(said));
    }
    skd.is_alone();
    assert!(skd.status().contains(" denied 0 failed 0"));
    skd.stop();
}

#[test]
fn what_a_header_says_stands_in_every_variable() {
    let tls = [
        &[1 | 2, 0, 0, 0, 0][..],
        &field(0x21, b"TLSv1.3"),
        &field(0x22, b"J\xc3\xb6rg"),
        &field(0x23, b"AES"),
    ];
    let fields = [field(2, b"www.example.org"), field(0x20, &tls.concat())].concat();
    let v6 = [
        &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..],
        &[0; 15],
        &[1, 0, 1, 0, 25],
    ]
    .concat();
    let v4 = "PROTO=TCP PROXY REMOTE_ADDR=192.0.2.7 REMOTE_PORT=4711 TCPCONNNUM=1 TCPLOCALIP=198.51.100.1 \
              TCPLOCALPORT=25 TCPREMOTEIP=192.0.2.7 TCPREMOTEPORT=4711";
    let ipv6 = "PROTO=TCP PROXY REMOTE_ADDR=2001:db8::7 REMOTE_PORT=1 TCP6LOCALIP=::1 TCP6LOCALPORT=25 \
                TCP6REMOTEIP=2001:db8::7 TCP6REMOTEPORT=1 TCPCONNNUM=1 TCPLOCALIP=::1 TCPLOCALPORT=25 \
                TCPREMOTEIP=2001:db8::7 TCPREMOTEPORT=1";
    let own = "PROTO=TCP PROXY REMOTE_ADDR=127.0.0.1 REMOTE_PORT=ITS TCPCONNNUM=1 TCPLOCALIP=127.0.0.1 \
               TCPLOCALPORT=PORT TCPREMOTEIP=127.0.0.1 TCPREMOTEPORT=ITS";
    let ssl = " SSL_CIPHER=AES SSL_CLIENT_CN=J\u{f6}rg SSL_PEER_CERT_CN=J\u{f6}rg SSL_PROTOCOL=TLSv1.3 \
               SSL_TLS_SNI_SERVERNAME=www.example.org";
    let ipv4_with_ssl = v4.replace(" TCPCONNNUM", &format!("{ssl} TCPCONNNUM"));
    let unix = "IPCCONNNUM=1 IPCLOCALPATH=/local IPCREMOTEPATH=@name PROTO=UNIX PROXY UNIXCONNNUM=1 \
                UNIXLOCALPATH=/local UNIXREMOTEPATH=@name";
    let unnamed = "IPCCONNNUM=1 PROTO=UNIX PROXY UNIXCONNNUM=1";
    let table = [
        (LINE.to_vec(), v4),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 4711 25\r\n".to_vec(),
            v4,
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 1 25\r\n".to_vec(), ipv6),
        (b"PROXY UNKNOWN\r\n".to_vec(), own),
        (v2(0x21, 0x11, V4), v4),
        (v2(0x21, 0x12, V4), v4),
        (v2(0x21, 0x11, &[V4, &fields].concat()), &ipv4_with_ssl),
        (v2(0x21, 0x21, &v6), ipv6),
        (v2(0x21, 0x31, &unix_ends(b"\0name", b"/local")), unix),
        (v2(0x21, 0x31, &unix_ends(b"", b"")), unnamed),
        (v2(0x21, 0x00, b""), own),
        (v2(0x20, 0x11, V4), own),
    ];
    let mut skd = reporting("-v -1 --proxy-from 127.0.0.0/24 -t 127.0.0.1:0")
        .envs("PROXYREMOTEIP=stale PROXYREMOTEPORT=stale PROXYREMOTEHOST=stale SSL_PROTOCOL=stale SSL_CLIENT_CN=stale")
        .start();
    let port = skd.port();
    for (header, variables) in table {
        let stream = says(port, &header);
        let peer = stream.local_addr().unwrap().port().to_string();
        let proxy = format!("PROXYREMOTEIP=127.0.0.1 PROXYREMOTEPORT={peer}");
        let expected = variables
            .replace("PROXY", &proxy)
            .replace("=ITS", &format!("={peer}"));
        let expected = expected.replace("=PORT", &format!("={port}"));
        assert_eq!(
            told(&and_hears(stream, b"")),
            expected,
            "{}",
            header.escape_ascii()
        );
        skd.is_alone();
    }
    skd.stop();
}

/// Nor looked for: a client that waits to be greeted is.
#[test]
fn nobody_elses_header_is_believed() {
    let mut skd = echoing("");
    let port = skd.port();
    let mut client = Client::of_tcp(tcp_from_loopback(2, port));
    assert_eq!(client.hears_line(), "TCP 127.0.0.2 none");
    let line = std::str::from_utf8(LINE).unwrap();
    client.says(line).hears(line);
    skd.stop();
}

#[test]
fn what_cannot_become_a_header_is_dropped_at_once_with_the_reason() {
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    let table: [(Vec<u8>, &str); 13] = [
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), "no PROXY header"),
        (b"\n".to_vec(), "no PROXY header"),
        (b"PROXY TCP5".to_vec(), "no PROXY header"),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".to_vec(),
            "a malformed PROXY line",
        ),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n".to_vec(),
            "a malformed PROXY line",
        ),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".to_vec(),
            "a PROXY line without CR LF at its end",
        ),
        (long, "a PROXY line of more than 107 bytes"),
        (
            v2(0x31, 0x11, V4),
            "a PROXY header of an unknown version or command",
        ),
        (
            v2(0x21, 0x41, V4),
            "a PROXY header of an unknown address family or protocol",
        ),
        (
            v2(0x21, 0x11, &V4[..11]),
            "a PROXY header that is too short for its addresses",
        ),
        (
            v2(0x21, 0x11, &[V4, &[3, 0, 9]].concat()),
            "a malformed field in a PROXY header",
        ),
        (
            v2(0x21, 0x11, &[V4, &field(3, &[0; 4])].concat()),
            "a wrong checksum in a PROXY header",
        ),
        // Its beginning is enough.
        (
            v2(0x21, 0x11, &[0; 4081])[..16].to_vec(),
            "a PROXY header of more than 4096 bytes",
        ),
    ];
    let mut skd = echoing("--proxy-timeout 600 -C 9999 -r never!");
    let port = skd.port();
    let descriptors = skd.descriptors();
    let count = table.len();
    for (number, (bytes, why)) in (1..).zip(table) {
        let stream = says(port, &bytes);
        let peer = stream.local_addr().unwrap();
        is_dropped(stream);
        let line = skd.waits_for_nth("info: deny ", number);
        assert_eq!(
            line,
            format!("skd: info: deny tcp:127.0.0.1:{port} {peer} {why}")
        );
    }
    // The longest one that is not too long.
    let longest = v2(
        0x21,
        0x11,
        &[V4, &field(4, &[b'x'; 4096 - 16 - 12 - 3])].concat(),
    );
    assert_eq!(longest.len(), 4096);
    assert_eq!(
        and_hears(says(port, &longest), b"it"),
        "TCP 192.0.2.7 127.0.0.1\nit"
    );
    skd.is_alone();
    assert_eq!(
        skd.status(),
        format!("0 accepted 1 denied {count} failed 0")
    );
    assert_eq!(skd.descriptors(), descriptors);
    skd.stop();
}

/// A line of version 1 from this client.
fn of(ip: &str) -> Vec<u8> {
    format!("PROXY TCP4 {ip} 198.51.100.1 4711 25\r\n").into_bytes()
}

#[test]
fn lists_rules_and_limits_are_about_the_client() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    std::fs::write(&rules, "192.0.2.8:deny\n127.:deny\n").unwrap();
    let words = format!(
        "-v -1 --proxy-from 127.0.0.1 -C 1 -r full --deny 192.0.2.7 --rules {rules} -t 127.0.0.1:0 sh -c"
    );
    let mut skd = Skd::new(&words).word("echo $TCPCONNNUM; exec cat").start();
    let port = skd.port();
    let heard = |ip: &str| {
        let stream = says(port, &of(ip));
        let mut client = Client::of_tcp(stream);
        let line = client.hears_line();
        (line, client)
    };
    let (number, _stays) = heard("192.0.2.9");
    assert_eq!(number, "1");
    for (number, (ip, said, reason)) in (1..).zip([
        ("192.0.2.7", "", "--deny 192.0.2.7"),
        ("192.0.2.8", "", "rule 192.0.2.8:deny"),
        ("192.0.2.9", "full", "--max-per-source 1"),
    ]) {
        assert_eq!(heard(ip).0, said);
        let line = skd.waits_for_nth("info: deny ", number);
        let end = format!("deny tcp:127.0.0.1:{port} {ip}:4711 {reason}");
        assert!(line.ends_with(&end), "{line}");
    }
    let (number, _other) = heard("192.0.2.10");
    assert_eq!(number, "1");
    let line = skd.waits_for_nth("info: accept ", 2);
    assert!(line.contains(" 192.0.2.10:4711 pid "), "{line}");
    // Its own connections are the proxy's.
    let local = says(port, &v2(0x20, 0, b""));
    let peer = local.local_addr().unwrap();
    is_dropped(local);
    assert!(
        skd.waits_for_nth("info: deny ", 4)
            .ends_with(&format!(" {peer} rule 127.:deny"))
    );
    skd.stop();
}

/// In a header they have no number, so that they are the proxy's.
#[test]
fn unix_clients_of_a_proxy_are_counted_by_its_address() {
    let words = "-v -1 --proxy-from 127.0.0.0/24 -C 2 -t 127.0.0.1:0 sh -c";
    let mut skd = Skd::new(words)
        .word("echo $UNIXCONNNUM$TCPCONNNUM; exec cat")
        .start();
    let port = skd.port();
    let comes = |last: u8, header: &[u8]| {
        let mut stream = tcp_from_loopback(last, port);
        stream.write_all(header).unwrap();
        let mut client = Client::of_tcp(stream);
        (client.hears_line(), client)
    };
    let header = v2(0x21, 0x31, &unix_ends(b"/remote", b"/local"));
    let (first, _one) = comes(1, &header);
    let (second, _two) = comes(1, &v2(0x20, 0, b""));
    let (third, _) = comes(1, &header);
    let (other, _three) = comes(2, &header);
    assert_eq!([first, second, third, other], ["1", "2", "", "1"]);
    skd.stop();
}

#[test]
fn proxies_on_unix_sockets_are_those_of_the_list() {
    let folder = Folder::new();
    let path = folder.path("sock");
    let uid = nix::unistd::getuid();
    for (list, believed) in [
        ("unix".to_owned(), true),
        (format!("10.0.0.1,uid:{uid}"), true),
        (format!("uid:{}", uid.as_raw() + 1), false),
        ("0.0.0.0/0,::/0".to_owned(), false),
    ] {
        let words = format!("-v --proxy-from {list} -l {path} sh -c");
        let script = "echo \"$PROTO ${TCPREMOTEIP-none} ${PROXYREMOTEIP-none} ${UNIXREMOTEEUID-none}\"; exec cat";
        let skd = Skd::new(&words).word(script).start();
        let mut client = Client::unix(&path);
        let line = std::str::from_utf8(LINE).unwrap();
        let said = client.says(line).says("hello").hears_line();
        if believed {
            assert_eq!(said, "TCP 192.0.2.7 none none", "{list}");
            client.hears("hello");
        } else {
            assert_eq!(said, format!("UNIX none none {uid}"), "{list}");
            client.hears(line).hears("hello");
        }
        skd.stop();
    }
}

/// systemd's Accept=yes behind a proxy: nothing else is delayed by the wait.
#[test]
fn a_connected_socket_has_its_header_taken_too() {
    let script = "echo \"$TCPREMOTEIP $PROXYREMOTEIP $TCPCONNNUM\"; exec cat";
    for (options, bytes, said) in [
        (
            "--proxy-from 127.0.0.1",
            [LINE, b"hello"].concat(),
            "192.0.2.7 127.0.0.1 1\nhello",
        ),
        (
            "--proxy-from 127.0.0.2",
            b"hello".to_vec(),
            "127.0.0.1  1\nhello",
        ),
        ("--proxy-from 127.0.0.1 --deny 192.0.2.7", LINE.to_vec(), ""),
        (
            "--proxy-from 127.0.0.1 --proxy-timeout 1",
            LINE[..9].to_vec(),
            "",
        ),
        ("--proxy-from 127.0.0.1", b"hello".to_vec(), ""),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = says(listener.local_addr().unwrap().port(), &bytes);
        if !said.is_empty() {
            client.shutdown(Shutdown::Write).unwrap();
        }
        let (conn, _) = listener.accept().unwrap();
        let skd = Skd::new(&format!("-v -0 {options} sh -c")).word(script);
        let outcome = skd.descriptor(0, conn).outcome();
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let mut heard = String::new();
        let _ = client.read_to_string(&mut heard);
        assert_eq!(heard, said, "{options}");
        assert_eq!(
            outcome.stderr.contains("info: deny "),
            said.is_empty(),
            "{}",
            outcome.stderr
        );
    }
}
