//! Proves that a connection costs skd no allocation, from accept4(2) to the end of its program.

use super::{Made, Server};
use crate::launch::prog::Prog;
use crate::listen::{Listener, Origin};
use crate::model::address::{Label, Place, Style, UnixName};
use crate::model::service::{Level, LogFormat, Mode, Pass, Proto, Service};
use crate::model::sockopt::KeepAlive;
use crate::report::form::Form;
use crate::report::log::Log;
use crate::serve::entrance::{Hosted, Runs, Served};
use crate::sys::counting::allocations;
use crate::sys::stderr::Stderr;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

/// As many at once as are taken in one turn, which is more than there are spawn slots.
const CLIENTS: u64 = super::BATCH as u64;
const ROUNDS: u64 = 20;
/// How often a table may still grow in all those rounds: where removed entries happen to lie badly, a hash table that is
/// half full grows once more.
const LATE_GROWTHS: u64 = 3;

fn server(socket: OwnedFd, place: Place) -> Server {
    let words: Vec<OsString> = vec!["true".into()];
    let path = Some(OsStr::new("/usr/bin:/bin"));
    let program = Prog::find(&words, path).unwrap().ready(Vec::new());
    let listener = Listener {
        socket,
        style: Style::Stream,
        label: Label::new(Style::Stream, &place),
        has_many_addresses: place.is_wildcard(),
        place,
        file: None,
        is_v6_only: false,
        peeking: None,
        origin: Origin::Adopted {
            name: "unknown".into(),
        },
    };
    let service = Service {
        mode: Mode::default(),
        pass: Pass::default(),
        words,
        max_connections: None,
        stderr_to_client: false,
        nodelay: true,
        keepalive: Some(KeepAlive::default()),
        proto: Proto::default(),
    };
    let form = Form {
        name: crate::model::name::Name::Skd,
        format: LogFormat::Text,
        for_journal: false,
        clock: crate::sys::clock::wall,
    };
    let mut server = Server::new(Made {
        max_connections: None,
        gate: super::gate::Gate::open(&crate::model::admission::Admission::default(), None)
            .unwrap(),
        listeners: vec![Hosted {
            listener,
            served: std::rc::Rc::new(Served {
                service,
                runs: Runs::Program(program),
                inetd: None,
            }),
        }],
        inetd: None,
        metrics: Vec::new(),
        log: Log::new(Level::Warning, form, Box::new(Stderr::new())),
        words: crate::daemon::words::Words::Inherited,
        pidfile: None,
        notices: super::notices::Notices::new(
            &crate::model::manager::Manager::default(),
            super::notices::Jail::None,
            None,
        ),
        lifetime: crate::model::service::Lifetime::default(),
        call: super::upgrade::Call::default(),
        may_have_strangers: false,
        files: None,
    })
    .unwrap();
    server.poll_listeners();
    server
}

/// Serves as many clients as `connect` makes, all there at once, to their end; returns how often skd asked for memory.
fn serve<C: Read>(server: &mut Server, connect: &impl Fn() -> C) -> u64 {
    let goal = server.tallies.sum().accepted + CLIENTS;
    let clients: Vec<C> = (0..CLIENTS).map(|_| connect()).collect();
    let mut count = allocations(|| {
        while server.tallies.sum().accepted < goal {
            server.turn();
        }
    });
    for mut client in clients {
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    // SIGCHLD may go to any of the test's threads: wait here instead.
    for pid in server.children.pids() {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(Pid::from_raw(pid)), flags).unwrap();
    }
    count += allocations(|| server.reap());
    assert_eq!(
        (server.children.count(), server.tallies.sum().failed),
        (0, 0)
    );
    count
}

/// The first round may make room; the hundreds of connections that follow need no more.
fn costs_nothing<C: Read>(mut server: Server, connect: impl Fn() -> C) {
    assert!(serve(&mut server, &connect) > 0);
    let later: u64 = (0..ROUNDS).map(|_| serve(&mut server, &connect)).sum();
    assert!(later <= LATE_GROWTHS, "{later} in {ROUNDS} rounds");
}

#[test]
fn a_tcp_connection_costs_no_allocation() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = listener.local_addr().unwrap();
    costs_nothing(server(listener.into(), Place::Inet(address)), || {
        TcpStream::connect(("127.0.0.1", address.port())).unwrap()
    });
}

#[test]
fn a_unix_connection_costs_no_allocation() {
    let name = format!("skd-allocation-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let place = Place::Unix(UnixName::from_sun_path(format!("\0{name}").as_bytes()));
    costs_nothing(server(listener.into(), place), || {
        UnixStream::connect_addr(&address).unwrap()
    });
}
