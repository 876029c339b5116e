//! `-B`: the caller's skd ends when the daemon is ready, or as the daemon did.

use crate::kit::daemon::{self, Daemon, children_of, is_gone};
use crate::kit::net::Client;
use crate::kit::skd::{BINARY, Skd};
use crate::kit::{Folder, eventually, need, probe};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Runs a shell's command line in a terminal of its own; returns what it wrote there.
fn in_a_terminal(command: &str) -> String {
    let mut script = Command::new("timeout");
    script.args(["60", "script", "-qec", command, "/dev/null"]);
    let output = script
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Parent, process group, session and terminal, as /proc/PID/stat has them.
fn kinship(pid: i32) -> [i32; 4] {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    let mut fields = fields.split_whitespace().skip(1);
    [(); 4].map(|()| fields.next().unwrap().parse().unwrap())
}

/// Lines of a report that begin with `word`.
fn lines_of(report: &str, word: &str) -> Vec<String> {
    let lines = report.lines().filter(|line| line.starts_with(word));
    lines.map(str::to_owned).collect()
}

#[test]
fn what_fails_in_the_daemon_is_told_by_the_caller() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("-B -t {} cat", taken.local_addr().unwrap());
    let address = taken.split(' ').nth(2).unwrap().to_owned();
    let here = std::env::temp_dir().display().to_string();
    let gone = folder.path("gone/log");
    let table = [
        (
            taken.clone(),
            111,
            format!("fatal: unable to bind tcp:{address}: Address already in use"),
        ),
        (
            "-B -t 127.0.0.1:0 /skd-no-such-program".into(),
            111,
            "fatal: unable to run \"/skd-no-such-program\": No such file or directory".into(),
        ),
        (
            "-B -- /skd-no-such-program".into(),
            111,
            "fatal: unable to run \"/skd-no-such-program\": No such file or directory".into(),
        ),
        (
            "-B -t 127.0.0.1:0 --user skd-nobody cat".into(),
            100,
            "usage: --user: there is no user \"skd-nobody\"; try \"skd --help\"".into(),
        ),
        (
            format!("-B -t 127.0.0.1:0 -L >{here} cat"),
            111,
            format!("fatal: unable to open the log \"{here}\": Is a directory"),
        ),
        (
            format!("-B -L >>{gone} -- cat"),
            111,
            format!("fatal: unable to open the log \"{gone}\": No such file or directory"),
        ),
        (
            format!("-B -t 127.0.0.1:0 -P {gone} cat"),
            111,
            format!("fatal: unable to write the pid file \"{gone}\": No such file or directory"),
        ),
    ];
    for (words, code, text) in table {
        let outcome = Skd::new(&words).outcome();
        let told = (outcome.code, outcome.stdout, outcome.stderr);
        assert_eq!(
            told,
            (code, String::new(), format!("skd: {text}\n")),
            "{words}"
        );
    }
}

#[test]
fn a_port_that_cannot_be_printed_is_the_callers_111() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let outcome = Skd::new("-1B -t 127.0.0.1:0 cat")
        .descriptor(1, full)
        .outcome();
    let text = "skd: fatal: unable to write to stdout: No space left on device\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (111, text));
}

#[test]
fn a_start_that_fails_leaves_no_file_behind() {
    let folder = Folder::new();
    let outcome = Skd::new("-B -l")
        .word(folder.path("socket"))
        .word("-P")
        .word(folder.path("pid"))
        .word("/skd-no-such-program")
        .outcome();
    assert_eq!(outcome.code, 111, "{outcome:#?}");
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);
}

/// What only execve(2) finds out is told on the caller's stderr too, the log notwithstanding.
#[test]
fn a_prog_that_cannot_be_executed_is_the_callers_111() {
    let folder = Folder::new();
    let prog = folder.script("prog", "");
    fs::write(&prog, "#!/skd/no/such/interpreter\n").unwrap();
    let log = folder.path("log");
    for words in ["-B", "-SB"] {
        for log in [None, Some(format!(">{log}"))] {
            let mut skd = Skd::new(words);
            if let Some(log) = log {
                skd = skd.word("-L").word(log);
            }
            let outcome = skd.word("--").word(prog.as_str()).outcome();
            let text = format!(
                "skd: fatal: unable to run \"{prog}\": No such file or directory (its interpreter)\n"
            );
            assert_eq!((outcome.code, outcome.stderr), (111, text), "{words}");
        }
    }
    assert_eq!(fs::read_to_string(log).unwrap(), "");
}

/// Nothing of it is waited for here: all of it is so when the caller returns.
#[test]
fn the_caller_returns_when_everything_is_ready() {
    if !need::root() {
        return;
    }
    for _ in 0..10 {
        let folder = Folder::new();
        let skd = Skd::with_words(["-q1BP".into(), folder.path("pid")])
            .word("-L")
            .word("skd-test")
            .word("--user")
            .word("65534:65534")
            .word("-t")
            .word("127.0.0.1:0")
            .word("cat");
        let (daemon, port) = Daemon::start(skd, &folder);
        assert_eq!(daemon.field("Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(daemon.field("Groups"), "65534");
        assert_eq!(daemon.children().len(), 1, "the logger");
        let mut client = Client::tcp(port.trim_end().parse().unwrap());
        client.says("hello").hears("hello");
        assert_eq!(client.hears_all(), "");
        daemon.stop();
    }
}

#[test]
fn ports_are_printed_before_the_caller_returns_and_stdout_is_closed_then() {
    let folder = Folder::new();
    let substitution = folder.script("substitution", "port=$(\"$@\") && echo \"ports\" $port");
    let skd = daemon::skd(&folder)
        .under(&substitution)
        .word("-t")
        .word("127.0.0.1:0")
        .word("-t")
        .word("127.0.0.2:0")
        .word("cat");
    let (daemon, said) = Daemon::start(skd, &folder);
    let ports = said.trim_end().strip_prefix("ports ").unwrap();
    let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().unwrap()).collect();
    assert_eq!(ports.len(), 2);
    Client::tcp(ports[0]).says("hello").hears("hello");
    daemon.stop();
}

#[test]
fn a_daemon_has_a_session_that_it_does_not_lead_and_no_terminal() {
    if !need::program("script") {
        return;
    }
    let folder = Folder::new();
    let (pid, log, callers) = (
        folder.path("pid"),
        folder.path("log"),
        folder.path("caller"),
    );
    let said = in_a_terminal(&format!(
        "echo $$ $(cut -d' ' -f6 /proc/self/stat) > {callers}; test -t 0 && \
         exec {BINARY} -1vBP {pid} -L '>{log}' -t 127.0.0.1:0 cat"
    ));
    let daemon = Daemon::named_by(&pid);
    let callers = fs::read_to_string(callers).unwrap();
    let (caller, session) = callers.trim_end().split_once(' ').unwrap();
    let [parent, group, own_session, terminal] = kinship(daemon.pid());
    assert!(is_gone(caller.parse().unwrap()));
    assert_ne!(parent.to_string(), caller);
    assert_ne!(own_session.to_string(), session);
    assert_ne!(own_session, daemon.pid());
    assert!(is_gone(own_session), "the leader has ended");
    assert_eq!((group, terminal), (own_session, 0));
    // The terminal is gone; the daemon is not.
    let port = said.trim().parse().unwrap();
    Client::tcp(port).says("hello").hears("hello");
    daemon.stop();
}

#[test]
fn stdin_and_stdout_of_a_daemon_that_serves_are_dev_null() {
    let folder = Folder::new();
    let skd = daemon::skd(&folder)
        .descriptor(0, File::open("/etc/passwd").unwrap())
        .word("-t")
        .word("127.0.0.1:0")
        .word("cat");
    let (daemon, _) = Daemon::start(skd, &folder);
    let standard = [0, 1, 2].map(|number| daemon.descriptor(number));
    let log = fs::canonicalize(folder.path("log")).unwrap();
    assert_eq!(standard, ["/dev/null", "/dev/null", log.to_str().unwrap()]);
    daemon.stop();
}

#[test]
fn descriptors_that_were_closed_at_the_start_are_open_in_the_daemon() {
    let folder = Folder::new();
    let skd = Skd::with_words(["-BP".into(), folder.path("pid"), "-l".into()])
        .word(folder.path("socket"))
        .word(probe())
        .word("report")
        .closed(0)
        .closed(1)
        .closed(2);
    let (daemon, _) = Daemon::start(skd, &folder);
    let standard = [0, 1, 2].map(|number| daemon.descriptor(number));
    assert_eq!(standard, ["/dev/null"; 3]);
    let report = Client::unix(&folder.path("socket")).hears_all();
    let fds = lines_of(&report, "fd ");
    assert_eq!(fds.len(), 3, "{fds:#?}");
    assert!(fds[0].starts_with("fd 0 socket:"), "{fds:#?}");
    assert!(fds[1].starts_with("fd 1 socket:"), "{fds:#?}");
    assert_eq!(fds[2], "fd 2 /dev/null blocking");
    daemon.stop();
}

#[test]
fn the_working_directory_stays_and_relative_names_are_meant_from_there() {
    let folder = Folder::new();
    let here = fs::canonicalize(folder.path("")).unwrap();
    let here = here.to_str().unwrap();
    let skd = Skd::new("-vBP pid -L >log -l socket")
        .word(probe())
        .word("report")
        .under(&format!("env -C {here}"));
    let (daemon, _) = Daemon::start(skd, &folder);
    let report = Client::unix(&folder.path("socket")).hears_all();
    assert_eq!(lines_of(&report, "cwd "), [format!("cwd {here}")]);
    daemon.stop();
    assert!(!fs::exists(folder.path("socket")).unwrap());
    assert!(!fs::exists(folder.path("pid")).unwrap());
    let log = fs::read_to_string(folder.path("log")).unwrap();
    assert!(log.starts_with("skd: info: listen unix:socket\n"), "{log}");
}

/// LISTEN_PID is the caller's, not the daemon's.
#[test]
fn listen_fds_is_adopted_before_the_fork() {
    let folder = Folder::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let skd = daemon::skd(&folder)
        .listen_fds(vec![OwnedFd::from(socket)])
        .word("cat");
    let (daemon, _) = Daemon::start(skd, &folder);
    Client::tcp(port).says("hello").hears("hello");
    daemon.stop();
}

#[test]
fn a_daemon_ends_with_its_signals_and_its_children_live_on() {
    let folder = Folder::new();
    let skd = daemon::skd(&folder)
        .word("-t")
        .word("127.0.0.1:0")
        .word(probe())
        .word("hold");
    let (daemon, port) = Daemon::start(skd, &folder);
    let mut client = Client::tcp(port.trim_end().parse().unwrap());
    let child = client.hears_line();
    let child: i32 = child.strip_prefix("ready ").unwrap().parse().unwrap();
    assert_eq!(children_of(daemon.pid()), [child]);
    daemon.signal(Signal::SIGINT);
    daemon.ends();
    assert_eq!(client.hears_all(), "bye\n");
}

/// PROG is the daemon then, in a session of skd's making.
#[test]
fn without_sockets_stdin_and_stdout_stay_what_they_are() {
    let folder = Folder::new();
    fs::write(folder.path("in"), "some text\n").unwrap();
    let outcome = Skd::new("-B cat")
        .descriptor(0, File::open(folder.path("in")).unwrap())
        .outcome();
    let told = (outcome.code, outcome.stdout.as_str());
    assert_eq!(told, (0, "some text\n"), "{}", outcome.stderr);

    let report = Skd::new("-B").word(probe()).word("report").outcome().stdout;
    let pids = lines_of(&report, "pid ").concat();
    let pids: Vec<&str> = pids.split(' ').skip(1).collect();
    let ours = nix::unistd::getsid(None).unwrap().to_string();
    assert_ne!(pids[0], pids[3]);
    assert_eq!(pids[2], pids[3]);
    assert_ne!(pids[3], ours);
}

#[test]
fn without_sockets_dev_null_takes_a_terminals_place() {
    if !need::program("script") {
        return;
    }
    let folder = Folder::new();
    let prog = folder.script(
        "prog",
        "standard=$(readlink /proc/$$/fd/0 /proc/$$/fd/1)\necho \"$standard\" > \"$1.new\"\nmv \"$1.new\" \"$1\"",
    );
    let (one, other, input) = (folder.path("one"), folder.path("other"), folder.path("in"));
    fs::write(&input, "").unwrap();
    in_a_terminal(&format!(
        "{BINARY} -B -- {prog} {one} && {BINARY} -B -- {prog} {other} < {input}"
    ));
    let written = |path: &str| eventually("the report", || fs::read_to_string(path).ok());
    assert_eq!(written(&one), "/dev/null\n/dev/null\n");
    let input = fs::canonicalize(input).unwrap();
    assert_eq!(written(&other), format!("{}\n/dev/null\n", input.display()));
}
