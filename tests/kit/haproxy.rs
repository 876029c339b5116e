//! A real HAProxy, in the network of a process of the test.

use crate::kit::{Folder, eventually};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

/// It runs in front; ended when dropped.
pub(crate) struct HaProxy {
    process: Child,
    admin: String,
}

impl HaProxy {
    /// Listens when this returns. `configuration` has `ADMIN` where the path of its admin socket is to stand.
    pub(crate) fn start(pid: i32, folder: &Folder, configuration: &str) -> Self {
        let (file, admin) = (folder.path("haproxy.cfg"), folder.path("admin.sock"));
        fs::write(&file, configuration.replace("ADMIN", &admin)).unwrap();
        // Ended with this thread, if it comes to that.
        let mut command = Command::new("setpriv");
        let command = command.args(["--pdeathsig", "KILL", "nsenter"]);
        let command = command.arg(format!("--net=/proc/{pid}/ns/net"));
        let command = command.args(["haproxy", "-db", "-q", "-f", &file]);
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let mut it = Self { process, admin };
        // It answers there when everything is bound.
        eventually("HAProxy", || {
            assert!(it.process.try_wait().unwrap().is_none(), "no HAProxy");
            UnixStream::connect(&it.admin).ok()
        });
        it
    }

    /// What it answers to a command on its admin socket.
    pub(crate) fn asks(&self, command: &str) -> String {
        let mut admin = UnixStream::connect(&self.admin).unwrap();
        admin.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        admin.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A field of what it says of a server, `PROXY/SERVER`: see its management guide, 9.1.
    pub(crate) fn field(&self, server: &str, name: &str) -> String {
        let (proxy, server) = server.split_once('/').unwrap();
        let all = self.asks("show stat");
        let mut lines = all.trim_start_matches("# ").lines();
        let names = lines.next().unwrap().split(',');
        let place = names.into_iter().position(|other| other == name).unwrap();
        let begin = format!("{proxy},{server},");
        let line = lines.find(|line| line.starts_with(&begin)).unwrap();
        line.split(',').nth(place).unwrap().to_owned()
    }

    /// Waits until a server is seen as being so, `UP` or `DOWN`.
    pub(crate) fn sees(&self, server: &str, status: &str) {
        eventually(&format!("{server} {status}"), || {
            (self.field(server, "status") == status).then_some(())
        });
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
