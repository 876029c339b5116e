//! The units: nothing is wrong with them, each example serves, and a child notices nothing of the base sandbox.

use crate::kit::net::Client;
use crate::kit::skd::BINARY;
use crate::kit::systemd::{Systemd, readme};
use crate::kit::{Folder, eventually, need};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const EXAMPLES: [&str; 3] = ["echo", "git", "tftp"];

/// With the strict drop-in in force, too.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !need::program("systemd-analyze") {
        return;
    }
    let folder = Folder::new();
    let script = format!(
        "cp {ROOT}/units/skd@.* $1 && cp -r {ROOT}/units/examples/etc/systemd/system/. $1
        sed -i s,/usr/bin/skd,{BINARY}, $1/skd@.service"
    );
    let strict =
        format!("install -D -m 644 {ROOT}/units/strict.conf $1/skd@.service.d/strict.conf");
    for script in [script, strict] {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-ec", &script, "sh", &folder.path("")]);
        assert!(shell.status().unwrap().success());
        let names = ["", "echo", "git", "tftp"].into_iter();
        for name in
            names.flat_map(|name| [format!("skd@{name}.service"), format!("skd@{name}.socket")])
        {
            let mut command = Command::new("systemd-analyze");
            let command = command.args(["verify", "--man=no", &folder.path(&name)]);
            let done = command.stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
            assert_eq!((done.status.code(), said.as_str()), (Some(0), ""), "{name}");
        }
    }
}

#[test]
fn every_unit_names_the_manual() {
    for name in ["skd@.service", "skd@.socket"] {
        let text = std::fs::read_to_string(format!("{ROOT}/units/{name}")).unwrap();
        assert!(text.contains("\nDocumentation=man:skd(8)\n"), "{text}");
    }
}

/// A client of each, as the example's comment has it.
fn uses(machine: &Systemd, name: &str) {
    match name {
        "echo" => machine.echoes(7),
        "git" => {
            let script = "rm -rf /tmp/clone && git clone -q git://127.0.0.1/page.git /tmp/clone && cat /tmp/clone/page";
            assert_eq!(machine.run(script), "a page\n");
        }
        "tftp" => {
            let script = "busybox tftp -g -r page -l /tmp/got 127.0.0.1 && cat /tmp/got";
            assert!(machine.run(script).ends_with("a page\n"));
        }
        other => panic!("{other}"),
    }
}

/// What the git and the tftp server serve.
const FILES: &str = "mkdir -p /srv/tftp /srv/git /tmp/page
echo a page >/srv/tftp/page
cd /tmp/page
echo a page >page
git init -q
git add page
git -c user.name=x -c user.email=x@example.org commit -qm page
git clone -q --bare . /srv/git/page.git
touch /srv/git/page.git/git-daemon-export-ok";

/// A machine with the examples, and what they serve.
fn machine_with_examples() -> Option<Systemd> {
    if !["git", "busybox", "in.tftpd"]
        .into_iter()
        .all(need::program)
    {
        return None;
    }
    let machine = Systemd::boot()?;
    machine.install();
    machine.run(FILES);
    Some(machine)
}

/// The command line is the same; with the socket, systemd starts skd at the first client.
#[test]
fn each_example_serves_with_and_without_its_socket() {
    let Some(machine) = machine_with_examples() else {
        return;
    };
    for name in EXAMPLES {
        let service = format!("skd@{name}.service");
        machine.run(&format!("systemctl start {service}"));
        uses(&machine, name);
        assert!(!machine.journal(&service).contains("took over"));
        machine.run(&format!("systemctl stop {service}"));
        assert_eq!(machine.property(&service, "Result"), "success");
        machine.run(&format!("systemctl start skd@{name}.socket"));
        assert_eq!(machine.property(&service, "ActiveState"), "inactive");
        uses(&machine, name);
        assert_eq!(machine.property(&service, "ActiveState"), "active");
        machine.run(&format!("systemctl stop skd@{name}.socket {service}"));
    }
}

/// The git example as it stands has a user of its own already.
#[test]
fn the_examples_serve_under_the_strict_sandbox() {
    let Some(machine) = machine_with_examples() else {
        return;
    };
    let strict = readme("install -D -m 644 units/strict.conf");
    machine.run(&strict);
    machine.run(&strict.replace("skd@git", "skd@echo"));
    machine.run(&readme("systemctl daemon-reload && systemctl start "));
    for name in EXAMPLES {
        uses(&machine, name);
        let user = machine.property(&format!("skd@{name}.service"), "ProtectSystem");
        assert_eq!(user, if name == "tftp" { "no" } else { "strict" });
    }
}

#[test]
fn the_units_do_what_the_readme_says_of_them() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    let follow = |lines: &[&str]| {
        for words in lines {
            machine.run(&readme(words));
        }
    };
    follow(&[
        "cp units/skd@.*",
        "mkdir -p /etc/skd && ",
        "systemctl enable --now ",
    ]);
    machine.echoes(7010);
    let state = machine.property("skd@mine.service", "UnitFileState");
    assert_eq!(state, "enabled");
    let before = machine.run("cat /etc/skd/*");
    let pid = machine.property("skd@mine.service", "MainPID");
    // What comes next replaces nothing and disturbs nobody.
    let files = "cd units/examples && find etc -type f -exec ls -d /{} + 2>/dev/null || true";
    assert_eq!(machine.run(files), "");
    follow(&[
        "cp -r units/examples/etc/.",
        "install -D -m 644 units/strict.conf",
        "systemctl daemon-reload && systemctl start ",
    ]);
    assert_eq!(machine.run("cat /etc/skd/mine"), before);
    for name in EXAMPLES {
        let socket = format!("skd@{name}.socket");
        assert_eq!(machine.property(&socket, "ActiveState"), "active");
    }
    machine.echoes(7);
    machine.echoes(7010);
    assert_eq!(machine.property("skd@mine.service", "MainPID"), pid);
}

/// systemd takes them apart; no shell sees them.
#[test]
fn words_may_have_quotes_and_lines_may_go_on() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    machine.install();
    let file =
        "SKD=-v -t 127.0.0.1:7 \\\n    sh -c 'echo \"two  words\" $GREETING'\nGREETING=hello\n";
    machine.write("/etc/skd/greet", file);
    machine.run("systemctl start skd@greet.service");
    let heard = machine.network(|| Client::tcp(7).hears_rest());
    assert_eq!(heard, "two  words hello\n");
}

/// A backslash passes through the file and through the command line, which both take one of two away.
#[test]
fn the_file_of_the_manual_means_what_it_says() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    machine.install();
    let manual = include_str!("../man/skd.8");
    let (_, text) = manual.split_once("\n# Greet, and ").unwrap();
    let (text, _) = text.split_once(".EE\n").unwrap();
    let text = text
        .replace("\\-", "-")
        .replace("\\e", "\\")
        .replace("\\(aq", "'");
    machine.write("/etc/skd/greet", &format!("# Greet, and {text}"));
    machine.run("systemctl start skd@greet.service");
    let heard = machine.network(|| Client::tcp(7).hears_rest());
    assert_eq!(heard, "hello, 127.0.0.1\n");
    let pid = machine.property("skd@greet.service", "MainPID");
    let words = machine.run(&format!("tr '\\0' '\\n' </proc/{pid}/cmdline"));
    assert!(
        words.contains("\n-r\ncome back later\\r\\n\n-t\n"),
        "{words}"
    );
}

/// What a process sees of itself that is the same in every run.
const WORLD: &str = "probe report | grep -E '^(fd 0|signals|umask|limit|cwd|env) ' |
    grep -vE '^env (INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|(TCP)?REMOTE_?PORT)=' | sed 's/socket:.*]/socket/'
id
ls -l /proc/self/ns | sed 's/.* //'
cat /proc/self/mountinfo /proc/self/limits /proc/self/oom_score_adj
grep -E '^(NoNewPrivs|Seccomp|Cap...|Groups|Cpus_allowed|Mems_allowed):' /proc/self/status
nice";

/// SYS_MODULE, SYS_RAWIO, SYS_BOOT, SYS_TIME, MAC_OVERRIDE and MAC_ADMIN; capability.h.
const TAKEN: u64 = 1 << 16 | 1 << 17 | 1 << 22 | 1 << 25 | 1 << 32 | 1 << 33;

/// The same without the capabilities that the base sandbox takes.
fn without_taken(world: &str) -> String {
    let lines = world.lines().map(|line| match line.split_once(":\t") {
        Some((name, hex)) if name.starts_with("Cap") => {
            let left = u64::from_str_radix(hex, 16).unwrap() & !TAKEN;
            format!("{name}:\t{left:016x}\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Compared with a unit that says nothing but what to run, as root and as another user.
#[test]
fn a_child_notices_nothing_of_the_base_sandbox() {
    let Some(machine) = Systemd::boot() else {
        return;
    };
    machine.install();
    let world = machine.folder.script("world", WORLD);
    let words = format!("-t 127.0.0.1:7007 {world}");
    machine.write("/etc/skd/world", &format!("SKD={words}\n"));
    let plain = format!("[Service]\nExecStart=/usr/bin/skd {words}\n");
    machine.units(&[("plain.service", &plain)]);
    let seen = |service: &str| {
        machine.run(&format!("systemctl start {service}"));
        let text = machine.network(|| {
            let conn = eventually("a client", || TcpStream::connect("127.0.0.1:7007").ok());
            Client::of_tcp(conn).hears_rest()
        });
        machine.run(&format!("systemctl stop {service}"));
        text
    };
    for user in ["", "User=nobody\n"] {
        let drop_in = format!("[Service]\n{user}");
        let names = ["plain.service.d/user.conf", "skd@world.service.d/user.conf"];
        machine.units(&names.map(|name| (name, drop_in.as_str())));
        let (plain, unit) = (seen("plain.service"), seen("skd@world.service"));
        assert!(
            plain.contains("CapBnd:") && plain.contains("env PROTO=TCP\n"),
            "{plain}"
        );
        assert_ne!(without_taken(&plain), plain);
        let own = format!("env RUNTIME_DIRECTORY=/run/skd/world\nenv SKD={words}\n");
        assert!(unit.contains(&own), "{unit}");
        assert_eq!(unit.replace(&own, ""), without_taken(&plain));
    }
}
