//! Real services of one inetd.conf(5), and Debian's openbsd-inetd beside skd: both must do the same.

use crate::kit::net::{inside, own_network};
use crate::kit::skd::BINARY;
use crate::kit::{DEADLINE, Folder, eventually, need, probe};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

/// Where tests/run unpacks openbsd-inetd.
const OPENBSD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/openbsd-inetd/usr/sbin/inetd"
);

/// An address of that network: to one of 127.0.0.0/8 openbsd-inetd answers no datagram.
const HERE: &str = "192.0.2.1";

/// An inetd that serves a file in a network of its own.
struct Server {
    name: &'static str,
    child: Child,
}

impl Server {
    /// skd by its option, skd by the name of inetd, and the one that it is compared to.
    fn all(folder: &Folder, conf: &str) -> impl Iterator<Item = Self> {
        let link = folder.path("inetd");
        std::os::unix::fs::symlink(BINARY, &link).unwrap();
        let network = own_network(folder, &[HERE]);
        let table = [
            ("skd --inetd-conf", BINARY.to_owned(), "--inetd-conf"),
            ("skd as inetd", link, "-i"),
            ("openbsd-inetd", OPENBSD.to_owned(), "-i"),
        ];
        let conf = conf.to_owned();
        table.into_iter().map(move |(name, file, option)| {
            let mut words = network.split(' ');
            let mut command = Command::new(words.next().unwrap());
            let command = command.args(words).args([&file, option, &conf]);
            let child = command.stdin(Stdio::null()).spawn().unwrap();
            Self { name, child }
        })
    }

    /// Does `work` in its network when it listens on this port there.
    fn inside<T: Send>(&self, port: u16, work: impl FnOnce() -> T + Send) -> T {
        let pid = self.child.id().to_string();
        eventually("a network of its own", || {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            (of(&pid)? != of("self")?).then_some(())
        });
        inside(&pid, || {
            eventually("a listener", || {
                TcpStream::connect(("127.0.0.1", port)).ok()
            });
            work()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is said at a port until the end, after `said` has been said and no more.
fn heard(port: u16, said: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(said.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    let read = stream.read_to_end(&mut heard);
    assert!(read.is_ok(), "port {port}: {read:?} after {heard:?}");
    heard
}

fn text(port: u16, said: &str) -> String {
    String::from_utf8(heard(port, said)).unwrap()
}

/// The answer to a datagram.
fn answer(port: u16, said: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((HERE, 0)).unwrap();
    socket.connect((HERE, port)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.send(said).unwrap();
    let mut bytes = vec![0; 2000];
    let heard = socket.recv(&mut bytes);
    let len = heard.unwrap_or_else(|error| panic!("port {port}: {error}"));
    bytes.truncate(len);
    bytes
}

/// Standard output of a command that must end well.
fn output(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_openbsd() -> bool {
    need::root() && need::own_network() && need::file("openbsd-inetd", OPENBSD)
}

/// What each server does with the same file: a line for each check.
fn deeds(server: &Server, folder: &Folder) -> Vec<String> {
    let socket = folder.path("socket");
    server.inside(7, || {
        let mut deeds = vec![
            text(7, "echo me\n"),
            text(9, "nothing comes back"),
            format!("{} bytes of daytime", heard(13, "").len()),
            format!("{} bytes of time", heard(37, "").len()),
        ];
        let mut line = [0; 74];
        let mut chargen = TcpStream::connect(("127.0.0.1", 19)).unwrap();
        chargen.read_exact(&mut line).unwrap();
        deeds.push(String::from_utf8(line.to_vec()).unwrap());
        deeds.push(String::from_utf8(answer(7, b"datagram")).unwrap());
        deeds.push(format!("{} bytes of daytime", answer(13, b"").len()));
        deeds.push(format!("{} bytes of time", answer(37, b"").len()));
        deeds.extend([7001, 7002, 7003].map(|port| text(port, "")));
        // Its pid leads its session, and 0, 1 and 2 are one socket, with nothing else open but what the shell has.
        deeds.push(text(7004, ""));
        deeds.push(text(7005, "waited for\n"));
        deeds.push(String::from_utf8(answer(7006, b"to a program")).unwrap());
        let mut unix = String::new();
        UnixStream::connect(&socket)
            .unwrap()
            .read_to_string(&mut unix)
            .unwrap();
        deeds.push(unix);
        deeds
    })
}

#[test]
fn openbsd_inetd_does_the_same_with_the_same_file() {
    if !has_openbsd() {
        return;
    }
    let folder = Folder::new();
    let session = "test $(ps -o sid= -p $$) = $$ && echo leads; \
                   test $(readlink /proc/$$/fd/0) = $(readlink /proc/$$/fd/2) && echo same; \
                   set -- /proc/$$/fd/*; echo $#";
    let (conf, socket, probe) = (folder.path("conf"), folder.path("socket"), probe());
    let session = folder.script("session", session);
    let path = "PATH=/usr/bin:/bin; export PATH";
    let accepts = folder.script("accepts", &format!("{path}; exec {probe} accept-echo 0"));
    let services = format!(
        "# the internal ones\n\
         echo stream tcp nowait root internal\n\
         echo dgram udp wait root internal\n\
         discard stream tcp nowait root internal\n\
         daytime stream tcp nowait root internal\n\
         daytime dgram udp wait root internal\n\
         time stream tcp nowait root internal\n\
         time dgram udp wait root internal\n\
         chargen stream tcp nowait root internal\n\
         127.0.0.1:7001 stream tcp4 nowait nobody /usr/bin/id id\n\
         127.0.0.1:7002 stream tcp4 nowait daemon:adm /usr/bin/id id -G\n\
         127.0.0.1:7003\tstream tcp4,rcvbuf=16k nowait.50 bin.daemon\n\t/usr/bin/id id -gn\n\
         127.0.0.1:7004 stream tcp4 nowait root {session} session\n\
         127.0.0.1:7005 stream tcp4 wait root {accepts} accepts\n\
         {HERE}:7006 dgram udp4 wait root {probe} probe echo-datagram\n\
         {socket} stream unix nowait root /bin/echo echo over unix\n"
    );
    fs::write(&conf, services).unwrap();
    let all = Server::all(&folder, &conf).map(|server| (server.name, deeds(&server, &folder)));
    let all: Vec<_> = all.collect();
    let (_, expected) = all.last().unwrap();
    assert!(
        expected[0] == "echo me\n" && expected.len() == 15,
        "{expected:#?}"
    );
    for (name, deeds) in &all {
        assert_eq!(deeds, expected, "{name}");
    }
}

/// Keys and configuration of an sshd that lets root in by key.
fn ssh(folder: &Folder) -> (String, String) {
    for key in ["host", "user"] {
        output(&[
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            &folder.path(key),
        ]);
    }
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n",
        folder.path("host"),
        folder.path("user.pub")
    );
    fs::write(folder.path("sshd_config"), config).unwrap();
    // sshd wants it, and no service has made it here.
    fs::create_dir_all("/run/sshd").unwrap();
    let sshd = format!("/usr/sbin/sshd sshd -i -f {}", folder.path("sshd_config"));
    (sshd, folder.path("user"))
}

#[test]
fn real_services_are_served_from_one_file() {
    let programs = [
        "git", "rsync", "tftp", "in.tftpd", "sshd", "ssh", "busybox", "curl",
    ];
    if !has_openbsd() || !programs.into_iter().all(need::program) {
        return;
    }
    let folder = Folder::new();
    for name in ["tree", "web", "tftp"] {
        fs::create_dir(folder.path(name)).unwrap();
        fs::write(folder.path(&format!("{name}/file")), format!("in {name}\n")).unwrap();
    }
    let (tree, web, tftp) = (folder.path("tree"), folder.path("web"), folder.path("tftp"));
    let git = "git -c user.name=x -c user.email=x@x -c init.defaultBranch=main";
    let script = format!(
        "cd {tree} && {git} init -q && {git} add file && {git} commit -qm x && touch .git/git-daemon-export-ok"
    );
    output(&["sh", "-ec", &script]);
    fs::write(
        folder.path("rsyncd.conf"),
        format!("use chroot = no\nuid = root\n[tree]\npath = {tree}\n"),
    )
    .unwrap();
    let (sshd, key) = ssh(&folder);
    let conf = folder.path("conf");
    let git = output(&["sh", "-c", "command -v git"]);
    let services = format!(
        "127.0.0.1:9418 stream tcp4 nowait root {git} git daemon --inetd --base-path={}\n\
         127.0.0.1:873 stream tcp4 nowait root /usr/bin/rsync rsync --daemon --config={}\n\
         127.0.0.1:69 dgram udp4 wait root /usr/sbin/in.tftpd in.tftpd -s {tftp}\n\
         127.0.0.1:2222 stream tcp4 nowait root {sshd}\n\
         127.0.0.1:80 stream tcp4 nowait root /usr/bin/busybox httpd -i -h {web}\n",
        folder.path(""),
        folder.path("rsyncd.conf"),
        git = git.trim_end(),
    );
    fs::write(&conf, services).unwrap();
    for server in Server::all(&folder, &conf) {
        let at = |name: &str| folder.path(&format!("{}-{name}", server.name.replace(' ', "-")));
        server.inside(80, || {
            output(&["git", "clone", "-q", "git://127.0.0.1/tree", &at("clone")]);
            assert_eq!(fs::read_to_string(at("clone/file")).unwrap(), "in tree\n");
            output(&["rsync", "rsync://127.0.0.1/tree/file", &at("synced")]);
            assert_eq!(fs::read_to_string(at("synced")).unwrap(), "in tree\n");
            output(&["tftp", "127.0.0.1", "-c", "get", "file", &at("got")]);
            assert_eq!(fs::read_to_string(at("got")).unwrap(), "in tftp\n");
            let options = [
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ];
            let words = ["ssh", "-q", "-F", "none", "-i", &key, "-p", "2222"];
            let last = ["root@127.0.0.1", "echo over ssh"];
            assert_eq!(
                output(&[&words[..], &options, &last].concat()),
                "over ssh\n"
            );
            assert_eq!(output(&["curl", "-s", "http://127.0.0.1/file"]), "in web\n");
        });
    }
}
