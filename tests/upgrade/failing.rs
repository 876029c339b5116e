//! Children that one skd has started, and that cannot become PROG when another is there.

use super::{Copy, upgrade};
use crate::kit::net::Client;
use crate::kit::skd::{Running, Skd, field};
use crate::kit::strace::Strace;
use crate::kit::{eventually, executable, need};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// skd whose PROG the kernel does not execute.
fn start(words: &str) -> (Copy, String, Running) {
    let copy = Copy::new();
    let prog = copy.folder.path("prog");
    executable(&prog, "\u{7f}no program");
    let skd = Skd::new(words).word(&prog).binary(&copy.path).spawn();
    (copy, prog, skd)
}

/// The child, once there is one alone.
fn child(skd: &Running) -> i32 {
    eventually("a child", || match skd.children()[..] {
        [child] => Some(child),
        _ => None,
    })
}

/// What the new skd tells of each that failed.
fn told(skd: Running, prog: &str) -> usize {
    let stderr = skd.stop().stderr;
    let warning = format!("warning: unable to run \"{prog}\": Exec format error, ");
    stderr.matches(&warning).count()
}

/// However long it takes.
#[test]
fn one_that_was_on_its_way_is_counted_and_told_by_the_next_skd_but_one() {
    if !need::program("strace") {
        return;
    }
    let (copy, prog, mut skd) = start("-1 -t 127.0.0.1:0 -u 127.0.0.1:0");
    let (port, packets) = (skd.port(), skd.port());
    let inject = "-e trace=execve -e inject=execve:delay_enter=1000000000";
    let hold = Strace::on(&skd, &format!("-f -o /dev/null {inject} -P {prog}"));
    let mut client = Client::tcp(port);
    let first = child(&skd);
    crate::kit::net::udp(packets).send(b"x").unwrap();
    eventually("two children", || (skd.children().len() == 2).then_some(()));
    for _ in 0..2 {
        upgrade(&mut skd, &copy);
        assert_eq!(skd.status(), "2 accepted 2 denied 0 failed 0");
        assert_eq!(field(first, "Name").unwrap(), "skd");
    }
    drop(hold);
    assert_eq!(client.hears_rest(), "");
    let warning = skd.waits_for(", leaving the datagram");
    assert!(warning.contains("Exec format error"), "{warning}");
    // The datagram is tried again until it is given up.
    skd.waits_for(" could not be run 5 times: discarding ");
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 2 denied 0 failed 2");
    assert_eq!(told(skd, &prog), 6);
}

/// It has said why, and does not end before another has taken over who had heard it.
#[test]
fn one_that_had_failed_is_counted_and_told_at_its_end() {
    if !need::program("strace") {
        return;
    }
    let (copy, prog, mut skd) = start("-1 -t 127.0.0.1:0");
    let port = skd.port();
    let hold = Strace::on(
        &skd,
        "-f -o /dev/null -e trace=write -e inject=write:delay_enter=1000000000",
    );
    let mut first = Client::tcp(port);
    let stopped = child(&skd);
    // It stops when the call that it is held in is done.
    eventually("a report", || {
        field(stopped, "State")?.starts_with('t').then_some(())
    });
    kill(Pid::from_raw(stopped), Signal::SIGSTOP).unwrap();
    drop(hold);
    eventually("a stop", || {
        field(stopped, "State")?.starts_with('T').then_some(())
    });
    assert_eq!(Client::tcp(port).hears_rest(), "");
    eventually("the first alone", || {
        (skd.children() == [stopped]).then_some(())
    });
    for _ in 0..2 {
        upgrade(&mut skd, &copy);
        assert_eq!(skd.status(), "1 accepted 2 denied 0 failed 1");
    }
    kill(Pid::from_raw(stopped), Signal::SIGCONT).unwrap();
    assert_eq!(first.hears_rest(), "");
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 2 denied 0 failed 2");
    assert_eq!(told(skd, &prog), 2);
}

/// The program is started for the same client again and again, by whichever skd.
#[test]
fn who_waits_for_a_program_that_is_not_executed_is_counted_once() {
    let (copy, _, mut skd) = start("-1 -w -t 127.0.0.1:0");
    let _client = Client::tcp(skd.port());
    // The next pause is one of a second.
    skd.waits_for_nth(", leaving who waits", 3);
    upgrade(&mut skd, &copy);
    skd.waits_for_nth(", leaving who waits", 4);
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 1");
    skd.stop();
}
