//! Trouble that skd lives with: no descriptors, no processes, no program, vanished clients, hostile input.

use crate::kit::net::{Client, hear_udp, udp};
use crate::kit::skd::{BINARY, Running, Skd, field};
use crate::kit::{Folder, eventually, need, probe};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

/// No more than so many clock ticks of 10 ms go by on the processor while skd waits for something: a loop that spins
/// would take a hundred in the second that such a wait lasts.
const IDLE_TICKS: u64 = 30;

/// So many attempts are far more than skd makes at one in 100 ms, and far fewer than a loop that spins makes.
const MANY: u32 = 1000;

/// The clock ticks that skd has spent on the processor.
fn ticks(skd: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", skd.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let times = fields.split(' ').skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Changes a soft limit of skd while it runs, as its own user: root may lack the right to do it for others.
fn limit(skd: &Running, name: &str, soft: usize) {
    let uid = skd.field("Uid");
    let uid = uid.split_whitespace().next().unwrap();
    let done = Command::new("setpriv")
        .args(["--reuid", uid, "prlimit"])
        .args(["--pid", &skd.pid().to_string()])
        .arg(format!("--{name}={soft}:"))
        .status();
    assert!(done.unwrap().success());
}

/// The listener without descriptors rests and warns; what needs none goes on; the client that waits is served later.
#[test]
fn without_descriptors_clients_wait_and_skd_is_idle() {
    if !need::program("prlimit") || !need::program("setpriv") {
        return;
    }
    let words = "-1 -v -t 127.0.0.1:0 -u 127.0.0.1:0";
    let script = "case $PROTO in TCP) exec cat;; *) sleep 1; exec \"$0\" echo-datagram;; esac";
    let skd = Skd::new(words).word("sh").word("-c").word(script);
    let mut skd = skd.word(probe()).start();
    let (tcp, datagrams) = (skd.port(), udp(skd.port()));
    limit(&skd, "nofile", skd.descriptors());
    let before = ticks(&skd);
    let mut client = Client::tcp(tcp);
    let warning = format!(
        "skd: warning: unable to accept from tcp:127.0.0.1:{tcp}: Too many open files, resting"
    );
    assert_eq!(skd.waits_for("warning"), warning);
    // What goes on meanwhile takes a second.
    datagrams.send(b"hello").unwrap();
    assert_eq!(hear_udp(&datagrams), "hello");
    assert!(ticks(&skd) - before < IDLE_TICKS);
    assert_eq!(skd.waits_for_nth("warning", 10), warning);
    assert!(skd.status().ends_with(" accepted 1 denied 0 failed 0"));
    limit(&skd, "nofile", 100);
    client.says("hello").hears("hello");
    drop(client);
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 2 denied 0 failed 0");
    let stderr = skd.stop().stderr;
    let left_out = stderr.split_once("left out ").map(|(_, rest)| rest);
    let left_out = left_out.map_or("0", |rest| rest.split(' ').next().unwrap());
    assert!(left_out.parse::<u32>().unwrap() < MANY, "{stderr}");
}

#[test]
fn a_start_without_descriptors_is_fatal() {
    if !need::program("prlimit") {
        return;
    }
    let skd = Skd::new("-t 127.0.0.1:0 cat").under("prlimit --nofile=5");
    let outcome = skd.outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (111, ""));
    let reason = "Too many open files\n";
    let text = &outcome.stderr;
    assert!(text.starts_with("skd: fatal: unable to ") && text.ends_with(reason));
    assert_eq!(text.lines().count(), 1);
}

/// RLIMIT_NPROC binds everyone but root, so skd is started as somebody else, from where anybody can read it.
fn as_nobody(folder: &Folder, words: &str) -> Running {
    let copy = folder.path("skd");
    std::fs::copy(BINARY, &copy).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&copy, mode).unwrap();
    let uid = 1_000_000 + std::process::id();
    let become_it = format!("shift; exec setpriv --reuid {uid} --clear-groups {copy} \"$@\"");
    let wrapper = folder.script("as-nobody", &become_it);
    Skd::new(words).under(&wrapper).start()
}

#[test]
fn without_processes_connections_are_closed_and_skd_rests() {
    const CLIENTS: usize = 200;
    if !need::root() || !need::program("prlimit") || !need::program("setpriv") {
        return;
    }
    let folder = Folder::new();
    let mut skd = as_nobody(&folder, "-1 -v -c 3 -t 127.0.0.1:0 echo served");
    let port = skd.port();
    limit(&skd, "nproc", 1);
    let warning = format!(
        "skd: warning: unable to start \"echo\": Resource temporarily unavailable, \
         closing the connection of tcp:127.0.0.1:{port}"
    );
    for count in 1..=10 {
        assert_eq!(Client::tcp(port).hears_rest(), "");
        assert_eq!(skd.waits_for_nth("warning", count), warning);
    }
    assert_eq!(skd.status(), "0/3 accepted 10 denied 0 failed 10");
    // They wait while skd rests, so that most of them are there when processes are.
    let clients: Vec<_> = (0..CLIENTS).map(|_| Client::tcp(port)).collect();
    limit(&skd, "nproc", 100);
    let heard = clients.into_iter().map(|mut client| client.hears_rest());
    let served = heard.filter(|text| text == "served\n").count();
    assert!(served > CLIENTS / 2, "{served}");
    skd.is_alone();
    let (accepted, failed) = (10 + CLIENTS, 10 + CLIENTS - served);
    let status = format!("0/3 accepted {accepted} denied 0 failed {failed}");
    assert_eq!(skd.status(), status);
    let stderr = skd.stop().stderr;
    assert_eq!(stderr.matches(" accept ").count(), served, "{stderr}");
}

/// Four ways in which PROG can be lost while skd runs, each of which ends when it is back.
#[test]
fn a_program_that_cannot_be_run_costs_its_connections_alone() {
    let folder = Folder::new();
    let prog = folder.script("prog", "echo served");
    let text = std::fs::read(&prog).unwrap();
    let mut skd = Skd::new(&format!("-1 -v -t 127.0.0.1:0 {prog}")).start();
    let port = skd.port();
    let set_mode = |mode| {
        std::fs::set_permissions(&prog, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let lose: [(&dyn Fn(), &str); 4] = [
        (
            &|| std::fs::remove_file(&prog).unwrap(),
            "No such file or directory",
        ),
        (&|| set_mode(0o644), "Permission denied"),
        (
            &|| std::fs::write(&prog, "\u{7f}nonsense").unwrap(),
            "Exec format error",
        ),
        (
            &|| std::fs::write(&prog, "#!/none\n").unwrap(),
            "No such file or directory (its interpreter)",
        ),
    ];
    for (count, (lose, reason)) in (1..).zip(lose) {
        lose();
        assert_eq!(Client::tcp(port).hears_rest(), "");
        let warning = format!(
            "skd: warning: unable to run \"{prog}\": {reason}, \
             closing the connection of tcp:127.0.0.1:{port}"
        );
        assert_eq!(skd.waits_for_nth("warning", count), warning);
        std::fs::write(&prog, &text).unwrap();
        set_mode(0o755);
        assert_eq!(Client::tcp(port).hears_rest(), "served\n");
        skd.is_alone();
        let status = format!("0 accepted {} denied 0 failed {count}", 2 * count);
        assert_eq!(skd.status(), status);
    }
    skd.stop();
}

/// Its exit code is the program's own affair.
#[test]
fn a_program_that_exits_127_has_not_failed_to_start() {
    let mut skd = Skd::new("-1 -v -t 127.0.0.1:0 sh -c")
        .word("exit 127")
        .start();
    assert_eq!(Client::tcp(skd.port()).hears_rest(), "");
    skd.waits_for(" exit 127 ");
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 0");
    assert!(!skd.stop().stderr.contains("warning"));
}

/// skd does not look while the clients come and reset their connections.
#[test]
fn clients_that_reset_before_they_are_accepted_do_no_harm() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let words = format!("-1 -v -n -t 127.0.0.1:0 -t *:0 -l {path} cat");
    let mut skd = Skd::new(&words).start();
    let ports = [skd.port(), skd.port()];
    let descriptors = skd.descriptors();
    skd.signal(Signal::SIGSTOP);
    eventually("a stop", || {
        skd.field("State").starts_with('T').then_some(())
    });
    for _ in 0..20 {
        for port in ports {
            let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let at_once = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&client, sockopt::Linger, &at_once).unwrap();
        }
        UnixStream::connect(&path).unwrap();
    }
    skd.signal(Signal::SIGCONT);
    for port in ports {
        Client::tcp(port).says("hello").hears("hello");
    }
    Client::unix(&path).says("hello").hears("hello");
    skd.is_alone();
    assert!(skd.status().ends_with(" denied 0 failed 0"));
    assert_eq!(skd.descriptors(), descriptors);
    assert!(!skd.stop().stderr.contains("warning"));
}

/// A shell script that leaves these commands running and then becomes skd.
fn behind(folder: &Folder, commands: &str) -> String {
    let null = "</dev/null >/dev/null 2>&1";
    let body = format!("{{ {commands} }} {null}\nexec \"$@\"");
    folder.script("behind", &body)
}

#[test]
fn children_that_skd_did_not_start_count_for_nothing_and_are_reaped() {
    let folder = Folder::new();
    let pipe = fifo(&folder, "pipe");
    let commands = format!("cat {pipe} & sleep 1000 &");
    let wrapper = behind(&folder, &commands);
    let words = "-1 -v -c 1 -t 127.0.0.1:0 cat";
    let mut skd = Skd::new(words).under(&wrapper).start();
    let port = skd.port();
    assert_eq!(skd.children().len(), 2);
    assert_eq!(skd.status(), "0/1 accepted 0 denied 0 failed 0");
    let mut client = Client::tcp(port);
    client.says("hello").hears("hello");
    // The reader ends when its pipe does.
    open_for_writing(&pipe);
    eventually("a reaped stranger", || {
        (skd.children().len() == 2).then_some(())
    });
    assert_eq!(skd.status(), "1/1 accepted 1 denied 0 failed 0");
    assert_eq!(client.hears_all(), "");
    skd.waits_for(" end ");
    assert_eq!(skd.status(), "0/1 accepted 1 denied 0 failed 0");
    let strangers = skd.children();
    assert_eq!(strangers.len(), 1);
    skd.signal(Signal::SIGQUIT);
    let outcome = skd.ends();
    assert_eq!(outcome.code, 0);
    assert_eq!(outcome.stderr.matches(" end ").count(), 1);
    // It was not skd's to end.
    assert!(field(strangers[0], "State").unwrap().starts_with('S'));
    kill(Pid::from_raw(strangers[0]), Signal::SIGKILL).unwrap();
}

/// Its SIGCHLD came before skd could hear it.
#[test]
fn a_stranger_that_had_ended_before_skd_began_is_reaped() {
    if !need::program("execlineb") {
        return;
    }
    for (words, begun) in [
        ("-v -t 127.0.0.1:0 cat", "listen "),
        ("-vS sleep 600", "start "),
    ] {
        let folder = Folder::new();
        let (pipe, gate) = (fifo(&folder, "pipe"), fifo(&folder, "gate"));
        // A shell might reap it; redirfd(1) just waits at the gate and then becomes skd.
        let line = format!("exec execlineb -S0 -c 'redirfd -r 0 {gate} $@' \"$@\"");
        let through_the_gate = folder.script("gated", &line);
        let wrapper = behind(&folder, &format!("cat {pipe} &"));
        let skd = Skd::new(words).under(&format!("{wrapper} {through_the_gate}"));
        let mut skd = skd.spawn();
        eventually("redirfd", || (skd.field("Name") == "redirfd").then_some(()));
        let stranger = skd.children()[0];
        open_for_writing(&pipe);
        eventually("a zombie", || {
            field(stranger, "State")?.starts_with('Z').then_some(())
        });
        open_for_writing(&gate);
        skd.waits_for(begun);
        eventually("no zombie", || {
            field(stranger, "State").is_none().then_some(())
        });
        skd.stop();
    }
}

fn fifo(folder: &Folder, name: &str) -> String {
    let path = folder.path(name);
    nix::unistd::mkfifo(path.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    path
}

/// Lets whoever waits for a writer go on, and read the end.
fn open_for_writing(path: &str) {
    drop(std::fs::File::options().write(true).open(path).unwrap());
}

/// As many as the hard limit allows; a program has the limit that skd was started with.
#[test]
fn more_listeners_than_the_soft_limit_of_descriptors_are_bound() {
    let many = "-t 127.0.0.1:0 ".repeat(100);
    let skd = Skd::new(&format!("-1 -v {many} sh -c")).word("ulimit -n");
    let mut skd = skd.under("prlimit --nofile=64:4096").start();
    let ports: Vec<u16> = (0..100).map(|_| skd.port()).collect();
    assert_eq!(Client::tcp(ports[99]).hears_all(), "64\n");
    skd.stop();
}
