//! `-P`: one live owner, told by a lock; the file says who.

use crate::kit::daemon::{self, Daemon};
use crate::kit::net::Client;
use crate::kit::skd::{BINARY, Outcome, Running, Skd};
use crate::kit::{Folder, eventually, probe};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

/// `skd -v1P FILE -t 127.0.0.1:0`; PROG is the test's.
fn serving(file: &str) -> Skd {
    Skd::with_words(["-v1P", file, "-t", "127.0.0.1:0"])
}

/// `skd -S`, or skd that becomes the program, which has said that it runs.
fn without_sockets(words: &str, file: &str) -> Running {
    let mut running = Skd::new(words)
        .word("-P")
        .word(file)
        .word("--")
        .word(probe())
        .word("told")
        .word("TERM")
        .spawn();
    running.waits_for("ready");
    running
}

fn is_refused(file: &str, reason: &str) {
    let outcome = serving(file).word("cat").outcome();
    let text = format!("skd: fatal: unable to write the pid file \"{file}\": {reason}\n");
    assert_eq!((outcome.code, outcome.stderr), (111, text));
    assert_eq!(outcome.stdout, "");
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path("")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(file: &str) -> u32 {
    fs::symlink_metadata(file).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_live_owner_is_fatal_and_named() {
    let folder = Folder::new();
    let file = folder.path("pid");
    let owner = serving(&file).word("cat").start();
    let reason = format!("process {} holds it", owner.pid());
    is_refused(&file, &reason);
    for words in ["-B", "-S", "-SB", ""] {
        let again = Skd::new(words).word("-P").word(file.as_str());
        let outcome = again.word("--").word("cat").outcome();
        let text = format!("skd: fatal: unable to write the pid file \"{file}\": {reason}\n");
        assert_eq!((outcome.code, outcome.stderr), (111, text), "{words}");
    }
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{}\n", owner.pid())
    );
    assert_eq!(names(&folder), ["pid"]);
    owner.stop();
}

/// As another pid namespace has it, or a text that somebody spoilt.
#[test]
fn the_lock_decides_whatever_the_text_says() {
    let folder = Folder::new();
    let file = folder.path("pid");
    for text in ["", "nonsense\n", "4194999\n"] {
        fs::write(&file, text).unwrap();
        let lock = fs::File::open(&file).unwrap();
        lock.lock().unwrap();
        is_refused(&file, &format!("process {} holds it", std::process::id()));
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        drop(lock);
        serving(&file).word("cat").start().stop();
    }
}

/// The program is gone, its own child has the lock on.
#[test]
fn whoever_inherits_the_lock_is_the_owner_though_nobody_knows_who_it_is() {
    let folder = Folder::new();
    let file = folder.path("pid");
    let outcome =
        Skd::with_words(["-P", &file, "sh", "-c", "sleep 600 >&- 2>&- <&- & echo $!"]).outcome();
    let heir = Pid::from_raw(outcome.stdout.trim().parse().unwrap());
    is_refused(&file, "another process holds its lock");
    kill(heir, Signal::SIGKILL).unwrap();
    eventually("the end of the lock", || {
        fs::File::open(&file).unwrap().try_lock().ok()
    });
    serving(&file).word("cat").start().stop();
}

/// The address is taken, too, but that is not what is told, and the unix socket's file is not made.
#[test]
fn a_live_owner_is_looked_for_before_anything_is_bound() {
    let folder = Folder::new();
    let file = folder.path("pid");
    let owner = serving(&file).word("cat").start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let outcome = Skd::with_words(["-P", &file, "-l", &folder.path("socket"), "-t"])
        .word(taken.local_addr().unwrap().to_string())
        .word("cat")
        .outcome();
    let pid = owner.pid();
    let text =
        format!("skd: fatal: unable to write the pid file \"{file}\": process {pid} holds it\n");
    assert_eq!((outcome.code, outcome.stderr), (111, text));
    assert_eq!(names(&folder), ["pid"]);
    owner.stop();
}

#[test]
fn a_symbolic_link_is_refused_and_its_target_untouched() {
    let folder = Folder::new();
    let (target, link, dangling) = (
        folder.path("target"),
        folder.path("link"),
        folder.path("dangling"),
    );
    fs::write(&target, "precious").unwrap();
    symlink(&target, &link).unwrap();
    symlink(folder.path("nothing"), &dangling).unwrap();
    is_refused(&link, "it is a symbolic link");
    is_refused(&dangling, "it is a symbolic link");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(names(&folder), ["dangling", "link", "target"]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn what_is_no_regular_file_is_refused_and_stays() {
    let folder = Folder::new();
    let (inner, fifo, socket) = (
        folder.path("folder"),
        folder.path("fifo"),
        folder.path("socket"),
    );
    fs::create_dir(&inner).unwrap();
    nix::unistd::mkfifo(fifo.as_str(), Mode::S_IRWXU).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    is_refused(&inner, "it is no regular file");
    is_refused(&fifo, "it is no regular file");
    let outcome = serving(&socket).word("cat").outcome();
    assert_eq!(outcome.code, 111, "{outcome:#?}");
    assert!(outcome.stderr.contains("unable to write the pid file "));
    assert_eq!(names(&folder), ["fifo", "folder", "socket"]);
    let kind = |path: &str| fs::symlink_metadata(path).unwrap().file_type();
    assert!(kind(&inner).is_dir() && kind(&fifo).is_fifo() && kind(&socket).is_socket());
}

#[test]
fn a_start_that_fails_later_leaves_no_pid_file() {
    let folder = Folder::new();
    let file = folder.path("pid");
    fs::write(&file, "1\n").unwrap();
    let outcome = serving(&file).word("/skd-no-such-program").outcome();
    assert_eq!(outcome.code, 111, "{outcome:#?}");
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn the_file_has_the_pid_and_a_newline_and_mode_0644_whatever_the_umask() {
    let folder = Folder::new();
    let masked = folder.script("masked", "umask $1; shift; exec \"$@\"");
    for umask in ["000", "022", "077", "777"] {
        let file = folder.path("pid");
        let skd = serving(&file)
            .under(&format!("{masked} {umask}"))
            .word("cat")
            .start();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!((text, mode(&file)), (format!("{}\n", skd.pid()), 0o644));
        assert_eq!(names(&folder), ["masked", "pid"]);
        skd.stop();
        assert_eq!(names(&folder), ["masked"]);
    }
}

#[test]
fn a_stale_file_is_replaced_whatever_it_says() {
    let folder = Folder::new();
    let file = folder.path("pid");
    // A live process, one that cannot be, nonsense, and more than a pid needs.
    for stale in [
        "1\n",
        "4194999\n",
        "",
        "nonsense",
        &"1234567890\n".repeat(100),
    ] {
        fs::write(&file, stale).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let skd = serving(&file).word("cat").start();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!((text, mode(&file)), (format!("{}\n", skd.pid()), 0o644));
        assert_eq!(names(&folder), ["pid"]);
        skd.stop();
    }
}

#[test]
fn a_name_as_long_as_names_can_be_will_do() {
    let folder = Folder::new();
    let name = "x".repeat(255);
    let skd = serving(&folder.path(&name)).word("cat").start();
    assert_eq!(names(&folder), [name]);
    skd.stop();
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn the_file_is_removed_at_the_end_also_from_another_folder() {
    let folder = Folder::new();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let skd = Skd::new("-vP pid --chdir / -t 127.0.0.1:0 cat")
            .under(&format!("env -C {}", folder.path("")))
            .start();
        assert_eq!(names(&folder), ["pid"]);
        skd.signal(signal);
        let outcome = skd.ends();
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        assert_eq!(names(&folder), [""; 0], "{signal}");
    }
}

#[test]
fn another_file_in_its_place_is_kept_and_a_missing_one_is_no_trouble() {
    let folder = Folder::new();
    let file = folder.path("pid");
    let skd = serving(&file).word("cat").start();
    fs::write(folder.path("new"), "another\n").unwrap();
    fs::rename(folder.path("new"), &file).unwrap();
    skd.stop();
    assert_eq!(fs::read_to_string(&file).unwrap(), "another\n");

    let skd = serving(&file).word("cat").start();
    fs::remove_file(&file).unwrap();
    let outcome = skd.stop();
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
}

/// Its child lives on, and does not hold the lock.
#[test]
fn the_file_that_a_killed_skd_leaves_is_taken_over() {
    let folder = Folder::new();
    let file = folder.path("pid");
    let mut skd = serving(&file).word(probe()).word("hold").start();
    let mut client = Client::tcp(skd.port());
    assert!(client.hears_line().starts_with("ready "));
    let killed = skd.pid();
    skd.signal(Signal::SIGKILL);
    assert_eq!(skd.ends().code, 128 + 9);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{killed}\n"));
    let next = serving(&file).word("cat").start();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{}\n", next.pid())
    );
    next.stop();
    assert_eq!(client.hears_all(), "bye\n");
}

#[test]
fn without_sockets_the_program_inherits_the_lock_and_the_file_stays() {
    let folder = Folder::new();
    let file = folder.path("pid");
    let program = without_sockets("", &file);
    let text = format!("{}\n", program.pid());
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(mode(&file), 0o644);
    is_refused(&file, &format!("process {} holds it", program.pid()));
    program.signal(Signal::SIGTERM);
    let Outcome { code, stderr, .. } = program.ends();
    assert_eq!((code, stderr.as_str()), (7, "ready\ngot TERM\n"));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    let next = without_sockets("", &file);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{}\n", next.pid())
    );
    assert_eq!(names(&folder), ["pid"]);
}

#[test]
fn under_supervision_the_file_is_skds_and_is_removed() {
    let folder = Folder::new();
    let file = folder.path("pid");
    let skd = without_sockets("-S", &file);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{}\n", skd.pid())
    );
    is_refused(&file, &format!("process {} holds it", skd.pid()));
    skd.stop();
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn in_the_background_the_file_has_the_daemons_pid() {
    let folder = Folder::new();
    let skd = daemon::skd(&folder).word("-t").word("127.0.0.1:0");
    let (daemon, _) = Daemon::start(skd.word("cat"), &folder);
    let exe = fs::read_link(format!("/proc/{}/exe", daemon.pid())).unwrap();
    assert_eq!(exe, fs::canonicalize(BINARY).unwrap());
    assert_eq!(mode(&folder.path("pid")), 0o644);
    is_refused(
        &folder.path("pid"),
        &format!("process {} holds it", daemon.pid()),
    );
    daemon.stop();
    assert_eq!(names(&folder), ["log"]);
}

/// Half of the races begin without a file, half with a stale one that a killed owner left.
#[test]
fn of_two_that_race_for_one_file_exactly_one_wins() {
    let folder = Folder::new();
    let file = folder.path("pid");
    let race = || {
        Skd::with_words(["-BP", &file, "-t", "127.0.0.1:0", "-L"])
            .word(format!(">>{}", folder.path("log")))
            .word("cat")
            .outcome()
    };
    for round in 0..100 {
        let outcomes = std::thread::scope(|scope| {
            let other = scope.spawn(race);
            [race(), other.join().unwrap()]
        });
        let mut codes = outcomes.each_ref().map(|outcome| outcome.code);
        codes.sort_unstable();
        assert_eq!(codes, [0, 111], "round {round}: {outcomes:#?}");
        let lost = outcomes.iter().find(|outcome| outcome.code == 111).unwrap();
        let text = format!("skd: fatal: unable to write the pid file \"{file}\": process ");
        assert!(lost.stderr.starts_with(&text), "{}", lost.stderr);
        let winner = Daemon::named_by(&file);
        let exe = fs::read_link(format!("/proc/{}/exe", winner.pid())).unwrap();
        assert_eq!(exe, fs::canonicalize(BINARY).unwrap());
        assert_eq!(names(&folder), ["log", "pid"]);
        if round % 2 == 0 {
            winner.stop();
            eventually("its end", || (!fs::exists(&file).unwrap()).then_some(()));
        } else {
            winner.signal(Signal::SIGKILL);
            winner.ends();
        }
    }
}
