//! `--resolve` and `--ident`: names by a real name server and /etc/hosts, users by a real ident server, and nobody who
//! waits for those of somebody else.

mod judged;
mod services;

use crate::kit::net::{self, Client, own_network};
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, facts, holds_one_socket, need, own_etc, probe};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The server is the first one; the clients come from the others.
const ADDRESSES: [&str; 9] = [
    "10.77.0.1",
    "10.77.0.2",
    "10.77.0.3",
    "10.77.0.4",
    "10.77.0.5",
    "10.77.0.53",
    "fd77::1",
    "fd77::2",
    "fd77::3",
];

const HOSTS: &str = "127.0.0.1 localhost
10.77.0.1 server.test
10.77.0.2 Client.test alias.test
fd77::2 six.test
";

/// What PROG says of its client.
const SCRIPT: &str =
    "echo \"${TCPREMOTEHOST-none} ${TCPLOCALHOST-none} ${TCPREMOTEINFO-none}\"; exec cat";

/// The start of skd in a network of its own, with a port of its own there, whose name server is 10.77.0.53.
fn inside(folder: &Folder, words: &str) -> Option<Skd> {
    if !need::own_network() || !need::mounts() || !need::ipv6() {
        return None;
    }
    let files = [
        ("hosts", HOSTS),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        ),
        ("resolv.conf", "nameserver 10.77.0.53\n"),
    ];
    let under = format!(
        "{} {}",
        own_etc(folder, &files),
        own_network(folder, &ADDRESSES)
    );
    let words = format!("-v -t 7000 {words}");
    Some(Skd::new(&words).under(&under))
}

/// The same, with what the clients hear first.
fn telling(folder: &Folder, options: &str) -> Option<Running> {
    let skd = inside(folder, &format!("{options} sh -c"))?;
    Some(skd.word(SCRIPT).start())
}

/// A client from the last of ADDRESSES that ends so.
fn connect(skd: &Running, from: &str) -> TcpStream {
    let ip: IpAddr = from.parse().unwrap();
    let to = if ip.is_ipv4() {
        ADDRESSES[0]
    } else {
        "fd77::1"
    };
    let to = SocketAddr::new(to.parse().unwrap(), 7000);
    net::inside(&skd.pid().to_string(), || net::tcp_from(ip, to))
}

fn client(skd: &Running, from: &str) -> Client {
    Client::of_tcp(connect(skd, from))
}

/// A server in the network of skd; ended when dropped.
struct Server(Child);

impl Server {
    fn start(skd: &Running, words: &str) -> Self {
        // Ended with this thread, if it comes to that.
        let mut command = Command::new("setpriv");
        let command = command.args(["--pdeathsig", "KILL", "nsenter"]);
        let command = command.arg(format!("--net=/proc/{}/ns/net", skd.pid()));
        let command = command.args(words.split(' ')).stdin(Stdio::null());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }

    /// A real name server for the zone `test`, which says what these options say.
    fn names(skd: &Running, options: &str) -> Self {
        let words =
            "dnsmasq -k -C /dev/null -R -h --pid-file= -u root --local=/#/ -z -a 10.77.0.53";
        let mut server = Self::start(skd, &format!("{words} {options}"));
        // It answers by TCP as well as by UDP.
        server.listens_at(skd, "10.77.0.53:53");
        server
    }

    fn listens_at(&mut self, skd: &Running, address: &str) {
        eventually(address, || {
            assert!(self.0.try_wait().unwrap().is_none(), "no server");
            net::inside(&skd.pid().to_string(), || TcpStream::connect(address).ok())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A name server that never answers.
fn silent(skd: &Running) -> UdpSocket {
    net::inside(&skd.pid().to_string(), || {
        UdpSocket::bind("10.77.0.53:53").unwrap()
    })
}

#[test]
fn the_names_of_both_ends_are_those_that_have_their_addresses() {
    let folder = Folder::new();
    if !need::program("dnsmasq") {
        return;
    }
    let Some(skd) = telling(&folder, "--resolve") else {
        return;
    };
    // The owner of an address can say that it is client.test, or anything else: only forward look-ups tell the truth.
    let records = "--host-record=honest.test,10.77.0.4 --ptr-record=4.0.77.10.in-addr.arpa,honest.test \
                   --ptr-record=3.0.77.10.in-addr.arpa,client.test --ptr-record=5.0.77.10.in-addr.arpa,nobody.test";
    let _names = Server::names(&skd, records);
    for (from, names) in [
        ("10.77.0.2", "Client.test server.test none"),
        ("fd77::2", "six.test none none"),
        ("10.77.0.4", "honest.test server.test none"),
        ("10.77.0.3", "none server.test none"),
        ("10.77.0.5", "none server.test none"),
        ("fd77::3", "none none none"),
    ] {
        assert_eq!(client(&skd, from).hears_line(), names, "{from}");
    }
    skd.stop();
}

#[test]
fn without_being_asked_for_no_name_is_looked_up() {
    let folder = Folder::new();
    let Some(skd) = telling(&folder, "") else {
        return;
    };
    let _silent = silent(&skd);
    assert_eq!(client(&skd, "10.77.0.2").hears_line(), "none none none");
    skd.stop();
}

/// One name is known, and one server is silent; only whoever has neither waits, and is served without a name then.
#[test]
fn a_name_server_that_never_answers_keeps_nobody_else_waiting() {
    let folder = Folder::new();
    let options = "--resolve --lookup-timeout 2 -C 3 --rate-per-source 100/1";
    let Some(mut skd) = telling(&folder, options) else {
        return;
    };
    let _silent = silent(&skd);
    let begun = Instant::now();
    let mut waiting = [(); 3].map(|()| client(&skd, "10.77.0.3"));
    for number in 1..=8 {
        let told = client(&skd, "10.77.0.2").hears_line();
        assert_eq!(told, "Client.test server.test none");
        // Or three of them are too many.
        skd.waits_for_nth("info: end ", number);
    }
    // They count from the start.
    assert_eq!(client(&skd, "10.77.0.3").hears_rest(), "");
    assert!(
        skd.waits_for("info: deny ")
            .ends_with(" --max-per-source 3")
    );
    for client in &mut waiting {
        assert_eq!(client.hears_line(), "none server.test none");
        client.says("hello\n").hears("hello\n");
    }
    assert!(begun.elapsed() >= Duration::from_millis(1950));
    drop(waiting);
    skd.is_alone();
    assert_eq!(skd.status(), "0 accepted 11 denied 1 failed 0");
    skd.stop();
}

#[test]
fn a_place_is_free_again_when_the_time_for_names_is_over() {
    let folder = Folder::new();
    let skd = inside(&folder, "-c 2 --resolve --ident --lookup-timeout 1 true");
    let Some(mut skd) = skd.map(Skd::start) else {
        return;
    };
    let _silent = silent(&skd);
    // An ident server that takes the question and says nothing.
    let ident = || TcpListener::bind("10.77.0.3:113").unwrap();
    let _ident = net::inside(&skd.pid().to_string(), ident);
    let begun = Instant::now();
    let clients = [(); 4].map(|()| client(&skd, "10.77.0.3"));
    for mut client in clients {
        assert_eq!(client.hears_rest(), "");
    }
    // Two and two.
    assert!(begun.elapsed() >= Duration::from_millis(1950));
    skd.is_alone();
    assert_eq!(skd.status(), "0/2 accepted 4 denied 0 failed 0");
    skd.stop();
}

/// RFC 1413 has a line, and a server may read just once.
#[test]
fn an_ident_server_is_asked_in_one_piece() {
    let folder = Folder::new();
    let words = format!("--ident {} report", probe());
    let Some(skd) = inside(&folder, &words).map(Skd::start) else {
        return;
    };
    let ident = || TcpListener::bind("10.77.0.3:113").unwrap();
    let ident = net::inside(&skd.pid().to_string(), ident);
    for _ in 0..5 {
        let client = client(&skd, "10.77.0.3");
        let (mut conn, _) = ident.accept().unwrap();
        let mut heard = [0; 99];
        let len = conn.read(&mut heard).unwrap();
        let asked = String::from_utf8_lossy(&heard[..len]).into_owned();
        let ports = asked.strip_suffix("\r\n").unwrap_or_default();
        assert!(ports.contains(", "), "{asked:?}");
        let answer = format!("{ports} : USERID : UNIX : joe\r\n");
        conn.write_all(answer.as_bytes()).unwrap();
        drop(conn);
        let mut client = client;
        assert!(client.hears_rest().contains("TCPREMOTEINFO=joe"));
    }
    skd.is_alone();
    skd.stop();
}

/// oidentd looks up whose the connection is.
#[test]
fn the_user_is_whom_the_ident_server_of_the_client_names() {
    let folder = Folder::new();
    if !need::root() || !need::program("oidentd") {
        return;
    }
    let Some(skd) = telling(&folder, "--ident") else {
        return;
    };
    // Nobody answers there.
    assert_eq!(client(&skd, "10.77.0.2").hears_line(), "none none none");
    let mut ident = Server::start(&skd, "oidentd -i -S -C /dev/null -a 10.77.0.2");
    ident.listens_at(&skd, "10.77.0.2:113");
    assert_eq!(client(&skd, "10.77.0.2").hears_line(), "none none root");
    let mut client = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", skd.pid()))
        .args([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ])
        .args([&probe(), "client", "10.77.0.2:0", "10.77.0.1:7000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(client.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(stdout).skip(1);
    assert_eq!(lines.next().unwrap().unwrap(), "none none nobody");
    drop(client.stdin.take());
    client.wait().unwrap();
    // One that will not say who.
    let reserved = folder.path("oidentd.conf");
    std::fs::write(&reserved, "default { default { force hide } }\n").unwrap();
    let mut reserved = Server::start(&skd, &format!("oidentd -i -S -C {reserved} -a 10.77.0.3"));
    reserved.listens_at(&skd, "10.77.0.3:113");
    assert_eq!(
        self::client(&skd, "10.77.0.3").hears_line(),
        "none none none"
    );
    skd.stop();
}

/// The process that asks becomes PROG, and PROG has nothing of what it was before.
#[test]
fn prog_is_what_it_is_without_names() {
    let folder = Folder::new();
    let words = format!("--resolve --ident --lookup-timeout 1 {} report", probe());
    let Some(skd) = inside(&folder, &words) else {
        return;
    };
    let mut skd = skd
        .envs("TCPREMOTEHOST=stale TCPLOCALHOST=stale TCPREMOTEINFO=stale")
        .start();
    // With a search that has not ended, and with one that has.
    let _silent = silent(&skd);
    for (number, from) in (1..).zip(["10.77.0.3", "10.77.0.2"]) {
        let report = client(&skd, from).hears_rest();
        holds_one_socket(&report);
        // PIPE is ignored by the probe itself.
        let clean = ["SigBlk 0000000000000000", "SigIgn 0000000000001000"];
        assert_eq!(facts(&report, "signals"), clean);
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        let files = own
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .unwrap();
        let files: Vec<_> = files.split_whitespace().take(2).collect();
        assert_eq!(facts(&report, "limit"), [files.join(" ")]);
        let pid = facts(&report, "pid")[0]
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        let line = skd.waits_for_nth("info: accept ", number);
        assert!(
            line.contains(&format!(" {from}:")) && line.contains(&format!(" pid {pid} count 1")),
            "{line}"
        );
        let names = facts(&report, "env")
            .into_iter()
            .filter(|text| text.contains("HOST=") || text.contains("INFO="));
        let names: Vec<_> = names.filter(|text| text.starts_with("TCP")).collect();
        let known = ["TCPLOCALHOST=server.test", "TCPREMOTEHOST=Client.test"];
        assert_eq!(names, known[..if from.ends_with('2') { 2 } else { 1 }]);
        skd.waits_for_nth(&format!(" pid {pid} exit 0 secs "), 1);
    }
    skd.stop();
}

/// For whom a proxy speaks.
#[test]
fn behind_a_proxy_the_names_are_the_clients() {
    let folder = Folder::new();
    let Some(skd) = telling(&folder, "--resolve --ident --proxy-from 10.77.0.5") else {
        return;
    };
    let mut client = client(&skd, "10.77.0.5");
    let said = client
        .says("PROXY TCP4 10.77.0.2 10.77.0.1 4711 25\r\n")
        .hears_line();
    assert_eq!(said, "Client.test server.test none");
    client.says("hello\n").hears("hello\n");
    skd.stop();
}

/// As every child lives on, so does one that still looks up names; and with `--drain` it is waited for.
#[test]
fn who_waits_for_names_when_skd_is_told_to_stop_is_served() {
    for (options, is_waited_for) in [("", false), ("--drain 600", true)] {
        let folder = Folder::new();
        let options = format!("--resolve --lookup-timeout 1 {options}");
        let Some(mut skd) = telling(&folder, &options) else {
            return;
        };
        let _silent = silent(&skd);
        let mut client = client(&skd, "10.77.0.3");
        eventually("a child", || (skd.children().len() == 1).then_some(()));
        skd.signal(Signal::SIGTERM);
        let ended = if is_waited_for {
            assert_eq!(client.hears_line(), "none server.test none");
            skd.waits_for("info: accept ");
            drop(client);
            skd.ends()
        } else {
            let ended = skd.ends();
            assert_eq!(client.hears_line(), "none server.test none");
            client.says("hello\n").hears("hello\n");
            ended
        };
        assert_eq!(ended.code, 0);
    }
}

#[test]
fn a_program_that_is_gone_costs_one_connection() {
    let folder = Folder::new();
    let prog = folder.script("prog", "echo served");
    let skd = inside(&folder, &format!("--resolve --lookup-timeout 1 {prog}"));
    let Some(mut skd) = skd.map(Skd::start) else {
        return;
    };
    assert_eq!(client(&skd, "10.77.0.2").hears_rest(), "served\n");
    std::fs::rename(&prog, folder.path("away")).unwrap();
    assert_eq!(client(&skd, "10.77.0.2").hears_rest(), "");
    let line = skd.waits_for("skd: warning: ");
    let reason = format!("unable to run \"{prog}\": No such file or directory");
    assert!(
        line.starts_with(&format!("skd: warning: {reason}")),
        "{line}"
    );
    skd.is_alone();
    assert!(skd.status().starts_with("0 accepted 2 denied 0 failed 1"));
    std::fs::rename(folder.path("away"), &prog).unwrap();
    assert_eq!(client(&skd, "10.77.0.2").hears_rest(), "served\n");
    skd.stop();
}
