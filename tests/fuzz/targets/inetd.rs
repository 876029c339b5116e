//! An inetd.conf(5): every place that is told is in the file, and a service written out in one line is read as the same.
#![no_main]
#![allow(dead_code, reason = "it needs a part of these rooms")]

#[path = "../../../src/config/mod.rs"]
mod config;
#[path = "../../../src/model/mod.rs"]
mod model;

use config::inetd::parse;
use libfuzzer_sys::fuzz_target;
use model::address::{Family, Host, Named, Port, Style, UNIX_NAME_BYTES, UnixName};
use model::inetd::{At, InetdService, Limits, Server};
use model::text::harmless;
use std::os::unix::ffi::OsStrExt;

// The text of a file, and behind the first byte 255 where services listen that name no host.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0xff);
    let (text, host) = (parts.next().unwrap_or_default(), parts.next());
    // What nobody could write into a line is no host that a line could name.
    let is_word = |text: &&str| !text.contains([' ', '\t', '\n', '\r', '\'', '"', '\0']);
    let host = host.and_then(|host| str::from_utf8(host).ok());
    let services = parse(text, host.filter(is_word));
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let is_there = |at: At| {
        let line = lines[at.line - 1];
        let chars = line.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        (1..=chars + 1).contains(&at.column)
    };
    for wrong in &services.wrong {
        let shown = wrong.shown(b"f");
        assert!(is_there(wrong.at), "{shown}");
        assert!(harmless(shown.as_bytes()) == shown && shown.len() <= 700);
    }
    assert!(services.wrong.is_sorted_by_key(|wrong| wrong.at));
    // A line that is neither empty nor a comment is a service, a default, wrong, or goes on with one of these.
    assert!(services.all.len() <= lines.len());
    for service in &services.all {
        assert!(is_there(service.at) && is_there(service.user_at) && is_there(service.server_at));
        assert!(service.at < service.user_at && service.user_at < service.server_at);
        in_range(service);
        as_it_stands(service, lines[service.at.line - 1]);
        written_and_read(service);
    }
});

fn in_range(service: &InetdService) {
    assert!(!service.named.is_empty());
    for named in &service.named {
        assert_eq!(named.style(), service.style);
        match (named, service.family) {
            (Named::Inet { host, port, .. }, family) => {
                assert_ne!(*port, Port::Number(0));
                assert!(!matches!(
                    (host, family),
                    (Host::V4(_), Family::V6) | (Host::V6(..), Family::V4)
                ));
            }
            (Named::Unix { name, .. }, _) => {
                let (UnixName::Path(bytes) | UnixName::Abstract(bytes)) = name;
                assert!((1..=UNIX_NAME_BYTES).contains(&bytes.len()));
            }
            (Named::Vsock { .. }, _) => panic!("{named:?}"),
        }
    }
    let buffers = [service.buffers.send, service.buffers.receive];
    for bytes in buffers.into_iter().flatten() {
        assert!((1..=1 << 30).contains(&bytes));
    }
    for limit in limits(service).into_iter().flatten() {
        assert!(limit <= 1_000_000);
    }
    match &service.server {
        Server::Program { file, words } => {
            assert!(!file.is_empty() && !words.is_empty());
            assert!(service.waits || service.style != Style::Datagram);
        }
        Server::Internal(_) => assert!(!service.waits || service.style == Style::Datagram),
    }
}

/// In the order in which they are written.
fn limits(service: &InetdService) -> [Option<u32>; 4] {
    let Limits {
        starts_per_minute,
        at_once,
        per_minute,
        per_source,
    } = service.limits;
    [starts_per_minute, at_once, per_minute, per_source].map(|it| it.map(u32::from))
}

/// The line says the same when it is cut at its blanks, if it is whole and has no quotes.
fn as_it_stands(service: &InetdService, line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<&[u8]> = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
        .collect();
    let [name, style, _, wait, user, program, argv @ ..] = &words[..] else {
        return;
    };
    if line.contains(&b'\'') || line.contains(&b'"') {
        return;
    }
    let words: Vec<&[u8]> = service.name.split(' ').map(str::as_bytes).collect();
    let is_unix = matches!(service.named[..], [Named::Unix { .. }]);
    let (typed, known) = (String::from_utf8_lossy(name), words[0]);
    // Before it may be a default's hosts; in front of it `*:` is left out.
    assert!(known.ends_with(typed.strip_prefix("*:").unwrap_or(&typed).as_bytes()));
    assert!(!is_unix || known == typed.as_bytes());
    assert_eq!((words[1], service.user.as_bytes()), (*style, *user));
    let wait = str::from_utf8(wait).expect("it was read as text");
    let number = |digits: &str| digits.parse().ok().filter(|number| *number > 0);
    let expected = match (wait.split_once('.'), wait.split_once('/')) {
        (Some((_, most)), _) => [number(most), None, None, None],
        (None, Some((_, all))) => {
            let mut all = all.split('/').map(number);
            let [at_once, per_minute, per_source] = [(); 3].map(|()| all.next().flatten());
            [None, at_once, per_minute, per_source]
        }
        (None, None) => [None; 4],
    };
    assert_eq!(limits(service), expected);
    assert_eq!(service.waits, wait.starts_with("wait"));
    if let Server::Program { file, words } = &service.server {
        assert_eq!(file.as_bytes(), *program);
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        assert!(argv.is_empty() || words.starts_with(argv));
    }
}

fn written_and_read(service: &InetdService) {
    let mut parts = service.name.rsplitn(3, ' ');
    let [protocol, style, name] = [(); 3].map(|()| parts.next().expect("it has three parts"));
    // What was no UTF-8 is lost, and behind a host that came from a line before a `]` is taken for the end of it.
    let port = name.rsplit(':').next().unwrap_or_default();
    if name.contains(char::REPLACEMENT_CHARACTER) || port.contains(']') {
        return;
    }
    let mut protocol = protocol.to_owned();
    let buffers = [
        ("snd", service.buffers.send),
        ("rcv", service.buffers.receive),
    ];
    for (buffer, bytes) in buffers {
        protocol += &bytes.map_or(String::new(), |bytes| format!(",{buffer}buf={bytes}"));
    }
    let [per_minute, at_once @ .., last] = limits(service);
    let wait = match (service.waits, per_minute) {
        (true, None) => "wait".into(),
        (true, Some(most)) => format!("wait.{most}"),
        (false, Some(most)) => format!("nowait.{most}"),
        (false, None) => {
            let [at_once, connections, programs] =
                [at_once[0], at_once[1], last].map(Option::unwrap_or_default);
            format!("nowait/{at_once}/{connections}/{programs}")
        }
    };
    let words = [name, style, &protocol, &wait, &service.user];
    let mut words: Vec<&[u8]> = words.map(str::as_bytes).to_vec();
    match &service.server {
        Server::Internal(builtin) => words.extend([&b"internal"[..], builtin.name().as_bytes()]),
        Server::Program { file, words: argv } => {
            words.push(file.as_bytes());
            words.extend(argv.iter().map(|word| word.as_bytes()));
        }
    }
    // One that has both quotes inside is a word without any around it, unless it begins with one: the last part of a
    // path can, which is argv where that is left out.
    let is_none = |word: &&[u8]| {
        word.starts_with(b"'") && word.contains(&b'"')
            || word.starts_with(b"\"") && word.contains(&b'\'')
    };
    if words.iter().any(is_none) {
        return;
    }
    let quoted = |word: &&[u8]| match [b'\'', b'"'].into_iter().find(|it| !word.contains(it)) {
        Some(quote) => [&[quote], *word, &[quote]].concat(),
        None => word.to_vec(),
    };
    let line = words.iter().map(quoted).collect::<Vec<_>>().join(&b' ');
    let again = parse(&[line.as_slice(), b" "].concat(), None);
    assert_eq!(again.wrong, []);
    let [again] = &again.all[..] else {
        panic!("{service:?}")
    };
    let expected = InetdService {
        at: again.at,
        user_at: again.user_at,
        server_at: again.server_at,
        ..service.clone()
    };
    assert_eq!(*again, expected);
}
