//! USR2: another binary takes skd's place, and nobody notices.

mod asked;
mod failing;
mod jailed;
mod kept;
mod undecided;
mod unreadable;

use crate::kit::daemon::Daemon;
use crate::kit::net::{Client, asks, echoes, tcp_listener, udp};
use crate::kit::skd::{BINARY, Outcome, Running, Skd};
use crate::kit::{
    Folder, eventually, executable, facts, fails, holds_one_socket, need, probe, probing,
    reporting, told,
};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A copy of skd in a folder, which can be replaced while it runs.
pub(crate) struct Copy {
    folder: Folder,
    pub(crate) path: String,
}

impl Copy {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let path = folder.path("skd");
        let copy = Self { folder, path };
        copy.renew();
        copy
    }

    /// Puts a new file there, as a package manager does.
    pub(crate) fn renew(&self) -> u64 {
        let new = self.folder.copy(BINARY, "skd.new");
        fs::rename(&new, &self.path).unwrap();
        fs::metadata(&self.path).unwrap().ino()
    }

    /// Puts a script there.
    fn spoil(&self, text: &str) {
        let new = self.folder.path("skd.new");
        executable(&new, text);
        fs::rename(&new, &self.path).unwrap();
    }
}

/// Which file a process executes.
pub(crate) fn file_of(pid: i32) -> u64 {
    fs::metadata(format!("/proc/{pid}/exe")).map_or(0, |file| file.ino())
}

/// USR2, until the new file is executed by the same process, and serves.
pub(crate) fn upgrade(skd: &mut Running, copy: &Copy) {
    let file = copy.renew();
    skd.signal(Signal::SIGUSR2);
    let pid = skd.pid();
    eventually("the new binary", || (file_of(pid) == file).then_some(()));
    skd.status();
}

/// A connection is refused, reset or unanswered never, and what is counted is exact.
#[test]
fn twenty_upgrades_under_load_cost_no_connection() {
    let copy = Copy::new();
    let words = "-1 -c 50 -t 127.0.0.1:0 sh -c";
    let skd = Skd::new(words)
        .word("read line; echo \"$TCPCONNNUM $line\"; read line")
        .binary(&copy.path);
    let mut skd = skd.spawn();
    let port = skd.port();
    let mut held = Client::tcp(port);
    assert_eq!(held.says("held\n").hears_line(), "1 held");
    let (is_done, count) = (AtomicBool::new(false), AtomicU32::new(1));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // A hundred a second each, as far as the machine goes along.
                let mut next = Instant::now();
                while !is_done.load(Ordering::Relaxed) {
                    let mut client = Client::tcp(port);
                    let line = client.says("x\n").hears_line();
                    let (number, echo) = line.split_once(' ').unwrap();
                    assert!((2..=50).contains(&number.parse::<u32>().unwrap()), "{line}");
                    assert_eq!(echo, "x");
                    count.fetch_add(1, Ordering::Relaxed);
                    next += Duration::from_millis(10);
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            });
        }
        for _ in 0..20 {
            upgrade(&mut skd, &copy);
        }
        is_done.store(true, Ordering::Relaxed);
    });
    let count = count.load(Ordering::Relaxed);
    eventually("only the held one", || {
        skd.status().starts_with("1/50 ").then_some(())
    });
    assert_eq!(
        skd.status(),
        format!("1/50 accepted {count} denied 0 failed 0")
    );
    assert_eq!(held.hears_all(), "");
    skd.is_alone();
    assert_eq!(
        skd.status(),
        format!("0/50 accepted {count} denied 0 failed 0")
    );
    skd.stop();
}

#[test]
fn the_limit_holds_across_an_upgrade() {
    let copy = Copy::new();
    let skd = probing("-v -c 2 -t 127.0.0.1:0", "hold").binary(&copy.path);
    let mut skd = skd.start();
    let port = skd.port();
    let mut held = [Client::tcp(port), Client::tcp(port)];
    held.iter_mut().for_each(|client| drop(client.hears_line()));
    upgrade(&mut skd, &copy);
    assert_eq!(skd.status(), "2/2 accepted 2 denied 0 failed 0");
    let mut third = Client::tcp(port);
    let [first, second] = held;
    upgrade(&mut skd, &copy);
    assert_eq!(skd.children().len(), 2);
    assert_eq!(first.hears_all(), "bye\n");
    third.hears_line();
    let end = skd.waits_for("info: end ");
    assert!(
        end.contains(" exit 0 secs ") && end.ends_with(" count 1/2"),
        "{end}"
    );
    assert_eq!(second.hears_all(), "bye\n");
    assert_eq!(third.hears_all(), "bye\n");
    skd.waits_for_nth("info: end ", 3);
    assert_eq!(skd.status(), "0/2 accepted 3 denied 0 failed 0");
    skd.stop();
}

/// The new skd has what the first had, and leaves nothing more behind than that one would have.
#[test]
fn sockets_files_and_the_log_are_the_new_ones() {
    let copy = Copy::new();
    let path = |name: &str| copy.folder.path(name);
    let (served, pidfile, log) = (path("served"), path("pid"), path("log"));
    let (adopted, port) = tcp_listener();
    let words = [
        "-1vBP",
        &pidfile,
        "-L",
        &format!(">{log}"),
        "-l",
        &served,
        "-t",
        "127.0.0.1:0",
        "-0",
        "cat",
    ];
    let skd = Skd::with_words(words)
        .binary(&copy.path)
        .descriptor(0, adopted);
    let outcome = skd.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let made = outcome.stdout.trim_end().parse().unwrap();
    let daemon = Daemon::named_by(&pidfile);
    let open = || {
        fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
            .unwrap()
            .count()
    };
    // The caller has been told by now, and the end that told it is closed.
    echoes(made);
    let before = open();
    for round in 1..4 {
        let file = copy.renew();
        daemon.signal(Signal::SIGUSR2);
        eventually("the new binary", || {
            (file_of(daemon.pid()) == file).then_some(())
        });
        for port in [made, port] {
            echoes(port);
        }
        Client::unix(&served).says("x").hears("x");
        eventually("three connections", || {
            let text = fs::read_to_string(&log).unwrap();
            (text.matches("info: end ").count() == 3 * round + 1).then_some(())
        });
        // Nothing of the one before stays open, and the lock is held.
        assert_eq!(open(), before);
        let line = format!(
            "fatal: unable to write the pid file \"{pidfile}\": process {} holds it",
            daemon.pid()
        );
        fails(
            Skd::with_words(["-P", &pidfile, "-t", "127.0.0.1:0", "cat"]),
            111,
            &line,
        );
    }
    // HUP opens the log by its name again.
    let moved = path("log.1");
    fs::rename(&log, &moved).unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("a new log", || Path::new(&log).exists().then_some(()));
    echoes(made);
    eventually("a line there", || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("info: end ")
            .then_some(())
    });
    let text = fs::read_to_string(&moved).unwrap();
    // Ports and listeners are told once.
    assert_eq!(text.matches("info: listen ").count(), 3, "{text}");
    daemon.stop();
    for gone in [&served, &pidfile] {
        assert!(!Path::new(gone).exists(), "{gone}");
    }
}

#[test]
fn a_child_of_the_new_skd_is_given_what_one_of_the_old_was() {
    let copy = Copy::new();
    let skd = reporting("-v -t 127.0.0.1:0 -u 127.0.0.1:0")
        .binary(&copy.path)
        .envs("NOTIFY_SOCKET=/none KEPT=yes");
    let mut skd = skd.start();
    let port = skd.port();
    skd.port();
    let report = |skd: &Running| {
        let report = Client::tcp(port).hears_all();
        holds_one_socket(&report);
        let same: Vec<String> = ["signals", "limit", "cwd", "umask", "word"]
            .iter()
            .flat_map(|word| facts(&report, word))
            .map(str::to_owned)
            .collect();
        assert_eq!(
            facts(&report, "pid")[0].split(' ').nth(1),
            Some(skd.pid().to_string().as_str())
        );
        assert!(
            report.contains("env KEPT=yes\n") && !report.contains("env SKD_STATE"),
            "{report}"
        );
        let names = told(&report);
        let names: Vec<&str> = names
            .split(' ')
            .map(|word| word.split('=').next().unwrap())
            .collect();
        (same, names.join(" "))
    };
    let before = report(&skd);
    for _ in 0..3 {
        upgrade(&mut skd, &copy);
        assert_eq!(report(&skd), before);
    }
    skd.stop();
}

#[test]
fn a_binary_that_does_not_agree_leaves_everything_as_it_is() {
    let copy = Copy::new();
    let mut skd = probing("-v -t 127.0.0.1:0", "hold")
        .binary(&copy.path)
        .start();
    let port = skd.port();
    let mut held = Client::tcp(port);
    held.hears_line();
    let file = file_of(skd.pid());
    let wrong = [
        ("#!/bin/sh\nexit 100", "--check exits 100"),
        (
            "#!/bin/sh\n[ \"$1\" = --check ] && [ \"$2\" = -v ] && exit 3\nexit 0",
            "--check exits 3",
        ),
        (
            "#!/bin/sh\nkill -SEGV $$",
            "--check is ended by signal SEGV",
        ),
        ("#!/bin/sh\nexec sleep 1000", "--check took longer than 2 s"),
        ("\x7fELF junk", "Exec format error"),
        ("#!/bin/sh\nexit 127", "--check exits 127"),
        ("", "No such file or directory"),
    ];
    for (number, (text, reason)) in (1..).zip(wrong) {
        match text {
            "" => fs::remove_file(&copy.path).unwrap(),
            text => copy.spoil(text),
        }
        skd.signal(Signal::SIGUSR2);
        let line = skd.waits_for_nth("warning: unable to upgrade ", number);
        let path = &copy.path;
        let expected =
            format!("skd: warning: unable to upgrade to \"{path}\": {reason}, going on as before");
        assert_eq!(line, expected);
        assert_eq!(file_of(skd.pid()), file);
        let mut client = Client::tcp(port);
        client.hears_line();
        assert_eq!(client.hears_all(), "bye\n");
        eventually("the held one alone", || {
            (skd.children().len() == 1).then_some(())
        });
        assert_eq!(
            skd.status(),
            format!("1 accepted {} denied 0 failed 0", number + 1)
        );
    }
    // Mended, it is taken.
    upgrade(&mut skd, &copy);
    assert_eq!(held.hears_all(), "bye\n");
    skd.stop();
}

/// A new binary whose `--check` fails says why, in skd's own log.
#[test]
fn a_program_that_is_gone_stops_the_upgrade_and_not_the_service() {
    let copy = Copy::new();
    let prog = copy.folder.script("prog", "exec cat");
    let mut skd = Skd::new(&format!("-v -t 127.0.0.1:0 {prog}"))
        .binary(&copy.path)
        .start();
    let port = skd.port();
    let mut client = Client::tcp(port);
    client.says("x").hears("x");
    fs::remove_file(&prog).unwrap();
    skd.signal(Signal::SIGUSR2);
    skd.waits_for(&format!(
        "--check exits 111: unable to run \"{prog}\": No such file or directory, going on as before"
    ));
    client.says("y").hears("y");
    skd.stop();
}

/// Those with `-w` keep their listener, and those of datagrams their socket.
#[test]
fn programs_that_have_a_listener_keep_it() {
    let copy = Copy::new();
    let script = format!(
        "case $PROTO in TCP) exec {0} accept-until-end 0;; *) exec {0} talk-datagram;; esac",
        probe()
    );
    let words = "-v -w -t 127.0.0.1:0 -u 127.0.0.1:0 sh -c";
    let mut skd = Skd::new(words).word(script).binary(&copy.path).start();
    let (port, client) = (skd.port(), udp(skd.port()));
    let talk = |text: &str| {
        client.send(text.as_bytes()).unwrap();
        crate::kit::net::hear_udp(&client)
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let (stream, packets) = (asks(port, "a"), talk("a"));
    for _ in 0..2 {
        upgrade(&mut skd, &copy);
        assert_eq!(
            (asks(port, "b"), talk("b")),
            (stream.clone(), packets.clone())
        );
    }
    assert_eq!(skd.status(), "2 accepted 2 denied 0 failed 0");
    asks(port, "end");
    talk("end");
    skd.waits_for_nth("info: end ", 2);
    assert_ne!(asks(port, "c"), stream);
    assert_ne!(talk("c"), packets);
    skd.stop();
    asks(port, "end");
    talk("end");
}

/// The logger and its pipe go on: no line is lost, and no second logger is there.
#[test]
fn the_logger_stays_the_same() {
    if !need::root() {
        return;
    }
    let copy = Copy::new();
    let words = "-1v -L tag -t 127.0.0.1:0 cat";
    let mut skd = Skd::new(words).binary(&copy.path).spawn();
    let port = skd.port();
    let logger = eventually("the logger", || skd.children().first().copied());
    for _ in 0..3 {
        let file = copy.renew();
        skd.signal(Signal::SIGUSR2);
        eventually("the new binary", || {
            (file_of(skd.pid()) == file).then_some(())
        });
        echoes(port);
        eventually("the logger alone", || {
            (skd.children() == [logger]).then_some(())
        });
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(logger), Signal::SIGKILL).unwrap();
    eventually("another logger", || {
        let children = skd.children();
        (children.len() == 1 && children != [logger]).then_some(())
    });
    skd.stop();
}

#[test]
fn privileges_stay_given_up() {
    if !need::root() {
        return;
    }
    let copy = Copy::new();
    fs::set_permissions(
        copy.folder.path(""),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let words = "-v --user nobody --no-new-privs --umask 027 --chdir /usr -t 127.0.0.1:0 sh -c";
    let skd = Skd::new(words).word("id -u; umask; pwd").binary(&copy.path);
    let mut skd = skd.start();
    let port = skd.port();
    let before = Client::tcp(port).hears_all();
    assert!(before.ends_with("\n0027\n/usr\n"), "{before}");
    upgrade(&mut skd, &copy);
    assert_eq!(Client::tcp(port).hears_all(), before);
    assert_eq!(skd.field("NoNewPrivs"), "1");
    skd.stop();
}

/// Children that end while one skd becomes another are not forgotten.
#[test]
fn every_end_is_counted_whenever_it_comes() {
    let copy = Copy::new();
    let mut skd = Skd::new("-1 -t 127.0.0.1:0 sleep 0.05")
        .binary(&copy.path)
        .spawn();
    let port = skd.port();
    let count = 8 * 25;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..count {
                drop(Client::tcp(port));
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for _ in 0..8 {
            upgrade(&mut skd, &copy);
        }
    });
    let expected = format!("0 accepted {count} denied 0 failed 0");
    eventually("no child", || (skd.status() == expected).then_some(()));
    skd.is_alone();
    skd.stop();
}

#[test]
fn old_children_are_known_to_the_new_skd_by_the_hundred() {
    let copy = Copy::new();
    let mut skd = probing("-1 -t 127.0.0.1:0", "hold")
        .binary(&copy.path)
        .spawn();
    let port = skd.port();
    let clients: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = Client::tcp(port);
            client.hears_line();
            client
        })
        .collect();
    upgrade(&mut skd, &copy);
    assert_eq!(skd.status(), "200 accepted 200 denied 0 failed 0");
    echo_and_leave(clients);
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 200 denied 0 failed 0");
    skd.stop();
}

fn echo_and_leave(clients: Vec<Client>) {
    for client in clients {
        assert_eq!(client.hears_all(), "bye\n");
    }
}

/// A text in memory, sealed as skd seals its own.
fn memory(text: &str) -> OwnedFd {
    let made = memfd_create(c"state", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let mut file = fs::File::from(made);
    file.write_all(text.as_bytes()).unwrap();
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file.into()
}

/// One of another version, say: the sockets are kept, and children are counted from zero.
#[test]
fn a_state_that_cannot_be_read_costs_no_socket() {
    let warning = "skd: warning: the state of the skd before cannot be read, counting from zero";
    for text in ["skd-state 1\nend\n", "", "junk"] {
        let (listener, port) = tcp_listener();
        let words = "-v -B --adopt stdin --ready-fd 77 cat";
        let skd = Skd::new(words)
            .listen_fds(vec![listener])
            .descriptor(9, memory(text));
        let mut skd = skd.env("SKD_STATE", "9").start();
        assert_eq!(skd.seen[0], warning);
        echoes(port);
        skd.waits_for("info: end ");
        assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 0");
        skd.stop();
    }
}

/// Nor does it leave the file of a socket that was skd's own; that of another stays.
#[test]
fn a_state_that_cannot_be_read_leaves_no_socket_file_behind() {
    for (name, is_own) in [("skd-own", true), ("skd", false), ("else", false)] {
        let folder = Folder::new();
        let path = folder.path("served");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let skd = Skd::new("-v cat").listen_fds(vec![listener.into()]);
        let skd = skd.descriptor(9, memory("junk")).env("SKD_STATE", "9");
        let skd = skd.env("LISTEN_FDNAMES", name).start();
        Client::unix(&path).says("x").hears("x");
        skd.stop();
        assert_eq!(!Path::new(&path).exists(), is_own, "{name}");
    }
}

/// Such a variable means nothing unless it is for this process.
#[test]
fn a_state_of_another_process_is_none() {
    let Outcome { code, stderr, .. } = Skd::new("--check cat").env("SKD_STATE", "9").outcome();
    assert_eq!((code, stderr.as_str()), (0, ""));
    let skd = Skd::new("--check -0 cat").envs("SKD_STATE=9 LISTEN_PID=1 LISTEN_FDS=1");
    let outcome = skd.descriptor(9, memory("junk")).outcome();
    assert_eq!(outcome.code, 111, "{outcome:#?}");
    let stopping = Copy::new();
    let mut skd = probing("-vv --drain 600 -t 127.0.0.1:0", "hold")
        .binary(&stopping.path)
        .start();
    let mut client = Client::tcp(skd.port());
    client.hears_line();
    skd.signal(Signal::SIGTERM);
    skd.waits_for("asked to stop");
    // Who is about to stop is not replaced.
    skd.signal(Signal::SIGUSR2);
    skd.waits_for("asked to upgrade, but busy");
    drop(client);
    assert_eq!(skd.ends().code, 0);
}
