//! A machine of a test's own whose PID 1 is a real systemd; tests/real/with-systemd boots it.

use crate::kit::skd::BINARY;
use crate::kit::{Folder, eventually, need, net, probe};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What boots it; its first lines say how it is called.
pub(crate) const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/with-systemd");

/// The machine, with skd and probe in /usr/bin and the project's units in /units; powered off when dropped.
pub(crate) struct Systemd {
    script: Child,
    /// The pid that its PID 1 has for us.
    pub(crate) pid: String,
    /// Seen inside and outside by the same path.
    pub(crate) folder: Folder,
}

impl Systemd {
    /// `None` without what it needs.
    pub(crate) fn boot() -> Option<Self> {
        let units = format!("{ROOT}/units");
        Self::boot_with(&[
            (BINARY, "/usr/bin/skd"),
            (&probe(), "/usr/bin/probe"),
            (&units, "/units"),
        ])
    }

    /// The machine with these files, each and where it is seen, in place of skd, probe and the units.
    pub(crate) fn boot_with(files: &[(&str, &str)]) -> Option<Self> {
        if !need::systemd() {
            return None;
        }
        let folder = Folder::new();
        let own = folder.path("");
        let mut command = Command::new(SCRIPT);
        for (file, seen) in files.iter().copied().chain([(own.as_str(), own.as_str())]) {
            command.args(["-b", &format!("{file}:{seen}")]);
        }
        command.args(["sh", "-c", "echo $SYSTEMD; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(script.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "no systemd");
        let machine = Self {
            script,
            pid: line.trim_end().to_owned(),
            folder,
        };
        Some(machine)
    }

    /// The path from outside of a file of the machine.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("/proc/{}/root{path}", self.pid)
    }

    /// Writes a file there, with the folders that it needs.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Installs the units of the project as the README says, and the examples.
    pub(crate) fn install(&self) {
        self.run(&readme("cp units/skd@.*"));
        self.run(&readme("cp -r units/examples/etc/."));
        self.run("systemctl daemon-reload");
    }

    /// Writes units and drop-ins, each a name and its text, and has systemd read them.
    pub(crate) fn units(&self, units: &[(&str, &str)]) {
        for (name, text) in units {
            self.write(&format!("/etc/systemd/system/{name}"), text);
        }
        self.run("systemctl daemon-reload");
    }

    /// Runs a script there. Returns its exit code and what it said.
    pub(crate) fn tried(&self, script: &str) -> (i32, String) {
        let mut command = Command::new("nsenter");
        let script = format!("exec 2>&1\n{script}");
        command.args(["-a", "-t", &self.pid, "sh", "-c", &script]);
        let done = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.code().unwrap_or(-1), said)
    }

    /// Runs a script that must succeed. Returns what it said.
    pub(crate) fn run(&self, script: &str) -> String {
        let (code, said) = self.tried(script);
        assert_eq!(code, 0, "{script}: {said}\n{}", self.journal(""));
        said
    }

    /// A property of a unit, as `systemctl show` has it.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let said = self.run(&format!("systemctl show --value -p {name} {unit}"));
        said.trim_end().to_owned()
    }

    /// Waits until a property of a unit has this value.
    pub(crate) fn waits_for(&self, unit: &str, name: &str, value: &str) {
        eventually(&format!("{unit}: {name}={value}"), || {
            (self.property(unit, name) == value).then_some(())
        });
    }

    /// What the journal has of a unit, each line with its priority as `<6>`; everything if there is no name.
    pub(crate) fn journal(&self, unit: &str) -> String {
        let which = if unit.is_empty() {
            String::new()
        } else {
            format!("_SYSTEMD_UNIT={unit}")
        };
        let script = format!("journalctl --sync && journalctl -q -o export {which}");
        let (_, export) = self.tried(&script);
        let mut lines = String::new();
        let mut priority = "";
        for line in export.lines() {
            if let Some(value) = line.strip_prefix("PRIORITY=") {
                priority = value;
            } else if let Some(text) = line.strip_prefix("MESSAGE=") {
                lines += &format!("<{priority}>{text}\n");
            }
        }
        lines
    }

    /// Waits for a line of a unit's journal that holds `text`, and returns it.
    pub(crate) fn logged(&self, unit: &str, text: &str) -> String {
        eventually(&format!("{unit}: {text}"), || {
            let journal = self.journal(unit);
            let mut lines = journal.lines();
            lines.find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// Does `work` in the network of the machine.
    pub(crate) fn network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        net::inside(&self.pid, work)
    }

    /// As `net::while_clients_come`, with the client's side in the machine's network.
    pub(crate) fn while_clients_come(
        &self,
        client: impl Fn() + Sync,
        work: impl FnOnce(),
    ) -> usize {
        net::while_clients_come(|| self.network(&client), work)
    }

    /// `cat` answers at this port of the machine's 127.0.0.1.
    pub(crate) fn echoes(&self, port: u16) {
        self.network(|| net::echoes(port));
    }
}

/// The line of the README's examples that begins with these words.
pub(crate) fn readme(words: &str) -> String {
    let text = include_str!("../../README.md");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let line = lines.find(|line| line.starts_with(words));
    line.unwrap_or_else(|| panic!("{words}")).to_owned()
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // It ends cat, and with it the machine.
        drop(self.script.stdin.take());
        let status = self.script.wait();
        if !std::thread::panicking() {
            assert!(status.unwrap().success());
        }
    }
}
