//! Unix sockets made by name: what may lie at a path, what is put there, what is removed again.

use crate::kit::net::{
    Client, fill_backlog, is_dead, seqpacket, seqpacket_listener, unix_datagram,
};
use crate::kit::skd::Skd;
use crate::kit::{Folder, fails, need, probe, seccomp};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{self, Backlog};
use std::collections::BTreeSet;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};

/// Which file lies at a path, and in what state: it differs as soon as the file was touched.
fn state(path: &str) -> String {
    let status = fs::symlink_metadata(path).unwrap();
    let (ino, mode, size) = (status.ino(), status.mode(), status.size());
    let changed = (status.ctime(), status.ctime_nsec());
    format!("{ino} {mode:o} {size} {changed:?}")
}

/// The names in a folder.
fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path("")).unwrap();
    let names: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names
        .into_iter()
        .map(|name| name.into_string().unwrap())
        .collect()
}

fn in_use(path: &str) -> String {
    format!("fatal: unable to bind unix:{path}: Address already in use")
}

/// A path of this many bytes in all.
fn path_of(folder: &Folder, len: usize) -> String {
    let start = folder.path("");
    let path = format!("{start}{}", "x".repeat(len - start.len()));
    assert_eq!(path.len(), len);
    path
}

#[test]
fn what_is_no_socket_stays_and_is_fatal() {
    let folder = Folder::new();
    fs::write(folder.path("file"), "precious").unwrap();
    fs::create_dir(folder.path("folder")).unwrap();
    nix::unistd::mkfifo(folder.path("fifo").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    drop(UnixListener::bind(folder.path("dead")).unwrap());
    symlink(folder.path("dead"), folder.path("link-to-dead")).unwrap();
    symlink(folder.path("file"), folder.path("link-to-file")).unwrap();
    symlink(folder.path("nothing"), folder.path("link-to-nothing")).unwrap();
    let before = names(&folder);
    for name in &before {
        if name == "dead" {
            continue;
        }
        let path = folder.path(name);
        let untouched = state(&path);
        let line = format!("fatal: unable to bind unix:{path}: File exists and is no socket");
        for words in ["-l", "-d -l", "--seqpacket -x", "--check -l"] {
            let skd = Skd::new(words).word(&path).word("cat");
            fails(skd, 111, &line);
            assert_eq!(state(&path), untouched, "{words} {name}");
        }
    }
    assert_eq!(names(&folder), before);
    assert_eq!(fs::read_to_string(folder.path("file")).unwrap(), "precious");
}

#[test]
fn a_folder_is_no_socket_and_a_path_in_none_is_fatal() {
    let folder = Folder::new();
    let (itself, nowhere) = (folder.path(""), folder.path("none/socket"));
    for (path, reason) in [
        (nowhere, "No such file or directory"),
        (itself, "File exists and is no socket"),
    ] {
        let line = format!("fatal: unable to bind unix:{path}: {reason}");
        fails(Skd::new(&format!("-l {path} cat")), 111, &line);
    }
}

#[test]
fn a_live_server_keeps_its_socket() {
    let folder = Folder::new();
    let path = |name| folder.path(name);
    let _stream = UnixListener::bind(path("stream")).unwrap();
    let _datagram = UnixDatagram::bind(path("datagram")).unwrap();
    let _seqpacket = seqpacket_listener(&path("seqpacket"));
    let full = UnixListener::bind(path("full")).unwrap();
    socket::listen(&full, Backlog::new(1).unwrap()).unwrap();
    let _waiting = fill_backlog(&path("full"));
    for name in ["stream", "datagram", "seqpacket", "full"] {
        let path = path(name);
        let untouched = state(&path);
        for style in ["-s", "-d", "--seqpacket"] {
            let skd = Skd::new(&format!("{style} -l {path} cat"));
            fails(skd, 111, &in_use(&path));
            assert_eq!(state(&path), untouched, "{style} {name}");
        }
    }
    assert_eq!(names(&folder), ["datagram", "full", "seqpacket", "stream"]);
}

#[test]
fn another_skd_keeps_its_socket_and_goes_on_serving() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let words = format!("-vl {path} cat");
    let first = Skd::new(&words).start();
    fails(Skd::new(&words), 111, &in_use(&path));
    Client::unix(&path).says("still here").hears("still here");
    first.stop();
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_path_over_107_bytes_is_wrong_usage_and_never_cut() {
    let folder = Folder::new();
    for len in [108, 109, 300] {
        let path = path_of(&folder, len);
        let shown: String = path.chars().take(100).collect();
        let line = format!(
            "usage: --unix: \"{shown}\": a unix socket's name has at most 107 bytes; try \"skd --help\""
        );
        fails(Skd::new(&format!("-l {path} cat")), 100, &line);
    }
    assert_eq!(names(&folder), [""; 0]);
    let long = format!("@{}", "x".repeat(108));
    assert_eq!(Skd::new(&format!("-l {long} cat")).outcome().code, 100);
}

#[test]
fn a_start_that_fails_removes_the_socket_files_that_it_made() {
    let folder = Folder::new();
    let (new, stale, live) = (
        folder.path("new"),
        folder.path("stale"),
        folder.path("live"),
    );
    drop(UnixListener::bind(&stale).unwrap());
    is_dead(&stale);
    let _live = UnixListener::bind(&live).unwrap();
    let skd = Skd::new(&format!("-l {new} -l {stale} -t 127.0.0.1:0 -l {live} cat"));
    fails(skd, 111, &in_use(&live));
    assert_eq!(names(&folder), ["live"]);
    let skd = Skd::new(&format!("-l {new} -l {new} cat"));
    fails(skd, 111, &in_use(&new));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let skd = Skd::new(&format!("-l {new} -t {address} cat"));
    let line = format!("fatal: unable to bind tcp:{address}: Address already in use");
    fails(skd, 111, &line);
    assert_eq!(names(&folder), ["live"]);
}

#[test]
fn an_owner_that_cannot_be_given_is_fatal_and_leaves_no_file() {
    let folder = Folder::new();
    let path = folder.path("socket");
    if !need::root() || !need::program("setpriv") {
        return;
    }
    let without = "setpriv --bounding-set=-chown --inh-caps=-chown";
    let skd = Skd::new(&format!("--owner 12345 -l {path} cat")).under(without);
    let line = format!("fatal: unable to bind unix:{path} with --owner: Operation not permitted");
    fails(skd, 111, &line);
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_dead_socket_file_is_replaced() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let leave: [fn(&str); 3] = [
        |path| drop(UnixListener::bind(path).unwrap()),
        |path| drop(UnixDatagram::bind(path).unwrap()),
        |path| drop(seqpacket_listener(path)),
    ];
    for leave_dead in leave {
        for style in ["-s", "-d", "--seqpacket"] {
            leave_dead(&path);
            is_dead(&path);
            let skd = Skd::new(&format!("-v {style} -l {path} cat")).start();
            assert_eq!(names(&folder), ["socket"]);
            // Refused, were it still the dead one.
            match style {
                "-s" => drop(UnixStream::connect(&path).unwrap()),
                "-d" => UnixDatagram::unbound().unwrap().connect(&path).unwrap(),
                _ => drop(seqpacket(&path)),
            }
            skd.stop();
            assert_eq!(names(&folder), [""; 0]);
        }
    }
}

#[test]
fn unix_sockets_have_the_style_asked_for() {
    let folder = Folder::new();
    let (path, own) = (folder.path("socket"), folder.path("own"));
    for words in ["-l", "-x", "--unix", "-s -l", "--stream -x"] {
        let skd = Skd::new(&format!("-v {words} {path} cat")).start();
        Client::unix(&path).says("hello").hears("hello");
        skd.stop();
    }
    let skd = Skd::new(&format!("-v --seqpacket -l {path} cat")).start();
    let mut client = seqpacket(&path);
    client.says("one");
    assert_eq!(client.hears_message(), "one");
    skd.stop();
    for style in ["-d", "--datagram"] {
        let skd = Skd::new(&format!("-v {style} -l {path}")).word(probe());
        let skd = skd.word("report-datagram").start();
        let client = unix_datagram(&own);
        client.send_to(b"hello", &path).unwrap();
        let mut heard = [0; 65536];
        let len = client.recv(&mut heard).unwrap();
        let report = String::from_utf8_lossy(&heard[..len]).into_owned();
        assert!(
            report.contains(&format!("env UNIXLOCALPATH={path}\n")),
            "{report}"
        );
        skd.stop();
        fs::remove_file(&own).unwrap();
    }
}

#[test]
fn a_path_of_107_bytes_is_used_whole() {
    let folder = Folder::new();
    let path = path_of(&folder, 107);
    let skd = Skd::new(&format!("-vl {path} printenv UNIXLOCALPATH")).start();
    assert_eq!(Client::unix(&path).hears_all(), format!("{path}\n"));
    skd.stop();
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn an_abstract_name_leaves_no_file() {
    for len in [20, 107] {
        let name = format!("{:x<len$}", format!("skd-test-{}-", std::process::id()));
        let words = format!("-vl @{name} printenv UNIXLOCALPATH");
        let skd = Skd::new(&words).start();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let stream = UnixStream::connect_addr(&address).unwrap();
        assert_eq!(Client::of_unix(stream).hears_all(), format!("@{name}\n"));
        let line = format!("fatal: unable to bind unix:@{name}: Address already in use");
        fails(Skd::new(&words), 111, &line);
        assert!(!fs::exists(format!("@{name}")).unwrap());
        skd.stop();
    }
}

/// A path is used as it was typed, also a relative one.
#[test]
fn a_relative_path_is_one_from_the_working_directory() {
    let folder = Folder::new();
    let wrapper = format!("env -C {}", folder.path(""));
    for typed in ["socket", "./socket", "-socket"] {
        let skd = Skd::new(&format!("-v --unix={typed} printenv UNIXLOCALPATH"));
        let skd = skd.under(&wrapper).start();
        let path = folder.path(typed);
        assert_eq!(Client::unix(&path).hears_all(), format!("{typed}\n"));
        skd.stop();
        assert_eq!(names(&folder), [""; 0]);
    }
}

#[test]
fn mode_is_exact_whatever_the_umask_and_else_the_umask_decides() {
    let folder = Folder::new();
    let path = folder.path("run/socket");
    fs::create_dir(folder.path("run")).unwrap();
    for (umask, option, expected) in [
        ("000", "--mode 600", 0o600),
        ("077", "--mode 0666", 0o666),
        ("777", "--mode=777", 0o777),
        ("022", "--mode 0", 0),
        ("022", "--mode 160", 0o160),
        ("000", "", 0o777),
        ("027", "", 0o750),
        ("077", "", 0o700),
    ] {
        let wrapper = folder.script("masked", &format!("umask {umask}\nexec \"$@\""));
        let script = folder.script("umask", "umask");
        let skd = Skd::new(&format!("-v {option} -l {path} -t 127.0.0.1:0 {script}"));
        let mut skd = skd.under(&wrapper).start();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, expected, "{umask} {option}");
        // The umask of the children is the one that skd was started with.
        assert_eq!(Client::tcp(skd.port()).hears_all(), format!("0{umask}\n"));
        skd.stop();
    }
}

#[test]
fn mode_is_set_where_the_newest_call_for_it_is_missing_or_forbidden() {
    const FCHMODAT2: u32 = 452;
    let folder = Folder::new();
    let path = folder.path("socket");
    for errno in [libc::ENOSYS, libc::EPERM] {
        let start = || {
            seccomp::forbid(FCHMODAT2, errno);
            let uid = nix::unistd::getuid();
            Skd::new(&format!("-v --owner {uid} --mode 612 -l {path} true")).start()
        };
        let skd = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o612, "{errno}");
        skd.stop();
    }
}

/// Looks at a path without a pause while `act` runs: every mode and owner that its file ever had.
fn ever_seen(path: &str, act: impl FnOnce()) -> BTreeSet<(u32, u32)> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                if let Ok(status) = fs::symlink_metadata(path) {
                    seen.insert((status.mode() & 0o7777, status.uid()));
                }
            }
            seen
        });
        act();
        is_over.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    })
}

#[test]
fn mode_and_owner_are_in_force_before_anybody_can_connect() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let wrapper = folder.script("masked", "umask 0\nexec \"$@\"");
    let start = |option: &str| {
        for _ in 0..20 {
            let skd = Skd::new(&format!("-v {option} -l {path} cat"));
            skd.under(&wrapper).start().stop();
        }
    };
    let us = nix::unistd::geteuid().as_raw();
    let seen = ever_seen(&path, || start("--mode 600"));
    assert_eq!(seen, BTreeSet::from([(0o600, us)]));
    if need::root() {
        let mut seen = ever_seen(&path, || start("--mode 640 --owner 12345"));
        assert!(seen.remove(&(0o640, 12345)), "{seen:?}");
        assert!(seen.iter().all(|(mode, _)| *mode == 0), "{seen:?}");
    }
}

#[test]
fn owner_is_a_user_and_a_group_by_name_or_number() {
    if !need::root() {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("socket");
    for (option, uid, gid, mode) in [
        ("--owner 12345", 12345, 0, 0o755),
        ("--owner 12345:54321", 12345, 54321, 0o755),
        ("--owner daemon:12345 --mode 4", 1, 12345, 0o4),
        ("--owner=0:daemon --mode 660", 0, 1, 0o660),
    ] {
        let wrapper = folder.script("masked", "umask 022\nexec \"$@\"");
        let skd = Skd::new(&format!("-v {option} -l {path} cat"));
        let skd = skd.under(&wrapper).start();
        let status = fs::symlink_metadata(&path).unwrap();
        let found = (status.uid(), status.gid(), status.mode() & 0o7777);
        assert_eq!(found, (uid, gid, mode), "{option}");
        Client::unix(&path).says("hello").hears("hello");
        skd.stop();
    }
}

#[test]
fn the_file_is_removed_by_every_signal_that_ends_skd() {
    let folder = Folder::new();
    let (path, other) = (folder.path("stream"), folder.path("other"));
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let skd = Skd::new(&format!("-vl {path} -l {other} cat")).start();
        assert_eq!(names(&folder), ["other", "stream"]);
        skd.signal(signal);
        assert_eq!(skd.ends().code, 0);
        assert_eq!(names(&folder), [""; 0]);
    }
}

#[test]
fn a_file_that_took_the_place_of_ours_stays() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let replace: [fn(&str); 4] = [
        |path| fs::write(path, "new").unwrap(),
        |path| drop(UnixListener::bind(path).unwrap()),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink(format!("{path}-moved"), path).unwrap(),
    ];
    for put in replace {
        let skd = Skd::new(&format!("-vl {path} cat")).start();
        // Ours lives on under another name, so that its inode number is not given to the new file.
        let moved = folder.path("socket-moved");
        fs::rename(&path, &moved).unwrap();
        put(&path);
        let new = state(&path);
        skd.stop();
        assert_eq!(state(&path), new);
        fs::remove_file(&moved).unwrap();
        fs::remove_file(&path)
            .or_else(|_| fs::remove_dir(&path))
            .unwrap();
    }
}

#[test]
fn a_file_that_is_gone_already_is_no_trouble() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let skd = Skd::new(&format!("-vl {path} cat")).start();
    fs::remove_file(&path).unwrap();
    assert_eq!(
        skd.stop().stderr,
        format!("skd: info: listen unix:{path}\n")
    );
}

/// Removal goes through the folder as it was opened, wherever that is by now.
#[test]
fn a_folder_that_was_renamed_loses_the_file_too() {
    let folder = Folder::new();
    let (before, after) = (folder.path("before"), folder.path("after"));
    fs::create_dir(&before).unwrap();
    let path = folder.path("before/socket");
    let skd = Skd::new(&format!("-vl {path} cat")).start();
    fs::rename(&before, &after).unwrap();
    fs::create_dir(&before).unwrap();
    fs::write(&path, "another").unwrap();
    skd.stop();
    assert_eq!(fs::read_dir(&after).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "another");
}

/// listen(2) takes one more than its backlog.
#[test]
fn the_backlog_is_how_many_clients_wait() {
    let folder = Folder::new();
    let path = folder.path("socket");
    for (option, room) in [("-b 1", 2), ("--backlog=7", 8)] {
        let skd = Skd::new(&format!("-v {option} -c 1 -l {path}"));
        let skd = skd.word(probe()).word("hold").start();
        let mut first = Client::unix(&path);
        assert!(first.hears_line().starts_with("ready "));
        assert_eq!(fill_backlog(&path).len(), room, "{option}");
        skd.stop();
    }
    let skd = Skd::new(&format!("-vb 2147483647 -l {path} cat")).start();
    Client::unix(&path).says("hello").hears("hello");
    skd.stop();
}
