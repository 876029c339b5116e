//! `-S`: a program that is started again whenever it ends, and its signals.

use crate::kit::daemon::{Daemon, is_gone};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, probe};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// `skd -vS` with the probe, which has said that it runs; it ends by itself at the signals named.
fn told(ends: &str) -> Running {
    let mut skd = Skd::new("-vS --").word(probe()).word("told");
    for end in ends.split_whitespace() {
        skd = skd.word(end);
    }
    let mut running = skd.spawn();
    running.waits_for("skd: info: start ");
    running.waits_for("ready");
    running
}

/// Lines without what differs from run to run: `_` in place of pids, seconds and the probe's path.
fn plain(lines: &str) -> Vec<String> {
    let plain = |line: &str| {
        let mut is_number = false;
        let words = line.split(' ').map(|word| {
            let shown = if is_number { "_" } else { word };
            is_number = word == "pid" || word == "secs";
            shown
        });
        let words = words.collect::<Vec<_>>().join(" ");
        words.replace(&probe(), "probe")
    };
    let mut lines: Vec<String> = lines.lines().map(plain).collect();
    // Who speaks first when the program has just been started, it or skd, is nobody's to say.
    for place in 1..lines.len() {
        if lines[place - 1] == "ready" && lines[place].starts_with("skd: info: start ") {
            lines.swap(place - 1, place);
        }
    }
    lines
}

/// The first pid in the log.
fn pid_in(log: &str) -> i32 {
    let (_, rest) = log.split_once(" pid ").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn supervision_with_sockets_is_a_usage_error() {
    let text = "skd: usage: --supervise is for a program without sockets; try \"skd --help\"\n";
    let outcome = Skd::new("-S -t 127.0.0.1:0 cat").outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (100, text));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let skd = Skd::new("-S cat").listen_fds(vec![OwnedFd::from(socket)]);
    let outcome = skd.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (100, text));
}

#[test]
fn a_prog_that_is_missing_or_cannot_be_executed_at_the_start_is_111() {
    let folder = Folder::new();
    let prog = folder.script("prog", "");
    fs::write(&prog, "neither a script nor a binary").unwrap();
    let table = [
        ("/skd-no-such-program", "No such file or directory"),
        (&prog, "Exec format error"),
        ("/etc/passwd", "Permission denied"),
    ];
    for (prog, reason) in table {
        for words in ["-S", "-SB"] {
            let outcome = Skd::new(words).word("--").word(prog).outcome();
            let text = format!("skd: fatal: unable to run \"{prog}\": {reason}\n");
            assert_eq!((outcome.code, outcome.stderr), (111, text), "{words}");
        }
    }
}

/// A program that dies young is started after pauses that grow: what is between two starts is at least as long as told.
#[test]
fn a_program_that_dies_young_is_started_after_growing_pauses() {
    let folder = Folder::new();
    let starts = folder.path("starts");
    let prog = folder.script("prog", "cat /proc/uptime >> \"$1\"; exit 3");
    let mut skd = Skd::new("-vS --")
        .word(prog.as_str())
        .word(starts.as_str())
        .spawn();
    skd.waits_for("again in 4.000");
    let times = fs::read_to_string(&starts).unwrap();
    let outcome = skd.stop();
    let mut expected = Vec::new();
    for pause in [1, 2, 4] {
        expected.push(format!("skd: info: start \"{prog}\" pid _"));
        expected.push(format!(
            "skd: info: end \"{prog}\" pid _ exit 3 secs _ again in {pause}.000"
        ));
    }
    assert_eq!(plain(&outcome.stderr), expected);
    // Seconds since boot with two decimals, rounded down.
    let time = |line: &str| line.split(' ').next().unwrap().replace('.', "").parse();
    let times: Vec<u64> = times.lines().map(|line| time(line).unwrap()).collect();
    assert_eq!(times.len(), 3);
    assert!(
        times[1] - times[0] >= 99 && times[2] - times[1] >= 199,
        "{times:?}"
    );
}

#[test]
fn what_ended_how_is_told_and_asked_for_with_v_alone() {
    let mut skd = told("TERM");
    let first = pid_in(&skd.waits_for("skd: info: start "));
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    skd.waits_for_nth("ready", 2);
    let outcome = skd.stop();
    let expected = [
        "skd: info: start \"probe\" pid _",
        "ready",
        "skd: info: end \"probe\" pid _ signal KILL secs _ again in 1.000",
        "skd: info: start \"probe\" pid _",
        "ready",
        "got TERM",
        "skd: info: end \"probe\" pid _ exit 7 secs _",
    ];
    assert_eq!(plain(&outcome.stderr), expected);

    let mut quiet = Skd::new("-S --")
        .word(probe())
        .word("told")
        .word("TERM")
        .spawn();
    quiet.waits_for("ready");
    assert_eq!(quiet.stop().stderr, "ready\ngot TERM\n");
}

#[test]
fn term_int_and_quit_are_passed_on_and_skd_ends_with_the_program() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let skd = told("TERM INT QUIT");
        skd.signal(signal);
        let outcome = skd.ends();
        let name = signal.as_str().trim_start_matches("SIG").to_owned();
        let expected = [
            "skd: info: start \"probe\" pid _".to_owned(),
            "ready".into(),
            format!("got {name}"),
            "skd: info: end \"probe\" pid _ exit 7 secs _".into(),
        ];
        assert_eq!((outcome.code, plain(&outcome.stderr)), (0, expected.into()));
    }
}

#[test]
fn asked_to_end_while_it_rests_skd_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut skd = Skd::new("-vS false").spawn();
        skd.waits_for("again in 2.000");
        skd.signal(signal);
        let outcome = skd.ends();
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        assert_eq!(outcome.stderr.matches("skd: info: start ").count(), 2);
        assert_eq!(outcome.stderr.lines().count(), 4, "{}", outcome.stderr);
    }
}

#[test]
fn a_program_that_ignores_term_is_killed() {
    let mut skd = told("");
    let pid = pid_in(&skd.waits_for("skd: info: start "));
    skd.signal(Signal::SIGTERM);
    skd.waits_for("got TERM");
    skd.signal(Signal::SIGTERM);
    let outcome = skd.ends();
    let expected = [
        "skd: info: start \"probe\" pid _",
        "ready",
        "got TERM",
        "got TERM",
        "skd: info: end \"probe\" pid _ signal KILL secs _",
    ];
    assert_eq!(
        (outcome.code, plain(&outcome.stderr)),
        (0, expected.map(str::to_owned).into())
    );
    assert!(is_gone(pid));
}

#[test]
fn hup_usr1_and_usr2_are_passed_on_and_change_nothing_else() {
    let mut skd = told("TERM");
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        skd.signal(signal);
        skd.waits_for(&format!(
            "got {}",
            signal.as_str().trim_start_matches("SIG")
        ));
    }
    let outcome = skd.stop();
    let expected = [
        "skd: info: start \"probe\" pid _",
        "ready",
        "got HUP",
        "got USR1",
        "got USR2",
        "got TERM",
        "skd: info: end \"probe\" pid _ exit 7 secs _",
    ];
    assert_eq!(plain(&outcome.stderr), expected);
}

/// While nothing runs, these are nobody's: the pause is not cut short and skd does not end.
#[test]
fn hup_usr1_and_usr2_while_it_rests_do_nothing() {
    let mut skd = Skd::new("-vS false").spawn();
    skd.waits_for("again in 2.000");
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        skd.signal(signal);
    }
    skd.waits_for("again in 4.000");
    let outcome = skd.stop();
    assert_eq!(outcome.stderr.lines().count(), 6, "{}", outcome.stderr);
}

/// The report of the probe as `setting` makes its process, or as skd makes it there; without what is its own. No shell
/// stands between: it would set signals right.
fn report(setting: &str, skd: &[&str]) -> Vec<String> {
    const LAST: &str = "\nenv zzz=last\n";
    let folder = Folder::new();
    let out = fs::File::create(folder.path("out")).unwrap();
    let probe = probe();
    let words = setting.split(' ').chain(skd.iter().copied());
    let words: Vec<&str> = words.chain([probe.as_str(), "report"]).collect();
    let mut command = Command::new(words[0]);
    let command = command.args(&words[1..]).env("zzz", "last").stdout(out);
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let whole = eventually("a report", || {
        let text = fs::read_to_string(folder.path("out")).unwrap();
        Some(text.split_once(LAST)?.0.to_owned())
    });
    if !skd.is_empty() {
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    }
    assert!(child.wait().unwrap().success());
    let is_shared = |line: &&str| {
        let is_standard = line.starts_with("fd 0 ") || line.starts_with("fd 2 ");
        is_standard || !(line.starts_with("fd ") || line.starts_with("pid "))
    };
    whole.lines().filter(is_shared).map(str::to_owned).collect()
}

#[test]
fn the_program_has_everything_as_skd_was_started_with() {
    let settings = [
        "env",
        "env --ignore-signal=HUP,WINCH,PIPE",
        "env --default-signal=PIPE",
        "env --block-signal=USR1,USR2,ALRM,TERM",
        "env -C / NAME=value LISTENING=yes TCPREMOTEIP=10.0.0.1",
        "prlimit --nofile=200:300",
    ];
    for setting in settings {
        let skd = [crate::kit::skd::BINARY, "-S", "--"];
        assert_eq!(report(setting, &skd), report(setting, &[]), "{setting}");
    }
}

/// skd stays, and its manager speaks with it alone.
#[test]
fn the_program_does_not_hear_of_skds_manager() {
    let own = "NOTIFY_SOCKET=/dev/null WATCHDOG_USEC=1000000 WATCHDOG_PID=1";
    let skd = [crate::kit::skd::BINARY, "-S", "--"];
    let told = report(&format!("env {own}"), &skd);
    let is_managers = |line: &String| own.split(' ').any(|own| line.ends_with(own));
    assert!(!told.iter().any(is_managers), "{told:#?}");
    assert_eq!(told, report("env", &skd));
}

/// skd needs its children's ends to be told; the program is none the wiser.
#[test]
fn sigchld_that_was_ignored_is_ignored_in_the_program() {
    let setting = "env --ignore-signal=CHLD";
    let skd = [crate::kit::skd::BINARY, "-S", "--"];
    assert_eq!(report(setting, &skd), report(setting, &[]));
}

/// A child that skd had before it was skd, and what the program leaves behind, are none of its business.
#[test]
fn other_peoples_processes_do_not_confuse_it() {
    let folder = Folder::new();
    let before = folder.script("before", "sleep 0.1 & echo \"before $!\" >&2\nexec \"$@\"");
    let prog = folder.script("prog", "sleep 0.1 &\nexec \"$@\"");
    let mut skd = Skd::new("-vS --")
        .under(&before)
        .word(prog.as_str())
        .word(probe())
        .word("told")
        .word("TERM")
        .spawn();
    let foreign = skd.waits_for("before ");
    let foreign: i32 = foreign.strip_prefix("before ").unwrap().parse().unwrap();
    skd.waits_for("ready");
    eventually("the foreign child is reaped", || {
        (!fs::exists(format!("/proc/{foreign}")).unwrap()).then_some(())
    });
    let first = pid_in(&skd.waits_for("skd: info: start "));
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    skd.waits_for_nth("ready", 2);
    let outcome = skd.stop();
    let told = outcome.stderr.matches("skd: info: ").count();
    assert_eq!(told, 4, "{}", outcome.stderr);
}

#[test]
fn it_goes_with_a_background_a_pid_file_and_a_log() {
    let folder = Folder::new();
    let null = fs::File::options().write(true).open("/dev/null").unwrap();
    let skd = Skd::with_words(["-vSBP".into(), folder.path("pid"), "-L".into()])
        .descriptor(1, null)
        .word(format!(">{}", folder.path("log")))
        .word("--")
        .word(probe())
        .word("told")
        .word("TERM");
    let (daemon, said) = Daemon::start(skd, &folder);
    assert_eq!(said, "");
    let log = || fs::read_to_string(folder.path("log")).unwrap();
    let start = eventually("the start", || {
        let log = log();
        (log.contains("ready\n") && log.contains(" start ")).then_some(log)
    });
    let [program] = daemon.children()[..] else {
        panic!("{:?}", daemon.children());
    };
    assert!(start.contains(&format!(" pid {program}\n")), "{start}");
    let session = nix::unistd::getsid(Some(Pid::from_raw(program))).unwrap();
    let daemons = nix::unistd::getsid(Some(Pid::from_raw(daemon.pid()))).unwrap();
    assert_eq!(session, daemons);
    assert_ne!(session.as_raw(), daemon.pid());
    daemon.stop();
    assert!(is_gone(program));
    assert!(!fs::exists(folder.path("pid")).unwrap());
    let expected = [
        "skd: info: start \"probe\" pid _",
        "ready",
        "got TERM",
        "skd: info: end \"probe\" pid _ exit 7 secs _",
    ];
    assert_eq!(plain(&log()), expected);
}

#[test]
fn a_logger_that_dies_is_started_again_and_the_program_stays() {
    let folder = Folder::new();
    let skd = Skd::with_words(["-vSP", &folder.path("pid"), "-L", "skd-test", "--"]);
    let skd = skd.word(probe()).word("told").word("TERM").spawn();
    let called = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let both = || {
        let mut pids = skd.children();
        pids.sort_by_key(|pid| called(*pid));
        let names: Vec<String> = pids.iter().map(|pid| called(*pid)).collect();
        (names == ["probe\n", "skd-logger\n"]).then(|| (pids[0], pids[1]))
    };
    let (program, logger) = eventually("program and logger", both);
    kill(Pid::from_raw(logger), Signal::SIGKILL).unwrap();
    let (same, other) = eventually("another logger", || {
        both().filter(|(_, pid)| *pid != logger)
    });
    assert_eq!(same, program);
    assert_ne!(other, logger);
    skd.stop();
}

/// A rotated log is opened again while the program rests, too.
#[test]
fn hup_opens_the_log_again_while_it_rests() {
    let folder = Folder::new();
    let (log, old) = (folder.path("log"), folder.path("old"));
    let skd = Skd::with_words(["-vS", "-L", &format!(">{log}"), "--", "false"]).spawn();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    eventually("its rest", || {
        read(&log).contains("again in 2.000\n").then_some(())
    });
    fs::rename(&log, &old).unwrap();
    skd.signal(Signal::SIGHUP);
    eventually("the new file", || {
        read(&log).contains("again in 4.000\n").then_some(())
    });
    skd.stop();
    assert_eq!(read(&old).lines().count(), 4, "{}", read(&old));
}

/// The program's own descriptor is of the file as it was when it was started.
#[test]
fn hup_opens_the_log_again_for_the_next_program() {
    let folder = Folder::new();
    let (log, old) = (folder.path("log"), folder.path("old"));
    let skd = Skd::with_words([
        "-vS",
        "-L",
        &format!(">{log}"),
        "--",
        &probe(),
        "told",
        "TERM",
    ]);
    let skd = skd.spawn();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    eventually("the program", || {
        read(&log).contains("ready\n").then_some(())
    });
    fs::rename(&log, &old).unwrap();
    skd.signal(Signal::SIGHUP);
    eventually("HUP", || {
        let old = read(&old);
        let is_told = old.contains("got HUP\n") && old.contains(" start ");
        (is_told && fs::exists(&log).unwrap()).then_some(())
    });
    kill(Pid::from_raw(pid_in(&read(&old))), Signal::SIGKILL).unwrap();
    eventually("the next one", || {
        read(&log).contains("ready\n").then_some(())
    });
    skd.stop();
    assert_eq!(read(&old).lines().count(), 3, "{}", read(&old));
    assert_eq!(read(&log).lines().count(), 5, "{}", read(&log));
}
