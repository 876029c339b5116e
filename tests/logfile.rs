//! `-L >FILE` and `-L >>FILE`: what skd and the programs say, also when the file is rotated or the disk full.

use crate::kit::net::Client;
use crate::kit::skd::{Running, Skd};
use crate::kit::{Folder, eventually, need, probe};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

/// `skd -v1L SPEC -t 127.0.0.1:0`; PROG is the test's.
fn serving(spec: &str) -> Skd {
    Skd::with_words(["-v1L", spec, "-t", "127.0.0.1:0"])
}

/// Waits until the file holds `text`; returns all of it.
fn waits_for(file: &str, text: &str) -> String {
    eventually(&format!("{text:?} in {file}"), || {
        let all = fs::read_to_string(file).ok()?;
        all.contains(text).then_some(all)
    })
}

/// Asks for a status line and waits for it. A HUP that was sent before has been obeyed then.
fn status(skd: &Running, file: &str) -> String {
    let count = |text: &str| text.matches("skd: info: status ").count();
    let before = count(&fs::read_to_string(file).unwrap_or_default());
    skd.signal(Signal::SIGUSR1);
    eventually("a status line", || {
        let all = fs::read_to_string(file).ok()?;
        (count(&all) > before && all.ends_with('\n')).then_some(all)
    })
}

#[test]
fn a_file_that_cannot_be_opened_is_fatal() {
    let folder = Folder::new();
    let (inner, gone) = (folder.path("folder"), folder.path("gone/log"));
    fs::create_dir(&inner).unwrap();
    for (path, reason) in [
        (&inner, "Is a directory"),
        (&gone, "No such file or directory"),
    ] {
        for options in ["-L", "-t 127.0.0.1:0 -L", "-SL"] {
            let outcome = Skd::new(options)
                .word(format!(">>{path}"))
                .word("cat")
                .outcome();
            let text = format!("skd: fatal: unable to open the log \"{path}\": {reason}\n");
            let told = (outcome.code, outcome.stdout.as_str(), outcome.stderr);
            assert_eq!(told, (111, "", text), "{options}");
        }
    }
}

/// What skd says while it starts, and why it could not, is for who started it.
#[test]
fn until_ready_messages_go_to_the_callers_stderr() {
    let folder = Folder::new();
    let log = folder.path("log");
    let socket = || vec![OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap())];
    let warning = "skd: warning: LISTEN_FDNAMES has not as many names as LISTEN_FDS descriptors, 1, \
        ignoring the names\n";
    let begun = |words: &str| {
        let skd = Skd::new(words).word("-L").word(format!(">{log}"));
        skd.listen_fds(socket()).env("LISTEN_FDNAMES", "a:b")
    };
    for words in ["-v", "-vB"] {
        let outcome = begun(words).word("/skd-no-such-program").outcome();
        let fatal =
            "skd: fatal: unable to run \"/skd-no-such-program\": No such file or directory\n";
        assert_eq!(
            (outcome.code, outcome.stderr),
            (111, format!("{warning}{fatal}")),
            "{words}"
        );
        assert_eq!(fs::read_to_string(&log).unwrap(), "");
    }
    let skd = begun("-v").word("cat").spawn();
    let logged = waits_for(&log, "\n");
    assert!(
        logged.starts_with("skd: info: listen tcp:127.0.0.1:"),
        "{logged}"
    );
    assert_eq!(skd.stop().stderr, warning);
}

#[test]
fn one_sign_truncates_and_two_append_and_blanks_may_follow() {
    let folder = Folder::new();
    let file = folder.path("log");
    for (sign, kept) in [(">", ""), ("> ", ""), (">>", "old\n"), (">>  ", "old\n")] {
        fs::write(&file, "old\n").unwrap();
        let mut skd = serving(&format!("{sign}{file}")).word("cat").spawn();
        let port = skd.port();
        let expected = format!("{kept}skd: info: listen tcp:127.0.0.1:{port}\n");
        waits_for(&file, "listen");
        assert_eq!(skd.stop().stderr, "\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), expected, "{sign}");
    }
}

#[test]
fn a_new_file_has_the_mode_that_the_umask_leaves() {
    let folder = Folder::new();
    let masked = folder.script("masked", "umask $1; shift; exec \"$@\"");
    for (umask, mode) in [("022", 0o644), ("077", 0o600), ("002", 0o664)] {
        let file = folder.path(umask);
        let skd = serving(&format!(">{file}")).under(&format!("{masked} {umask}"));
        let skd = skd.word("cat").spawn();
        waits_for(&file, "listen");
        let permissions = fs::metadata(&file).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, mode);
        skd.stop();
    }
}

/// Each writes at the end, wherever the others are, even if the file was cut short meanwhile.
#[test]
fn skd_and_all_its_children_append_to_one_file() {
    let folder = Folder::new();
    let file = folder.path("log");
    let body = "for i in 0 1 2 3 4 5 6 7 8 9; do echo \"child $1 says $i\" >&2; done; cat";
    let prog = folder.script("prog", &body.replace("$1", "$TCPREMOTEPORT"));
    let mut skd = serving(&format!(">{file}")).word(prog).spawn();
    let port = skd.port();
    let clients: Vec<Client> = (0..20).map(|_| Client::tcp(port)).collect();
    clients
        .into_iter()
        .for_each(|client| assert_eq!(client.hears_all(), ""));
    let whole = eventually("the ends", || {
        let all = fs::read_to_string(&file).unwrap();
        (all.matches("skd: info: end ").count() == 20 && all.ends_with('\n')).then_some(all)
    });
    let is_whole = |line: &&str| line.starts_with("skd: info: ") || line.starts_with("child ");
    assert_eq!(
        whole.lines().filter(is_whole).count(),
        1 + 20 * 12,
        "{whole}"
    );
    assert_eq!(whole.lines().count(), 1 + 20 * 12, "{whole}");
    fs::File::options()
        .write(true)
        .truncate(true)
        .open(&file)
        .unwrap();
    let status = status(&skd, &file);
    assert_eq!(
        status,
        "skd: info: status 0 accepted 20 denied 0 failed 0\n"
    );
    skd.stop();
}

#[test]
fn a_program_in_skds_place_has_the_file_as_its_stderr() {
    let folder = Folder::new();
    let file = folder.path("log");
    let says = ["sh", "-c", "echo something >&2; exit 3"];
    let with = |skd: Skd| says.iter().fold(skd, |skd, word| skd.word(*word)).outcome();
    let outcome = with(Skd::with_words(["-L", &format!(">{file}"), "--"]));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (3, ""));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (conn, _) = listener.accept().unwrap();
    let skd = Skd::with_words(["-0", "-L", &format!(">>{file}"), "--"]);
    let outcome = with(skd.descriptor(0, conn));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (3, ""));
    assert_eq!(fs::read_to_string(&file).unwrap(), "something\nsomething\n");
    drop(client);
}

#[test]
fn hup_after_a_rename_opens_a_new_file_for_skd_and_for_children_from_then_on() {
    let folder = Folder::new();
    let (file, old) = (folder.path("log"), folder.path("old"));
    let prog = folder.script("prog", "echo begin >&2\ncat\necho finish >&2");
    let mut skd = serving(&format!(">{file}")).word(prog).spawn();
    let port = skd.port();
    let mut first = Client::tcp(port);
    first.says("x").hears("x");
    waits_for(&file, "accept");
    fs::rename(&file, &old).unwrap();
    skd.signal(Signal::SIGHUP);
    status(&skd, &file);
    let mut second = Client::tcp(port);
    second.says("x").hears("x");
    assert_eq!(first.hears_all(), "");
    assert_eq!(second.hears_all(), "");
    let both = eventually("both ends", || {
        let all = fs::read_to_string(&file).unwrap();
        (all.matches("skd: info: end ").count() == 2).then_some(all)
    });
    skd.stop();
    let kinds = |text: &str| {
        let words = text
            .lines()
            .map(|line| line.trim_start_matches("skd: info: "));
        let words = words.map(|line| line.split(' ').next().unwrap().to_owned());
        let mut kinds: Vec<String> = words.collect();
        kinds.sort();
        kinds
    };
    let (old, new) = (fs::read_to_string(&old).unwrap(), both);
    assert_eq!(
        kinds(&old),
        ["accept", "begin", "finish", "listen"],
        "{old}"
    );
    assert_eq!(
        kinds(&new),
        ["accept", "begin", "end", "end", "finish", "status"],
        "{new}"
    );
}

#[test]
fn hup_without_a_rename_loses_nothing_of_the_file() {
    let folder = Folder::new();
    let file = folder.path("log");
    let skd = serving(&format!(">{file}")).word("cat").spawn();
    let before = waits_for(&file, "listen");
    skd.signal(Signal::SIGHUP);
    let after = status(&skd, &file);
    let status = "skd: info: status 0 accepted 0 denied 0 failed 0\n";
    assert_eq!(after, format!("{before}{status}"));
    skd.stop();
}

/// A relative name is meant from where skd was started, at HUP as well.
#[test]
fn hup_finds_the_file_from_another_working_directory() {
    let folder = Folder::new();
    let (file, old) = (folder.path("log"), folder.path("old"));
    let skd = serving(">log")
        .word("--chdir")
        .word("/")
        .under(&format!("env -C {}", folder.path("")));
    let skd = skd.word("cat").spawn();
    waits_for(&file, "listen");
    fs::rename(&file, &old).unwrap();
    skd.signal(Signal::SIGHUP);
    status(&skd, &file);
    assert_eq!(skd.stop().code, 0);
    assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 1);
}

#[test]
fn a_file_that_cannot_be_opened_again_leaves_the_old_one_with_a_warning() {
    let folder = Folder::new();
    let (file, old) = (folder.path("log"), folder.path("old"));
    let mut skd = serving(&format!(">{file}")).word("cat").spawn();
    let port = skd.port();
    waits_for(&file, "listen");
    fs::rename(&file, &old).unwrap();
    fs::create_dir(&file).unwrap();
    skd.signal(Signal::SIGHUP);
    let all = waits_for(&old, "warning: ");
    let warning = "skd: warning: unable to open the log again: Is a directory, keeping the old one";
    assert_eq!(all.lines().last(), Some(warning));
    let mut client = Client::tcp(port);
    client.says("x").hears("x");
    waits_for(&old, "accept");
    fs::remove_dir(&file).unwrap();
    skd.signal(Signal::SIGHUP);
    assert_eq!(client.hears_all(), "");
    waits_for(&file, "skd: info: end ");
    skd.stop();
}

/// Nobody reads from it, so that opening it as usual would wait for ever.
#[test]
fn a_fifo_that_has_taken_the_files_place_does_not_stop_service() {
    let folder = Folder::new();
    let (file, old) = (folder.path("log"), folder.path("old"));
    let mut skd = serving(&format!(">{file}")).word("cat").spawn();
    let port = skd.port();
    waits_for(&file, "listen");
    fs::rename(&file, &old).unwrap();
    nix::unistd::mkfifo(file.as_str(), Mode::S_IRWXU).unwrap();
    skd.signal(Signal::SIGHUP);
    waits_for(&old, "skd: warning: unable to open the log again: ");
    Client::tcp(port).says("x").hears("x");
    skd.stop();
}

#[test]
fn a_full_disk_never_stops_service_and_what_is_lost_is_counted() {
    if !need::root() || !need::mounts() {
        return;
    }
    const CLIENTS: usize = 100;
    let folder = Folder::new();
    let mount = folder.script(
        "small",
        "mount -t tmpfs -o size=64k none \"$1\" || exit; shift; exec \"$@\"",
    );
    let disk = folder.path("disk");
    fs::create_dir(&disk).unwrap();
    let mut skd = serving(&format!(">{disk}/log"))
        .under(&format!(
            "unshare --mount --propagation private {mount} {disk}"
        ))
        .word("cat")
        .spawn();
    let port = skd.port();
    // The disk as skd sees it.
    let disk = format!("/proc/{}/root{disk}", skd.pid());
    let (log, filler) = (format!("{disk}/log"), format!("{disk}/filler"));
    waits_for(&log, "listen");
    let full = fs::write(&filler, vec![0; 128 * 1024]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    for _ in 0..CLIENTS {
        let mut client = Client::tcp(port);
        client.says("x").hears("x");
        assert_eq!(client.hears_all(), "");
    }
    skd.is_alone();
    fs::remove_file(&filler).unwrap();
    let all = status(&skd, &log);
    let told = all.lines().find_map(|line| {
        let rest = line.strip_prefix("skd: warning: ")?;
        rest.strip_suffix(" lines could not be written")?
            .parse()
            .ok()
    });
    let lost: usize = told.unwrap_or_else(|| panic!("{all}"));
    let is_whole = |line: &&str| {
        let begins = ["listen ", "accept ", "end "].map(|kind| format!("skd: info: {kind}"));
        begins.iter().any(|begin| line.starts_with(begin))
            && (line.contains("listen ") || line.contains(" count "))
    };
    let whole = all.lines().filter(is_whole).count();
    assert!(lost > 0 && whole > 0);
    // The line that found the disk full may lack no more than its newline.
    let sum = whole + lost;
    assert!(
        (1 + 2 * CLIENTS..=2 + 2 * CLIENTS).contains(&sum),
        "{sum}: {all}"
    );
    assert!(all.ends_with("denied 0 failed 0\n"), "{all}");
    skd.stop();
}

#[test]
fn the_journals_variable_does_not_reach_children_whose_stderr_is_a_log() {
    let folder = Folder::new();
    let file = folder.path("log");
    let has_variable = |skd: Skd| {
        let skd = skd.env("JOURNAL_STREAM", "9:99");
        let outcome = skd.word("--").word(probe()).word("report").outcome();
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        outcome.stdout.contains("\nenv JOURNAL_STREAM=9:99\n")
    };
    assert!(has_variable(Skd::new("-v")));
    assert!(!has_variable(Skd::with_words(["-L", &format!(">{file}")])));

    let skd = serving(&format!(">{file}")).env("JOURNAL_STREAM", "9:99");
    let mut skd = skd.word(probe()).word("report").spawn();
    let report = Client::tcp(skd.port()).hears_all();
    assert!(report.contains("\nenv PROTO=TCP\n"), "{report}");
    assert!(!report.contains("JOURNAL_STREAM"), "{report}");
    skd.stop();
}
