//! The Debian package that tests/package has built: installed, upgraded, removed and purged under a real systemd.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that fails ends by panicking, and says what it skips"
)]

#[allow(dead_code, reason = "it is made for all the other tests")]
mod kit;

use kit::need;
use kit::net::{self, Client};
use kit::systemd::{Systemd, readme};
use std::collections::BTreeSet;

const SERVICE: &str = "skd@it.service";

/// A machine without skd, with the package as /skd.deb, and the source's completions. Documentation is installed too,
/// whatever the machine leaves out.
fn machine() -> Option<Systemd> {
    let package = std::env::var("SKD_PACKAGE").unwrap_or_default();
    if !need::file("a package; tests/package builds it", &package) {
        return None;
    }
    let completions = concat!(env!("CARGO_MANIFEST_DIR"), "/completions");
    let machine = Systemd::boot_with(&[(&package, "/skd.deb"), (completions, "/completions")])?;
    machine.run(
        "dpkg --purge skd && rm -rf /usr/sbin/policy-rc.d /etc/skd /var/lib/man-db/auto-update
        echo 'path-include /usr/share/*' >/etc/dpkg/dpkg.cfg.d/zz-all",
    );
    Some(machine)
}

/// Installs the package as another version, on whose files `change` has worked. Returns what was said.
fn installs(machine: &Systemd, version: &str, change: &str) -> String {
    machine.run(&format!(
        "set -e; rm -rf /tmp/package && dpkg-deb -R /skd.deb /tmp/package && cd /tmp/package
        sed -i 's/^Version: .*/Version: {version}/' DEBIAN/control
        {change}
        dpkg-deb --root-owner-group -Znone -b . /tmp/skd.deb && dpkg -i /tmp/skd.deb"
    ))
}

/// A machine on which an older version serves with these words.
fn serving(words: &str) -> Option<Systemd> {
    let machine = machine()?;
    installs(&machine, "1.9", "");
    machine.write("/etc/skd/it", &format!("SKD={words}\n"));
    machine.run(&format!("systemctl start {SERVICE}"));
    Some(machine)
}

/// Whether a service executes the file that is now /usr/bin/skd.
fn is_current(machine: &Systemd, service: &str) -> bool {
    let pid = machine.property(service, "MainPID");
    let files = machine.run(&format!("stat -Lc %i /usr/bin/skd /proc/{pid}/exe"));
    let files: Vec<_> = files.lines().collect();
    files[0] == files[1]
}

#[test]
fn it_installs_everything_and_starts_nothing() {
    let Some(machine) = machine() else {
        return;
    };
    machine.run("dpkg -i /skd.deb");
    let state = "systemctl is-enabled skd@.service skd@.socket; pgrep -x skd; ls -A /etc/skd";
    let (_, state) = machine.tried(state);
    assert_eq!(state, "disabled\ndisabled\n");
    let version = machine.run("skd --version && skd-top --version");
    assert!(
        version.starts_with(concat!("skd ", env!("CARGO_PKG_VERSION"), "\n")),
        "{version}"
    );
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/man")).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let (_, section) = name.rsplit_once('.').unwrap();
        let shown = machine.run(&format!("zcat /usr/share/man/man{section}/{name}.gz"));
        assert_eq!(shown, std::fs::read_to_string(&file).unwrap(), "{name}");
    }
    for name in ["skd.bash", "_skd", "skd.fish"] {
        let line = readme(&format!("install -D -m 644 completions/{name} "));
        let place = line.rsplit(' ').next().unwrap();
        machine.run(&format!("cmp /completions/{name} {place}"));
    }
    for words in ["mkdir -p /etc/skd && ", "systemctl enable --now "] {
        machine.run(&readme(words));
    }
    machine.echoes(7010);
}

#[test]
fn its_examples_serve() {
    let Some(machine) = machine() else {
        return;
    };
    machine.run("dpkg -i /skd.deb");
    for words in [
        "cp -r units/examples/etc/.",
        "install -D -m 644 units/strict.conf",
    ] {
        let from = "/usr/share/doc/skd/examples/";
        let line = readme(words).replace("units/examples/", from);
        machine.run(&line.replace("units/", from));
    }
    machine.run(&readme("systemctl daemon-reload && systemctl start "));
    machine.echoes(7);
    let kept = machine.property("skd@git.service", "ProtectSystem");
    assert_eq!(kept, "strict");
}

/// A program that skd has become, or supervises, would be ended by USR2. The former says what skd would say.
const BECOME: &str = "SKD=sh -c 'systemd-notify --ready --status=\"0 connections, 0 accepted, 0 refused\"; exec sleep infinity'\n";
const SUPERVISE: &str = "SKD=-S sleep infinity\n";

/// To a newer version and back. No child ends, no client is refused, and what does not serve goes on as it is.
#[test]
fn everybody_is_answered_while_it_is_upgraded_and_downgraded() {
    let Some(machine) = serving("-v -t 127.0.0.1:7 -t 127.0.0.1:9 cat") else {
        return;
    };
    for (name, text) in [
        ("strict", "SKD=-t 127.0.0.1:8008 cat\n"),
        ("become", BECOME),
        ("supervise", SUPERVISE),
    ] {
        machine.write(&format!("/etc/skd/{name}"), text);
    }
    let strict = readme("install -D -m 644 units/strict.conf").replace("skd@git", "skd@strict");
    machine.run(&strict.replace("units/", "/usr/share/doc/skd/examples/"));
    machine.run(
        "systemctl daemon-reload
        systemctl start skd@strict.service skd@become.service skd@supervise.service",
    );
    let facts = || {
        let services = ["it", "strict", "become", "supervise"].map(|name| {
            ["MainPID", "NRestarts", "NFileDescriptorStore"]
                .map(|fact| machine.property(&format!("skd@{name}.service"), fact))
        });
        (services, machine.run("pgrep -x sleep"))
    };
    let before = facts();
    let mut held = machine.network(|| Client::tcp(9));
    held.says("hello\n").hears("hello\n");
    let mut count = 1;
    for version in ["9.1", "9.2", "1.8"] {
        let client = || {
            net::echoes(7);
            net::echoes(8008);
        };
        count += machine.while_clients_come(client, || {
            let said = installs(&machine, version, "");
            assert!(!said.contains("goes on as"), "{said}");
            assert!(is_current(&machine, SERVICE) && is_current(&machine, "skd@strict.service"));
        });
        held.says("still\n").hears("still\n");
        assert_eq!(facts(), before);
    }
    let text = format!("1 connections, {count} accepted, 0 refused");
    machine.waits_for(SERVICE, "StatusText", &text);
}

/// The package is installed all the same, and the next one takes its place.
#[test]
fn an_instance_that_the_new_skd_would_not_serve_goes_on_and_is_told_of() {
    let Some(machine) = serving("-t 127.0.0.1:7 cat") else {
        return;
    };
    let mut held = machine.network(|| Client::tcp(7));
    held.says("hello\n").hears("hello\n");
    let pid = machine.property(SERVICE, "MainPID");
    let refusing = "printf '#!/bin/sh\\nexit 100\\n' >usr/bin/skd";
    let said = installs(&machine, "9.1", refusing);
    let told =
        format!("skd: {SERVICE} goes on as the skd from before, pid {pid}; its journal says why\n");
    assert!(said.contains(&told), "{said}");
    let state = machine.run("dpkg-query -W -f '${Status} ${Version}' skd");
    assert_eq!(state, "install ok installed 9.1");
    machine.logged(SERVICE, "--check exits 100, going on as before");
    machine.echoes(7);
    let said = installs(&machine, "9.2", "");
    assert!(!said.contains("goes on as"), "{said}");
    assert!(is_current(&machine, SERVICE));
    held.says("still\n").hears("still\n");
    assert_eq!(machine.property(SERVICE, "MainPID"), pid);
}

/// policy-rc.d(8), as in a container's image that is being built.
#[test]
fn where_no_service_may_be_touched_none_is() {
    let Some(machine) = serving("-t 127.0.0.1:7 cat") else {
        return;
    };
    machine.run(
        "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d",
    );
    let said = installs(&machine, "9.1", "");
    assert!(!said.contains("goes on as"), "{said}");
    assert!(!is_current(&machine, SERVICE));
    machine.run("dpkg -r skd");
    machine.echoes(7);
}

/// The names of files wherever the package, its scripts or systemd could have left one.
fn files(machine: &Systemd) -> BTreeSet<String> {
    let folders = "/etc /usr /lib/systemd/system /var/lib/dpkg/info /var/lib/systemd /run/skd";
    let names = machine.run(&format!("find {folders} -xdev 2>/dev/null || true"));
    names.lines().map(str::to_owned).collect()
}

/// Removing stops what runs, and keeps what the administrator made, enabled instances too; purging keeps what he wrote.
#[test]
fn it_is_removed_and_purged_and_leaves_what_the_administrator_wrote() {
    let Some(machine) = machine() else {
        return;
    };
    let before = files(&machine);
    machine.run("dpkg -i /skd.deb");
    machine.write(
        "/etc/skd/it",
        "SKD=-t 127.0.0.1:7 -l /run/skd/it/socket cat\n",
    );
    machine.write("/etc/skd/other", "SKD=cat\n");
    let links = "readlink /etc/systemd/system/*.wants/skd@*";
    machine.run(&format!(
        "systemctl enable --now {SERVICE} skd@other.socket"
    ));
    let serves = || {
        machine.echoes(7);
        let mut client = Client::unix(&machine.path("/run/skd/other.sock"));
        client.says("hello\n").hears("hello\n");
    };
    serves();
    let written = machine.run("cat /etc/skd/*");
    let enabled = machine.run(links);
    let is_gone = || {
        machine.network(|| net::is_refused(7));
        let left = "pgrep -x skd; ls -d /run/skd /usr/bin/skd 2>/dev/null
            systemctl list-units --all --plain --no-legend 'skd@*' | grep ' active '";
        assert_eq!(machine.tried(left).1, "");
        assert_eq!(machine.run("cat /etc/skd/*"), written);
    };
    machine.run("dpkg -r skd");
    is_gone();
    assert_eq!(machine.run(links), enabled);
    machine.run(&format!(
        "dpkg -i /skd.deb && systemctl start {SERVICE} skd@other.socket"
    ));
    serves();
    assert_eq!(machine.property(SERVICE, "UnitFileState"), "enabled");
    machine.run("dpkg -P skd");
    is_gone();
    assert_eq!(machine.tried(links).1, "");
    machine.run("rm /etc/skd/* && dpkg -i /skd.deb && dpkg -P skd");
    let after = files(&machine);
    let differ: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}
