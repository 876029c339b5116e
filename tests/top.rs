//! skd-top: what it shows of a running skd in a real terminal, and what it prints where there is none.

mod hostile;

use crate::kit::net::{Client, tcp_from_loopback, while_clients_come};
use crate::kit::skd::{BINARY, Outcome, Running, Skd};
use crate::kit::tmux::Tmux;
use crate::kit::{Folder, eventually, need, probing};
use crate::manual::{constant, plain, prose};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Command, Stdio};

const TOP: &str = env!("CARGO_BIN_EXE_skd-top");
const PAGE: &str = include_str!("../man/skd-top.1");

/// The usual size.
const SIZE: (u16, u16) = (80, 24);

/// Runs skd-top without a terminal, once.
fn top_once(words: &[&str]) -> Outcome {
    // It ends after a second or two whoever answers, so that no deadline is needed.
    let done = Command::new(TOP).args(words).stdin(Stdio::null()).output();
    let done = done.unwrap();
    Outcome {
        code: done.status.code().unwrap(),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

/// The same, again where a busy machine had others wait for a second.
fn top(words: &[&str]) -> Outcome {
    eventually("an answer in time", || {
        let outcome = top_once(words);
        let is_late = outcome.stderr.ends_with(": no whole answer within 1 s\n");
        (!is_late).then_some(outcome)
    })
}

/// Ended so, with nothing on stdout and this line on stderr.
fn fails(words: &[&str], code: i32, line: &str) {
    let outcome = top(words);
    let said = (outcome.code, outcome.stdout, outcome.stderr);
    assert_eq!(said, (code, String::new(), format!("skd-top: {line}\n")));
}

/// skd-top in a terminal; what it ended with is told there, and how the terminal was before and after is in files.
fn watching(place: &str, size: (u16, u16)) -> Tmux {
    let script = format!(
        "cd \"${{0%/*}}\"\n\
         stty -g >before\n\
         LC_ALL=C.UTF-8 {TOP} '{place}'\n\
         code=$?\n\
         stty -g >after\n\
         echo \"ended $code\"\n\
         exec sleep 1000"
    );
    Tmux::run(&script, size)
}

/// It has ended well, and left the terminal as it was.
fn has_ended(tmux: &Tmux) {
    let screen = tmux.shows_text("ended ");
    let text: String = screen.concat();
    assert_eq!(text, "ended 0");
    let state = |name| std::fs::read_to_string(tmux.path(name)).unwrap();
    assert_eq!(state("before"), state("after"));
    let modes = tmux.does(&["display", "-p", "#{alternate_on} #{cursor_flag}"]);
    assert_eq!(modes, "0 1\n");
}

/// The line of the screen that begins so.
fn line<'a>(screen: &'a [String], begin: &str) -> &'a str {
    let found = screen.iter().find(|line| line.starts_with(begin));
    found.unwrap_or_else(|| panic!("no {begin}: {screen:#?}"))
}

/// The words of the two lines behind a listener's name.
fn row<'a>(screen: &'a [String], name: &str) -> [Vec<&'a str>; 2] {
    let place = screen.iter().position(|line| line.starts_with(name));
    let place = place.unwrap_or_else(|| panic!("no {name}: {screen:#?}"));
    let words = |line: &'a String| {
        let words = line.split_whitespace();
        // Bars are of no interest.
        let is_bar = |word: &&str| word.starts_with(|c| ('\u{2588}'..='\u{258f}').contains(&c));
        words.filter(|word| !is_bar(word)).collect()
    };
    [words(&screen[place + 1]), words(&screen[place + 2])]
}

/// A service, its port and that of its metrics.
fn measured(words: &str) -> (Running, u16, u16) {
    let mut skd = Skd::new(&format!("-v --metrics 127.0.0.1:0 -t 127.0.0.1:0 {words}")).start();
    let (port, metrics) = (skd.port(), skd.port());
    (skd, port, metrics)
}

#[test]
fn each_listener_is_shown_as_it_is() {
    if !need::program("tmux") {
        return;
    }
    let words = "-v -c 40 --deny 127.0.0.3 --metrics 127.0.0.1:0 -t 127.0.0.1:0 -t 127.0.0.1:0";
    let mut skd = probing(words, "hold").start();
    let (one, other, metrics) = (skd.port(), skd.port(), skd.port());
    let tmux = watching(&format!("127.0.0.1:{metrics}"), SIZE);
    tmux.shows_text("children 0/40");
    let mut held = Client::of_tcp(tcp_from_loopback(1, one));
    held.hears_line();
    let denied = || Client::of_tcp(tcp_from_loopback(3, other)).hears_rest();
    assert_eq!(denied(), "");
    let (one, other) = (
        format!("tcp:127.0.0.1:{one} "),
        format!("tcp:127.0.0.1:{other} "),
    );
    let screen = tmux.shows("what happened", |screen| {
        screen.iter().any(|line| line.starts_with(&other))
            && row(screen, &one)[0].get(2) == Some(&"1")
            && row(screen, &other)[1].get(2) == Some(&"1")
            && row(screen, &one)[1][1] == "0.0/s"
    });
    assert!(screen[0].starts_with(&format!("skd 2.0.0 at 127.0.0.1:{metrics} ")));
    // The time is at the right.
    assert!(
        screen[0].len() == 80 || screen[0].ends_with(" UTC"),
        "{screen:#?}"
    );
    assert!(screen[1].contains("MiB   descriptors "), "{screen:#?}");
    assert!(line(&screen, &one).contains("failed        0  children       1 "));
    let [accepted, refused] = row(&screen, &one);
    assert_eq!((accepted[0], accepted[3]), ("accepted", "spawn"));
    // The latter on a machine that stood still for long.
    assert!(
        matches!(accepted[7..], ["10", "s"] | ["start"]),
        "{screen:#?}"
    );
    assert_eq!(refused[1..], ["0.0/s", "0", "run", "-", "-", "-"]);
    // A listener nobody was let in by.
    assert_eq!(
        row(&screen, &other)[0][1..],
        ["0.0/s", "0", "spawn", "-", "-", "-"]
    );
    assert_eq!(screen.len(), 24);
    assert_eq!(screen[23], "q ends");
    // Rates, while there are any.
    let is_fast = |screen: &[String]| {
        let rate = row(screen, &other)[1][1].trim_end_matches("/s").to_owned();
        rate.parse::<f64>().is_ok_and(|rate| rate > 0.0)
    };
    let come = || {
        denied();
    };
    while_clients_come(come, || {
        tmux.shows("a rate", is_fast);
    });
    tmux.shows("no rate", |screen| row(screen, &other)[1][1] == "0.0/s");
    held.hears_all();
    tmux.shows_text("children 0/40");
    tmux.types("q");
    has_ended(&tmux);
    skd.stop();
}

#[test]
fn it_fits_the_terminal_before_and_after_a_change_of_size() {
    if !need::program("tmux") {
        return;
    }
    let (skd, port, metrics) = measured("cat");
    let tmux = watching(&format!("127.0.0.1:{metrics}"), SIZE);
    let name = format!("tcp:127.0.0.1:{port} ");
    for (columns, lines) in [
        (80, 24),
        (120, 40),
        (80, 24),
        (60, 10),
        (10, 2),
        (1, 1),
        (80, 24),
    ] {
        tmux.resizes(columns, lines);
        let is_whole = |screen: &[String]| {
            let widest = screen.iter().map(|line| line.chars().count()).max();
            let last = screen.last().is_some_and(|line| line == "q ends");
            let fits = widest.unwrap_or(0) <= columns.into() && screen.len() == usize::from(lines);
            let time = screen[0].chars().count() == usize::from(columns);
            let is_tiny = columns < 60;
            fits && (is_tiny || (last && time && screen.iter().any(|line| line.starts_with(&name))))
        };
        tmux.shows(&format!("{columns} x {lines}"), is_whole);
    }
    // It is alive.
    tmux.types("Escape");
    has_ended(&tmux);
    skd.stop();
}

#[test]
fn while_skd_is_away_the_last_figures_stay() {
    if !need::program("tmux") {
        return;
    }
    // A name of its own, which no other test takes meanwhile.
    let place = format!("@skd-top-{}", std::process::id());
    let words = format!("-v -1 --metrics {place} -t 127.0.0.1:0 cat");
    let mut skd = Skd::new(&words).start();
    let port = skd.port();
    let tmux = watching(&place, SIZE);
    for _ in 0..7 {
        Client::tcp(port).says("x").hears("x");
    }
    let name = format!("tcp:127.0.0.1:{port} ");
    let has_seven = |screen: &[String]| {
        screen.iter().any(|line| line.starts_with(&name)) && row(screen, &name)[0][2] == "7"
    };
    tmux.shows("seven", has_seven);
    // SGR 2, alone: bold titles are dimmed, too, and a colour may have the number 2.
    let is_dim = || tmux.styled().contains("\x1b[0;2m");
    assert!(!is_dim());
    skd.stop();
    let away = format!("skd at {place} does not answer: Connection refused; waiting");
    let screen = tmux.shows_text(&away);
    assert!(has_seven(&screen), "{screen:#?}");
    assert!(is_dim());
    // Another one, which has counted nothing yet.
    let mut skd = Skd::new(&words).start();
    let name = format!("tcp:127.0.0.1:{} ", skd.port());
    let screen = tmux.shows("it again", |screen| {
        screen.iter().any(|line| line.starts_with(&name))
    });
    assert!(!screen.concat().contains("does not answer"), "{screen:#?}");
    assert!(!is_dim());
    assert_eq!(row(&screen, &name)[0][2..], ["0", "spawn", "-", "-", "-"]);
    let rate = row(&screen, &name)[0][1].to_owned();
    assert!(rate == "-/s" || rate == "0.0/s", "{rate}");
    tmux.types("C-c");
    has_ended(&tmux);
    skd.stop();
}

/// Whoever is there first waits for the other.
#[test]
fn it_waits_for_a_skd_that_is_not_there_yet_and_ends_at_signals() {
    if !need::program("tmux") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path("m");
    let tmux = watching(&path, SIZE);
    tmux.shows_text("does not answer: No such file or directory; waiting");
    let mut skd = Skd::new(&format!("-v -1 --metrics {path} -t 127.0.0.1:0 cat")).start();
    let name = format!("tcp:127.0.0.1:{} ", skd.port());
    tmux.shows_text(&name);
    let pid = tmux.does(&["display", "-p", "#{pane_pid}"]);
    let children = crate::kit::daemon::children_of(pid.trim().parse().unwrap());
    kill(Pid::from_raw(children[0]), Signal::SIGTERM).unwrap();
    has_ended(&tmux);
    // Its terminal goes away.
    let tmux = watching(&path, SIZE);
    tmux.shows_text(&name);
    let pid = tmux.does(&["display", "-p", "#{pane_pid}"]);
    let children = crate::kit::daemon::children_of(pid.trim().parse().unwrap());
    drop(tmux);
    eventually("its end", || {
        crate::kit::daemon::is_gone(children[0]).then_some(())
    });
    skd.stop();
}

#[test]
fn listeners_that_do_not_fit_are_counted_and_scrolled_to() {
    if !need::program("tmux") {
        return;
    }
    let words = format!(
        "-v --metrics 127.0.0.1:0 {} cat",
        "-t 127.0.0.1:0 ".repeat(9)
    );
    let mut skd = Skd::new(&words).start();
    let names = [(); 9].map(|()| format!("tcp:127.0.0.1:{} ", skd.port()));
    let metrics = skd.port();
    let tmux = watching(&format!("127.0.0.1:{metrics}"), SIZE);
    let shows = |first: usize, last: usize| {
        let keys = format!("q ends   Up, Down scroll: {first} to {last} of 9, +3 more");
        let screen = tmux.shows_text(&keys);
        for (place, name) in (1..).zip(&names) {
            let is_there = screen.iter().any(|line| line.starts_with(name));
            assert_eq!(is_there, (first..=last).contains(&place), "{screen:#?}");
        }
    };
    shows(1, 6);
    for (key, first, last) in [
        ("Down", 2, 7),
        ("PageDown", 4, 9),
        ("Down", 4, 9),
        ("Up", 3, 8),
        ("Home", 1, 6),
        ("Up", 1, 6),
        ("End", 4, 9),
        ("PageUp", 1, 6),
    ] {
        tmux.types(key);
        shows(first, last);
    }
    tmux.resizes(80, 40);
    tmux.shows("all nine", |screen| {
        screen.last().is_some_and(|line| line == "q ends")
    });
    tmux.types("q");
    has_ended(&tmux);
    skd.stop();
}

#[test]
fn without_a_terminal_it_prints_one_table() {
    let folder = Folder::new();
    let (path, long) = (folder.path("metrics"), folder.path(&"x".repeat(60)));
    let name = format!("skd-top-table-{}", std::process::id());
    let (skd, port, metrics) = measured(&format!("-l {long} cat"));
    let screen = top(&[&format!("127.0.0.1:{metrics}")]);
    assert_eq!((screen.code, screen.stderr.as_str()), (0, ""));
    let lines: Vec<_> = screen.stdout.lines().collect();
    assert!(lines[0].starts_with(&format!("skd 2.0.0 at 127.0.0.1:{metrics} ")));
    let wide = format!("unix:{long}").len();
    let rows = [format!("tcp:127.0.0.1:{port}"), format!("unix:{long}")].map(|name| {
        let gap = " ".repeat(wide - 37 + 9 + 1);
        format!(
            "{name:<wide$} failed        0  children       0\n  \
             accepted      0.0/s{gap}          0  spawn        -       -       -\n  \
             refused       0.0/s{gap}          0  run          -       -       -\n"
        )
    });
    assert_eq!(lines[4..].join("\n") + "\n", rows.concat());
    skd.stop();
    for place in [path, format!("@{name}")] {
        let words = format!("-v -1 --metrics {place} -t 127.0.0.1:0 cat");
        let mut skd = Skd::new(&words).start();
        let shown = format!("\ntcp:127.0.0.1:{} ", skd.port());
        let outcome = top(&[&place]);
        assert!(
            outcome.code == 0 && outcome.stdout.contains(&shown),
            "{outcome:#?}"
        );
        skd.stop();
    }
}

#[test]
fn every_form_of_an_address_is_understood() {
    let (skd, port, metrics) = measured("cat");
    let shown = format!("\ntcp:127.0.0.1:{port} ");
    for host in ["", "*:", "127.0.0.1:", "localhost:"] {
        let outcome = top(&[&format!("{host}{metrics}")]);
        assert!(
            outcome.code == 0 && outcome.stdout.contains(&shown),
            "{host} {outcome:#?}"
        );
    }
    skd.stop();
    if need::ipv6() {
        let mut skd = Skd::new("-v --metrics [::1]:0 -t 127.0.0.1:0 cat").start();
        let shown = format!("\ntcp:127.0.0.1:{} ", skd.port());
        let metrics = skd.port();
        // Behind 127.0.0.1 where nobody listens.
        for host in ["[::1]:", "[::1%lo]:", ""] {
            let outcome = top(&[&format!("{host}{metrics}")]);
            assert!(
                outcome.code == 0 && outcome.stdout.contains(&shown),
                "{host} {outcome:#?}"
            );
        }
        skd.stop();
    }
}

#[test]
fn wrong_words_end_with_100() {
    for (words, text) in [
        (&[][..], "ADDR or PATH is missing"),
        (&["--bogus", "80"], "there is no option \"--bogus\""),
        (
            &["80", "8\x1b1"],
            "one ADDR or PATH is expected, and \"8?1\" is one more",
        ),
        (
            &["127.0.0.1"],
            "ADDR: \"127.0.0.1\": a port is missing behind the host, [HOST:]PORT expected",
        ),
    ] {
        fails(
            words,
            100,
            &format!("usage: {text}; try \"skd-top --help\""),
        );
    }
    // A name of a service may hold anything.
    let line = "fatal: unable to ask skd at ?[2J: there is no tcp service ?[2J; a path needs a slash, \"./?[2J\"";
    fails(&["\x1b[2J"], 111, line);
}

#[test]
fn help_and_manual_agree() {
    let help = top(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    let version = top(&["-V"]);
    let number = env!("CARGO_PKG_VERSION");
    assert_eq!(version.stdout, format!("skd-top {number}\n"));
    assert!(PAGE.contains(&format!(" \"skd {number}\" ")));
    assert!(help.stdout.starts_with("Usage: skd-top ADDR|PATH\n"));
    assert!(help.stdout.lines().all(|line| line.len() <= 80));
    // What stands at the left in the help has an entry in the manual, and the other way round.
    let of_help: Vec<_> = help
        .stdout
        .lines()
        .filter(|line| line.starts_with("  "))
        .collect();
    let names = of_help.iter().filter_map(|line| line.get(2..28));
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    let mut told: Vec<String> = names
        .map(|name| name.trim_end_matches("scroll").trim().to_owned())
        .filter(|name| !name.contains("slash") && !name.contains("PORT"))
        .collect();
    told.iter_mut()
        .filter(|name| name.starts_with("Up"))
        .for_each(|name| {
            *name = "Up, Down, PageUp, PageDown, Home, End".into();
        });
    let entries = PAGE.split(".TP\n").skip(1);
    let entries: Vec<_> = entries
        .map(|entry| plain(entry.lines().next().unwrap()))
        .collect();
    assert_eq!(told.len(), 4, "{told:?}");
    for name in &told {
        assert!(entries.contains(name), "{name} {entries:?}");
    }
    let page = prose(&PAGE.lines().collect::<Vec<_>>());
    for (file, name, value, text) in [
        (
            "top/fetch.rs",
            "PATIENCE",
            "s 1",
            "the whole answer may take 1 s,",
        ),
        (
            "top/fetch.rs",
            "ANSWER_BYTES",
            "32 1024 1024",
            "at most 32 MiB",
        ),
        (
            "top/scrape.rs",
            "MOST_LISTENERS",
            "10000",
            "At most 10000 listeners",
        ),
        (
            "top/histogram.rs",
            "MOST_BUCKETS",
            "64",
            "of a histogram 64 buckets",
        ),
        ("top/figures.rs", "LOOK_BACK", "10", "the last ten seconds"),
        ("top/draw.rs", "COLUMNS", "80", "made for 80 columns"),
    ] {
        assert_eq!(constant(file, name), value, "{name}");
        assert!(page.contains(text), "{text}");
    }
}

/// The example of the manual, in a network of its own, whose ports are free.
#[test]
fn the_example_of_the_manual_runs() {
    if !need::own_network() {
        return;
    }
    let (_, example) = PAGE.split_once(".EX\n").unwrap();
    let example = example.split_once("\n.EE").unwrap().0.replace("\\-", "-");
    let (skd, top) = example.split_once(" &\n").unwrap();
    let words = skd.strip_prefix("skd ").unwrap();
    let folder = Folder::new();
    let skd = Skd::new(&format!("-v {words}"));
    let mut skd = crate::kit::net::in_own_network(skd, &folder, &[]).start();
    assert!(skd.waits_for("listen ").contains("tcp:127.0.0.1:7006"));
    let mut inside = Command::new("nsenter");
    let inside = inside
        .arg(format!("--net=/proc/{}/ns/net", skd.pid()))
        .arg(TOP);
    let done = inside
        .arg(top.strip_prefix("skd-top ").unwrap())
        .output()
        .unwrap();
    let shown = String::from_utf8(done.stdout).unwrap();
    assert!(
        done.status.success() && shown.contains("\ntcp:127.0.0.1:7006 "),
        "{shown}"
    );
    skd.stop();
}

/// The other one, without the way to that machine.
#[test]
fn the_example_on_a_unix_socket_runs() {
    let (_, example) = PAGE.rsplit_once(".EX\n").unwrap();
    let example = example.split_once("\n.EE").unwrap().0.replace("\\-", "-");
    let place = example.strip_prefix("ssh -t server skd-top ").unwrap();
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("run/skd")).unwrap();
    let place = folder.path(place.strip_prefix('/').unwrap());
    let mut skd = Skd::new(&format!("-v --metrics {place} -t 127.0.0.1:0 cat")).start();
    let port = skd.port();
    let done = Command::new(TOP).arg(place).output().unwrap();
    let shown = String::from_utf8(done.stdout).unwrap();
    let name = format!("\ntcp:127.0.0.1:{port} ");
    assert!(done.status.success() && shown.contains(&name), "{shown}");
    skd.stop();
}

/// What skd-top draws with is in skd-top alone.
#[test]
fn skd_itself_holds_nothing_of_it() {
    let holds = |path: &str| {
        let bytes = std::fs::read(path).unwrap();
        let mut parts = bytes.windows(9);
        parts.any(|part| part == b"crossterm")
    };
    assert!(holds(TOP));
    assert!(!holds(BINARY));
}
