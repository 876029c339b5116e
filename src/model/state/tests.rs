//! A state is read as it was written, and nothing else is a state.

use super::*;
use crate::model::peer::Credentials;
use crate::model::tally::{Counts, Histogram};

fn children() -> Vec<Child> {
    let child = |pid, peer| Child {
        pid,
        listener: 1,
        since: Duration::from_nanos(1_234_567_890_123),
        // That of another than the peer, where a proxy is counted.
        source: match pid {
            100 => Source::V4(u32::MAX),
            101 => Source::V6([255, 0, 0, 0, 0, 0, 0, 1]),
            102 => Source::Cid(3),
            103 => Source::Unknown,
            _ => Source::Uid(7),
        },
        stage: match pid {
            100 => Stage::Asking,
            101 => Stage::Denied,
            _ => Stage::Running,
        },
        peer,
    };
    let credentials = Credentials {
        pid: 77,
        uid: 1000,
        gid: 100,
    };
    vec![
        child(100, None),
        child(101, Some(Peer::Inet("192.0.2.7:4711".parse().unwrap()))),
        child(102, Some(Peer::Inet("[fe80::1%2]:4711".parse().unwrap()))),
        child(103, Some(Peer::Unix(Some(credentials)))),
        child(104, Some(Peer::Unix(None))),
        child(105, Some(Peer::Vsock { cid: 3, port: 9 })),
    ]
}

fn pendings() -> Vec<Pending> {
    let pending = |conn, taken: &[u8], peer| Pending {
        conn,
        listener: 1,
        until: Duration::from_nanos(1_234_567_890_124),
        taken: taken.to_vec(),
        peer,
    };
    vec![
        pending(19, b"", Peer::Unix(None)),
        pending(
            20,
            b"PROXY \r\0",
            Peer::Inet("192.0.2.7:4711".parse().unwrap()),
        ),
    ]
}

fn histogram(count: u64) -> Histogram {
    Histogram {
        counts: [count; 12],
        // Ten thousand programs at once are 600 years of running in three weeks.
        sum: Duration::new(count, 1),
    }
}

fn visits() -> Vec<Visit> {
    vec![Visit {
        conn: 25,
        listener: 2,
        builtin: Builtin::Chargen,
        since: Duration::from_secs(1),
        until: Duration::from_secs(2),
        line: 94,
        unsent: b"\r\n".to_vec(),
        source: Source::V4(1),
        peer: Peer::Unix(None),
    }]
}

fn spent() -> Vec<Spent> {
    vec![
        Spent {
            source: None,
            units: 5,
        },
        Spent {
            source: Some(Source::V4(9)),
            units: u64::MAX,
        },
    ]
}

fn scraped() -> Vec<Scraped> {
    vec![
        Scraped {
            socket: 22,
            file: None,
        },
        Scraped {
            socket: 23,
            file: Some((held(24, b"metrics"), (9, 10))),
        },
    ]
}

fn held(folder: Number, name: &[u8]) -> Held {
    Held {
        folder,
        name: name.to_vec(),
    }
}

fn listeners() -> Vec<Listener> {
    let listener = |adopted: Option<&[u8]>, file| Listener {
        adopted: adopted.map(<[u8]>::to_vec),
        service: adopted.map(|_| b"echo stream tcp".to_vec()),
        is_kept: false,
        file,
        waited: None,
        has_news: false,
        was_executed: true,
        is_again: false,
        unread: (None, 0),
        rests_until: None,
        tally: Tally::default(),
    };
    vec![
        listener(None, None),
        Listener {
            is_kept: true,
            waited: Some(5),
            has_news: true,
            was_executed: false,
            is_again: true,
            unread: (Some(Duration::new(1_800_000_000, 1)), 4),
            rests_until: Some(Duration::from_secs(9)),
            tally: Tally {
                counts: Counts {
                    accepted: u64::MAX,
                    denied: 2,
                    failed: 3,
                },
                children: 0,
                spawn: histogram(1),
                run: histogram(u64::MAX),
            },
            ..listener(Some(b""), Some((held(15, b"\xff sock"), (7, 8))))
        },
    ]
}

fn whole() -> State {
    State {
        pid: 42,
        may_have_strangers: true,
        sum: Counts {
            accepted: 9,
            denied: 8,
            failed: u64::MAX,
        },
        pidfile: Some((9, held(10, b"pid file\n"))),
        log: Log::Syslog {
            read: 11,
            null: 12,
            places: vec![held(13, b"log"), held(14, b"dev-log")],
            pid: 43,
        },
        listeners: listeners(),
        prog: Some(b"/bin/cat".to_vec()),
        rules: Some(KeptFile {
            at: held(26, b"rules"),
            contents: 27,
        }),
        known: "user root\0[0, 0, 0]\n".to_owned(),
        services: Some(KeptFile {
            at: held(28, b"inetd.conf"),
            contents: 29,
        }),
        spent: spent(),
        gone: vec![Gone {
            label: b"tcp:[::]:7".to_vec(),
            tally: Tally::default(),
        }],
        children: children(),
        notify: Some(16),
        verdicts: Some((17, 18)),
        reports: Some((30, 31)),
        heard: vec![(101, 2), (102, 8)],
        pendings: pendings(),
        farewells: vec![Farewell {
            conn: 21,
            sent: 7,
            until: Duration::from_secs(1),
        }],
        visits: visits(),
        scraped: scraped(),
    }
}

#[test]
fn what_goes_in_comes_out() {
    let state = whole();
    assert_eq!(State::decode(&state.encode()), Some(state.clone()));
    for log in [
        Log::Inherited,
        Log::File {
            at: Held {
                folder: 3,
                name: b"log".to_vec(),
            },
            umask: 0o22,
        },
    ] {
        let state = State {
            log,
            pidfile: None,
            ..state.clone()
        };
        assert_eq!(State::decode(&state.encode()), Some(state));
    }
}

#[test]
fn every_number_is_told() {
    let mut numbers = whole().numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (9..=31).collect::<Vec<_>>());
}

/// Cut anywhere, or of another version, it is none.
#[test]
fn anything_else_is_no_state() {
    let text = whole().encode();
    for len in 0..text.len() {
        assert_eq!(State::decode(&text[..len]), None, "{len}");
    }
    let swaps = [
        ("skd-state 5", "skd-state 4"),
        ("process 42", "process 0"),
        ("process 42 1", "process 42 2"),
        ("process", "procession"),
        ("counts 9 8", "counts 9 -8"),
        ("child 100 1", "child 100 3"),
        ("child 100", "child -1"),
        ("pending 19 1", "pending 19 3"),
        ("visit 25 2 chargen", "visit 25 2 charged"),
        ("visit 25 2", "visit 25 3"),
        ("gone x", "gone y"),
        ("reports 30 31", "reports 30"),
        ("heard 101 2", "heard 101 2 3"),
        ("spent 5 all", "spent 5 none"),
        ("rules 27", "rules x"),
        ("metrics 22", "metrics 22 x"),
        ("14 x6465762d6c6f67", "14"),
        ("asking", "asked"),
        ("farewell 21 7", "farewell 21 -7"),
        ("inet 192.0.2.7", "inet 192.0.2"),
        ("x70696420", "x7069642"),
        ("x70696420", "70696420"),
        (" 18446744073709551615 ", " 18446744073709551616 "),
        ("end", "end end"),
        ("\nend", "end"),
        ("\nend", "\n\nend"),
        ("\nend", "\r\nend"),
    ];
    for (from, to) in swaps {
        assert!(text.contains(from), "{from}");
        assert_eq!(State::decode(&text.replacen(from, to, 1)), None, "{to}");
    }
    for text in ["", "end\n", "skd-state 5\nend\n"] {
        assert_eq!(State::decode(text), None);
    }
}
