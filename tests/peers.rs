//! The launchers that the README speaks of, beside skd: real ones, each in a network of its own.

mod coming;
mod table;
mod trials;

use crate::kit::net::{inside, own_network, try_tcp_from};
use crate::kit::skd::BINARY;
use crate::kit::systemd::Systemd;
use crate::kit::{DEADLINE, Folder, eventually, executable, need, probe};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

const README: &str = include_str!("../README.md");

/// Where tests/run unpacks what would be started if it were installed.
const UNPACKED: [(&str, &str); 2] = [
    (
        "inetd",
        concat!(env!("CARGO_MANIFEST_DIR"), "/target/openbsd-inetd/usr/sbin"),
    ),
    (
        "xinetd",
        concat!(env!("CARGO_MANIFEST_DIR"), "/target/xinetd/usr/sbin"),
    ),
];

/// What is served: tells what it finds and who it is, and then sends back what it hears.
const PROG: &str = "#!/bin/sh
/usr/bin/env | /usr/bin/sort | /bin/grep -E '^(PROTO|TCP|UNIX|IPC|REMOTE|SOCAT_PEER|RELAY)'
echo \"ids $(/usr/bin/id -u) $(/usr/bin/id -g)\"
echo \"groups $(/usr/bin/id -G)\"
echo \"umask $(umask)\"
echo \"words $*\"
echo \"cgroup $(/bin/grep '^0::' /proc/self/cgroup)\"
echo \"stdin $(/bin/readlink /proc/$$/fd/0)\"
echo \"stderr $(/bin/readlink /proc/$$/fd/2)\"
/bin/grep SigIgn /proc/self/status
PROBE report 2>/dev/null | /bin/grep -E '^(fd|nodelay) '
echo \"ready to serve\"
exec /bin/cat
";

/// The last words of what it tells.
const READY: &str = "ready to serve\n";

/// Whether all of them are here.
fn have_all() -> bool {
    let programs = [
        "tcpserver",
        "tcprules",
        "tcpsvd",
        "s6-ipcserver",
        "socat",
        "openssl",
    ];
    let unpacked = UNPACKED.map(|(name, folder)| (name, format!("{folder}/{name}")));
    need::root()
        && need::own_network()
        && need::mounts()
        && need::systemd()
        && programs.into_iter().all(need::program)
        && unpacked.iter().all(|(name, file)| need::file(name, file))
}

/// Where a launcher listens.
#[derive(Clone, Debug)]
enum Place {
    Tcp(u16),
    Udp(u16),
    Unix(String),
}

enum Life {
    /// With the socket of who watches it, as NOTIFY_SOCKET says.
    Process(Child, UnixDatagram),
    Units(Rc<Systemd>),
}

/// A launcher that serves.
struct Launcher {
    life: Life,
    place: Place,
    folder: Folder,
}

impl Launcher {
    /// Starts a line of sh, a line of an inetd.conf(5), or a file of xinetd's.
    fn start(text: &str) -> Self {
        Self::beside(text, text).unwrap_or_else(|said| panic!("{text}: {said}"))
    }

    /// Starts it in a folder that has the file of another one. Returns what it says if it ends instead.
    fn beside(text: &str, file: &str) -> Result<Self, String> {
        let folder = Folder::new();
        std::os::unix::fs::symlink(BINARY, folder.path("skd")).unwrap();
        executable(
            &folder.path("prog"),
            &PROG.replace("PROBE", &folder.path("probe")),
        );
        folder.script("in.tftpd", &format!("exec {} echo-datagram", probe()));
        let rules = "127.0.0.1:allow,RELAYCLIENT=\"yes\"\n127.0.0.66:deny\n";
        fs::write(folder.path("rules"), rules).unwrap();
        let file = file.replace("/usr/bin/", &folder.path(""));
        let file = file.replace("./", &folder.path("")) + "\n";
        fs::write(folder.path("xinetd.conf"), &file).unwrap();
        fs::write(folder.path("inetd.conf"), &file).unwrap();
        let line = match text.split_once(' ') {
            Some((_, rest)) if rest.starts_with("stream ") || rest.starts_with("dgram ") => {
                "inetd -il ./inetd.conf"
            }
            Some(("service", _)) => "xinetd -dontfork -f ./xinetd.conf -pidfile ./pid",
            _ => text,
        };
        Self::run(folder, line)
    }

    /// Runs a line that becomes the launcher.
    fn run(folder: Folder, line: &str) -> Result<Self, String> {
        // What a launcher may find in the place where it is started.
        let before = "trap '' HUP USR1 PIPE; exec 7</dev/null
            cp \"$PROBE\" ./probe
            tcprules rules.cdb rules.tmp <rules && mkdir rules.d && : >rules.d/127.0.0.66 && chmod 0 rules.d/*";
        let network = own_network(&folder, &[]);
        let mut words = network.split(' ');
        let mut command = Command::new(words.next().unwrap());
        let script = format!("{before}\nexec {line}");
        command.arg("-m").args(words).args(["sh", "-c", &script]);
        let path = std::env::var("PATH").unwrap();
        let unpacked = UNPACKED.map(|(_, folder)| folder).join(":");
        let path = format!("{}:{unpacked}:{path}", folder.path(""));
        command.env("PATH", path).current_dir(folder.path(""));
        command
            .env("TCPREMOTEHOST", "a.liar")
            .env("IPCREMOTEPATH", "a.liar");
        // A copy, which everybody may run.
        command.env("PROBE", probe());
        command.env("NOTIFY_SOCKET", folder.path("notify"));
        let manager = UnixDatagram::bind(folder.path("notify")).unwrap();
        let out = fs::File::create(folder.path("out")).unwrap();
        command.stdin(Stdio::null()).stdout(out);
        let said = fs::File::create(folder.path("said")).unwrap();
        let mut child = command.stderr(said).spawn().unwrap();
        let place = eventually(line, || {
            if child.try_wait().unwrap().is_some() {
                return Some(Err(fs::read_to_string(folder.path("said")).unwrap()));
            }
            place(&child.id().to_string()).map(Ok)
        });
        let life = Life::Process(child, manager);
        place.map(|place| Self {
            life,
            place,
            folder,
        })
    }

    /// Starts a .socket and a service for each connection, in one file here.
    fn units(machine: &Rc<Systemd>, text: &str) -> Self {
        let (socket, service) = text.split_once("[Service]\n").unwrap();
        let prog = machine.path("/usr/bin/prog");
        executable(&prog, &PROG.replace("PROBE", "/usr/bin/probe"));
        let service = format!("[Service]\n{service}");
        machine.units(&[("prog.socket", socket), ("prog@.service", &service)]);
        machine
            .run("systemctl set-environment TCPREMOTEHOST=a.liar && systemctl start prog.socket");
        let (_, address) = socket.split_once("ListenStream=").unwrap();
        let address = address.lines().next().unwrap();
        let place = address
            .parse()
            .map_or_else(|_| Place::Unix(address.into()), Place::Tcp);
        Self {
            place,
            life: Life::Units(machine.clone()),
            folder: Folder::new(),
        }
    }

    fn pid(&self) -> String {
        match &self.life {
            Life::Process(child, _) => child.id().to_string(),
            Life::Units(machine) => machine.pid.clone(),
        }
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.pid(), work)
    }

    /// A client, from 127.0.0.N if there is a choice. `None` if nobody listens any more.
    fn client(&self, last: u8) -> Option<Visit> {
        let port = match &self.place {
            Place::Unix(path) => {
                let path = match &self.life {
                    Life::Process(..) => Path::new(&self.folder.path("")).join(path),
                    Life::Units(machine) => machine.path(path).into(),
                };
                // Where it is made, the other end is told of.
                let stream = self.inside(|| UnixStream::connect(path)).ok()?;
                return Some(Visit(TcpStream::from(OwnedFd::from(stream))));
            }
            Place::Tcp(port) | Place::Udp(port) => *port,
        };
        let from = IpAddr::from([127, 0, 0, last]);
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        self.inside(|| try_tcp_from(from, to)).ok().map(Visit)
    }

    /// Whether an IPv6 client is served.
    fn serves_ipv6(&self) -> bool {
        let Place::Tcp(port) = self.place else {
            return false;
        };
        let connect = || TcpStream::connect((Ipv6Addr::LOCALHOST, port)).ok();
        self.inside(connect)
            .is_some_and(|stream| Visit(stream).hears().ends_with(READY))
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        match &mut self.life {
            Life::Process(child, _) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Life::Units(machine) => {
                machine
                    .tried("systemctl stop prog.socket 'prog@*.service'; systemctl reset-failed");
            }
        }
    }
}

/// The rows of a table in /proc/PID/net whose sockets are in this state.
fn rows(pid: &str, name: &str, state: &str) -> Vec<Vec<String>> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let rows = table.lines().map(words);
    rows.filter(|row| row.get(3).is_some_and(|it| it == state))
        .collect()
}

/// The first socket that waits for clients in the network of a process, which is its own.
fn place(pid: &str) -> Option<Place> {
    let of = |name: &str| fs::read_link(format!("/proc/{name}/ns/net")).ok();
    if of(pid)? == of("self")? {
        return None;
    }
    let port = |name: &str, state: &str| {
        let rows = rows(pid, name, state);
        u16::from_str_radix(rows.first()?[1].rsplit_once(':')?.1, 16).ok()
    };
    let tcp = || port("tcp", "0A").or_else(|| port("tcp6", "0A"));
    let udp = || port("udp", "07").or_else(|| port("udp6", "07"));
    let unix = || Some(rows(pid, "unix", "00010000").first()?.get(7)?.clone());
    let tcp = tcp().map(Place::Tcp);
    tcp.or_else(|| udp().map(Place::Udp))
        .or_else(|| unix().map(Place::Unix))
}

/// A client's connection.
struct Visit(TcpStream);

impl Visit {
    /// What is told until `prog` is ready or the connection ends; `None` if there is none of that within `patience`.
    fn hears_within(&mut self, patience: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut heard = Vec::new();
        let mut byte = [0];
        while !heard.ends_with(READY.as_bytes()) {
            match self.0.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => heard.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && heard.is_empty() => {
                    return None;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // A reset.
                Err(_) => break,
            }
        }
        Some(String::from_utf8(heard).unwrap())
    }

    fn hears(&mut self) -> String {
        self.hears_within(DEADLINE).unwrap()
    }

    /// Whether what is sent comes back.
    fn is_echoed(&mut self) -> bool {
        let _ = self.0.write_all(b"hello\n");
        let mut heard = [0; 6];
        self.0.read_exact(&mut heard).is_ok() && &heard == b"hello\n"
    }
}

/// What becomes of one more client than there may be: it waits until another leaves, or hears something else.
fn fate(launcher: &Launcher, mut served: Vec<Visit>, next: u8) -> String {
    let mut visit = launcher.client(next).unwrap();
    // Who is still to be closed will be closed all the same when another has left.
    let at_once = visit.hears_within(Duration::from_millis(200));
    let has_waited = at_once.is_none();
    let heard = at_once.unwrap_or_else(|| {
        drop(served.pop());
        visit.hears()
    });
    match heard.as_str() {
        "" => "closed".into(),
        heard if heard.ends_with(READY) && has_waited => "waits".into(),
        heard if heard.ends_with(READY) => "served".into(),
        word => format!("hears {word:?}"),
    }
}
