//! Descriptors taken over from LISTEN_FDS and by number: which are, which are refused, what children see of them.

mod another;

use crate::kit::net::{
    Client, echoes, hear_udp, is_refused, raw_socket, seqpacket, seqpacket_listener,
    set_nonblocking, tcp_listener, udp, unix_datagram,
};
use crate::kit::skd::Skd;
use crate::kit::{
    Folder, facts, fails, file_of, holds_one_socket, listened, need, probe, reporting, told,
};
use nix::sys::socket::{AddressFamily, SockType, SockaddrIn, UnixAddr, bind};
use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};

/// 64 MiB of address space are enough to serve, and to refuse any number.
#[test]
fn a_malformed_listen_fds_is_fatal_and_costs_no_memory() {
    const NUMBERS: &str =
        "|0|-1|+1| 1|1 |0x1|1.0|junk|4097|2147483647|4294967297|99999999999999999999";
    if !need::program("prlimit") {
        return;
    }
    let start = |words: &str| {
        let skd = Skd::new(words).listen_fds(vec![tcp_listener().0]);
        skd.under("prlimit --as=67108864")
    };
    for number in NUMBERS.split('|') {
        let line =
            format!("fatal: LISTEN_FDS is \"{number}\", a whole number from 1 to 4096 expected");
        let skd = start("-t 127.0.0.1:0 cat").env("LISTEN_FDS", number);
        fails(skd, 100, &line);
    }
    let line = "fatal: unable to adopt descriptor 4: Bad file descriptor";
    fails(start("cat").closed(4).envs("LISTEN_FDS=4096"), 111, line);
    start("-v cat").start().stop();
}

#[test]
fn a_descriptor_that_is_not_open_is_fatal_and_named() {
    const S6: &str = "S6_FD#=1 S6_FD_0=9 S6_FDID_0=web";
    let one = Skd::new("cat").listen_fds(vec![tcp_listener().0]);
    for (skd, called) in [
        (one.closed(4).envs("LISTEN_FDS=2"), "descriptor 4"),
        (Skd::new("-t 127.0.0.1:0 --adopt fd:9 cat"), "descriptor 9"),
        (Skd::new("--adopt fd:99999 cat"), "descriptor 99999"),
        (Skd::new("--adopt s6 cat").envs(S6), "descriptor 9 \"web\""),
    ] {
        let line = format!("fatal: unable to adopt {called}: Bad file descriptor");
        fails(skd.closed(9), 111, &line);
    }
    for words in ["-0", "--adopt stdin -t 127.0.0.1:0", "--adopt fd:0"] {
        let outcome = Skd::new(words).word("cat").closed(0).outcome();
        let line = "skd: fatal: unable to adopt stdin: ";
        assert!(outcome.stderr.starts_with(line), "{outcome:#?}");
        assert_eq!(outcome.code, 111);
    }
}

/// What cannot be served, and what it is called.
fn useless(folder: &Folder) -> Vec<(OwnedFd, &'static str)> {
    use AddressFamily::{Inet, Unix};
    const FILE: &str = "a file or folder, no socket";
    const STREAM: &str = "a stream socket that neither listens nor is connected";
    const DATAGRAM: &str = "a datagram socket that is not bound";
    let tcp = raw_socket(Inet, SockType::Stream);
    bind(tcp.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let unix = raw_socket(Unix, SockType::Stream);
    let path = UnixAddr::new(folder.path("bound").as_str()).unwrap();
    bind(unix.as_raw_fd(), &path).unwrap();
    vec![
        (File::create(folder.path("file")).unwrap().into(), FILE),
        (File::open(folder.path("")).unwrap().into(), FILE),
        (raw_socket(Inet, SockType::Stream), STREAM),
        (tcp, STREAM),
        (raw_socket(Unix, SockType::Stream), STREAM),
        (unix, STREAM),
        (raw_socket(Unix, SockType::SeqPacket), STREAM),
        (raw_socket(Inet, SockType::Datagram), DATAGRAM),
    ]
}

#[test]
fn what_cannot_be_served_is_fatal_and_named() {
    let folder = Folder::new();
    for (fd, what) in useless(&folder) {
        let copy = || fd.try_clone().unwrap();
        let fds = || vec![tcp_listener().0, copy()];
        let named = Skd::new("-t 127.0.0.1:0 cat");
        let number = Skd::new("--adopt fd:7 cat");
        for (skd, called) in [
            (Skd::new("cat").listen_fds(vec![copy()]), "descriptor 3"),
            (named.listen_fds(fds()), "descriptor 4"),
            (Skd::new("-0 cat").descriptor(0, copy()), "stdin"),
            (number.descriptor(7, copy()), "descriptor 7"),
        ] {
            let line = format!("fatal: unable to adopt {called}: it is {what}");
            fails(skd, 111, &line);
        }
    }
}

#[test]
fn what_cannot_be_waited_for_or_read_is_fatal_and_named() {
    let (_reader, writer) = nix::unistd::pipe().unwrap();
    let useless: [(OwnedFd, &str); 2] = [
        (writer, "it is not open for reading"),
        (
            File::open("/dev/null").unwrap().into(),
            "it is always ready, nobody can wait for it",
        ),
    ];
    for (fd, why) in useless {
        let line = format!("fatal: unable to adopt descriptor 7: {why}");
        fails(Skd::new("--adopt fd:7 cat").descriptor(7, fd), 111, &line);
    }
}

/// It could never receive anything.
#[test]
fn a_unix_datagram_socket_that_is_not_bound_is_fatal_and_named() {
    let unbound = raw_socket(AddressFamily::Unix, SockType::Datagram);
    let line = "fatal: unable to adopt descriptor 3: it is a datagram socket that is not bound";
    fails(Skd::new("cat").listen_fds(vec![unbound]), 111, line);
}

#[test]
fn names_and_numbers_that_are_missing_are_fatal() {
    const TABLE: &str = r#"
listen-fds||there is nothing to adopt: LISTEN_FDS is not set for this process
listen-fds:web -t 127.0.0.1:0||there is nothing to adopt: LISTEN_FDS is not set for this process
listen-fds|LISTEN_FDS=1 LISTEN_PID=1|there is nothing to adopt: LISTEN_FDS is not set for this process
listen-fds:web|LISTEN_FDS=1|no descriptor of LISTEN_FDS is named "web"
listen-fds:web|LISTEN_FDS=1 LISTEN_FDNAMES=w|no descriptor of LISTEN_FDS is named "web"
listen-fds:web|LISTEN_FDS=1 LISTEN_FDNAMES=webs|no descriptor of LISTEN_FDS is named "web"
listen-fds:w --adopt listen-fds:web|LISTEN_FDS=1 LISTEN_FDNAMES=w|no descriptor of LISTEN_FDS is named "web"
s6||there is nothing to adopt: S6_FD# is not set
s6:web|LISTEN_FDS=1|there is nothing to adopt: S6_FD# is not set
s6|S6_FD#=0|there is nothing to adopt: S6_FD# is 0
s6|S6_FD#=x|S6_FD# is "x", a whole number from 0 to 4096 expected
s6|S6_FD#=4097|S6_FD# is "4097", a whole number from 0 to 4096 expected
s6|S6_FD#=1|S6_FD# is 1, but S6_FD_0 is not set
s6|S6_FD#=1 S6_FD_0=3|S6_FD# is 1, but S6_FDID_0 is not set
s6:web|S6_FD#=1 S6_FD_0=3 S6_FDID_0=w|no descriptor of S6_FD# is "web""#;
    for row in TABLE.lines().skip(1) {
        let [words, variables, text] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let skd = Skd::new(&format!("--adopt {words} cat")).envs(variables);
        let skd = skd.descriptor(3, tcp_listener().0);
        fails(skd, 100, &format!("fatal: {text}"));
    }
}

#[test]
fn adopting_what_makes_no_sense_is_a_usage_error() {
    const TABLE: &str = r#"
-0 --adopt stdin|descriptor 0 is adopted twice
-0 --adopt fd:0|descriptor 0 is adopted twice
--adopt fd:9 --adopt fd:9|descriptor 9 is adopted twice
--adopt fd:3|descriptor 3 is adopted twice
--adopt listen-fds --adopt fd:3|descriptor 3 is adopted twice
--adopt s6|descriptor 3 is adopted twice
--adopt fd:x|--adopt: "fd:x": the number of a descriptor is expected
--adopt fd:-1|--adopt: "fd:-1": the number of a descriptor is expected
--adopt fd:4294967299|--adopt: "fd:4294967299": the number of a descriptor is expected
--adopt fd:|--adopt: "fd:": something is missing behind the colon
--adopt s6:|--adopt: "s6:": something is missing behind the colon
--adopt tcp|--adopt: "tcp": stdin, fd:N, s6[:ID] or listen-fds[:NAME] expected
--no-adopt --adopt listen-fds|--no-adopt and --adopt listen-fds exclude each other"#;
    for (words, text) in TABLE.lines().filter_map(|row| row.split_once('|')) {
        let skd = Skd::new(words).word("cat").descriptor(9, tcp_listener().0);
        // With LISTEN_PID there would be a shell on the way, which drops S6_FD#.
        let skd = skd.envs("LISTEN_FDS=1 S6_FD#=1 S6_FD_0=3 S6_FDID_0=web");
        let skd = skd.descriptor(3, tcp_listener().0);
        fails(skd, 100, &format!("usage: {text}; try \"skd --help\""));
    }
}

/// What is for another process is closed, and not even read.
#[test]
fn listen_fds_of_another_process_is_ignored() {
    const PIDS: &str = "1||junk|+$$|-$$|' '$$|$$' '|$$x|0x$$|99999999999999999999";
    let folder = Folder::new();
    for (place, pid) in PIDS.split('|').enumerate() {
        for count in ["1", "junk"] {
            let set = format!("LISTEN_PID={pid} exec \"$@\"");
            let script = folder.script(&format!("{count}{place}"), &set);
            let (listener, port) = tcp_listener();
            let skd = Skd::new("-v -t 127.0.0.1:0 cat").descriptor(3, listener);
            let mut skd = skd.env("LISTEN_FDS", count).under(&script).start();
            let own = skd.port();
            is_refused(port);
            echoes(own);
            listened(skd, &[own]);
        }
    }
}

#[test]
fn listen_fds_counts_for_our_pid_and_for_none() {
    let (listener, port) = tcp_listener();
    let without = Skd::new("-v cat").descriptor(3, listener.try_clone().unwrap());
    let with = Skd::new("-v cat").listen_fds(vec![listener]);
    for skd in [with, without.envs("LISTEN_FDS=1")] {
        let skd = skd.start();
        echoes(port);
        listened(skd, &[port]);
    }
}

#[test]
fn no_adopt_ignores_listen_fds() {
    let (listener, port) = tcp_listener();
    let skd = reporting("--no-adopt -v -t 127.0.0.1:0").listen_fds(vec![listener]);
    let mut skd = skd.envs("LISTEN_FDNAMES=a:b").start();
    let own = skd.port();
    is_refused(port);
    let report = Client::tcp(own).hears_all();
    holds_one_socket(&report);
    assert!(!told(&report).contains("LISTEN"), "{report}");
    assert_eq!(skd.seen, [format!("skd: info: listen tcp:127.0.0.1:{own}")]);
    listened(skd, &[own]);
}

#[test]
fn names_that_are_not_as_many_as_descriptors_are_ignored() {
    for names in ["web", "web:web:web", ""] {
        let ((one, first), (other, second)) = (tcp_listener(), tcp_listener());
        let skd = Skd::new("-v cat").listen_fds(vec![one, other]);
        let mut skd = skd.env("LISTEN_FDNAMES", names).start();
        skd.waits_for_nth("listen ", 2);
        let line = "skd: warning: LISTEN_FDNAMES has not as many names as LISTEN_FDS descriptors, 2, \
            ignoring the names";
        assert_eq!(skd.seen[0], line);
        echoes(first);
        echoes(second);
        listened(skd, &[first, second]);
    }
    let skd = Skd::new("-q --adopt listen-fds:web cat").listen_fds(vec![tcp_listener().0]);
    let line = "fatal: no descriptor of LISTEN_FDS is named \"web\"";
    fails(skd.envs("LISTEN_FDNAMES=web:web"), 100, line);
}

/// Two are named `a`, and 200 is not among them: LISTEN_FDS_FIRST_FD counts for nothing.
#[test]
fn the_descriptors_that_are_asked_for_are_taken_and_all_others_closed() {
    for (words, taken) in [
        ("--adopt listen-fds", [0, 1, 2, 3].as_slice()),
        ("--adopt listen-fds:a", &[0, 2]),
        ("--adopt listen-fds:c --adopt listen-fds:a", &[0, 2, 3]),
        ("--adopt listen-fds:b --adopt listen-fds", &[0, 1, 2, 3]),
        ("-0 --adopt listen-fds:c", &[3, 4]),
        ("--adopt fd:200", &[0, 1, 2, 3, 5]),
        ("--no-adopt --adopt fd:200", &[5]),
    ] {
        let (mut fds, ports): (Vec<_>, Vec<_>) = (0..6).map(|_| tcp_listener()).unzip();
        let (far, stdin) = (fds.pop().unwrap(), fds.pop().unwrap());
        let skd = Skd::new(&format!("-v {words} cat")).listen_fds(fds);
        let skd = skd.descriptor(0, stdin).descriptor(200, far);
        let skd = skd.envs("LISTEN_FDNAMES=a:b:a:c LISTEN_FDS_FIRST_FD=200");
        let mut skd = skd.start();
        skd.waits_for_nth("listen ", taken.len());
        for (place, port) in ports.iter().enumerate() {
            if taken.contains(&place) {
                echoes(*port);
            } else if place != 4 {
                // That is descriptor 0, which stays open though nobody serves it.
                is_refused(*port);
            }
        }
        let taken: Vec<_> = taken.iter().map(|place| ports[*place]).collect();
        listened(skd, &taken);
    }
}

#[test]
fn what_is_no_socket_in_a_dump_of_s6_is_skipped_unless_named() {
    const DUMP: &str =
        "S6_FD#=3 S6_FD_0=9 S6_FDID_0=pipe S6_FD_1=5 S6_FDID_1=web S6_FD_2=200 S6_FDID_2=file";
    let folder = Folder::new();
    let file = File::create(folder.path("file")).unwrap();
    let ((listener, port), (fifo, _writer)) = (tcp_listener(), nix::unistd::pipe().unwrap());
    let start = |words: &str| {
        let skd = Skd::new(&format!("-v --adopt {words} cat")).envs(DUMP);
        let skd = skd.descriptor(5, listener.try_clone().unwrap());
        let skd = skd.descriptor(9, fifo.try_clone().unwrap());
        skd.descriptor(200, file.try_clone().unwrap())
    };
    let refused = "fatal: unable to adopt descriptor";
    let pipe = start("s6:pipe").start();
    assert_eq!(pipe.seen, ["skd: info: listen fifo:descriptor 9 \"pipe\""]);
    pipe.stop();
    let line = format!("{refused} 200 \"file\": it is a file or folder, no socket");
    fails(start("s6:file"), 111, &line);
    let (one, all) = (start("s6:web").start(), start("s6").start());
    echoes(port);
    let listen = format!("skd: info: listen tcp:127.0.0.1:{port}");
    let pipe = "skd: warning: descriptor 9 \"pipe\" is a FIFO, skipping";
    let file = "skd: warning: descriptor 200 \"file\" is a file or folder, skipping";
    assert_eq!(one.seen, [listen.as_str()]);
    assert_eq!(all.seen, [pipe, file, &listen]);
    one.stop();
    all.stop();
}

/// Inetd's wait, systemd's StandardInput=socket, StandardInput=fd:NAME.
#[test]
fn an_adopted_listener_is_on_no_descriptor_of_a_child() {
    for (words, numbers) in [
        ("-v -0", [0].as_slice()),
        ("-v -0", &[0, 1]),
        ("-v -0", &[0, 1, 2]),
        ("-v --adopt fd:1", &[1]),
        ("-v --adopt fd:2", &[2]),
        ("-v --adopt fd:2 --no-adopt", &[0, 1, 2, 3]),
        ("-v --adopt listen-fds", &[0, 1, 3]),
        ("-v -0 --adopt listen-fds", &[0, 3]),
    ] {
        let (listener, port) = tcp_listener();
        let file = file_of(&listener);
        let mut skd = reporting(words).envs("LISTEN_FDS=1 LISTEN_FDNAMES=web");
        for number in numbers {
            skd = skd.descriptor(*number, listener.try_clone().unwrap());
        }
        let skd = if numbers.contains(&3) {
            skd
        } else {
            skd.envs("LISTEN_PID=1")
        };
        drop(listener);
        let skd = skd.spawn();
        let report = Client::tcp(port).hears_all();
        assert_ne!(holds_one_socket(&report), file);
        let is_null = facts(&report, "fd")[2] == "2 /dev/null blocking";
        assert_eq!(is_null, numbers.contains(&2), "{words} {report}");
        skd.is_alone();
        let ports = [port];
        listened(skd, if is_null { &[] } else { &ports });
    }
}

/// It is there to be read from, as 0 and 1, but is nobody's stderr.
#[test]
fn an_adopted_datagram_socket_is_on_0_and_1_of_a_child_alone() {
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (port, file) = (listener.local_addr().unwrap().port(), file_of(&listener));
    let mut skd = Skd::new("-0").word(probe()).word("report-datagram");
    for number in 0..3 {
        skd = skd.descriptor(number, listener.try_clone().unwrap());
    }
    drop(listener);
    let skd = skd.spawn();
    let client = udp(port);
    client.send(b"x").unwrap();
    let report = hear_udp(&client);
    assert_eq!(holds_one_socket(&report), file);
    assert_eq!(facts(&report, "fd")[2], "2 /dev/null blocking");
    skd.is_alone();
    skd.stop();
}

/// Each child has one socket, blocking, which is the inherited one only where that is a datagram socket.
#[test]
fn every_kind_of_socket_is_served_blocking_or_not() {
    const PROG: &str = "case $PROTO$UNIXCONNNUM in TCP | UNIX?*) exec $0.probe report ;; esac\n\
        exec $0.probe report-datagram";
    for is_nonblocking in [false, true] {
        let folder = Folder::new();
        std::os::unix::fs::symlink(probe(), folder.path("prog.probe")).unwrap();
        let path = |name: &str| folder.path(name);
        let (tcp, port) = tcp_listener();
        let packets = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = udp(packets.local_addr().unwrap().port());
        let mut fds: Vec<OwnedFd> = vec![
            packets.into(),
            UnixDatagram::bind(path("datagram")).unwrap().into(),
            tcp,
            UnixListener::bind(path("stream")).unwrap().into(),
            seqpacket_listener(&path("seqpacket")),
        ];
        let mut tcp6 = None;
        if need::ipv6() {
            let listener = TcpListener::bind("[::1]:0").unwrap();
            tcp6 = Some(listener.local_addr().unwrap());
            fds.push(listener.into());
        }
        for fd in &fds {
            set_nonblocking(fd, is_nonblocking);
        }
        let files: Vec<_> = fds.iter().map(file_of).collect();
        let skd = Skd::new("-v").word(folder.script("prog", PROG));
        let mut skd = skd.listen_fds(fds).start();
        skd.waits_for_nth("listen ", files.len());
        client.send(b"x").unwrap();
        assert_eq!(holds_one_socket(&hear_udp(&client)), files[0]);
        let client = unix_datagram(&path("client"));
        client.send_to(b"x", path("datagram")).unwrap();
        let mut report = [0; 65536];
        let len = client.recv(&mut report).unwrap();
        let report = String::from_utf8_lossy(&report[..len]);
        assert_eq!(holds_one_socket(&report), files[1]);
        let mut reports = vec![
            Client::tcp(port).hears_all(),
            Client::unix(&path("stream")).hears_all(),
            seqpacket(&path("seqpacket")).hears_message(),
        ];
        reports.extend(tcp6.map(|address| Client::tcp_to(address).hears_all()));
        for report in reports {
            assert!(!files.contains(&holds_one_socket(&report)), "{report}");
        }
        skd.is_alone();
        skd.stop();
    }
}

#[test]
fn no_child_hears_of_adoption_or_of_the_manager() {
    let (listener, port) = tcp_listener();
    let skd = reporting("-v").descriptor(3, listener).envs(
        "LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_FDS_FIRST_FD=3 FDSTORE=1 \
        S6_FD#=1 S6_FD_0=3 S6_FDID_0=web S6_FDLIMIT_0=@4000000000000000 \
        NOTIFY_SOCKET=/nonexistent WATCHDOG_USEC=1 WATCHDOG_PID=1",
    );
    let skd = skd.start();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let own = client.local_addr().unwrap().port();
    let wanted = format!(
        "PROTO=TCP REMOTE_ADDR=127.0.0.1 REMOTE_PORT={own} TCPCONNNUM=1 TCPLOCALIP=127.0.0.1 \
        TCPLOCALPORT={port} TCPREMOTEIP=127.0.0.1 TCPREMOTEPORT={own}"
    );
    assert_eq!(told(&Client::of_tcp(client).hears_all()), wanted);
    skd.stop();
}

/// The number of skd's own pidfd tells it from another process that had the pid before.
#[test]
fn sockets_for_another_pidfd_are_ignored() {
    let start = |wrong: u32| {
        let (listener, port) = tcp_listener();
        let skd = reporting("-v --adopt listen-fds").descriptor(3, listener);
        let skd = skd.envs("LISTEN_FDS=1 LISTEN_FDNAMES=web");
        (skd.under(&format!("{} pidfd-id {wrong}", probe())), port)
    };
    let (skd, port) = start(0);
    let skd = skd.start();
    let report = Client::tcp(port).hears_all();
    assert!(!told(&report).contains("LISTEN_"), "{report}");
    skd.stop();
    let line = "fatal: there is nothing to adopt: LISTEN_FDS is not set for this process";
    fails(start(1).0, 100, line);
}
