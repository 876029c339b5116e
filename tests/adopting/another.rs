//! LISTEN_FDS that is for another process: not taken, and told of.

use crate::kit::net::{Client, tcp_listener};
use crate::kit::skd::Skd;

fn line(level: &str, name: &str) -> String {
    format!("skd: {level}: LISTEN_FDS is not for this process but for that of {name}, ignoring\n")
}

/// Whoever handed sockets over expects a service, and would not understand why PROG runs once, without any.
#[test]
fn there_is_a_warning_where_the_program_is_left_without_a_socket() {
    let another = |words: &str| {
        let skd = Skd::new(&format!("{words} echo ran"));
        skd.descriptor(3, tcp_listener().0)
            .envs("LISTEN_FDS=1 LISTEN_PID=1")
    };
    for (words, said) in [
        ("", line("warning", "LISTEN_PID")),
        ("-vv", line("warning", "LISTEN_PID")),
        ("--chdir /", line("warning", "LISTEN_PID")),
        ("-q", String::new()),
        ("--no-adopt", String::new()),
        ("-vv --no-adopt", String::new()),
    ] {
        let outcome = another(words).outcome();
        let all = (
            outcome.code,
            outcome.stdout.as_str(),
            outcome.stderr.as_str(),
        );
        assert_eq!(all, (0, "ran\n", said.as_str()), "{words}");
    }
    let silent = Skd::new("-vv echo ran").envs("LISTEN_PID=1");
    assert_eq!(silent.outcome().stderr, "");
}

#[test]
fn where_there_is_another_socket_it_is_a_line_for_who_wants_to_know_everything() {
    let note = line("info", "LISTEN_PID");
    for (level, is_told) in [("-v", false), ("-vv", true)] {
        let skd = Skd::new(&format!("{level} -1 -t 127.0.0.1:0 cat"));
        let skd = skd.descriptor(3, tcp_listener().0);
        let mut skd = skd.envs("LISTEN_FDS=1 LISTEN_PID=1").start();
        Client::tcp(skd.port()).says("x").hears("x");
        assert_eq!(skd.stop().stderr.contains(&note), is_told);
        let (adopted, port) = tcp_listener();
        let skd = Skd::new(&format!("{level} -0 cat")).descriptor(0, adopted);
        let skd = skd.envs("LISTEN_FDS=junk LISTEN_PID=1").start();
        Client::tcp(port).says("x").hears("x");
        assert_eq!(skd.stop().stderr.contains(&note), is_told);
    }
}
