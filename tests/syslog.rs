//! `-L TAG`: what arrives at syslog.

use crate::kit::need;
use crate::kit::net::Client;
use crate::kit::skd::{Running, Skd};
use crate::kit::syslog::{Dev, hear};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read;
use std::ops::RangeInclusive;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn a_bad_spec_is_a_usage_error_that_names_the_bad_part() {
    let table = [
        ("", "\"\" is no tag of 1 to 64 bytes without blanks"),
        (
            ":daemon.info",
            "\"\" is no tag of 1 to 64 bytes without blanks",
        ),
        ("a b", "\"a b\" is no tag of 1 to 64 bytes without blanks"),
        ("x:daemon", "\"daemon\" is no FACILITY.PRIORITY"),
        ("x:daemons.info", "\"daemons\" is no facility"),
        ("x:24.info", "\"24\" is no facility"),
        ("x:-1.info", "\"-1\" is no facility"),
        ("x:.info", "\"\" is no facility"),
        ("x:daemon.loud", "\"loud\" is no priority"),
        ("x:daemon.8", "\"8\" is no priority"),
        ("x:daemon.", "\"\" is no priority"),
        ("x:daemon.info.", "\"info.\" is no priority"),
    ];
    for (spec, wrong) in table {
        let outcome = Skd::new("-L").word(spec).word("true").outcome();
        let said = format!("skd: usage: --log: \"{spec}\": {wrong}; try \"skd --help\"\n");
        assert_eq!((outcome.code, outcome.stderr), (100, said));
    }
}

/// skd in place of which a shell runs `script`, with stderr going to syslog as `spec` says.
fn shell(dev: &Dev, spec: &str, script: &str) -> Skd {
    let skd = Skd::new("-L").word(spec).under(&dev.enter());
    skd.word("sh").word("-c").word(script)
}

#[test]
fn facilities_and_priorities_go_by_name_in_any_case_and_by_number() {
    if !need::root() {
        return;
    }
    // syslog(3) and RFC 3164, section 4.1.1.
    let facilities = [
        ("kern", 0),
        ("user", 1),
        ("mail", 2),
        ("daemon", 3),
        ("auth", 4),
        ("security", 4),
        ("syslog", 5),
        ("lpr", 6),
        ("news", 7),
        ("uucp", 8),
        ("cron", 9),
        ("authpriv", 10),
        ("ftp", 11),
        ("LOCAL0", 16),
        ("Local1", 17),
        ("local2", 18),
        ("local3", 19),
        ("local4", 20),
        ("local5", 21),
        ("local6", 22),
        ("loCAl7", 23),
    ];
    let priorities = [
        ("emerg", 0),
        ("PANIC", 0),
        ("alert", 1),
        ("crit", 2),
        ("err", 3),
        ("Error", 3),
        ("warning", 4),
        ("warn", 4),
        ("notice", 5),
        ("info", 6),
        ("Debug", 7),
    ];
    let mut table: Vec<(String, usize)> = vec![("x".into(), 3 * 8 + 5)];
    for (name, number) in facilities {
        table.push((format!("x:{name}.info"), number * 8 + 6));
    }
    for (name, number) in priorities {
        table.push((format!("x:local7.{name}"), 23 * 8 + number));
    }
    table.extend((0..24).map(|number| {
        (
            format!("x:{number}.{}", number % 8),
            number * 8 + number % 8,
        )
    }));
    let dev = Dev::new();
    let socket = dev.datagrams();
    for (spec, number) in table {
        assert_eq!(shell(&dev, &spec, "echo said >&2").outcome().code, 0);
        let message = hear(&socket);
        assert!(
            message.starts_with(&format!("<{number}>")),
            "{spec}: {message}"
        );
    }
}

/// The service says every line of its client on stderr, and acknowledges each.
const REPEATER: &str = r#"while read -r line; do echo "$line" >&2; echo; done"#;

/// A service whose stderr, and skd's, goes to syslog.
fn repeater(dev: &Dev, options: &str) -> (Running, u16) {
    let skd = Skd::new("-1 -t 127.0.0.1:0");
    let skd = options.split_whitespace().fold(skd, Skd::word);
    let mut skd = skd
        .word("sh")
        .word("-c")
        .word(REPEATER)
        .under(&dev.enter())
        .spawn();
    let port = skd.port();
    (skd, port)
}

#[test]
fn rsyslog_and_busybox_get_facility_priority_tag_and_pid_of_skd() {
    if !need::root() {
        return;
    }
    for kind in ["rsyslog", "busybox"] {
        if !need::program(if kind == "busybox" { kind } else { "rsyslogd" }) {
            continue;
        }
        let dev = Dev::new();
        let syslogd = dev.syslogd(kind);
        let (skd, port) = repeater(&dev, "-v -L test-srv:local3.info");
        let pid = skd.pid();
        let head = format!("local3.info test-srv[{pid}]: ");
        syslogd.logs(&format!("{head}skd: info: listen tcp:127.0.0.1:{port}"));
        Client::tcp(port).says("said by a child\n").hears("\n");
        syslogd.logs(&format!("{head}said by a child"));
        // Nothing is left to stderr.
        assert_eq!(skd.stop().stderr, "\n");
        dev.has_no_logger();
    }
}

#[test]
fn a_program_in_skds_place_is_named_by_its_own_pid() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let socket = dev.datagrams();
    for options in ["-L", "-BL"] {
        let skd = Skd::new(options).word("uschedule:daemon.notice").word("--");
        let skd = skd
            .word("sh")
            .word("-c")
            .word("echo $$ >&2")
            .under(&dev.enter());
        assert_eq!(skd.outcome().code, 0);
        let message = hear(&socket);
        let (head, pid) = message.split_once(": ").unwrap();
        assert!(head.starts_with("<29>"), "{message}");
        assert!(head.ends_with(&format!(" uschedule[{pid}]")), "{message}");
        dev.has_no_logger();
    }
}

#[test]
fn the_motd_server_of_the_manual_works() {
    if !need::root() || !need::program("busybox") {
        return;
    }
    let dev = Dev::new();
    let syslogd = dev.syslogd("busybox");
    let (pidfile, motd) = (dev.path("pid"), dev.path("motd"));
    std::fs::write(&motd, "Welcome\n").unwrap();
    let skd = Skd::new("-1vt 127.0.0.1:0 -BP").word(&pidfile);
    let skd = skd
        .word("-L")
        .word("testsrv:daemon.info")
        .word("cat")
        .word(&motd);
    let outcome = skd.under(&dev.enter()).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let port: u16 = outcome.stdout.trim_end().parse().unwrap();
    assert_eq!(Client::tcp(port).hears_rest(), "Welcome\n");
    let pid: i32 = std::fs::read_to_string(&pidfile)
        .unwrap()
        .trim_end()
        .parse()
        .unwrap();
    let head = format!(" daemon.info testsrv[{pid}]: skd: info: ");
    syslogd.logs(&format!("{head}listen tcp:127.0.0.1:{port}"));
    for event in ["accept", "end"] {
        let begin = format!("{head}{event} tcp:127.0.0.1:{port} 127.0.0.1:");
        syslogd.logs_some(event, |line| line.contains(&begin));
    }
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    dev.has_no_logger();
    assert!(!std::path::Path::new(&pidfile).exists());
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// These seconds as date(1) writes them in a time zone.
fn stamps(seconds: RangeInclusive<u64>, zone: &str) -> Vec<String> {
    let stamp = |second| {
        let mut date = Command::new("date");
        date.arg(format!("-d@{second}")).arg("+%b %e %H:%M:%S");
        let stdout = date
            .env("TZ", zone)
            .env("LC_ALL", "C")
            .output()
            .unwrap()
            .stdout;
        String::from_utf8(stdout).unwrap().trim_end().to_owned()
    };
    seconds.map(stamp).collect()
}

/// A file of tzfile(5) for a zone in which today is the fifth of the month.
fn zone_of_the_fifth(path: &str) {
    let date = Command::new("date")
        .args(["-u", "+%d"])
        .output()
        .unwrap()
        .stdout;
    let today: i32 = String::from_utf8(date).unwrap().trim_end().parse().unwrap();
    let mut file = b"TZif".to_vec();
    file.extend([0; 16]);
    // No transitions or leap seconds, one kind of local time, four bytes of names.
    file.extend([0u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat());
    file.extend(((5 - today) * 86400).to_be_bytes());
    file.extend(*b"\0\0TST\0");
    std::fs::write(path, file).unwrap();
}

#[test]
fn the_time_is_local_and_the_day_padded_with_a_blank() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let socket = dev.datagrams();
    let zone = dev.path("zone");
    zone_of_the_fifth(&zone);
    for zone in ["UTC0", "Asia/Kolkata", "XST12:34", &format!(":{zone}")] {
        let before = now();
        let outcome = shell(&dev, "x", "echo said >&2").env("TZ", zone).outcome();
        assert_eq!(outcome.code, 0);
        let message = hear(&socket);
        let possible = stamps(before..=now(), zone);
        let stamp = message
            .get("<29>".len().."<29>Mmm dd hh:mm:ss".len())
            .unwrap();
        assert!(
            possible.iter().any(|one| one == stamp),
            "{zone}: {message} is none of {possible:?}"
        );
        assert_eq!(
            stamp.get(4..6) == Some(" 5"),
            zone.starts_with(':'),
            "{message}"
        );
    }
}

/// What `script` says arrives as these texts; the header is left out.
fn heard(script: &str, count: usize) -> Vec<String> {
    let dev = Dev::new();
    let socket = dev.datagrams();
    let mut skd = shell(&dev, "x", script).spawn();
    let mut texts = Vec::new();
    for _ in 0..count {
        let message = hear(&socket);
        assert!(message.len() <= 8192, "{} bytes", message.len());
        texts.push(message.split_once("]: ").unwrap().1.to_owned());
    }
    skd.seen.clear();
    assert_eq!(skd.ends().code, 0);
    texts
}

#[test]
fn empty_lines_are_left_out_and_control_characters_harmless() {
    if !need::root() {
        return;
    }
    let script = r"printf 'one\n\n\n  two\r\na\tb\001\033[31m\177\000c\377%%s\342\200\250\nlast without end' >&2";
    let expected = ["one", "  two", "a b??[31m??c?%s?", "last without end"];
    assert_eq!(heard(script, expected.len()), expected);
}

#[test]
fn long_lines_are_split_at_8_kib_and_lose_nothing() {
    if !need::root() {
        return;
    }
    let word = "0123456789\u{e9}";
    let script = format!("yes '{word}' | head -3000 | tr -d '\\n' >&2; echo >&2; echo short >&2");
    let texts = heard(&script, 6);
    assert_eq!(texts.get(..5).unwrap().concat(), word.repeat(3000));
    assert_eq!(texts.get(5).unwrap(), "short");
}

#[test]
fn rsyslog_keeps_the_pieces_of_a_long_line_whole() {
    if !need::root() || !need::program("rsyslogd") {
        return;
    }
    let dev = Dev::new();
    let syslogd = dev.syslogd("rsyslog");
    let script = "seq -s ' ' 1 9000 >&2; echo the end >&2";
    assert_eq!(shell(&dev, "long", script).outcome().code, 0);
    syslogd.logs("]: the end");
    let lines = syslogd.lines();
    let pieces = lines.iter().filter(|line| line.contains(" long["));
    let pieces = pieces.filter_map(|line| line.split_once("]: "));
    let text: String = pieces
        .map(|(_, text)| text)
        .filter(|text| *text != "the end")
        .collect();
    let numbers: Vec<String> = (1..=9000).map(|number| number.to_string()).collect();
    assert!(text == numbers.join(" "), "{} bytes", text.len());
}

#[test]
fn a_stream_socket_gets_every_line_with_nul_behind_it() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let socket = dev.streams();
    let skd = shell(
        &dev,
        "x:user.err",
        "echo one >&2; seq 1 5000 >&2; printf two >&2",
    )
    .spawn();
    let pid = skd.pid();
    let (mut connection, _) = socket.accept().unwrap();
    connection
        .set_read_timeout(Some(crate::kit::DEADLINE))
        .unwrap();
    let mut heard = String::new();
    connection.read_to_string(&mut heard).unwrap();
    let heads = heard.matches(&format!(" x[{pid}]: ")).count();
    let records = heard.split_terminator('\0').map(|record| {
        assert!(record.starts_with("<11>"), "{record:?}");
        record.split_once("]: ").unwrap().1.to_owned()
    });
    let numbers = (1..=5000).map(|number| number.to_string());
    let expected: Vec<String> = ["one".into()]
        .into_iter()
        .chain(numbers)
        .chain(["two".into()])
        .collect();
    assert_eq!(records.collect::<Vec<_>>(), expected);
    assert_eq!(heads, expected.len());
    assert_eq!(skd.ends().code, 0);
}

/// Told on the stderr that skd was started with, while it is there; what is said later waits and arrives.
#[test]
fn where_nobody_listens_yet_there_is_a_warning_and_nothing_is_lost() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let warning = |reason: &str| {
        format!(
            "skd: warning: unable to reach the system log at /dev/log: {reason}, keeping lines for it\n"
        )
    };
    let missing = warning("No such file or directory");
    let prog = || shell(&dev, "x", "echo kept >&2");
    let under = |options: &str| {
        let skd = Skd::new(&format!("-1 {options} -t 127.0.0.1:0 -L x cat"));
        skd.under(&dev.enter()).spawn()
    };
    for options in ["", "-q"] {
        let mut skd = under(options);
        let port = skd.port();
        Client::tcp(port).says("x").hears("x");
        let said = if options == "-q" { "\n" } else { &missing };
        assert_eq!(skd.stop().stderr, said);
    }
    // One that nobody has any more, as a syslogd that was killed leaves it.
    drop(dev.datagrams());
    let outcome = prog().outcome();
    let stale = warning("Connection refused");
    assert_eq!((outcome.code, outcome.stderr), (0, stale));
    let socket = dev.datagrams_again();
    assert!(hear(&socket).ends_with(": kept"));
    assert_eq!(prog().outcome().stderr, "");
    assert!(hear(&socket).ends_with(": kept"));
}

/// Whether somebody listens is found out without a connection that would look like somebody's.
#[test]
fn a_stream_socket_is_no_reason_to_warn_and_hears_of_the_logger_alone() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let socket = dev.streams();
    let outcome = shell(&dev, "x", "echo said >&2").outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let mut heard = String::new();
    let (mut connection, _) = socket.accept().unwrap();
    connection.read_to_string(&mut heard).unwrap();
    assert!(heard.ends_with(": said\0"), "{heard:?}");
    dev.has_no_logger();
    socket.set_nonblocking(true).unwrap();
    assert!(socket.accept().is_err(), "another connection");
}
