//! The services of an inetd.conf(5), all in one skd: what programs get, as whom, in what number, and what is wrong.

mod internal;
mod limits;
mod peers;
mod reread;
mod whom;
mod wrong;

use crate::kit::net::Client;
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, ended, facts, fails, need, probe, told};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// The port of all tests; each has an address of its own.
const PORT: u16 = 7007;

/// A folder with an inetd.conf in it, and an address of 127.0.0.0/8 that no other test has.
struct Conf {
    folder: Folder,
    path: String,
    ip: Ipv4Addr,
}

impl Conf {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().to_be_bytes();
        let [.., number] = number.to_be_bytes();
        let folder = Folder::new();
        Self {
            path: folder.path("inetd.conf"),
            folder,
            ip: Ipv4Addr::new(127, 64 | high, low, number),
        }
    }

    /// One that holds these lines; `IP` is the address, `PROBE` the probe, `DIR` the folder.
    fn of(text: &str) -> Self {
        let conf = Self::new();
        conf.put(text);
        conf
    }

    fn put(&self, text: &str) {
        let text = text.replace("IP:", &format!("{}:", self.ip));
        let text = text.replace("PROBE", &probe());
        let folder = self.folder.path("");
        let text = text.replace("DIR/", &folder);
        fs::write(&self.path, text).unwrap();
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((self.ip, PORT))
    }

    fn client(&self) -> Client {
        Client::tcp_to(self.address())
    }

    /// A client of datagrams on this machine.
    fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address()).unwrap();
        socket.set_read_timeout(Some(crate::kit::DEADLINE)).unwrap();
        socket
    }

    fn skd(&self, options: &str) -> Skd {
        Skd::new(options).word("--inetd-conf").word(&self.path)
    }

    fn start(&self) -> Running {
        self.skd("-v").start()
    }

    /// skd ends with this code and these lines, each behind the path of the file.
    fn fails(&self, code: i32, lines: &[&str]) {
        let outcome = self.skd("-v").outcome();
        let line = |line: &&str| format!("skd: fatal: {}:{line}\n", self.path);
        let lines: String = lines.iter().map(line).collect();
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (code, lines.as_str())
        );
    }
}

/// The report has one socket on 0, 1 and 2, and no more.
fn holds_one_socket_thrice(report: &str) -> String {
    let fds = facts(report, "fd");
    let numbered: Vec<_> = fds.iter().filter_map(|fd| fd.split_once(' ')).collect();
    let [("0", stdin), ("1", stdout), ("2", stderr)] = numbered[..] else {
        panic!("{fds:#?}");
    };
    assert!(stdin == stdout && stdin == stderr, "{fds:#?}");
    assert!(stdin.ends_with(" blocking"), "{stdin}");
    stdin.to_owned()
}

#[test]
fn services_of_all_kinds_are_served_at_once() {
    let conf = Conf::of(
        "IP:7007 stream tcp nowait root PROBE probe report\n\
         IP:7007 dgram udp wait root PROBE probe report-datagram\n\
         # a comment\n\
         IP:7008 stream tcp wait root PROBE probe accept-report\n 0\n\
         DIR/stream stream unix nowait root PROBE probe report\n\
         DIR/packets seqpacket unix nowait root PROBE probe report\n",
    );
    let mut skd = conf.start();
    skd.waits_for("packets");
    let report = conf.client().hears_all();
    holds_one_socket_thrice(&report);
    let told = told(&report);
    let local = format!(" TCPLOCALIP={} TCPLOCALPORT=7007 ", conf.ip);
    assert!(told.contains(&local), "{told}");
    assert!(
        told.starts_with("PROTO=TCP ") && told.contains(" TCPREMOTEIP=127.0.0.1 "),
        "{told}"
    );
    let udp = conf.udp();
    udp.send(b"x").unwrap();
    let mut bytes = vec![0; 65536];
    let len = udp.recv(&mut bytes).unwrap();
    let report = String::from_utf8_lossy(&bytes[..len]).into_owned();
    holds_one_socket_thrice(&report);
    assert!(
        crate::kit::told(&report).contains(&format!("UDPLOCALIP={}", conf.ip)),
        "{report}"
    );
    let waits = SocketAddr::from((conf.ip, 7008));
    let report = Client::tcp_to(waits).hears_all();
    assert!(
        crate::kit::told(&report).contains("TCPLOCALPORT=7008"),
        "{report}"
    );
    let stream = conf.folder.path("stream");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&stream).unwrap());
    assert_eq!(mode & 0o7777, 0o666);
    let report = Client::unix(&stream).hears_all();
    holds_one_socket_thrice(&report);
    assert!(crate::kit::told(&report).contains("PROTO=UNIX"), "{report}");
    let report = crate::kit::net::seqpacket(&conf.folder.path("packets")).hears_message();
    assert!(report.contains("PROTO=UNIX"), "{report}");
    skd.stop();
    assert!(!fs::exists(stream).unwrap());
}

#[test]
fn both_families_have_a_socket_each_or_share_one() {
    if !need::ipv6() {
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for (protocol, listens) in [
        ("tcp", vec!["0.0.0.0", "[::]"]),
        ("tcp46", vec!["[::]"]),
        ("tcp4", vec!["0.0.0.0"]),
        ("tcp6", vec!["[::]"]),
    ] {
        let conf = Conf::of(&format!("{port} stream {protocol} nowait root /bin/cat\n"));
        let skd = conf.start();
        let answers = |ip: &str| {
            let address: SocketAddr = format!("{ip}:{port}").parse().unwrap();
            let stream = std::net::TcpStream::connect(address).ok()?;
            Client::of_tcp(stream).says("x\n").hears("x\n");
            Some(())
        };
        assert_eq!(
            answers("127.0.0.1").is_some(),
            protocol != "tcp6",
            "{protocol}"
        );
        assert_eq!(answers("[::1]").is_some(), protocol != "tcp4", "{protocol}");
        let stderr = skd.stop().stderr;
        let listens: Vec<_> = listens
            .iter()
            .map(|ip| format!("tcp:{ip}:{port}"))
            .collect();
        assert_eq!(crate::kit::listens(&stderr), listens, "{protocol}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_with_line_and_column_and_nothing_is_bound() {
    let conf = Conf::of(
        "IP:7007 stream tcp nowait root /bin/cat\n\
         no-such-service stream tcp nowait root /bin/cat\n\
         IP:7008 stream tcp nowait no-such-user /bin/cat\n\
         IP:7009 stream tcp sometimes root\n\
         IP:7009 stream tcp sometimes root /bin/cat\n\
         IP:7007 stream tcp4 nowait root /bin/cat\n\
         IP:7007 stream tcp nowait root /bin/cat\n",
    );
    let (ip, column) = (conf.ip, conf.ip.to_string().len());
    let missing = format!("4:{}: PROGRAM is missing", column + 32);
    let wait = format!(
        "5:{}: \"sometimes\": wait, nowait, nowait.MAX or nowait/MAX[/PER-MINUTE[/PER-SOURCE]] expected",
        column + 18
    );
    let user = format!(
        "3:{}: \"no-such-user\": there is no user \"no-such-user\"",
        column + 25
    );
    let again = format!("6:1: \"{ip}:7007 stream tcp4\": line 1 has the same address");
    conf.fails(
        100,
        &[
            "2:1: \"no-such-service stream tcp\": there is no tcp service \"no-such-service\"",
            &user,
            &missing,
            &wait,
            &again,
            // Once, though the address is the same too.
            "7:1: line 1 has the same service already",
        ],
    );
    TcpListener::bind(conf.address()).unwrap();
}

#[test]
fn a_file_that_cannot_be_served_is_fatal() {
    let conf = Conf::of("# nothing\n");
    let line = format!(
        "fatal: \"{}\" has no service, and there is no socket",
        conf.path
    );
    fails(conf.skd("-v"), 100, &line);
    fails(conf.skd("--check"), 100, &line);
    // With another socket it is none.
    let mut skd = conf.skd("-v -1 -t 127.0.0.1:0").word("/bin/cat").start();
    let port = skd.port();
    crate::kit::net::echoes(port);
    skd.stop();
    for (path, reason) in [
        (conf.folder.path("none"), "No such file or directory"),
        (conf.folder.path(""), "Is a directory"),
        ("/dev/null".into(), "a regular file is expected"),
    ] {
        let skd = Skd::new("--inetd-conf").word(&path);
        let line = format!("fatal: unable to read the services \"{path}\": {reason}");
        fails(skd, 100, &line);
    }
    let long = Conf::new();
    fs::write(&long.path, vec![b'#'; (1 << 20) + 1]).unwrap();
    let line = format!("fatal: \"{}\" is longer than 1048576 bytes", long.path);
    fails(long.skd("-v"), 100, &line);
}

#[test]
fn a_port_that_is_taken_is_fatal_at_the_start() {
    let conf = Conf::of("IP:7007 stream tcp nowait root /bin/cat\n");
    let _taken = TcpListener::bind(conf.address()).unwrap();
    let line = format!(
        "1:1: unable to bind tcp:{}: Address already in use",
        conf.address()
    );
    conf.fails(111, &[&line]);
    assert_eq!(conf.skd("--check").outcome().code, 0);
}

#[test]
fn the_programs_of_the_file_stand_beside_prog() {
    let conf = Conf::of("IP:7007 stream tcp nowait root /bin/echo echo from the file\n");
    let skd = conf
        .skd("-v -1 -t 127.0.0.1:0")
        .word("/bin/echo")
        .word("from the line");
    let mut skd = skd.start();
    let port = skd.port();
    assert_eq!(Client::tcp(port).hears_all(), "from the line\n");
    assert_eq!(conf.client().hears_all(), "from the file\n");
    skd.is_alone();
    skd.waits_for_nth("info: end ", 2);
    assert_eq!(skd.status(), "0 accepted 2 denied 0 failed 0");
    skd.stop();
    let table = [
        ("-t 80", "usage: PROG is missing for --tcp"),
        ("-E", "usage: --exec and --inetd-conf exclude each other"),
        ("-S", "usage: --supervise is for a program without sockets"),
    ];
    for (options, line) in table {
        fails(
            conf.skd(options),
            100,
            &format!("{line}; try \"skd --help\""),
        );
    }
    let line = "usage: --inetd-conf: a path is missing; try \"skd --help\"";
    fails(Skd::with_words(["--inetd-conf", ""]), 100, line);
}

#[test]
fn a_program_that_is_missing_is_told_of_and_its_connections_are_closed_until_it_is_there() {
    let conf = Conf::of("IP:7007 stream tcp nowait root DIR/late late word\n");
    let late = conf.folder.path("late");
    let mut skd = conf.start();
    let line = skd.waits_for("warning");
    let column = conf.ip.to_string().len() + 30;
    assert_eq!(
        line,
        format!(
            "skd: warning: {}:1:{column}: unable to run \"{late}\": No such file or directory, \
             closing its connections until it is there",
            conf.path
        )
    );
    assert_eq!(conf.client().hears_all(), "");
    skd.waits_for("closing the connection of ");
    conf.folder.script("late", "echo there $1");
    assert_eq!(conf.client().hears_all(), "there word\n");
    skd.stop();
}

#[test]
fn sockets_that_were_handed_over_serve_the_services_that_name_them() {
    let conf = Conf::of("IP:7007 stream tcp4 nowait root /bin/echo\n");
    let listener = TcpListener::bind(conf.address()).unwrap();
    let skd = conf.skd("-v").listen_fds(vec![listener.into()]).start();
    assert_eq!(conf.client().hears_all(), "\n");
    skd.stop();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let skd = conf.skd("-q").listen_fds(vec![other.into()]);
    let line =
        format!("usage: PROG is missing, and no service is tcp:{address}; try \"skd --help\"");
    ended(&skd.outcome(), 100, &line);
}

#[test]
fn what_can_have_no_effect_is_told() {
    let conf = Conf::of("IP:7007 stream tcp nowait root /bin/cat\n");
    let outcome = conf.skd("-v").word("cat").outcome();
    let text = "skd: usage: there is no socket for PROG; the services of --inetd-conf have programs of their own; try \"skd --help\"\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (100, text));
    if need::root() {
        let outcome = conf.skd("--check --user nobody").outcome();
        let text = format!(
            "skd: fatal: {}:1:37: \"root\": skd is not root, and cannot become anybody else\n",
            conf.path
        );
        let text = text.replace(":1:37:", &format!(":1:{}:", conf.ip.to_string().len() + 25));
        assert_eq!((outcome.code, outcome.stderr), (111, text));
    }
    // Whose connections skd does not take it cannot keep out.
    conf.put(
        "IP:7007 stream tcp nowait root /bin/cat\n\
         IP:7007 dgram udp wait root internal echo\n\
         IP:7008 stream tcp wait root PROBE probe accept-report 0\n",
    );
    let mut skd = conf.skd("-v --deny 192.0.2.1").start();
    let (ip, warning) = (conf.ip, skd.waits_for("warning: "));
    assert_eq!(
        warning,
        format!(
            "skd: warning: --deny is not for udp:{ip}:7007, tcp:{ip}:7008, where skd takes no connections: nobody is kept out there"
        )
    );
    skd.stop();
}
