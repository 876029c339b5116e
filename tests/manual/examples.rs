//! Every example of the manual, run for real.

use super::{README, complaints, examples};
use crate::kit::net::{Client, udp};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, need};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
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
    ("skd -u 127.0.0.1:7069 sh -c ", tells_sender),
    (
        "systemd-socket-activate -l @skd-activated skd -v cat",
        is_activated,
    ),
    (
        "s6-ipcserver-socketbinder ./held.sock s6-fdholder-store ",
        is_held,
    ),
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

/// The words of a command line as sh splits them, without the first, `skd`.
fn words(line: &str) -> Vec<String> {
    let script = format!("skd() {{ printf '%s\\0' \"$@\"; }}\n{line}");
    let done = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// skd as an example has it, in `folder`, telling what it does; ports are the kernel's choice and abstract names this
/// process's own, so that nothing else is in the way.
fn started(line: &str, folder: &Folder) -> Running {
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
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let uid = nix::unistd::getuid();
    assert_eq!(
        Client::unix(&path).hears_rest(),
        format!("you are uid {uid}\n")
    );
    skd.stop();
    assert!(!std::fs::exists(&path).unwrap());
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
        let folder = Folder::new();
        std::fs::write(folder.path("page.txt"), "a page\n").unwrap();
        let mut skd = started(block, &folder);
        let mut client = Client::tcp(skd.port());
        let answer = client.says("GET /page.txt HTTP/1.0\r\n\r\n").hears_rest();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\na page\n"));
        skd.stop();
    }
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
        std::fs::create_dir_all(&env).unwrap();
        std::fs::create_dir(folder.path("rules/gid")).unwrap();
        std::fs::write(folder.path(&format!("{rules}/allow")), "").unwrap();
        for right in ["STORE", "RETRIEVE"] {
            std::fs::write(format!("{env}/S6_FDHOLDER_{right}_REGEX"), ".\n").unwrap();
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

fn finds_nothing_wrong(block: &str) {
    let outcome = Skd::with_words(words(block)).outcome();
    let said = (
        outcome.code,
        outcome.stdout.as_str(),
        outcome.stderr.as_str(),
    );
    assert_eq!(said, (0, "", ""));
}
