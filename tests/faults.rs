//! System calls that fail in the middle of service, each with what it can say, once and for a while. strace(1) answers
//! them in the place of the kernel, in skd's own thread; children and the logger are left alone.

use crate::kit::net::tcp_from_loopback;
use crate::kit::skd::Skd;
use crate::kit::strace::Strace;
use crate::kit::{Folder, eventually, need};
use std::io::{Read, Write};
use std::net::Shutdown;

/// So many clients come one after the other.
const CLIENTS: usize = 8;
/// The calls that fail: one, the first few, a few in the middle.
const SPANS: [&str; 3] = ["1", "1..3", "3..6"];
const TCP: &str = "-1 -v -t 127.0.0.1:0 cat";

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
];

/// One client of an echo service; whether it was served.
fn is_served(port: u16) -> bool {
    let mut client = tcp_from_loopback(1, port);
    let mut heard = String::new();
    let _ = client.write_all(b"hello\n");
    let _ = client.shutdown(Shutdown::Write);
    client.read_to_string(&mut heard).is_ok() && heard == "hello\n"
}

fn fails(
    folder: &Folder,
    (call, words, cost): (&str, &str, Cost),
    errno: &str,
    span: &str,
) -> usize {
    let shown = format!("{call} {errno} {span}");
    let trace = folder.path("trace");
    let mut skd = Skd::new(words).start();
    let port = skd.port();
    assert!(is_served(port));
    skd.is_alone();
    let before = skd.descriptors();
    let inject = format!("inject={call}:error={errno}:when={span}");
    let strace = Strace::on(&skd, &format!("-qq -o {trace} -e trace={call} -e {inject}"));
    let served = (0..CLIENTS).filter(|_| is_served(port)).count();
    drop(strace);
    let trace = std::fs::read_to_string(&trace).unwrap();
    let injected = trace.matches("(INJECTED)").count();
    let lost = if matches!(cost, Cost::Connection(_)) {
        injected
    } else {
        0
    };
    assert_eq!(served, CLIENTS - lost, "{shown}");
    // As if nothing had been.
    assert!(is_served(port), "{shown}");
    skd.is_alone();
    eventually("as many descriptors as before", || {
        (skd.descriptors() == before).then_some(())
    });
    let status = skd.status();
    assert!(
        status.ends_with(&format!(" failed {lost}")),
        "{shown}: {status}"
    );
    let stderr = skd.stop().stderr;
    let lines = |text: &str| stderr.lines().filter(|line| line.contains(text)).count();
    let expected = 2 * (CLIENTS - lost + 2);
    let told = lines("info: accept ") + lines("info: end ");
    let shown = format!("{shown}: {stderr}");
    match cost {
        Cost::Nothing => assert_eq!((lines("warning: "), told), (0, expected), "{shown}"),
        Cost::Warning(text) | Cost::Connection(text) => {
            let text = format!("skd: warning: {text}");
            let warnings = (lines("warning: "), lines(&text));
            assert_eq!(
                (warnings, told),
                ((injected, injected), expected),
                "{shown}"
            );
        }
        Cost::Line => {
            let counts = stderr.lines().filter_map(|line| {
                let (count, _) = line
                    .strip_prefix("skd: warning: ")?
                    .split_once(" lines could")?;
                count.parse::<usize>().ok()
            });
            assert_eq!(counts.sum::<usize>() + told, expected, "{shown}");
        }
    }
    injected
}

#[test]
fn service_goes_on_whatever_a_call_says() {
    if !need::program("strace") {
        return;
    }
    let folder = Folder::new();
    for (call, errnos, words, cost) in CASES {
        let mut injected = 0;
        for errno in errnos.split(' ') {
            for span in SPANS {
                injected += fails(&folder, (call, words, *cost), errno, span);
            }
        }
        // On a busy machine strace may begin too late for one of them.
        assert!(injected > errnos.split(' ').count(), "{call} {errnos}");
    }
}
