//! What a child calls between clone(2) and execve(2): what `sys/spawn/child.rs` lists, in that order, and nothing else.

use crate::kit::net::Client;
use crate::kit::skd::Skd;
use crate::kit::strace::Strace;
use crate::kit::{Folder, eventually, need};

#[test]
fn a_child_makes_the_calls_that_are_listed_and_no_others() {
    if !need::program("strace") || !need::program("prlimit") {
        return;
    }
    let folder = Folder::new();
    let mut skd = Skd::new("-1 -v -e -t 127.0.0.1:0 cat")
        .under("prlimit --nofile=64:128")
        .start();
    let port = skd.port();
    let tracer = Strace::on(&skd, &format!("-ff -o {}", folder.path("trace")));
    Client::tcp(port).says("hello").hears("hello");
    let accept = skd.waits_for(" accept ");
    let (_, rest) = accept.split_once(" pid ").unwrap();
    let (pid, _) = rest.split_once(' ').unwrap();
    let trace = eventually("a program", || {
        let trace = std::fs::read_to_string(folder.path(&format!("trace.{pid}"))).ok()?;
        trace.contains("execve(").then_some(trace)
    });
    drop(tracer);
    // Without the number of the connection's descriptor.
    let call = |line: &str| {
        let (call, arguments) = line.split_once('(').unwrap();
        let arguments: Vec<_> = arguments.split([',', ')']).map(str::trim).collect();
        match call {
            "dup3" => format!("dup3 onto {}", arguments[1]),
            "prlimit64" | "rt_sigprocmask" => format!("{call} {}", arguments[..2].join(" ")),
            _ => call.to_owned(),
        }
    };
    let mut calls: Vec<_> = trace.lines().map(call).collect();
    let end = calls.iter().position(|call| call == "execve").unwrap();
    calls.truncate(end + 1);
    calls.dedup();
    let expected = [
        "rt_sigaction",
        "dup3 onto 0",
        "dup3 onto 1",
        "dup3 onto 2",
        "prlimit64 0 RLIMIT_NOFILE",
        "rt_sigprocmask SIG_SETMASK []",
        "execve",
    ];
    assert_eq!(calls, expected, "{trace}");
    skd.stop();
}
