//! `--metrics`: what a Prometheus reads, and what a stranger who speaks HTTP, or does not, can do.

use crate::kit::net::{Client, tcp_from_loopback};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, fails, need, probe, probing};
use crate::upgrade::{Copy, upgrade};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// The whole answer to a request.
fn asks(port: u16, request: &str) -> String {
    let mut stream = tcp_from_loopback(1, port);
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

/// It is closed at its end, whether or not the client goes on.
fn answer(mut stream: impl Read) -> String {
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    heard
}

/// With many listeners an answer is long, and a client may ask without reading it.
#[test]
fn answers_that_nobody_reads_have_a_bound() {
    let folder = Folder::new();
    let (conf, path) = (folder.path("inetd.conf"), folder.path("metrics"));
    let service = |number| format!("@{path}-{number} stream unix nowait root internal echo\n");
    std::fs::write(&conf, (0..400).map(service).collect::<String>()).unwrap();
    let skd = Skd::new(&format!("-v --metrics {path} --inetd-conf {conf}")).start();
    let ask = || {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(GET.as_bytes()).unwrap();
        let mut begin = [0; 12];
        client.read_exact(&mut begin).unwrap();
        (String::from_utf8_lossy(&begin).into_owned(), client)
    };
    let mut kept = Vec::new();
    let refused = loop {
        match ask() {
            (begin, client) if begin == "HTTP/1.1 200" => kept.push(client),
            other => break other,
        }
        assert!(kept.len() < 60);
    };
    assert_eq!(refused.0, "HTTP/1.1 503");
    assert!(answer(refused.1).ends_with("\r\n\r\n503 Service Unavailable\n"));
    drop(kept);
    eventually("an answer", || (ask().0 == "HTTP/1.1 200").then_some(()));
    skd.stop();
}

/// The text that a Prometheus reads.
fn scrape(port: u16) -> String {
    let answer = asks(port, GET);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let len = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(head.contains(&len), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4"));
    body.to_owned()
}

/// The value of a sample, by its name and labels.
fn value(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

/// The sample of this port's listener.
fn of(text: &str, name: &str, port: u16) -> f64 {
    value(
        text,
        &format!("{name}{{listener=\"tcp:127.0.0.1:{port}\"}}"),
    )
}

/// A service, and behind it the port of its metrics.
fn measured(words: &str) -> (Running, u16, u16) {
    let mut skd = Skd::new(&format!("-v --metrics 127.0.0.1:0 -t 127.0.0.1:0 {words}")).start();
    // In the order in which they are printed.
    let (port, metrics) = (skd.port(), skd.port());
    (skd, port, metrics)
}

#[test]
fn counts_are_those_of_each_listener_and_of_nothing_else() {
    let words = "-v -c 9 --deny 127.0.0.3 --metrics 127.0.0.1:0 -t 127.0.0.1:0 -t 127.0.0.1:0";
    let mut skd = probing(words, "hold").start();
    let (one, other, metrics) = (skd.port(), skd.port(), skd.port());
    let text = scrape(metrics);
    for port in [one, other] {
        for name in [
            "skd_accepted_total",
            "skd_denied_total",
            "skd_failed_total",
            "skd_children",
        ] {
            assert!(of(&text, name, port).abs() < 0.5, "{name}");
        }
    }
    let mut first = Client::of_tcp(tcp_from_loopback(1, one));
    first.hears_line();
    Client::of_tcp(tcp_from_loopback(2, other)).hears_all();
    assert_eq!(Client::of_tcp(tcp_from_loopback(3, other)).hears_rest(), "");
    skd.waits_for("info: end ");
    let text = scrape(metrics);
    let is = |name, port, count: f64| {
        assert!((of(&text, name, port) - count).abs() < 0.5, "{name} {text}")
    };
    is("skd_accepted_total", one, 1.0);
    is("skd_accepted_total", other, 1.0);
    is("skd_denied_total", one, 0.0);
    is("skd_denied_total", other, 1.0);
    is("skd_children", one, 1.0);
    is("skd_children", other, 0.0);
    is("skd_spawn_seconds_count", one, 1.0);
    is("skd_spawn_seconds_count", other, 1.0);
    is("skd_connection_seconds_count", one, 0.0);
    is("skd_connection_seconds_count", other, 1.0);
    assert!((value(&text, "skd_children_limit") - 9.0).abs() < 0.5);
    assert!(value(&text, "process_open_fds") > 5.0);
    assert!(value(&text, "process_resident_memory_bytes") > 100_000.0);
    // Whoever asks is in no count.
    assert_eq!(skd.status(), "1/9 accepted 2 denied 1 failed 0");
    skd.stop();
}

#[test]
fn every_name_is_ours_and_promtool_finds_no_fault() {
    if !need::program("promtool") {
        return;
    }
    let (skd, port, metrics) = measured("-c 5 cat");
    Client::tcp(port).says("x").hears("x");
    let text = scrape(metrics);
    let is_ours = |line: &str| {
        let line = line
            .trim_start_matches("# HELP ")
            .trim_start_matches("# TYPE ");
        line.starts_with("skd_") || line.starts_with("process_")
    };
    assert!(text.lines().all(is_ours), "{text}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
    skd.stop();
}

#[test]
fn what_is_no_request_for_metrics_is_told_so() {
    let (skd, _, metrics) = measured("cat");
    let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "b".repeat(9000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404 Not Found"),
        (
            "POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
            "405 Method Not Allowed",
        ),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "400 Bad Request"),
        ("\x16\x03\x01\x02", "400 Bad Request"),
        ("GET /metrics HTTP/9.9\r\n\r\n", "400 Bad Request"),
        (&long, "431 Request Header Fields Too Large"),
    ] {
        let answer = asks(metrics, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{request}: {answer}"
        );
    }
    // However it is torn, and with a query.
    let mut stream = tcp_from_loopback(1, metrics);
    stream.set_nodelay(true).unwrap();
    for byte in "GET /metrics?x=y HTTP/1.0\r\nA: b\r\n\r\n".bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(answer(stream).starts_with("HTTP/1.1 200 OK\r\n"));
    skd.stop();
}

/// Sixty-four of them, who say nothing or read nothing, for as long as they may; services go on meanwhile.
#[test]
fn whoever_is_silent_or_slow_costs_nobody_anything() {
    let (mut skd, port, metrics) = measured("cat");
    let begun = Instant::now();
    let descriptors = skd.descriptors();
    let silent = [(); 80].map(|()| tcp_from_loopback(1, metrics));
    eventually("sixty-four of them", || {
        (skd.descriptors() == descriptors + 64).then_some(())
    });
    for _ in 0..20 {
        Client::tcp(port).says("x").hears("x");
    }
    // One more waits for its turn, and has it.
    assert!(scrape(metrics).contains("skd_accepted_total"));
    assert!(begun.elapsed() >= Duration::from_millis(4900));
    for mut stream in silent {
        let _ = stream.read(&mut [0]);
    }
    eventually("nothing left", || {
        (skd.descriptors() == descriptors).then_some(())
    });
    // One who leaves in the middle.
    tcp_from_loopback(1, metrics)
        .write_all(b"GET /met")
        .unwrap();
    let gone = tcp_from_loopback(1, metrics);
    gone.shutdown(Shutdown::Both).unwrap();
    eventually("nothing left", || {
        (skd.descriptors() == descriptors).then_some(())
    });
    assert_eq!(skd.status(), "0 accepted 20 denied 0 failed 0");
    skd.stop();
}

#[test]
fn a_unix_socket_will_do_and_is_removed_at_the_end() {
    let folder = Folder::new();
    let path = folder.path("metrics");
    let skd = Skd::new(&format!(
        "-v -1 --mode 600 --metrics {path} -t 127.0.0.1:0 cat"
    ));
    let mut skd = skd.start();
    skd.port();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    assert!(answer(stream).contains("\nskd_children{"));
    skd.stop();
    assert!(!std::path::Path::new(&path).exists());
    let name = format!("skd-metrics-{}", std::process::id());
    let mut skd = Skd::new(&format!("-v -1 --metrics @{name} -t 127.0.0.1:0 cat")).start();
    skd.port();
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let mut stream = UnixStream::connect_addr(&address).unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    assert!(answer(stream).contains("\nskd_children{"));
    skd.stop();
}

/// The same socket, the same counts; and its file is removed at the end all the same.
#[test]
fn metrics_go_on_over_an_upgrade() {
    let (copy, folder) = (Copy::new(), Folder::new());
    let path = folder.path("metrics");
    for address in ["127.0.0.1:0", &path] {
        let words = format!("-v -1 --metrics {address} -t 127.0.0.1:0 cat");
        let mut skd = Skd::new(&words).binary(&copy.path).start();
        let port = skd.port();
        let metrics = (address != path).then(|| skd.port());
        let text = || match metrics {
            Some(metrics) => scrape(metrics),
            None => {
                let mut stream = UnixStream::connect(&path).unwrap();
                stream.write_all(GET.as_bytes()).unwrap();
                answer(stream)
            }
        };
        let mut held = Client::tcp(port);
        held.says("x").hears("x");
        Client::tcp(port).says("x").hears("x");
        skd.waits_for("info: end ");
        let before = text();
        for _ in 0..2 {
            upgrade(&mut skd, &copy);
        }
        let after = text();
        let counted = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with("skd_"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(counted(&before), counted(&after));
        assert!((of(&after, "skd_children", port) - 1.0).abs() < 0.5);
        drop(held);
        skd.stop();
    }
    assert!(!std::path::Path::new(&path).exists());
}

#[test]
fn while_it_drains_skd_still_tells() {
    let mut skd = probing(
        "-v --drain 600 --metrics 127.0.0.1:0 -t 127.0.0.1:0",
        "hold",
    )
    .start();
    let (port, metrics) = (skd.port(), skd.port());
    let mut client = Client::tcp(port);
    client.hears_line();
    skd.signal(Signal::SIGTERM);
    crate::kit::net::is_refused(port);
    // Whoever came before skd had heard of the signal was served.
    eventually("one child", || {
        let children = of(&scrape(metrics), "skd_children", port);
        ((children - 1.0).abs() < 0.5).then_some(())
    });
    client.hears_all();
    assert_eq!(skd.ends().code, 0);
    assert!(TcpStream::connect(("127.0.0.1", metrics)).is_err());
}

#[test]
fn wrong_places_for_metrics_are_named() {
    for (words, line) in [
        (
            "--metrics 80 cat",
            "usage: --metrics: there is no socket; try \"skd --help\"",
        ),
        (
            "--metrics x: -t 0 cat",
            "usage: --metrics: \"x:\": a port is missing; try \"skd --help\"",
        ),
        (
            "--metrics m.sock -t 0 cat",
            "usage: --metrics: there is no tcp service \"m.sock\"; [HOST:]PORT expected, PORT being 0 to 65535 or a \
             service name, and a path needs a slash, \"./m.sock\"; try \"skd --help\"",
        ),
        (
            "-E --metrics 0 -t 0 cat",
            "usage: --exec and --metrics exclude each other; try \"skd --help\"",
        ),
        (
            "-6 --metrics 127.0.0.1:0 -t 0 cat",
            "usage: --metrics: 127.0.0.1 is no IPv6 address, but --ipv6 is given; try \"skd --help\"",
        ),
    ] {
        fails(Skd::new(words), 100, line);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let line = format!("fatal: unable to bind tcp:127.0.0.1:{port}: Address already in use");
    fails(
        Skd::new(&format!("--metrics 127.0.0.1:{port} -t 127.0.0.1:0 cat")),
        111,
        &line,
    );
    let (one, other) = UnixStream::pair().unwrap();
    let skd = Skd::new("--metrics 127.0.0.1:0 -0")
        .word(probe())
        .word("report");
    let line = "usage: --metrics: a connected socket is adopted, which is one connection alone; try \"skd --help\"";
    fails(skd.descriptor(0, one), 100, line);
    drop(other);
}
