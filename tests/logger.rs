//! The logger of `-L TAG`: what it lives through, and what lives through its end.

use crate::kit::daemon::children_of;
use crate::kit::net::Client;
use crate::kit::skd::{Running, Skd, field};
use crate::kit::syslog::{Dev, Syslogd, hear};
use crate::kit::{eventually, need};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

/// The service says every line of its client on stderr, and acknowledges each.
const REPEATER: &str = r#"while read -r line; do echo "$line" >&2; echo; done"#;

/// skd serving a shell script, with stderr going to syslog as `x` says; ready.
fn serve(dev: &Dev, options: &str, script: &str) -> (Running, u16) {
    let skd = Skd::new(&format!("-1 -t 127.0.0.1:0 -L x {options} sh -c"));
    let mut skd = skd.word(script).under(&dev.enter()).spawn();
    let port = skd.port();
    (skd, port)
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// The syslogds that are there; rsyslog unlinks /dev/log when it ends, busybox leaves it.
fn kinds() -> Vec<&'static str> {
    let both = [("rsyslog", "rsyslogd"), ("busybox", "busybox")];
    let there = both
        .into_iter()
        .filter(|(_, program)| need::program(program));
    there.map(|(kind, _)| kind).collect()
}

#[test]
fn lines_wait_while_syslogd_is_restarted() {
    if !need::root() {
        return;
    }
    for kind in kinds() {
        let dev = Dev::new();
        let (skd, port) = serve(&dev, "", REPEATER);
        let mut client = Client::tcp(port);
        client.says("before there was one\n").hears("\n");
        let head = format!("daemon.notice x[{}]: ", skd.pid());
        for round in ["first", "second", "third"] {
            let syslogd = dev.syslogd(kind);
            let way = if round == "first" {
                Signal::SIGTERM
            } else {
                Signal::SIGKILL
            };
            client.says(&format!("{round} while there\n")).hears("\n");
            syslogd.logs(&format!("{head}{round} while there"));
            syslogd.ends_by(way);
            client.says(&format!("{round} while away\n")).hears("\n");
        }
        let syslogd = dev.syslogd(kind);
        client.says("end\n").hears("\n");
        syslogd.logs(&format!("{head}end"));
        let lines = syslogd.lines();
        let said = lines.iter().filter_map(|line| line.split_once(&head));
        let said: Vec<&str> = said.map(|(_, text)| text).collect();
        let expected = [
            "before there was one",
            "first while there",
            "first while away",
            "second while there",
            "second while away",
            "third while there",
            "third while away",
            "end",
        ];
        assert_eq!(said, expected);
        skd.stop();
    }
}

/// How long each numbered line is, the header that the logger adds left out.
const PAD: usize = 120;

/// Answers `done` when it has written so many numbered lines, or why it could not; then goes on as a repeater.
fn flood(count: u32) -> String {
    let lines = format!("seq -f '%06.0f {}' 1 {count} >&2", "x".repeat(PAD - 7));
    format!("echo $$; read -r go || exit; {lines}; echo done $?; {REPEATER}")
}

/// Of `count` numbered lines the first ones have arrived in order, and those that are missing have been told.
fn holds_all(syslogd: &Syslogd, count: u32) -> usize {
    const LOST: &str = " lines were lost";
    syslogd.logs(LOST);
    // More may be lost when the queue is full again; then that is told later.
    eventually("every line has arrived or is told to be lost", || {
        let (mut numbers, mut lost) = (Vec::new(), 0);
        for line in syslogd.lines() {
            let text = line.split_once("]: ").map_or("", |(_, text)| text);
            let told = text.strip_suffix(LOST);
            if let Some(told) = told.and_then(|text| text.strip_prefix("skd: warning: ")) {
                lost += told.parse::<u32>().unwrap();
            } else if text.len() == PAD {
                numbers.push(text.get(..6).unwrap().parse::<u32>().unwrap());
            }
        }
        assert!(numbers.is_sorted_by(|one, other| one < other));
        let arrived = u32::try_from(numbers.len()).unwrap();
        assert!(arrived + lost <= count, "{arrived} arrived, {lost} lost");
        (arrived + lost == count).then_some(numbers.len())
    })
}

#[test]
fn what_syslogd_misses_is_kept_up_to_a_mebibyte_and_the_rest_counted() {
    if !need::root() {
        return;
    }
    for kind in kinds() {
        let dev = Dev::new();
        let syslogd = dev.syslogd(kind);
        let (skd, port) = serve(&dev, "", &flood(10_000));
        let mut early = Client::tcp(port);
        early.hears_line();
        syslogd.ends_by(Signal::SIGKILL);
        early.says("go\n").hears("done 0\n");
        // The service goes on meanwhile.
        Client::tcp(port).hears_line();
        let syslogd = dev.syslogd(kind);
        let arrived = holds_all(&syslogd, 10_000);
        early.says("end\n").hears("\n");
        syslogd.logs("]: end");
        let head = format!("<29>Mmm dd hh:mm:ss x[{}]: ", skd.pid());
        let kept = 1024 * 1024 / (PAD + head.len());
        // What was in the pipe may have come on top when syslogd was there again.
        assert!(
            (kept..=kept + 65536 / PAD).contains(&arrived),
            "{arrived} of {kept}"
        );
        skd.stop();
    }
}

#[test]
fn a_syslogd_that_is_stopped_stops_nobody_else() {
    if !need::root() {
        return;
    }
    for kind in kinds() {
        let dev = Dev::new();
        let syslogd = dev.syslogd(kind);
        let (skd, port) = serve(&dev, "", &flood(50_000));
        syslogd.signal(Signal::SIGSTOP);
        let mut client = Client::tcp(port);
        client.hears_line();
        client.says("go\n").hears("done 0\n");
        // Another is served meanwhile.
        assert_ne!(Client::tcp(port).hears_line(), "");
        syslogd.signal(Signal::SIGCONT);
        let arrived = holds_all(&syslogd, 50_000);
        assert!(arrived > 1024 * 1024 / 2 / PAD, "{arrived}");
        client.says("end\n").hears("\n");
        syslogd.logs("]: end");
        skd.stop();
    }
}

#[test]
fn the_logger_lives_in_skds_session_and_holds_nothing_else_of_skd() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let socket = dev.datagrams();
    let pidfile = dev.path("pid");
    let path = dev.path("socket");
    let skd = Skd::new("-B -v --user nobody -L x")
        .word("-P")
        .word(&pidfile);
    let skd = skd.word("-l").word(&path).word("--").word("cat");
    let outcome = skd.under(&dev.enter()).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(hear(&socket).contains("skd: info: listen "));
    let pid: i32 = std::fs::read_to_string(&pidfile)
        .unwrap()
        .trim_end()
        .parse()
        .unwrap();
    let logger = dev.logger();
    // As ps -f shows it.
    let words = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(words(logger), words(pid));
    let session = |pid| getsid(Some(Pid::from_raw(pid))).unwrap();
    assert_eq!(session(logger), session(pid));
    assert_ne!(session(logger), getsid(None).unwrap());
    assert_eq!(field(logger, "Uid").unwrap(), "65534\t65534\t65534\t65534");
    let open = |pid| -> Vec<String> {
        let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets = all.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        targets
            .map(|target| target.to_str().unwrap().to_owned())
            .collect()
    };
    let of_skd = open(pid);
    assert!(
        of_skd.iter().any(|target| target.ends_with("/pid")),
        "{of_skd:?}"
    );
    for target in open(logger) {
        let is_own = target.starts_with("socket:") && !of_skd.contains(&target);
        let is_known = ["/dev/null", "/dev"].contains(&&*target) || target.starts_with("pipe:");
        assert!(is_own || is_known, "{target}");
    }
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    dev.has_no_logger();
}

#[test]
fn a_child_that_outlives_skd_still_logs_and_the_logger_ends_with_it() {
    if !need::root() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let dev = Dev::new();
        let socket = dev.datagrams();
        let (skd, port) = serve(&dev, "", REPEATER);
        let mut client = Client::tcp(port);
        client.says("before\n").hears("\n");
        assert!(hear(&socket).ends_with(": before"));
        let pid = skd.pid();
        skd.signal(signal);
        let code = if signal == Signal::SIGTERM {
            0
        } else {
            128 + 9
        };
        assert_eq!(skd.ends().code, code);
        client.says("after\n").hears("\n");
        assert!(hear(&socket).ends_with(&format!(" x[{pid}]: after")));
        assert_eq!(dev.loggers().len(), 1);
        drop(client);
        dev.has_no_logger();
    }
}

#[test]
fn a_logger_that_is_killed_is_started_again_and_nobody_else_dies() {
    if !need::root() || !need::program("busybox") {
        return;
    }
    let dev = Dev::new();
    let syslogd = dev.syslogd("busybox");
    let (skd, port) = serve(&dev, "", &flood(200_000));
    let mut client = Client::tcp(port);
    let child: i32 = client.hears_line().parse().unwrap();
    let mut last = dev.logger();
    end(last);
    syslogd.logs("]: skd: warning: the logger has died, started it again");
    client.says("go\n");
    for _ in 0..30 {
        // Whatever it is doing by now: being started, reading, sending.
        last = eventually("another logger", || {
            skd.children()
                .into_iter()
                .find(|pid| ![child, last].contains(pid))
        });
        end(last);
    }
    client.hears("done 0\n");
    client.says("end\n").hears("\n");
    syslogd.logs("]: end");
    assert_ne!(Client::tcp(port).hears_line(), "");
    assert_ne!(dev.logger(), last);
    skd.stop();
}

#[test]
fn a_logger_that_is_started_again_in_a_chroot_finds_dev_log_and_has_no_more_rights() {
    if !need::root() || !need::program("busybox") {
        return;
    }
    let dev = Dev::new();
    let syslogd = dev.syslogd("busybox");
    let jail = dev.path("jail");
    crate::kit::jail(&jail);
    let options = format!("--user nobody --no-new-privs --chroot {jail}");
    let (skd, port) = serve(&dev, &options, REPEATER);
    let mut client = Client::tcp(port);
    for text in ["first", "second"] {
        client.says(&format!("{text}\n")).hears("\n");
        syslogd.logs(&format!(" daemon.notice x[{}]: {text}", skd.pid()));
        let logger = dev.logger();
        for (name, value) in [
            ("Uid", "65534\t65534\t65534\t65534"),
            ("Gid", "65534\t65534\t65534\t65534"),
            ("Groups", "65534"),
            ("CapEff", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapInh", "0000000000000000"),
            ("NoNewPrivs", "1"),
        ] {
            assert_eq!(
                field(logger, name).unwrap(),
                value,
                "{name} of the {text} logger"
            );
        }
        end(logger);
        eventually("another logger", || {
            dev.loggers().into_iter().find(|pid| *pid != logger)
        });
    }
    skd.stop();
}

#[test]
fn a_program_in_skds_place_has_no_logger_among_its_children() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let socket = dev.datagrams();
    let skd = Skd::new("-L x sh -c").word("echo there >&2; exec sleep 1000");
    let skd = skd.under(&dev.enter()).spawn();
    assert!(hear(&socket).ends_with(&format!(" x[{}]: there", skd.pid())));
    assert_eq!(skd.children(), Vec::<i32>::new());
    let logger = dev.logger();
    assert!(!children_of(skd.pid()).contains(&logger));
    assert_ne!(field(logger, "PPid").unwrap(), skd.pid().to_string());
    skd.signal(Signal::SIGTERM);
    assert_eq!(skd.ends().code, 128 + 15);
    dev.has_no_logger();
}

#[test]
fn a_supervisor_starts_its_logger_again_too() {
    if !need::root() {
        return;
    }
    let dev = Dev::new();
    let socket = dev.datagrams();
    let skd = Skd::new("-S -L x sh -c").word("echo there >&2; exec sleep 1000");
    let skd = skd.under(&dev.enter()).spawn();
    assert!(hear(&socket).ends_with(&format!(" x[{}]: there", skd.pid())));
    end(dev.logger());
    let warning = "skd: warning: the logger has died, started it again";
    assert!(hear(&socket).ends_with(&format!(" x[{}]: {warning}", skd.pid())));
    skd.stop();
    dev.has_no_logger();
}
