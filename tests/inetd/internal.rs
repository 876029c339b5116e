//! What skd itself answers.

use super::{Conf, PORT};
use crate::kit::net::Client;
use crate::kit::skd::Skd;
use crate::kit::strace::Strace;
use crate::kit::{eventually, need};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

#[test]
fn streams_are_answered_without_a_process() {
    let conf = Conf::of(
        "IP:7007 stream tcp nowait root internal echo\n\
         IP:7008 stream tcp nowait root internal discard\n\
         IP:7009 stream tcp nowait root internal daytime\n\
         IP:7010 stream tcp nowait root internal time\n\
         IP:7011 stream tcp nowait root internal chargen\n",
    );
    let mut skd = conf.start();
    skd.waits_for("7011");
    let client = |port| Client::tcp_to(SocketAddr::from((conf.ip, port)));
    let mut echo = client(PORT);
    echo.says("one\n").hears("one\n");
    assert!(skd.children().is_empty());
    // As much as the buffers of both ends do not hold.
    let many = "0123456789abcdef".repeat(1 << 18);
    let mut stream = TcpStream::connect(conf.address()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let said = many.clone();
    let thread = std::thread::spawn(move || {
        writer.write_all(said.as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    thread.join().unwrap();
    assert!(heard == many, "{} of {} bytes", heard.len(), many.len());
    let mut discard = client(7008);
    discard.says(&many);
    assert_eq!(discard.hears_all(), "");
    let date = client(7009).hears_all();
    assert!(date.len() == 26 && date.ends_with("\r\n"), "{date:?}");
    let mut time = Vec::new();
    let mut stream = TcpStream::connect((conf.ip, 7010)).unwrap();
    stream.read_to_end(&mut time).unwrap();
    let time = u32::from_be_bytes(time.try_into().unwrap());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 2_208_988_800;
    assert!(now.abs_diff(u64::from(time)) < 60, "{time}");
    let mut chargen = client(7011);
    let first = chargen.hears_line();
    assert_eq!(first.len(), 73);
    assert!(first.starts_with(" !\"#$"), "{first}");
    assert!(chargen.hears_line().starts_with("!\"#$%"));
    drop(chargen);
    echo.says("two");
    assert_eq!(echo.hears_all(), "two");
    let pid = skd.pid();
    skd.waits_for_nth(&format!(" pid {pid} exit 0 "), 6);
    let status = skd.status();
    assert!(status.starts_with("0 accepted 6 denied 0 "), "{status}");
    skd.stop();
}

#[test]
fn datagrams_are_answered_but_not_to_ports_of_services() {
    let conf = Conf::of(
        "IP:7007 dgram udp wait root internal echo\n\
         IP:7008 dgram udp nowait root internal discard\n\
         IP:7009 dgram udp wait root internal daytime\n\
         IP:7010 dgram udp wait root internal time\n\
         IP:7011 dgram udp wait root internal chargen\n",
    );
    let mut skd = conf.start();
    skd.waits_for("7011");
    let udp = conf.udp();
    let ask = |port: u16, said: &[u8]| {
        udp.connect((conf.ip, port)).unwrap();
        udp.send(said).unwrap();
        let mut bytes = vec![0; 2000];
        let len = udp.recv(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    };
    assert_eq!(ask(7007, b"hello"), b"hello");
    assert_eq!(ask(7007, &[b'x'; 1500]), [b'x'; 512]);
    assert_eq!(ask(7007, b""), b"");
    assert_eq!(ask(7009, b"").len(), 26);
    assert_eq!(ask(7010, b"").len(), 4);
    assert_eq!(ask(7011, b"").len(), 74);
    // From the port of one of them: it would answer in turn, and so on for ever.
    let own = UdpSocket::bind((std::net::Ipv4Addr::new(127, 63, 0, 1), 7009)).unwrap();
    own.send_to(b"x", conf.address()).unwrap();
    assert_eq!(ask(7007, b"y"), b"y");
    own.set_nonblocking(true).unwrap();
    own.recv(&mut [0; 9]).unwrap_err();
    // What is discarded is not answered: the next answer is to the next question.
    udp.connect((conf.ip, 7008)).unwrap();
    udp.send(b"x").unwrap();
    assert_eq!(ask(7007, b"y"), b"y");
    assert!(skd.children().is_empty());
    if need::root() {
        let low = (512..1024).find_map(|port| UdpSocket::bind((conf.ip, port)).ok());
        let low = low.unwrap();
        low.connect(conf.address()).unwrap();
        low.send(b"never").unwrap();
        assert_eq!(ask(7007, b"later"), b"later");
        low.set_nonblocking(true).unwrap();
        low.recv(&mut [0; 9]).unwrap_err();
    }
    skd.stop();
}

/// They have neither a connection nor a place.
#[test]
fn datagrams_are_answered_beside_as_many_clients_as_may_be() {
    let conf = Conf::of(
        "IP:7007 stream tcp nowait root internal echo\n\
         IP:7007 dgram udp wait root internal echo\n",
    );
    let mut skd = conf.start();
    skd.waits_for("listen udp:");
    let mut clients: Vec<Client> = (0..64).map(|_| conf.client()).collect();
    for client in &mut clients {
        client.says("one\n").hears("one\n");
    }
    let udp = conf.udp();
    udp.send(b"two").unwrap();
    assert_eq!(crate::kit::net::hear_udp(&udp), "two");
    drop(clients);
    skd.stop();
}

/// They are ended when children would be told to end; then there is nobody left to wait for.
#[test]
fn with_drain_nothing_is_waited_for_when_the_last_client_was_sent_away() {
    if !need::program("strace") {
        return;
    }
    let conf = Conf::of("IP:7007 stream tcp nowait root internal echo\n");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let skd = Skd::new(&format!("-v --drain 0 --inetd-conf {}", conf.path)).start();
        let mut client = conf.client();
        client.says("one\n").hears("one\n");
        let trace = conf.folder.path("trace");
        let strace = Strace::on(&skd, &format!("-e trace=epoll_wait -o {trace}"));
        skd.signal(signal);
        assert_eq!(client.hears_rest(), "");
        assert_eq!(skd.ends().code, 0);
        drop(strace);
        let trace = std::fs::read_to_string(&trace).unwrap();
        let waited = |line: &str| {
            let (call, result) = line.rsplit_once(") ").unwrap_or_default();
            let millis = call.rsplit_once(", ").map(|(_, millis)| millis);
            result.trim() == "= 0"
                && millis.is_some_and(|it| it.parse::<u64>().is_ok_and(|it| it > 100))
        };
        assert!(!trace.lines().any(waited), "{trace}");
    }
}

#[test]
fn an_answer_comes_from_where_the_question_went() {
    if !need::ipv6() {
        return;
    }
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for protocol in ["udp", "udp46"] {
        let conf = Conf::of(&format!(
            "{port} dgram {protocol} wait root internal echo\n"
        ));
        let skd = conf.start();
        for ip in ["127.0.0.9", "::1"] {
            let ours = if ip == "::1" {
                "[::1]:0"
            } else {
                "127.0.0.1:0"
            };
            let udp = UdpSocket::bind(ours).unwrap();
            udp.set_read_timeout(Some(crate::kit::DEADLINE)).unwrap();
            // Connected, it hears from there alone.
            udp.connect((ip, port)).unwrap();
            udp.send(b"x").unwrap();
            assert_eq!(udp.recv(&mut [0; 9]).unwrap(), 1, "{protocol} {ip}");
        }
        skd.stop();
    }
}

#[test]
fn no_more_than_64_are_talked_to_at_once_and_the_next_wait() {
    let conf = Conf::of("IP:7007 stream tcp nowait root internal echo\n");
    let mut skd = conf.start();
    let mut clients: Vec<Client> = (0..64).map(|_| conf.client()).collect();
    for client in &mut clients {
        client.says("x").hears("x");
    }
    let mut waits = conf.client();
    waits.says("y");
    assert_eq!(skd.status(), "0 accepted 64 denied 0 failed 0");
    clients.pop();
    waits.hears("y");
    let before = skd.descriptors();
    drop(clients);
    drop(waits);
    eventually("closed connections", || {
        (skd.descriptors() + 64 <= before).then_some(())
    });
    skd.stop();
}

#[test]
fn a_client_that_never_reads_costs_nothing_but_its_place() {
    let conf = Conf::of(
        "IP:7007 stream tcp nowait root internal chargen\n\
         IP:7008 stream tcp nowait root internal echo\n",
    );
    let mut skd = conf.start();
    skd.waits_for("7008");
    let _deaf = TcpStream::connect(conf.address()).unwrap();
    let mut mute = TcpStream::connect((conf.ip, 7008)).unwrap();
    // It says until nothing more is taken, and hears nothing.
    mute.set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    while mute.write(&[b'x'; 65536]).is_ok() {}
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", skd.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    // A span over which something is not to happen has to pass.
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks() - before < 10);
    skd.stop();
}
