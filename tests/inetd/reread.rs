//! The file is read again, and another skd goes on with it.

use super::Conf;
use crate::kit::eventually;
use crate::kit::net::{Client, raw_socket};
use crate::kit::skd::{Running, Skd};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, Backlog, SockType, SockaddrIn, bind, getsockname, setsockopt, sockopt,
};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

/// HUP, and `text` is in the log thereafter.
fn reread(skd: &mut Running, text: &str) {
    skd.signal(Signal::SIGHUP);
    skd.waits_for(text);
}

/// The inode numbers of its sockets that listen, in order.
fn sockets(skd: &Running) -> Vec<String> {
    let folder = format!("/proc/{}/fd", skd.pid());
    let links = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()));
    let names = links.map(|link| link.unwrap().into_os_string().into_string().unwrap());
    let mut all: Vec<String> = names.filter(|it| it.starts_with("socket:")).collect();
    all.sort();
    all
}

#[test]
fn services_come_and_go_and_those_that_stay_lose_nobody() {
    let conf = Conf::of(
        "IP:7007 stream tcp nowait root PROBE probe hold\n\
         IP:7008 stream tcp nowait root PROBE probe hold\n\
         DIR/x stream unix nowait root /bin/cat\n",
    );
    let mut skd = conf.skd("-vv").start();
    skd.waits_for("/x");
    let at = |port| SocketAddr::from((conf.ip, port));
    let mut stays = Client::tcp_to(at(7007));
    let mut loses_its_service = Client::tcp_to(at(7008));
    stays.hears_line();
    loses_its_service.hears_line();
    // A program may speak before skd has let go of its connection.
    skd.status();
    let before = sockets(&skd);
    conf.put(
        "IP:7007 stream tcp nowait root /bin/echo echo changed\n\
         IP:7009 stream tcp nowait root /bin/echo echo new\n",
    );
    // In the backlog while the file is read.
    let mut waiting = skd.while_stopped(|| {
        skd.signal(Signal::SIGHUP);
        Client::tcp_to(at(7007))
    });
    let new = format!("listen tcp:{}", at(7009));
    skd.waits_for(&new);
    assert_eq!(waiting.hears_rest(), "changed\n");
    let after = sockets(&skd);
    assert_eq!(
        before.iter().filter(|it| after.contains(it)).count(),
        before.len() - 2
    );
    assert_eq!(Client::tcp_to(at(7009)).hears_all(), "new\n");
    TcpStream::connect(at(7008)).unwrap_err();
    assert!(!fs::exists(conf.folder.path("x")).unwrap());
    assert_eq!(loses_its_service.hears_all(), "bye\n");
    assert_eq!(stays.hears_all(), "bye\n");
    skd.waits_for(&format!("end tcp:{}", at(7008)));
    // It comes back in the place of one that is gone.
    conf.put("IP:7008 stream tcp nowait root /bin/echo echo back\n");
    reread(&mut skd, &format!("closed tcp:{}", at(7009)));
    eventually("the service that is back", || {
        TcpStream::connect(at(7008)).ok()
    });
    assert_eq!(Client::tcp_to(at(7008)).hears_all(), "back\n");
    skd.stop();
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let good = "IP:7007 stream tcp nowait root /bin/echo echo old\n";
    let conf = Conf::of(good);
    let mut skd = conf.start();
    conf.put("IP:7007 stream tcp nowait root /bin/echo echo new\n\nnonsense\n7 stream tcp\n");
    let text = ":3:9: TYPE is missing, keeping the services as they were";
    reread(&mut skd, text);
    skd.waits_for(":4:13: WAIT is missing, keeping the services as they were");
    assert_eq!(conf.client().hears_all(), "old\n");
    fs::remove_file(&conf.path).unwrap();
    let line = format!(
        "unable to read the services \"{}\": No such file or directory, keeping",
        conf.path
    );
    reread(&mut skd, &line);
    assert_eq!(conf.client().hears_all(), "old\n");
    skd.stop();
}

/// As an editor leaves it for a moment: at the start it would have been an error.
#[test]
fn a_file_without_services_changes_nothing_where_there_is_nothing_else() {
    let conf = Conf::of("IP:7007 stream tcp nowait root /bin/echo echo old\n");
    let mut skd = conf.start();
    conf.put("# soon\n");
    let text = format!(
        "\"{}\" has no service, and there is no socket, keeping the services as they were",
        conf.path
    );
    reread(&mut skd, &text);
    assert_eq!(conf.client().hears_all(), "old\n");
    skd.stop();
    // Beside PROG it is one.
    conf.put("IP:7007 stream tcp nowait root /bin/echo echo old\n");
    let mut skd = conf.skd("-vv -1 -t 127.0.0.1:0").word("cat").start();
    skd.waits_for("7007");
    let port = skd.port();
    conf.put("# soon\n");
    reread(&mut skd, &format!("closed tcp:{}", conf.address()));
    crate::kit::net::echoes(port);
    skd.stop();
}

#[test]
fn a_service_that_is_called_otherwise_keeps_its_sockets_and_who_waits() {
    let at_once = "stream tcp nowait root /bin/echo echo";
    let conf = Conf::of(&format!("IP:7007 {at_once} old\n7012 {at_once} old\n"));
    let mut skd = conf.skd("-vv").start();
    skd.waits_for("listen tcp:[::]:7012");
    let before = sockets(&skd);
    conf.put(
        "IP:7007 stream tcp4 nowait/1 root /bin/echo echo new\n\
         *:7012 stream tcp4 nowait root /bin/echo echo new\n",
    );
    let (mut waiting, mut other) = skd.while_stopped(|| {
        skd.signal(Signal::SIGHUP);
        let other = SocketAddr::from(([127, 0, 0, 1], 7012));
        (conf.client(), Client::tcp_to(other))
    });
    assert_eq!(waiting.hears_rest(), "new\n");
    assert_eq!(other.hears_rest(), "new\n");
    skd.waits_for("closed tcp:[::]:7012");
    let after = sockets(&skd);
    assert_eq!(after.len() + 1, before.len());
    assert!(after.iter().all(|it| before.contains(it)));
    // One socket for both families is another type.
    conf.put("7012 stream tcp46 nowait root /bin/echo echo both\n");
    reread(&mut skd, "closed tcp:0.0.0.0:7012");
    skd.waits_for_nth("listen tcp:[::]:7012", 2);
    let v4 = SocketAddr::from(([127, 0, 0, 1], 7012));
    assert_eq!(Client::tcp_to(v4).hears_all(), "both\n");
    skd.stop();
}

/// Whoever gets a socket can spoil it for all that come after.
#[test]
fn a_socket_that_a_program_has_shut_or_connected_serves_again() {
    let conf = Conf::of(
        "IP:7007 stream tcp wait root PROBE probe accept-and-shut 0\n\
         IP:7007 dgram udp wait root PROBE probe echo-and-connect\n",
    );
    let mut skd = conf.start();
    skd.waits_for("listen udp:");
    for round in 1..=2 {
        assert_eq!(conf.client().hears_all(), "bye\n");
        skd.waits_for_nth("/probe\" had shut tcp:", round);
        // From another port each time.
        let client = conf.udp();
        client.send(b"hello").unwrap();
        assert_eq!(crate::kit::net::hear_udp(&client), "hello");
        skd.waits_for_nth("/probe\" had connected udp:", round);
    }
    skd.stop();
}

#[test]
fn a_port_that_is_taken_is_bound_as_soon_as_it_is_free() {
    let conf = Conf::of("IP:7007 stream tcp nowait root /bin/echo echo here\n");
    let mut skd = conf.start();
    let at = SocketAddr::from((conf.ip, 7008));
    let taken = TcpListener::bind(at).unwrap();
    conf.put(
        "IP:7007 stream tcp nowait root /bin/echo echo here\n\
         IP:7008 stream tcp nowait root /bin/echo echo there\n",
    );
    let text = format!(
        "{}:2:1: unable to bind tcp:{at}: Address already in use, trying again in 1 s",
        conf.path
    );
    reread(&mut skd, &text);
    assert_eq!(conf.client().hears_all(), "here\n");
    drop(taken);
    skd.waits_for(&format!("listen tcp:{at}"));
    assert_eq!(Client::tcp_to(at).hears_all(), "there\n");
    skd.stop();
}

#[test]
fn a_program_keeps_the_socket_that_it_has_until_it_ends() {
    let conf = Conf::of("IP:7007 stream tcp wait root PROBE probe accept-until-end 0\n");
    let mut skd = conf.start();
    let asks = |line: &str| {
        let answer = conf.client().says(line).hears_line();
        answer.split(' ').next().unwrap().to_owned()
    };
    let pid = asks("x\n");
    conf.put("IP:7007 stream tcp nowait root /bin/echo echo skd\n");
    skd.signal(Signal::SIGHUP);
    skd.signal(Signal::SIGUSR1);
    skd.waits_for("info: status ");
    assert_eq!(asks("x\n"), pid);
    assert_eq!(asks("end\n"), pid);
    skd.waits_for("info: end ");
    assert_eq!(conf.client().hears_all(), "skd\n");
    skd.stop();
}

#[test]
fn another_skd_goes_on_with_the_services_and_all_who_are_there() {
    let copy = crate::upgrade::Copy::new();
    let conf = Conf::of(
        "IP:7007 stream tcp nowait/2 root PROBE probe hold\n\
         IP:7008 stream tcp nowait root PROBE probe hold\n\
         IP:7009 stream tcp nowait root internal echo\n",
    );
    let mut skd = conf.skd("-vv").binary(&copy.path).start();
    skd.waits_for("7009");
    let at = |port| SocketAddr::from((conf.ip, port));
    let mut held = conf.client();
    let mut of_gone = Client::tcp_to(at(7008));
    held.hears_line();
    of_gone.hears_line();
    let mut echo = Client::tcp_to(at(7009));
    echo.says("a").hears("a");
    conf.put(
        "IP:7007 stream tcp nowait/2 root PROBE probe hold\n\
         IP:7009 stream tcp nowait root internal echo\n\
         IP:7010 stream tcp nowait root /bin/echo echo new\n",
    );
    reread(&mut skd, &format!("closed tcp:{}", at(7008)));
    for count in 1..=2 {
        skd.signal(Signal::SIGUSR2);
        skd.waits_for_nth("in the place of the skd before", count);
    }
    assert_eq!(Client::tcp_to(at(7010)).hears_all(), "new\n");
    echo.says("b").hears("b");
    // The one from before counts for the limit.
    let mut second = conf.client();
    second.hears_line();
    let mut third = conf.client();
    let status = skd.status();
    assert!(status.starts_with("3 accepted 5 "), "{status}");
    assert_eq!(held.hears_all(), "bye\n");
    third.hears_line();
    assert_eq!(of_gone.hears_all(), "bye\n");
    assert_eq!(echo.hears_all(), "");
    skd.waits_for(&format!("end tcp:{}", at(7008)));
    skd.waits_for(&format!("end tcp:{}", at(7009)));
    // What the file had lost by the time of the upgrade is closed then.
    conf.put("IP:7010 stream tcp nowait root /bin/echo echo new\n");
    skd.signal(Signal::SIGUSR2);
    skd.waits_for_nth("in the place of the skd before", 3);
    skd.waits_for_nth(&format!("closed tcp:{}", at(7009)), 1);
    TcpStream::connect(at(7007)).unwrap_err();
    skd.stop();
}

#[test]
fn the_file_is_found_where_its_path_leads_by_now() {
    let conf = Conf::new();
    let line = |text: &str| {
        format!(
            "{}:7007 stream tcp nowait root /bin/echo echo {text}\n",
            conf.ip
        )
    };
    for release in ["one", "two"] {
        let folder = conf.folder.path(release);
        fs::create_dir(&folder).unwrap();
        fs::write(format!("{folder}/inetd.conf"), line(release)).unwrap();
        fs::write(
            format!("{folder}/rules"),
            format!(":allow,RELEASE=\"{release}\"\n"),
        )
        .unwrap();
    }
    let current = conf.folder.path("current");
    symlink("one", &current).unwrap();
    let words = format!("-vv --inetd-conf {current}/inetd.conf --rules {current}/rules");
    let mut skd = Skd::new(&words).start();
    assert_eq!(conf.client().hears_all(), "one\n");
    symlink("two", conf.folder.path("next")).unwrap();
    fs::rename(conf.folder.path("next"), &current).unwrap();
    fs::remove_dir_all(conf.folder.path("one")).unwrap();
    reread(&mut skd, "read the rules again");
    assert_eq!(conf.client().hears_all(), "two\n");
    skd.stop();
}

/// Anybody who may read a folder may lock it.
#[test]
fn a_folder_that_somebody_has_locked_keeps_nobody_waiting() {
    let conf = Conf::of("IP:7007 stream tcp nowait root /bin/cat\n");
    let mut skd = conf.skd("-v").start();
    skd.waits_for("listen ");
    let folder = fs::File::open(conf.folder.path("")).unwrap();
    folder.lock().unwrap();
    let services: String = (1..=60)
        .map(|number| format!("DIR/s{number} stream unix nowait root /bin/cat\n"))
        .collect();
    conf.put(&format!(
        "IP:7007 stream tcp nowait root /bin/cat\n{services}"
    ));
    reread(&mut skd, "/s60");
    let mut client = Client::tcp_to(SocketAddr::from((conf.ip, 7007)));
    client.says("hello\n").hears("hello\n");
    skd.stop();
}

/// As many as whoever made them lets share it.
#[test]
fn adopted_sockets_that_share_an_address_are_one_service_still() {
    let listen = |port| {
        let socket = raw_socket(AddressFamily::Inet, SockType::Stream);
        setsockopt(&socket, sockopt::ReusePort, &true).unwrap();
        let address = SockaddrIn::new(127, 0, 0, 1, port);
        bind(socket.as_raw_fd(), &address).unwrap();
        nix::sys::socket::listen(&socket, Backlog::MAXALLOWABLE).unwrap();
        socket
    };
    let first = listen(0);
    let port = getsockname::<SockaddrIn>(first.as_raw_fd()).unwrap().port();
    let fds = vec![first, listen(port)];
    let conf = Conf::new();
    let line =
        |text: &str| format!("127.0.0.1:{port} stream tcp nowait root /bin/echo echo {text}\n");
    conf.put(&line("one"));
    let skd = Skd::new(&format!("-v --inetd-conf {}", conf.path));
    let skd = skd.listen_fds(fds).start();
    conf.put(&line("two"));
    skd.signal(Signal::SIGHUP);
    eventually("the file as it is now", || {
        (Client::tcp(port).hears_all() == "two\n").then_some(())
    });
    skd.stop();
}
