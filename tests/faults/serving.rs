//! Calls of the loop that fail while connections come: in skd's own thread; children and the logger are left alone.

use super::{hears_at, is_served, library, talk, warnings};
use crate::kit::net::{Client, tcp_from_loopback};
use crate::kit::skd::Skd;
use crate::kit::strace::{Fault, Faults};
use crate::kit::{Folder, eventually, need, probe};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// So many clients come one after the other.
const CLIENTS: usize = 8;
/// The calls that fail: one, the first few, a few in the middle.
const SPANS: [&str; 3] = ["1", "1..3", "2..4"];
/// What is called until it succeeds, and then no more.
const FROM_THE_FIRST: &str = "socketpair";
const TCP: &str = "-1 -v -t 127.0.0.1:0 cat";
/// The first client has a way made by which those who ask tell what they have found.
const ASKING: &str = "-1 -v --ident --lookup-timeout 1 -t 127.0.0.1:0 cat";

/// What a failure costs.
#[derive(Clone, Copy)]
enum Cost {
    Nothing,
    /// A warning that begins so, each time.
    Warning(&'static str),
    /// The connection, with such a warning.
    Connection(&'static str),
    /// The line that was to be written; it is counted, and told of.
    Line,
}

/// A call, the errnos that it fails with, the command line of skd, and what each failure costs.
type Case = (&'static str, &'static str, &'static str, Cost);

const ACCEPT: Cost = Cost::Warning("unable to accept from tcp:127.0.0.1:");
const START: Cost = Cost::Connection("unable to start \"cat\": ");

const CASES: &[Case] = &[
    (
        "accept4",
        "EAGAIN EINTR ECONNABORTED EPROTO EPERM ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP ENETUNREACH",
        TCP,
        Cost::Nothing,
    ),
    (
        "accept4",
        "EMFILE ENFILE ENOBUFS ENOMEM EBADF EINVAL",
        TCP,
        ACCEPT,
    ),
    ("clone", "EAGAIN ENOMEM EPERM ENOSPC ENOSYS", TCP, START),
    ("wait4", "EINTR ECHILD EINVAL", TCP, Cost::Nothing),
    ("epoll_wait", "EINTR", TCP, Cost::Nothing),
    (
        "epoll_wait",
        "EBADF EINVAL",
        TCP,
        Cost::Warning("unable to wait for events: "),
    ),
    ("read", "EINTR EAGAIN EIO EINVAL ENOMEM", TCP, Cost::Nothing),
    (
        "write",
        "EINTR EAGAIN EIO ENOSPC EDQUOT EPIPE",
        TCP,
        Cost::Line,
    ),
    (
        "setsockopt",
        "ENOBUFS ENOMEM EINVAL ENOPROTOOPT",
        "-1 -v -n --keepalive -t 127.0.0.1:0 cat",
        Cost::Nothing,
    ),
    (
        "getsockname",
        "ENOBUFS EINVAL",
        "-1 -v -t 0 cat",
        Cost::Nothing,
    ),
    ("socketpair", "EMFILE ENFILE EOPNOTSUPP", ASKING, START),
];

fn fails(folder: &Folder, (call, words, cost): (&str, &str, Cost), errno: &str, span: &str) {
    let fault = format!("{call}:error={errno}:when={span}");
    let mut skd = Skd::new(words).start();
    let port = skd.port();
    let already = usize::from(words != ASKING);
    assert!(already == 0 || is_served(port));
    skd.is_alone();
    let before = skd.descriptors();
    let faults = Faults::of(folder, skd.pid(), Fault(&fault));
    let served = (0..CLIENTS).filter(|_| is_served(port)).count();
    if call == "read" {
        // The ends of programs may all be heard of at once; these are signals one by one.
        for _ in 0..4 {
            skd.status();
        }
    }
    if call == "wait4" {
        // Whoever has ended may not have been reaped yet. Nobody hears a second time of those that could not be.
        skd.is_alone();
    }
    let injected = faults.end();
    let lost = if matches!(cost, Cost::Connection(_)) {
        injected
    } else {
        0
    };
    assert_eq!(served, CLIENTS - lost, "{fault}");
    // As if nothing had been.
    assert!(is_served(port), "{fault}");
    skd.is_alone();
    let pair = if words == ASKING { 2 } else { 0 };
    eventually("as many descriptors as before", || {
        (skd.descriptors() == before + pair).then_some(())
    });
    let status = skd.status();
    assert!(
        status.ends_with(&format!(" failed {lost}")),
        "{fault}: {status}"
    );
    let stderr = skd.stop().stderr;
    let lines = |text: &str| stderr.lines().filter(|line| line.contains(text)).count();
    let expected = 2 * (CLIENTS - lost + 1 + already);
    let told = lines("info: accept ") + lines("info: end ");
    let shown = format!("{fault}: {stderr}");
    match cost {
        Cost::Nothing => assert_eq!((lines("warning: "), told), (0, expected), "{shown}"),
        Cost::Warning(text) | Cost::Connection(text) => {
            let all = warnings(&stderr);
            let meant = all.iter().filter(|warning| warning.starts_with(text));
            assert_eq!(
                (all.len(), meant.count(), told),
                (injected, injected, expected),
                "{shown}"
            );
        }
        Cost::Line => {
            let counts = warnings(&stderr).into_iter().filter_map(|warning| {
                let count = warning.strip_suffix(" lines could not be written")?;
                count.parse::<usize>().ok()
            });
            assert_eq!(counts.sum::<usize>() + told, expected, "{shown}");
        }
    }
}

#[test]
fn service_goes_on_whatever_a_call_says() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    for (call, errnos, words, cost) in CASES {
        for errno in errnos.split(' ') {
            let is_meant = |span: &&&str| *call != FROM_THE_FIRST || span.starts_with('1');
            for span in SPANS.iter().filter(is_meant) {
                fails(&folder, (call, words, *cost), errno, span);
            }
        }
    }
}

/// No other SIGCHLD comes then. A young one is asked for; of an old one the reaper tells.
#[test]
fn who_cannot_be_reaped_when_he_ends_is_reaped_later() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    for (errno, span) in [("ECHILD", "1..2"), ("EINVAL", "1..2")] {
        let fault = format!("wait4:error={errno}:when={span}");
        for others in [0, 20] {
            let mut skd = Skd::new(TCP).start();
            let port = skd.port();
            let mut last = Client::tcp(port);
            last.says("hello").hears("hello");
            assert!((0..others).all(|_| is_served(port)));
            eventually("one child", || (skd.children().len() == 1).then_some(()));
            let faults = Faults::of(&folder, skd.pid(), Fault(&fault));
            drop(last);
            skd.is_alone();
            faults.end();
            assert!(skd.status().starts_with("0 "), "{fault}");
            let stderr = skd.stop().stderr;
            assert_eq!(stderr.matches("info: end ").count(), others + 1, "{fault}");
        }
        let mut skd = Skd::new("-S -v -- sleep 99").spawn();
        skd.waits_for("start ");
        let program = skd.children()[0];
        let faults = Faults::of(&folder, skd.pid(), Fault(&fault));
        kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
        skd.waits_for(" signal KILL ");
        faults.end();
        skd.stop();
    }
}

/// Nobody is served then, but skd can be told to stop, and rests in between.
#[test]
fn signals_are_heeded_even_if_events_cannot_be_waited_for() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let supervising = format!("-S -- {} told TERM", probe());
    for (words, begins) in [(TCP, "listen "), (&supervising, "ready")] {
        let mut skd = Skd::new(words).spawn();
        skd.waits_for(begins);
        let faults = Faults::of(&folder, skd.pid(), Fault("epoll_wait:error=EBADF"));
        skd.waits_for("unable to wait for events: Bad file descriptor");
        skd.stop();
        let injected = faults.end();
        assert!(injected < 1000, "{injected}");
    }
}

/// It is taken out where the limit is reached, and put back when somebody has gone.
#[test]
fn a_listener_that_cannot_be_polled_or_left_alone_is_served_when_it_is_to_be() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    for span in ["1", "2", "1..3"] {
        let mut skd = Skd::new("-1 -v -c 1 -t 127.0.0.1:0 cat").start();
        let port = skd.port();
        let before = skd.descriptors();
        let fault = format!("epoll_ctl:error=ENOMEM:when={span}");
        let faults = Faults::of(&folder, skd.pid(), Fault(&fault));
        let mut held = Client::tcp(port);
        held.says("hello").hears("hello");
        let waiting = tcp_from_loopback(1, port);
        assert!(skd.status().starts_with("1/1 "));
        drop(held);
        assert_eq!(talk(waiting, "hello\n"), "hello\n", "{span}");
        assert!(is_served(port), "{span}");
        let injected = faults.end();
        skd.is_alone();
        skd.comes_to_have(before);
        assert_eq!(skd.status(), "0/1 accepted 3 denied 0 failed 0", "{span}");
        let stderr = skd.stop().stderr;
        let all = warnings(&stderr);
        assert_eq!(all.len(), injected, "{stderr}");
        let text =
            format!("unable to look at tcp:127.0.0.1:{port}: Cannot allocate memory, resting");
        assert!(all.iter().all(|warning| *warning == text), "{stderr}");
    }
}

/// Of those whose words skd itself waits for; each service is served again thereafter.
#[test]
fn a_client_that_cannot_be_waited_for_costs_itself_and_is_told_of() {
    if !need::root() || !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    let (conf, echo, metrics) = (
        folder.path("conf"),
        folder.path("echo"),
        folder.path("metrics"),
    );
    std::fs::write(
        &conf,
        format!("{echo} stream unix nowait root internal echo\n"),
    )
    .unwrap();
    let words = format!(
        "-1 -v --proxy-from 127.0.0.1 --metrics {metrics} --inetd-conf {conf} -t 127.0.0.1:0 cat"
    );
    let mut skd = Skd::new(&words).start();
    let port = skd.port();
    let [header, header_part] = ["PROXY UNKNOWN\r\nhello\n", "PROXY UNKN"];
    let behind_proxy = |text: &str| talk(tcp_from_loopback(1, port), text);
    let ask = || {
        let client = UnixStream::connect(&metrics).unwrap();
        talk(client, "GET /metrics HTTP/1.1\r\n\r\n")
    };
    assert_eq!(behind_proxy(header), "hello\n");
    skd.is_alone();
    let before = skd.descriptors();
    let lost: [(&str, &dyn Fn() -> String); 3] = [
        ("unable to wait for a header: ", &|| {
            behind_proxy(header_part)
        }),
        ("unable to wait for a client: ", &|| hears_at(&echo)),
        ("unable to accept a client of the metrics: ", &ask),
    ];
    for errno in ["ENOMEM", "ENOSPC"] {
        for (text, lose) in lost {
            let fault = format!("epoll_ctl:error={errno}:when=1");
            let faults = Faults::of(&folder, skd.pid(), Fault(&fault));
            assert_eq!(lose(), "", "{text}");
            faults.end();
            skd.waits_for(&format!("skd: warning: {text}"));
            assert_eq!(behind_proxy(header), "hello\n");
            assert_eq!(hears_at(&echo), "hello\n");
            assert!(ask().starts_with("HTTP/1.1 200 "));
            skd.is_alone();
            eventually("as many descriptors as before", || {
                (skd.descriptors() == before).then_some(())
            });
        }
    }
    let stderr = skd.stop().stderr;
    assert_eq!(warnings(&stderr).len(), 2 * lost.len(), "{stderr}");
}

/// As Linux has it: what close(2) says, the descriptor is gone.
const CLOSE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int close(int fd) {
    int done = syscall(SYS_close, fd);
    if (done == 0 && !strcmp(program_invocation_short_name, "skd")) {
        static int count;
        errno = ++count % 2 ? EIO : EINTR;
        return -1;
    }
    return done;
}
"#;

#[test]
fn a_close_that_fails_has_closed() {
    if !need::program("cc") {
        return;
    }
    let folder = Folder::new();
    let [socket, log, pid] = ["socket", "log", "pid"].map(|name| folder.path(name));
    let words = format!("-1 -v -P {pid} -L >>{log} -l {socket} -t 127.0.0.1:0 cat");
    let skd = Skd::new(&words).env("LD_PRELOAD", library(&folder, CLOSE));
    let mut skd = skd.spawn();
    let port = skd.port();
    let told = |text: &str, count: usize| {
        eventually("a line", || {
            let log = std::fs::read_to_string(&log).ok()?;
            (log.matches(text).count() >= count).then_some(log)
        })
    };
    told("listen ", 2);
    let before = skd.descriptors();
    for count in 1..=CLIENTS {
        assert!(is_served(port));
        assert_eq!(hears_at(&socket), "hello\n");
        skd.signal(Signal::SIGHUP);
        skd.is_alone();
        told(" end ", 2 * count);
        // While the log is opened again there is one more.
        skd.comes_to_have(before);
    }
    skd.stop();
    assert!(!told(" end ", 2 * CLIENTS).contains("warning"));
    assert!(!Path::new(&pid).exists() && !Path::new(&socket).exists());
}
