//! Every example of the manual, run for real.

use super::admission::{judges, tells_client};
use super::listeners::serves_a_file;
use super::listeners::{
    becomes_the_server, does_jobs, ends_when_nobody_comes, lends_its_listener, listens_to_machines,
};
use super::machine::{Machine, has_line, shell};
use super::{README, complaints, examples};
use crate::kit::daemon::{Daemon, is_gone};
use crate::kit::net::{Client, udp};
use crate::kit::skd::{BINARY, Running, Skd};
use crate::kit::{Folder, eventually, need};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};
use nix::unistd::{Pid, User};
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Child, Command, Stdio};

/// The words that an example begins with, and how it is run.
type Run = (&'static str, fn(&str));

const RUNS: &[Run] = &[
    ("skd -vt 127.0.0.1:7000 cat", sends_back),
    ("skd -t 7001 sh -c ", greets),
    ("skd -t 127.0.0.1:0 cat", sends_back_on_any_port),
    ("skd -c 2 --mode 0660 -l ./whoami.sock sh -c ", tells_uid),
    ("skd --seqpacket -l @skd-echo cat", sends_back_packets),
    (
        "skd -n -c 40 -t 127.0.0.1:7080 busybox httpd ",
        serves_files,
    ),
    ("printf '%s\\n' '127.:allow' ", judges),
    (
        "skd --proxy-from 127.0.0.1 -t 127.0.0.1:7006 ",
        tells_client,
    ),
    ("printf '%s\\n' '127.0.0.1:7011 stream ", serves_a_file),
    ("skd -u 127.0.0.1:7069 sh -c ", tells_sender),
    (
        "systemd-socket-activate -l @skd-activated skd -v cat",
        is_activated,
    ),
    ("skd -v --idle-exit 600 ", ends_when_nobody_comes),
    ("skd -v -w --pass listen-fds ", lends_its_listener),
    ("skd -E -l ./served.sock ", becomes_the_server),
    ("mkfifo ./jobs && skd -v --adopt fd:3 ", does_jobs),
    ("skd -v --vsock 7000 cat", listens_to_machines),
    (
        "s6-ipcserver-socketbinder ./held.sock s6-fdholder-store ",
        is_held,
    ),
    ("skd -vt 3000 -BP /run/motd.pid -L ", greets_from_background),
    ("skd -BL uschedule:daemon.notice -- ", is_logged),
    ("skd -BP ./echo.pid -vL '>>./echo.log' ", is_rotated),
    ("install target/release/skd ", is_replaced),
    ("skd --user nobody --no-new-privs ", serves_as_nobody),
    ("s6-envuidgid nobody env ROOT=./jail skd -U ", is_jailed),
    ("skd -SBP ./tick.pid -L '>>./tick.log' ", is_started_again),
    (
        "skd --check -t localhost:7000 -l ./echo.sock cat",
        finds_nothing_wrong,
    ),
];

#[test]
fn every_example_of_the_manual_does_what_is_said_of_it() {
    let examples = examples();
    assert_eq!(examples.len(), RUNS.len(), "{examples:#?}");
    for (block, (words, run)) in examples.iter().zip(RUNS) {
        assert!(block.starts_with(words), "{block}: {words} expected");
        run(block);
    }
}

#[test]
fn the_examples_of_skd_1_2_do_what_they_did() {
    if let Some(machine) = Machine::new() {
        let skd = Skd::new("-vl /dev/cat.sock cat").under(&machine.inside());
        let mut skd = skd.start();
        let mut client = Client::unix(&machine.path("dev/cat.sock"));
        client.says("hello\n").hears("hello\n");
        skd.waits_for("skd: info: accept unix:/dev/cat.sock uid ");
        skd.stop();
        greets_from_background(
            "skd -vt 3000 -BP /var/run/motd.pid -L testsrv:daemon.info \\\n    cat /etc/motd",
        );
        is_logged("skd -BL uschedule:daemon.notice -- uscheduled -d /var/lib/uschedule");
    }
}

/// The words of a command line as sh splits them, without the first, `skd`.
pub(super) fn words(line: &str) -> Vec<String> {
    let script = format!("skd() {{ printf '%s\\0' \"$@\"; }}\n{line}");
    let done = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// skd as an example has it, in `folder`, telling what it does; ports are the kernel's choice and abstract names this
/// process's own, so that nothing else is in the way.
pub(super) fn started(line: &str, folder: &Folder) -> Running {
    let free = |word: String| match word.as_str() {
        "7001" => "0".to_owned(),
        _ if word.starts_with("127.0.0.1:") => "127.0.0.1:0".to_owned(),
        _ if word.starts_with('@') => own_name(&word),
        _ => word,
    };
    let words = words(line).into_iter().map(free);
    let verbose = (!line.starts_with("skd -v")).then(|| "-v".to_owned());
    let skd = Skd::with_words(verbose.into_iter().chain(words));
    skd.under(&format!("env -C {}", folder.path(""))).start()
}

fn own_name(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Every run of digits as one 0.
fn without_numbers(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if shown.ends_with('0') => {}
            '0'..='9' => shown.push('0'),
            _ => shown.push(c),
        }
    }
    shown
}

/// Served as the README shows it, the log included.
fn sends_back(block: &str) {
    let mut skd = started(block, &Folder::new());
    let mut client = Client::tcp(skd.port());
    client.says("hello\n").hears("hello\n");
    assert_eq!(client.hears_all(), "");
    skd.waits_for("info: end ");
    let log = README
        .lines()
        .filter_map(|line| line.strip_prefix("    skd: "));
    let log: String = log.map(|line| format!("skd: {line}\n")).collect();
    assert_eq!(without_numbers(&skd.stop().stderr), without_numbers(&log));
}

fn greets(block: &str) {
    let mut skd = started(block, &Folder::new());
    assert_eq!(
        Client::tcp(skd.port()).hears_rest(),
        "hello 127.0.0.1, number 1\n"
    );
    skd.stop();
}

fn tells_uid(block: &str) {
    let folder = Folder::new();
    let skd = started(block, &folder);
    let path = folder.path("whoami.sock");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let uid = nix::unistd::getuid();
    assert_eq!(
        Client::unix(&path).hears_rest(),
        format!("you are uid {uid}\n")
    );
    skd.stop();
    assert!(!fs::exists(&path).unwrap());
}

fn sends_back_packets(block: &str) {
    let skd = started(block, &Folder::new());
    let (family, style) = (AddressFamily::Unix, SockType::SeqPacket);
    let client = socket::socket(family, style, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let name = own_name("skd-echo");
    let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    socket::connect(client.as_raw_fd(), &address).unwrap();
    socket::send(client.as_raw_fd(), b"packet", MsgFlags::empty()).unwrap();
    let mut heard = [0; 99];
    let len = socket::recv(client.as_raw_fd(), &mut heard, MsgFlags::empty()).unwrap();
    assert_eq!(&heard[..len], b"packet");
    skd.stop();
}

fn serves_files(block: &str) {
    if need::program("busybox") {
        serves_page(block, |_| ());
    }
}

/// Serves a file of the working folder; `look` is shown skd while it does.
fn serves_page(block: &str, look: impl Fn(&Running)) {
    let folder = Folder::new();
    fs::write(folder.path("page.txt"), "a page\n").unwrap();
    let mut skd = started(block, &folder);
    let mut client = Client::tcp(skd.port());
    let answer = client.says("GET /page.txt HTTP/1.0\r\n\r\n").hears_rest();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\na page\n"));
    look(&skd);
    skd.stop();
}

fn sends_back_on_any_port(block: &str) {
    let mut skd = started(block, &Folder::new());
    Client::tcp(skd.port()).says("hello\n").hears("hello\n");
    skd.stop();
}

fn tells_sender(block: &str) {
    let mut skd = started(block, &Folder::new());
    udp(skd.port()).send(b"x").unwrap();
    skd.waits_for("from 127.0.0.1");
    // Taken: it starts no second program.
    assert!(skd.waits_for("info: end ").contains(" exit 0 "));
    assert_eq!(skd.status(), "0 accepted 1 denied 0 failed 0");
    skd.stop();
}

fn abstract_client(name: &str) -> Client {
    let address = SocketAddr::from_abstract_name(own_name(name)).unwrap();
    Client::of_unix(UnixStream::connect_addr(&address).unwrap())
}

fn is_activated(block: &str) {
    if need::program("systemd-socket-activate") {
        let (activate, words) = block.split_once(" skd ").unwrap();
        let activate = activate.replace("@skd-activated", &own_name("@skd-activated"));
        let mut skd = Skd::new(words).under(&activate).spawn();
        skd.waits_for("Listening on ");
        abstract_client("skd-activated")
            .says("hello\n")
            .hears("hello\n");
        skd.waits_for(&format!(
            "skd: info: listen unix:{}",
            own_name("@skd-activated")
        ));
        skd.stop();
    }
}

/// s6-fdholder-daemon, which this user may give everything and ask for everything; killed when dropped.
struct Holder(Child);

impl Holder {
    fn new(folder: &Folder) -> Self {
        let rules = format!("rules/uid/{}", nix::unistd::getuid());
        let env = folder.path(&format!("{rules}/env"));
        fs::create_dir_all(&env).unwrap();
        fs::create_dir(folder.path("rules/gid")).unwrap();
        fs::write(folder.path(&format!("{rules}/allow")), "").unwrap();
        for right in ["STORE", "RETRIEVE"] {
            fs::write(format!("{env}/S6_FDHOLDER_{right}_REGEX"), ".\n").unwrap();
        }
        let mut command = Command::new("s6-fdholder-daemon");
        let command = command.args(["-1", "-i", "rules", "fdholder.sock"]);
        let command = command.current_dir(folder.path("")).stdout(Stdio::piped());
        let mut holder = Self(command.spawn().unwrap());
        // It closes stdout when it listens.
        let stdout = holder.0.stdout.as_mut().unwrap();
        stdout.read_to_end(&mut Vec::new()).unwrap();
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The listener outlives skd.
fn is_held(block: &str) {
    if need::program("s6-fdholder-daemon") {
        let folder = Folder::new();
        let _holder = Holder::new(&folder);
        let (store, serve) = block.split_once('\n').unwrap();
        let mut command = Command::new("sh");
        let command = command.args(["-c", store]).current_dir(folder.path(""));
        assert_eq!(complaints(command), "");
        let (retrieve, words) = serve.split_once(" skd ").unwrap();
        let retrieve = format!("env -C {} {retrieve}", folder.path(""));
        for _ in 0..2 {
            let skd = Skd::new(words).under(&retrieve).start();
            let mut client = Client::unix(&folder.path("held.sock"));
            client.says("hello\n").hears("hello\n");
            skd.stop();
        }
    }
}

fn greets_from_background(block: &str) {
    if let Some(machine) = Machine::new() {
        assert_eq!(machine.shell(block), "");
        let pidfile = machine.path("run/motd.pid");
        let daemon = Daemon::named_by(&pidfile);
        let motd = fs::read_to_string("/etc/motd").unwrap();
        assert_eq!(machine.shell("busybox nc 127.0.0.1 3000"), motd);
        let tag = format!(" daemon.info testsrv[{}]: skd: info: ", daemon.pid());
        machine.logged(&format!("{tag}accept tcp:"));
        machine.logged(&format!("{tag}end tcp:"));
        daemon.stop();
        assert!(!fs::exists(pidfile).unwrap());
    }
}

/// The program's words go to syslog with its own pid, which was skd's.
fn is_logged(block: &str) {
    if let Some(machine) = Machine::new() {
        machine.folder.script("uscheduled", "echo $* is $$ >&2");
        machine.shell(block);
        let line = machine.logged("-d /var/lib/uschedule is ");
        let (_, pid) = line.rsplit_once(' ').unwrap();
        let line_end = format!(" daemon.notice uschedule[{pid}]: -d /var/lib/uschedule is {pid}");
        assert!(line.ends_with(&line_end), "{line}");
    }
}

fn is_rotated(block: &str) {
    let folder = Folder::new();
    let (serve, rotate) = block.split_once('\n').unwrap();
    let serve = serve.replace("127.0.0.1:7002", "127.0.0.1:0");
    let port = shell("", &serve, &folder);
    let daemon = Daemon::named_by(&folder.path("echo.pid"));
    let port = port.trim_end().parse().unwrap();
    let log = folder.path("echo.log");
    has_line(&log, &format!("skd: info: listen tcp:127.0.0.1:{port}"));
    assert_eq!(shell("", rotate, &folder), "");
    eventually("a new log", || fs::exists(&log).unwrap().then_some(()));
    Client::tcp(port).says("hello\n").hears("hello\n");
    has_line(&log, "skd: info: accept ");
    daemon.stop();
    let old = fs::read_to_string(folder.path("echo.log.1")).unwrap();
    assert_eq!(old, format!("skd: info: listen tcp:127.0.0.1:{port}\n"));
}

/// It is the skd of the example before this one.
fn is_replaced(block: &str) {
    let folder = Folder::new();
    let examples = examples();
    let before = examples.iter().find(|it| it.contains(" ./echo.pid -vL "));
    let serve = before.unwrap().lines().next().unwrap();
    let serve = serve.replace("127.0.0.1:7002", "127.0.0.1:0");
    let port = shell("", &serve, &folder);
    let daemon = Daemon::named_by(&folder.path("echo.pid"));
    let mut client = Client::tcp(port.trim_end().parse().unwrap());
    client.says("hello\n").hears("hello\n");
    let block = block.replace("target/release/skd", BINARY);
    assert_eq!(shell("", &block.replace("/usr/bin/", "./"), &folder), "");
    let file = |path: &str| fs::metadata(path).map_or(0, |file| file.ino());
    let new = file(&folder.path("skd"));
    assert_ne!(new, file(BINARY));
    let runs = format!("/proc/{}/exe", daemon.pid());
    eventually("the new binary", || (file(&runs) == new).then_some(()));
    client.says("still\n").hears("still\n");
    daemon.stop();
}

fn is_nobody(skd: &Running) {
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let four_times = |id: u32| {
        [
            id.to_string(),
            id.to_string(),
            id.to_string(),
            id.to_string(),
        ]
        .join("\t")
    };
    assert_eq!(skd.field("Uid"), four_times(nobody.uid.as_raw()));
    assert_eq!(skd.field("Gid"), four_times(nobody.gid.as_raw()));
}

fn serves_as_nobody(block: &str) {
    if need::root() && need::program("busybox") {
        serves_page(block, |skd| {
            is_nobody(skd);
            assert_eq!(skd.field("NoNewPrivs"), "1");
        });
    }
}

/// busybox, with what it needs if it is not static, and a page.
const JAIL: &str = "mkdir jail && cp \"$(command -v busybox)\" jail && echo a page >jail/page.txt
for file in $(ldd jail/busybox 2>/dev/null | grep -o '/[^ )]*'); do
    mkdir -p jail${file%/*} && cp $file jail$file
done";

fn is_jailed(block: &str) {
    if need::root() && need::program("busybox") && need::program("s6-envuidgid") {
        let folder = Folder::new();
        shell("", JAIL, &folder);
        let (env, words) = block.split_once(" skd ").unwrap();
        let words = words.replace("127.0.0.1:7003", "127.0.0.1:0");
        let env = format!("env -C {} {env}", folder.path(""));
        let mut skd = Skd::new(&format!("-v {words}")).under(&env).start();
        assert_eq!(Client::tcp(skd.port()).hears_rest(), "a page\n");
        is_nobody(&skd);
        let root = fs::read_link(format!("/proc/{}/root", skd.pid())).unwrap();
        assert_eq!(root.to_str().unwrap(), folder.path("jail"));
        skd.stop();
    }
}

fn is_started_again(block: &str) {
    let folder = Folder::new();
    shell("", block, &folder);
    let daemon = Daemon::named_by(&folder.path("tick.pid"));
    let starts = |count: usize| {
        eventually("a start", || {
            let log = fs::read_to_string(folder.path("tick.log")).unwrap();
            (log.lines().count() == count).then(|| daemon.children()[0])
        })
    };
    let first = starts(1);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let second = starts(2);
    assert_ne!(first, second);
    daemon.stop();
    assert!(is_gone(second) && !fs::exists(folder.path("tick.pid")).unwrap());
}

fn finds_nothing_wrong(block: &str) {
    let outcome = Skd::with_words(words(block)).outcome();
    let said = (
        outcome.code,
        outcome.stdout.as_str(),
        outcome.stderr.as_str(),
    );
    assert_eq!(said, (0, "", ""));
}
